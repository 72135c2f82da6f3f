import { copyFile, rm, stat, utimes } from 'node:fs/promises';
import path from 'node:path';
import { nulTerminated, type BytePath } from './bytePath';
import { gitText, runGit } from './git';
import { indexInfo, type IndexEntry } from './indexListing';
import type { ObjectId } from './repository';
import { inShadow, trustTimes, type Shadow } from './shadow';

/** Writes the tree of an index of the shadow. */
export async function writeTree(shadow: Shadow, index: string, signal?: AbortSignal): Promise<ObjectId> {
  // Blobs that a partial clone has not fetched are not needed for the tree; bundling notices if they are needed at all.
  return gitText(['write-tree', '--missing-ok'], inShadow(shadow, { index, signal }));
}

/** Copies one index of the shadow to another name, with a time that keeps git suspicious (see `copyIndex`). */
export async function forkIndex(shadow: Shadow, from: string, to: string): Promise<void> {
  const source = path.join(shadow.gitDir, from);
  const { mtimeMs } = await stat(source);
  await copyFile(source, path.join(shadow.gitDir, to));
  const seconds = Math.floor(mtimeMs / 1000);
  await utimes(path.join(shadow.gitDir, to), seconds, seconds);
}

/**
 * {@link forkIndex} for a copy of which only names, modes and objects count: git hashes each file that is as young as its
 * index whenever it writes the index, and is spared that.
 */
export async function forkEntries(shadow: Shadow, from: string, to: string): Promise<void> {
  await copyFile(path.join(shadow.gitDir, from), path.join(shadow.gitDir, to));
  await trustTimes(path.join(shadow.gitDir, to));
}

export async function updateIndex(shadow: Shadow, index: string, args: readonly string[], names: Iterable<BytePath>, signal?: AbortSignal): Promise<void> {
  const input = nulTerminated(names);
  if (input.length > 0) await runGit(['update-index', ...args, '-z', '--stdin'], { ...inShadow(shadow, { index, signal }), input });
}

/** A tree of entries with stages: stage n of `a/b` is at `n/a/b`. Null without entries. */
export async function writeStagedTree(shadow: Shadow, name: string, entries: readonly IndexEntry[], signal?: AbortSignal): Promise<ObjectId | null> {
  if (entries.length === 0) return null;
  const index = `${name}.index`;
  await rm(path.join(shadow.gitDir, index), { force: true });
  const staged = entries.map((entry) => ({ ...entry, stage: 0 as const, path: `${entry.stage}/${entry.path}` }));
  await runGit(['update-index', '-z', '--index-info'], { ...inShadow(shadow, { index, signal }), input: indexInfo(staged) });
  return writeTree(shadow, index, signal);
}
