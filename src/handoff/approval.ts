/** Pending approvals as they travel with a thread, and the digest that binds a decision to exactly what was asked. */
import { z } from 'zod';
import { digestOf } from './canonicalJson';

export const carriedApproval = z.object({
  kind: z.enum(['command', 'fileChange', 'permissions', 'userInput', 'elicitation']),
  command: z.string().max(1_048_576).nullable(),
  changes: z
    .array(z.object({ path: z.string().max(4096), kind: z.enum(['add', 'delete', 'update']), movePath: z.string().max(4096).nullable(), diff: z.string().max(4_194_304) }))
    .max(1000),
  questions: z.array(z.object({ id: z.string(), header: z.string(), question: z.string(), options: z.array(z.string()), secret: z.boolean() })).max(64),
  request: z.string().max(1_048_576).nullable(),
  /** Relative to the thread's working directory ('' is that directory itself), so that it means the same on every host; absolute outside it. */
  cwd: z.string().max(4096).nullable(),
  reason: z.string().max(65_536).nullable(),
  digest: z.string().regex(/^[0-9a-f]{64}$/),
});
export type CarriedApproval = z.infer<typeof carriedApproval>;

/** What of a request is digested: all that the user is shown and that Codex would act on. */
export type ApprovalSubject = Omit<CarriedApproval, 'digest' | 'reason'> & { readonly threadId: string };

/** SHA-256 of an approval's subject. The same request on another host, after a handoff, has the same digest. */
export function approvalDigest(subject: ApprovalSubject): string {
  const { threadId, kind, command, changes, questions, request, cwd } = subject;
  return digestOf({ threadId, kind, command, changes, questions, request, cwd });
}
