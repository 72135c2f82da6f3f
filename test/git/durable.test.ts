import { existsSync, readdirSync } from 'node:fs';
import type * as files from 'node:fs/promises';
import path from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { applyState } from '../../src/git/apply';
import { lockIndex, unlockIndex } from '../../src/git/indexLock';
import { snapshotRef, takeSnapshot } from '../../src/git/snapshots';
import { git, makePair, removeTemporaryDirectories, THREAD, write } from './laboratory';

/** What was synced; and where writing fails. */
const disk = vi.hoisted(() => ({ synced: new Set<string>(), full: '' }));
vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof files>();
  const open: typeof real.open = async (name, ...rest) => {
    const handle = await real.open(name, ...rest);
    const sync = handle.sync.bind(handle);
    handle.sync = async () => { await sync(); disk.synced.add(String(name)); };
    if (disk.full !== '' && String(name).startsWith(disk.full)) handle.writeFile = () => Promise.reject(new Error('ENOSPC'));
    return handle;
  };
  const copyFile: typeof real.copyFile = async (from, to, mode) => {
    if (disk.full !== '' && String(to).endsWith(disk.full)) throw Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' });
    return real.copyFile(from, to, mode);
  };
  return { ...real, open, copyFile };
});

beforeEach(() => { disk.synced.clear(); disk.full = ''; });
afterEach(removeTemporaryDirectories);

const refsBelow = (gitDir: string, ref: string) => [path.join(gitDir, ref), ...ref.split('/').map((_, depth, parts) => path.join(gitDir, ...parts.slice(0, depth)))];

it('a snapshot\'s pack and ref are on disk, with their directories, before the worktree may go', async () => {
  const { directory, laptop } = makePair();
  write(laptop, 'a.txt', 'mine\n');
  const ref = snapshotRef('0123abcd', new Date(0));
  await takeSnapshot({ root: laptop, ref, spool: path.join(directory, 'spool') });
  expect([...disk.synced]).toEqual(expect.arrayContaining([path.join(laptop, '.git/objects/pack'), ...refsBelow(path.join(laptop, '.git'), ref)]));
});

it.each(['.pack', '.idx'])('a pack of which the %s cannot be written leaves nothing behind', async (ending) => {
  const { directory, laptop } = makePair();
  write(laptop, 'a.txt', 'mine\n');
  const packs = path.join(laptop, '.git/objects/pack');
  const before = readdirSync(packs);
  disk.full = ending;
  await expect(takeSnapshot({ root: laptop, ref: snapshotRef('0123abcd', new Date(0)), spool: path.join(directory, 'spool') })).rejects.toMatchObject({ reason: 'disk-full' });
  expect(readdirSync(packs)).toEqual(before);
});

it('what an apply replaces is on disk, and its record', async () => {
  const { directory, laptop } = makePair();
  const [worktree, own] = [path.join(directory, 'w'), path.join(directory, 'applies')];
  git(laptop, 'worktree', 'add', '-q', '--detach', worktree);
  write(worktree, 'a.txt', 'by the thread\n');
  await applyState({ threadId: THREAD, source: worktree, target: laptop, directory: own, known: [], merge: false, markers: false, fastForward: false, expected: null, names: { source: 'w', target: 'c' }, now: new Date(0) });
  const refs = git(laptop, 'for-each-ref', '--format=%(refname)', 'refs/baton').split('\n');
  expect(refs).toHaveLength(3);
  expect([...disk.synced]).toEqual(expect.arrayContaining([own, path.join(laptop, '.git/objects/pack'), ...refs.flatMap((ref) => refsBelow(path.join(laptop, '.git'), ref))]));
});

it('a lock of the index that cannot be marked is none', async () => {
  const { laptop } = makePair();
  const gitDir = path.join(laptop, '.git');
  disk.full = gitDir;
  await expect(lockIndex(gitDir, laptop, THREAD)).rejects.toThrow('ENOSPC');
  expect(existsSync(path.join(gitDir, 'index.lock'))).toBe(false);
  disk.full = '';
  await lockIndex(gitDir, laptop, THREAD);
  expect(existsSync(path.join(gitDir, 'index.lock'))).toBe(true);
  await expect(lockIndex(gitDir, laptop, THREAD.replace(/^./, 'f'))).rejects.toMatchObject({ reason: 'index-locked' });
  await unlockIndex(gitDir, THREAD);
  expect(existsSync(path.join(gitDir, 'index.lock')) || existsSync(path.join(gitDir, `baton-apply-${THREAD}`))).toBe(false);
});
