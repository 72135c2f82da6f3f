import type { ObjectId } from './repository';

export interface QuarantineLimits {
  readonly objects: number;
  readonly objectBytes: number;
  readonly paths: number;
  readonly manifestBytes: number;
  readonly allocationBytes: number;
}

export interface ReceiveOptions {
  /** A worktree of the destination's repository. */
  readonly root: string;
  readonly file: string;
  readonly sha256: string;
  readonly bytes: number;
  /** The tip that the source announced: the manifest commit. */
  readonly tip: ObjectId;
  /** Directory that must not exist; removed again when the bundle is refused. */
  readonly quarantine: string;
  readonly limits?: Partial<QuarantineLimits>;
  readonly signal?: AbortSignal;
}

/** A checked bundle whose objects are not yet part of the repository. Plain data. */
export interface QuarantinedState {
  readonly root: string;
  readonly directory: string;
  readonly head: ObjectId | null;
  readonly branch: string | null;
  readonly commits: { readonly index: ObjectId; readonly worktree: ObjectId; readonly manifest: ObjectId };
  /** What a faithful restore will have; compare the receipt with the source's statement, not with this. */
  readonly fingerprint: string;
}

export declare function receiveBundle(options: ReceiveOptions): Promise<QuarantinedState>;
