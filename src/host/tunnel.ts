import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { WebSocketServer, type WebSocket } from 'ws';
import { fromPage, isBearer } from './bearer';
import { endOverlong, LineSplitter, MAX_MESSAGE_BYTES } from './jsonLines';
import type { Log } from './log';

export interface TunnelOptions {
  /** A directory of mode 0700 for the socket and the token, which has room for a socket's path. */
  readonly directory: string;
  readonly id: string;
  /** The app-server protocol of the other host, one message to a line. */
  readonly open: () => Promise<Duplex>;
  readonly log: Log;
}

export interface OpenTunnel {
  /** A Unix socket, for whoever can open it; null on Windows, whose pipes Codex does not open. */
  readonly socketPath: string | null;
  /** On loopback, for whoever has the token. */
  readonly url: string;
  /** Holds the token; mode 0600. */
  readonly tokenFile: string;
  close(): Promise<void>;
}

/** More than this does not wait for a client that does not read. */
const MOST_WAITING_BYTES = 4 * 1024 * 1024;

/**
 * Listens on this machine for Codex clients of another host, in the two ways in which the app-server itself can be reached: a
 * WebSocket over a Unix socket, and one on loopback that wants a bearer token. Each connection is a stream of its own to the other host.
 */
export async function openTunnel({ directory, id, open, log }: TunnelOptions): Promise<OpenTunnel> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const token = randomBytes(32).toString('base64url');
  const tokenFile = join(directory, `${id}.token`);
  await writeFile(tokenFile, `${token}\n`, { mode: 0o600 });
  const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: MAX_MESSAGE_BYTES });
  const servers: Server[] = [];
  const listen = async (where: string | 0, refusal: (request: IncomingMessage) => number | null): Promise<Server> => {
    const server = createServer((_, response) => response.writeHead(426).end());
    server.on('upgrade', (request, socket, head) => {
      const status = refusal(request);
      if (status === null) sockets.handleUpgrade(request, socket, head, (client) => void connect(client, open, log));
      else socket.end(`HTTP/1.1 ${status} Refused\r\nConnection: close\r\n\r\n`);
    });
    if (where === 0) server.listen(0, '127.0.0.1');
    else server.listen(where);
    await once(server, 'listening');
    servers.push(server);
    return server;
  };
  const socketPath = process.platform === 'win32' ? null : join(directory, `${id}.sock`);
  if (socketPath !== null) {
    await rm(socketPath, { force: true });
    await listen(socketPath, fromPage);
    await chmod(socketPath, 0o600);
  }
  const server = await listen(0, (request) => fromPage(request) ?? (isBearer(request.headers.authorization, token) && isLoopback(request.headers.host) ? null : 401));
  const { port } = server.address() as AddressInfo;
  return {
    socketPath, tokenFile,
    url: `ws://127.0.0.1:${port}`,
    close: async () => {
      for (const client of sockets.clients) client.terminate();
      for (const each of servers) each.close();
      await Promise.all([rm(tokenFile, { force: true }), ...(socketPath === null ? [] : [rm(socketPath, { force: true })])]);
    },
  };
}

/** A name that a page's owner lets point here afterwards is another one. */
const isLoopback = (host: string | undefined): boolean => /^(127\.0\.0\.1|localhost)(:\d+)?$/.test(host ?? '');

/** Joins a client with a stream to the other host: a message of the one is a line of the other, at the pace of the slower, and either's end is the other's. */
async function connect(client: WebSocket, open: () => Promise<Duplex>, log: Log): Promise<void> {
  client.on('error', (error) => log.info(`A client of a tunnel failed: ${error.message}`));
  // Until there is somebody to hear it, what it says waits where it is.
  client.pause();
  let stream: Duplex;
  try {
    stream = await open();
  } catch (error) {
    log.warn(`A tunnel could not be opened: ${(error as Error).message}`);
    client.resume();
    // 1013, "try again later": what is told further is only for the log of this host.
    client.close(1013);
    return;
  }
  client.on('message', (message: Buffer) => {
    // A line feed inside a message can only be white space between its parts.
    if (stream.write(`${message.toString('utf8').replaceAll('\n', ' ')}\n`)) return;
    client.pause();
    stream.once('drain', () => client.resume());
  });
  const lines = new LineSplitter(MAX_MESSAGE_BYTES, () => endOverlong(stream, MAX_MESSAGE_BYTES));
  const goOn = () => {
    if (stream.isPaused() && client.bufferedAmount <= MOST_WAITING_BYTES) stream.resume();
  };
  stream.on('data', (chunk: Buffer) => {
    for (const line of lines.split(chunk)) client.send(line, { binary: false }, goOn);
    if (client.bufferedAmount > MOST_WAITING_BYTES) stream.pause();
  });
  stream.on('error', (error) => log.info(`A tunnel broke: ${error.message}`));
  stream.once('close', () => client.close(1001));
  client.once('close', () => stream.destroy());
  client.resume();
  if (stream.destroyed) client.close(1001);
  if (client.readyState === client.CLOSED) stream.destroy();
}
