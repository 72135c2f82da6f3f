import { existsSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { applyState, planApply, undoApply, type ApplyOptions } from '../../src/git/apply';
import { Applies, type ApplyWish } from '../../src/host/applies';
import { silentLog } from '../../src/host/log';
import { git, makePair, observe, removeTemporaryDirectories, THREAD, write } from '../git/laboratory';
import { DAY, openKept, type Kept } from './keptWorktrees';

let kept: Kept;
let checkout: string;
let worktree: string;
let options: ApplyOptions;

beforeEach(async () => {
  const pair = makePair();
  checkout = pair.laptop;
  kept = await openKept(path.join(pair.directory, 'home'), checkout);
  kept.retention.keep = 15;
  ({ path: worktree } = await kept.make({ threads: [THREAD], branch: 'baton/x/main' }));
  write(worktree, 'a.txt', 'by the thread\n');
  options = {
    threadId: THREAD, source: worktree, target: checkout, directory: path.join(kept.home, 'applies', THREAD), known: [], merge: false, markers: false, fastForward: false, expected: null,
    names: { source: 'the worktree', target: 'your checkout' }, now: new Date(),
  };
});
afterEach(removeTemporaryDirectories);

const refs = () => git(checkout, 'for-each-ref', '--format=%(refname)', 'refs/baton/snapshots/apply').split('\n').filter((line) => line !== '').map((ref) => ref.split('/').at(-1));

it('what an apply replaced is listed with the snapshots, and expires like them; then it cannot be undone, which is said', async () => {
  await applyState(options);
  const [listed, ...others] = await kept.sweep.snapshots();
  expect(others).toEqual([]);
  expect(listed).toMatchObject({ worktreeId: null, threadId: THREAD, path: checkout, onlyCopy: false, takenAt: options.now.toISOString() });
  expect(Date.parse(listed?.expiresAt ?? '') - options.now.getTime()).toBe(30 * DAY);
  kept.later(29 * DAY);
  expect((await kept.sweep.sweep()).expired).toEqual([]);
  expect((await undoApply(options.directory, { dryRun: true })).changes).toHaveLength(1);

  kept.later(2 * DAY);
  expect((await kept.sweep.sweep()).expired).toEqual([listed?.ref]);
  expect(kept.audited).toContainEqual(expect.objectContaining({ type: 'snapshot-expired', ref: listed?.ref }));
  expect(refs()).toEqual([]);
  const before = observe(checkout);
  await expect(undoApply(options.directory, { dryRun: false })).rejects.toMatchObject({ reason: 'nothing-to-undo', message: expect.stringContaining('its snapshot has expired') as string });
  expect(observe(checkout)).toEqual(before);

  // The next ones go on without it: also a merge, that would have begun with the state that both had.
  git(checkout, 'gc', '-q', '--prune=now');
  write(worktree, 'b.txt', 'more\n');
  write(checkout, 'mine.txt', 'mine\n');
  expect((await planApply({ ...options, merge: true })).refused).toBeNull();
  await applyState({ ...options, merge: true, now: new Date(options.now.getTime() + 31 * DAY) });
  await undoApply(options.directory, { dryRun: false });
  expect(git(checkout, 'status', '--porcelain')).toBe(' M a.txt\n?? mine.txt');
});

it('what nothing else has stays, unless the user says so; what was undone leaves nothing to keep', async () => {
  write(checkout, 'mine.txt', 'nowhere else\n');
  await applyState({ ...options, merge: true });
  write(checkout, 'mine.txt', 'changed since\n');
  kept.later(100 * DAY);
  expect((await kept.sweep.sweep()).expired).toEqual([]);
  const [listed] = await kept.sweep.snapshots();
  expect(listed).toMatchObject({ onlyCopy: true, expiresAt: null });
  const ref = listed?.ref ?? '';
  expect(git(checkout, 'show', `${ref}^1:mine.txt`)).toBe('nowhere else');
  expect(await kept.sweep.expire([ref], false, 'local')).toMatchObject({ expired: [], kept: [{ ref, reason: 'It holds what nothing else has.' }] });
  expect(await kept.sweep.expire([ref], true, 'local')).toEqual({ expired: [ref], kept: [] });
  expect(refs()).toEqual([]);

  write(worktree, 'b.txt', 'more\n');
  await applyState({ ...options, merge: true, now: new Date(options.now.getTime() + 1000) });
  expect(refs()).toEqual(['after', 'before', 'given']);
  await undoApply(options.directory, { dryRun: false });
  expect(refs()).toEqual([]);
});

it('a dry run brings no removed worktree back, and says that it would be, unless it is to be looked at', async () => {
  const applies = new Applies({
    directory: path.join(kept.home, 'applies'), audit: { append: () => Promise.resolve() }, log: silentLog, now: () => options.now, held: new Set(), requireOwner: () => undefined,
    worktrees: kept.worktrees, keeper: kept.keeper, underWay: () => null, departures: () => Promise.resolve([]), isRunning: () => Promise.resolve(false), stop: () => Promise.reject(new Error('nothing runs')), tellAgent: () => Promise.resolve(), onChanged: () => undefined,
  });
  const wish: ApplyWish = { threadId: THREAD, to: 'checkout', dryRun: true, restore: false, merge: false, markers: false, fastForward: false, stop: false, plan: null };
  await applies.apply({ ...wish, dryRun: false });
  write(worktree, 'b.txt', 'more\n');
  const { id } = kept.worktrees.ofThread(THREAD) ?? {};
  kept.later(DAY);
  await kept.keeper.remove(id ?? '', 'local');
  const before = JSON.stringify(kept.worktrees.ofThread(THREAD));
  await expect(applies.apply(wish)).rejects.toMatchObject({ reason: 'worktree-removed', message: expect.stringContaining(`baton worktree restore ${id ?? ''}`) as string });
  // What was applied to the checkout can be told without the worktree.
  expect(await applies.undo({ ...wish, restore: false })).toMatchObject({ undone: false, changeCount: 1 });
  expect(JSON.stringify(kept.worktrees.ofThread(THREAD))).toBe(before);
  expect(existsSync(worktree)).toBe(false);
  expect(await applies.apply({ ...wish, restore: true })).toMatchObject({ applied: false, changeCount: 1, changes: [{ path: 'b.txt' }] });
  expect(existsSync(worktree)).toBe(true);
});

it('one that this host knows nothing of belongs to another, and goes only by name', async () => {
  await applyState({ ...options, directory: path.join(kept.home, 'elsewhere') });
  kept.later(100 * DAY);
  expect((await kept.sweep.sweep()).expired).toEqual([]);
  const [listed] = await kept.sweep.snapshots();
  expect(listed).toMatchObject({ threadId: THREAD, path: null, expiresAt: null });
  expect((await kept.sweep.expire([listed?.ref ?? ''], false, 'local')).expired).toEqual([listed?.ref]);
});
