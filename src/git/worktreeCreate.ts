import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { gitText, quoteForPeople, runGit } from './git';
import { GitError } from './gitError';
import { readRepository } from './repository';
import { pointerOf, removeEntry } from './worktreeEntry';

/**
 * Makes a worktree for somebody who asked for it, as `git worktree add` does, without hooks: on `branch`, which is made where it
 * does not exist (from a remote's of that name, else from the checkout's HEAD), or at the checkout's HEAD, detached.
 *
 * @returns its entry in the repository
 * @throws {GitError} `worktree-exists`, `unsupported-state` for no branch name or no commit; nothing is left then
 */
export async function createWorktree(options: { readonly root: string; readonly path: string; readonly branch: string | null }): Promise<string> {
  const { root, branch } = options;
  const repository = await readRepository(root);
  if (repository.head === null) throw new GitError('unsupported-state', `${root} has no commit yet, so no worktree can be made of it. Commit something first.`);
  const args = branch === null ? ['--detach', options.path, repository.head] : await branchArguments(root, branch, options.path);
  await mkdir(path.dirname(options.path), { recursive: true, mode: 0o700 });
  try {
    await runGit(['worktree', 'add', '--quiet', ...args], { cwd: root });
    const entry = await pointerOf(options.path);
    if (entry === null) throw new GitError('failed', `git made no worktree at ${options.path}.`);
    return entry;
  } catch (error) {
    const entry = await pointerOf(options.path);
    if (entry !== null) await removeEntry(entry, [options.path]);
    await rm(path.dirname(options.path), { recursive: true, force: true });
    throw error;
  }
}

async function branchArguments(root: string, branch: string, worktree: string): Promise<string[]> {
  const options = { cwd: root, answers: [1, 128] };
  if ((await gitText(['check-ref-format', '--branch', branch], options)) !== branch) throw new GitError('unsupported-state', `${quoteForPeople(branch)} is not the name of a branch.`);
  const has = async (ref: string) => (await gitText(['rev-parse', '-q', '--verify', `${ref}^{commit}`], options)) !== '';
  if (await has(`refs/heads/${branch}`)) return [worktree, branch];
  const remotes = (await gitText(['for-each-ref', '--format=%(refname)', `refs/remotes/*/${branch}`], { cwd: root })).split('\n').filter((name) => name !== '');
  return remotes.length === 1 && remotes[0] !== undefined ? ['--track', '-b', branch, worktree, remotes[0]] : ['--no-track', '-b', branch, worktree, 'HEAD'];
}
