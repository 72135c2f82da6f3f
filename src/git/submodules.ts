import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { absolutePath, bytePath, pathBytes, type BytePath } from './bytePath';
import { runGit } from './git';
import type { IndexEntry } from './indexListing';
import { checkPath } from './pathNames';
import type { ObjectId, Repository } from './repository';
import { WorktreeLooker } from './worktreeScan';

/** Submodules deeper than this, or more repositories than this in one checkout, are nobody's. */
export const MOST_PARTS = 1000;
export const DEEPEST_PART = 16;

/** A submodule whose repository is there. */
export interface PopulatedSubmodule {
  readonly path: BytePath;
  /** As `.gitmodules` calls it; null where that names none that one can use. */
  readonly name: string | null;
  readonly directory: string;
  /** The commits that the superproject's index (up to three in a conflict) and HEAD record for it. */
  readonly recorded: readonly ObjectId[];
}

export interface SubmodulePlaces {
  readonly populated: readonly PopulatedSubmodule[];
  /** Places of submodules that hold files and no repository. Git looks into them no more than into a repository. */
  readonly withoutRepository: readonly BytePath[];
  /** Places with names that no destination takes. */
  readonly unnameable: readonly BytePath[];
}

/** Looks at the places of a checkout's submodules. A place that a symbolic link leads to is none. */
export async function readSubmodules({ root, head }: Pick<Repository, 'root' | 'head'>, gitlinks: readonly IndexEntry[], signal?: AbortSignal): Promise<SubmodulePlaces> {
  const recorded = new Map<BytePath, ObjectId[]>();
  for (const { path: name, oid } of gitlinks) recorded.set(name, [...(recorded.get(name) ?? []), oid]);
  const found = { populated: [] as PopulatedSubmodule[], withoutRepository: [] as BytePath[], unnameable: [] as BytePath[] };
  if (recorded.size === 0) return found;
  const names = await submoduleNames(root, signal);
  const looker = new WorktreeLooker(root);
  for (const [name, commits] of recorded) {
    if (!isPlace(name)) found.unnameable.push(name);
    else if ((await looker.kind(name)) !== 'directory') continue;
    else if (existsSync(absolutePath(root, `${name}/.git`))) found.populated.push({ path: name, name: names.get(name) ?? null, directory: placeIn(root, name), recorded: commits });
    else if ((await readdir(absolutePath(root, name))).length > 0) found.withoutRepository.push(name);
  }
  const recordedByHead = head === null ? new Map<BytePath, ObjectId>() : await gitlinksOf(root, head, found.populated.map((submodule) => submodule.path), signal);
  return { ...found, populated: found.populated.map((submodule) => ({ ...submodule, recorded: [...submodule.recorded, ...[recordedByHead.get(submodule.path) ?? []].flat()] })) };
}

/** The commits that a tree has at some paths. */
export async function gitlinksOf(root: string, tree: ObjectId, names: readonly BytePath[], signal?: AbortSignal, env: Readonly<Record<string, string>> = {}): Promise<Map<BytePath, ObjectId>> {
  if (names.length === 0) return new Map();
  const { stdout } = await runGit(['ls-tree', '-z', '--full-tree', tree, '--', ...names.map((name) => pathBytes(name).toString('utf8'))], { cwd: root, env, signal });
  return new Map(stdout.toString('latin1').split('\0').flatMap((line): [BytePath, ObjectId][] => {
    const [, oid, name] = /^160000 commit ([0-9a-f]+)\t([^]+)$/.exec(line) ?? [];
    return oid === undefined || name === undefined ? [] : [[name, oid]];
  }));
}

/** The directory of a part of a checkout whose top level is `root`. */
export function placeIn(root: string, place: BytePath): string {
  return path.join(root, ...pathBytes(place).toString('utf8').split('/'));
}

/** Whether a submodule can be at a path: what git and every file system take for a plain one, in UTF-8 (a directory in which programs are run). */
export function isPlace(name: BytePath): boolean {
  return bytePath(Buffer.from(pathBytes(name).toString('utf8'), 'utf8')) === name && isPlain(name);
}

/** Whether a name from `.gitmodules` can be a path below `modules/` (git-config's check_submodule_name, and more). */
export function isSubmoduleName(name: string): boolean {
  return isPlain(bytePath(Buffer.from(name, 'utf8')));
}

function isPlain(name: BytePath): boolean {
  try {
    checkPath(name, '160000', { caseInsensitive: false, windows: process.platform === 'win32' });
    return true;
  } catch {
    return false;
  }
}

/** From path to name, as the `.gitmodules` of the working tree has it; nothing where git cannot read it. */
async function submoduleNames(root: string, signal?: AbortSignal): Promise<Map<BytePath, string>> {
  const names = new Map<BytePath, string>();
  if ((await new WorktreeLooker(root).kind('.gitmodules')) !== 'file') return names;
  const { stdout } = await runGit(['config', '--file', '.gitmodules', '--no-includes', '-z', '--get-regexp', '^submodule\\..*\\.path$'], { cwd: root, signal, answers: [1, 3, 128] });
  for (const record of stdout.toString('latin1').split('\0')) {
    const feed = record.indexOf('\n');
    const name = Buffer.from(record.slice('submodule.'.length, feed - '.path'.length), 'latin1').toString('utf8');
    if (feed !== -1 && isSubmoduleName(name)) names.set(record.slice(feed + 1), name);
  }
  return names;
}
