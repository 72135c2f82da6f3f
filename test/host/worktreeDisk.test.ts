import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, existsSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it, type TestContext } from 'vitest';
import { git, makePair, ownCheckout, removeTemporaryDirectories, write } from '../git/laboratory';
import { makeSubmodulePair, observeAll, workEverywhere } from '../git/submoduleClones';
import { contentOf, DAY, openKept, work, type Kept } from './keptWorktrees';

const asRoot = (program: 'mount' | 'umount', ...args: string[]) => execFileSync(program, args, { stdio: 'pipe' });
/** Only root on Linux can mount a small file system. */
const canMount = process.platform === 'linux' && process.getuid?.() === 0;
let disk: string | null;
let checkout: string;
let kept: Kept;
beforeEach(async () => {
  disk = null;
  const { directory, server } = makePair();
  const small = path.join(directory, 'small');
  mkdirSync(small);
  if (!canMount) return;
  try {
    asRoot('mount', '-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', small);
  } catch {
    return;
  }
  disk = small;
  checkout = path.join(small, 'app');
  git(directory, 'clone', '-q', server, checkout);
  kept = await openKept(path.join(small, 'home'), checkout);
});
afterEach(() => {
  if (disk !== null) asRoot('umount', '-l', disk);
  removeTemporaryDirectories();
});

function smallDisk(context: TestContext): string {
  return disk ?? context.skip('a small file system can only be mounted by root on Linux');
}

/** Leaves no byte free. */
function fill(): void {
  const file = openSync(path.join(disk ?? '', 'filler'), 'w');
  for (const piece of [Buffer.alloc(1 << 20), Buffer.alloc(4096), Buffer.alloc(1)]) {
    try {
      for (;;) writeSync(file, piece);
    } catch (error) {
      expect(error).toMatchObject({ code: 'ENOSPC' });
    }
  }
  closeSync(file);
}
const free = () => { rmSync(path.join(disk ?? '', 'filler')); };
const remount = (how: 'ro' | 'rw') => { asRoot('mount', '-o', `remount,${how}`, disk ?? ''); };

/** A worktree with changes of every kind, at rest, and what is in it. */
async function resting() {
  const { id, path: place } = await kept.make();
  work(place);
  write(place, 'random', randomBytes(3_000_000));
  kept.later(DAY);
  return { id, place, before: contentOf(place) };
}

async function nextSweepRemovesAndRestores({ id, place, before }: Awaited<ReturnType<typeof resting>>): Promise<void> {
  expect((await kept.sweep.sweep()).removed.map((entry) => entry.id)).toEqual([id]);
  expect(existsSync(place)).toBe(false);
  await kept.keeper.restore(id, 'local');
  expect(contentOf(place)).toEqual(before);
}

describe('a disk that is full', () => {
  it('when a snapshot is to be taken: the worktree stays, the reason is said, and the next sweep goes on', async (context) => {
    smallDisk(context);
    const worktree = await resting();
    const own = ownCheckout(checkout);
    fill();
    const { removed, kept: left } = await kept.sweep.sweep();
    expect(removed).toEqual([]);
    expect(left.find(({ id }) => id === worktree.id)?.reason).toMatch(/space|full/i);
    expect(contentOf(worktree.place)).toEqual(worktree.before);
    expect(git(checkout, 'for-each-ref', 'refs/baton/snapshots')).toBe('');
    free();
    expect(ownCheckout(checkout)).toEqual(own);
    await nextSweepRemovesAndRestores(worktree);
  });

  it.each(['removing', 'verified'])('when a removal has come to "%s": nothing is lost, and the next sweep goes on', async (moment) => {
    if (disk === null) return;
    const worktree = await resting();
    const save = kept.worktrees.save.bind(kept.worktrees);
    kept.worktrees.save = async (record) => {
      if (record.life?.is === 'removing' && record.life.verified === (moment === 'verified')) fill();
      return save(record);
    };
    expect((await kept.sweep.sweep()).removed).toEqual([]);
    free();
    // Another host, which knows only what is on the disk.
    kept = await openKept(kept.home, checkout, { afterMs: DAY });
    await kept.keeper.recover();
    expect(contentOf(worktree.place)).toEqual(worktree.before);
    await nextSweepRemovesAndRestores(worktree);
  });

  it('when a worktree is to be restored: what was made is taken back, and the snapshot stays', async (context) => {
    smallDisk(context);
    const worktree = await resting();
    const { ref } = await kept.keeper.remove(worktree.id, 'local');
    fill();
    await expect(kept.keeper.restore(worktree.id, 'local')).rejects.toThrow(/space|full/i);
    free();
    await kept.keeper.recover();
    expect(existsSync(worktree.place)).toBe(false);
    expect(await kept.list()).toMatchObject([{ id: worktree.id, state: 'removed', snapshot: ref }]);
    await kept.keeper.restore(worktree.id, 'local');
    expect(contentOf(worktree.place)).toEqual(worktree.before);
  });
});

describe('a disk that can only be read', () => {
  it('keeps its worktrees, which are still shown, and the next sweep goes on', async (context) => {
    smallDisk(context);
    const worktree = await resting();
    remount('ro');
    try {
      const swept = await kept.sweep.sweep();
      expect(swept).toMatchObject({ removed: [], kept: [{ id: worktree.id, reason: expect.stringMatching(/read-only/i) as string }] });
      expect(await kept.list()).toMatchObject([{ id: worktree.id, state: 'here', dirty: true }]);
      expect(contentOf(worktree.place)).toEqual(worktree.before);
    } finally {
      remount('rw');
    }
    await nextSweepRemovesAndRestores(worktree);
  });

  it('restores nothing, says so, and does when it can be written again', async (context) => {
    smallDisk(context);
    const worktree = await resting();
    await kept.keeper.remove(worktree.id, 'local');
    remount('ro');
    try {
      await expect(kept.keeper.restore(worktree.id, 'local')).rejects.toThrow(/read-only/i);
    } finally {
      remount('rw');
    }
    await kept.keeper.restore(worktree.id, 'local');
    expect(contentOf(worktree.place)).toEqual(worktree.before);
  });
});

describe('a disk with a worktree that has submodules', () => {
  let place: string;
  let id: string;
  let before: unknown;
  beforeEach(async () => {
    if (disk === null) return;
    checkout = path.join(disk, 'with submodules');
    git(disk, 'clone', '-q', makeSubmodulePair().server, checkout);
    kept = await openKept(path.join(disk, 'other home'), checkout);
    ({ id, path: place } = await kept.make());
    git(place, 'submodule', '--quiet', 'update', '--init', '--recursive');
    workEverywhere(place);
    before = observeAll(place);
  });
  const removesAndRestores = async () => {
    const next = await openKept(kept.home, checkout);
    await next.keeper.recover();
    if (next.worktrees.get(id)?.life.is !== 'removed') {
      expect(observeAll(place)).toEqual(before);
      await next.keeper.remove(id, 'local');
    }
    expect(existsSync(place)).toBe(false);
    await next.keeper.restore(id, 'local');
    expect(observeAll(place)).toEqual(before);
  };

  it.each<[string, () => void, () => void, RegExp]>([
    ['is full', fill, free, /space|full/i],
    ['can only be read', () => { remount('ro'); }, () => { remount('rw'); }, /read-only/i],
  ])('that %s loses nothing of it, and goes on when it can', async (_, begin, end, reason) => {
    if (disk === null) return;
    begin();
    await expect(kept.keeper.remove(id, 'local')).rejects.toThrow(reason);
    end();
    expect(observeAll(place)).toEqual(before);
    await removesAndRestores();
  }, 240_000);

  it.each([false, true])('that is full from the moment at which its removal was written down (verified: %s) loses nothing of it', async (verified) => {
    if (disk === null) return;
    const save = kept.worktrees.save.bind(kept.worktrees);
    kept.worktrees.save = async (record) => {
      const saved = await save(record);
      if (record.life?.is === 'removing' && record.life.verified === verified) fill();
      return saved;
    };
    await kept.keeper.remove(id, 'local').catch(() => undefined);
    free();
    await removesAndRestores();
  }, 240_000);

  it('that is full when it is to be restored loses nothing of its snapshot', async () => {
    if (disk === null) return;
    await kept.keeper.remove(id, 'local');
    fill();
    await expect(kept.keeper.restore(id, 'local')).rejects.toThrow(/space|full/i);
    free();
    await removesAndRestores();
  }, 240_000);
});
