import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { withMeddlingGit } from '../fixtures/meddlingGit';
import { git, makePair, removeTemporaryDirectories, temporaryDirectory, write, type Pair } from '../git/laboratory';
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
let id: string;
let place: string;
const left = () => `${place}.kept`;

/** Has the restoration of a removed worktree killed, lets `act` work in what there is, and recovers. */
async function interrupted(death: Death, act: () => void): Promise<Kept> {
  await kept.keeper.remove(id, 'local');
  expect(await killKeeper(program, kept.home, pair.server, 'restore', id, death)).toBe('SIGKILL');
  act();
  const next = await openKept(kept.home, pair.server);
  await next.keeper.recover();
  expect(next.warned.filter((message) => message.includes('cannot be ended'))).toEqual([]);
  expect(next.worktrees.get(id)?.life.is).toBe('removed');
  return next;
}

describe('a worktree whose restoration was killed', () => {
  beforeEach(async () => {
    pair = makePair();
    kept = await openKept(path.join(pair.directory, 'home'), pair.server);
    ({ id, path: place } = await kept.make());
    work(place);
    write(pair.server, '.worktreeinclude', 'ignored/\n');
    write(pair.server, 'ignored/env', 'copied\n');
  });

  it.each<[string, Death, string, () => void]>([
    ['a file where there was none yet', { at: ['worktree add', 1] }, 'mine', () => { mkdirSync(place, { recursive: true }); write(place, 'mine', 'mine\n'); }],
    ['a file before those of the worktree were there', { at: ['read-tree', 1] }, 'mine', () => { write(place, 'mine', 'mine\n'); }],
    ['a change of one of its files', { at: ['update-index', 1] }, 'a.txt', () => { writeFileSync(path.join(place, 'a.txt'), 'mine\n', { flag: 'a' }); }],
    ['an ignored file', { at: ['fast-import', 1] }, 'ignored/notes', () => { write(place, 'ignored/notes', 'mine\n'); }],
    ['a change when all but its branch was there', { at: ['symbolic-ref -m', 1] }, 'dir/mine', () => { write(place, 'dir/mine', 'mine\n'); }],
  ])('and in which somebody made %s: that is kept and named, and it comes back exactly', async (_, death, name, act) => {
    const before = contentOf(place);
    let mine = '';
    const next = await interrupted(death, () => {
      act();
      mine = readFileSync(path.join(place, name), 'utf8');
    });
    expect(readFileSync(path.join(left(), name), 'utf8')).toBe(mine);
    expect(next.warned.join()).toContain(left());
    expect(await next.list()).toContainEqual(expect.objectContaining({ path: left(), state: 'foreign', reason: expect.stringContaining('while Baton removed or restored it') as string }));
    await next.keeper.restore(id, 'local');
    expect(contentOf(place)).toEqual(before);
    expect(readFileSync(path.join(left(), name), 'utf8')).toBe(mine);
    expect(next.worktrees.get(id)?.life.is).toBe('here');
    await next.keeper.remove(id, 'local');
    expect(readFileSync(path.join(left(), name), 'utf8')).toBe(mine);
  });

  it('and in which somebody committed: the commit is kept', async () => {
    const before = contentOf(place);
    const next = await interrupted({ at: ['fast-import', 1] }, () => {
      git(place, 'checkout', '-q', '--detach');
      git(place, 'commit', '-q', '--allow-empty', '-m', 'mine');
    });
    expect(git(left(), 'log', '-1', '--format=%s')).toBe('mine');
    git(pair.server, 'gc', '-q', '--prune=now');
    git(left(), 'fsck', '--connectivity-only');
    await next.keeper.restore(id, 'local');
    expect(contentOf(place)).toEqual(before);
  });

  it.each<Death>([{ at: ['worktree add', 1] }, { at: ['update-index', 1] }, { at: ['symbolic-ref -m', 1] }])('and which nobody touched leaves nothing (%j)', async (death) => {
    await interrupted(death, () => undefined);
    expect(existsSync(left())).toBe(false);
    expect(existsSync(place)).toBe(false);
    expect(git(pair.server, 'worktree', 'list', '--porcelain').match(/^worktree /gm)).toHaveLength(1);
  });

  it('and of which git had written a file by half leaves nothing', async () => {
    await interrupted({ at: ['update-index', 1] }, () => { writeFileSync(path.join(place, 'a.txt'), readFileSync(path.join(place, 'a.txt')).subarray(0, 3)); });
    expect(existsSync(left())).toBe(false);
  });
});

it('a worktree that somebody wrote to while it was restored is kept as it is, and the user is told where', async () => {
  pair = makePair();
  kept = await openKept(path.join(pair.directory, 'home'), pair.server);
  ({ id, path: place } = await kept.make());
  work(place);
  const before = contentOf(place);
  await kept.keeper.remove(id, 'local');
  await withMeddlingGit(temporaryDirectory(), { words: ['update-index'], nth: [1, 1], before: `echo mine >"${place}/mine"` }, async () => {
    await expect(kept.keeper.restore(id, 'local')).rejects.toMatchObject({ reason: 'worktree-changed', message: expect.stringContaining(`it is in ${left()}`) as string });
  });
  expect(readFileSync(path.join(left(), 'mine'), 'utf8')).toBe('mine\n');
  await kept.keeper.restore(id, 'local');
  expect(contentOf(place)).toEqual(before);
});

it('a change in a submodule of a worktree whose restoration was killed is kept with the whole', async () => {
  pair = makeSubmodulePair();
  kept = await openKept(path.join(pair.directory, 'home'), pair.server);
  ({ id, path: place } = await kept.make());
  git(place, 'submodule', '--quiet', 'update', '--init', '--recursive');
  workEverywhere(place);
  const before = observeAll(place);
  const next = await interrupted({ at: ['symbolic-ref -m', 1] }, () => { write(path.join(place, 'vendor/lib'), 'mine', 'mine\n'); });
  expect(readFileSync(path.join(left(), 'vendor/lib/mine'), 'utf8')).toBe('mine\n');
  expect(git(path.join(left(), 'vendor/lib'), 'status', '--porcelain')).toContain('?? mine');
  await next.keeper.restore(id, 'local');
  expect(observeAll(place)).toEqual(before);
}, 240_000);
