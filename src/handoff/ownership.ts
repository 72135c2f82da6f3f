/**
 * Who owns a thread, as the fold of its ledger: the journal of every event of every handoff that this host took part in,
 * on either side. A thread without a ledger has never moved: it belongs to the host that has it, at epoch 0.
 */
import { z } from 'zod';
import { destinationEvent, reduceDestination, type DestinationEvent, type DestinationState } from './destinationTransaction';
import { HandoffError } from './handoffError';
import { reduceSource, sourceEvent, type SourceEvent, type SourceState } from './sourceTransaction';

export const ledgerRecord = z.discriminatedUnion('side', [
  z.object({ version: z.literal(1), at: z.iso.datetime(), side: z.literal('source'), event: sourceEvent }),
  z.object({ version: z.literal(1), at: z.iso.datetime(), side: z.literal('destination'), event: destinationEvent }),
]);
export type LedgerRecord = z.infer<typeof ledgerRecord>;

export interface Ledger {
  readonly source: SourceState;
  readonly destination: DestinationState;
  /** Host id of the owner, or null for this host (which may never have heard of the thread). */
  readonly movedTo: { readonly hostId: string; readonly name: string } | null;
  /** Epochs only rise. */
  readonly epoch: number;
  /** The host that this one last got the thread from. */
  readonly cameFrom: string | null;
  /** Whether the thread has left this host without having come to it before: it is from here. */
  readonly native: boolean;
}

export const emptyLedger: Ledger = { source: { is: 'none' }, destination: { is: 'none' }, movedTo: null, epoch: 0, cameFrom: null, native: false };

/** The ledger after a source event. Throws HandoffError where the event is not possible now. */
export function reduceLedgerSource(ledger: Ledger, event: SourceEvent): Ledger {
  if (event.type === 'begun') {
    if (ledger.movedTo !== null) throw new HandoffError('thread-moved', `The thread moved to ${ledger.movedTo.name}; hand it off from there.`);
    if (isMoving(ledger)) throw new HandoffError('thread-moving', 'A handoff of this thread is under way; wait for it or cancel it.');
    if (event.epoch !== ledger.epoch + 1) throw new HandoffError('stale-epoch', `The thread is at epoch ${ledger.epoch}; a handoff must raise it by one, not to ${event.epoch}.`);
  }
  const source = reduceSource(ledger.source, event);
  return event.type === 'committed' && source.is === 'committed'
    ? { ...ledger, source, movedTo: { hostId: source.destination, name: source.destinationName }, epoch: source.epoch, native: ledger.native || ledger.epoch === 0 }
    : { ...ledger, source };
}

/** The ledger after a destination event. Throws HandoffError where the event is not possible now. */
export function reduceLedgerDestination(ledger: Ledger, event: DestinationEvent): Ledger {
  if (event.type === 'offered') {
    if (isMoving(ledger)) throw new HandoffError('thread-moving', 'A handoff of this thread is under way on the destination already.');
    // Only the owner can offer, so an offer to the owner means that the two ledgers tell different stories: one of them was
    // restored from a backup or copied. (At epoch 0 the ledger cannot tell whether the thread is here: its host has to look.)
    if (ledger.epoch > 0 && ledger.movedTo === null) throw new HandoffError('thread-owned', `The destination owns the thread already, at epoch ${ledger.epoch}; its copy and the one of ${event.sourceName} have diverged. Fork one of them.`);
    if (event.epoch <= ledger.epoch) throw new HandoffError('stale-epoch', `The destination knows the thread at epoch ${ledger.epoch}; an offer at epoch ${event.epoch} is out of date.`);
  }
  const destination = reduceDestination(ledger.destination, event);
  return event.type === 'committed' && destination.is === 'committed'
    ? { ...ledger, source: closedByReturn(ledger.source), destination, movedTo: null, epoch: destination.epoch, cameFrom: destination.source }
    : { ...ledger, destination };
}

/**
 * A thread that comes back proves that the host it went to took it, though its acknowledgement may have been lost; left
 * open, that handoff would stand in the way of the next one.
 */
const closedByReturn = (source: SourceState): SourceState => (source.is === 'committed' && source.letGo ? reduceSource(source, { type: 'delivered' }) : source);

export function reduceLedger(ledger: Ledger, record: LedgerRecord): Ledger {
  return record.side === 'source' ? reduceLedgerSource(ledger, record.event) : reduceLedgerDestination(ledger, record.event);
}

/**
 * Whether a handoff of the thread is under way on this host, so that no turn may start and no other handoff begin. A
 * source that has let go is done with it, even while the destination has yet to acknowledge.
 */
export function isMoving({ source, destination }: Ledger): boolean {
  const leaving = !['none', 'closed', 'aborted'].includes(source.is) && !(source.is === 'committed' && source.letGo);
  return leaving || !['none', 'active', 'withdrawn'].includes(destination.is);
}

/** Whether this host may run turns on the thread. */
export const mayRun = (ledger: Ledger): boolean => ledger.movedTo === null && !isMoving(ledger);
