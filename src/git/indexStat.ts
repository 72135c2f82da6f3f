import { createHash } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import { readFile, stat, utimes, writeFile } from 'node:fs/promises';
import type { BytePath } from './bytePath';
import { GitError } from './gitError';
import { visitIndexFile } from './indexFile';
import type { ObjectFormat } from './repository';

/** In an entry: where its mode is, which is none of the file's numbers, and where what an index says of a file ends. */
const MODE_AT = 24;
const STAT_BYTES = 40;
/** Whole seconds of the time of the last change of content. */
const MTIME_AT = 8;

/** What an index says of a file, as its entry has it (gitformat-index(5)); the mode in it does not count. */
export type StatRecord = Buffer;

/** What the file system says of a file. */
export function statRecord(found: BigIntStats): StatRecord {
  const record = Buffer.alloc(STAT_BYTES);
  const low = (value: bigint) => Number(BigInt.asUintN(32, value));
  const numbers = [found.ctimeNs / 1_000_000_000n, found.ctimeNs % 1_000_000_000n, found.mtimeNs / 1_000_000_000n, found.mtimeNs % 1_000_000_000n, found.dev, found.ino, 0n, found.uid, found.gid, found.size];
  for (const [position, value] of numbers.entries()) record.writeUInt32BE(low(value), 4 * position);
  return record;
}

/** What an index says of some files. Those as young as the index are left out: it does not vouch for them. */
export async function readStatRecords(index: string, format: ObjectFormat, names: ReadonlySet<BytePath>): Promise<Map<BytePath, StatRecord>> {
  if (names.size === 0) return new Map();
  const [places, file, { mtimeMs }] = [await placesIn(index, format, names), await readFile(index), await stat(index)];
  const records = [...places].map(([name, at]) => [name, file.subarray(at, at + STAT_BYTES)] as const);
  return new Map(records.filter(([, record]) => record.readUInt32BE(MTIME_AT) < Math.floor(mtimeMs / 1000)));
}

/**
 * Notes in an index that files are what their entries say as long as they are what `records` says. Git does that itself when it has
 * written them or has run a filter over them; where it has not, nobody else can. The index keeps its time.
 *
 * @param index complete, of version 2, 3 or 4 (gitformat-index(5))
 * @throws {GitError} `failed` where it lacks one of the paths
 */
export async function noteAsUnchanged(index: string, format: ObjectFormat, records: ReadonlyMap<BytePath, StatRecord>): Promise<void> {
  if (records.size === 0) return;
  const places = await placesIn(index, format, records);
  if (places.size < records.size) throw new GitError('failed', `git did not take over ${records.size - places.size} of the files that arrived.`);
  const [file, { atime, mtime }] = await Promise.all([readFile(index), stat(index)]);
  for (const [name, at] of places) {
    const record = records.get(name);
    record?.copy(file, at, 0, MODE_AT);
    record?.copy(file, at + MODE_AT + 4, MODE_AT + 4, STAT_BYTES);
  }
  const end = file.length - (format === 'sha1' ? 20 : 32);
  // All zeros where the index is kept without its hash (`index.skipHash`).
  if (file.subarray(end).some((byte) => byte !== 0)) createHash(format).update(file.subarray(0, end)).digest().copy(file, end);
  await writeFile(index, file);
  await utimes(index, atime, mtime);
}

async function placesIn(index: string, format: ObjectFormat, names: { has(name: BytePath): boolean }): Promise<Map<BytePath, number>> {
  const places = new Map<BytePath, number>();
  const pieces = visitIndexFile(index, format, (entry) => {
    const name = entry.stage === 0 ? entry.path() : '';
    if (names.has(name)) places.set(name, entry.offset());
  });
  for await (const _piece of pieces);
  return places;
}
