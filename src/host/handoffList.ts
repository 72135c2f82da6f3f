import { describeDestination, mayGiveUp, type DestinationState } from '../handoff/destinationTransaction';
import { describeSource, isOver, isUndecided, type SourceState } from '../handoff/sourceTransaction';
import { HostError } from './hostError';
import type { LedgerStore } from './ledgerStore';
import type { HandoffSummary } from './protocol';

/** The last handoff of each thread on either side of this host, newest first, and reclaims that are not carried out yet. */
export function listHandoffs(ledger: LedgerStore): HandoffSummary[] {
  const all = [...ledger.entries()].flatMap(([threadId, { source, destination }]) => [
    ...(source.is === 'none' ? [] : [outgoing(source, ledger.since(threadId, 'source'))]),
    ...(destination.is === 'none' ? [] : [incoming(destination, ledger.since(threadId, 'destination'))]),
  ]);
  return all.sort((a, b) => (a.since < b.since ? 1 : -1));
}

/** Throws HostError `no-such-handoff`. */
export function findHandoff(ledger: LedgerStore, handoffId: string): HandoffSummary {
  const found = listHandoffs(ledger).find((handoff) => handoff.handoffId === handoffId);
  if (found === undefined) throw new HostError('no-such-handoff', `This host knows no handoff ${handoffId}. "baton handoffs" lists those that it does.`);
  return found;
}

function outgoing(state: Exclude<SourceState, { is: 'none' }>, since: string | null): HandoffSummary {
  const { handoffId, threadId, epoch, destination, destinationName, is } = state;
  return { handoffId, threadId, direction: 'out', peer: { hostId: destination, name: destinationName }, epoch, state: is, since: since ?? '', description: describeSource(state), open: !isOver(state), canAbort: isUndecided(state) };
}

function incoming(state: Exclude<DestinationState, { is: 'none' }>, since: string | null): HandoffSummary {
  const { handoffId, threadId, epoch, source, sourceName, is } = state;
  return { handoffId, threadId, direction: 'in', peer: { hostId: source, name: sourceName }, epoch, state: is, since: since ?? '', description: describeDestination(state), open: is !== 'active' && is !== 'withdrawn', canAbort: mayGiveUp(state) };
}

