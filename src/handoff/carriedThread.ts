/** What travels with a thread beside its rollout and its working state: what Codex keeps outside the rollout, or in memory only. */
import { z } from 'zod';
import { carriedApproval, trailEntry } from './approval';
import { approvalsReviewer, policy, requirements } from './policy';

const textElement = z.object({ byteRange: z.object({ start: z.number().int().nonnegative(), end: z.number().int().nonnegative() }), placeholder: z.string().max(65_536).nullable() });
/** Longest media inside what is queued, as a data URL: 16 MiB in base64. */
const MEDIA_LIMIT = 23_000_000;
const mediaUrl = z.string().max(MEDIA_LIMIT).regex(/^(data:|https:)/, 'neither inside nor on the web');

/** Codex's `UserInput`, in as far as it means the same on every machine: nothing in it names a file. */
const queuedInput = z.discriminatedUnion('type', [
  z.object({ type: z.literal('text'), text: z.string().max(4_194_304), text_elements: z.array(textElement).max(10_000) }),
  z.object({ type: z.literal('image'), url: mediaUrl, detail: z.enum(['auto', 'low', 'high', 'original']).optional() }),
  z.object({ type: z.literal('audio'), url: mediaUrl }),
]);

export const carriedThread = z.object({
  name: z.string().max(1024).nullable(),
  model: z.string().max(256).nullable(),
  modelProvider: z.string().max(256),
  policy,
  /** Who decides on approvals: a person, or one of Codex's automatic reviewers. */
  approvalsReviewer,
  /** Constraints of the source's administrator; they go on holding at the destination. */
  requirements: requirements.nullable(),
  /** `tokenBudget` is what is left of it. */
  goal: z.object({ objective: z.string().max(65_536), status: z.string().max(64), tokenBudget: z.number().nullable() }).nullable(),
  approvals: z.array(carriedApproval).max(256),
  /** What was decided about it before, oldest first: the newest of it, as far as the audit log goes back. */
  trail: z.array(trailEntry).max(200).default([]),
  /** Threads that it spawned and that have something pending. */
  subAgents: z.array(z.object({ threadId: z.uuid(), approvals: z.array(carriedApproval).max(256) })).max(256).default([]),
  /** What waits until the thread has time, next one first; `flowing` where it would have gone on by itself. */
  queue: z
    .object({
      flowing: z.boolean(),
      waiting: z.array(z.object({ input: z.array(queuedInput).min(1).max(100), clientUserMessageId: z.string().min(1).max(1024), responsesapiClientMetadata: z.record(z.string().max(256), z.string().max(4096)).nullable() })).max(100),
    })
    .default({ flowing: false, waiting: [] }),
  attachments: z
    .array(z.object({ attachmentType: z.string().min(1).max(256), identityKey: z.string().min(1).max(1024), payload: z.unknown() }).refine(({ payload }) => JSON.stringify(payload ?? null).length <= 262_144, 'too large'))
    .max(1000)
    .default([]),
  /** Files that did not come, in words, for the note that the agent gets. */
  leftBehind: z.array(z.string().max(1024)).max(64),
});
export type CarriedThread = z.infer<typeof carriedThread>;
