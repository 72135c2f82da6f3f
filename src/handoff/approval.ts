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

/** What became of a thread's approvals on a host, as its audit log has it; `subject` is what was asked, cut short where it is long. */
export const trailEntry = z.object({
  event: z.enum(['approval-requested', 'approval-carried', 'approval-decided', 'approval-applied']),
  at: z.iso.datetime(),
  hostId: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
  hostName: z.string().min(1).max(64),
  digest: z.string().regex(/^[0-9a-f]{64}$/),
  epoch: z.number().int().nonnegative(),
  subject: z.string().max(1024).optional(),
  decision: z.string().max(64).optional(),
  by: z.string().max(64).optional(),
});
export type TrailEntry = z.infer<typeof trailEntry>;

/** What of a request is digested: all that the user is shown and that Codex would act on. */
export type ApprovalSubject = Omit<CarriedApproval, 'digest' | 'reason'> & { readonly threadId: string };

const SUBJECT_LENGTH = 1024;

/** What is asked for, in one text for a log; what is long is cut, as the digest says what exactly it was. */
export function inShort({ command, changes, questions, request }: Pick<ApprovalSubject, 'command' | 'changes' | 'questions' | 'request'>): string {
  const text = command ?? request ?? [...changes.map(({ kind, path, movePath }) => `${kind} ${path}${movePath === null ? '' : ` → ${movePath}`}`), ...questions.map(({ question }) => question)].join(', ');
  return text.length > SUBJECT_LENGTH ? `${text.slice(0, SUBJECT_LENGTH - 1)}…` : text;
}

/** Whether it is about changes of files that are not known: Codex asks for none without any. */
export const isUnseen = ({ kind, changes }: Pick<ApprovalSubject, 'kind' | 'changes'>): boolean => kind === 'fileChange' && changes.length === 0;

/** SHA-256 of an approval's subject. The same request on another host, after a handoff, has the same digest. */
export function approvalDigest(subject: ApprovalSubject): string {
  const { threadId, kind, command, changes, questions, request, cwd } = subject;
  return digestOf({ threadId, kind, command, changes, questions, request, cwd });
}
