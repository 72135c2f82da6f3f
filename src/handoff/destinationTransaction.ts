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
});
type Identity = z.infer<typeof identity>;

/** Where the thread goes on: the answer to the source's commit, however often it is repeated. */
export const placement = z.object({ threadId: z.string(), worktree: z.string(), branch: z.string().nullable(), notes: z.array(z.string()) });
type Placement = z.infer<typeof placement>;

export const destinationEvent = z.discriminatedUnion('type', [
  identity.extend({ type: z.literal('offered') }),
  /** Everything is on this disk, restored, hashed again, and synced. */
  z.object({ type: z.literal('prepared'), receipt }),
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
  | (Identity & { readonly is: 'prepared' | 'committed'; readonly receipt: Receipt })
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
      return { ...state, is: 'prepared', receipt: event.receipt };
    }
    case 'committed':
      if (state.is !== 'prepared') return unexpected(state, event);
      if (event.receiptHash !== receiptHash(state.receipt)) {
        throw new HandoffError('receipt-mismatch', 'The commit names a receipt that this host did not give. Nothing was activated.');
      }
      return { ...state, is: 'committed' };
    case 'activated':
      return state.is === 'committed' ? { ...state, is: 'active', placement: event.placement } : unexpected(state, event);
    case 'withdrawn': {
      if (state.is !== 'receiving' && state.is !== 'prepared') return unexpected(state, event);
      const { handoffId, threadId, source, sourceName, epoch } = state;
      return { handoffId, threadId, source, sourceName, epoch, is: 'withdrawing', reason: event.reason };
    }
    case 'discarded':
      return state.is === 'withdrawing' ? { ...state, is: 'withdrawn' } : unexpected(state, event);
  }
}

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
