import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { MessageConnection } from 'vscode-jsonrpc/node';
import { HostClient } from '../../src/host/hostClient';
import type { Approval } from '../../src/host/protocol';
import { applyDelta } from '../../src/views/threadViewState';
import type { ThreadDelta, ThreadViewState } from '../../src/views/threadMessages';
import { ThreadSession } from '../../src/views/threadSession';
import { scriptedHostId, startScriptedHost, type Answers } from '../fixtures/scriptedHost';
import { translate } from './translate';

const threadId = '01999999-0000-7000-8000-000000000001';
const ownership = { owner: scriptedHostId, epoch: 1, movedTo: null, moving: false, worktreeId: null, pendingApprovals: 0 };
const thread = { id: threadId, preview: 'Fix the parser', cwd: '/src', updatedAt: 1, status: { type: 'idle' }, baton: ownership };
const moved = { ...thread, baton: { ...ownership, epoch: 2, movedTo: { hostId: 'S'.repeat(43), name: 'server' } } };
const turn = (id: string) => ({ id, status: 'completed', error: null, items: [{ type: 'userMessage', id: `${id}u`, content: [{ type: 'text', text: id }] }] });
const approval: Approval = { id: 'ap', threadId, turnId: 't', itemId: null, kind: 'command', command: 'make', changes: [], questions: [], request: null, cwd: '/src', reason: null, hostId: scriptedHostId, digest: 'd'.repeat(64), requestedAt: '2026-01-01T00:00:00Z', carriedOver: false };

describe('a session with a thread', () => {
  let directory: string;
  let answers: Answers;
  let host: Awaited<ReturnType<typeof startScriptedHost>>;
  let client: HostClient;
  let session: ThreadSession;
  let mirror: ThreadViewState;
  let replaced: () => void;
  let waiting: { type: ThreadDelta['type']; resolve: () => void }[];

  /** Resolves with the next delta of a type. */
  const next = (type: ThreadDelta['type']) => new Promise<void>((resolve) => waiting.push({ type, resolve }));
  const asked = (method: string) => host.heard.filter((request) => request.method === method).map(({ params }) => params);
  const open = async () => {
    await session.open();
    const { snapshot } = session;
    if (snapshot === undefined) throw new Error('An open session has a snapshot.');
    mirror = snapshot.state;
    return snapshot;
  };
  /** The host's end of the connection. */
  let connection: MessageConnection;

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'baton-session-'));
    waiting = [];
    answers = {
      'host/thread': (_, from) => {
        connection = from;
        return { thread, plan: null, approvals: [approval] };
      },
      'thread/resume': () => ({ thread }),
      'thread/turns/list': (params) => ((params as { cursor: string | null }).cursor === null ? { data: [turn('3'), turn('2')], nextCursor: 'older' } : { data: [turn('2'), turn('1')], nextCursor: null }),
      'turn/start': () => ({ turn: turn('4') }),
      'turn/interrupt': () => ({}),
      'approval/decide': () => ({ decided: true }),
    };
    host = await startScriptedHost({ batonHome: directory, answers });
    client = await HostClient.connect({ batonHome: directory, clientInfo: { name: 'test', version: '0' } });
    session = new ThreadSession(client, threadId, 'laptop', translate, {
      onDelta: (_, delta) => {
        mirror = applyDelta(mirror, delta);
        for (const waiter of waiting.filter(({ type }) => type === delta.type)) waiter.resolve();
        waiting = waiting.filter(({ type }) => type !== delta.type);
      },
      onReplaced: () => replaced(),
    });
  });
  afterEach(async () => {
    session.dispose();
    client.dispose();
    await host.close();
    rmSync(directory, { recursive: true, force: true });
  });

  it('shows the last turns in their order, and the earlier ones when asked', async () => {
    const { state } = await open();
    expect(state).toMatchObject({ title: 'Fix the parser', hostName: 'laptop', activity: 'waitingOnApproval', hasEarlierTurns: true });
    expect(state.turns.map(({ id }) => id)).toEqual(['2', '3']);
    await session.loadEarlier();
    expect(mirror.turns.map(({ id }) => id)).toEqual(['1', '2', '3']);
    expect(mirror.hasEarlierTurns).toBe(false);
  });

  it('tells the page what happens, so that its state stays the same as the session’s', async () => {
    await open();
    const ended = next('turnEnded');
    await connection.sendNotification('turn/started', { threadId, turn: { ...turn('4'), status: 'inProgress', items: [] } });
    await connection.sendNotification('item/agentMessage/delta', { threadId, turnId: '4', itemId: 'a', delta: 'Hello' });
    await connection.sendNotification('item/agentMessage/delta', { threadId: 'another', turnId: '4', itemId: 'a', delta: '!' });
    await connection.sendNotification('turn/completed', { threadId, turn: turn('4') });
    await ended;
    expect(mirror.turns.at(-1)).toMatchObject({ id: '4', status: 'completed', items: [{ text: 'Hello' }] });
    expect(session.snapshot?.state).toEqual(mirror);
    expect(session.snapshot?.sequence).toBe(4);
  });

  it('misses nothing that happens while the thread is read', async () => {
    answers['thread/turns/list'] = async (_, from) => {
      await from.sendNotification('turn/started', { threadId, turn: { ...turn('4'), status: 'inProgress' } });
      return { data: [turn('3')], nextCursor: null };
    };
    const { state } = await open();
    expect(state.turns.map(({ id, status }) => [id, status])).toEqual([['3', 'completed'], ['4', 'inProgress']]);
  });

  it('decides an approval by its digest, and takes it away when the host says so', async () => {
    await open();
    await session.decide({ id: 'ap', digest: approval.digest, decision: 'accept' });
    expect(asked('approval/decide')).toEqual([{ id: 'ap', digest: approval.digest, decision: 'accept' }]);
    expect(mirror.approvals).toHaveLength(1);
    const resolved = next('approvalResolved');
    await connection.sendNotification('approval/resolved', { id: 'ap', threadId, decision: 'accept' });
    await resolved;
    expect(mirror.approvals).toEqual([]);
  });

  it('sends a message, and interrupts the turn that runs', async () => {
    await open();
    await session.interrupt();
    expect(asked('turn/interrupt')).toEqual([]);
    await session.send('Go on');
    expect(asked('turn/start')).toEqual([{ threadId, input: [{ type: 'text', text: 'Go on' }] }]);
    const started = next('turnStarted');
    await connection.sendNotification('turn/started', { threadId, turn: { ...turn('4'), status: 'inProgress' } });
    await started;
    await session.interrupt();
    expect(asked('turn/interrupt')).toEqual([{ threadId, turnId: '4' }]);
  });

  it('reads a thread that moved without resuming it', async () => {
    answers['host/thread'] = () => ({ thread: moved, plan: null, approvals: [] });
    answers['thread/read'] = () => ({ thread: { ...moved, turns: [turn('1')] } });
    const { state } = await open();
    expect(state).toMatchObject({ activity: 'moved', movedTo: 'server' });
    expect(state.turns.map(({ id }) => id)).toEqual(['1']);
    expect(asked('thread/resume')).toEqual([]);
  });

  it('shows a handoff of its thread while it runs, and where the thread is when it has ended', async () => {
    await open();
    const handoffId = '0'.repeat(32);
    const moving = next('activityChanged');
    await connection.sendNotification('handoff/progress', { handoffId, threadId, phase: 'capture', message: '', bytesDone: null, bytesTotal: null });
    await moving;
    expect(mirror.activity).toBe('moving');
    const ended = async (thread: object) => {
      answers['host/thread'] = () => ({ thread, plan: null, approvals: [] });
      const done = new Promise<void>((resolve) => (replaced = resolve));
      await connection.sendNotification('handoff/ended', { handoffId, threadId, result: null, error: null });
      await done;
      return session.snapshot?.state;
    };
    answers['thread/read'] = () => ({ thread: { ...moved, turns: [turn('1')] } });
    expect(await ended(moved)).toMatchObject({ activity: 'moved', movedTo: 'server' });
    // It comes back into another directory, and has to be subscribed to again.
    expect(await ended({ ...thread, cwd: '/worktrees/1' })).toMatchObject({ activity: 'idle', movedTo: null, cwd: '/worktrees/1' });
    expect(asked('thread/resume')).toHaveLength(2);
  });

  it('fails with the host’s own words where the thread cannot be shown', async () => {
    delete answers['host/thread'];
    await expect(session.open()).rejects.toThrow('does not know host/thread');
  });
});
