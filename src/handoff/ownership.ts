/**
 * Who owns a thread, as the fold of its ledger: the journal of every event of every handoff that this host took part in,
 * on either side, and of every reclaim that it made or heard of. A thread without a ledger has never moved: it belongs to the
 * host that has it, at epoch 0.
 */
import { z } from 'zod';
import { holdsAgainst, ownerEvent, reclaimEpoch, type Claim, type Owner, type OwnerEvent } from './claim';
import { committedTo, describeDestination, destinationEvent, reduceDestination, type DestinationEvent, type DestinationState } from './destinationTransaction';
import { HandoffError } from './handoffError';
import { describeSource, isOver, reduceSource, sourceEvent, type HandoffIdentity, type SourceEvent, type SourceState } from './sourceTransaction';

const written = { version: z.literal(1), at: z.iso.datetime() };

export const ledgerRecord = z.discriminatedUnion('side', [
  z.object({ ...written, side: z.literal('source'), event: sourceEvent }),
  z.object({ ...written, side: z.literal('destination'), event: destinationEvent }),
  z.object({ ...written, side: z.literal('owner'), event: ownerEvent }),
]);
export type LedgerRecord = z.infer<typeof ledgerRecord>;

export interface Ledger {
  readonly source: SourceState;
  readonly destination: DestinationState;
  /** The owner, or null for this host (which may never have heard of the thread). */
  readonly movedTo: Owner | null;
  /** Epochs only rise. */
  readonly epoch: number;
  /** The host that this one last got the thread from. */
  readonly cameFrom: string | null;
  /** Whether the thread has left this host without having come to it before: it is from here. */
  readonly native: boolean;
  /** Hosts that had the thread or were to get it, as this one knows. Only they are believed when they say who owns it. */
  readonly trail: readonly string[];
  /** Handoffs from here before the last one that came to nothing. Who was to get the thread by them may have prepared for it, and is yet to ask. */
  readonly givenUp: readonly Pick<HandoffIdentity, 'handoffId' | 'destination'>[];
  /** `take`: it was reclaimed and is yet to be made usable here. `keep`: another host reclaimed it, and what is here is yet to be kept as a fork. */
  readonly due: 'take' | 'keep' | null;
  /** Hosts that are yet to hear who owns the thread since it was reclaimed. */
  readonly untold: readonly string[];
  /** The thread as which this host keeps what it had when another one reclaimed the thread. */
  readonly fork: string | null;
}

export const emptyLedger: Ledger = { source: { is: 'none' }, destination: { is: 'none' }, movedTo: null, epoch: 0, cameFrom: null, native: false, trail: [], givenUp: [], due: null, untold: [], fork: null };

const LONGEST_TRAIL = 64;
const MOST_GIVEN_UP = 64;
const following = (trail: readonly string[], ...hosts: readonly string[]): readonly string[] => [...trail.filter((host) => !hosts.includes(host)), ...new Set(hosts)].slice(-LONGEST_TRAIL);

/** The ledger after a source event. Throws HandoffError where the event is not possible now. */
export function reduceLedgerSource(ledger: Ledger, event: SourceEvent): Ledger {
  if (event.type === 'begun') {
    if (ledger.movedTo !== null) throw new HandoffError('thread-moved', `The thread moved to ${ledger.movedTo.name}; hand it off from there.`);
    if (isMoving(ledger)) throw new HandoffError('thread-moving', `The thread is not free to be handed off. ${describeLedger(ledger)} "baton handoffs" shows it.`);
    if (event.epoch !== ledger.epoch + 1) throw new HandoffError('stale-epoch', `The thread is at epoch ${ledger.epoch}; a handoff must raise it by one, not to ${event.epoch}.`);
  }
  const source = reduceSource(ledger.source, event);
  // Who is being handed the thread may come to have all of it, and may reclaim it from there.
  if (event.type === 'begun') return { ...ledger, source, trail: following(ledger.trail, event.destination), givenUp: withLast(ledger) };
  return event.type === 'committed' && source.is === 'committed'
    ? { ...ledger, source, movedTo: { hostId: source.destination, name: source.destinationName }, epoch: source.epoch, native: ledger.native || ledger.epoch === 0 }
    : { ...ledger, source };
}

/** The handoffs that came to nothing, with the last one if it did. */
const withLast = ({ source, givenUp }: Ledger): Ledger['givenUp'] =>
  source.is === 'aborted' || source.is === 'revoked' ? [...givenUp, { handoffId: source.handoffId, destination: source.destination }].slice(-MOST_GIVEN_UP) : givenUp;

/** The ledger after a destination event. Throws HandoffError where the event is not possible now. */
export function reduceLedgerDestination(ledger: Ledger, event: DestinationEvent): Ledger {
  if (event.type === 'offered') {
    if (isMoving(ledger)) throw new HandoffError('thread-moving', `Another handoff of this thread is under way on the destination. ${describeLedger(ledger)}`);
    // Only the owner can offer, so an offer to the owner means that the two ledgers tell different stories: the thread was
    // reclaimed, or one of them was restored from a backup. (At epoch 0 the ledger cannot tell whether the thread is here: its host has to look.)
    if (ledger.epoch > 0 && ledger.movedTo === null) throw new HandoffError('thread-owned', `The destination owns the thread already, at epoch ${ledger.epoch}; its copy and the one of ${event.sourceName} have diverged. Fork one of them.`);
    if (event.epoch <= ledger.epoch) throw new HandoffError('stale-epoch', `The destination knows the thread at epoch ${ledger.epoch}; an offer at epoch ${event.epoch} is out of date.`);
  }
  const destination = reduceDestination(ledger.destination, event);
  return event.type === 'committed' && destination.is === 'committed'
    ? { ...ledger, source: closedByReturn(ledger.source, destination.epoch), destination, movedTo: null, epoch: destination.epoch, cameFrom: destination.source, trail: trailAt(ledger, destination), untold: [], fork: null }
    : { ...ledger, destination };
}

/**
 * A thread that comes back at `epoch` proves that the host it went to took it, though its acknowledgement may have been lost; left
 * open, that handoff would stand in the way of the next one. One that was reclaimed meanwhile may come from elsewhere and
 * proves nothing: who has prepared for it, and was never told that it was committed, may forget it.
 */
function closedByReturn(source: SourceState, epoch: number): SourceState {
  if (source.is !== 'committed' || !source.letGo) return source;
  return epoch < reclaimEpoch(source.epoch)
    ? reduceSource(source, { type: 'delivered' })
    : reduceSource(source, { type: 'revoked', message: `The thread was reclaimed before ${source.destinationName} acknowledged the handoff, and came back since.` });
}

/** The ledger after a reclaim, or what follows from one. Throws HandoffError where the event is not possible now. */
export function reduceLedgerOwner(ledger: Ledger, event: OwnerEvent): Ledger {
  switch (event.type) {
    case 'reclaimed': {
      const { destination } = ledger;
      if (event.epoch !== nextReclaim(ledger)) throw new HandoffError('stale-epoch', `The thread is at epoch ${ledger.epoch}; it cannot be reclaimed at ${event.epoch}.`);
      const reclaimed = { ...ledger, movedTo: null, epoch: event.epoch, fork: null };
      if (destination.is === 'prepared') {
        if (!destination.complete) throw new HandoffError('receipt-mismatch', `What is here is not what ${destination.sourceName} sent. Abort the handoff; then the thread can be taken back as it was before it.`);
        // All of it is here, and the host that would have to say so will not return.
        const trail = trailAt(ledger, destination);
        return { ...reclaimed, source: closedByReturn(ledger.source, destination.epoch), destination: committedTo(destination), cameFrom: destination.source, trail, untold: trail };
      }
      if (ledger.movedTo === null) throw new HandoffError('thread-here', 'The thread was not handed away, so there is nothing to take back.');
      expectSettled(ledger);
      return { ...reclaimed, ...revoked(ledger, 'The thread was taken back before the handoff was acknowledged.'), due: 'take', untold: ledger.trail };
    }
    case 'superseded': {
      expectSettled(ledger);
      if (event.epoch < ledger.epoch) throw new HandoffError('stale-epoch', `The thread is at epoch ${ledger.epoch}; a claim at epoch ${event.epoch} does not hold.`);
      const { owner, epoch } = event;
      // What was handed on and never acknowledged is nowhere else.
      const { source } = ledger;
      const lastHere = ledger.movedTo === null || (source.is === 'committed' && !source.delivered && source.destination !== owner.hostId);
      const handedOnTo = ledger.movedTo === null || ledger.movedTo.hostId === owner.hostId ? [] : [ledger.movedTo.hostId];
      return {
        ...ledger,
        ...revoked(ledger, `${owner.name} owns the thread now, at epoch ${epoch}.`),
        movedTo: owner,
        epoch,
        trail: following(ledger.trail, owner.hostId),
        due: lastHere ? 'keep' : ledger.due === 'keep' ? 'keep' : null,
        // Who got the thread from here hears of it from here.
        untold: handedOnTo,
        fork: lastHere ? event.fork : ledger.fork,
      };
    }
    case 'taken':
    case 'kept': {
      if (ledger.due !== (event.type === 'taken' ? 'take' : 'keep')) throw new HandoffError('unexpected-event', `Nothing of the thread is ${event.type} now.`);
      return { ...ledger, due: null };
    }
    case 'told':
      return { ...ledger, untold: ledger.untold.filter((hostId) => hostId !== event.hostId) };
  }
}

/** A claim waits for a handoff to this host, or from it, that is neither committed nor given up. */
function expectSettled({ source, destination }: Ledger): void {
  if (source.is !== 'committed' && !isOver(source)) throw new HandoffError('thread-moving', describeSource(source));
  if (!isAtRest(destination)) throw new HandoffError('thread-moving', describeDestination(destination));
}

/** The epoch at which this host would reclaim the thread. */
export const nextReclaim = ({ epoch, destination }: Ledger): number => reclaimEpoch(destination.is === 'prepared' ? Math.max(epoch, destination.epoch) : epoch);

const trailAt = (ledger: Ledger, { trail = [], source, receipt }: Extract<DestinationState, { readonly receipt: unknown }>): readonly string[] => following(ledger.trail, ...trail, source).filter((host) => host !== receipt.destination);

const revoked = ({ source }: Ledger, message: string): { readonly source: SourceState } => ({ source: source.is === 'committed' ? reduceSource(source, { type: 'revoked', message }) : source });

/** The ledger after any record of it. */
export function reduceLedger(ledger: Ledger, record: Pick<LedgerRecord, 'side' | 'event'>): Ledger {
  switch (record.side) {
    case 'source':
      return reduceLedgerSource(ledger, record.event as SourceEvent);
    case 'destination':
      return reduceLedgerDestination(ledger, record.event as DestinationEvent);
    case 'owner':
      return reduceLedgerOwner(ledger, record.event as OwnerEvent);
  }
}

const isAtRest = ({ is }: DestinationState): boolean => is === 'none' || is === 'active' || is === 'withdrawn';

/**
 * Whether a handoff of the thread is under way on this host, or a claim is yet to be carried out, so that no turn may start
 * and no other handoff begin. A source that has let go is done with it, even while the destination has yet to acknowledge.
 */
export function isMoving({ source, destination, due }: Ledger): boolean {
  const leaving = !isOver(source) && !(source.is === 'committed' && source.letGo);
  return leaving || !isAtRest(destination) || due !== null;
}

/** Whether nothing is left to be done about the thread on this host. */
export const isSettled = (ledger: Ledger): boolean => ledger.due === null && openHandoffs(ledger).length === 0;

/** The handoffs of the thread of which something is left to do on this host. */
export function openHandoffs({ source, destination }: Ledger): string[] {
  return [...(source.is === 'none' || isOver(source) ? [] : [source.handoffId]), ...(destination.is === 'none' || isAtRest(destination) ? [] : [destination.handoffId])];
}

/** Whether this host may run turns on the thread. */
export const mayRun = (ledger: Ledger): boolean => ledger.movedTo === null && !isMoving(ledger);

/** Who owns the thread, as its ledger on the host `self` has it. */
export const claimOf = (ledger: Ledger, self: Owner): Claim => ({ epoch: ledger.epoch, owner: ledger.movedTo ?? self });

/**
 * What a host makes of another one's word on who owns a thread. `better`: it holds against what is known here. `worse`: what is
 * known here holds. `unknown`: this host has nothing to do with the thread, or the teller never had it.
 */
export function weigh(ledger: Ledger, self: Owner, teller: string, told: Claim): 'same' | 'better' | 'worse' | 'unknown' {
  // Who is handing the thread to this host may take it back while its commit is still on the way here.
  const hands = !isAtRest(ledger.destination) && 'source' in ledger.destination && ledger.destination.source === teller;
  if (!hands && !ledger.trail.includes(teller)) return 'unknown';
  const known = claimOf(ledger, self);
  if (told.epoch === known.epoch && told.owner.hostId === known.owner.hostId) return 'same';
  // Nobody else can know a later claim of this host's than it does itself, unless its ledger was restored from a backup.
  if (told.owner.hostId === self.hostId) return told.epoch > known.epoch ? 'unknown' : 'worse';
  return holdsAgainst(told, known) ? 'better' : 'worse';
}

/** One sentence for people: where the thread is, or what is under way with it, and what is still possible. */
export function describeLedger({ source, destination, due, movedTo, fork }: Ledger): string {
  if (due === 'take') return 'The thread was reclaimed and is being made usable here, which this host goes on trying.';
  if (due === 'keep') return `${movedTo?.name ?? 'Another host'} reclaimed the thread; what this host has of it is being kept as a fork.`;
  if (!isAtRest(destination)) return describeDestination(destination);
  if (!isOver(source)) return describeSource(source);
  if (movedTo !== null) return `The thread is at ${movedTo.name}${fork === null ? '' : `, which reclaimed it; what this host had of it is the thread ${fork}`}.`;
  return 'The thread is here.';
}
