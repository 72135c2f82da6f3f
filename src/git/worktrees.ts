import type { ObjectId } from './repository';

export interface ManagedWorktreeState {
  readonly id: string;
  readonly path: string;
  /** Short name; null when detached. */
  readonly branch: string | null;
  readonly head: ObjectId | null;
  readonly dirty: boolean;
}

/** Managed worktrees lie at `<base>/<id>/<repository directory name>`. */
export declare function listManagedWorktrees(base: string): Promise<ManagedWorktreeState[]>;
export declare function removeManagedWorktree(options: { base: string; path: string }): Promise<void>;
