import { once } from 'node:events';
import { lstatSync } from 'node:fs';
import { chmod, rename, rm, unlink, writeFile } from 'node:fs/promises';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { ensurePrivateDirectory } from './home';
import { HostError } from './hostError';
import { claimDirectory } from './kernelClaim';
import { localSocketPath, socketPathFile } from './localSocket';
import { silentLog, type Log } from './log';
import type { Release } from './socketClaim';

export type LocalServer = {
  /** Socket path, or pipe name on Windows. */
  readonly path: string;
  /** Stops listening, ends the open connections and gives up the claim on the home. Twice is harmless. */
  readonly close: () => Promise<void>;
};

/**
 * Listens for local controllers of the host of `batonHome`, in a directory of mode 0700.
 *
 * At most one process holds a home. The claim lives in the kernel and dies with its process, so a crash leaves nothing to clean up
 * and two hosts starting at once cannot both take over a dead one's socket. Throws `host-already-running`.
 */
export async function listenLocal(options: { readonly batonHome: string; readonly onConnection: (stream: Socket) => void; readonly log?: Log }): Promise<LocalServer> {
  const { batonHome, onConnection, log = silentLog } = options;
  await ensurePrivateDirectory(batonHome);
  const path = localSocketPath(batonHome);
  const releaseClaim = await claimHome(batonHome);
  try {
    const sockets = new Set<Socket>();
    const server = createServer((socket) => {
      sockets.add(socket);
      socket.on('close', () => sockets.delete(socket));
      // A controller that goes away is no fault; who uses the stream hears of it from 'close'.
      socket.on('error', (error) => log.info(`A local connection failed: ${error.message}`));
      onConnection(socket);
    });
    server.on('error', (error) => log.error(`The local socket ${path} failed: ${error.message}`));
    const removeSocket = process.platform === 'win32' ? await listenOnPipe(server, path) : await listenOnSocket(server, batonHome, path);
    let closing: Promise<void> | undefined;
    const close = async () => {
      await removeSocket();
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
      await releaseClaim();
    };
    return { path, close: () => (closing ??= close()) };
  } catch (error) {
    await releaseClaim();
    throw error;
  }
}

async function listenOnPipe(server: Server, path: string): Promise<() => Promise<void>> {
  server.listen(path);
  await once(server, 'listening');
  return () => Promise.resolve();
}

/** The socket appears under its name only when it already accepts connections: who sees it may connect at once. */
async function listenOnSocket(server: Server, batonHome: string, path: string): Promise<() => Promise<void>> {
  const directory = dirname(path);
  await ensurePrivateDirectory(directory);
  // A container that shares the home has another kernel namespace, hence another claim; the socket tells.
  if (await answers(path)) throw alreadyRunning(batonHome);
  const provisional = join(directory, '.sock');
  await rm(provisional, { force: true });
  server.listen(provisional);
  await once(server, 'listening');
  await chmod(provisional, 0o600);
  await rename(provisional, path);
  // Written last: who waits for a host watches its home.
  if (directory !== batonHome) await writeFile(socketPathFile(batonHome), `${path}\n`, { mode: 0o600 });
  const { ino } = lstatSync(path);
  return async () => {
    try {
      if (lstatSync(path).ino === ino) await unlink(path);
    } catch {
      // Somebody removed it already.
    }
  };
}

/** Whether a process accepts connections on the socket at `path`. */
export function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(path, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}

const alreadyRunning = (batonHome: string) =>
  new HostError('host-already-running', `A host already runs for ${batonHome}. Use it, or end it with \`baton stop\` first.`);

/** Takes the kernel's exclusive claim on a home. On Windows the pipe itself is the claim. */
async function claimHome(batonHome: string): Promise<Release> {
  if (process.platform === 'win32') {
    if (await answers(localSocketPath(batonHome))) throw alreadyRunning(batonHome);
    return () => Promise.resolve();
  }
  const release = await claimDirectory(batonHome, 'host');
  if (release === null) throw alreadyRunning(batonHome);
  return release;
}
