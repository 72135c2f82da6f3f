import { describe, expect, it } from 'vitest';
import { holdsAgainst, ownerEvent, reclaimEpoch, type Owner, type OwnerEvent } from '../../src/handoff/claim';
import type { DestinationEvent } from '../../src/handoff/destinationTransaction';
import { claimOf, describeLedger, emptyLedger, isMoving, ledgerRecord, mayRun, nextReclaim, reduceLedger, reduceLedgerDestination, reduceLedgerOwner, reduceLedgerSource, weigh, type Ledger } from '../../src/handoff/ownership';
import { outcomeFor } from '../../src/handoff/answers';
import type { SourceEvent } from '../../src/handoff/sourceTransaction';
import { destinationEvents, holdings, identity, receipt, refusal, sourceEvents } from './examples';

const leave = (ledger: Ledger, ...types: readonly SourceEvent['type'][]): Ledger => types.reduce((next, type) => reduceLedgerSource(next, sourceEvents[type]), ledger);
const arrive = (ledger: Ledger, ...types: readonly DestinationEvent['type'][]): Ledger => types.reduce((next, type) => reduceLedgerDestination(next, destinationEvents[type]), ledger);
const toCommitted = ['begun', 'quiesced', 'captured', 'transferred', 'receipt', 'committed'] as const;
const laptop = { hostId: identity.source, name: 'laptop' };
const server = { hostId: identity.destination, name: 'server' };
const fork = '0199c0de-0000-7000-8000-00000000f000';

const handedAway = leave(emptyLedger, ...toCommitted, 'delivered', 'letGo');
const unacknowledged = leave(emptyLedger, ...toCommitted, 'letGo');
const arrived = arrive(emptyLedger, 'offered', 'prepared', 'committed', 'activated');
const reclaim = (ledger: Ledger): Ledger => reduceLedgerOwner(ledger, { type: 'reclaimed', epoch: nextReclaim(ledger) });
const superseded: OwnerEvent = { type: 'superseded', epoch: 1000, owner: laptop, fork };

describe('a reclaim', () => {
  it('raises the epoch beyond all that the lost host reaches by handing the thread on', () => {
    expect([0, 1, 2, 999, 1000, 1001].map(reclaimEpoch)).toEqual([1000, 1000, 1000, 1000, 2000, 2000]);
  });

  it('makes this host the owner, which runs nothing until the thread is usable here, and has to tell who had it', () => {
    const ledger = reclaim(handedAway);
    expect(ledger).toMatchObject({ movedTo: null, epoch: 1000, due: 'take', untold: [server.hostId] });
    expect(mayRun(ledger)).toBe(false);
    expect(describeLedger(ledger)).toContain('being made usable here');
    const taken = reduceLedgerOwner(ledger, { type: 'taken' });
    expect(mayRun(taken)).toBe(true);
    expect(reduceLedgerOwner(taken, { type: 'told', hostId: server.hostId }).untold).toEqual([]);
    expect(reduceLedgerSource(taken, { ...sourceEvents.begun, handoffId: 'c'.repeat(32), epoch: 1001 }).source.is).toBe('quiescing');
  });

  it('ends a handoff that was never acknowledged: its destination is told to forget it', () => {
    const ledger = reclaim(unacknowledged);
    expect(ledger.source.is).toBe('revoked');
    expect(outcomeFor(ledger, identity.handoffId, identity.destination)).toBe('aborted');
    expect(refusal(() => leave(ledger, 'delivered'))).toBe('unexpected-event');
  });

  it('is refused for a thread that is here, is moving, or at another epoch than the next', () => {
    expect(refusal(() => reclaim(emptyLedger))).toBe('thread-here');
    expect(refusal(() => reclaim(arrived))).toBe('thread-here');
    expect(refusal(() => reclaim(leave(emptyLedger, 'begun')))).toBe('thread-here');
    const comingBack = reduceLedgerDestination(handedAway, { ...destinationEvents.offered, handoffId: 'b'.repeat(32), source: server.hostId, epoch: 2 });
    expect(refusal(() => reclaim(comingBack))).toBe('thread-moving');
    for (const epoch of [2, 1001, 2000]) expect(refusal(() => reduceLedgerOwner(handedAway, { type: 'reclaimed', epoch }))).toBe('stale-epoch');
  });

  it('takes up all that is prepared here, where its source will not return; but not what is not what was sent', () => {
    const ledger = reclaim(arrive(emptyLedger, 'offered', 'prepared'));
    expect(ledger).toMatchObject({ movedTo: null, epoch: 1000, cameFrom: laptop.hostId, untold: [laptop.hostId], destination: { is: 'committed', receipt } });
    expect(mayRun(arrive(ledger, 'activated'))).toBe(true);
    const damaged = reduceLedgerDestination(arrive(emptyLedger, 'offered'), { type: 'prepared', receipt: { ...receipt, holdings: { ...holdings, head: null } }, complete: false });
    expect(refusal(() => reclaim(damaged))).toBe('receipt-mismatch');
  });
});

describe('a host that hears that its thread was reclaimed', () => {
  it('runs nothing any more, and keeps what it has as a fork before anything else', () => {
    const ledger = reduceLedgerOwner(arrived, superseded);
    expect(ledger).toMatchObject({ movedTo: laptop, epoch: 1000, due: 'keep', fork });
    expect(mayRun(ledger)).toBe(false);
    expect(isMoving(ledger)).toBe(true);
    const back = { ...destinationEvents.offered, handoffId: 'b'.repeat(32), epoch: 1001 };
    expect(refusal(() => reduceLedgerDestination(ledger, back))).toBe('thread-moving');
    const kept = reduceLedgerOwner(ledger, { type: 'kept' });
    expect(describeLedger(kept)).toBe(`The thread is at laptop, which reclaimed it; what this host had of it is the thread ${fork}.`);
    expect(reduceLedgerDestination(kept, back).destination.is).toBe('receiving');
  });

  it('takes no more than notice where it had handed the thread on, and has to tell who got it', () => {
    const ledger = reduceLedgerOwner({ ...handedAway, trail: ['deskId', server.hostId] }, { ...superseded, owner: { hostId: 'deskId', name: 'desk' } });
    expect(ledger).toMatchObject({ movedTo: { name: 'desk' }, due: null, fork: null, untold: [server.hostId] });
  });

  it('keeps what it handed on and nobody acknowledged', () => {
    expect(reduceLedgerOwner(unacknowledged, { ...superseded, owner: { hostId: 'deskId', name: 'desk' } })).toMatchObject({ due: 'keep', source: { is: 'revoked' } });
    // Its destination took up the very state that was sent.
    expect(reduceLedgerOwner(unacknowledged, { ...superseded, owner: server })).toMatchObject({ due: null });
  });

  it('waits for a handoff of its own to end first', () => {
    expect(refusal(() => reduceLedgerOwner(leave(emptyLedger, 'begun'), superseded))).toBe('thread-moving');
    expect(refusal(() => reduceLedgerOwner(arrive(emptyLedger, 'offered', 'prepared'), superseded))).toBe('thread-moving');
  });

  it('takes the old host at its later word no more', () => {
    const third = { ...arrived, epoch: 1000 };
    expect(refusal(() => reduceLedgerDestination({ ...third, movedTo: laptop }, { ...destinationEvents.offered, handoffId: 'b'.repeat(32), source: server.hostId, epoch: 2 }))).toBe('stale-epoch');
  });
});

describe('the word of another host on who owns a thread', () => {
  const told = (epoch: number, owner: Owner = laptop) => ({ epoch, owner });

  it('counts only if that host had the thread, or was to get it', () => {
    expect(weigh(arrived, server, laptop.hostId, told(1000))).toBe('better');
    expect(weigh(arrived, server, 'malloryId', told(10 ** 9, { hostId: 'malloryId', name: 'mallory' }))).toBe('unknown');
    expect(weigh(emptyLedger, server, laptop.hostId, told(1000))).toBe('unknown');
    expect(weigh(leave(emptyLedger, 'begun', 'failed', 'undone'), laptop, server.hostId, told(1000, server))).toBe('better');
  });

  it('is not done with where that host is only just handing the thread here', () => {
    const arriving = arrive(emptyLedger, 'offered', 'prepared');
    expect(weigh(arriving, server, laptop.hostId, told(1000))).toBe('better');
    expect(refusal(() => reduceLedgerOwner(arriving, superseded))).toBe('thread-moving');
    expect(weigh(arrive(arriving, 'withdrawn', 'discarded'), server, laptop.hostId, told(1000))).toBe('unknown');
  });

  it('holds at a higher epoch, and does not at a lower one', () => {
    expect(weigh(arrived, server, laptop.hostId, told(0))).toBe('worse');
    expect(weigh(handedAway, laptop, server.hostId, told(1, server))).toBe('same');
    expect(weigh(reclaim(handedAway), laptop, server.hostId, told(2, server))).toBe('worse');
  });

  it('never tells a host of a claim of its own that it does not know', () => {
    expect(weigh(arrived, server, laptop.hostId, told(1000, server))).toBe('unknown');
  });

  it('is weighed alike by all where two hosts reclaimed without knowing of each other', () => {
    const [one, other] = [{ epoch: 1000, owner: laptop }, { epoch: 1000, owner: server }];
    expect(holdsAgainst(one, other)).toBe(!holdsAgainst(other, one));
    expect(holdsAgainst(one, one)).toBe(false);
  });

  it('is what its ledger says', () => {
    expect(claimOf(handedAway, laptop)).toEqual({ epoch: 1, owner: server });
    expect(claimOf(reclaim(handedAway), laptop)).toEqual({ epoch: 1000, owner: laptop });
  });
});

it('reads reclaims back from a journal as they were written', () => {
  const events: OwnerEvent[] = [{ type: 'reclaimed', epoch: 1000 }, { type: 'taken' }, superseded, { type: 'kept' }, { type: 'told', hostId: server.hostId }];
  for (const event of events) expect(ownerEvent.parse(JSON.parse(JSON.stringify(event)))).toEqual(event);
  const record = ledgerRecord.parse({ version: 1, at: '2026-01-01T00:00:00.000Z', side: 'owner', event: superseded });
  expect(reduceLedger(arrived, record)).toEqual(reduceLedgerOwner(arrived, superseded));
});
