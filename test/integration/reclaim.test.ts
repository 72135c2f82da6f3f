import { readFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { HandoffSummary } from '../../src/host/protocol';
import { untouchedState, workingState } from '../fixtures/checkout';
import { askCodex, pairForAll, refusal, riskyCommand, said, saying, type PairedHosts, type Site } from './pairedHosts';

let pair: PairedHosts;
let laptop: Site;
let server: Site;

pairForAll((started) => {
  pair = started;
  ({ laptop, server } = pair);
});

const baton = async (site: Site, threadId: string) => (await site.thread(threadId)).baton;
const handoffs = async (site: Site, threadId: string): Promise<HandoffSummary[]> => (await site.client.call('handoff/list', { all: true })).handoffs.filter((handoff) => handoff.threadId === threadId);
const worktreeOf = async (site: Site, threadId: string): Promise<string> => (await site.client.call('worktree/list', {})).worktrees.find(({ threadIds }) => threadIds.includes(threadId))?.path ?? '';
/** All of a rollout after its first line, which names the thread. */
const bodyOf = (path: string): string => readFileSync(path, 'utf8').replace(/^[^\n]*\n/, '');
const pathOf = async (site: Site, threadId: string): Promise<string> => (await site.thread(threadId) as unknown as { path: string }).path;

/** The thread as which a site keeps what it had of one that was reclaimed. */
async function forkAt(site: Site, threadId: string): Promise<string> {
  let fork: string | undefined;
  await site.until(async () => {
    const record = (await readFile(join(site.machine.batonHome, 'ledger', `${threadId}.jsonl`), 'utf8')).trim().split('\n').map((line) => JSON.parse(line) as { side: string; event: { type: string; fork?: string } });
    fork = record.findLast(({ event }) => event.type === 'superseded')?.event.fork;
    return record.some(({ event }) => event.type === 'kept');
  });
  return fork ?? '';
}

describe('a thread whose host was killed after it went on there', () => {
  let threadId: string;
  let sent: Record<string, unknown>;
  let worktree: string;
  let lost: { worktree: Record<string, unknown>; body: string };

  beforeAll(async () => {
    threadId = await laptop.begin(said.hello);
    sent = await workingState(laptop.checkout);
    await laptop.handOff({ threadId, to: server.hostId });
    worktree = await worktreeOf(server, threadId);
    await writeFile(join(worktree, 'written-there.txt'), 'only on the server\n');
    await server.say(threadId, 'What do you remember?');
    lost = { worktree: await workingState(worktree), body: bodyOf(await pathOf(server, threadId)) };
    expect(lost.worktree).not.toEqual(sent);
  });

  it('can be handed back while its host is online, so it is not reclaimed then', async () => {
    const report = await laptop.client.call('handoff/reclaim', { threadId, dryRun: true });
    expect(report).toMatchObject({ done: false, online: true, from: { name: 'server' }, epoch: 1000 });
    expect(report.losses[0]).toContain('Everything that happened since');
    expect(report.losses[1]).toContain('what waited in its queue');
    const refused = await refusal(laptop.client.call('handoff/reclaim', { threadId }));
    expect(refused).toMatchObject({ reason: 'owner-online', message: saying(`baton handoff ${threadId} --to here --from server`) });
    expect(await baton(laptop, threadId)).toMatchObject({ owner: server.hostId, epoch: 1 });
  });

  it('is taken back, runs where it was, and tells what was left behind', async () => {
    await server.stop('SIGKILL');
    const report = await laptop.client.call('handoff/reclaim', { threadId });
    expect(report).toMatchObject({ done: true, online: false, epoch: 1000 });
    expect(await baton(laptop, threadId)).toMatchObject({ owner: laptop.hostId, epoch: 1000, movedTo: null, moving: false });
    expect((await laptop.thread(threadId)).name ?? '').not.toContain('moved to');
    expect(await workingState(laptop.checkout)).toEqual(sent);
    expect(await laptop.say(threadId, said.hello)).toBe('completed');
    expect(laptop.audit()).toContainEqual(expect.objectContaining({ type: 'thread-reclaimed', threadId, peer: server.hostId, by: 'local', epoch: 1000 }));
  });

  it('is kept as a fork, with every byte and its worktree, where its host comes back, which runs nothing on it', async () => {
    await server.start();
    const fork = await forkAt(server, threadId);
    expect(bodyOf(await pathOf(server, fork))).toBe(lost.body);
    expect(await worktreeOf(server, fork)).toBe(worktree);
    expect(await workingState(worktree)).toEqual(lost.worktree);
    expect((await refusal(server.client.codex('turn/start', { threadId, input: [{ type: 'text', text: said.hello, text_elements: [] }] }))).reason).toBe('thread-moved');
    expect((await refusal(server.handOff({ threadId, to: laptop.hostId }))).reason).toBe('thread-moved');
    // The fork is the user's to go on with.
    expect(await server.say(fork, said.hello)).toBe('completed');
    expect(bodyOf(await pathOf(server, fork)).startsWith(lost.body)).toBe(true);
    expect(server.audit()).toContainEqual(expect.objectContaining({ type: 'thread-superseded', threadId, peer: laptop.hostId, epoch: 1000 }));
  });

  it('can be handed to that host again, beside its fork', async () => {
    const before = await workingState(worktree);
    expect(await laptop.handOff({ threadId, to: server.hostId })).toMatchObject({ threadId, epoch: 1001 });
    expect(await worktreeOf(server, threadId)).not.toBe(worktree);
    expect(await workingState(worktree)).toEqual(before);
    expect(await server.say(threadId, said.hello)).toBe('completed');
    expect(await baton(server, threadId)).toMatchObject({ owner: server.hostId, epoch: 1001 });
  });
});

it('a thread that was never acknowledged comes back with what it waited for', async () => {
  const threadId = await laptop.begin(said.risky);
  await askCodex(laptop, 'thread/goal/set', { threadId, objective: 'Find the comet', status: 'active' });
  await askCodex(laptop, 'thread/queue/add', { threadId, input: [{ type: 'text', text: 'After that.', text_elements: [] }], clientUserMessageId: 'after' });
  const [asked] = await laptop.approvals(threadId);
  const reached = laptop.phase('activate', threadId);
  const { handoffId } = await laptop.client.call('handoff/start', { threadId, to: server.hostId });
  const ended = refusal(laptop.client.call('handoff/wait', { handoffId }));
  await reached;
  await server.stop('SIGKILL');
  await ended;
  // The copy here has been let go of.
  expect(await laptop.approvals(threadId)).toEqual([]);
  expect((await laptop.client.call('handoff/reclaim', { threadId, dryRun: true })).losses).toEqual([saying('Nothing that is known here')]);
  await laptop.client.call('handoff/reclaim', { threadId });
  const [pending, ...more] = await laptop.approvals(threadId);
  expect(more).toEqual([]);
  expect(pending).toMatchObject({ digest: asked?.digest, command: saying(riskyCommand), carriedOver: true, hostId: laptop.hostId });
  expect(await askCodex(laptop, 'thread/queue/list', { threadId })).toMatchObject({ data: [{ clientUserMessageId: 'after' }] });
  expect(await askCodex(laptop, 'thread/goal/get', { threadId })).toMatchObject({ goal: { objective: 'Find the comet', status: 'paused' } });
  expect((await laptop.traces())['handoffs']).toEqual([]);
  // Without the goal, which would go on by itself.
  await askCodex(laptop, 'thread/goal/clear', { threadId });
  const quiet = new Promise<void>((fulfil) => {
    let left = 2;
    const stop = laptop.client.onCodex((method, params) => {
      if (method !== 'turn/completed' || (params as { threadId: string }).threadId !== threadId || --left > 0) return;
      stop();
      fulfil();
    });
  });
  await laptop.client.call('approval/decide', { id: pending?.id ?? '', digest: pending?.digest ?? '', decision: 'accept' });
  await quiet;
  expect(await askCodex(laptop, 'thread/queue/list', { threadId })).toMatchObject({ data: [] });
  expect(JSON.stringify((await laptop.thread(threadId)).turns)).toContain('After that.');
  await server.start();
});

it('a thread that runs where it is reclaimed from by force is stopped there', async () => {
  const threadId = await laptop.begin(said.hello);
  await laptop.handOff({ threadId, to: server.hostId });
  const rest = server.rest(threadId);
  await server.client.codex('turn/start', { threadId, input: [{ type: 'text', text: said.slowly, text_elements: [] }] });
  expect(await laptop.client.call('handoff/reclaim', { threadId, force: true })).toMatchObject({ done: true, online: true });
  expect(await rest).toBe('interrupted');
  await forkAt(server, threadId);
  expect(await laptop.say(threadId, said.hello)).toBe('completed');
});

it('a thread whose source was killed when all of it had arrived can be taken up where it arrived; the source then keeps a fork', async () => {
  const threadId = await laptop.begin(said.hello);
  const checkout = untouchedState(laptop.checkout);
  const sent = await workingState(laptop.checkout);
  const body = bodyOf(await pathOf(laptop, threadId));
  const staging = laptop.phase('stage', threadId);
  const { handoffId } = await laptop.client.call('handoff/start', { threadId, to: server.hostId });
  const ended = refusal(laptop.client.call('handoff/wait', { handoffId }));
  await staging;
  // The source cannot note the receipt, so it neither commits nor gives up.
  const giveBack = await laptop.takeLedger(threadId);
  let incoming: HandoffSummary | undefined;
  await server.until(async () => {
    [incoming] = await handoffs(server, threadId);
    return incoming?.state === 'prepared' || incoming?.state === 'withdrawn';
  });
  await laptop.stop('SIGKILL');
  await ended;
  await giveBack();
  expect(incoming).toMatchObject({ handoffId, direction: 'in', state: 'prepared', open: true, canAbort: false, peer: { name: 'laptop' } });
  expect(await server.client.call('handoff/abort', { handoffId })).toMatchObject({ aborted: false });
  expect(await server.client.call('handoff/reclaim', { threadId })).toMatchObject({ done: true, epoch: 1000, from: { name: 'laptop' } });
  expect(await workingState(await worktreeOf(server, threadId))).toEqual(sent);
  expect(await server.say(threadId, said.hello)).toBe('completed');

  await laptop.start();
  const fork = await forkAt(laptop, threadId);
  expect(bodyOf(await pathOf(laptop, fork)).startsWith(body)).toBe(true);
  expect(untouchedState(laptop.checkout)).toEqual(checkout);
  expect((await refusal(laptop.client.call('handoff/start', { threadId, to: server.hostId }))).reason).toBe('thread-moved');
});

describe('what is said of handoffs', () => {
  it('is one sentence each, newest first, and only of those that are not over unless all are asked for', async () => {
    const threadId = await laptop.begin(said.hello);
    await laptop.handOff({ threadId, to: server.hostId });
    const [out] = await handoffs(laptop, threadId);
    expect(out).toMatchObject({ direction: 'out', state: 'closed', open: false, canAbort: false, epoch: 1, description: 'The thread moved to server; it can be handed back from there.' });
    expect(await handoffs(server, threadId)).toMatchObject([{ direction: 'in', state: 'active', description: 'The thread came from laptop and goes on here.' }]);
    expect((await laptop.client.call('handoff/list', {})).handoffs).toEqual([]);
    expect((await laptop.client.call('handoff/list', { all: true })).handoffs[0]).toEqual(out);
    expect((await laptop.client.call('handoff/abort', { handoffId: out?.handoffId ?? '' })).aborted).toBe(false);
    expect((await refusal(laptop.client.call('handoff/resume', { handoffId: 'f'.repeat(32) }))).reason).toBe('no-such-handoff');
  });

  it('goes on being tried while the destination is away, can be tried at once, and ends when it is back', async () => {
    const threadId = await laptop.begin(said.hello);
    const reached = laptop.phase('activate', threadId);
    const { handoffId } = await laptop.client.call('handoff/start', { threadId, to: server.hostId });
    const ended = refusal(laptop.client.call('handoff/wait', { handoffId }));
    await reached;
    await server.stop('SIGKILL');
    expect((await ended).message).toContain('This host goes on telling it');
    const { handoff } = await laptop.client.call('handoff/resume', { handoffId });
    expect(handoff).toMatchObject({ state: 'committed', open: true, canAbort: false, description: saying('has yet to acknowledge') });
    await server.start();
    await server.until(async () => (await handoffs(server, threadId))[0]?.state === 'active');
    expect((await laptop.client.call('handoff/resume', { handoffId })).handoff).toMatchObject({ state: 'closed', open: false });
  });
});

describe('the last receipt of a thread', () => {
  it('verifies on both sides, also after the thread went on, and does not where a byte of it is gone', async () => {
    const threadId = await laptop.begin(said.hello);
    const { receipt } = await laptop.handOff({ threadId, to: server.hostId });
    const there = await server.client.call('handoff/verify', { threadId });
    expect(there).toMatchObject({ receipt, side: 'destination', intact: true, epoch: 1 });
    // The host tells the agent that it has moved, in one more line.
    expect(there.checks.map(({ is }) => is)).toEqual(['grown', 'same', 'unchecked']);
    const here = await laptop.client.call('handoff/verify', { threadId });
    expect(here).toMatchObject({ receipt, side: 'source', intact: true, holdings: there.holdings });
    expect(here.checks.map(({ is }) => is)).toEqual(['same', 'same', 'unchecked']);

    await writeFile(join(await worktreeOf(server, threadId), 'more.txt'), 'more\n');
    expect((await server.client.call('handoff/verify', { threadId })).checks).toContainEqual(expect.objectContaining({ what: 'working state', is: 'changed' }));

    const path = await pathOf(laptop, threadId);
    const text = readFileSync(path, 'utf8');
    await writeFile(path, text.slice(0, -1 - 10));
    expect(await laptop.client.call('handoff/verify', { threadId })).toMatchObject({ intact: false, checks: [{ is: 'broken' }, { is: 'same' }, { is: 'unchecked' }] });
    await writeFile(path, text.replace('ephemeris-42', 'ephemeris-43'));
    expect(await laptop.client.call('handoff/verify', { threadId })).toMatchObject({ intact: false });
    const own = await laptop.begin(said.hello);
    expect((await refusal(laptop.client.call('handoff/verify', { threadId: own }))).reason).toBe('no-such-handoff');
  });
});

it('the audit log tells who did what over which thread, newest last, and counts what it cannot read', async () => {
  const threadId = await laptop.begin(said.risky);
  const [approval] = await laptop.approvals(threadId);
  const rest = laptop.rest(threadId);
  await laptop.client.call('approval/decide', { id: approval?.id ?? '', digest: approval?.digest ?? '', decision: 'decline' });
  await rest;
  const { handoffId } = await laptop.handOff({ threadId, to: server.hostId });
  const { events, unreadable } = await laptop.client.call('audit/list', { threadId });
  expect(unreadable).toBe(0);
  expect(events.map(({ type }) => type)).toEqual(['approval-requested', 'approval-decided', 'handoff-requested', 'handoff-begun', 'handoff-committed']);
  expect(events[1]).toMatchObject({ digest: approval?.digest, decision: 'decline', by: 'local', epoch: 0 });
  expect(events[0]).toMatchObject({ digest: approval?.digest, epoch: 0 });
  expect(events[0]).not.toHaveProperty('controller');
  expect(events[1]).toMatchObject({ subject: approval?.command });
  for (const event of events.slice(1)) expect(event).toMatchObject({ controller: { over: 'socket', client: 'test 0', pid: process.pid } });
  expect(events[4]).toMatchObject({ handoffId, peer: server.hostId, epoch: 1 });
  expect(server.audit().findLast((event) => event['type'] === 'handoff-activated')).toMatchObject({ threadId, by: `host:${laptop.hostId}`, controller: { over: 'channel', key: laptop.hostId } });
  expect((await laptop.client.call('audit/list', { limit: 1 })).events).toEqual([events.at(-1)]);
  // Whoever looks where the thread is now sees it, too; there and back again nothing is told twice.
  const told = { hostId: laptop.hostId, hostName: 'laptop', digest: approval?.digest, subject: approval?.command, epoch: 0 };
  const trail = [{ type: 'approval-trail', entry: { ...told, event: 'approval-requested' } }, { type: 'approval-trail', entry: { ...told, event: 'approval-decided', decision: 'decline', by: 'local' } }];
  const trailOf = async (site: Site) => (await site.client.call('audit/list', { threadId })).events.filter(({ type }) => type === 'approval-trail');
  expect(await trailOf(server)).toMatchObject(trail);
  await laptop.handOff({ threadId, to: laptop.hostId, from: server.hostId });
  await laptop.handOff({ threadId, to: server.hostId });
  expect(await trailOf(server)).toMatchObject(trail);
  expect(await trailOf(laptop)).toEqual([]);
});
