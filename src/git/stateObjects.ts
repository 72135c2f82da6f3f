import { copyFile, rm, stat, utimes } from 'node:fs/promises';
import path from 'node:path';
import { gitText, runGit } from './git';
import { nulTerminated, type BytePath } from './bytePath';
import { indexInfo, type IndexEntry } from './indexListing';
import type { Manifest } from './manifest';
import type { ObjectId } from './repository';
import { inShadow, type Shadow } from './shadow';

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

export async function updateIndex(shadow: Shadow, index: string, args: readonly string[], names: Iterable<BytePath>, signal?: AbortSignal): Promise<void> {
  const input = nulTerminated(names);
  if (input.length > 0) await runGit(['update-index', ...args, '-z', '--stdin'], { ...inShadow(shadow, { index, signal }), input });
}

/** A tree of entries with stages: stage n of `a/b` is at `n/a/b`. Null without entries. */
export async function writeStagedTree(shadow: Shadow, entries: readonly IndexEntry[], signal?: AbortSignal): Promise<ObjectId | null> {
  if (entries.length === 0) return null;
  return writeListedTree(shadow, entries.map((entry) => ({ ...entry, stage: 0 as const, path: `${entry.stage}/${entry.path}` })), [], signal);
}

async function writeListedTree(shadow: Shadow, entries: readonly IndexEntry[], trees: readonly (readonly [prefix: string, tree: ObjectId])[], signal?: AbortSignal): Promise<ObjectId> {
  const index = 'list.index';
  await rm(path.join(shadow.gitDir, index), { force: true });
  const options = inShadow(shadow, { index, signal });
  await runGit(['update-index', '-z', '--index-info'], { ...options, input: indexInfo(entries) });
  for (const [prefix, tree] of trees) await runGit(['read-tree', `--prefix=${prefix}/`, tree], options);
  return writeTree(shadow, index, signal);
}

/** The tree of the tip: the manifest, and the trees that it speaks of. */
export async function writeManifestTree(shadow: Shadow, manifest: Manifest, trees: { readonly stages: ObjectId | null; readonly resolved: ObjectId | null; readonly autoMerge: ObjectId | null }, signal?: AbortSignal): Promise<ObjectId> {
  const blob = await gitText(['hash-object', '-w', '--no-filters', '--stdin'], { ...inShadow(shadow, { signal }), input: `${JSON.stringify(manifest, null, 1)}\n` });
  const present = ([['auto-merge', trees.autoMerge], ['resolved', trees.resolved], ['stages', trees.stages]] as const).flatMap(([prefix, tree]): [string, ObjectId][] => (tree === null ? [] : [[prefix, tree]]));
  return writeListedTree(shadow, [{ path: 'manifest.json', mode: '100644', oid: blob, stage: 0 }], present, signal);
}

/**
 * Writes a commit of Baton's. Author, committer and time are fixed, so that the same state gives the same commits; the
 * time is that of HEAD, since git's walks stop early only among commits whose times rise (git-rev-list(1)).
 */
export async function writeCommit(shadow: Shadow, commit: { readonly tree: ObjectId; readonly parents: readonly ObjectId[]; readonly seconds: number; readonly message: string }, signal?: AbortSignal): Promise<ObjectId> {
  const who = `Baton <baton@localhost> ${commit.seconds} +0000`;
  const text = [`tree ${commit.tree}`, ...commit.parents.map((parent) => `parent ${parent}`), `author ${who}`, `committer ${who}`, '', commit.message, ''].join('\n');
  return gitText(['hash-object', '-t', 'commit', '-w', '--stdin'], { ...inShadow(shadow, { signal }), input: text });
}
