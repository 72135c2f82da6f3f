import { readdir, readFile, readlink } from 'node:fs/promises';
import { isWithin } from './managedWorktrees';

/** The working directories of other processes of this account. Only Linux tells those of itself; elsewhere none are known. */
export async function workingDirectories(): Promise<ReadonlyMap<number, string>> {
  const found = new Map<number, string>();
  for (const name of process.platform === 'linux' ? await readdir('/proc').catch(() => []) : []) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    const cwd = await directoryOf(Number(name));
    if (cwd !== null) found.set(Number(name), cwd);
  }
  return found;
}

/**
 * Processes whose working directory is in a directory, without the git that this host runs there.
 *
 * @param among as {@link workingDirectories} gave them a moment ago; looked up anew where it is left out
 */
export async function processesIn(directory: string, among?: ReadonlyMap<number, string>): Promise<number[]> {
  const found: number[] = [];
  for (const [pid, cwd] of among ?? (await workingDirectories())) {
    // By now it may have ended.
    if (isWithin(cwd, directory) && !(await isOwnGit(pid)) && (await directoryOf(pid)) === cwd) found.push(pid);
  }
  return found;
}

/** Null for a process of another account, which does not say, and for one that has ended. */
function directoryOf(pid: number): Promise<string | null> {
  return readlink(`/proc/${pid}/cwd`).catch(() => null);
}

/** A git that this host runs itself, to look at the worktree. (proc(5): `pid (comm) state ppid`) */
async function isOwnGit(pid: number): Promise<boolean> {
  const [, comm, parent] = /^\d+ \((.*)\) \S (\d+) /s.exec(await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => '')) ?? [];
  return comm === 'git' && Number(parent) === process.pid;
}
