/** Who has a thread open: Codex holds the lock on `thread-writer-locks/<thread>.lock` of its home for as long as it may write to the thread's rollout. */
import { readdir, readFile, readlink, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';

export type ThreadHolder = {
  pid: number;
  command: string;
  /** It is the app-server that Codex's terminals start and leave running, which has threads open that nobody looks at any more. */
  daemon: boolean;
};

/** The process that holds a thread's lock; null where none does, or where the system does not tell (Linux tells of the account's own processes). */
export async function holderOf(codexHome: string, threadId: string): Promise<ThreadHolder | null> {
  try {
    const path = await realpath(join(codexHome, 'thread-writer-locks', `${threadId}.lock`));
    const { ino } = await stat(path);
    for (const pid of lockers(await readFile('/proc/locks', 'utf8'), ino)) {
      // Inodes are unique on one file system only, and which one it is `/proc/locks` says in other words on some of them.
      if (await hasOpen(pid, path)) return { pid, command: (await readFile(`/proc/${pid}/comm`, 'utf8')).trim(), daemon: (await readFile(`/proc/${pid}/cmdline`, 'utf8')).split('\0').includes('--managed-daemon') };
    }
  } catch {
    // No lock file, another system, or the process is gone by now.
  }
  return null;
}

/** Process ids that hold a lock on an inode, by the text of `/proc/locks` (proc_locks(5)). */
export function lockers(locks: string, inode: number): number[] {
  return locks.split('\n').flatMap((line) => {
    const [, pid, ino] = /^\d+: (?:FLOCK|POSIX|OFDLCK)\s+\S+\s+\S+\s+(\d+) [0-9a-f]+:[0-9a-f]+:(\d+) /.exec(line) ?? [];
    return pid !== undefined && Number(ino) === inode ? [Number(pid)] : [];
  });
}

async function hasOpen(pid: number, path: string): Promise<boolean> {
  const directory = `/proc/${pid}/fd`;
  const open = await readdir(directory).catch(() => []);
  for (const name of open) if ((await readlink(join(directory, name)).catch(() => '')) === path) return true;
  return false;
}

/** A holder in words. */
export const holderText = (holder: ThreadHolder | null): string => (holder === null ? 'Another Codex program, of which this system does not tell the name,' : `${holder.command} (process ${holder.pid})`);

/** How a thread that somebody has open becomes free. A terminal that was closed leaves its thread with Codex's daemon, for half an hour. */
export const wayToFree = (holder: ThreadHolder | null): string =>
  holder?.daemon === false ? 'Close it there, then try again.' : 'Close it there, then try again; where no terminal shows it any more, "codex app-server daemon stop" frees it at once. A handoff needs neither.';
