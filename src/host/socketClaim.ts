import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmod, link, open, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';

/** Gives a claim up. Twice is harmless. */
export type Release = () => Promise<void>;

/**
 * Takes an exclusive claim on a directory that the file system carries, so that it also holds between containers that share the
 * directory: a Unix socket whose name lies in the directory is found there from every network namespace of one kernel, and
 * refuses connections as soon as its process has ended, however it ended. Null where another process has it. For Linux.
 *
 * Claims are numbered. The one with the highest number counts; who finds it dead links a live socket under the next number, which only
 * one can, and looks whether it is the highest still. The highest is never deleted, so nobody who looked earlier can come
 * to hold a number that is free again.
 *
 * @throws {NodeJS.ErrnoException} where the file system has no sockets or links, or cannot be written
 */
export async function claimBySocket(directory: string, purpose: string): Promise<Release | null> {
  const prefix = `baton-${purpose}.claim-`;
  const numbersIn = async () => (await readdir(directory)).flatMap((name) => (name.startsWith(prefix) && /^\d+$/.test(name.slice(prefix.length)) ? [Number(name.slice(prefix.length))] : [])).sort((a, b) => a - b);
  const handle = await open(directory, 'r');
  // The path of a socket has 107 bytes at most (unix(7)); this one is short wherever the directory is.
  const at = (name: string) => `/proc/self/fd/${handle.fd}/${name}`;
  try {
    const highest = (await numbersIn()).at(-1) ?? 0;
    if (highest > 0 && (await isLive(at(`${prefix}${highest}`)))) return null;
    const passing = join(directory, `${prefix}${randomBytes(8).toString('hex')}x`);
    const mine = join(directory, `${prefix}${highest + 1}`);
    const close = await listen(at(passing.slice(directory.length + 1)));
    if (close === null) return null;
    try {
      // Whoever may come into the directory may ask whether the claim is alive.
      await chmod(passing, 0o666);
      await link(passing, mine);
    } catch (error) {
      await close();
      await rm(passing, { force: true });
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return null;
      throw error;
    }
    await rm(passing, { force: true });
    const numbers = await numbersIn();
    if ((numbers.at(-1) ?? 0) > highest + 1) {
      await rm(mine, { force: true });
      await close();
      return null;
    }
    for (const number of numbers) if (number <= highest) await rm(join(directory, `${prefix}${number}`), { force: true });
    let released: Promise<void> | undefined;
    return () => (released ??= letGo(mine, passing).finally(close));
  } finally {
    await handle.close();
  }
}

/** Listens where nobody else does, without keeping the process alive for it; null where somebody does. */
export async function listen(path: string): Promise<Release | null> {
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

/** Leaves a plain file under the number: not every program can copy a socket. */
async function letGo(mine: string, passing: string): Promise<void> {
  await writeFile(passing, '').then(() => rename(passing, mine)).catch(() => undefined);
}

/**
 * In doubt it is.
 *
 * @throws {NodeJS.ErrnoException} `EROFS` where the file system can only be read: nothing there can be asked, and nothing be claimed
 */
async function isLive(path: string): Promise<boolean> {
  const socket = connect(path);
  try {
    await once(socket, 'connect');
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EROFS') throw error;
    return code !== 'ECONNREFUSED' && code !== 'ENOENT';
  } finally {
    socket.destroy();
  }
}
