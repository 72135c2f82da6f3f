import { HandoffError } from './handoffError';
import type { Holdings, Receipt } from './receipt';
import { sourceEffects, type HandoffIdentity, type SourceEffect, type SourceEvent, type SourceState } from './sourceTransaction';

/** What a source needs from outside. Every effect may be performed again after a crash and must then end in the same state. */
export interface SourcePorts {
  /** Writes the event to the ledger with fsync and gives the state that follows from it. Throws where it is not possible. */
  journal(event: SourceEvent): Promise<SourceState>;
  quiesce(handoff: HandoffIdentity, signal: AbortSignal): Promise<void>;
  capture(handoff: HandoffIdentity, signal: AbortSignal): Promise<Holdings>;
  transfer(handoff: HandoffIdentity, signal: AbortSignal): Promise<void>;
  /** Has the destination restore everything; gives its receipt and the handshake hash of the channel it came over. */
  stage(handoff: HandoffIdentity, signal: AbortSignal): Promise<{ readonly receipt: Receipt; readonly channel: string }>;
  /** Tells the destination that it owns the thread; returns once it has acknowledged. */
  deliver(handoff: HandoffIdentity, receipt: Receipt): Promise<void>;
  letGo(handoff: HandoffIdentity): Promise<void>;
  /** Makes the thread usable at the source again, and tells the destination if it can be reached (else it asks later). */
  undo(handoff: HandoffIdentity, reason: string): Promise<void>;
  /** The stable reason and the message of an error, as the user is told. */
  describe(error: unknown): { readonly reason: string; readonly message: string };
  /** An effect past the commit point that failed; it is tried again later. */
  onRetry(effect: SourceEffect, error: unknown): void;
}

const cancelled = { reason: 'cancelled', message: 'The handoff was cancelled. The thread stays here.' };

/**
 * Drives a handoff from `state` as far as it goes: to `closed`, to `aborted`, or to `committed` where the destination
 * could not be told yet. `signal` cancels, but only before the commit point. Rejects where the journal cannot be written:
 * what is the case then is what the journal says when it is read again, and recovery goes on from there.
 */
export async function runSource(state: SourceState, ports: SourcePorts, signal: AbortSignal): Promise<SourceState> {
  const failed = new Set<SourceEffect>();
  for (;;) {
    const effect = sourceEffects(state).find((candidate) => !failed.has(candidate));
    if (effect === undefined || state.is === 'none') return state;
    let event: SourceEvent | null = null;
    try {
      event = await perform(effect, state, ports, signal);
      state = await ports.journal(event);
    } catch (error) {
      // The commit may be on disk although its write failed, so it must not be followed by `failed`.
      if (event?.type === 'committed') throw error;
      if (state.is === 'committed' || state.is === 'undoing') {
        failed.add(effect);
        ports.onRetry(effect, error);
      } else {
        state = await ports.journal({ type: 'failed', ...(signal.aborted ? cancelled : ports.describe(error)) });
      }
    }
  }
}

async function perform(effect: SourceEffect, state: Exclude<SourceState, { is: 'none' }>, ports: SourcePorts, signal: AbortSignal): Promise<SourceEvent> {
  const beforeCommit = !['committed', 'undoing'].includes(state.is);
  if (beforeCommit && signal.aborted) return { type: 'failed', ...cancelled };
  switch (effect) {
    case 'quiesce':
      await ports.quiesce(state, signal);
      return { type: 'quiesced' };
    case 'capture':
      return { type: 'captured', holdings: await ports.capture(state, signal) };
    case 'transfer':
      await ports.transfer(state, signal);
      return { type: 'transferred' };
    case 'stage':
      return { type: 'receipt', ...(await ports.stage(state, signal)) };
    case 'commit':
      return { type: 'committed' };
    case 'deliver':
      if (state.is !== 'committed') throw new HandoffError('unexpected-event', `Nothing can be delivered while the handoff is ${state.is}.`);
      await ports.deliver(state, state.receipt);
      return { type: 'delivered' };
    case 'letGo':
      await ports.letGo(state);
      return { type: 'letGo' };
    case 'undo':
      await ports.undo(state, state.is === 'undoing' ? state.reason : 'interrupted');
      return { type: 'undone' };
  }
}
