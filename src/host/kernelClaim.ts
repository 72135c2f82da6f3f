import { createHash } from 'node:crypto';
import { closeSync, constants, openSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { claimBySocket, listen, type Release } from './socketClaim';

/**
 * Takes the kernel's exclusive claim on a directory for a purpose, among this account's processes; null where another process
 * has it. It dies with its process, so a crash leaves nothing to clean up: an abstract socket on Linux and, for containers that share
 * the directory, one that the directory has ({@link claimBySocket}); a lock on a file in the directory on macOS and the BSDs, a named
 * pipe (whose name only one process can create) on Windows. Machines that share a directory over a network do not exclude each other.
 */
export async function claimDirectory(directory: string, purpose: 'host' | 'worktrees'): Promise<Release | null> {
  if (process.platform === 'linux' || process.platform === 'win32') {
    const { dev, ino } = statSync(directory, { bigint: true });
    const name = `baton-${purpose}-${process.getuid?.() ?? 0}-${dev}-${ino}`;
    if (process.platform === 'win32') return listen(`\\\\.\\pipe\\${createHash('sha256').update(name).digest('hex')}`);
    const release = await listen(`\0${name}`);
    return release === null ? null : withSocketOf(directory, purpose, release);
  }
  // O_EXLOCK (0x20 on macOS and the BSDs) is open(2) with flock(2); Node passes the number on without naming it.
  try {
    const descriptor = openSync(join(directory, purpose === 'host' ? 'host.lock' : 'baton-worktrees.lock'), constants.O_CREAT | constants.O_RDWR | constants.O_NONBLOCK | 0x20, 0o600);
    let open = true;
    return () => {
      if (open) closeSync(descriptor);
      open = false;
      return Promise.resolve();
    };
  } catch (error) {
    if (['EAGAIN', 'EWOULDBLOCK'].includes((error as NodeJS.ErrnoException).code ?? '')) return null;
    throw error;
  }
}

/** Adds the claim that the file system carries, where it can carry one. */
async function withSocketOf(directory: string, purpose: string, release: Release): Promise<Release | null> {
  try {
    const carried = await claimBySocket(directory, purpose);
    if (carried !== null) return () => carried().finally(release);
  } catch {
    // A disk that is full or can only be read, or one without sockets: among this machine's own processes the kernel's claim does.
    return release;
  }
  await release();
  return null;
}

const LOOK_AGAIN_MS = 50;

/** {@link claimDirectory}, once the process that has it lets go; null where it does not within `patienceMs`. */
export async function awaitClaim(directory: string, purpose: 'worktrees', patienceMs: number): Promise<Release | null> {
  for (const begun = Date.now(); ;) {
    const release = await claimDirectory(directory, purpose);
    if (release !== null || Date.now() - begun >= patienceMs) return release;
    await setTimeout(LOOK_AGAIN_MS);
  }
}
