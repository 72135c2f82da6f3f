import { cpSync, existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { captureCheckout, watchCheckout } from '../../src/git/captureCheckout';
import { receiveCheckout } from '../../src/git/receiveCheckout';
import { restoreWorkingState, rollbackRestore } from '../../src/git/restore';
import { findSubmodulePlaces, parentsOf, type AnnouncedSubmodule } from '../../src/git/submodulePlaces';
import { withMeddlingGit } from '../fixtures/meddlingGit';
import { isWhole } from '../fixtures/whole';
import { belongings, carry, git, gitThatMayFail, link, ownCheckout, photograph, remove, removeTemporaryDirectories, send, THREAD, write, type Pair } from './laboratory';
import { makeLibrary, makeSubmodulePair, observeAll, places } from './submoduleClones';

let pair: Pair;
let worktree: string;
let back: string;
beforeEach(() => {
  pair = makeSubmodulePair();
  worktree = path.join(pair.directory, 'server', 'worktrees', '1', 'app');
  back = path.join(pair.directory, 'laptop', 'worktrees', '1', 'app');
});
afterEach(removeTemporaryDirectories);

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
    // Back into a worktree that the laptop makes, then into those that exist.
    let [from, to, left] = [worktree, back, undefined as string | undefined];
    for (let trip = 2; trip <= (isWhole ? 6 : 3); trip++) {
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

const populate = (root: string) => git(root, 'submodule', '--quiet', 'update', '--init', '--recursive');
const repositoryOf = (root: string) => git(root, 'rev-parse', '--path-format=absolute', '--git-common-dir');
const restore = (sent: Awaited<ReturnType<typeof send>>, directory: string, expectedFingerprint?: string) => restoreWorkingState({
  root: pair.server, ...sent, worktree: directory, threadId: THREAD, carriedBranch: sent.capture.branch, existing: expectedFingerprint === undefined ? undefined : { expectedFingerprint },
});

it('a submodule that changes after it was stored, while its superproject is, has the capture begin again', async () => {
  const spool = path.join(pair.directory, 'spool');
  const atTheThird = { words: ['fast-import'], nth: [3, 3], after: `echo more >>"${pair.laptop}/vendor/lib/deep/lib.txt"` } as const;
  await withMeddlingGit(path.join(pair.directory, 'busy-git'), atTheThird, async (busy) => {
    await expect(captureCheckout({ root: pair.laptop, spool, attempts: 1 })).rejects.toMatchObject({ reason: 'changed-while-capturing' });
    expect(readdirSync(spool)).toEqual([]);
    rmSync(busy.log);
    const [{ state }] = await captureCheckout({ root: pair.laptop, spool });
    expect(state.fingerprint).toBe((await captureCheckout({ root: pair.laptop, spool: `${spool}-still` }))[0].state.fingerprint);
  });
});

it('what changes after a capture can be told, wherever it is; looking changes nothing', async () => {
  const { laptop } = pair;
  const { changes } = await watchCheckout({ root: laptop, spool: path.join(pair.directory, 'spool') });
  git(laptop, 'status');
  expect(await changes()).toEqual([]);
  const [deep, file, other] = ['vendor/lib/deep/lib.txt', 'a.txt', 'new dir/new.txt'];
  const content = readFileSync(path.join(laptop, deep));
  write(laptop, deep, 'more\n');
  write(laptop, file, 'changed after it was captured\n');
  write(laptop, other, 'new\n');
  const told = (await changes()).join('\n');
  for (const name of ['"lib.txt" in "vendor/lib/deep"', '"a.txt"', '"new dir/new.txt"']) expect(told).toContain(name);
  write(laptop, deep, content);
  git(laptop, 'commit', '-qm', 'later', '--allow-empty');
  expect(await changes()).toContain('HEAD');
});

describe('at the destination a submodule belongs to', () => {
  it('the repository that its user has of it, whose own checkout on the same branch keeps every byte', async () => {
    populate(pair.server);
    for (const root of [pair.laptop, pair.server]) git(path.join(root, 'vendor/lib'), 'checkout', '-q', '-b', 'topic');
    const own = path.join(pair.server, 'vendor/lib');
    write(own, 'lib.txt', 'the server user\'s change\n');
    write(pair.laptop, 'vendor/lib/more', 'm');
    commit(path.join(pair.laptop, 'vendor/lib'), 'more');
    const before = { files: photograph(own), head: git(own, 'rev-parse', 'HEAD'), status: git(own, 'status', '--porcelain=v2', '--branch') };
    const { restored } = await carry(pair, pair.laptop, pair.server, worktree);
    expect({ files: photograph(own), head: git(own, 'rev-parse', 'HEAD'), status: git(own, 'status', '--porcelain=v2', '--branch') }).toEqual(before);
    expect(repositoryOf(path.join(worktree, 'vendor/lib'))).toBe(path.join(pair.server, '.git/modules/lib'));
    expect(repositoryOf(path.join(worktree, 'vendor/lib/deep'))).toBe(path.join(pair.server, '.git/modules/lib/modules/the deep'));
    expect(git(path.join(worktree, 'vendor/lib'), 'symbolic-ref', '--short', 'HEAD')).toBe('baton/019a1b2c-3d4e/topic');
    expect(restored.notes.join()).toContain(`Submodule "vendor/lib": The branch topic is checked out in ${own};`);
  });
  it('that repository also while its user has no checkout of it', async () => {
    populate(pair.server);
    rmSync(path.join(pair.server, 'vendor'), { recursive: true });
    write(pair.laptop, 'vendor/lib/deep/more', 'm');
    await carry(pair, pair.laptop, pair.server, worktree);
    expect(repositoryOf(path.join(worktree, 'vendor/lib/deep'))).toBe(path.join(pair.server, '.git/modules/lib/modules/the deep'));
    expect(observeAll(worktree)).toEqual(observeAll(pair.laptop));
    expect(existsSync(path.join(pair.server, 'vendor'))).toBe(false);
  });
  it('a Git directory inside its user\'s checkout, as old gits made them', async () => {
    git(pair.server, 'clone', '-q', path.join(pair.directory, 'origin', 'lib'), 'vendor/lib');
    await carry(pair, pair.laptop, pair.server, worktree);
    expect(repositoryOf(path.join(worktree, 'vendor/lib'))).toBe(path.join(pair.server, 'vendor/lib/.git'));
  });
  it('one of Baton\'s own where its user has another one of that name, and plain git works in it', async () => {
    makeLibrary(path.join(pair.directory, 'origin', 'other'), 'another');
    git(pair.server, 'clone', '-q', '--bare', path.join(pair.directory, 'origin', 'other'), '.git/modules/lib');
    await carry(pair, pair.laptop, pair.server, worktree);
    const lib = path.join(worktree, 'vendor/lib');
    expect(path.dirname(repositoryOf(lib))).toBe(path.join(pair.server, '.git/baton/modules'));
    expect(git(lib, 'remote')).toBe('');
    expect(git(worktree, 'status', '--porcelain')).toBe('');
    // Its user has not run "git submodule init", which the dash says.
    expect(git(worktree, 'submodule', 'status')).toBe(`-${git(pair.laptop, 'rev-parse', 'HEAD:vendor/lib')} vendor/lib`);
    write(lib, 'deep/n', 'n');
    for (const place of [...places].reverse()) commit(path.join(worktree, place), 'made there');
    expect(git(worktree, 'submodule', '--quiet', 'foreach', '--recursive', 'git log -1 --format=%s').split('\n')).toEqual(['made there', 'made there']);
    expect(git(worktree, 'status', '--porcelain')).toBe('');
    expect(git(lib, 'fsck', '--connectivity-only')).not.toMatch(/missing|broken/);
  });
});

describe('an existing worktree', () => {
  it('loses and gets submodules, and files in their place', async () => {
    const there = await carry(pair, pair.laptop, pair.server, worktree);
    write(pair.laptop, 'vendor/lib/lib.txt', 'dirty\n');
    git(pair.laptop, 'rm', '-qf', 'vendor/lib');
    write(pair.laptop, 'vendor/lib', 'a file now\n');
    const second = await carry(pair, pair.laptop, pair.server, worktree, there.restored.fingerprint);
    expect(observeAll(worktree)).toEqual(observeAll(pair.laptop));
    remove(pair.laptop, 'vendor');
    git(pair.laptop, 'reset', '-q', '--hard');
    populate(pair.laptop);
    write(pair.laptop, 'vendor/lib/deep/again', 'a');
    const third = await carry(pair, pair.laptop, pair.server, worktree, second.restored.fingerprint);
    expect(observeAll(worktree)).toEqual(observeAll(pair.laptop));
    expect(third.restored.fingerprint).toBe(third.capture.fingerprint);
  });
  it('is refused where a submodule that goes holds ignored files, and where somebody changed one, and keeps all of it', async () => {
    const there = await carry(pair, pair.laptop, pair.server, worktree);
    write(worktree, 'vendor/lib/deep/x.log', 'ignored\n');
    git(path.join(pair.laptop, 'vendor/lib'), 'submodule', '--quiet', 'deinit', '-f', 'deep');
    write(pair.laptop, 'lib.txt', 'changed\n');
    const before = { files: photograph(worktree), state: observeAll(worktree), ...belongings(pair.server) };
    const refused = async () => {
      const sent = await send(pair, pair.laptop, pair.server, worktree);
      await expect(restore(sent, worktree, there.restored.fingerprint)).rejects.toMatchObject({ reason: 'worktree-diverged' });
      await rollbackRestore(sent.quarantine.directory);
    };
    await refused();
    expect({ files: photograph(worktree), state: observeAll(worktree), ...belongings(pair.server) }).toEqual(before);
    rmSync(path.join(worktree, 'vendor/lib/deep/x.log'));
    write(worktree, 'vendor/lib/deep/made there', 'm');
    const changed = photograph(worktree);
    await refused();
    expect(photograph(worktree)).toEqual(changed);
  });
});

describe('taking back', () => {
  /** What the server has, below its Git directory and beside its checkout. */
  const all = () => ({ ...belongings(pair.server), entries: readdirSync(path.join(pair.server, '.git')).sort(), worktrees: readdirSync(path.join(pair.directory, 'server')).sort(), own: ownCheckout(pair.server) });

  it('leaves nothing of a restore, also when it was interrupted between two submodules', async () => {
    const before = all();
    for (const interrupted of [false, true]) {
      const sent = await send(pair, pair.laptop, pair.server);
      if (interrupted) rmSync(path.join(sent.submodules[1]?.quarantine.directory ?? '', 'shadow'), { recursive: true });
      const done = restore(sent, worktree);
      await (interrupted ? expect(done).rejects.toThrow() : done);
      expect(existsSync(path.join(worktree, 'vendor/lib/lib.txt'))).toBe(true);
      // As after a crash in the middle of taking back, too.
      const copy = `${sent.quarantine.directory}-copy`;
      cpSync(sent.quarantine.directory, copy, { recursive: true });
      await rollbackRestore(sent.quarantine.directory);
      await rollbackRestore(copy);
      expect(all()).toEqual(before);
    }
  });
  it('puts an existing worktree back, with submodules that went and those that changed', async () => {
    const there = await carry(pair, pair.laptop, pair.server, worktree);
    write(worktree, 'vendor/lib/deep/made there', 'm');
    git(path.join(worktree, 'vendor/lib'), 'checkout', '-q', '-B', 'made-there');
    const left = (await captureCheckout({ root: worktree, spool: path.join(pair.directory, 'left') }))[0].state.fingerprint;
    expect(left).not.toBe(there.restored.fingerprint);
    const state = observeAll(worktree);
    git(path.join(pair.laptop, 'vendor/lib'), 'submodule', '--quiet', 'deinit', '-f', 'deep');
    write(pair.laptop, 'vendor/lib/lib.txt', 'changed\n');
    const sent = await send(pair, pair.laptop, pair.server, worktree);
    await restore(sent, worktree, left);
    expect(observeAll(worktree)).toEqual(observeAll(pair.laptop));
    await rollbackRestore(sent.quarantine.directory);
    expect(observeAll(worktree)).toEqual(state);
    expect(git(path.join(worktree, 'vendor/lib'), 'symbolic-ref', '--short', 'HEAD')).toBe('made-there');
  });
});

describe('a hostile source', () => {
  const announced = (...list: [place: string, name: string | null][]): AnnouncedSubmodule[] => list.map(([place, name]) => ({ place, name, repository: { objectFormat: 'sha1', rootCommits: ['a'.repeat(40)], remotes: [] } }));
  it('cannot have a way out, a Git directory or an option for a place or a name', async () => {
    for (const text of ['..', '../x', '/etc', 'a/../../x', '.git/x', 'a/.GIT/x', 'git~1', '.g\u00e2\u0080\u008cit', 'a\rb', 'a\nb', '-x', 'a//b', 'a/', '.', '', 'a\\..\\b']) {
      expect(() => parentsOf([text]), text).toThrow(/Nothing of the handoff was used/);
      const name = Buffer.from(text, 'latin1').toString('utf8');
      await expect(findSubmodulePlaces({ root: pair.server, worktree: null, submodules: announced(['a', name]) }), text).rejects.toMatchObject({ reason: 'hostile-content' });
    }
    expect(() => parentsOf(['\u00ff']), 'a place that is not UTF-8').toThrow(/Nothing of the handoff was used/);
  });
  it('cannot announce one place or name twice, children first, or too many', async () => {
    for (const places of [['a', 'a'], ['a/b', 'a'], Array.from({ length: 1000 }, (_, number) => `p${number}`), Array.from({ length: 17 }, (_, depth) => 'x/'.repeat(depth) + 'x')]) expect(() => parentsOf(places)).toThrow(/Nothing of the handoff was used/);
    await expect(findSubmodulePlaces({ root: pair.server, worktree: null, submodules: announced(['a', 'n'], ['b', 'N']) })).rejects.toMatchObject({ reason: 'hostile-content' });
  });
  it('is led by no symbolic link out of the destination\'s repository', async () => {
    makeLibrary(path.join(pair.directory, 'elsewhere'), 'lib');
    link(pair.server, 'way', pair.directory);
    git(pair.server, 'init', '-q', '--bare', '.git/modules/real');
    link(pair.server, '.git/modules/lib', path.join(pair.directory, 'elsewhere/.git'));
    const places = await findSubmodulePlaces({ root: pair.server, worktree: null, submodules: announced(['way/elsewhere', 'lib'], ['b', 'real/../lib/x']).slice(0, 1) });
    expect(path.dirname(places[0]?.repository ?? '')).toBe(path.join(pair.server, '.git/baton/modules'));
  });
  it('cannot send submodules that its superproject does not have there, and nothing of them stays', async () => {
    const spool = path.join(pair.directory, 'spool');
    const sent = await send(pair, pair.laptop, pair.server);
    const bundles = path.dirname(sent.quarantine.directory);
    write(pair.laptop, 'vendor/lib/deep/lib.txt', 'another state\n');
    const other = await send(pair, pair.laptop, pair.server);
    const others = path.dirname(other.quarantine.directory);
    const part = async (directory: string, index: number, place: string, tip: string) => {
      const file = path.join(directory, `bundle-${index}`);
      const { createHash } = await import('node:crypto');
      const { readFileSync } = await import('node:fs');
      const bytes = readFileSync(file);
      return { file, bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex'), tip, shallow: [], branch: null, place, repository: path.join(spool, place), objectFormat: 'sha1' as const };
    };
    const tips = sent.submodules.map(({ quarantine }) => quarantine.commits.manifest);
    const top = await part(bundles, 0, '', sent.capture.commits.manifest);
    const [lib, deep] = [await part(bundles, 1, 'vendor/lib', tips[0] ?? ''), await part(bundles, 2, 'vendor/lib/deep', tips[1] ?? '')];
    const before = { ...belongings(pair.server), own: ownCheckout(pair.server) };
    for (const [submodules, taken] of [
      [[lib, deep], true], [[lib], false], [[], false], [[lib, { ...deep, place: 'vendor/lib/elsewhere' }], false], [[lib, { ...deep, place: 'vendor' }], false],
      [[{ ...lib, place: 'lib.txt' }, { ...deep, place: 'lib.txt/deep' }], false], [[lib, deep, { ...deep, place: 'third' }], false],
      [[lib, await part(others, 2, 'vendor/lib/deep', other.submodules[1]?.quarantine.commits.manifest ?? '')], false],
    ] as const) {
      const quarantine = path.join(pair.directory, 'quarantine');
      const received = receiveCheckout({ root: pair.server, top, submodules, quarantine });
      if (taken) {
        await received;
        rmSync(quarantine, { recursive: true });
        continue;
      }
      await expect(received).rejects.toMatchObject({ reason: 'hostile-content' });
      expect(existsSync(quarantine)).toBe(false);
    }
    await expect(receiveCheckout({ root: pair.server, top, submodules: [lib, deep], quarantine: path.join(pair.directory, 'quarantine'), limits: { objects: 20 } })).rejects.toMatchObject({ reason: 'too-large' });
    expect({ ...belongings(pair.server), own: ownCheckout(pair.server) }).toEqual(before);
    expect(existsSync(spool)).toBe(false);
  });
});
