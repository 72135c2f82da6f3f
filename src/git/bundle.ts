import { createHash } from 'node:crypto';
import { open, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { formatBundleHeader } from './bundleHeader';
import type { CapturedState } from './capture';
import { countCommits } from './estimate';
import { gitText, streamGit } from './git';
import { GitError } from './gitError';
import { knownHaves, revisions } from './haves';
import type { ObjectId } from './repository';
import { inShadow, type Shadow } from './shadow';
import { travellingBoundary } from './shallow';

export interface BundleOptions {
  readonly capture: CapturedState;
  /** What the destination offered (`listTips`). Those unknown here are passed over. */
  readonly haves: readonly ObjectId[];
  /** The destination's shallow boundary, if it is shallow (`readRepository(…).shallow`). */
  readonly destinationShallow?: readonly ObjectId[];
  /** Must not exist. */
  readonly file: string;
  readonly signal?: AbortSignal | undefined;
  /** Bytes written so far. */
  readonly onProgress?: (bytes: number) => void;
}

export interface CreatedBundle {
  readonly bytes: number;
  /** Of the whole file, hex. */
  readonly sha256: string;
  /** Commits of HEAD's history that travel. */
  readonly commits: number;
  readonly prerequisites: readonly ObjectId[];
  /** Commits in it whose parents this repository, being shallow, has not. */
  readonly shallow: readonly ObjectId[];
}

/** Besides the boundary, the header asks for this many of what was offered: Baton's own commits, which come first. */
const OFFERED_PREREQUISITES = 32;

/**
 * Commits that this repository has with all their history, for the other side to build on: Baton's own first, since they
 * hold the last state that travelled, then HEADs of all worktrees, then the other refs, the youngest first.
 *
 * @param limit most commits to name; further ones hardly ever help
 */
export async function listTips(root: string, limit = 512): Promise<ObjectId[]> {
  const format = '--format=%(objecttype) %(objectname) %(*objecttype) %(*objectname)';
  const options = { cwd: root };
  const tips: ObjectId[] = [];
  const collect = (text: string) => {
    for (const line of text.split('\n')) {
      const match = /(?:^| )commit ([0-9a-f]{40,64})(?: |$)/.exec(line);
      if (match?.[1] !== undefined) tips.push(match[1]);
    }
  };
  const count = `--count=${limit}`;
  const [own, worktrees, refs] = await Promise.all([
    gitText(['for-each-ref', '--sort=-creatordate', count, format, 'refs/baton/'], options),
    gitText(['worktree', 'list', '--porcelain'], options),
    gitText(['for-each-ref', '--sort=-creatordate', count, format, 'refs/heads', 'refs/remotes', 'refs/tags'], options),
  ]);
  collect(own);
  for (const match of worktrees.matchAll(/^HEAD ([0-9a-f]{40,64})$/gm)) if (!/^0+$/.test(match[1] ?? '0')) tips.push(match[1] ?? '');
  collect(refs);
  return [...new Set(tips)].slice(0, limit);
}

/**
 * Writes what the destination lacks of a captured state as a Git bundle: a thin pack behind a header that any git reads.
 * The file has mode 0600, is complete on disk when this returns, and is removed when it fails.
 *
 * @throws {GitError} `missing-objects` where a partial clone lacks what should travel, `disk-full`, `cancelled`
 */
export async function createBundle(options: BundleOptions): Promise<CreatedBundle> {
  const { capture, signal } = options;
  const shadow: Shadow = { gitDir: capture.shadow, worktree: capture.root, objectFormat: capture.objectFormat };
  const tip = capture.commits.manifest;
  if ((options.destinationShallow ?? []).length > 0) await addShallow(shadow, options.destinationShallow ?? []);
  const known = await knownHaves(shadow, options.haves, signal);
  const prerequisites = known.length === 0 ? [] : [...new Set([...known.slice(0, OFFERED_PREREQUISITES), ...(await boundary(shadow, tip, known, signal))])].filter((oid) => oid !== tip);

  const handle = await open(options.file, 'wx', 0o600).catch((error: unknown) => {
    throw asGitError(error, options.file);
  });
  try {
    const hash = createHash('sha256');
    let bytes = 0;
    const put = async (chunk: Buffer) => {
      hash.update(chunk);
      await handle.writeFile(chunk);
      bytes += chunk.length;
      options.onProgress?.(bytes);
    };
    await put(formatBundleHeader({ objectFormat: capture.objectFormat, prerequisites, tip }));
    // With a bitmap git answers from whole packs and makes no thin deltas: nine times the bytes where there is a common commit.
    const bitmaps = prerequisites.length > 0 ? 'pack.useBitmaps=false' : 'pack.useBitmaps=true';
    const pack = streamGit(['-c', bitmaps, 'pack-objects', '--revs', '--thin', '--stdout', '--delta-base-offset', '-q'], { ...inShadow(shadow, { signal }), input: revisions([tip], prerequisites) });
    for await (const chunk of pack) await put(chunk);
    await handle.sync();
    await handle.close();
    const shallow = await travellingBoundary(shadow, tip, prerequisites, signal);
    return { bytes, sha256: hash.digest('hex'), commits: await countCommits(shadow, capture.head, prerequisites, signal), prerequisites, shallow };
  } catch (error) {
    await handle.close();
    await rm(options.file, { force: true });
    throw asGitError(error, options.file);
  }
}

/** Commits at the edge of what travels: the destination has them, and something that travels stands on them. */
async function boundary(shadow: Shadow, tip: ObjectId, haves: readonly ObjectId[], signal?: AbortSignal): Promise<ObjectId[]> {
  const text = await gitText(['rev-list', '--boundary', '--stdin'], { ...inShadow(shadow, { signal }), input: revisions([tip], haves) });
  return text.split('\n').filter((line) => line.startsWith('-')).map((line) => line.slice(1));
}

/** Makes the shadow's walks end where the destination's history ends, so that nothing behind it counts as present there. */
async function addShallow(shadow: Shadow, shallow: readonly ObjectId[]): Promise<void> {
  const known = await knownHaves(shadow, shallow);
  await writeFile(path.join(shadow.gitDir, 'shallow'), known.map((oid) => `${oid}\n`).join(''), { flag: 'a' });
}

function asGitError(error: unknown, file: string): unknown {
  if (GitError.is(error)) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT') return new GitError('disk-full', `The disk is full: ${file} could not be written. Make room and try again.`, { cause: error });
  return code === undefined ? error : new GitError('failed', `${file} could not be written: ${message}`, { cause: error });
}
