import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { HostError } from '../../src/host/hostError';
import type { Approval, HandoffPhase } from '../../src/host/protocol';
import { untouchedState, workingState } from '../fixtures/checkout';
import { endProcess, startRelayProcess } from '../fixtures/machine';
import { pairForAll, refusal, said, type PairedHosts, type Site } from './pairedHosts';

let pair: PairedHosts;
let laptop: Site;
let server: Site;

pairForAll((started) => {
  pair = started;
  ({ laptop, server } = pair);
});

/** Both sides have done what was left to do about a handoff: neither waits, and neither has anything of it on disk. */
async function settled(threadId: string): Promise<void> {
  await Promise.all([laptop, server].map((site) => site.until(async () => {
    const { handoffs } = await site.traces();
    return (handoffs as string[]).length === 0 && !(await moving(site, threadId));
  })));
}

async function moving(site: Site, threadId: string): Promise<boolean> {
  try {
    return (await site.thread(threadId)).baton?.moving === true;
  } catch (error) {
    if (HostError.is(error, 'no-such-thread')) return false;
    throw error;
  }
}

/** Starts a handoff to the server, kills one of the hosts as soon as a phase is heard, and starts it again. */
async function killedIn(phase: HandoffPhase, victim: Site, text = said.hello): Promise<{ threadId: string; before: Record<string, unknown> }> {
  const threadId = await laptop.begin(text);
  const before = await server.traces();
  const reached = laptop.phase(phase, threadId);
  const { handoffId } = await laptop.client.call('handoff/start', { threadId, to: server.hostId });
  const ended = refusal(laptop.client.call('handoff/wait', { handoffId }));
  await reached;
  await victim.stop('SIGKILL');
  await ended;
  await victim.start();
  return { threadId, before };
}

describe('after the source was killed', () => {
  it.each(['quiesce', 'capture', 'transfer', 'stage'] as const)('in the phase %s, the thread is there and runs, and nothing is left at the destination', async (phase) => {
    const checkout = untouchedState(laptop.checkout);
    const { threadId, before } = await killedIn(phase, laptop);
    await settled(threadId);
    expect(await server.traces()).toEqual(before);
    expect(untouchedState(laptop.checkout)).toEqual(checkout);
    expect((await laptop.thread(threadId)).baton).toMatchObject({ owner: laptop.hostId, epoch: 0, movedTo: null, moving: false });
    expect(await laptop.say(threadId, said.hello)).toBe('completed');
    // Nothing stands in the way of the next try.
    expect(await laptop.handOff({ threadId, to: server.hostId })).toMatchObject({ threadId, epoch: 1 });
    expect(await server.say(threadId, said.hello)).toBe('completed');
  });

  it('in the phase activate, the destination has the thread and the source lets go', async () => {
    const sent = await workingState(laptop.checkout);
    const { threadId } = await killedIn('activate', laptop);
    await settled(threadId);
    await expectMoved(threadId, sent);
  });
});

it('what a preflight had captured when its host was killed is gone once the host is back', async () => {
  await laptop.stop('SIGKILL');
  const spool = join(laptop.machine.batonHome, 'handoffs', 'preflight-0123456789abcdef', 'capture');
  mkdirSync(spool, { recursive: true });
  await laptop.start();
  expect((await laptop.traces())['handoffs']).toEqual([]);
});

it('what a handoff had spooled when its host was killed after its end is gone once the host is back; what the ledger knows nothing of stays', async () => {
  const threadId = await laptop.begin(said.hello);
  const { handoffId } = await laptop.handOff({ threadId, to: server.hostId });
  await laptop.stop('SIGKILL');
  const directory = join(laptop.machine.batonHome, 'handoffs');
  mkdirSync(join(directory, handoffId, 'capture'), { recursive: true });
  const unknown = join(directory, 'e'.repeat(32));
  mkdirSync(unknown);
  const record = { version: 1, handoffId: 'e'.repeat(32), threadId: '0199c0de-0000-7000-8000-000000000001', source: server.hostId, sourceName: 'server', epoch: 1, projectRoot: '/x', subdirectory: '', worktreeId: 'w', worktree: '/x/y', expectedFingerprint: null, submodules: [], manifest: null, heldLfs: [], prepared: null };
  writeFileSync(join(unknown, 'incoming.json'), JSON.stringify(record));
  await laptop.start();
  expect((await laptop.traces())['handoffs']).toEqual(['e'.repeat(32), join('e'.repeat(32), 'incoming.json')]);
  rmSync(unknown, { recursive: true });
});

it('a handoff that another host was asked for is followed over a broken connection', async () => {
  const threadId = await laptop.begin(said.hello);
  await laptop.handOff({ threadId, to: server.hostId });
  const restoring = laptop.phase('activate', threadId);
  const { handoffId } = await laptop.client.call('handoff/start', { threadId, from: server.hostId, to: laptop.hostId });
  const result = laptop.client.call('handoff/wait', { handoffId });
  result.catch(() => undefined);
  await restoring;
  const url = new URL(pair.relay.url);
  await endProcess(pair.relay.child, 'SIGKILL');
  pair.relay = await startRelayProcess(url.host);
  expect(await result).toMatchObject({ threadId, from: server.hostId, to: laptop.hostId, epoch: 2 });
  expect(await laptop.say(threadId, said.hello)).toBe('completed');
});

describe('after the destination was killed', () => {
  it.each(['transfer', 'stage'] as const)('in the phase %s, the handoff goes on once it is back', async (phase) => {
    const sent = await workingState(laptop.checkout);
    const threadId = await laptop.begin(said.hello);
    const reached = laptop.phase(phase, threadId);
    const { handoffId } = await laptop.client.call('handoff/start', { threadId, to: server.hostId });
    await reached;
    const lost = laptop.heard('handoff/progress', ({ message }) => message === 'Connection lost; waiting for server');
    await server.stop('SIGKILL');
    await lost;
    expect((await laptop.thread(threadId)).baton).toMatchObject({ owner: laptop.hostId, moving: true });
    await server.start();
    expect(await laptop.client.call('handoff/wait', { handoffId })).toMatchObject({ threadId, epoch: 1 });
    await settled(threadId);
    await expectMoved(threadId, sent);
  });

  it('in the phase activate, it goes on where it was and has the thread', async () => {
    const sent = await workingState(laptop.checkout);
    const { threadId } = await killedIn('activate', server);
    await settled(threadId);
    await expectMoved(threadId, sent);
  });
});

/** The server owns the thread and runs it, in the working state that was sent; the laptop does not. */
async function expectMoved(threadId: string, sent: Record<string, unknown>): Promise<void> {
  expect((await server.thread(threadId)).baton).toMatchObject({ owner: server.hostId, epoch: 1, movedTo: null, moving: false });
  expect((await laptop.thread(threadId)).baton).toMatchObject({ owner: server.hostId, movedTo: { hostId: server.hostId } });
  const { worktrees } = await server.client.call('worktree/list', {});
  expect(await workingState(worktrees.find(({ threadIds }) => threadIds.includes(threadId))?.path ?? '')).toEqual(sent);
  expect(await server.say(threadId, said.hello)).toBe('completed');
  expect((await refusal(laptop.say(threadId, said.hello))).reason).toBe('thread-moved');
}

/** The one approval that the thread waits for is the one from before; deciding it lets the turn go on. */
async function expectDecidable(threadId: string, before: Approval | undefined): Promise<void> {
  const [after, ...others] = await laptop.approvals(threadId);
  expect(others).toEqual([]);
  expect(after).toMatchObject({ digest: before?.digest, command: before?.command, cwd: laptop.checkout });
  const rest = laptop.rest(threadId);
  await laptop.client.call('approval/decide', { id: after?.id ?? '', digest: after?.digest ?? '', decision: 'decline' });
  expect(await rest).toBe('completed');
  expect(await laptop.approvals(threadId)).toEqual([]);
}

describe('an approval that a turn waits for', () => {
  it.each(['quiesce', 'capture', 'stage'] as const)('is raised again, once, where the source was killed in the phase %s', async (phase) => {
    const { threadId } = await killedIn(phase, laptop, said.risky);
    await settled(threadId);
    await laptop.until(async () => (await laptop.approvals(threadId)).length > 0);
    const [pending, ...others] = await laptop.approvals(threadId);
    expect(others).toEqual([]);
    const rest = laptop.rest(threadId);
    await laptop.client.call('approval/decide', { id: pending?.id ?? '', digest: pending?.digest ?? '', decision: 'decline' });
    expect(await rest).toBe('completed');
    expect(await laptop.approvals(threadId)).toEqual([]);
  });

  it.each(['SIGKILL', 'SIGTERM'] as const)('can still be decided after the host ended by %s and was started again', async (signal) => {
    const threadId = await laptop.begin(said.risky);
    const [before] = await laptop.approvals(threadId);
    await laptop.stop(signal);
    await laptop.start();
    await laptop.until(async () => (await laptop.approvals(threadId)).length > 0);
    await expectDecidable(threadId, before);
  });

  it('is raised again after its app-server was killed, and the host has started another', async () => {
    const threadId = await laptop.begin(said.risky);
    const [before] = await laptop.approvals(threadId);
    const { pid } = JSON.parse(await readFile(join(laptop.machine.batonHome, 'app-server.json'), 'utf8')) as { pid: number };
    process.kill(pid, 'SIGKILL');
    await laptop.until(async () => (await laptop.approvals(threadId)).some((approval) => approval.carriedOver));
    await expectDecidable(threadId, before);
  });
});
