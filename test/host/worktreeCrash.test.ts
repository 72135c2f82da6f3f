import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { partOf } from '../fixtures/whole';
import { git, makePair, ownCheckout, removeTemporaryDirectories, write, type Pair } from '../git/laboratory';
import { makeSubmodulePair, observeAll, workEverywhere } from '../git/submoduleClones';
import { contentOf, openKept, work, type Kept } from './keptWorktrees';
import { bundleKeeper, killKeeper, type Death } from './killedKeeper';

let program: string;
beforeAll(async () => {
  program = await bundleKeeper();
});
afterAll(removeTemporaryDirectories);

let pair: Pair;
let kept: Kept;
beforeEach(async () => {
  pair = makePair();
  kept = await openKept(path.join(pair.directory, 'home'), pair.server);
});

const die = (act: 'remove' | 'restore' | 'recover', id: string, death: Death) => killKeeper(program, kept.home, pair.server, act, id, death);

/** The host that starts next, after what it finds was ended or undone. */
async function startNext(): Promise<Kept> {
  const next = await openKept(kept.home, pair.server);
  await next.keeper.recover();
  expect(existsSync(path.join(kept.home, 'snapshots')) ? readdirSync(path.join(kept.home, 'snapshots')) : []).toEqual([]);
  expect(existsSync(kept.base) ? readdirSync(kept.base, { recursive: true, encoding: 'utf8' }).filter((name) => name.includes('.removing-')) : []).toEqual([]);
  return next;
}

describe('a host that is killed in the middle of', () => {
  it.each<[string, Death, 'here' | 'removed']>(partOf([
    ['the capture', { at: ['fast-import', 1] }, 'here'],
    ['packing', { at: ['pack-objects', 1] }, 'here'],
    ['naming the snapshot', { at: ['update-ref refs/baton', 1] }, 'here'],
    ['verifying the snapshot', { at: ['cat-file --batch --buffer', 1] }, 'here'],
    ['a removal that is written down and not begun', { after: 'removing verified false' }, 'here'],
    ['looking at the directory that was put aside', { at: ['status --porcelain=v2', 2] }, 'here'],
    ['writing down what the snapshot holds besides', { at: ['fast-import', 2] }, 'here'],
    ['capturing it there again', { at: ['fast-import', 3] }, 'here'],
    ['a removal that is verified', { after: 'removing verified true' }, 'removed'],
    ['a removal that is done', { after: 'removed' }, 'removed'],
  ], 3))('%s loses nothing, and the next one ends or undoes it', async (_, death, state) => {
    const { id, path: place } = await kept.make();
    work(place);
    const before = contentOf(place);
    const own = ownCheckout(pair.server);
    expect(await die('remove', id, death)).toBe('SIGKILL');
    const next = await startNext();
    expect(await next.list()).toMatchObject([{ id, state }]);
    expect(existsSync(place)).toBe(state === 'here');
    expect(ownCheckout(pair.server)).toEqual(own);
    if (state === 'removed') await next.keeper.restore(id, 'local');
    expect(contentOf(place)).toEqual(before);
    await next.keeper.remove(id, 'local');
    await next.keeper.restore(id, 'local');
    expect(contentOf(place)).toEqual(before);
  });

  it.each<[string, Death, 'here' | 'removed']>(partOf([
    ['a restoration that is written down and not begun', { after: 'restoring' }, 'removed'],
    ['adding the worktree', { at: ['worktree add', 1] }, 'removed'],
    ['writing its files', { at: ['read-tree', 1] }, 'removed'],
    ['writing its index', { at: ['update-index', 1] }, 'removed'],
    ['reading it back', { at: ['fast-import', 1] }, 'removed'],
    ['putting it on its branch', { at: ['symbolic-ref -m', 1] }, 'removed'],
    ['a restoration that is done', { after: 'here' }, 'here'],
  ], 3))('%s loses nothing, and the next one ends or undoes it', async (_, death, state) => {
    const { id, path: place } = await kept.make();
    work(place);
    const before = contentOf(place);
    const own = ownCheckout(pair.server);
    await kept.keeper.remove(id, 'local');
    expect(await die('restore', id, death)).toBe('SIGKILL');
    const next = await startNext();
    expect(await next.list()).toMatchObject([{ id, state }]);
    expect(existsSync(place)).toBe(state === 'here');
    expect(ownCheckout(pair.server)).toEqual(own);
    await next.keeper.restore(id, 'local');
    expect(contentOf(place)).toEqual(before);
  });

  it.each<[string, 'remove' | 'restore', Death, Death, 'here' | 'removed']>(partOf([
    ['a removal that was not verified', 'remove', { after: 'removing verified false' }, { after: 'here' }, 'here'],
    ['a removal that was set aside', 'remove', { at: ['fast-import', 3] }, { after: 'here' }, 'here'],
    ['a verified removal', 'remove', { after: 'removing verified true' }, { after: 'removed' }, 'removed'],
    ['a restoration', 'restore', { at: ['read-tree', 1] }, { at: ['worktree remove', 1] }, 'removed'],
    ['a restoration that had its files', 'restore', { at: ['symbolic-ref -m', 1] }, { at: ['update-ref', 1] }, 'removed'],
  ], 3))('%s, and then in the middle of its recovery, loses nothing', async (_, act, first, second, state) => {
    const { id, path: place } = await kept.make();
    work(place);
    const before = contentOf(place);
    const own = ownCheckout(pair.server);
    if (act === 'restore') await kept.keeper.remove(id, 'local');
    expect(await die(act, id, first)).toBe('SIGKILL');
    expect(await die('recover', id, second)).toBe('SIGKILL');
    const next = await startNext();
    expect(await next.list()).toMatchObject([{ id, state }]);
    expect(ownCheckout(pair.server)).toEqual(own);
    if (state === 'removed') await next.keeper.restore(id, 'local');
    expect(contentOf(place)).toEqual(before);
  });
});

describe('a worktree that is restored whole, which could not be written down', () => {
  it.each<[string, (next: Kept, id: string) => Promise<unknown>]>([
    ['the next host recovers', (next) => next.keeper.recover()],
    ['somebody restores it again', (next, id) => next.keeper.restore(id, 'local')],
  ])('keeps what was done in it meanwhile when %s', async (_, act) => {
    const { id, path: place } = await kept.make();
    work(place);
    await kept.keeper.remove(id, 'local');
    const save = kept.worktrees.save.bind(kept.worktrees);
    kept.worktrees.save = (record) => (record.life?.is === 'here' ? Promise.reject(new Error('no space left on device')) : save(record));
    await expect(kept.keeper.restore(id, 'local')).rejects.toThrow('no space left');
    write(place, 'a.txt', 'half an hour of work\n');
    write(place, 'new', 'new work\n');
    git(place, 'add', 'new');
    git(place, 'commit', '-qm', 'made since');
    const before = contentOf(place);
    const next = await openKept(kept.home, pair.server);
    await act(next, id);
    expect(await next.list()).toMatchObject([{ id, state: 'here' }]);
    expect(contentOf(place)).toEqual(before);
    await next.keeper.remove(id, 'local');
    await next.keeper.restore(id, 'local');
    expect(contentOf(place)).toEqual(before);
  });
});

describe('a host that is killed while the submodules of a worktree', () => {
  let id: string;
  let place: string;
  const lib = () => path.join(place, 'vendor/lib');
  /** The submodules with what only their repositories have. */
  const everything = () => ({ ...observeAll(place), kept: git(lib(), 'for-each-ref', '--format=%(objectname) %(refname)', 'refs/heads', 'refs/stash') });
  beforeEach(async () => {
    pair = makeSubmodulePair();
    kept = await openKept(path.join(pair.directory, 'home'), pair.server);
    ({ id, path: place } = await kept.make());
    git(place, 'submodule', '--quiet', 'update', '--init', '--recursive');
    git(lib(), 'branch', 'a-branch-of-its-own');
    workEverywhere(place);
  });

  it.each<[string, Death[], 'here' | 'removed']>(partOf([
    ['are about to follow it', [{ at: ['core.worktree /', 1] }], 'here'],
    ['have followed it in part', [{ at: ['core.worktree /', 2] }], 'here'],
    ['have followed it, and again while they return', [{ after: 'removing verified true' }, { at: ['--unset-all core.worktree', 1] }], 'removed'],
    ['have followed it in part, and again while they return', [{ at: ['core.worktree /', 2] }, { at: ['core.worktree ../', 2] }], 'here'],
    ['are released: the first has moved', [{ at: ['--unset-all core.worktree', 1] }], 'removed'],
    ['are released: the first is not bare yet', [{ at: ['core.bare true', 1] }], 'removed'],
    ['are released: the second is about to be', [{ at: ['--unset-all core.worktree', 2] }], 'removed'],
    ['are released: the second is not bare yet, and again there', [{ at: ['core.bare true', 2] }, { at: ['core.bare true', 2] }], 'removed'],
  ], 3))('%s loses nothing, and the next one ends or undoes it', async (_, [first = {}, ...later], state) => {
    const before = everything();
    expect(await die('remove', id, first)).toBe('SIGKILL');
    for (const death of later) expect(await die('recover', id, death)).toBe('SIGKILL');
    const next = await startNext();
    expect(await next.list()).toMatchObject([{ id, state }]);
    if (state === 'removed') await next.keeper.restore(id, 'local');
    expect(everything()).toEqual(before);
  });

  it('are released, of which one lies in the entry of another, loses nothing', async () => {
    // What is restored is linked; git puts the repository of a submodule into the entry of the linked one that it is in.
    const deep = path.join(lib(), 'deep');
    git(deep, 'push', '-q', 'origin', 'HEAD:refs/heads/pushed');
    git(lib(), 'submodule', '--quiet', 'deinit', '-f', 'deep');
    await kept.keeper.remove(id, 'local');
    await kept.keeper.restore(id, 'local');
    git(lib(), 'submodule', '--quiet', 'update', '--init');
    expect(git(deep, 'rev-parse', '--absolute-git-dir')).toMatch(/\/baton\/modules\/[0-9a-f]{16}\/worktrees\/lib\/modules\//);
    write(deep, 'n', 'committed\n');
    git(deep, 'add', 'n');
    git(deep, 'commit', '-qm', 'made here');
    git(deep, 'branch', 'of-the-deep');
    git(deep, 'checkout', '-q', '--detach', 'HEAD~1');
    const told = () => ({ ...everything(), deep: git(deep, 'rev-parse', 'of-the-deep') });
    const before = told();
    expect(await die('remove', id, { at: ['core.bare true', 1] })).toBe('SIGKILL');
    const next = await startNext();
    expect(await next.list()).toMatchObject([{ id, state: 'removed' }]);
    await next.keeper.restore(id, 'local');
    expect(told()).toEqual(before);
  });
});
