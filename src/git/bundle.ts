import { createHash } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import { formatBundleHeader } from './bundleHeader';
import { shadowOf, type CapturedState } from './capture';
import { gitText } from './git';
import { GitError } from './gitError';
import { inRepository } from './inRepository';
import { countCommits, packOf, prerequisitesOf } from './pack';
import { fillGaps, type Gaps } from './partialClone';
import type { ObjectId } from './repository';
import { travellingBoundary } from './shallow';

export interface BundleOptions {
  readonly capture: CapturedState;
  /** What the destination has (`agreeOnHaves`). Commits unknown here are passed over. */
  readonly haves: readonly ObjectId[];
  /** The destination's gaps, if it may have any; see partialClone.ts. */
  readonly gaps?: Gaps | undefined;
  /** Must not exist. */
  readonly file: string;
  /** What is left of a bundle of the same tip, made for the same destination. It is taken where it would be made of the same again. */
  readonly earlier?: EarlierBundle | null;
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
  /** Tip, prerequisites and boundary say all that it was made from: neither side had gaps. */
  readonly repeatable: boolean;
}

export interface EarlierBundle {
  readonly made: CreatedBundle;
  /** Moves the file. */
  readonly take: (to: string) => Promise<void>;
}

/**
 * Commits that this repository has with all their history, for the other side to build on: Baton's own first, since they
 * hold the last state that travelled, then HEADs of all worktrees, then the other refs, the youngest first.
 *
 * @param limit most commits to name; further ones hardly ever help
 */
export async function listTips(root: string, limit = 512): Promise<ObjectId[]> {
  const format = '--format=%(objecttype) %(objectname) %(*objecttype) %(*objectname)';
  const options = inRepository(root);
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
  const { capture, earlier, signal } = options;
  const shadow = shadowOf(capture);
  const tip = capture.commits.manifest;
  const prerequisites = await prerequisitesOf(shadow, tip, options.haves, signal);
  const gaps = options.gaps === undefined ? null : await fillGaps(capture, prerequisites, options.gaps, signal);
  if (earlier != null && gaps === null && same(earlier.made.prerequisites, prerequisites) && same(earlier.made.shallow, await travellingBoundary(shadow, tip, prerequisites, signal))) {
    await earlier.take(options.file);
    return earlier.made;
  }

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
    for await (const chunk of packOf(shadow, tip, prerequisites, gaps, signal)) await put(chunk);
    await handle.sync();
    await handle.close();
    const shallow = await travellingBoundary(shadow, tip, prerequisites, signal);
    return { bytes, sha256: hash.digest('hex'), commits: await countCommits(shadow, capture.head, prerequisites, signal), prerequisites, shallow, repeatable: gaps === null };
  } catch (error) {
    await handle.close();
    await rm(options.file, { force: true });
    throw asGitError(error, options.file);
  }
}

function same(some: readonly ObjectId[], others: readonly ObjectId[]): boolean {
  return JSON.stringify(some) === JSON.stringify(others);
}

function asGitError(error: unknown, file: string): unknown {
  if (GitError.is(error)) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT') return new GitError('disk-full', `The disk is full: ${file} could not be written. Make room and try again.`, { cause: error });
  return code === undefined ? error : new GitError('failed', `${file} could not be written: ${message}`, { cause: error });
}
