import { readlinkSync } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { isWithin } from './managedWorktrees';

/** Directories in which processes work, and files that they have open, by process; of other processes of this account. */
export type Workplaces = ReadonlyMap<number, readonly Workplace[]>;

interface Workplace {
  readonly path: string;
  /** Below /proc. */
  readonly link: string;
}

/**
 * Where the processes of this account work: their working directories, and what else they have open, or without `alsoOpen` only the
 * former, which takes a tenth of the time. Only Linux tells of itself; elsewhere nothing is known. (macOS tells through libproc, which
 * Node.js cannot call, or through lsof, which takes seconds.) What a process has only mapped is not seen.
 */
export async function workplaces(alsoOpen: boolean): Promise<Workplaces> {
  const found = new Map<number, Workplace[]>();
  for (const name of process.platform === 'linux' ? await readdir('/proc').catch(() => []) : []) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    // Those of another account do not say, and some have ended by now.
    const open = alsoOpen ? await readdir(`/proc/${name}/fd`).catch(() => []) : [];
    found.set(Number(name), [`/proc/${name}/cwd`, ...open.map((fd) => `/proc/${name}/fd/${fd}`)].flatMap((link) => {
      const path = pathOf(link);
      // Pipes, sockets and the like have names of another kind.
      return path?.startsWith('/') === true && !path.startsWith('/dev/') ? [{ path, link }] : [];
    }));
  }
  return found;
}

/**
 * Processes that can write to a directory without its path: their working directory is in it, or they have a directory in it open, or a
 * file for writing; without the git that this host runs there.
 *
 * @param among as {@link workplaces} gave them a moment ago; looked up anew where it is left out
 */
export async function processesIn(directory: string, among?: Workplaces): Promise<number[]> {
  const found: number[] = [];
  for (const [pid, places] of among ?? (await workplaces(true))) {
    for (const { path, link } of places) {
      // By now it may have ended, or closed it.
      if (!isWithin(path, directory) || pathOf(link) !== path || !(await mayWrite(link)) || (await isOwnGit(pid))) continue;
      found.push(pid);
      break;
    }
  }
  return found;
}

/** Read without waiting: the kernel answers at once, and there are thousands. */
function pathOf(link: string): string | null {
  try {
    return readlinkSync(link);
  } catch {
    return null;
  }
}

/** A directory, or a file that is open for writing. (proc_pid_fdinfo(5): `flags`, octal, as open(2) has them) */
async function mayWrite(link: string): Promise<boolean> {
  if (await stat(link).then((found) => found.isDirectory(), () => false)) return true;
  const flags = /^flags:\s+([0-7]+)$/m.exec(await readFile(link.replace('/fd/', '/fdinfo/'), 'latin1').catch(() => ''))?.[1];
  return flags !== undefined && (Number.parseInt(flags, 8) & 0b11) !== 0;
}

/** A git that this host runs itself, to look at the worktree. (proc(5): `pid (comm) state ppid`) */
async function isOwnGit(pid: number): Promise<boolean> {
  const [, comm, parent] = /^\d+ \((.*)\) \S (\d+) /s.exec(await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => '')) ?? [];
  return comm === 'git' && Number(parent) === process.pid;
}
