/**
 * The destination's statement of all that it holds. The source lets go of a thread only on a receipt whose hashes equal
 * what it captured itself.
 */
import { z } from 'zod';
import { canonicalJson, digestOf } from './canonicalJson';

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);

export const rolloutHash = z.object({
  /** File name of the rollout, without directory. */
  name: z.string().max(255),
  /** Length and hash of all lines after the first, which each host rewrites for its own paths. */
  bodyBytes: z.number().int().nonnegative(),
  bodySha256: sha256,
});
export type RolloutHash = z.infer<typeof rolloutHash>;

/** What both sides must agree on, byte for byte. */
export const holdings = z.object({
  /** Fingerprint of the working state; see src/git/README.md. */
  workingState: sha256,
  head: z.string().regex(/^([0-9a-f]{40}|[0-9a-f]{64})$/).nullable(),
  rollouts: z.array(rolloutHash).max(10_000),
  /** Digest of everything else that travelled: name, policy, goal, approvals, … */
  thread: sha256,
  /** Digest of the ignored files that crossed at the user's wish: those that were placed as read back, the others as they arrived. */
  included: sha256.optional(),
});
export type Holdings = z.infer<typeof holdings>;

export const receipt = z.object({
  version: z.literal(1),
  handoffId: z.string().regex(/^[0-9a-f]{32}$/),
  threadId: z.string().max(64),
  epoch: z.number().int().positive(),
  source: z.string().max(64),
  destination: z.string().max(64),
  /** Handshake hash of the channel over which the receipt was asked for, hex: a receipt from another meeting is none. */
  channel: z.string().regex(/^[0-9a-f]{64}$/),
  holdings,
});
export type Receipt = z.infer<typeof receipt>;

/** SHA-256 of a receipt, by which it is named. */
export const receiptHash = (value: Receipt): string => digestOf(value);

const ordered = (value: Holdings): Holdings => ({ ...value, rollouts: [...value.rollouts].sort((a, b) => (a.name < b.name ? -1 : 1)) });

/** The first thing in which a receipt differs from what the source expects, in words; null where they agree. */
export function receiptDifference(actual: Receipt, expected: Receipt): string | null {
  for (const key of ['version', 'handoffId', 'threadId', 'epoch', 'source', 'destination', 'channel'] as const) {
    if (actual[key] !== expected[key]) return `${key} is ${String(actual[key])}, expected ${String(expected[key])}`;
  }
  return holdingsDifference(actual.holdings, expected.holdings);
}

/** The first thing in which what is held differs from what was sent, in words; null where they agree. */
export function holdingsDifference(actual: Holdings, expected: Holdings): string | null {
  const [held, sent] = [ordered(actual), ordered(expected)];
  if (held.workingState !== sent.workingState) return 'the restored working state differs from the captured one';
  if (held.head !== sent.head) return `HEAD is ${held.head ?? 'unborn'}, expected ${sent.head ?? 'unborn'}`;
  if (canonicalJson(held.rollouts) !== canonicalJson(sent.rollouts)) return 'the rollout files differ from those that were sent';
  if (held.thread !== sent.thread) return "the thread's name, policy or approvals differ from those that were sent";
  if (held.included !== sent.included) return 'the ignored files that were placed differ from those that were sent';
  return null;
}
