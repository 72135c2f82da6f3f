import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, constants, openSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';

/** Gives a claim up. Twice is harmless. */
export type Release = () => Promise<void>;

/**
 * Takes the kernel's exclusive claim on a directory for a purpose, among this account's processes; null where another process
 * has it. It dies with its process, so a crash leaves nothing to clean up: an abstract socket on Linux, a lock on a file in the
 * directory on macOS and the BSDs, a named pipe (whose name only one process can create) on Windows.
 */
export async function claimDirectory(directory: string, purpose: 'host' | 'worktrees'): Promise<Release | null> {
  if (process.platform === 'linux' || process.platform === 'win32') {
    const { dev, ino } = statSync(directory, { bigint: true });
    const name = `baton-${purpose}-${process.getuid?.() ?? 0}-${dev}-${ino}`;
    return listen(process.platform === 'linux' ? `\0${name}` : `\\\\.\\pipe\\${createHash('sha256').update(name).digest('hex')}`);
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

async function listen(path: string): Promise<Release | null> {
  const claim = createServer((socket) => socket.destroy());
  claim.listen({ path, exclusive: true });
  try {
    await once(claim, 'listening');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return null;
    throw error;
  }
  claim.unref();
  let closed: Promise<unknown> | undefined;
  return async () => {
    closed ??= (() => {
      const done = once(claim, 'close');
      claim.close();
      return done;
    })();
    await closed;
  };
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
