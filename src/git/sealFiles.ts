import { createHash } from 'node:crypto';
import { open, type FileHandle } from 'node:fs/promises';
import { parentPaths, type BytePath } from './bytePath';
import { DirectoryTrail, NoDirectory, within } from './directoryTrail';
import { ArchiveDigest, CHUNK_BYTES, encodeHeader } from './fileArchive';
import { GitError } from './gitError';
import { IncludeTally, skipsText, type SkipReason } from './includeTally';
import { openUnlinked } from './openUnlinked';
import { placeInTree } from './sameDirectory';
import { firstNames, listedNames, travelLimits, type TravelLimits } from './travellingFiles';

/** Ignored files of a checkout in one file, as they cross to another host. */
export interface SealedFiles {
  readonly path: string;
  /** Of the archive. */
  readonly bytes: number;
  readonly files: number;
  readonly contentBytes: number;
  /** Of names, modes and contents (fileArchive.ts). */
  readonly sha256: string;
  /** What the user should know: what appeared since the list was shown, and what could not be taken. */
  readonly notes: readonly string[];
}

/**
 * Copies ignored files of a working tree into an archive: those that its user has agreed to and that its list still names.
 * Plain files only, reached without following any link; one that changes while it is read is left out and said.
 *
 * @param agreed the names that the user was shown
 * @param path the archive, made anew
 * @throws {GitError} `too-large`, `disk-full`
 */
export async function sealFiles(options: { readonly root: string; readonly agreed: ReadonlySet<BytePath>; readonly path: string; readonly limits?: TravelLimits; readonly signal?: AbortSignal | undefined }): Promise<SealedFiles> {
  const { root, agreed, path, limits = travelLimits, signal } = options;
  const tally = new IncludeTally();
  const listed = await listedNames(root, limits.files, () => undefined, signal);
  const names = listed?.names ?? [];
  const appeared = names.filter((name) => !agreed.has(name));
  const digest = new ArchiveDigest();
  const trail = await DirectoryTrail.at(root);
  const archive = new ArchiveWriter(await open(path, 'w', 0o600));
  try {
    for (const name of names) {
      signal?.throwIfAborted();
      if (!agreed.has(name)) continue;
      const sealed = await sealOne(trail, name, archive, limits.bytes - tally.bytes);
      if (typeof sealed === 'string') {
        tally.skip(name, sealed);
        continue;
      }
      digest.add(sealed, sealed.sha256);
      tally.files++;
      tally.bytes += sealed.bytes;
    }
    const bytes = await archive.end();
    return { path, bytes, files: tally.files, contentBytes: tally.bytes, sha256: digest.hex(), notes: notesOf(appeared, agreed.size - (names.length - appeared.length), tally) };
  } finally {
    await trail.close();
    await archive.close();
  }
}

function notesOf(appeared: readonly BytePath[], gone: number, tally: IncludeTally): string[] {
  return [
    ...(appeared.length === 0 ? [] : [`Not sent, because the list that you saw did not have ${appeared.length === 1 ? 'it' : 'them'} yet: ${firstNames(appeared)}.`]),
    ...(gone === 0 ? [] : [`${gone} of the ignored files that you saw ${gone === 1 ? 'is' : 'are'} no longer there, or no longer listed.`]),
    ...(tally.skipped === 0 ? [] : [`Not sent of the ignored files: ${skipsText(tally.skipped, tally.named)}.`]),
  ];
}

async function sealOne(trail: DirectoryTrail, name: BytePath, archive: ArchiveWriter, room: number): Promise<{ path: BytePath; mode: number; bytes: number; sha256: string } | SkipReason> {
  const { directory, file } = placeInTree(name);
  const place = await trail.enter(directory).catch((error: unknown) => (error instanceof NoDirectory ? 'symbolic-link' as const : null));
  if (place === null || place === 'symbolic-link') return place ?? 'changed';
  const handle = await openUnlinked(within(place, file));
  if (typeof handle === 'string') return handle;
  try {
    const found = await handle.stat({ bigint: true });
    if (!found.isFile()) return found.isDirectory() ? 'changed' : 'special-file';
    if ((found.mode & 0o6000n) !== 0n) return 'set-user-id';
    const bytes = Number(found.size);
    if (bytes > room) throw new GitError('too-large', 'The ignored files have grown beyond what may cross to another host at once. Look at the list again.');
    const mode = Number(found.mode & 0o777n);
    const directories = [];
    for (const above of parentPaths(name)) directories.push(await trail.modeOf(above));
    const begin = await archive.begin(encodeHeader({ path: name, mode, mtimeMs: Math.max(0, Number(found.mtimeMs)), bytes, directories }));
    const hash = createHash('sha256');
    let done = 0;
    while (done < bytes) {
      const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(Math.min(CHUNK_BYTES, bytes - done)), 0, undefined, done);
      if (bytesRead === 0) break;
      const chunk = buffer.subarray(0, bytesRead);
      hash.update(chunk);
      await archive.write(chunk);
      done += bytesRead;
    }
    const after = await handle.stat({ bigint: true });
    if (done === bytes && after.size === found.size && after.mtimeNs === found.mtimeNs && after.ctimeNs === found.ctimeNs) return { path: name, mode, bytes, sha256: hash.digest('hex') };
    await archive.takeBack(begin);
    return 'changed';
  } finally {
    await handle.close();
  }
}

/** Writes an archive in large pieces, and can take back the file that it is at. */
class ArchiveWriter {
  private pending: Buffer[] = [];
  private pendingBytes = 0;
  private written = 0;

  constructor(private readonly file: FileHandle) {}

  /** @returns where the file begins, for `takeBack` */
  async begin(header: Buffer): Promise<number> {
    const begin = this.written + this.pendingBytes;
    await this.write(header);
    return begin;
  }

  async write(chunk: Buffer): Promise<void> {
    this.pending.push(chunk);
    this.pendingBytes += chunk.length;
    if (this.pendingBytes >= CHUNK_BYTES) await this.flush();
  }

  async takeBack(begin: number): Promise<void> {
    await this.flush();
    await this.file.truncate(begin);
    this.written = begin;
  }

  /** @returns bytes in all */
  async end(): Promise<number> {
    await this.flush();
    return this.written;
  }

  async close(): Promise<void> {
    await this.file.close();
  }

  private async flush(): Promise<void> {
    const all = Buffer.concat(this.pending);
    this.pending = [];
    this.pendingBytes = 0;
    for (let done = 0; done < all.length; ) {
      const { bytesWritten } = await this.file.write(all, done, all.length - done, this.written);
      done += bytesWritten;
      this.written += bytesWritten;
    }
  }
}
