import { existsSync } from 'node:fs';
import path from 'node:path';
import type { GitOptions } from './git';

/** Whether a directory is a Git directory itself, rather than a worktree that has one. */
export function isGitDirectory(directory: string): boolean {
  return !existsSync(path.join(directory, '.git')) && ['HEAD', 'objects', 'refs'].every((name) => existsSync(path.join(directory, name)));
}

/**
 * Options for running git in a repository that is named by one of its worktrees or, as those of submodules are, by its Git
 * directory. There `core.worktree` names the user's own checkout of the submodule: it is none of our business, and git
 * refuses every command while that directory is missing.
 */
export function inRepository(root: string, signal?: AbortSignal): GitOptions & { env: Record<string, string> } {
  return { cwd: root, signal, env: isGitDirectory(root) ? { GIT_DIR: root, GIT_WORK_TREE: root } : {} };
}
