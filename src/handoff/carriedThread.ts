/** What travels with a thread beside its rollout and its working state: what Codex keeps outside the rollout, or in memory only. */
import { z } from 'zod';
import { carriedApproval } from './approval';
import { approvalsReviewer, policy, requirements } from './policy';

export const carriedThread = z.object({
  name: z.string().max(1024).nullable(),
  model: z.string().max(256).nullable(),
  modelProvider: z.string().max(256),
  policy,
  /** Who decides on approvals: a person, or one of Codex's automatic reviewers. */
  approvalsReviewer,
  /** Constraints of the source's administrator; they go on holding at the destination. */
  requirements: requirements.nullable(),
  goal: z.object({ objective: z.string().max(65_536), status: z.string().max(64), tokenBudget: z.number().nullable() }).nullable(),
  approvals: z.array(carriedApproval).max(256),
  /** Files that did not come, in words, for the note that the agent gets. */
  leftBehind: z.array(z.string().max(1024)).max(64),
});
export type CarriedThread = z.infer<typeof carriedThread>;
