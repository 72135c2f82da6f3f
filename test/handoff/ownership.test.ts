import { describe, expect, it } from 'vitest';
import { answerToCommit, outcomeFor } from '../../src/handoff/answers';
import type { DestinationEvent } from '../../src/handoff/destinationTransaction';
import { emptyLedger, isMoving, ledgerRecord, mayRun, reduceLedger, reduceLedgerDestination, reduceLedgerSource, type Ledger } from '../../src/handoff/ownership';
import { receiptHash, type Receipt } from '../../src/handoff/receipt';
import type { SourceEvent } from '../../src/handoff/sourceTransaction';
import { channel, destinationEvents, holdings, identity, offeredIdentity, placement, receipt, refusal, sourceEvents } from './examples';

const leave = (ledger: Ledger, ...types: readonly SourceEvent['type'][]): Ledger => types.reduce((next, type) => reduceLedgerSource(next, sourceEvents[type]), ledger);
const arrive = (ledger: Ledger, ...types: readonly DestinationEvent['type'][]): Ledger => types.reduce((next, type) => reduceLedgerDestination(next, destinationEvents[type]), ledger);

const toCommitted = ['begun', 'quiesced', 'captured', 'transferred', 'receipt', 'committed'] as const;

/** The events of the handoff with which the server gives the thread back, at the laptop. */
const backId = { handoffId: 'b'.repeat(32), threadId: identity.threadId, source: 'serverId', epoch: 2 };
const backReceipt: Receipt = { ...receipt, ...backId, destination: 'laptopId' };
const comeBack = (ledger: Ledger): Ledger =>
  (
    [
      { type: 'offered', ...backId, sourceName: 'server' },
      { type: 'prepared', receipt: backReceipt },
      { type: 'committed', receiptHash: receiptHash(backReceipt) },
      { type: 'activated', placement },
    ] satisfies DestinationEvent[]
  ).reduce(reduceLedgerDestination, ledger);

describe('the ledger of a thread', () => {
  it('gives a thread that never moved to the host that has it', () => {
    expect(mayRun(emptyLedger)).toBe(true);
  });

  it('lets no turn start at the source from the beginning of a handoff, and gives the thread away at the commit', () => {
    let ledger = emptyLedger;
    for (const type of toCommitted) {
      ledger = leave(ledger, type);
      expect(mayRun(ledger), type).toBe(false);
      expect(ledger.movedTo?.hostId ?? null, type).toBe(type === 'committed' ? 'serverId' : null);
      expect(ledger.epoch, type).toBe(type === 'committed' ? 1 : 0);
    }
  });

  it('lets the source run the thread again after an aborted handoff, at the same epoch', () => {
    const ledger = leave(emptyLedger, 'begun', 'failed', 'undone');
    expect(mayRun(ledger)).toBe(true);
    expect(ledger.epoch).toBe(0);
  });

  it('lets the destination run the thread once it is active, not while it is prepared or committed', () => {
    let ledger = emptyLedger;
    for (const type of ['offered', 'prepared', 'committed', 'activated'] as const) {
      ledger = arrive(ledger, type);
      expect(mayRun(ledger), type).toBe(type === 'activated');
    }
    expect(ledger).toMatchObject({ movedTo: null, epoch: 1, cameFrom: 'laptopId', native: false });
  });

  it('refuses a handoff of a thread that moved away, that is moving, or that would not raise the epoch by one', () => {
    expect(refusal(() => leave(leave(emptyLedger, ...toCommitted), 'begun'))).toBe('thread-moved');
    expect(refusal(() => leave(leave(emptyLedger, 'begun'), 'begun'))).toBe('thread-moving');
    expect(refusal(() => leave(arrive(emptyLedger, 'offered'), 'begun'))).toBe('thread-moving');
    for (const epoch of [1, 3]) expect(refusal(() => reduceLedgerSource(arrive(emptyLedger, 'offered', 'prepared', 'committed', 'activated'), { ...sourceEvents.begun, epoch }))).toBe('stale-epoch');
  });

  it('refuses an offer while another handoff is under way, at an epoch that it has seen, or of a thread that it owns', () => {
    expect(refusal(() => arrive(arrive(emptyLedger, 'offered'), 'offered'))).toBe('thread-moving');
    expect(refusal(() => arrive(leave(emptyLedger, 'begun'), 'offered'))).toBe('thread-moving');
    const moved = leave(emptyLedger, ...toCommitted, 'delivered', 'letGo');
    expect(refusal(() => arrive(moved, 'offered'))).toBe('stale-epoch');
    const owner = arrive(emptyLedger, 'offered', 'prepared', 'committed', 'activated');
    expect(refusal(() => reduceLedgerDestination(owner, { type: 'offered', ...offeredIdentity, epoch: 9 }))).toBe('thread-owned');
  });

  it('refuses an offer while the source has committed but not yet let go', () => {
    const ledger = leave(emptyLedger, ...toCommitted, 'delivered');
    expect(isMoving(ledger)).toBe(true);
    expect(refusal(() => comeBack(ledger))).toBe('thread-moving');
  });

  it('takes a thread back whose acknowledgement was lost, and can then hand it off again', () => {
    const back = comeBack(leave(emptyLedger, ...toCommitted, 'letGo'));
    expect(back.source.is).toBe('closed');
    expect(back).toMatchObject({ movedTo: null, epoch: 2, cameFrom: 'serverId', native: true });
    expect(mayRun(back)).toBe(true);
    expect(reduceLedgerSource(back, { ...sourceEvents.begun, handoffId: 'c'.repeat(32), epoch: 3 }).source.is).toBe('quiescing');
  });

  it('leaves the ledger as it was where an event is refused', () => {
    const ledger = leave(emptyLedger, ...toCommitted);
    const before = structuredClone(ledger);
    for (const event of Object.values(sourceEvents)) refusal(() => reduceLedgerSource(ledger, event));
    for (const event of Object.values(destinationEvents)) refusal(() => reduceLedgerDestination(ledger, event));
    expect(ledger).toEqual(before);
  });

  it('is the fold of its journal as read back from JSON', () => {
    const at = '2026-01-01T00:00:00.000Z';
    const lines = [...toCommitted, 'delivered' as const, 'letGo' as const].map((type) => JSON.stringify({ version: 1, at, side: 'source', event: sourceEvents[type] }));
    const folded = lines.map((line) => ledgerRecord.parse(JSON.parse(line))).reduce(reduceLedger, emptyLedger);
    expect(folded).toEqual(leave(emptyLedger, ...toCommitted, 'delivered', 'letGo'));
  });

  it('accepts no record of another version, side or event', () => {
    const record = { version: 1, at: '2026-01-01T00:00:00.000Z', side: 'source', event: sourceEvents.quiesced };
    expect(ledgerRecord.safeParse(record).success).toBe(true);
    for (const change of [{ version: 2 }, { side: 'relay' }, { event: destinationEvents.discarded }, { at: 'yesterday' }]) expect(ledgerRecord.safeParse({ ...record, ...change }).success).toBe(false);
  });
});

describe("a source's word on a handoff", () => {
  it('is undecided until the handoff is committed or given up', () => {
    expect(toCommitted.map((_, index) => outcomeFor(leave(emptyLedger, ...toCommitted.slice(0, index + 1)), identity.handoffId, identity.destination))).toEqual([...Array<string>(5).fill('undecided'), 'committed']);
    expect(outcomeFor(leave(emptyLedger, ...toCommitted, 'delivered', 'letGo'), identity.handoffId, identity.destination)).toBe('committed');
    expect(outcomeFor(leave(emptyLedger, 'begun', 'failed'), identity.handoffId, identity.destination)).toBe('aborted');
    expect(outcomeFor(leave(emptyLedger, 'begun', 'failed', 'undone'), identity.handoffId, identity.destination)).toBe('aborted');
  });

  const another = { ...sourceEvents.begun, handoffId: 'c'.repeat(32) };

  it('is that it was given up also once another one was begun, to the same host or to another', () => {
    for (const destination of [identity.destination, 'deskId']) {
      const ledger = reduceLedgerSource(leave(emptyLedger, 'begun', 'failed', 'undone'), { ...another, destination });
      expect(outcomeFor(ledger, identity.handoffId, identity.destination)).toBe('aborted');
      expect(outcomeFor(ledger, another.handoffId, destination)).toBe('undecided');
    }
  });

  it('is never that it was given up of one that was committed, or that this ledger knows nothing of', () => {
    const returned = reduceLedgerSource(comeBack(leave(emptyLedger, ...toCommitted, 'letGo')), { ...another, destination: 'deskId', epoch: 3 });
    expect(outcomeFor(returned, identity.handoffId, identity.destination)).toBe('undecided');
    const lost = reduceLedgerSource(emptyLedger, another);
    expect(outcomeFor(lost, identity.handoffId, identity.destination)).toBe('undecided');
  });

  it('is for the host that was to get the thread alone', () => {
    const ledger = leave(emptyLedger, ...toCommitted);
    expect(outcomeFor(ledger, identity.handoffId, 'deskId')).toBe('undecided');
    expect(outcomeFor(reduceLedgerSource(leave(emptyLedger, 'begun', 'failed', 'undone'), another), identity.handoffId, 'deskId')).toBe('undecided');
  });

  it('is that it was given up where the thread was reclaimed elsewhere and came back from there, unacknowledged', () => {
    const ids = { ...backId, source: 'deskId', epoch: 1001 };
    const back = { ...backReceipt, ...ids };
    const ledger = ([{ type: 'offered', ...ids, sourceName: 'desk' }, { type: 'prepared', receipt: back }, { type: 'committed', receiptHash: receiptHash(back) }] satisfies DestinationEvent[]).reduce(reduceLedgerDestination, leave(emptyLedger, ...toCommitted, 'letGo'));
    expect(ledger.source.is).toBe('revoked');
    expect(outcomeFor(ledger, identity.handoffId, identity.destination)).toBe('aborted');
  });

  it('is undecided from a source that lost its ledger, so that the only copy is not thrown away', () => {
    expect(outcomeFor(emptyLedger, identity.handoffId, identity.destination)).toBe('undecided');
  });
});

describe("a destination's answer to a commit", () => {
  const commit = { handoffId: identity.handoffId, epoch: 1, receiptHash: receiptHash(receipt) };

  it('is to commit once, and to acknowledge every repetition', () => {
    expect(answerToCommit(arrive(emptyLedger, 'offered', 'prepared'), commit)).toBe('commit');
    expect(answerToCommit(arrive(emptyLedger, 'offered', 'prepared', 'committed'), commit)).toBe('acknowledge');
    expect(answerToCommit(arrive(emptyLedger, 'offered', 'prepared', 'committed', 'activated'), commit)).toBe('acknowledge');
  });

  it('acknowledges a handoff that it took before its last one', () => {
    const laterId = { handoffId: 'd'.repeat(32), threadId: identity.threadId, source: 'laptopId', sourceName: 'laptop', epoch: 3 };
    let ledger = arrive(emptyLedger, 'offered', 'prepared', 'committed', 'activated');
    const away = { ...identity, handoffId: 'c'.repeat(32), source: 'serverId', destination: 'laptopId', destinationName: 'laptop', epoch: 2 };
    const awayReceipt = { ...receipt, handoffId: away.handoffId, source: away.source, destination: away.destination, epoch: 2 };
    const leaving: SourceEvent[] = [{ type: 'begun', ...away }, sourceEvents.quiesced, { type: 'captured', holdings }, sourceEvents.transferred, { type: 'receipt', receipt: awayReceipt, channel }, sourceEvents.committed, sourceEvents.letGo];
    ledger = leaving.reduce(reduceLedgerSource, ledger);
    ledger = reduceLedgerDestination(ledger, { type: 'offered', ...laterId });
    expect(answerToCommit(ledger, commit)).toBe('acknowledge');
    expect(answerToCommit(ledger, { ...commit, handoffId: 'e'.repeat(32), epoch: 3 })).toBe('refuse');
  });

  it('is no to what it never received, has not restored yet, gave up, or gave another receipt for', () => {
    expect(answerToCommit(emptyLedger, commit)).toBe('refuse');
    expect(answerToCommit(arrive(emptyLedger, 'offered'), commit)).toBe('refuse');
    expect(answerToCommit(arrive(emptyLedger, 'offered', 'prepared', 'withdrawn'), commit)).toBe('refuse');
    expect(answerToCommit(arrive(emptyLedger, 'offered', 'prepared'), { ...commit, receiptHash: '0'.repeat(64) })).toBe('refuse');
  });
});
