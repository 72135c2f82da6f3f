import { existsSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { carry, git, gitThatMayFail, observe, ownCheckout, photograph, removeTemporaryDirectories, temporaryDirectory, write, type Pair } from './laboratory';

let pair: Pair;
let worktree: string;
let back: string;
beforeEach(() => {
  pair = makeSubmodulePair();
  worktree = path.join(pair.directory, 'server', 'worktrees', '1', 'app');
  back = path.join(pair.directory, 'laptop', 'worktrees', '1', 'app');
});
afterEach(removeTemporaryDirectories);

function makeLibrary(root: string, content: string): void {
  mkdirSync(root, { recursive: true });
  git(root, 'init', '-q');
  write(root, 'lib.txt', `${content}\n`);
  write(root, '.gitignore', '*.log\n');
  git(root, 'add', '-A');
  git(root, 'commit', '-qm', content);
}

/** An application with a submodule `vendor/lib`, which has a submodule `deep` itself; the server's clone is without them. */
function makeSubmodulePair(): Pair {
  const directory = temporaryDirectory();
  const [deep, lib, laptop, server] = [['origin', 'deep'], ['origin', 'lib'], ['laptop', 'app'], ['server', 'app']].map((parts) => path.join(directory, ...parts)) as [string, string, string, string];
  makeLibrary(deep, 'deep');
  makeLibrary(lib, 'lib');
  git(lib, 'submodule', '--quiet', 'add', '--name', 'the deep', deep, 'deep');
  git(lib, 'commit', '-qm', 'with deep');
  makeLibrary(laptop, 'app');
  git(laptop, 'submodule', '--quiet', 'add', '--name', 'lib', lib, 'vendor/lib');
  git(laptop, 'commit', '-qm', 'with lib');
  git(directory, 'clone', '-q', laptop, server);
  git(laptop, 'submodule', '--quiet', 'update', '--init', '--recursive');
  git(server, 'checkout', '-q', '-b', 'mine');
  write(server, 'own.txt', 'untracked here\n');
  return { directory, laptop, server };
}

const places = ['', 'vendor/lib', 'vendor/lib/deep'];
/** What plain git says of a checkout and of each of its submodules. */
const observeAll = (root: string) => Object.fromEntries(places.map((place) => [place, existsSync(path.join(root, place, '.git')) ? observe(path.join(root, place)) : 'not there']));

function commit(root: string, message: string): void {
  git(root, 'add', '-A');
  git(root, 'commit', '-qm', message);
}

describe('a checkout with submodules travels exactly', () => {
  const states: [name: string, make: (root: string) => void, roundTrips?: true][] = [
    ['that are clean', () => undefined],
    ['that are dirty, staged, untracked and ignored', (root) => { for (const place of places) { write(root, `${place}/lib.txt`, `changed in ${place}\n`); write(root, `${place}/staged`, 's'); git(path.join(root, place), 'add', 'staged'); write(root, `${place}/untracked/u`, 'u'); write(root, `${place}/x.log`, 'ignored'); } }, true],
    ['with commits that exist nowhere else', (root) => { for (const place of [...places].reverse()) { write(root, `${place}/more`, place); commit(path.join(root, place), 'more'); } }],
    ['on a branch with commits, which the superproject has not taken up', (root) => { const lib = path.join(root, 'vendor/lib'); git(lib, 'checkout', '-q', '-b', 'topic'); write(lib, 'more', 'm'); commit(lib, 'more'); write(lib, 'lib.txt', 'and more\n'); }, true],
    ['staged at a commit that the submodule has left again', (root) => { const lib = path.join(root, 'vendor/lib'); write(lib, 'n', 'n'); commit(lib, 'n'); git(root, 'add', 'vendor/lib'); git(lib, 'checkout', '-q', 'HEAD~1'); }],
    ['in the middle of a merge', (root) => { const lib = path.join(root, 'vendor/lib'); git(lib, 'checkout', '-q', '-b', 'a'); write(lib, 'lib.txt', 'a\n'); commit(lib, 'a'); git(lib, 'checkout', '-q', '-b', 'b', 'HEAD~1'); write(lib, 'lib.txt', 'b\n'); commit(lib, 'b'); gitThatMayFail(lib, 'merge', 'a'); write(lib, 'u', 'u'); }],
    ['of which the inner one was taken away', (root) => { git(path.join(root, 'vendor/lib'), 'submodule', '--quiet', 'deinit', '-f', 'deep'); write(root, 'vendor/lib/lib.txt', 'x\n'); }],
    ['in conflict in the superproject', (root) => {
      const lib = path.join(root, 'vendor/lib');
      git(lib, 'checkout', '-q', '--detach'); write(lib, 'one', '1'); commit(lib, 'one'); git(root, 'checkout', '-q', '-b', 'one'); git(root, 'commit', '-qam', 'one');
      git(lib, 'checkout', '-q', 'HEAD~1'); write(lib, 'two', '2'); commit(lib, 'two'); git(root, 'checkout', '-q', '-b', 'two', 'HEAD~1'); git(root, 'commit', '-qam', 'two');
      gitThatMayFail(root, 'merge', 'one');
    }],
    ['renamed', (root) => { git(root, 'mv', 'vendor/lib', 'vendor/moved'); git(root, 'mv', 'vendor/moved', 'vendor/lib'); write(root, 'vendor/lib/deep/u', 'u'); }],
  ];
  it.each(states)('%s', async (_name, make, trips) => {
    make(pair.laptop);
    const source = photograph(pair.laptop);
    const own = ownCheckout(pair.server);
    const there = await carry(pair, pair.laptop, pair.server, worktree);
    expect(photograph(pair.laptop), 'the source is untouched').toEqual(source);
    expect(ownCheckout(pair.server), 'the destination\'s own checkout is untouched').toEqual(own);
    expect(observeAll(worktree)).toEqual(observeAll(pair.laptop));
    expect(there.restored.fingerprint).toBe(there.capture.fingerprint);

    if (trips !== true) return;
    // Three round trips in all: back into a worktree that the laptop makes, then into those that exist.
    let [from, to, left] = [worktree, back, undefined as string | undefined];
    for (let trip = 2; trip <= 6; trip++) {
      git(from, 'status');
      for (const place of places) if (existsSync(path.join(from, place, '.git'))) write(from, `${place}/trip ${trip}`, `${trip}\n`);
      const next = await carry(pair, from, to === back ? pair.laptop : pair.server, to, left);
      expect(observeAll(to), `trip ${trip}`).toEqual(observeAll(from));
      expect(next.restored.fingerprint).toBe(next.capture.fingerprint);
      [from, to, left] = [to, from, next.restored.fingerprint];
    }
    expect(ownCheckout(pair.server), 'still untouched').toEqual(own);
  });
});
