import type { CapturedState } from './capture';
import { gitText, nulRecords, streamGit } from './git';
import { knownHaves, revisions } from './haves';
import type { ObjectId } from './repository';
import { inShadow } from './shadow';
import { sideBySide } from './sideBySide';

export interface TransferEstimate {
  /** Commits of HEAD's history that the destination lacks. */
  readonly commits: number;
  readonly files: number;
  /** On-disk size of the objects that it lacks: an upper bound of the bundle, near it unless deltas save much. */
  readonly bytes: number;
  /** Bytes of all files of the working tree that is to be restored. */
  readonly worktreeBytes: number;
}

/** What a bundle of a capture would hold, without making it. */
export async function estimateTransfer(options: { readonly capture: CapturedState; readonly haves: readonly ObjectId[]; readonly signal?: AbortSignal | undefined }): Promise<TransferEstimate> {
  const { capture, signal } = options;
  const shadow = { gitDir: capture.shadow, worktree: capture.root, objectFormat: capture.objectFormat };
  const known = await knownHaves(shadow, options.haves, signal);
  const [bytes, commits, worktreeBytes] = await sideBySide(
    gitText(['rev-list', '--objects', '--disk-usage', '--stdin'], { ...inShadow(shadow, { signal }), input: revisions([capture.commits.manifest], known) }),
    countCommits(shadow, capture.head, known, signal),
    treeBytes(shadow, capture.commits.worktree, signal),
  );
  return { commits, files: capture.files, bytes: Number(bytes), worktreeBytes };
}

/** Sum of the sizes of the files below a commit's tree. */
async function treeBytes(shadow: Parameters<typeof countCommits>[0], commit: ObjectId, signal?: AbortSignal): Promise<number> {
  let sum = 0;
  // `<mode> <type> <oid> <size, padded>\t<path>`; submodules have `-` for a size.
  for await (const record of nulRecords(streamGit(['ls-tree', '-r', '-l', '-z', '--full-tree', commit], inShadow(shadow, { signal })))) {
    const size = /^\d+ \w+ [0-9a-f]+ +(\d+)\t/.exec(record.subarray(0, 160).toString('latin1'))?.[1];
    sum += Number(size ?? 0);
  }
  return sum;
}

/** Commits of HEAD's history that none of `haves` leads to. */
export async function countCommits(shadow: { gitDir: string; worktree: string; objectFormat: CapturedState['objectFormat'] }, head: ObjectId | null, haves: readonly ObjectId[], signal?: AbortSignal): Promise<number> {
  if (head === null) return 0;
  return Number(await gitText(['rev-list', '--count', '--stdin'], { ...inShadow(shadow, { signal }), input: revisions([head], haves) }));
}
