import { constants, createReadStream } from 'node:fs';
import { copyFile, lutimes, mkdtemp, open, rm, statfs } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { bytePath, type BytePath } from './bytePath';
import { DirectoryTrail, NoDirectory, placeOf, within, type Place } from './directoryTrail';
import { nulRecords } from './git';
import { GitError } from './gitError';
import { openUnlinked } from './openUnlinked';
import { readRepository } from './repository';
import { placeInTree, together } from './sameDirectory';
import { includedFiles, INCLUDE_FILE, readIncludeList, reportSpecialFiles, takenBy } from './includedFiles';
import { IncludeTally, skipsText, type NamedSkip, type SkipReason } from './includeTally';

export interface IncludeLimits {
  /** More than this, and nothing is copied. */
  readonly files: number;
  /** What the file system of the worktree keeps free. */
  readonly freeBytes: number;
}

export const includeLimits: IncludeLimits = { files: 500_000, freeBytes: 512 * 1024 ** 2 };

/** What copying the listed files came to. */
export interface IncludeReport {
  /** The checkout whose list it is. */
  readonly from: string;
  readonly files: number;
  readonly bytes: number;
  readonly skipped: number;
  /** The first of those that were skipped. */
  readonly named: readonly NamedSkip[];
  /** Why nothing, or nothing further, was copied: one sentence. Null where all was. */
  readonly stopped: string | null;
}

/** How often free space is looked at. */
const CHECK_EVERY_BYTES = 64 * 1024 ** 2;

/**
 * Copies the ignored files that `.worktreeinclude` of a checkout lists into a worktree of the same repository: with their
 * modes and times, as clones that share their blocks where the file system has such. Only plain files that are ignored and
 * untracked on both sides; nothing is overwritten, no symbolic link is copied or followed, and nothing is written outside the
 * worktree. Whatever fails is told in the report; the worktree is as good without these files.
 *
 * @param from the checkout of the user's whose list counts. A list that arrived with a working state never does: its author
 *   could be after the user's secrets
 * @returns null where that checkout has no list
 * @throws {GitError} `cancelled`
 */
export async function copyIncluded(options: { readonly from: string; readonly to: string; readonly limits?: Partial<IncludeLimits>; readonly signal?: AbortSignal | undefined }): Promise<IncludeReport | null> {
  const limits = { ...includeLimits, ...options.limits };
  const tally = new IncludeTally();
  const report = (stopped: string | null): IncludeReport => ({ from: options.from, files: tally.files, bytes: tally.bytes, skipped: tally.skipped, named: tally.named, stopped });
  let temporary: string | null = null;
  try {
    const [{ root: from }, { root: to }] = await Promise.all([readRepository(options.from, options.signal), readRepository(options.to, options.signal)]);
    const patterns = await readIncludeList(from);
    if (patterns === null) return null;
    temporary = await mkdtemp(path.join(os.tmpdir(), 'baton-include-'));
    const names = path.join(temporary, 'names');
    const count = await spool(names, takenBy(to, includedFiles(from, patterns, temporary, tally.skip, options.signal), tally.skip, options.signal), limits.files);
    if (count > limits.files) return report(`${INCLUDE_FILE} lists more than ${limits.files} files, so none was copied. Make its patterns narrower.`);
    await copyNamed(names, from, to, tally, limits, options.signal);
    await reportSpecialFiles(from, patterns, temporary, tally.skip, options.signal);
    return report(null);
  } catch (error) {
    if (options.signal?.aborted === true) throw error;
    return report(error instanceof Error ? error.message : String(error));
  } finally {
    if (temporary !== null) await rm(temporary, { recursive: true, force: true });
  }
}

/** What the user is told: nothing where all went well and nothing was listed. */
export function includeNotes(report: IncludeReport | null): string[] {
  if (report === null) return [];
  const notes: string[] = [];
  if (report.files > 0) notes.push(`${report.files} ignored ${report.files === 1 ? 'file' : 'files'} (${report.bytes} bytes) listed in ${INCLUDE_FILE} ${report.files === 1 ? 'was' : 'were'} copied from ${report.from}.`);
  if (report.skipped > 0) notes.push(`${report.skipped} listed in ${INCLUDE_FILE} ${report.skipped === 1 ? 'was' : 'were'} not copied: ${skipsText(report.skipped, report.named)}.`);
  if (report.stopped !== null) notes.push(`Copying what ${INCLUDE_FILE} lists ended early: ${report.stopped}`);
  return notes;
}

/** Writes names to a file, NUL-terminated, so that they need no memory. Stops after one more than `limit`. @returns how many */
async function spool(file: string, names: AsyncIterable<BytePath>, limit: number): Promise<number> {
  const handle = await open(file, 'wx', 0o600);
  let count = 0;
  let pending: string[] = [];
  const flush = async () => {
    if (pending.length > 0) await handle.appendFile(Buffer.from(`${pending.join('\0')}\0`, 'latin1'));
    pending = [];
  };
  try {
    for await (const name of names) {
      count++;
      if (count > limit) break;
      if (pending.push(name) >= 1000) await flush();
    }
    await flush();
  } finally {
    await handle.close();
  }
  return count;
}

async function copyNamed(names: string, from: string, to: string, tally: IncludeTally, limits: IncludeLimits, signal?: AbortSignal): Promise<void> {
  const source = await DirectoryTrail.at(from);
  const target = await DirectoryTrail.at(to).catch(async (error: unknown) => {
    await source.close();
    throw error;
  });
  let checkAt = 0;
  try {
    for await (const { directory, files } of together(spooled(names))) {
      if (signal?.aborted === true) throw new GitError('cancelled', 'Copying ignored files was cancelled.');
      const places = await enterBoth(source, target, directory, tally, files);
      if (places === null) continue;
      if (tally.bytes >= checkAt) {
        const { bavail, bsize } = await statfs(to);
        if (bavail * bsize < limits.freeBytes) throw new GitError('disk-full', `The disk has less than ${limits.freeBytes} bytes free.`);
        checkAt = tally.bytes + CHECK_EVERY_BYTES;
      }
      await Promise.all(files.map(async ({ path: name }) => {
        const { file } = placeInTree(name);
        const outcome = await copyOne(within(places.from, file), within(places.to, file));
        if (typeof outcome === 'string') tally.skip(name, outcome);
        else {
          tally.files++;
          tally.bytes += outcome;
        }
      }));
    }
  } finally {
    await source.close();
    await target.close();
  }
}

async function* spooled(names: string): AsyncGenerator<{ readonly path: BytePath }, void, undefined> {
  for await (const record of nulRecords(createReadStream(names) as AsyncIterable<Buffer>)) yield { path: bytePath(record) };
}

async function enterBoth(source: DirectoryTrail, target: DirectoryTrail, directory: BytePath, tally: IncludeTally, files: readonly { readonly path: BytePath }[]): Promise<{ from: Place; to: Place } | null> {
  const skipAll = (reason: SkipReason) => {
    for (const { path: name } of files) tally.skip(name, reason);
    return null;
  };
  let from: Place;
  try {
    from = await source.enter(directory);
  } catch (error) {
    return skipAll(error instanceof NoDirectory ? 'symbolic-link' : 'changed');
  }
  try {
    return { from, to: await target.enter(directory, (made) => source.modeOf(made)) };
  } catch (error) {
    expectRoom(error);
    return skipAll('in-the-way');
  }
}

/** @returns bytes copied, or why not. @throws {GitError} `disk-full` */
async function copyOne(from: Place, to: Place): Promise<number | SkipReason> {
  const handle = await openUnlinked(from);
  if (typeof handle === 'string') return handle;
  try {
    const found = await handle.stat();
    if (!found.isFile()) return found.isDirectory() ? 'changed' : 'special-file';
    // The copy belongs to whoever runs the host, and would run as them.
    if ((found.mode & 0o6000) !== 0) return 'set-user-id';
    await copyFile(placeOf(handle) ?? from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    await lutimes(to, found.atime, found.mtime);
    return found.size;
  } catch (error) {
    expectRoom(error);
    return (error as NodeJS.ErrnoException).code === 'EEXIST' ? 'already-there' : 'unreadable';
  } finally {
    await handle.close();
  }
}

function expectRoom(error: unknown): void {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT') throw new GitError('disk-full', `The disk is full: ${message}`, { cause: error });
}
