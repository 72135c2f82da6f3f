/** Hexadecimal object name, 40 digits (sha1) or 64 (sha256). */
export type ObjectId = string;
export type ObjectFormat = 'sha1' | 'sha256';
export type Operation = 'merge' | 'rebase' | 'cherry-pick' | 'revert' | 'am' | 'bisect';

export interface Repository {
  /** Top level of the worktree, absolute, with symbolic links resolved. */
  readonly root: string;
  /** From the root to the directory that was asked about, with `/`; empty at the root. */
  readonly subdirectory: string;
  /** Of this worktree: `.git`, or `.git/worktrees/<name>` for a linked one. */
  readonly gitDir: string;
  readonly commonDir: string;
  readonly objectFormat: ObjectFormat;
  readonly head: ObjectId | null;
  /** Full name (`refs/heads/main`); null when detached. Set also when the branch is unborn. */
  readonly branch: string | null;
  readonly operation: Operation | null;
  readonly shallow: readonly ObjectId[];
  readonly partial: boolean;
}

export interface RepositoryIdentity {
  readonly objectFormat: ObjectFormat;
  /** At most 64, sorted. */
  readonly rootCommits: ObjectId[];
  /** `host/path`, at most 64, sorted. */
  readonly remotes: string[];
}

export declare function readRepository(directory: string, signal?: AbortSignal): Promise<Repository>;
export declare function readRepositoryIdentity(root: string): Promise<RepositoryIdentity>;
export declare function sameRepository(a: RepositoryIdentity, b: RepositoryIdentity): boolean;
