import type { CapturedState } from './capture';
import { gitText } from './git';
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
  const [bytes, commits] = await sideBySide(
    gitText(['rev-list', '--objects', '--disk-usage', '--stdin'], { ...inShadow(shadow, { signal }), input: revisions([capture.commits.manifest], known) }),
    countCommits(shadow, capture.head, known, signal),
  );
  return { commits, files: capture.files, bytes: Number(bytes), worktreeBytes: capture.worktreeBytes };
}

/** Commits of HEAD's history that none of `haves` leads to. */
export async function countCommits(shadow: { gitDir: string; worktree: string; objectFormat: CapturedState['objectFormat'] }, head: ObjectId | null, haves: readonly ObjectId[], signal?: AbortSignal): Promise<number> {
  if (head === null) return 0;
  return Number(await gitText(['rev-list', '--count', '--stdin'], { ...inShadow(shadow, { signal }), input: revisions([head], haves) }));
}
