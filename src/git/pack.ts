import { MOST_PREREQUISITES } from './bundleHeader';
import { gitText, lines, streamGit, type GitOptions } from './git';
import { knownHaves, revisions } from './haves';
import type { PackGaps } from './partialClone';
import type { ObjectId } from './repository';
import { inShadow, type Shadow } from './shadow';

/** Besides the edge of what travels, a pack stands on this many of what was offered: Baton's own commits, which come first. */
const OFFERED_PREREQUISITES = 32;

/**
 * What the pack of a tip stands on: the first of the commits that the destination has, and those at the edge of what travels,
 * which it has too and on which something that travels stands. A history into which thousands of others were merged has more
 * of these than a bundle's header may name; then what only the oldest lead to travels too.
 */
export async function prerequisitesOf(shadow: Shadow, tip: ObjectId, haves: readonly ObjectId[], signal?: AbortSignal): Promise<ObjectId[]> {
  const known = await knownHaves(shadow, haves, signal);
  if (known.length === 0) return [];
  const edge: ObjectId[] = [];
  const listed = lines(streamGit(['rev-list', '--boundary', '--stdin'], { ...inShadow(shadow, { signal }), input: revisions([tip], known) }));
  for await (const line of listed) if (line.startsWith('-')) edge.push(line.slice(1));
  return [...new Set([...known.slice(0, OFFERED_PREREQUISITES), ...edge])].filter((oid) => oid !== tip).slice(0, MOST_PREREQUISITES);
}

/**
 * A thin pack of all that a tip leads to and its prerequisites do not.
 *
 * @param gaps where one side is a partial clone (`fillGaps`): what is missing here is passed over
 */
export function packOf(shadow: Shadow, tip: ObjectId, prerequisites: readonly ObjectId[], gaps: PackGaps | null, signal?: AbortSignal): AsyncGenerator<Buffer, void, undefined> {
  if (gaps?.thin === false) {
    const options = inShadow(shadow, { signal });
    const objects = (async function* () {
      yield* streamGit(['rev-list', '--objects', '--missing=allow-any', '--stdin'], { ...options, input: revisions([tip], prerequisites) });
      yield Buffer.from(revisions(gaps.extra, []));
    })();
    return streamGit(['-c', 'pack.useBitmaps=false', 'pack-objects', '--stdout', '--delta-base-offset', '-q'], { ...options, input: objects });
  }
  // With a bitmap git answers from whole packs and makes no thin deltas: nine times the bytes where there is a common commit.
  const bitmaps = prerequisites.length > 0 ? 'pack.useBitmaps=false' : 'pack.useBitmaps=true';
  const options: GitOptions = { ...inShadow(shadow, { signal }), input: revisions([tip], prerequisites) };
  return streamGit(['-c', bitmaps, 'pack-objects', '--revs', '--thin', '--stdout', '--delta-base-offset', '-q', ...(gaps === null ? [] : ['--missing=allow-any'])], options);
}

/** Commits of HEAD's history that none of the prerequisites leads to. */
export async function countCommits(shadow: Shadow, head: ObjectId | null, prerequisites: readonly ObjectId[], signal?: AbortSignal): Promise<number> {
  if (head === null) return 0;
  return Number(await gitText(['rev-list', '--count', '--stdin'], { ...inShadow(shadow, { signal }), input: revisions([head], prerequisites) }));
}
