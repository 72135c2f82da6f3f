import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { git, ownCheckout, photograph, removeTemporaryDirectories, write } from '../git/laboratory';
import { makeSubmodulePair, observeAll, places } from '../git/submoduleClones';
import { explainFailures, said, startPair, type PairedHosts, type Site } from './pairedHosts';

let pair: PairedHosts;
let laptop: Site;
let server: Site;

beforeAll(async () => {
  pair = await startPair({ clean: true });
  ({ laptop, server } = pair);
});
beforeEach(() => explainFailures(pair));
afterAll(() => pair.close());
afterAll(removeTemporaryDirectories);

/** The working tree with its submodules' files, not what lies below a Git directory. */
const photographOfFiles = (root: string) => photograph(root).filter((line) => !/\/\.git[ /]/.test(line));

it('two hosts move a checkout with its submodules exactly, and back, and there again', async () => {
  const clones = makeSubmodulePair();
  for (const place of [...places].reverse()) {
    const root = join(clones.laptop, place);
    write(root, 'more', `commit in ${place}\n`);
    git(root, 'add', '-A');
    git(root, 'commit', '-qm', 'only here');
    write(root, 'lib.txt', 'dirty\n');
    write(root, 'untracked', 'u');
  }
  // Nobody can ask where the submodules came from.
  rmSync(join(clones.directory, 'origin'), { recursive: true });
  await laptop.client.call('project/add', { directory: clones.laptop });
  await server.client.call('project/add', { directory: clones.server });
  const before = { source: photograph(clones.laptop), own: ownCheckout(clones.server) };

  const preflight = await laptop.client.call('handoff/preflight', { directory: clones.laptop, to: server.hostId });
  expect(preflight.findings.filter(({ level }) => level === 'blocker')).toEqual([]);
  const there = await laptop.handOff({ directory: clones.laptop, prompt: said.hello, to: server.hostId });
  expect(photograph(clones.laptop), 'the source is untouched').toEqual(before.source);
  expect(observeAll(there.worktree)).toEqual(observeAll(clones.laptop));
  expect(there.commits).toBe(preflight.commits);

  const inner = join(there.worktree, 'vendor/lib/deep');
  write(inner, 'made there', 'm');
  git(inner, 'add', '-A');
  git(inner, 'commit', '-qm', 'made there');
  const own = photographOfFiles(clones.laptop);
  const back = await laptop.handOff({ threadId: there.threadId, to: laptop.hostId, from: server.hostId });
  expect(observeAll(back.worktree)).toEqual(observeAll(there.worktree));
  write(back.worktree, 'vendor/lib/made here', 'h');
  const again = await laptop.handOff({ threadId: there.threadId, to: server.hostId });
  expect(again.worktree).toBe(there.worktree);
  expect(observeAll(again.worktree)).toEqual(observeAll(back.worktree));
  expect(photographOfFiles(clones.laptop), "the laptop's own checkout is untouched, its submodules too").toEqual(own);
  expect(ownCheckout(clones.server), "the destination's own checkout is untouched").toEqual(before.own);
});
