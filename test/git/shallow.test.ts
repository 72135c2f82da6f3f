import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { receiveBundle } from '../../src/git/quarantine';
import { readRepository } from '../../src/git/repository';
import { restoreWorkingState, rollbackRestore } from '../../src/git/restore';
import { noteBoundary } from '../../src/git/shallow';
import { createBundle, listTips } from '../../src/git/bundle';
import { captureWorkingState } from '../../src/git/capture';
import { belongings, carry, git, makePair, observe, ownCheckout, removeTemporaryDirectories, send, THREAD, write, type Pair } from './laboratory';

let pair: Pair;
let worktree: string;
beforeEach(() => {
  pair = makePair();
  worktree = path.join(pair.directory, 'server', 'worktrees', '1', 'app');
});
afterEach(removeTemporaryDirectories);

/** One more commit. */
function commit(root: string, name: string): string {
  write(root, `${name}.txt`, `${name}\n`);
  git(root, 'add', `${name}.txt`);
  git(root, 'commit', '-qm', name);
  return git(root, 'rev-parse', 'HEAD');
}
function shallowClone(name: string, depth: number, ...options: string[]): string {
  const clone = path.join(pair.directory, name);
  git(pair.directory, 'clone', '-q', `--depth=${depth}`, ...options, `file://${pair.laptop}`, clone);
  return clone;
}
const boundary = (root: string) => (existsSync(path.join(root, '.git/shallow')) ? readFileSync(path.join(root, '.git/shallow'), 'utf8').trim().split('\n').sort() : []);
const history = (root: string, from = 'HEAD') => git(root, 'log', '--format=%H %P', from).split('\n');

describe('a shallow clone as the source', () => {
  it('arrives where its history is known, and leaves nothing cut', async () => {
    commit(pair.laptop, 'two');
    const source = shallowClone('shallow', 1);
    write(source, 'a.txt', 'x\n');
    git(pair.server, 'fetch', '-q');
    const { restored } = await carry(pair, source, pair.server, worktree);
    expect(observe(worktree)).toEqual(observe(source));
    expect(boundary(pair.server)).toEqual([]);
    expect(history(worktree)).toHaveLength(2);
    expect(restored.notes.join()).not.toMatch(/history ends/);
  });
  it('arrives where its history is not known, and the history ends there as it does here', async () => {
    for (const name of ['two', 'three', 'four']) commit(pair.laptop, name);
    const source = shallowClone('shallow', 2);
    write(source, 'a.txt', 'x\n');
    git(source, 'add', 'a.txt');
    write(source, 'u', 'u');
    const own = ownCheckout(pair.server, ['shallow']);
    const before = history(pair.server, '--branches');
    const { restored, capture } = await carry(pair, source, pair.server, worktree);
    expect(restored.fingerprint).toBe(capture.fingerprint);
    expect(observe(worktree)).toEqual(observe(source));
    expect(history(worktree)).toEqual(history(source));
    expect(boundary(pair.server)).toEqual(boundary(source));
    expect(restored.notes.join()).toMatch(/history ends at 1 commit here.*--unshallow/);
    expect(ownCheckout(pair.server, ['shallow'])).toEqual(own);
    expect(history(pair.server, 'mine')).toEqual(before);
    git(pair.server, 'fsck', '--strict');
    git(pair.server, 'gc', '-q', '--prune=now');
    expect(history(worktree)).toEqual(history(source));
  });
  it('comes back, three times, each time exact', async () => {
    for (const name of ['two', 'three']) commit(pair.laptop, name);
    const source = shallowClone('shallow', 1);
    const home = path.join(pair.directory, 'home');
    let from = source;
    // As each worktree was when the thread left it.
    let [there, here]: (string | undefined)[] = [];
    for (let trip = 1; trip <= 3; trip++) {
      write(from, 'a.txt', `edit ${trip}\n`);
      git(from, 'add', 'a.txt');
      write(from, `untracked ${trip}`, 'u');
      const out = await carry(pair, from, pair.server, worktree, there);
      if (from === home) here = out.capture.fingerprint;
      expect(observe(worktree)).toEqual(observe(from));
      commit(worktree, `made there ${trip}`);
      write(worktree, 'b.txt', `edit ${trip}\n`);
      there = (await carry(pair, worktree, source, home, here)).capture.fingerprint;
      expect(observe(home)).toEqual(observe(worktree));
      expect(history(home)).toEqual(history(worktree));
      from = home;
      expect(boundary(source)).toHaveLength(1);
      expect(boundary(pair.server)).toEqual(boundary(source));
    }
  });
  it('that comes to know more in the meantime is carried with what it has then', async () => {
    for (const name of ['two', 'three', 'four']) commit(pair.laptop, name);
    const source = shallowClone('shallow', 1);
    const first = await carry(pair, source, pair.server, worktree);
    git(source, 'fetch', '-q', '--depth=2', 'origin', 'main');
    commit(source, 'five');
    await carry(pair, source, pair.server, worktree, first.restored.fingerprint);
    expect(observe(worktree)).toEqual(observe(source));
    git(pair.server, 'fetch', '-q', '--unshallow');
    expect(boundary(pair.server)).toEqual([]);
    expect(history(worktree)).toHaveLength(5);
  });
  it('with a merge at its edge keeps each parent that the destination has out of sight only there', async () => {
    git(pair.laptop, 'checkout', '-q', '-b', 'topic');
    commit(pair.laptop, 'topic');
    git(pair.laptop, 'checkout', '-q', 'main');
    commit(pair.laptop, 'two');
    git(pair.laptop, 'merge', '-q', '--no-ff', '-m', 'merge', 'topic');
    git(pair.server, 'fetch', '-q', 'origin', 'topic');
    git(pair.server, 'branch', 'topic', 'FETCH_HEAD');
    const source = shallowClone('shallow', 1);
    const before = history(pair.server, 'topic');
    await carry(pair, source, pair.server, worktree);
    expect(history(worktree)).toEqual(history(source));
    expect(history(pair.server, 'topic')).toEqual(before);
    git(pair.server, 'fsck', '--strict');
  });
});

describe('taking a shallow history back', () => {
  const restore = async (source: string) => {
    const sent = await send(pair, source, pair.server);
    await restoreWorkingState({ root: pair.server, quarantine: sent.quarantine, worktree, threadId: THREAD, carriedBranch: sent.capture.branch });
    return () => rollbackRestore(sent.quarantine.directory);
  };
  it('leaves nothing of it, also when it is done twice', async () => {
    for (const name of ['two', 'three']) commit(pair.laptop, name);
    const before = { own: ownCheckout(pair.server), ...belongings(pair.server) };
    const rollback = await restore(shallowClone('shallow', 1));
    expect(boundary(pair.server)).toHaveLength(1);
    await rollback();
    await rollback();
    expect({ own: ownCheckout(pair.server), ...belongings(pair.server) }).toEqual(before);
    expect(existsSync(path.join(pair.server, '.git/shallow')), 'a complete repository has no such file').toBe(false);
  });
  it('leaves it where something has come to need it', async () => {
    for (const name of ['two', 'three']) commit(pair.laptop, name);
    const rollback = await restore(shallowClone('shallow', 1));
    const head = git(worktree, 'rev-parse', 'HEAD');
    git(pair.server, 'branch', 'kept', head);
    await rollback();
    expect(boundary(pair.server)).toEqual([head]);
    expect(history(pair.server, 'kept')).toHaveLength(1);
    git(pair.server, 'fsck', '--strict');
  });
  it('keeps what the user\'s own boundary was', async () => {
    for (const name of ['two', 'three', 'four']) commit(pair.laptop, name);
    const server = shallowClone('other-server', 1);
    commit(pair.laptop, 'five');
    commit(pair.laptop, 'six');
    const own = boundary(server);
    const sent = await send(pair, shallowClone('shallow', 1), server);
    await restoreWorkingState({ root: server, quarantine: sent.quarantine, worktree, threadId: THREAD, carriedBranch: sent.capture.branch });
    expect(boundary(server)).toHaveLength(2);
    await rollbackRestore(sent.quarantine.directory);
    expect(boundary(server)).toEqual(own);
  });
});

describe('a shallow clone as the destination', () => {
  it('of another depth than a source that is shallow too', async () => {
    for (const name of ['two', 'three', 'four', 'five', 'six']) commit(pair.laptop, name);
    const [deep, flat] = [shallowClone('deep', 4), shallowClone('flat', 1)];
    for (const [from, to, place] of [[deep, flat, 'one'], [flat, deep, 'two']] as const) {
      commit(from, `made in ${place}`);
      write(from, 'a.txt', `${place}\n`);
      const own = ownCheckout(to);
      const there = path.join(pair.directory, place);
      await carry(pair, from, to, there);
      expect(observe(there)).toEqual(observe(from));
      expect(ownCheckout(to)).toEqual(own);
      git(to, 'fsck', '--strict');
    }
    expect(boundary(flat), 'what it has already did not travel').toHaveLength(1);
    expect(boundary(deep)).toHaveLength(1);
    expect(history(path.join(pair.directory, 'two'))).toHaveLength(5);
  });
  it('whose boundary the source is behind', async () => {
    const old = commit(pair.laptop, 'two');
    for (const name of ['three', 'four']) commit(pair.laptop, name);
    const server = shallowClone('server-shallow', 1);
    git(pair.laptop, 'checkout', '-q', '-b', 'older', old);
    commit(pair.laptop, 'on the older one');
    await carry(pair, pair.laptop, server, worktree);
    expect(observe(worktree)).toEqual(observe(pair.laptop));
    expect(history(worktree)).toEqual(history(pair.laptop));
    git(server, 'fsck', '--strict');
  });
  it('that has diverged beyond its boundary', async () => {
    for (const name of ['two', 'three']) commit(pair.laptop, name);
    const server = shallowClone('server-shallow', 1);
    commit(server, 'made there');
    commit(pair.laptop, 'made here');
    await carry(pair, pair.laptop, server, worktree);
    expect(observe(worktree)).toEqual(observe(pair.laptop));
    git(server, 'fsck', '--strict');
  });
  it('whose boundary is on a line that the source does not have', async () => {
    git(pair.laptop, 'checkout', '-q', '-b', 'line');
    for (const name of ['two', 'three']) commit(pair.laptop, name);
    const server = shallowClone('server-shallow', 1, '--branch=line');
    git(pair.laptop, 'checkout', '-q', 'main');
    git(pair.laptop, 'branch', '-q', '-D', 'line');
    git(pair.laptop, 'reflog', 'expire', '--expire=now', '--all');
    git(pair.laptop, 'gc', '-q', '--prune=now');
    commit(pair.laptop, 'four');
    await carry(pair, pair.laptop, server, worktree);
    expect(observe(worktree)).toEqual(observe(pair.laptop));
    expect(history(worktree)).toEqual(history(pair.laptop));
    git(server, 'fsck', '--strict');
  });
});

describe('an announced boundary', () => {
  it('never shortens a history that is here', async () => {
    for (const name of ['two', 'three']) commit(pair.laptop, name);
    git(pair.server, 'fetch', '-q');
    write(pair.laptop, 'u', 'u');
    const spool = path.join(pair.directory, 'spool');
    const capture = await captureWorkingState({ root: pair.laptop, spool });
    const file = path.join(spool, 'bundle');
    const bundle = await createBundle({ capture, haves: await listTips(pair.server), file });
    const quarantine = await receiveBundle({ root: pair.server, file, ...bundle, shallow: [git(pair.laptop, 'rev-parse', 'HEAD')], tip: capture.commits.manifest, quarantine: path.join(spool, 'quarantine') });
    expect(quarantine.shallow).toEqual([]);
    await expect(receiveBundle({ root: pair.server, file, ...bundle, shallow: ['1'.repeat(40)], tip: capture.commits.manifest, quarantine: path.join(spool, 'again') })).rejects.toMatchObject({ name: 'GitError' });
    expect(boundary(pair.server)).toEqual([]);
  });
  it('waits for another git that changes the boundary, and keeps what that one noted', async () => {
    const [mine, other] = [commit(pair.laptop, 'two'), commit(pair.laptop, 'three')];
    git(pair.server, 'fetch', '-q');
    const file = path.join(pair.server, '.git/shallow');
    writeFileSync(`${file}.lock`, '');
    const noted = noteBoundary(await readRepository(pair.server), [mine]);
    writeFileSync(file, `${other}\n`);
    rmSync(`${file}.lock`);
    await noted;
    expect(boundary(pair.server)).toEqual([mine, other].sort());
    expect(existsSync(`${file}.lock`)).toBe(false);
  });
});
