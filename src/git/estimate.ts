import { fillGaps, type Gaps } from './partialClone';
import { formatBundleHeader } from './bundleHeader';
import { shadowOf, type CapturedState } from './capture';
import { gitText } from './git';
import { revisions } from './haves';
import { listLfsObjects, type LfsSource } from './lfsTransfer';
import { countCommits, packOf, prerequisitesOf } from './pack';
import type { ObjectId } from './repository';
import { inShadow } from './shadow';
import { sideBySide } from './sideBySide';

export interface TransferEstimate {
  /** Commits of HEAD's history that the destination lacks. */
  readonly commits: number;
  readonly files: number;
  /** Length of the bundle; from {@link COUNTED_BYTES} on an upper bound of it. */
  readonly bytes: number;
  /** Bytes of all files of the working tree that is to be restored. */
  readonly worktreeBytes: number;
  /** Git LFS objects that go beside the bundle, unless the destination has them. */
  readonly lfs: readonly LfsSource[];
}

/** Up to this size, as the objects lie on disk, a pack is made just to count it. Larger ones consist of new content rather than deltas, so that their objects' sizes say as much. */
const COUNTED_BYTES = 8 * 1024 * 1024;

/** What a bundle of a capture would hold, without keeping it. `haves` are what the destination has (`agreeOnHaves`). */
export async function estimateTransfer(options: { readonly capture: CapturedState; readonly haves: readonly ObjectId[]; readonly gaps?: Gaps | undefined; readonly signal?: AbortSignal | undefined }): Promise<TransferEstimate> {
  const { capture, signal } = options;
  const shadow = shadowOf(capture);
  const tip = capture.commits.manifest;
  const prerequisites = await prerequisitesOf(shadow, tip, options.haves, signal);
  const gaps = options.gaps === undefined ? null : await fillGaps(capture, prerequisites, options.gaps, signal);
  const [onDisk, commits, lfs] = await sideBySide(
    gitText(['rev-list', '--objects', '--disk-usage', ...(gaps === null ? [] : ['--missing=allow-any']), '--stdin'], { ...inShadow(shadow, { signal }), input: revisions([tip], prerequisites) }).then(Number),
    countCommits(shadow, capture.head, prerequisites, signal),
    listLfsObjects({ capture, prerequisites, signal }),
  );
  let bytes = onDisk;
  if (onDisk <= COUNTED_BYTES) {
    bytes = formatBundleHeader({ objectFormat: capture.objectFormat, prerequisites, tip }).length;
    for await (const chunk of packOf(shadow, tip, prerequisites, gaps, signal)) bytes += chunk.length;
  }
  return { commits, files: capture.files, bytes, worktreeBytes: capture.worktreeBytes, lfs };
}
