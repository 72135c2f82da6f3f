import { randomBytes } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import { chmod, lstat, open, readdir, rm, rmdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { absolutePath, childPath, type BytePath } from '../git/bytePath';
import { settle, sightingOf } from '../git/worktreeScan';
import { unlessMissing } from './arrivingFiles';
import { HostError } from './hostError';

/** As many at once as keep the thread pool busy. */
const AT_ONCE = 32;

/**
 * A moment by the clock of the file system that a directory lies on, in nanoseconds: what was written there before this was called has
 * an earlier time, what is written after it has returned this one or a later one.
 */
export async function momentOn(directory: string): Promise<bigint> {
  const name = join(directory, `.baton-clock-${randomBytes(4).toString('hex')}`);
  const handle = await open(name, 'wx', 0o600);
  try {
    const found = await handle.stat({ bigint: true });
    await settle([sightingOf(found)]);
    await handle.utimes(0, 0);
    const { ctimeNs } = await handle.stat({ bigint: true });
    if (ctimeNs <= found.ctimeNs) throw new HostError('worktree-kept', `The file system of ${directory} does not note when a file is changed, so Baton could not tell whether somebody writes there while it deletes. Nothing was deleted.`);
    return ctimeNs;
  } finally {
    await handle.close();
    await rm(name, { force: true });
  }
}

/** The first file below a directory that was written, made or moved there since a moment of its file system's; null where there is none. */
export async function firstChangedSince(directory: string, since: bigint, isLeftOut: (name: BytePath) => boolean = () => false): Promise<BytePath | null> {
  const waiting: BytePath[] = [''];
  for (let place = waiting.pop(); place !== undefined; place = waiting.pop()) {
    const names = (await entriesIn(directory, place)).filter((name) => !isLeftOut(name));
    for (let start = 0; start < names.length; start += AT_ONCE) {
      const some = names.slice(start, start + AT_ONCE);
      const found = await Promise.all(some.map((name) => lstat(absolutePath(directory, name), { bigint: true }).catch(() => null)));
      for (const [position, name] of some.entries()) {
        if (found[position]?.isDirectory() === true) waiting.push(name);
        else if ((found[position]?.ctimeNs ?? since) >= since) return name;
      }
    }
  }
  return null;
}

/** What is still there of a directory that was to be deleted. */
export interface Leftover {
  /** Files that changed since they were looked at last: some of them, and how many there are. */
  readonly changed: { readonly names: readonly BytePath[]; readonly count: number };
  /** Why something else could not be deleted; null where all of it was. */
  readonly failed: Error | null;
}

/**
 * Deletes a directory with all that is in it, directories that are not writable included (some package managers make such), but for what
 * was written, made or moved there since a moment: each file is looked at once more right before it goes. Other file systems
 * that are mounted below are not entered. Gives what is left; null where nothing is.
 *
 * @param since by the clock of its file system (see {@link momentOn}); null where nobody noted it, and everything goes
 * @param again a deletion was begun before. It has given new `ctime`s to the other names of what it deleted, so only `mtime` tells
 */
export async function deleteTree(directory: string, since: bigint | null, again: boolean): Promise<Leftover | null> {
  const top = await lstat(directory, { bigint: true }).catch(unlessMissing(null));
  if (top === null) return null;
  const changed = { names: [] as BytePath[], count: 0 };
  let failed: Error | null = null;
  const fail = (error: unknown): void => {
    failed ??= error as Error;
  };
  /** Files with several names, of which one has gone: that changes the `ctime` of the others. */
  const parted = new Set<string>();
  const hasChanged = ({ dev, ino, ctimeNs, mtimeNs }: BigIntStats) => since !== null && (again || parted.has(`${dev} ${ino}`) ? mtimeNs : ctimeNs) >= since;

  const remove = async (name: BytePath, inWritable: (act: () => Promise<void>) => Promise<void>): Promise<void> => {
    const place = absolutePath(directory, name);
    const found = await lstat(place, { bigint: true }).catch(unlessMissing(null));
    if (found === null) return;
    if (found.isDirectory()) {
      if (found.dev !== top.dev) {
        fail(new Error(`another file system is mounted at ${String(place)}`));
        return;
      }
      await empty(name);
      return inWritable(() => rmdir(place));
    }
    if (hasChanged(found)) {
      changed.count++;
      if (changed.names.length < 5) changed.names.push(name);
      return;
    }
    if (found.nlink > 1n) parted.add(`${found.dev} ${found.ino}`);
    await inWritable(() => unlink(place));
  };

  /** Deletes what is in a directory; one that is not writable becomes so when something in it is to go. */
  const empty = async (place: BytePath): Promise<void> => {
    const at = place === '' ? directory : absolutePath(directory, place);
    let writable: Promise<void> | null = null;
    const inWritable = async (act: () => Promise<void>): Promise<void> => {
      try {
        await act().catch((error: unknown) => {
          if (!['EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
          writable ??= chmod(at, 0o700);
          return writable.then(act);
        });
      } catch (error) {
        // One that is not empty holds what was kept, or has come meanwhile: that shows at the end.
        if (!['ENOENT', 'ENOTEMPTY', 'EEXIST'].includes((error as NodeJS.ErrnoException).code ?? '')) fail(error);
      }
    };
    let names: BytePath[] = [];
    await inWritable(async () => {
      names = await entriesIn(directory, place);
    });
    for (let start = 0; start < names.length; start += AT_ONCE) await Promise.all(names.slice(start, start + AT_ONCE).map((name) => remove(name, inWritable)));
  };

  await empty('');
  await rmdir(directory).catch(() => undefined);
  return (await lstat(directory).catch(unlessMissing(null))) === null ? null : { changed, failed };
}

async function entriesIn(directory: string, place: BytePath): Promise<BytePath[]> {
  return (await readdir(place === '' ? directory : absolutePath(directory, place), { encoding: 'buffer' })).map((name) => childPath(place, name));
}
