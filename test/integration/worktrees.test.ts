import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import type { ManagedWorktree, Thread } from '../../src/host/protocol';
import { git } from '../fixtures/checkout';
import { observe } from '../git/laboratory';
import { explainFailures, refusal, said, startPair, type PairedHosts, type Site } from './pairedHosts';

let pair: PairedHosts;
beforeAll(async () => {
  pair = await startPair();
});
beforeEach(() => {
  explainFailures(pair);
});
afterAll(async () => {
  await pair.close();
});

async function worktreeOf(site: Site, threadId: string): Promise<ManagedWorktree> {
  const { worktrees } = await site.client.call('worktree/list', {});
  const found = worktrees.find(({ threadIds }) => threadIds.includes(threadId));
  if (found === undefined) throw new Error(`${site.machine.name} has no worktree for ${threadId}.`);
  return found;
}

it('a thread whose worktree was removed goes on in it, exactly as it was, at the next turn', async () => {
  const { laptop, server } = pair;
  const threadId = await laptop.begin(said.hello);
  await laptop.handOff({ threadId, to: server.hostId });
  const { id, path, safeToRemove, reason } = await worktreeOf(server, threadId);
  expect({ safeToRemove, reason }).toEqual({ safeToRemove: true, reason: expect.stringMatching(/^A snapshot keeps its changes/) as string });
  await writeFile(join(path, 'made there.txt'), 'by somebody at the server\n');
  const before = observe(path);
  const own = observe(server.checkout);

  const said1 = await server.machine.cli('worktree', 'remove', id);
  expect(said1.stdout).toMatch(/^Removed .*\nIts working state is in the snapshot refs\/baton\/snapshots\/[0-9a-f]{8}\/\d{8}T\d{9}Z\.\n/);
  expect(existsSync(path)).toBe(false);
  expect(await worktreeOf(server, threadId)).toMatchObject({ state: 'removed', path });

  expect(await server.say(threadId, said.hello)).toBe('completed');
  expect(await worktreeOf(server, threadId)).toMatchObject({ state: 'here', path });
  expect(observe(path)).toEqual(before);
  expect(observe(server.checkout)).toEqual(own);
  expect(server.audit().map(({ type }) => type)).toEqual(expect.arrayContaining(['worktree-removed', 'worktree-restored']));
});

it('a thread that comes back finds the worktree that it had, though that was removed meanwhile', async () => {
  const { laptop, server } = pair;
  const threadId = await laptop.begin(said.hello);
  const { worktree } = await laptop.handOff({ threadId, to: server.hostId });
  const { id } = await worktreeOf(server, threadId);
  await server.handOff({ threadId, to: laptop.hostId });
  await server.client.call('worktree/remove', { id });
  expect(existsSync(worktree)).toBe(false);
  expect((await laptop.client.call('handoff/preflight', { threadId, to: server.hostId })).worktree).toBe(worktree);
  expect((await laptop.handOff({ threadId, to: server.hostId })).worktree).toBe(worktree);
  expect(await server.say(threadId, said.hello)).toBe('completed');
});

it('a turn that runs keeps its worktree', async () => {
  const { laptop, server } = pair;
  const threadId = await laptop.begin(said.hello);
  await laptop.handOff({ threadId, to: server.hostId });
  const { id, path } = await worktreeOf(server, threadId);
  const rest = server.rest(threadId);
  const { turn } = (await server.client.codex('turn/start', { threadId, input: [{ type: 'text', text: said.slowly, text_elements: [] }] })) as { turn: { id: string } };
  const refused = await refusal(server.client.call('worktree/remove', { id }));
  expect({ reason: refused.reason, said: refused.message }).toEqual({ reason: 'worktree-kept', said: expect.stringContaining('A thread works in it: its turn runs.') as string });
  await server.client.codex('turn/interrupt', { threadId, turnId: turn.id });
  await rest;
  expect(existsSync(path)).toBe(true);
});

it('a permanent worktree hosts several threads, and stays, also when one of them is handed off', async () => {
  const { laptop, server } = pair;
  const { projects } = await laptop.client.call('project/list', {});
  const { worktree } = await laptop.machine.json<{ worktree: ManagedWorktree }>('worktree', 'create', projects[0]?.id ?? '', '--branch', 'long-lived', '--permanent');
  expect(worktree).toMatchObject({ branch: 'long-lived', permanent: true, dirty: false, state: 'here' });
  const threads = [await laptop.begin(said.hello, { cwd: worktree.path }), await laptop.begin(said.hello, { cwd: worktree.path })];
  expect((await worktreeOf(laptop, threads[0] ?? '')).threadIds.sort()).toEqual(threads.sort());
  const { code, reason } = await laptop.machine.failure('worktree', 'remove', worktree.id);
  expect({ code, reason }).toEqual({ code: 1, reason: 'worktree-kept' });
  for (const threadId of threads) expect(((await laptop.client.codex('thread/read', { threadId })) as { thread: Thread }).thread.baton?.worktreeId).toBe(worktree.id);
  expect(await git(laptop.checkout, 'branch', '--list', 'long-lived')).toContain('long-lived');

  const [leaves, stays] = threads as [string, string];
  await writeFile(join(worktree.path, 'of both.txt'), 'whoever wrote it\n');
  const before = observe(worktree.path);
  const there = (await laptop.handOff({ threadId: leaves, to: server.hostId })).worktree;
  expect(observe(there)).toEqual(before);
  expect(observe(worktree.path)).toEqual(before);
  expect(await worktreeOf(laptop, stays)).toMatchObject({ id: worktree.id, permanent: true, state: 'here', safeToRemove: false, reason: 'It is permanent.' });
  expect(await laptop.say(stays, said.hello)).toBe('completed');
  expect(await server.say(leaves, said.hello)).toBe('completed');
  expect((await server.handOff({ threadId: leaves, to: laptop.hostId })).worktree).toBe(worktree.path);
  for (const threadId of threads) expect(await laptop.say(threadId, said.hello)).toBe('completed');
  expect(observe(worktree.path)).toEqual(before);
});

it('a paired host may look after the worktrees of one that trusts it as an operator, and no other may', async () => {
  const { laptop, server } = pair;
  const refused = await server.machine.failure('worktrees', '--host', 'laptop');
  expect(refused).toMatchObject({ code: 1, reason: 'not-permitted' });
  const { invite } = await laptop.client.call('host/invite', { role: 'operator' });
  await server.client.call('host/join', { invite });
  const { worktrees } = await server.machine.json<{ worktrees: ManagedWorktree[] }>('worktrees', '--host', 'laptop', '--sizes');
  expect(worktrees).toEqual((await laptop.client.call('worktree/list', { sizes: true })).worktrees);
  expect(worktrees.every(({ bytes }) => bytes !== null && bytes > 0)).toBe(true);
  const { id } = worktrees.find(({ permanent }) => !permanent) ?? { id: '' };
  expect((await server.machine.json<{ worktree: ManagedWorktree }>('worktree', 'pin', id, '--host', 'laptop')).worktree.pinned).toBe(true);
  // The other way round there is no such trust.
  expect(await laptop.machine.failure('worktree', 'sweep', '--host', 'server')).toMatchObject({ reason: 'not-permitted' });
});
