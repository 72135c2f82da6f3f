/**
 * The source's side of a handoff as a pure reducer: every event is journaled before the state that follows from it is
 * acted upon, so the state after a crash is the fold of the journal. The commit point is the event `committed`.
 */
import { z } from 'zod';
import { HandoffError } from './handoffError';
import { holdings, receipt, receiptDifference } from './receipt';

const identity = z.object({
  handoffId: z.string().regex(/^[0-9a-f]{32}$/),
  threadId: z.string(),
  source: z.string(),
  destination: z.string(),
  destinationName: z.string(),
  /** The epoch that the thread has once it has moved: the present one plus one. */
  epoch: z.number().int().positive(),
});
export type HandoffIdentity = z.infer<typeof identity>;

const failure = { reason: z.string(), message: z.string() };

/** What happened, in the order in which it is journaled. */
export const sourceEvent = z.discriminatedUnion('type', [
  identity.extend({ type: z.literal('begun') }),
  z.object({ type: z.literal('quiesced') }),
  z.object({ type: z.literal('captured'), holdings }),
  z.object({ type: z.literal('transferred') }),
  z.object({ type: z.literal('receipt'), receipt, channel: z.string() }),
  z.object({ type: z.literal('committed') }),
  z.object({ type: z.literal('failed'), ...failure }),
  z.object({ type: z.literal('undone') }),
  z.object({ type: z.literal('delivered') }),
  z.object({ type: z.literal('letGo') }),
  /** The thread was taken back by another claim (ownership.ts) before the destination acknowledged: nothing more is told or let go of. */
  z.object({ type: z.literal('revoked'), message: z.string() }),
]);
export type SourceEvent = z.infer<typeof sourceEvent>;

type Holdings = z.infer<typeof holdings>;
type Receipt = z.infer<typeof receipt>;

export type SourceState =
  | { readonly is: 'none' }
  | (HandoffIdentity & { readonly is: 'quiescing' | 'capturing' })
  | (HandoffIdentity & { readonly is: 'transferring' | 'staging'; readonly holdings: Holdings })
  | (HandoffIdentity & { readonly is: 'prepared'; readonly holdings: Holdings; readonly receipt: Receipt })
  | (HandoffIdentity & { readonly is: 'committed'; readonly receipt: Receipt; readonly delivered: boolean; readonly letGo: boolean })
  | (HandoffIdentity & { readonly is: 'closed'; readonly receipt: Receipt })
  | (HandoffIdentity & { readonly is: 'revoked'; readonly message: string })
  | (HandoffIdentity & { readonly is: 'undoing' | 'aborted'; readonly reason: string; readonly message: string });

/**
 * What is to be done in a state. `undo` tells the destination to forget, and makes the thread usable at the source
 * again; `deliver` tells the destination that it owns the thread, until it acknowledges; `letGo` archives the source's copy.
 */
export type SourceEffect = 'quiesce' | 'capture' | 'transfer' | 'stage' | 'commit' | 'deliver' | 'letGo' | 'undo';

const unexpected = (state: SourceState, event: SourceEvent): never => {
  throw new HandoffError('unexpected-event', `A handoff that is ${state.is} cannot take the event ${event.type}.`);
};

/** The state after an event. Throws HandoffError `unexpected-event` where the state does not allow it. */
export function reduceSource(state: SourceState, event: SourceEvent): SourceState {
  switch (event.type) {
    case 'begun': {
      if (!isOver(state)) return unexpected(state, event);
      const { type: _, ...handoff } = event;
      return { is: 'quiescing', ...handoff };
    }
    case 'quiesced':
      return state.is === 'quiescing' ? { ...state, is: 'capturing' } : unexpected(state, event);
    case 'captured':
      return state.is === 'capturing' ? { ...state, is: 'transferring', holdings: event.holdings } : unexpected(state, event);
    case 'transferred':
      return state.is === 'transferring' ? { ...state, is: 'staging' } : unexpected(state, event);
    case 'receipt': {
      if (state.is !== 'staging') return unexpected(state, event);
      const { handoffId, threadId, epoch, source, destination } = state;
      const difference = receiptDifference(event.receipt, { version: 1, handoffId, threadId, epoch, source, destination, channel: event.channel, holdings: state.holdings });
      return difference === null
        ? { ...state, is: 'prepared', receipt: event.receipt }
        : { ...identityOf(state), is: 'undoing', reason: 'receipt-mismatch', message: `${state.destinationName} does not hold what was sent: ${difference}. The thread stays here.` };
    }
    case 'committed':
      return state.is === 'prepared'
        ? { ...identityOf(state), is: 'committed', receipt: state.receipt, delivered: false, letGo: false }
        : unexpected(state, event);
    case 'failed':
      // Past the commit point nothing is undone: what failed is tried again.
      return isUndecided(state) ? { ...identityOf(state), is: 'undoing', reason: event.reason, message: event.message } : unexpected(state, event);
    case 'undone':
      return state.is === 'undoing' ? { ...state, is: 'aborted' } : unexpected(state, event);
    case 'revoked':
      return state.is === 'committed' ? { ...identityOf(state), is: 'revoked', message: event.message } : unexpected(state, event);
    case 'delivered':
    case 'letGo': {
      if (state.is !== 'committed') return unexpected(state, event);
      const next = { ...state, delivered: state.delivered || event.type === 'delivered', letGo: state.letGo || event.type === 'letGo' };
      return next.delivered && next.letGo ? { ...identityOf(state), is: 'closed', receipt: state.receipt } : next;
    }
  }
}

/** Whether nothing is left to be done about a handoff, so that another may begin. */
export const isOver = (state: SourceState): boolean => ['none', 'closed', 'aborted', 'revoked'].includes(state.is);

type UndecidedState = Extract<SourceState, { readonly is: 'quiescing' | 'capturing' | 'transferring' | 'staging' | 'prepared' }>;

/** Whether a handoff is under way and its commit point lies ahead, so that it can still be given up. */
export function isUndecided(state: SourceState): state is UndecidedState {
  return ['quiescing', 'capturing', 'transferring', 'staging', 'prepared'].includes(state.is);
}

function identityOf({ handoffId, threadId, source, destination, destinationName, epoch }: HandoffIdentity): HandoffIdentity {
  return { handoffId, threadId, source, destination, destinationName, epoch };
}

/** What is to be done in a state, in this order; after a crash too, where each effect may find that it was done before. */
export function sourceEffects(state: SourceState): readonly SourceEffect[] {
  switch (state.is) {
    case 'none':
    case 'closed':
    case 'aborted':
    case 'revoked':
      return [];
    case 'quiescing':
      return ['quiesce'];
    case 'capturing':
      return ['capture'];
    case 'transferring':
      return ['transfer'];
    case 'staging':
      return ['stage'];
    case 'prepared':
      return ['commit'];
    case 'committed':
      return [...(state.delivered ? [] : (['deliver'] as const)), ...(state.letGo ? [] : (['letGo'] as const))];
    case 'undoing':
      return ['undo'];
  }
}

/**
 * The event with which a handoff goes on that nobody drives any more, as after a restart of its host: before the commit point it is given up (the
 * quiesced thread must not be left waiting for a person), after it nothing is decided anew. Null where nothing is to be said.
 */
export function sourceRecovery(state: SourceState): SourceEvent | null {
  return isUndecided(state) ? { type: 'failed', reason: 'interrupted', message: 'The handoff was interrupted. The thread stays here.' } : null;
}

/** One sentence for people: what is the case, and what is still possible. */
export function describeSource(state: SourceState): string {
  switch (state.is) {
    case 'none':
      return 'The thread is here.';
    case 'quiescing':
      return 'The running turn is being stopped; the handoff can be cancelled.';
    case 'capturing':
      return 'The working state is being captured; the handoff can be cancelled.';
    case 'transferring':
      return `What ${state.destinationName} lacks is being sent; the handoff can be cancelled.`;
    case 'staging':
      return `${state.destinationName} is restoring the working state; the handoff can be cancelled.`;
    case 'prepared':
      return `${state.destinationName} holds everything, and the handoff is about to be committed; from then on it can no longer be cancelled.`;
    case 'committed':
      return state.delivered
        ? `The thread is at ${state.destinationName}; the copy here is yet to be archived, which this host goes on trying.`
        : `The thread belongs to ${state.destinationName}, which has everything and has yet to acknowledge; this host goes on telling it, and the handoff can no longer be cancelled.`;
    case 'closed':
      return `The thread moved to ${state.destinationName}; it can be handed back from there.`;
    case 'revoked':
      return state.message;
    case 'undoing':
      return `The handoff was given up and is being undone, which this host goes on trying: ${state.message}`;
    case 'aborted':
      return `The handoff was given up; the thread stayed here and can be handed off again: ${state.message}`;
  }
}
