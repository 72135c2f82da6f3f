import { existsSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { ApplyResult } from '../../src/host/protocol';
import { git, refsOf, workingState } from '../fixtures/checkout';
import { pairForAll, refusal, said, saying, type PairedHosts, type Site } from './pairedHosts';

let pair: PairedHosts;
let laptop: Site;
let server: Site;
let threadId: string;
/** The thread's worktree on the laptop, after it was on the server and came back with more than it left with. */
let worktree: string;

pairForAll((started) => {
  pair = started;
  ({ laptop, server } = pair);
});

const apply = (more: Record<string, unknown> = {}) => laptop.client.call('worktree/apply', { threadId, ...more });
/** What plain git and the files say of a checkout, and which branch it is on. */
const look = async (directory: string) => ({ state: await workingState(directory), branch: await git(directory, 'symbolic-ref', 'HEAD') });

it('a thread that works in the user\'s checkout itself has nothing to apply', async () => {
  threadId = await laptop.begin(said.hello);
  expect(await refusal(apply({ dryRun: true }))).toMatchObject({ reason: 'no-worktree', message: saying(/works in your checkout itself/) });
});

it('what came home goes into the checkout that it left from, as that is still as it was left; and back again', async () => {
  const there = await laptop.handOff({ threadId, to: server.hostId });
  await git(there.worktree, 'commit', '-qam', 'On the server');
  await writeFile(join(there.worktree, 'later.txt'), 'later\n');
  ({ worktree } = await laptop.handOff({ threadId, to: laptop.hostId, from: server.hostId }));
  const before = { ...(await look(laptop.checkout)), refs: await refsOf(laptop.checkout) };

  const dry = await laptop.machine.json<ApplyResult>('apply', threadId, '--dry-run');
  expect(dry).toMatchObject({ applied: false, how: 'replace', refused: null, checkout: laptop.checkout, worktree, head: { branch: 'refs/heads/comets', commits: 1 } });
  expect(dry.changes).toContainEqual({ path: 'later.txt', change: 'added' });
  expect(await look(laptop.checkout)).toEqual({ state: before.state, branch: before.branch });
  expect(await laptop.machine.failure('apply', threadId)).toMatchObject({ code: 2, reason: 'usage', message: saying(/Add `--yes`/) });

  const done = await laptop.machine.json<ApplyResult>('apply', threadId, '--yes');
  expect(done).toMatchObject({ applied: true, plan: dry.plan, notes: [saying(/goes on in its worktree/)] });
  expect(await look(laptop.checkout)).toEqual({ state: await workingState(worktree), branch: before.branch });
  expect(laptop.audit().at(-1)).toMatchObject({ type: 'apply-done', threadId, directory: laptop.checkout, by: 'local' });
  // The thread works on where it was.
  expect(await laptop.say(threadId, said.hello)).toBe('completed');
  expect((await laptop.thread(threadId)).cwd).toBe(worktree);

  await laptop.machine.json('apply', threadId, '--undo', '--yes');
  expect({ ...(await look(laptop.checkout)), refs: await refsOf(laptop.checkout) }).toMatchObject(before);
  expect(await refusal(laptop.client.call('worktree/undoApply', { threadId }))).toMatchObject({ reason: 'nothing-to-undo' });
});

it('a checkout with work of its own is refused by name, and merged when that is asked for', async () => {
  await writeFile(join(laptop.checkout, 'mine.txt'), 'mine\n');
  const before = await look(laptop.checkout);
  const refused = await laptop.machine.failure('apply', threadId, '--yes');
  expect(refused).toMatchObject({ code: 3, reason: 'apply-refused', message: saying(/has changes of its own in .*"mine\.txt"/) });
  expect(await look(laptop.checkout)).toEqual(before);
  const merged = await apply({ merge: true });
  expect(merged).toMatchObject({ applied: true, how: 'merge', conflicts: [] });
  expect([await readFile(join(laptop.checkout, 'mine.txt'), 'utf8'), await readFile(join(laptop.checkout, 'later.txt'), 'utf8')]).toEqual(['mine\n', 'later\n']);
  await laptop.client.call('worktree/undoApply', { threadId });
  expect(await look(laptop.checkout)).toEqual(before);
  await rm(join(laptop.checkout, 'mine.txt'));
});

it('the other way the agent is told, and a turn that runs is not disturbed unless that is asked for', async () => {
  await apply();
  await writeFile(join(laptop.checkout, 'from the user.txt'), 'u\n');
  const running = laptop.rest(threadId);
  running.catch(() => undefined);
  const speaking = new Promise<void>((fulfil) => {
    laptop.client.onCodex((method, params) => {
      if (method === 'item/agentMessage/delta' && (params as { threadId: string }).threadId === threadId) fulfil();
    });
  });
  await laptop.client.codex('turn/start', { threadId, input: [{ type: 'text', text: said.slowly, text_elements: [] }] });
  await speaking;
  expect(await refusal(apply({ to: 'worktree' }))).toMatchObject({ reason: 'thread-running' });
  expect(existsSync(join(worktree, 'from the user.txt'))).toBe(false);
  await apply({ to: 'worktree', stop: true });
  expect(await running).toBe('interrupted');
  expect(await workingState(worktree)).toEqual(await workingState(laptop.checkout));
  const asked = pair.model.requests.length;
  expect(await laptop.say(threadId, said.hello)).toBe('completed');
  expect(JSON.stringify(pair.model.requests[asked]?.input)).toContain('put the working state of their own checkout into');
  // And from here it goes on being handed over.
  expect(await laptop.handOff({ threadId, to: server.hostId })).toMatchObject({ threadId });
  expect(await refusal(apply())).toMatchObject({ reason: 'thread-moved' });
});
