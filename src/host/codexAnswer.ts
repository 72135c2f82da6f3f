import { z } from 'zod';
import { isPermitted } from './access';
import type { ApprovalMethod } from './approvalRequest';
import { HostError } from './hostError';
import { approvalDecision, type Role } from './protocol';

const decided = z.looseObject({ decision: z.union([approvalDecision, z.record(z.string(), z.unknown())]) });
const answered = z.object({ answers: z.record(z.string(), z.looseObject({ answers: z.array(z.string()) })) });

/**
 * The answer of a client that speaks Codex's own protocol: what is done with the request, for the log, and what Codex is told. A decision
 * that changes rules for later, or grants something by its own words, is an operator's. Throws HostError `not-permitted`; a ZodError for what is no answer.
 */
export function readAnswer(method: ApprovalMethod, result: unknown, role: Role): { readonly decision: string; readonly reply: unknown } {
  if (method === 'item/tool/requestUserInput') return { decision: 'accept', reply: answered.parse(result) };
  if (method === 'item/commandExecution/requestApproval' || method === 'item/fileChange/requestApproval') {
    const { decision } = decided.parse(result);
    if (typeof decision === 'string') return { decision, reply: { decision } };
    if (isPermitted(role, 'operator')) return { decision: Object.keys(decision).join(' '), reply: { decision } };
  } else if (isPermitted(role, 'operator')) {
    return { decision: z.looseObject({ action: z.string().optional() }).parse(result).action ?? 'accept', reply: result };
  }
  throw new HostError('not-permitted', 'An approver may accept or decline what was asked, and no more than that. Decide with "baton approve" or "baton reject" on the host itself, or as an operator.');
}
