/**
 * Who owns a thread, as one host tells another, and which of two such claims holds. A handoff raises the epoch by one; a
 * reclaim raises it to the next thousand, beyond all that a lost host can reach by handing the thread on.
 */
import { z } from 'zod';

/** Room for the handoffs between a reclaim and the moment in which the last host has heard of it. */
const HANDOFFS_PER_RECLAIM = 1000;

const owner = z.object({ hostId: z.string(), name: z.string() });
export type Owner = z.infer<typeof owner>;

export interface Claim {
  readonly epoch: number;
  readonly owner: Owner;
}

/** What happens to the ownership of a thread outside of a handoff, in the order in which it is journaled. */
export const ownerEvent = z.discriminatedUnion('type', [
  /** The user takes the thread back from a host that will not return. */
  z.object({ type: z.literal('reclaimed'), epoch: z.number().int().positive() }),
  /** A reclaimed thread is usable here. */
  z.object({ type: z.literal('taken') }),
  /** Another host owns the thread at a higher epoch. What this host had of it is kept as the thread `fork`. */
  z.object({ type: z.literal('superseded'), epoch: z.number().int().positive(), owner, fork: z.string() }),
  z.object({ type: z.literal('kept') }),
  /** A host has heard who owns the thread. */
  z.object({ type: z.literal('told'), hostId: z.string() }),
]);
export type OwnerEvent = z.infer<typeof ownerEvent>;

/** The epoch at which a host reclaims a thread that it knows at `epoch`. */
export const reclaimEpoch = (epoch: number): number => (Math.floor(epoch / HANDOFFS_PER_RECLAIM) + 1) * HANDOFFS_PER_RECLAIM;

/**
 * Whether `one` holds against `other`: the higher epoch does. Two hosts that reclaimed the same thread without knowing of each
 * other are at one epoch; then every host that compares them must decide alike.
 */
export const holdsAgainst = (one: Claim, other: Claim): boolean => one.epoch > other.epoch || (one.epoch === other.epoch && one.owner.hostId > other.owner.hostId);
