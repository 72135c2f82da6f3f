/** The closest that git's own commands come to a working state that goes on elsewhere: a stash, pushed and applied with its index. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { LoopbackSsh } from './loopbackSsh';
import { timed } from './statistics';

const execute = promisify(execFile);

/**
 * `stash -u`, `push` over ssh, `worktree add`, `stash apply --index`. Conflicts, flags and operations do not survive it. The
 * checkout gets its state back, which is not counted.
 *
 * @param ssh or why there is none; then the push goes to a path on this disk
 * @returns milliseconds
 */
export async function stashByHand(ssh: LoopbackSsh | string, checkout: string, clone: string, worktree: string): Promise<number> {
  const env = {
    PATH: process.env['PATH'], HOME: checkout, LC_ALL: 'C', GIT_CONFIG_NOSYSTEM: '1',
    GIT_AUTHOR_NAME: 'A', GIT_AUTHOR_EMAIL: 'a@example.org', GIT_COMMITTER_NAME: 'A', GIT_COMMITTER_EMAIL: 'a@example.org',
    ...(typeof ssh === 'string' ? {} : { GIT_SSH_COMMAND: `ssh -F ${ssh.config}` }),
  };
  const git = (cwd: string, ...args: string[]) => execute('git', ['-c', 'gc.auto=0', '-c', 'maintenance.auto=false', ...args], { cwd, env, maxBuffer: 1 << 28 });
  const { milliseconds } = await timed(async () => {
    await git(checkout, 'stash', 'push', '-q', '--include-untracked');
    await git(checkout, 'push', '-q', typeof ssh === 'string' ? `file://${clone}` : `ssh://server${clone}`, 'HEAD:refs/heads/moved', 'stash@{0}:refs/heads/stashed');
    await git(clone, 'worktree', 'add', '-q', worktree, 'moved');
    await git(worktree, 'stash', 'apply', '-q', '--index', 'stashed');
  });
  await git(checkout, 'stash', 'pop', '-q', '--index');
  await git(clone, 'worktree', 'remove', '--force', worktree);
  await git(clone, 'branch', '-q', '-D', 'moved', 'stashed');
  return milliseconds;
}
