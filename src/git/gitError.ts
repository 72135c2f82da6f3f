/** Why a Git step could not be done. Stable words: callers branch on them. */
export type GitErrorReason =
  | 'git-not-found' | 'git-too-old' | 'not-a-repository' | 'unsupported-state'
  | 'changed-while-capturing'
  | 'corrupt-bundle' | 'missing-objects' | 'hostile-content' | 'too-large'
  | 'worktree-diverged' | 'worktree-exists' | 'not-managed'
  | 'apply-refused' | 'apply-outdated' | 'nothing-to-undo' | 'index-locked'
  | 'disk-full' | 'cancelled' | 'failed';

/** An error of Git or of what Baton does with it: `reason` for callers, message for people. */
export class GitError extends Error {
  override readonly name = 'GitError';
  constructor(
    readonly reason: GitErrorReason,
    message: string,
    /** `filesAsBefore`: whoever was to change files has changed none, or has put all of them back. */
    readonly details: { readonly exitCode?: number; readonly stderr?: string; readonly cause?: unknown; readonly filesAsBefore?: boolean } = {},
  ) {
    super(message, { cause: details.cause });
  }
  static is(error: unknown, reason?: GitErrorReason): error is GitError {
    return error instanceof GitError && (reason === undefined || error.reason === reason);
  }
}

/** Messages of git under `LC_ALL=C`, first match wins. Collected from git 2.34 to 2.55. */
const stderrPatterns: readonly (readonly [RegExp, GitErrorReason])[] = [
  // Where a checkout cannot write what it has already opened, git loses the errno; it is hardly ever another than ENOSPC or EDQUOT.
  [/No space left on device|Out of diskspace|Disk quota exceeded|not enough space|unable to write file/i, 'disk-full'],
  [/attempting to allocate .* over limit|Out of memory|pack exceeds maximum allowed size/i, 'too-large'],
  [/unknown repository extensions? found|Expected git repo version/i, 'git-too-old'],
  [/not a git repository|invalid gitfile format|detected dubious ownership/i, 'not-a-repository'],
  [/fsck error|error in object|contains .*(\.git|'\.\.'|'\.'|full pathnames)|duplicateEntries|treeNotSorted|Invalid path/i, 'hostile-content'],
  [/unresolved deltas|missing (blob|tree|commit)|Missing (blob|tree|commit)|bad object|unable to read|could not (parse|read)|missing necessary objects|not our ref|did not receive expected object|Not a valid object name|broken link/i, 'missing-objects'],
  [/pack has bad object|pack signature mismatch|pack is corrupted|SHA1 mismatch|early EOF|pack has junk|inflate|pack version|premature end of pack|index-pack died|bad pack/i, 'corrupt-bundle'],
];

/** The reason that git's standard error (under `LC_ALL=C`) speaks of; `failed` where it is none that a caller acts on. */
export function reasonFromStderr(stderr: string): GitErrorReason {
  return stderrPatterns.find(([pattern]) => pattern.test(stderr))?.[1] ?? 'failed';
}
