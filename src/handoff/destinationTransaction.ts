/**
 * The destination's side of a handoff as a pure reducer. It acts on the source's word alone: it owns the thread once
 * `committed` is journaled, which it is only for a receipt that it gave itself.
 */
import { z } from 'zod';
import { HandoffError } from './handoffError';
import { receipt, receiptHash } from './receipt';

const identity = z.object({
  handoffId: z.string().regex(/^[0-9a-f]{32}$/),
  threadId: z.string(),
  source: z.string(),
  sourceName: z.string(),
  epoch: z.number().int().positive(),
  /** Hosts that had the thread before its source did, as the source knows. */
  trail: z.array(z.string()).max(64).optional(),
});
type Identity = z.infer<typeof identity>;

/** Where the thread goes on: the answer to the source's commit, however often it is repeated. */
export const placement = z.object({ threadId: z.string(), worktree: z.string(), branch: z.string().nullable(), notes: z.array(z.string()) });
type Placement = z.infer<typeof placement>;

export const destinationEvent = z.discriminatedUnion('type', [
  identity.extend({ type: z.literal('offered') }),
  /** Everything is on this disk, restored, hashed again, and synced. */
  z.object({
    type: z.literal('prepared'),
    receipt,
    /** It is all that the source says it sent; else the source refuses the receipt. */
    complete: z.boolean().optional(),
  }),
  z.object({ type: z.literal('committed'), receiptHash: z.string() }),
  z.object({ type: z.literal('activated'), placement }),
  z.object({ type: z.literal('withdrawn'), reason: z.string() }),
  z.object({ type: z.literal('discarded') }),
]);
export type DestinationEvent = z.infer<typeof destinationEvent>;

type Receipt = z.infer<typeof receipt>;

export type DestinationState =
  | { readonly is: 'none' }
  | (Identity & { readonly is: 'receiving' })
  | (Identity & { readonly is: 'prepared'; readonly receipt: Receipt; readonly complete: boolean })
  | (Identity & { readonly is: 'committed'; readonly receipt: Receipt })
  | (Identity & { readonly is: 'active'; readonly receipt: Receipt; readonly placement: Placement })
  | (Identity & { readonly is: 'withdrawing' | 'withdrawn'; readonly reason: string });

/** `askSource`: only the source knows whether it committed. `activate` resumes the thread; `discard` removes all that was received. */
export type DestinationEffect = 'activate' | 'discard' | 'askSource';

const unexpected = (state: DestinationState, event: DestinationEvent): never => {
  throw new HandoffError('unexpected-event', `A handoff that is ${state.is} at its destination cannot take the event ${event.type}.`);
};

/** The state after an event. Throws HandoffError: `unexpected-event`, or `receipt-mismatch` for a commit on a receipt that was not given. */
export function reduceDestination(state: DestinationState, event: DestinationEvent): DestinationState {
  switch (event.type) {
    case 'offered': {
      if (state.is !== 'none' && state.is !== 'active' && state.is !== 'withdrawn') return unexpected(state, event);
      const { type: _, ...handoff } = event;
      return { is: 'receiving', ...handoff };
    }
    case 'prepared': {
      if (state.is !== 'receiving') return unexpected(state, event);
      if ((['handoffId', 'threadId', 'source', 'epoch'] as const).some((key) => event.receipt[key] !== state[key])) return unexpected(state, event);
      return { ...state, is: 'prepared', receipt: event.receipt, complete: event.complete ?? false };
    }
    case 'committed':
      if (state.is !== 'prepared') return unexpected(state, event);
      if (event.receiptHash !== receiptHash(state.receipt)) {
        throw new HandoffError('receipt-mismatch', 'The commit names a receipt that this host did not give. Nothing was activated.');
      }
      return committedTo(state);
    case 'activated':
      return state.is === 'committed' ? { ...state, is: 'active', placement: event.placement } : unexpected(state, event);
    case 'withdrawn': {
      if (state.is !== 'receiving' && state.is !== 'prepared') return unexpected(state, event);
      const { handoffId, threadId, source, sourceName, epoch } = state;
      return { is: 'withdrawing', handoffId, threadId, source, sourceName, epoch, reason: event.reason };
    }
    case 'discarded':
      return state.is === 'withdrawing' ? { ...state, is: 'withdrawn' } : unexpected(state, event);
  }
}

/** The state of a destination that owns what it has prepared. */
export function committedTo({ complete: _, ...prepared }: Extract<DestinationState, { readonly is: 'prepared' }>): DestinationState {
  return { ...prepared, is: 'committed' };
}

/** Whether a destination may give up without the source's word: the source has not committed on what is here, nor will it. */
export const mayGiveUp = (state: DestinationState): boolean => state.is === 'receiving' || (state.is === 'prepared' && !state.complete);

/** What is to be done in a state that a restarted host finds in its journal. */
export function destinationEffects(state: DestinationState): readonly DestinationEffect[] {
  switch (state.is) {
    case 'none':
    case 'active':
    case 'withdrawn':
      return [];
    case 'receiving':
    case 'prepared':
      return ['askSource'];
    case 'committed':
      return ['activate'];
    case 'withdrawing':
      return ['discard'];
  }
}

/** One sentence for people: what is the case at the destination, and what is still possible. */
export function describeDestination(state: DestinationState): string {
  switch (state.is) {
    case 'none':
      return 'Nothing of the thread came here.';
    case 'receiving':
      return `The thread belongs to ${state.sourceName}, which is sending it here; the handoff can be cancelled on either host.`;
    case 'prepared':
      return state.complete
        ? `Everything is here, and only ${state.sourceName} knows whether it has committed; this host keeps it and goes on asking. If that host will not return, the thread can be reclaimed here.`
        : `What is here is not what ${state.sourceName} sent, which will give the handoff up; it can be cancelled on either host.`;
    case 'committed':
      return `The thread belongs to this host, which is yet to resume it in its worktree and goes on trying; the handoff can no longer be cancelled.`;
    case 'active':
      return `The thread came from ${state.sourceName} and goes on here.`;
    case 'withdrawing':
      return `The handoff was given up, and what came from ${state.sourceName} is being removed; the thread is there.`;
    case 'withdrawn':
      return `The handoff was given up; the thread stayed at ${state.sourceName} and can be handed off again.`;
  }
}
