import { createWriteStream } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { sortedPaths, type BytePath } from './bytePath';
import { runGit, streamGit } from './git';
import { indexInfo, type IndexEntry } from './indexListing';
import type { ObjectId } from './repository';
import type { TreeChange } from './restoredState';
import { treeChanges } from './restoreFiles';
import { inShadow, type Shadow } from './shadow';
import { writeTree } from './stateObjects';

export interface TreeMerge {
  /** Where the two disagree it has conflict markers, or the version that is still there. */
  readonly tree: ObjectId;
  /** Paths at which the two disagree. */
  readonly conflicts: readonly BytePath[];
}

/** What the sides are called in conflict markers. */
export interface MergeNames {
  readonly ours: string;
  readonly theirs: string;
}

/** Larger files are not merged line by line. */
const MERGEABLE_BYTES = 16 * 1024 * 1024;
const MERGE_INDEX = 'merge.index';

/**
 * Merges two trees that come from a third, path by path and then line by line (git-merge-file(1)), in a shadow that sees
 * the objects of all: no driver, filter or rename detection, so the same trees merge alike with every git. Nothing outside
 * the shadow is written.
 */
export async function mergeTrees(shadow: Shadow, trees: { readonly base: ObjectId; readonly ours: ObjectId; readonly theirs: ObjectId }, names: MergeNames, signal?: AbortSignal): Promise<TreeMerge> {
  const [ours, theirs] = [
    new Map((await treeChanges(shadow, trees.base, trees.ours, signal)).map((change) => [change.path, change])),
    await treeChanges(shadow, trees.base, trees.theirs, signal),
  ];
  const conflicts = new Set<BytePath>();
  const taken: Pick<IndexEntry, 'path' | 'mode' | 'oid'>[] = [];
  for (const change of theirs) {
    const own = ours.get(change.path);
    if (own === undefined) taken.push({ path: change.path, mode: change.toMode, oid: change.toOid });
    else if (own.toMode !== change.toMode || own.toOid !== change.toOid) {
      const merged = await mergeEntry(shadow, own, change, names, signal);
      if (merged.conflict) conflicts.add(change.path);
      if (merged.entry !== null) taken.push({ path: change.path, ...merged.entry });
    }
  }
  const options = inShadow(shadow, { index: MERGE_INDEX, signal });
  const isGone = ({ mode }: { mode: string }) => mode === '000000';
  for (;;) {
    await runGit(['read-tree', trees.ours], options);
    const lines = [...taken.filter(isGone).map((entry) => ({ ...entry, mode: '0', stage: 0 as const })), ...taken.filter((entry) => !isGone(entry)).map((entry) => ({ ...entry, stage: 0 as const }))];
    await runGit(['update-index', '-z', '--index-info'], { ...options, input: indexInfo(lines) });
    const tree = await writeTree(shadow, MERGE_INDEX, signal);
    // One side has a file where the other has a directory: git lets the one take the place of the other without a word.
    const gone = new Set(taken.filter(isGone).map((entry) => entry.path));
    const displaced = (await treeChanges(shadow, trees.ours, tree, signal)).filter(({ path: name, toMode }) => toMode === '000000' && !gone.has(name));
    const culprits = taken.filter((entry) => !isGone(entry) && displaced.some(({ path: name }) => name.startsWith(`${entry.path}/`) || entry.path.startsWith(`${name}/`)));
    if (culprits.length === 0) return { tree, conflicts: sortedPaths(conflicts) };
    for (const culprit of culprits) {
      conflicts.add(culprit.path);
      taken.splice(taken.indexOf(culprit), 1);
    }
  }
}

const isFile = (mode: string) => mode === '100644' || mode === '100755';

async function mergeEntry(shadow: Shadow, ours: TreeChange, theirs: TreeChange, names: MergeNames, signal?: AbortSignal): Promise<{ conflict: boolean; entry: { mode: string; oid: ObjectId } | null }> {
  // Deleted on one side, changed on the other: the one that is left stays.
  if (theirs.toMode === '000000') return { conflict: true, entry: null };
  if (ours.toMode === '000000') return { conflict: true, entry: { mode: theirs.toMode, oid: theirs.toOid } };
  const isNew = ours.fromMode === '000000';
  if (!isFile(ours.toMode) || !isFile(theirs.toMode) || (!isNew && !isFile(ours.fromMode))) return { conflict: true, entry: null };
  const mode = ours.toMode === theirs.toMode || theirs.toMode === ours.fromMode ? ours.toMode : theirs.toMode;
  const modesDiffer = isNew && ours.toMode !== theirs.toMode;
  if (ours.toOid === theirs.toOid || theirs.toOid === ours.fromOid) return { conflict: modesDiffer, entry: { mode, oid: ours.toOid } };
  if (ours.toOid === ours.fromOid) return { conflict: modesDiffer, entry: { mode, oid: theirs.toOid } };
  const merged = await mergeContents(shadow, { ours: ours.toOid, base: isNew ? null : ours.fromOid, theirs: theirs.toOid }, names, signal);
  return merged === null ? { conflict: true, entry: null } : { conflict: merged.conflict || modesDiffer, entry: { mode, oid: merged.oid } };
}

/** Null where the contents have no lines to merge. */
async function mergeContents(shadow: Shadow, oids: { readonly ours: ObjectId; readonly base: ObjectId | null; readonly theirs: ObjectId }, names: MergeNames, signal?: AbortSignal): Promise<{ conflict: boolean; oid: ObjectId } | null> {
  const options = inShadow(shadow, { signal });
  const asked = [oids.ours, oids.theirs, ...(oids.base === null ? [] : [oids.base])];
  const { stdout } = await runGit(['cat-file', '--batch-check=%(objectsize)'], { ...options, input: asked.map((oid) => `${oid}\n`).join('') });
  if (stdout.toString('latin1').trim().split('\n').some((size) => !(Number(size) <= MERGEABLE_BYTES))) return null;
  const directory = path.join(shadow.gitDir, 'merge-file');
  await mkdir(directory, { recursive: true });
  try {
    const files: string[] = [];
    for (const [name, oid] of [['ours', oids.ours], ['base', oids.base], ['theirs', oids.theirs]] as const) {
      const file = path.join(directory, name);
      await pipeline(oid === null ? [] : streamGit(['cat-file', 'blob', oid], options), createWriteStream(file));
      files.push(file);
    }
    // The exit code counts conflicts; 255 is for contents that are no text.
    const merged = await runGit(['merge-file', '-p', '-L', names.ours, '-L', 'before', '-L', names.theirs, ...files], { ...options, answers: [...Array(128).keys(), 255] });
    if (merged.exitCode === 255) return null;
    const { stdout: oid } = await runGit(['hash-object', '-w', '--no-filters', '--stdin'], { ...options, input: merged.stdout });
    return { conflict: merged.exitCode !== 0, oid: oid.toString('latin1').trim() };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
