/**
 * What one does without Baton to go on elsewhere: push the commits, make a worktree there, copy the files that changed, copy
 * the conversation. It carries less (no index, no approval, nothing is checked, both sides keep the thread) and is the
 * least that has to cross the wire.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdir, rm, writeFile } from 'node:fs/promises';
import { basename, delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import type { LoopbackSsh } from './loopbackSsh';

const execute = promisify(execFile);

export interface ManualMove {
  /** The checkout that is left. */
  readonly checkout: string;
  readonly branch: string;
  /** A clone on the other side, without the commits. */
  readonly clone: string;
  /** Must not exist. */
  readonly worktree: string;
  /** The thread's rollout file, and the folder on the other side that it goes to. */
  readonly rollout: string;
  readonly rolloutDirectory: string;
}

/** How things get to the other side. */
export interface Carrier {
  readonly name: string;
  /** Carries everything over. Leaves the result in the worktree. */
  move(job: ManualMove): Promise<void>;
  /** Bytes sent and received so far; null where nothing is counted. */
  bytes(): number | null;
  /** Between two moves: shared connections end. */
  rest(): Promise<void>;
}

const rsyncPath = () => (process.env['PATH'] ?? '').split(delimiter).map((directory) => join(directory, 'rsync')).find(existsSync);

/** The best there is on this machine: ssh and rsync, one connection for each command and one for all; else a plain copy. */
export function carriers(ssh: LoopbackSsh | string): Carrier[] {
  const rsync = rsyncPath();
  if (typeof ssh === 'string' || rsync === undefined) return [copying(typeof ssh === 'string' ? ssh : 'rsync is not there')];
  return [
    overSsh('git push, ssh, rsync', ssh, ssh.config, () => Promise.resolve()),
    overSsh('the same over one shared ssh connection', ssh, ssh.sharedConfig, () => ssh.endShared()),
  ];
}

function overSsh(name: string, ssh: LoopbackSsh, config: string, rest: () => Promise<void>): Carrier {
  const env = { ...userEnvironment(), GIT_SSH_COMMAND: `ssh -F ${config}` };
  const shell = `ssh -F ${config}`;
  return {
    name,
    move: async ({ checkout, branch, clone, worktree, rollout, rolloutDirectory }) => {
      await execute('git', ['push', '--quiet', `ssh://server${clone}`, branch], { cwd: checkout, env });
      // One word for each argument at the other end: the paths are the bench's own and hold nothing that a shell reads.
      await execute('ssh', ['-F', config, 'server', `git -C ${clone} worktree add --quiet ${worktree} ${branch} && mkdir -p ${rolloutDirectory}`], { env });
      const list = `${worktree}.list`;
      await writeFile(list, await changedPaths(checkout, env));
      await execute('rsync', ['-a', '--from0', `--files-from=${list}`, '--delete-missing-args', '-e', shell, `${checkout}/`, `server:${worktree}/`], { env });
      await execute('rsync', ['-a', '-z', '-e', shell, rollout, `server:${rolloutDirectory}/`], { env });
      await rm(list);
    },
    bytes: () => {
      const { fromClients, toClients } = ssh.wire.bytes();
      return fromClients + toClients;
    },
    rest,
  };
}

/** Without ssh and rsync: git over file://, and copies on one disk. Nothing crosses a wire, so this is kinder than any network. */
function copying(why: string): Carrier {
  const env = userEnvironment();
  return {
    name: `git push to file://, copies on one disk (${why})`,
    move: async ({ checkout, branch, clone, worktree, rollout, rolloutDirectory }) => {
      await execute('git', ['push', '--quiet', `file://${clone}`, branch], { cwd: checkout, env });
      await execute('git', ['-C', clone, 'worktree', 'add', '--quiet', worktree, branch], { env });
      for (const path of (await changedPaths(checkout, env)).split('\0').filter((name) => name !== '')) {
        if (existsSync(join(checkout, path))) {
          await mkdir(dirname(join(worktree, path)), { recursive: true });
          await cp(join(checkout, path), join(worktree, path), { preserveTimestamps: true });
        } else await rm(join(worktree, path), { force: true });
      }
      await mkdir(rolloutDirectory, { recursive: true });
      await cp(rollout, join(rolloutDirectory, basename(rollout)));
    },
    bytes: () => null,
    rest: () => Promise.resolve(),
  };
}

/** Changed, deleted and untracked paths, each ended by NUL. */
async function changedPaths(checkout: string, env: NodeJS.ProcessEnv): Promise<string> {
  const changed = await execute('git', ['diff', '--name-only', '--no-renames', '-z', 'HEAD'], { cwd: checkout, env });
  const untracked = await execute('git', ['ls-files', '--others', '--exclude-standard', '-z'], { cwd: checkout, env });
  return changed.stdout + untracked.stdout;
}

function userEnvironment(): NodeJS.ProcessEnv {
  return { PATH: process.env['PATH'], HOME: process.env['HOME'], LC_ALL: 'C', GIT_CONFIG_NOSYSTEM: '1' };
}
