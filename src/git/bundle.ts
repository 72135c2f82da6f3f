import type { CapturedState } from './capture';
import type { ObjectId } from './repository';

export interface BundleOptions {
  readonly capture: CapturedState;
  /** What the destination offered (`listTips`). Those unknown here are passed over. */
  readonly haves: readonly ObjectId[];
  /** The destination's shallow boundary, if it is shallow. */
  readonly destinationShallow?: readonly ObjectId[];
  /** Must not exist. */
  readonly file: string;
  readonly signal?: AbortSignal;
  readonly onProgress?: (bytes: number) => void;
}

export interface CreatedBundle {
  readonly bytes: number;
  /** Of the whole file, hex. */
  readonly sha256: string;
  /** Commits of HEAD's history that travel. */
  readonly commits: number;
  readonly prerequisites: readonly ObjectId[];
}

export declare function listTips(root: string, limit?: number): Promise<ObjectId[]>;
export declare function createBundle(options: BundleOptions): Promise<CreatedBundle>;
