import type { QuarantinedState } from './quarantine';
import type { ObjectId } from './repository';

export interface RestoreOptions {
  /** The destination's checkout of the repository (its user's own; it is left alone). */
  readonly root: string;
  readonly quarantine: QuarantinedState;
  /** Absolute path of the managed worktree; must not exist unless `existing`. */
  readonly worktree: string;
  readonly threadId: string;
  /** Full or short name of the branch that the thread was on; null when detached. */
  readonly carriedBranch: string | null;
  /** The thread's worktree of an earlier stay is used again. */
  readonly existing?: { readonly expectedFingerprint: string };
  readonly signal?: AbortSignal;
}

export interface RestoredState {
  readonly head: ObjectId | null;
  /** Short name; null when detached. */
  readonly branch: string | null;
  /** Computed by capturing what is really there: the receipt. */
  readonly fingerprint: string;
  readonly notes: readonly string[];
}

export declare function restoreWorkingState(options: RestoreOptions): Promise<RestoredState>;
/** Puts back what was before `restoreWorkingState`, also after a crash in the middle of it. Idempotent. */
export declare function rollbackRestore(options: { root: string; quarantineDirectory: string }): Promise<void>;
/** Lets go of what a rollback would need, once the handoff is final. Idempotent. */
export declare function finishRestore(options: { root: string; quarantineDirectory: string }): Promise<void>;
