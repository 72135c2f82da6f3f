import { describe, expect, it } from 'vitest';
import { deltasOf, toViewItem, toViewTurn } from '../../src/views/codexItems';
import { threadDelta } from '../../src/views/threadMessages';
import { OUTPUT_LIMIT } from '../../src/views/threadViewState';

const threadId = '01999999-0000-7000-8000-000000000001';

describe('a Codex item in the transcript', () => {
  it('is a message with all its parts named', () => {
    expect(toViewItem({ type: 'userMessage', id: 'u', content: [{ type: 'text', text: 'See' }, { type: 'mention', name: 'parser.ts', path: '/p' }, { type: 'localImage', path: '/i.png' }] })).toEqual({
      kind: 'userMessage', id: 'u', text: 'See\n[mention: parser.ts]\n[local image]',
    });
  });

  it('is a command with the end of a long output', () => {
    const item = toViewItem({ type: 'commandExecution', id: 'c', command: 'make', cwd: '/src', status: 'failed', aggregatedOutput: `${'x'.repeat(OUTPUT_LIMIT)}end`, exitCode: 2, durationMs: 5 });
    expect(item).toMatchObject({ kind: 'command', status: 'failed', exitCode: 2, omittedCharacters: 3 });
    expect(item?.kind === 'command' && item.output.endsWith('end')).toBe(true);
  });

  it('is a file change with where the file moved', () => {
    expect(toViewItem({ type: 'fileChange', id: 'f', status: 'completed', changes: [{ path: 'a', kind: { type: 'update', move_path: 'b' }, diff: '@@' }] })).toMatchObject({
      changes: [{ path: 'a', change: 'update', movedTo: 'b' }],
    });
  });

  it('is a note with its name where this Baton does not know its kind', () => {
    expect(toViewItem({ type: 'enteredReviewMode', id: 'x', review: 'r' })).toEqual({ kind: 'note', id: 'x', label: 'entered review mode', status: null });
  });

  it('is left out where it says nothing or is no item', () => {
    expect(toViewItem({ type: 'reasoning', id: 'r', summary: [] })).toBeUndefined();
    expect(toViewItem({ id: 'x' })).toBeUndefined();
    expect(toViewItem(null)).toBeUndefined();
  });
});

describe('a Codex turn in the transcript', () => {
  it('keeps its status and the message of its error', () => {
    expect(toViewTurn({ id: 't', status: 'failed', error: { message: 'No quota' }, items: [null, { type: 'agentMessage', id: 'a', text: 'hi' }] })).toEqual({
      id: 't', status: 'failed', error: 'No quota', items: [{ kind: 'agentMessage', id: 'a', text: 'hi' }],
    });
  });
});

describe('a notification of the app-server', () => {
  const cases: [string, object, string[]][] = [
    ['turn/started', { turn: { id: 't', status: 'inProgress', items: [] } }, ['turnStarted']],
    ['turn/completed', { turn: { id: 't', status: 'interrupted', items: [], error: null } }, ['turnEnded']],
    ['item/started', { turnId: 't', item: { type: 'agentMessage', id: 'a', text: '' } }, ['itemChanged']],
    ['item/completed', { turnId: 't', item: { type: 'agentMessage', id: 'a', text: 'x' } }, ['itemChanged']],
    ['item/agentMessage/delta', { turnId: 't', itemId: 'a', delta: 'x' }, ['textAdded']],
    ['item/reasoning/summaryTextDelta', { turnId: 't', itemId: 'r', delta: 'x', summaryIndex: 0 }, ['textAdded']],
    ['item/commandExecution/outputDelta', { turnId: 't', itemId: 'c', delta: 'x' }, ['textAdded']],
    ['turn/plan/updated', { turnId: 't', explanation: null, plan: [{ step: 's', status: 'inProgress' }] }, ['planChanged']],
    ['thread/name/updated', { threadName: 'Parser' }, ['titleChanged']],
    ['thread/tokenUsage/updated', { turnId: 't' }, []],
  ];
  it.each(cases)('%s becomes deltas that the page accepts', (method, params, types) => {
    const deltas = deltasOf(threadId, method, { threadId, ...params });
    expect(deltas.map(({ type }) => type)).toEqual(types);
    for (const delta of deltas) expect(threadDelta.parse(delta)).toEqual(delta);
  });

  it.each(cases)('%s of another thread, or of another shape, means nothing', (method, params) => {
    expect(deltasOf(threadId, method, { threadId: 'other', ...params })).toEqual([]);
    expect(deltasOf(threadId, method, { threadId })).toEqual([]);
    expect(deltasOf(threadId, method, undefined)).toEqual([]);
  });
});
