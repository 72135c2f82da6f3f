import { readdir, readFile, readlink } from 'node:fs/promises';
import { isWithin } from './managedWorktrees';

/** Other processes of this account whose working directory is in a directory. Only Linux tells that of itself; elsewhere none are known. */
export async function processesIn(directory: string): Promise<number[]> {
  if (process.platform !== 'linux') return [];
  const found: number[] = [];
  for (const name of await readdir('/proc').catch(() => [])) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    // Those of other accounts do not say, and one that has ended has none.
    const cwd = await readlink(`/proc/${name}/cwd`).catch(() => null);
    if (cwd !== null && isWithin(cwd, directory) && !(await isOwnGit(name))) found.push(Number(name));
  }
  return found;
}

/** A git that this host runs itself, to look at the worktree. (proc(5): `pid (comm) state ppid`) */
async function isOwnGit(pid: string): Promise<boolean> {
  const [, comm, parent] = /^\d+ \((.*)\) \S (\d+) /s.exec(await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => '')) ?? [];
  return comm === 'git' && Number(parent) === process.pid;
}
