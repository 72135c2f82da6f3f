import type { GitFinding } from './finding';
import type { ObjectFormat, ObjectId, Operation } from './repository';

export interface CaptureOptions {
  /** Top level of the worktree. */
  readonly root: string;
  /** Directory of Baton's own that holds the capture; made when missing. It is the caller's to remove. */
  readonly spool: string;
  readonly signal?: AbortSignal;
}

/** A working state as Git objects in the spool. Plain data: it can be journalled and read again. */
export interface CapturedState {
  readonly root: string;
  /** The shadow Git directory in the spool: the new objects, with the repository's own as alternate. */
  readonly shadow: string;
  readonly objectFormat: ObjectFormat;
  readonly head: ObjectId | null;
  /** Full name; null when detached. */
  readonly branch: string | null;
  /** `HEAD ← index ← worktree ← manifest`; the manifest is the tip. */
  readonly commits: { readonly index: ObjectId; readonly worktree: ObjectId; readonly manifest: ObjectId };
  /** SHA-256, hex, of a description that is the same on every host; branch names are no part of it. */
  readonly fingerprint: string;
  /** Paths that differ from HEAD in the index or the working tree, untracked ones included. */
  readonly files: number;
  readonly operation: Operation | null;
  readonly findings: readonly GitFinding[];
}

export declare function captureWorkingState(options: CaptureOptions): Promise<CapturedState>;
