import { describe, expect, it } from 'vitest';
import { describeDestination, destinationEffects, destinationEvent, mayGiveUp, reduceDestination, type DestinationEvent, type DestinationState } from '../../src/handoff/destinationTransaction';
import { describeSource, reduceSource, sourceEffects, sourceEvent, sourceRecovery, type SourceEvent, type SourceState } from '../../src/handoff/sourceTransaction';
import { channel, destinationAfter, destinationEvents, holdings, identity, receipt, refusal, sourceAfter, sourceEvents } from './examples';

const toPrepared = ['begun', 'quiesced', 'captured', 'transferred', 'receipt'] as const;
const toCommitted = [...toPrepared, 'committed'] as const;

/** Every state of a source by name, and where each event that it allows leads. */
const sourceTable: { readonly name: string; readonly state: SourceState; readonly allows: Partial<Record<SourceEvent['type'], string>> }[] = [
  { name: 'none', state: { is: 'none' }, allows: { begun: 'quiescing' } },
  { name: 'quiescing', state: sourceAfter('begun'), allows: { quiesced: 'capturing', failed: 'undoing' } },
  { name: 'capturing', state: sourceAfter('begun', 'quiesced'), allows: { captured: 'transferring', failed: 'undoing' } },
  { name: 'transferring', state: sourceAfter('begun', 'quiesced', 'captured'), allows: { transferred: 'staging', failed: 'undoing' } },
  { name: 'staging', state: sourceAfter('begun', 'quiesced', 'captured', 'transferred'), allows: { receipt: 'prepared', failed: 'undoing' } },
  { name: 'prepared', state: sourceAfter(...toPrepared), allows: { committed: 'committed', failed: 'undoing' } },
  { name: 'committed', state: sourceAfter(...toCommitted), allows: { delivered: 'committed', letGo: 'committed', revoked: 'revoked' } },
  { name: 'committed and delivered', state: sourceAfter(...toCommitted, 'delivered'), allows: { delivered: 'committed', letGo: 'closed', revoked: 'revoked' } },
  { name: 'committed and let go', state: sourceAfter(...toCommitted, 'letGo'), allows: { delivered: 'closed', letGo: 'committed', revoked: 'revoked' } },
  { name: 'closed', state: sourceAfter(...toCommitted, 'delivered', 'letGo'), allows: { begun: 'quiescing' } },
  { name: 'revoked', state: sourceAfter(...toCommitted, 'revoked'), allows: { begun: 'quiescing' } },
  { name: 'undoing', state: sourceAfter('begun', 'failed'), allows: { undone: 'aborted' } },
  { name: 'aborted', state: sourceAfter('begun', 'failed', 'undone'), allows: { begun: 'quiescing' } },
];

const destinationTable: { readonly name: string; readonly state: DestinationState; readonly allows: Partial<Record<DestinationEvent['type'], string>> }[] = [
  { name: 'none', state: { is: 'none' }, allows: { offered: 'receiving' } },
  { name: 'receiving', state: destinationAfter('offered'), allows: { prepared: 'prepared', withdrawn: 'withdrawing' } },
  { name: 'prepared', state: destinationAfter('offered', 'prepared'), allows: { committed: 'committed', withdrawn: 'withdrawing' } },
  { name: 'committed', state: destinationAfter('offered', 'prepared', 'committed'), allows: { activated: 'active' } },
  { name: 'active', state: destinationAfter('offered', 'prepared', 'committed', 'activated'), allows: { offered: 'receiving' } },
  { name: 'withdrawing', state: destinationAfter('offered', 'prepared', 'withdrawn'), allows: { discarded: 'withdrawn' } },
  { name: 'withdrawn', state: destinationAfter('offered', 'withdrawn', 'discarded'), allows: { offered: 'receiving' } },
];

describe('a source', () => {
  const pairs = sourceTable.flatMap((row) => Object.values(sourceEvents).map((event) => ({ ...row, event })));

  it.each(pairs)('that is $name takes $event.type only where the transaction allows it', ({ state, allows, event }) => {
    const before = structuredClone(state);
    const leadsTo = allows[event.type];
    if (leadsTo === undefined) expect(refusal(() => reduceSource(state, event))).toBe('unexpected-event');
    else expect(reduceSource(state, event).is).toBe(leadsTo);
    expect(state).toEqual(before);
  });

  it('refuses `failed` once it has committed, whatever came of it since', () => {
    for (const after of [[], ['delivered'], ['letGo'], ['delivered', 'letGo']] as const) {
      expect(refusal(() => reduceSource(sourceAfter(...toCommitted, ...after), sourceEvents.failed))).toBe('unexpected-event');
    }
  });

  it('undoes the handoff on a receipt that differs from what it captured, and says in what', () => {
    const staging = sourceAfter('begun', 'quiesced', 'captured', 'transferred');
    const state = reduceSource(staging, { ...sourceEvents.receipt, receipt: { ...receipt, holdings: { ...holdings, workingState: 'f'.repeat(64) } } });
    expect(state).toMatchObject({ is: 'undoing', reason: 'receipt-mismatch' });
    expect(describeSource(state)).toMatch(/server does not hold what was sent: the restored working state differs/);
  });

  it('undoes the handoff on a receipt from another channel', () => {
    const staging = sourceAfter('begun', 'quiesced', 'captured', 'transferred');
    expect(reduceSource(staging, { type: 'receipt', receipt, channel: 'e'.repeat(64) })).toMatchObject({ is: 'undoing', reason: 'receipt-mismatch' });
    expect(reduceSource(staging, { type: 'receipt', receipt, channel })).toMatchObject({ is: 'prepared', receipt });
  });

  it('keeps the identity of the handoff from the first state to the last', () => {
    for (const { state } of sourceTable) if (state.is !== 'none') expect(state).toMatchObject(identity);
  });

  it('gives the handoff up after a restart before the commit point, and decides nothing anew after it', () => {
    for (const { name, state, allows } of sourceTable) {
      const recovery = sourceRecovery(state);
      expect(recovery?.type ?? null, name).toBe(allows.failed === undefined ? null : 'failed');
      if (recovery !== null) expect(reduceSource(state, recovery)).toMatchObject({ is: 'undoing', reason: 'interrupted' });
    }
  });

  it('has one thing to do in each state before the commit point, and tells the destination before it lets go', () => {
    expect(Object.fromEntries(sourceTable.map(({ name, state }) => [name, sourceEffects(state).join(' ')]))).toEqual({
      none: '',
      quiescing: 'quiesce',
      capturing: 'capture',
      transferring: 'transfer',
      staging: 'stage',
      prepared: 'commit',
      committed: 'deliver letGo',
      'committed and delivered': 'letGo',
      'committed and let go': 'deliver',
      closed: '',
      revoked: '',
      undoing: 'undo',
      aborted: '',
    });
  });

  it.each(sourceTable)('that is $name says so in one sentence of its own', ({ state }) => {
    const sentence = describeSource(state);
    expect(sentence).toMatch(/^([A-Z]|server ).*\.$/s);
    expect(sentence).not.toMatch(/undefined|null|\[object/);
    const others = sourceTable.filter((row) => row.state !== state && describeSource(row.state) === sentence).map(({ name }) => name);
    expect(others.filter((name) => !name.startsWith('committed'))).toEqual([]);
    if (state.is === 'prepared' || state.is === 'committed') expect(sentence).toContain('server');
  });

  it('offers to cancel in words exactly where it can be cancelled', () => {
    for (const { name, state, allows } of sourceTable) {
      const offersIt = describeSource(state).includes('can be cancelled');
      if (name !== 'prepared') expect(offersIt, name).toBe(allows.failed !== undefined);
    }
  });

  it('reads its events back from a journal as they were written', () => {
    for (const event of Object.values(sourceEvents)) expect(sourceEvent.parse(JSON.parse(JSON.stringify(event)))).toEqual(event);
  });
});

describe('a destination', () => {
  const pairs = destinationTable.flatMap((row) => Object.values(destinationEvents).map((event) => ({ ...row, event })));

  it.each(pairs)('that is $name takes $event.type only where the transaction allows it', ({ state, allows, event }) => {
    const before = structuredClone(state);
    const leadsTo = allows[event.type];
    if (leadsTo === undefined) expect(refusal(() => reduceDestination(state, event))).toBe('unexpected-event');
    else expect(reduceDestination(state, event).is).toBe(leadsTo);
    expect(state).toEqual(before);
  });

  it.each(destinationTable)('that is $name says so in one sentence of its own', ({ state }) => {
    const sentence = describeDestination(state);
    expect(sentence).toMatch(/^[A-Z].*\.$/s);
    expect(sentence).not.toMatch(/undefined|null|\[object/);
    expect(destinationTable.filter((row) => describeDestination(row.state) === sentence)).toHaveLength(1);
  });

  it('may give up by itself only while its source cannot commit on what it holds', () => {
    expect(destinationTable.filter(({ state }) => mayGiveUp(state)).map(({ name }) => name)).toEqual(['receiving']);
    const incomplete = reduceDestination(destinationAfter('offered'), { ...destinationEvents.prepared, complete: false });
    expect(mayGiveUp(incomplete)).toBe(true);
    expect(describeDestination(incomplete)).toContain('not what laptop sent');
  });

  it('refuses a commit on a receipt that it did not give', () => {
    expect(refusal(() => reduceDestination(destinationAfter('offered', 'prepared'), { type: 'committed', receiptHash: '0'.repeat(64) }))).toBe('receipt-mismatch');
  });

  it.each([{ handoffId: 'b'.repeat(32) }, { threadId: 'another' }, { source: 'another' }, { epoch: 2 }])('refuses to be prepared with a receipt of another handoff: %o', (difference) => {
    expect(refusal(() => reduceDestination(destinationAfter('offered'), { type: 'prepared', receipt: { ...receipt, ...difference } }))).toBe('unexpected-event');
  });

  it('asks the source after a restart while only the source can know, else goes on by itself', () => {
    expect(Object.fromEntries(destinationTable.map(({ name, state }) => [name, destinationEffects(state).join(' ')]))).toEqual({
      none: '',
      receiving: 'askSource',
      prepared: 'askSource',
      committed: 'activate',
      active: '',
      withdrawing: 'discard',
      withdrawn: '',
    });
  });

  it('reads its events back from a journal as they were written', () => {
    for (const event of Object.values(destinationEvents)) expect(destinationEvent.parse(JSON.parse(JSON.stringify(event)))).toEqual(event);
  });
});
