import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { shadowOf, type CapturedState } from './capture';
import { lines, runGit, streamGit, type GitOptions } from './git';
import { inRepository } from './inRepository';
import { findCommon, type Ask, type History } from './negotiation';
import type { ObjectId } from './repository';
import { inShadow, type Shadow } from './shadow';

/** Most commits that a destination names or is taken at its word for. */
const HAVES_LIMIT = 4096;
/** Most commits that are looked at to find out what a destination has; older ones travel with what stands on them. */
const HISTORY_LIMIT = 1 << 20;

/** What a destination says that it has of a repository. */
export interface Held {
  /** What it named by itself (`listTips`). */
  readonly haves: readonly ObjectId[];
  /** Whether it is a partial clone, which lacks some of what its commits name. */
  readonly partial: boolean;
  /** Its shallow boundary, if it is shallow (`readRepository(…).shallow`). */
  readonly shallow: readonly ObjectId[];
}

/**
 * Agrees with a destination on what it has of a captured state's history: those of the commits that it named that are known
 * here and, where they do not lead to all of that history, what it answers when asked (negotiation.ts).
 *
 * @param ask answered at the destination by {@link reachableAmong}; at most four questions
 * @returns commits that the destination has with their history, the ones that it named first. For `createBundle` and `estimateTransfer`
 */
export async function agreeOnHaves(capture: CapturedState, there: Held, ask: Ask, signal?: AbortSignal): Promise<ObjectId[]> {
  const shadow = shadowOf(capture);
  await cutHistory(shadow, there.shallow, signal);
  const named = await knownHaves(shadow, there.haves, signal);
  const history = await readHistory(shadow, capture, named, signal);
  return history.commits.length === 0 ? named : [...named, ...(await findCommon(history, ask))].slice(0, HAVES_LIMIT);
}

/** Of the commits that would travel those that were there before the capture: HEAD's history, and what the operation in progress names. */
async function readHistory(shadow: Shadow, capture: CapturedState, named: readonly ObjectId[], signal?: AbortSignal): Promise<History> {
  const own = new Set<ObjectId>(Object.values(capture.commits));
  const listed = lines(streamGit(['rev-list', '--date-order', '--parents', `--max-count=${HISTORY_LIMIT}`, '--stdin'], { ...inShadow(shadow, { signal }), input: revisions([capture.commits.manifest], named) }));
  const commits: ObjectId[] = [];
  const positions = new Map<ObjectId, number>();
  // As they come, parents have not been seen yet: their names are kept until all have a position. Nearly all have one parent.
  const parents: ObjectId[] = [];
  const merged = new Map<number, ObjectId[]>();
  for await (const line of listed) {
    const [commit = '', parent = '', ...others] = line.split(' ');
    if (own.has(commit)) continue;
    positions.set(commit, commits.length);
    if (others.length > 0) merged.set(commits.length, others);
    commits.push(commit);
    parents.push(parent);
  }
  const first = Int32Array.from(parents, (parent) => positions.get(parent) ?? -1);
  const others = new Map([...merged].map(([position, names]) => [position, names.map((name) => positions.get(name) ?? -1)]));
  return { commits, parentsOf: (position) => [first[position] ?? -1, ...(others.get(position) ?? [])].filter((parent) => parent >= 0) };
}

/**
 * Answers a question of {@link agreeOnHaves}: those of some commits that lead from a ref or a worktree's HEAD of this
 * repository, and so are here with all their history. That an object is there says little: what no ref leads to may lack
 * its ancestors, and the next `git gc` may remove it.
 */
export async function reachableAmong(root: string, commits: readonly ObjectId[], signal?: AbortSignal): Promise<ObjectId[]> {
  const options = inRepository(root, signal);
  const sought = new Set(await commitsAmong(commits, options));
  const found: ObjectId[] = [];
  if (sought.size === 0) return found;
  for await (const commit of lines(streamGit(['rev-list', '--all'], options))) {
    if (!sought.delete(commit)) continue;
    found.push(commit);
    if (sought.size === 0) break;
  }
  return found;
}

/** Those of the offered commits that exist in the shadow's repository, in the order offered. */
export async function knownHaves(shadow: Shadow, haves: readonly ObjectId[], signal?: AbortSignal): Promise<ObjectId[]> {
  return commitsAmong(haves.slice(0, HAVES_LIMIT), inShadow(shadow, { signal }));
}

/** Those of some names from elsewhere that are names of commits here, in their order. */
export async function commitsAmong(names: readonly ObjectId[], options: GitOptions): Promise<ObjectId[]> {
  const asked = [...new Set(names)].filter((oid) => /^([0-9a-f]{40}|[0-9a-f]{64})$/.test(oid));
  if (asked.length === 0) return [];
  const { stdout } = await runGit(['cat-file', '--batch-check=%(objecttype)'], { ...options, input: asked.map((oid) => `${oid}\n`).join('') });
  const types = stdout.toString('latin1').split('\n');
  return asked.filter((_oid, position) => types[position] === 'commit');
}

/** Makes the shadow's walks end where the destination's history ends, so that nothing behind it counts as present there. Idempotent. */
async function cutHistory(shadow: Shadow, shallow: readonly ObjectId[], signal?: AbortSignal): Promise<void> {
  if (shallow.length === 0) return;
  const file = path.join(shadow.gitDir, 'shallow');
  const cut = new Set((await readFile(file, 'latin1').catch(() => '')).split('\n'));
  const known = await commitsAmong(shallow.filter((oid) => !cut.has(oid)), inShadow(shadow, { signal }));
  if (known.length > 0) await writeFile(file, known.map((oid) => `${oid}\n`).join(''), { flag: 'a' });
}

/** Revision arguments for `--stdin`. */
export function revisions(wanted: readonly ObjectId[], not: readonly ObjectId[]): string {
  return [...wanted, ...not.map((oid) => `^${oid}`)].map((line) => `${line}\n`).join('');
}
