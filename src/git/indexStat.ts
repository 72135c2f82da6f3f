import { createHash } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import { lstat, readFile, stat, utimes, writeFile } from 'node:fs/promises';
import { absolutePath, type BytePath } from './bytePath';
import { GitError } from './gitError';
import { visitIndexFile } from './indexFile';
import type { ObjectFormat } from './repository';

const MODE_AT = 24;

/**
 * Notes in an index that files, as they lie there now, are what their entries say. Git does that itself when it has run a
 * filter over them; where no filter may run nobody else can. The index keeps its time.
 *
 * @param index complete, of version 2, 3 or 4 (gitformat-index(5))
 * @throws {GitError} `failed` where it lacks one of the paths
 */
export async function noteAsUnchanged(index: string, format: ObjectFormat, root: string, names: ReadonlySet<BytePath>): Promise<void> {
  if (names.size === 0) return;
  const places = new Map<BytePath, number>();
  const pieces = visitIndexFile(index, format, (entry) => {
    const name = entry.stage === 0 ? entry.path() : '';
    if (names.has(name)) places.set(name, entry.offset());
  });
  for await (const _piece of pieces);
  if (places.size < names.size) throw new GitError('failed', `git did not take over ${names.size - places.size} of the Git LFS files that arrived.`);
  const [file, { atime, mtime }] = await Promise.all([readFile(index), stat(index)]);
  for (const [name, at] of places) writeStat(file, at, await lstat(absolutePath(root, name), { bigint: true }));
  const end = file.length - (format === 'sha1' ? 20 : 32);
  // All zeros where the index is kept without its hash (`index.skipHash`).
  if (file.subarray(end).some((byte) => byte !== 0)) createHash(format).update(file.subarray(0, end)).digest().copy(file, end);
  await writeFile(index, file);
  await utimes(index, atime, mtime);
}

function writeStat(file: Buffer, at: number, found: BigIntStats): void {
  const low = (value: bigint) => Number(BigInt.asUintN(32, value));
  const numbers = [found.ctimeNs / 1_000_000_000n, found.ctimeNs % 1_000_000_000n, found.mtimeNs / 1_000_000_000n, found.mtimeNs % 1_000_000_000n, found.dev, found.ino];
  for (const [position, value] of numbers.entries()) file.writeUInt32BE(low(value), at + 4 * position);
  // The mode stays the entry's.
  for (const [position, value] of [found.uid, found.gid, found.size].entries()) file.writeUInt32BE(low(value), at + MODE_AT + 4 * (position + 1));
}
