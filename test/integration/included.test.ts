import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { workingState } from '../fixtures/checkout';
import { explainFailures, said, startPair, type PairedHosts, type Site } from './pairedHosts';

let pair: PairedHosts;
let laptop: Site;
let server: Site;

beforeAll(async () => {
  pair = await startPair();
  ({ laptop, server } = pair);
  await writeFile(join(laptop.checkout, '.env'), 'KEY=of the laptop\n');
  await mkdir(join(server.checkout, 'build'));
  await writeFile(join(server.checkout, 'build', 'cache'), 'made on the server\n');
  await writeFile(join(server.checkout, '.env'), 'KEY=of the server\n');
});
beforeEach(() => explainFailures(pair));
afterAll(() => pair.close());

it('a list that travels in the working state copies nothing', async () => {
  const threadId = await laptop.begin(said.hello);
  await writeFile(join(laptop.checkout, '.worktreeinclude'), '.env\nbuild/\n');
  const { worktree, notes } = await laptop.handOff({ threadId, to: server.hostId });
  expect(await readFile(join(worktree, '.worktreeinclude'), 'utf8')).toBe('.env\nbuild/\n');
  expect([existsSync(join(worktree, '.env')), existsSync(join(worktree, 'build'))]).toEqual([false, false]);
  expect(notes.join()).not.toMatch(/worktreeinclude/);
});

it('what the destination\'s own checkout lists is copied from there into a new worktree, and said; nothing ignored crosses', async () => {
  await writeFile(join(server.checkout, '.worktreeinclude'), '.env\n');
  const threadId = await laptop.begin(said.hello);
  const sent = await workingState(laptop.checkout);
  const { worktree, notes } = await laptop.handOff({ threadId, to: server.hostId });
  expect(await workingState(worktree)).toEqual(sent);
  expect(await readFile(join(worktree, '.env'), 'utf8')).toBe('KEY=of the server\n');
  expect(existsSync(join(worktree, 'build'))).toBe(false);
  expect(notes).toContain(`1 ignored file (18 bytes) listed in .worktreeinclude was copied from ${server.checkout}.`);

  // The worktree is kept, and so is what lies in it, when the thread comes here again.
  await writeFile(join(worktree, '.env'), 'KEY=changed there\n');
  const back = await laptop.handOff({ threadId, to: laptop.hostId, from: server.hostId });
  expect(existsSync(join(back.worktree, '.env')), 'the laptop lists .env, and it is its own').toBe(true);
  expect(await readFile(join(back.worktree, '.env'), 'utf8')).toBe('KEY=of the laptop\n');
  const again = await laptop.handOff({ threadId, to: server.hostId });
  expect(again.worktree).toBe(worktree);
  expect(await readFile(join(worktree, '.env'), 'utf8')).toBe('KEY=changed there\n');
});
