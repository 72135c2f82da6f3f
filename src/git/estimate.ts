import type { CapturedState } from './capture';
import type { ObjectId } from './repository';

export interface TransferEstimate {
  /** Commits of HEAD's history that the destination lacks. */
  readonly commits: number;
  readonly files: number;
  /** On-disk size of the objects that it lacks: within a few per cent of the bundle, and above it. */
  readonly bytes: number;
}

export declare function estimateTransfer(options: { capture: CapturedState; haves: readonly ObjectId[]; signal?: AbortSignal }): Promise<TransferEstimate>;
