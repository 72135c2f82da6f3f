import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Approval } from '../../src/host/protocol';
import { threadViewState, type ThreadDelta, type ThreadViewState } from '../../src/views/threadMessages';
import { applyDelta, OUTPUT_LIMIT, runningTurn } from '../../src/views/threadViewState';

const threadId = '01999999-0000-7000-8000-000000000001';
const empty: ThreadViewState = { threadId, title: 'T', cwd: '/src', hostName: 'laptop', activity: 'idle', movedTo: null, connected: true, turns: [], hasEarlierTurns: false, plan: null, approvals: [] };
const approval = (id: string): Approval => ({ id, threadId, turnId: 't', itemId: null, kind: 'command', command: 'make', changes: [], questions: [], request: null, cwd: '/src', reason: null, hostId: 'a'.repeat(43), digest: 'd'.repeat(64), requestedAt: '', carriedOver: false });
const command = { kind: 'command', id: 'c', command: 'make', cwd: '/src', status: 'inProgress', output: '', omittedCharacters: 0, exitCode: null, durationMs: null } as const;
const after = (...deltas: ThreadDelta[]) => deltas.reduce(applyDelta, empty);

describe('the state of a thread view', () => {
  it('follows a turn from its start to its end', () => {
    const running = after({ type: 'turnStarted', turnId: 't' }, { type: 'itemChanged', turnId: 't', item: command });
    expect(running.activity).toBe('running');
    expect(runningTurn(running)?.id).toBe('t');
    const done = applyDelta(running, { type: 'turnEnded', turnId: 't', status: 'interrupted', error: null });
    expect(done.activity).toBe('idle');
    expect(runningTurn(done)).toBeUndefined();
    // Codex never says that the command of an interrupted turn ended.
    expect(done.turns[0]?.items[0]).toMatchObject({ status: 'failed' });
  });

  it('puts streamed text together and takes the whole text when the item is complete', () => {
    const streamed = after({ type: 'textAdded', turnId: 't', itemId: 'a', kind: 'agentMessage', text: 'Hel' }, { type: 'textAdded', turnId: 't', itemId: 'a', kind: 'agentMessage', text: 'lo' });
    expect(streamed.turns[0]?.items).toEqual([{ kind: 'agentMessage', id: 'a', text: 'Hello' }]);
    const whole = applyDelta(streamed, { type: 'itemChanged', turnId: 't', item: { kind: 'agentMessage', id: 'a', text: 'Hello.' } });
    expect(whole.turns[0]?.items).toEqual([{ kind: 'agentMessage', id: 'a', text: 'Hello.' }]);
  });

  it('keeps the end of an output without bound', () => {
    const chunk = 'x'.repeat(OUTPUT_LIMIT);
    const state = after({ type: 'itemChanged', turnId: 't', item: command }, { type: 'textAdded', turnId: 't', itemId: 'c', kind: 'command', text: chunk }, { type: 'textAdded', turnId: 't', itemId: 'c', kind: 'command', text: 'end' });
    expect(state.turns[0]?.items[0]).toMatchObject({ output: `${chunk.slice(3)}end`, omittedCharacters: 3 });
  });

  it('does not put text into an item of another kind', () => {
    const state = after({ type: 'itemChanged', turnId: 't', item: command }, { type: 'textAdded', turnId: 't', itemId: 'c', kind: 'agentMessage', text: 'x' });
    expect(state.turns[0]?.items).toEqual([command]);
  });

  it('shows an approval once, however often it is requested, until it is resolved', () => {
    const asked = after({ type: 'approvalRequested', approval: approval('1') }, { type: 'approvalRequested', approval: approval('2') }, { type: 'approvalRequested', approval: approval('1') });
    expect(asked.approvals.map(({ id }) => id)).toEqual(['2', '1']);
    expect(applyDelta(asked, { type: 'approvalResolved', id: '1' }).approvals.map(({ id }) => id)).toEqual(['2']);
  });

  it('puts earlier turns before the known ones, each once', () => {
    const turn = (id: string) => ({ id, status: 'completed' as const, error: null, items: [] });
    const state = after({ type: 'turnStarted', turnId: '3' }, { type: 'earlierTurns', turns: [turn('1'), turn('2'), turn('3')], hasEarlierTurns: true });
    expect(state.turns.map(({ id }) => id)).toEqual(['1', '2', '3']);
    expect(state.hasEarlierTurns).toBe(true);
  });

  it('stays moved when the turn that the handoff interrupted ends late', () => {
    const state = after({ type: 'turnStarted', turnId: 't' }, { type: 'activityChanged', activity: 'moved', movedTo: 'server' }, { type: 'turnEnded', turnId: 't', status: 'interrupted', error: null });
    expect(state).toMatchObject({ activity: 'moved', movedTo: 'server' });
  });

  const ids = fc.constantFrom('1', '2', '3');
  const delta: fc.Arbitrary<ThreadDelta> = fc.oneof(
    fc.record({ type: fc.constant('turnStarted' as const), turnId: ids }),
    fc.record({ type: fc.constant('turnEnded' as const), turnId: ids, status: fc.constantFrom('completed' as const, 'failed' as const), error: fc.constant(null) }),
    fc.record({ type: fc.constant('itemChanged' as const), turnId: ids, item: fc.record({ kind: fc.constant('agentMessage' as const), id: ids, text: fc.string() }) }),
    fc.record({ type: fc.constant('textAdded' as const), turnId: ids, itemId: ids, kind: fc.constantFrom('agentMessage' as const, 'command' as const), text: fc.string() }),
    ids.map((id) => ({ type: 'approvalRequested' as const, approval: approval(id) })),
    ids.map((id) => ({ type: 'approvalResolved' as const, id })),
  );

  it('has every turn, item and approval once after any deltas, and passes as a snapshot', () => {
    fc.assert(
      fc.property(fc.array(delta, { maxLength: 40 }), (deltas) => {
        const state = deltas.reduce(applyDelta, empty);
        for (const list of [state.turns, state.approvals, ...state.turns.map(({ items }) => items)]) expect(new Set(list.map(({ id }) => id)).size).toBe(list.length);
        expect(threadViewState.parse(state)).toEqual(state);
      }),
    );
  });
});
