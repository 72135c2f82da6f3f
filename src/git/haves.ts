import { runGit } from './git';
import type { ObjectId } from './repository';
import { inShadow, type Shadow } from './shadow';

/** Those of the offered commits that exist in the shadow's repository, in the order offered. */
export async function knownHaves(shadow: Shadow, haves: readonly ObjectId[], signal?: AbortSignal): Promise<ObjectId[]> {
  const asked = [...new Set(haves)].filter((oid) => /^([0-9a-f]{40}|[0-9a-f]{64})$/.test(oid)).slice(0, 4096);
  if (asked.length === 0) return [];
  const { stdout } = await runGit(['cat-file', '--batch-check=%(objecttype)'], { ...inShadow(shadow, { signal }), input: asked.map((oid) => `${oid}\n`).join('') });
  const types = stdout.toString('latin1').split('\n');
  return asked.filter((_oid, position) => types[position] === 'commit');
}

/** Revision arguments for `--stdin`. */
export function revisions(wanted: readonly ObjectId[], not: readonly ObjectId[]): string {
  return [...wanted, ...not.map((oid) => `^${oid}`)].map((line) => `${line}\n`).join('');
}
