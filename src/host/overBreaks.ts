import { systemClock, type Clock } from '../relay/clock';
import { RelayError } from '../relay/relayError';
import { HostError, isAway } from './hostError';
import { describeError } from './wireError';

const PAUSE_FIRST_MS = 500;
const PAUSE_LAST_MS = 15_000;
/** For so long nothing may get through. */
const PATIENCE_MS = 10 * 60_000;

const isBreak = (reason: string): boolean => reason === 'connection-lost' || reason === 'transfer-incomplete' || isAway(reason);

/** Whether a handoff that was given up for this reason may be done again as it was, so that what came of it is worth keeping. */
export function mayBeTakenUp(reason: string): boolean {
  return isBreak(reason) || reason === 'interrupted' || reason === 'superseded';
}

export interface OverBreaks {
  readonly signal: AbortSignal;
  /** The connection is gone; it is tried again. */
  readonly onBreak: (error: { readonly reason: string; readonly message: string }) => void;
  readonly clock?: Clock;
  /** Draws from 0 (inclusive) to 1 (exclusive). */
  readonly random?: () => number;
  readonly patienceMs?: number;
}

/**
 * Does again what a broken connection ended, after pauses that grow and vary, for as long as something gets through now and
 * then. `attempt` must end in the same state however often it is begun, and says by `progressed` that it got somewhere.
 * Throws what no other attempt would mend, HostError `cancelled`, and at the end of the patience what the last attempt failed with.
 */
export async function overBreaks<T>(attempt: (progressed: () => void) => Promise<T>, options: OverBreaks): Promise<T> {
  const { signal, clock = systemClock, random = Math.random, patienceMs = PATIENCE_MS } = options;
  let brokenSince: number | null = null;
  let pauseMs = PAUSE_FIRST_MS;
  for (;;) {
    try {
      return await attempt(() => {
        brokenSince = null;
        pauseMs = PAUSE_FIRST_MS;
      });
    } catch (error) {
      if (signal.aborted) throw new HostError('cancelled', 'Cancelled.', { cause: error });
      if (!RelayError.is(error) && !(HostError.is(error) && isBreak(error.reason))) throw error;
      const known = describeError(error);
      brokenSince ??= clock.now();
      if (clock.now() - brokenSince >= patienceMs) {
        throw new HostError(HostError.is(error) ? error.reason : 'connection-lost', `Nothing got through for ${Math.round(patienceMs / 60_000)} minutes: ${known.message}`, { cause: error });
      }
      options.onBreak(known);
      // So that two that lost each other at once do not go on missing each other.
      await pause(pauseMs * (0.5 + random() / 2), clock, signal);
      pauseMs = Math.min(PAUSE_LAST_MS, pauseMs * 2);
    }
  }
}

async function pause(milliseconds: number, clock: Clock, signal: AbortSignal): Promise<void> {
  await new Promise<void>((fulfil, reject) => {
    const abort = () => {
      stop();
      reject(new HostError('cancelled', 'Cancelled.'));
    };
    const stop = clock.after(milliseconds, () => {
      signal.removeEventListener('abort', abort);
      fulfil();
    });
    signal.addEventListener('abort', abort, { once: true });
    if (signal.aborted) abort();
  });
}
