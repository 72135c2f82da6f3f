import { constants } from 'node:fs';
import { lstat, open, readFile, rename, rm, rmdir, statfs, unlink, type FileHandle } from 'node:fs/promises';
import { z } from 'zod';
import { absolutePath, parentPaths, type BytePath } from './bytePath';
import { DirectoryTrail, NoDirectory, within, type Place } from './directoryTrail';
import { ArchiveDigest, archivedContent, archivedFiles, CHUNK_BYTES, sha256Of, type ArchivedFile } from './fileArchive';
import { GitError } from './gitError';
import { takenBy } from './includedFiles';
import { IncludeTally, skipsText } from './includeTally';
import { checkPath, NameTwins, type NameRules } from './pathNames';
import { probeNameRules } from './quarantineChecks';
import { placeInTree, together } from './sameDirectory';
import type { TravelLimits } from './travellingFiles';
import { includeLimits } from './worktreeInclude';

/** What the source said of an archive. */
export interface AnnouncedFiles {
  readonly files: number;
  readonly contentBytes: number;
  readonly sha256: string;
}

export interface PlacedFiles {
  /** As the source's: of the files that were placed by what is in the worktree now, of the others by what arrived. */
  readonly sha256: string;
  readonly notes: readonly string[];
}

const undoRecord = z.strictObject({ worktree: z.string(), files: z.array(z.string()), directories: z.array(z.string()) });
type UndoRecord = z.infer<typeof undoRecord>;

/**
 * Places ignored files that arrived into a worktree whose working state is restored. They are trusted in nothing: only paths
 * that are ignored and untracked in that worktree are written, in real directories or new ones, and nothing is overwritten. What
 * will be written is first noted in `undo`; `takeBackFiles` takes it back until that file is removed.
 *
 * @param archive path of what arrived
 * @param scratch an existing directory on the same kind of file system, to try how it tells names apart
 * @throws {GitError} `hostile-content`, `corrupt-bundle` where it is not what was announced, `disk-full`; then nothing is placed yet
 */
export async function placeFiles(options: { readonly archive: string; readonly worktree: string; readonly undo: string; readonly scratch: string; readonly announced: AnnouncedFiles; readonly limits: TravelLimits; readonly from: string; readonly signal?: AbortSignal | undefined }): Promise<PlacedFiles> {
  const { worktree, undo, announced, limits, signal } = options;
  const tally = new IncludeTally();
  const archive = await open(options.archive, 'r');
  try {
    const hashes = await readAll(archive, announced, limits);
    const fit = fitNames(archive, await probeNameRules(options.scratch), tally);
    const wanted = new Set<BytePath>();
    for await (const name of takenBy(worktree, fit, tally.skip, signal)) wanted.add(name);
    await expectRoom(worktree, announced.contentBytes);
    const record = await planOf(worktree, wanted);
    await writeRecord(undo, record);
    const placed = await writeAll(archive, worktree, { wanted, fresh: new Set(record.files), hashes }, tally, signal);
    return { sha256: placed, notes: notesOf(tally, options.from) };
  } finally {
    await archive.close();
  }
}

function notesOf(tally: IncludeTally, from: string): string[] {
  return [
    ...(tally.files === 0 ? [] : [`${tally.files} ignored ${tally.files === 1 ? 'file' : 'files'} (${tally.bytes} bytes) came from ${from}, as you wished.`]),
    ...(tally.skipped === 0 ? [] : [`${tally.skipped} of the ignored files from ${from} ${tally.skipped === 1 ? 'was' : 'were'} not placed: ${skipsText(tally.skipped, tally.named)}.`]),
  ];
}

/** Reads an archive through: it must be what was announced, and hold no name that no honest source sends. @returns the SHA-256 of each file */
async function readAll(archive: FileHandle, announced: AnnouncedFiles, limits: TravelLimits): Promise<string[]> {
  const digest = new ArchiveDigest();
  const hashes: string[] = [];
  let bytes = 0;
  for await (const file of archivedFiles(archive)) {
    if (hashes.length === limits.files || (bytes += file.bytes) > limits.bytes) throw new GitError('too-large', 'More ignored files arrived than may cross to another host at once. None was placed.');
    checkPath(file.path, '100644', { caseInsensitive: false, windows: false });
    const sha256 = await sha256Of(archivedContent(archive, file));
    digest.add(file, sha256);
    hashes.push(sha256);
  }
  if (hashes.length !== announced.files || bytes !== announced.contentBytes || digest.hex() !== announced.sha256) throw new GitError('corrupt-bundle', 'The ignored files that arrived are not those that were announced. None was placed; try again.');
  return hashes;
}

/** The names that this machine's file system can hold. */
async function* fitNames(archive: FileHandle, rules: NameRules, tally: IncludeTally): AsyncGenerator<BytePath, void, undefined> {
  const twins = new NameTwins(rules);
  for await (const { path: name } of archivedFiles(archive)) {
    try {
      checkPath(name, '100644', rules);
      for (const each of [...parentPaths(name), name]) twins.add(each);
    } catch (error) {
      if (!GitError.is(error, 'unsupported-state')) throw error;
      tally.skip(name, 'unfit-name');
      continue;
    }
    yield name;
  }
}

async function expectRoom(worktree: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(worktree);
  if (bavail * bsize < bytes + includeLimits.freeBytes) throw new GitError('disk-full', `The disk has too little room for ${bytes} bytes of ignored files. Free some space there, or hand off without them.`);
}

/** What is not there yet of the wanted files and of the directories above them, outermost first. */
async function planOf(worktree: string, wanted: ReadonlySet<BytePath>): Promise<UndoRecord> {
  const missing = async (name: BytePath) => (await lstat(absolutePath(worktree, name)).catch(() => null)) === null;
  const directories = new Map<BytePath, boolean>();
  const files: BytePath[] = [];
  for (const name of wanted) {
    for (const above of parentPaths(name)) if (!directories.has(above)) directories.set(above, await missing(above));
    if (await missing(name)) files.push(name);
  }
  return { worktree, files, directories: [...directories].flatMap(([name, made]) => (made ? [name] : [])) };
}

async function writeRecord(undo: string, record: UndoRecord): Promise<void> {
  const handle = await open(`${undo}.tmp`, 'w', 0o600);
  try {
    await handle.writeFile(JSON.stringify(record));
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(`${undo}.tmp`, undo);
}

interface Wish {
  readonly wanted: ReadonlySet<BytePath>;
  /** Those that the undo record names: nothing was at their places. */
  readonly fresh: ReadonlySet<BytePath>;
  readonly hashes: readonly string[];
}

/** @returns the digest of what is there now */
async function writeAll(archive: FileHandle, worktree: string, { wanted, fresh, hashes }: Wish, tally: IncludeTally, signal?: AbortSignal): Promise<string> {
  const digest = new ArchiveDigest();
  const trail = await DirectoryTrail.at(worktree);
  try {
    let index = 0;
    for await (const { directory, files } of together(archivedFiles(archive))) {
      signal?.throwIfAborted();
      const modes = files[0]?.directories ?? [];
      const some = files.some((file) => wanted.has(file.path));
      const place = some ? await trail.enter(directory, (made) => Promise.resolve(modes[parentPaths(made).length] ?? 0o700)).catch(unlessNoDirectory) : null;
      const first = index;
      const outcomes = await Promise.all(files.map(async (file, position) => (wanted.has(file.path) ? await placeOne(archive, place, file, hashes[first + position] ?? '', fresh.has(file.path)) : null)));
      for (const [position, file] of files.entries()) {
        const outcome = outcomes[position] ?? null;
        const arrived = hashes[index++] ?? '';
        if (outcome === null || outcome === 'in-the-way' || outcome === 'already-there') {
          if (outcome !== null) tally.skip(file.path, outcome);
          digest.add(file, arrived);
        } else {
          tally.files++;
          tally.bytes += file.bytes;
          digest.add({ ...file, mode: outcome.mode }, outcome.sha256);
        }
      }
    }
  } finally {
    await trail.close();
  }
  return digest.hex();
}

function unlessNoDirectory(error: unknown): null {
  if (error instanceof NoDirectory) return null;
  throw diskFull(error);
}

/** @returns what is at the place now, as read back, or why the file was not placed */
async function placeOne(archive: FileHandle, place: Place | null, file: ArchivedFile, sha256: string, fresh: boolean): Promise<{ mode: number; sha256: string } | 'already-there' | 'in-the-way'> {
  if (place === null) return 'in-the-way';
  const target = within(place, placeInTree(file.path).file);
  if (!fresh) return (await holds(target, file.bytes, sha256)) ? { mode: file.mode, sha256 } : 'already-there';
  try {
    const handle = await open(target, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600);
    try {
      for await (const chunk of archivedContent(archive, file)) for (let done = 0; done < chunk.length; ) done += (await handle.write(chunk, done)).bytesWritten;
      await handle.chmod(file.mode);
      await handle.utimes(file.mtimeMs / 1000, file.mtimeMs / 1000);
      // Windows has no such bits.
      const mode = process.platform === 'win32' ? file.mode : (await handle.stat()).mode & 0o7777;
      return { mode, sha256: await sha256Of(contentOf(handle)) };
    } finally {
      await handle.close();
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return 'already-there';
    throw diskFull(error);
  }
}

/** Whether a plain file with just that content is at the place. */
async function holds(target: Place, bytes: number, sha256: string): Promise<boolean> {
  const handle = await open(target, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(() => null);
  if (handle === null) return false;
  try {
    const found = await handle.stat();
    return found.isFile() && found.size === bytes && (await sha256Of(contentOf(handle))) === sha256;
  } finally {
    await handle.close();
  }
}

async function* contentOf(handle: FileHandle): AsyncGenerator<Buffer, void, undefined> {
  for (let position = 0; ; ) {
    const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(CHUNK_BYTES), 0, undefined, position);
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
    position += bytesRead;
  }
}

function diskFull(error: unknown): unknown {
  const { code, message } = error as NodeJS.ErrnoException;
  return code === 'ENOSPC' || code === 'EDQUOT' ? new GitError('disk-full', `The disk is full: ${message}`, { cause: error }) : error;
}

/**
 * Takes back what `placeFiles` wrote, also after a crash in the middle of it: files that are what arrived, or its beginning, and
 * directories that are empty without them. Whatever else is at their places by now stays. Idempotent.
 */
export async function takeBackFiles({ archive: file, undo }: { readonly archive: string; readonly undo: string }): Promise<void> {
  const text = await readFile(undo, 'utf8').catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  });
  if (text === null) return;
  const record = undoRecord.parse(JSON.parse(text));
  const files = new Set(record.files);
  const [archive, trail] = await Promise.all([open(file, 'r'), DirectoryTrail.at(record.worktree).catch(() => null)]);
  try {
    if (trail !== null) {
      for await (const each of archivedFiles(archive)) if (files.has(each.path)) await takeBackOne(archive, trail, each);
      for (const name of [...record.directories].reverse()) {
        const { directory, file: last } = placeInTree(name);
        const place = await trail.enter(directory).catch(() => null);
        if (place !== null) await rmdir(within(place, last)).catch(() => undefined);
      }
    }
  } finally {
    await archive.close();
    await trail?.close();
  }
  await rm(undo, { force: true });
}

async function takeBackOne(archive: FileHandle, trail: DirectoryTrail, file: ArchivedFile): Promise<void> {
  const place = await trail.enter(placeInTree(file.path).directory).catch(() => null);
  if (place === null) return;
  const target = within(place, placeInTree(file.path).file);
  const handle = await open(target, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(() => null);
  if (handle === null) return;
  let ours: boolean;
  try {
    const found = await handle.stat();
    ours = found.isFile() && found.size <= file.bytes && (await sha256Of(contentOf(handle))) === (await sha256Of(archivedContent(archive, { ...file, bytes: found.size })));
  } finally {
    await handle.close();
  }
  if (ours) await unlink(target);
}
