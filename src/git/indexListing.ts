import path from 'node:path';
import { nulRecords, runGit, streamGit } from './git';
import { GitError } from './gitError';
import { bytePath, type BytePath } from './bytePath';
import { readIndexFile, visitIndexFile, type IndexFile } from './indexFile';
import type { ObjectId } from './repository';
import { inShadow, type Shadow } from './shadow';

export interface IndexEntry {
  readonly path: BytePath;
  /** Octal, as git prints it: 100644, 100755, 120000, 160000. */
  readonly mode: string;
  readonly oid: ObjectId;
  readonly stage: 0 | 1 | 2 | 3;
}

export interface FlaggedPath {
  readonly path: BytePath;
  readonly assumeUnchanged: boolean;
  readonly skipWorktree: boolean;
}

/** What of an index a tree cannot say. The plain entries, which are nearly all, are not kept. */
export interface IndexListing {
  readonly unmerged: readonly IndexEntry[];
  readonly intentToAdd: readonly IndexEntry[];
  readonly flagged: readonly FlaggedPath[];
  readonly gitlinks: readonly IndexEntry[];
  /** `.gitattributes` files. */
  readonly attributeFiles: readonly IndexEntry[];
  /** Records of conflicts that have been resolved (gitformat-index(5), "resolve undo"). */
  readonly resolved: readonly IndexEntry[];
}

/** Reads an index of a shadow. One that stands for whole directories is first written out in full. */
export async function listIndex(shadow: Shadow, signal?: AbortSignal, index = 'index'): Promise<IndexFile> {
  const file = path.resolve(shadow.gitDir, index);
  const listed = await readIndexFile(file, shadow.objectFormat);
  if (!listed.abridged) return listed;
  await runGit(['update-index', '--force-write-index'], inShadow(shadow, { index, signal }));
  const whole = await readIndexFile(file, shadow.objectFormat);
  if (whole.abridged) throw new GitError('unsupported-state', `The index of ${shadow.worktree} holds whole directories as entries, which this git does not write out. Run "git sparse-checkout reapply --no-sparse-index" there first.`);
  return whole;
}

/** Names written by a git command with `-z`, one after the other. */
export async function pathList(args: readonly string[], options: Parameters<typeof streamGit>[1]): Promise<BytePath[]> {
  const names: BytePath[] = [];
  for await (const record of nulRecords(streamGit(args, options))) names.push(bytePath(record));
  return names;
}

/** The entries of some paths, unmerged ones left out. */
export async function indexEntries(shadow: Shadow, names: ReadonlySet<BytePath>, signal?: AbortSignal, index = 'index'): Promise<Map<BytePath, IndexEntry>> {
  const found = new Map<BytePath, IndexEntry>();
  const pieces = visitIndexFile(path.resolve(shadow.gitDir, index), shadow.objectFormat, (entry) => {
    const name = entry.stage === 0 ? entry.path() : '';
    if (names.has(name)) found.set(name, { path: name, mode: entry.mode.toString(8), oid: entry.oid(), stage: 0 });
  });
  if (names.size > 0) for await (const _piece of pieces) signal?.throwIfAborted();
  return found;
}

/** Lines for `update-index -z --index-info`. */
export function indexInfo(entries: Iterable<Pick<IndexEntry, 'path' | 'mode' | 'oid' | 'stage'>>): Buffer {
  const lines = [...entries].map((entry) => `${entry.mode} ${entry.oid} ${entry.stage}\t${entry.path}\0`);
  return Buffer.from(lines.join(''), 'latin1');
}
