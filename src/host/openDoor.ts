import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { WebSocketServer } from 'ws';
import { clientOptions, WebSocketStream } from '../relay/webSocketStream';
import { fromPage, isBearer } from './bearer';
import type { BroughtStream } from './localDoor';
import type { Log } from './log';
import type { Greeting } from './ssh/greeting';

export interface OpenDoorOptions {
  readonly host: string;
  readonly port: number;
  /** Whoever shows it may come in so far as to prove a key, and may become a peer. */
  readonly token: string;
  /** What is said first; for a host that is to be met, with what opens a pairing channel. */
  readonly greet: (meet: string | null) => Promise<Greeting>;
  readonly take: (stream: Duplex, what: BroughtStream) => void;
  readonly log: Log;
}

const MOST_CONNECTIONS = 256;
const HEADERS_TIMEOUT_MS = 10_000;
const PATH = /^\/v1\/host\/(?:channel|meet\/([A-Za-z0-9_-]{43})|callback\/([0-9a-f]{32}))$/;

/**
 * Listens for other hosts on a TCP port, for those who expose it behind TLS of their own. Without the token nothing is answered but a status; with
 * it, what comes is as little trusted as what a relay brings, until its channel has proven a key.
 */
export async function openDoor({ host, port, token, greet, take, log }: OpenDoorOptions): Promise<{ readonly port: number; close(): Promise<void> }> {
  const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: clientOptions.maxPayload });
  const server = createServer({ headersTimeout: HEADERS_TIMEOUT_MS, requestTimeout: HEADERS_TIMEOUT_MS }, (_, response) => response.writeHead(426, { connection: 'close' }).end());
  server.maxConnections = MOST_CONNECTIONS;
  server.on('upgrade', (request, socket, head) => {
    socket.on('error', () => undefined);
    const [path, meet, ticket] = PATH.exec(request.url ?? '') ?? [];
    const status = fromPage(request) ?? (isBearer(request.headers.authorization, token) ? null : 401) ?? (path === undefined ? 404 : null);
    if (status !== null) {
      log.warn(`A connection to the open door was refused (${status}).`);
      socket.end(`HTTP/1.1 ${status} Refused\r\nConnection: close\r\n\r\n`);
      return;
    }
    sockets.handleUpgrade(request, socket, head, (client) => {
      const stream = new WebSocketStream(client);
      stream.on('error', (error) => log.info(`A connection through the open door broke: ${error.message}`));
      greet(meet ?? null).then((greeting) => {
        stream.write(`${JSON.stringify(greeting)}\n`);
        take(stream, ticket === undefined ? { kind: 'channel' } : { kind: 'callback', ticket });
      }, (error: unknown) => {
        log.warn(`A host could not be met: ${String(error)}`);
        stream.destroy();
      });
    });
  });
  server.listen(port, host);
  await once(server, 'listening');
  server.on('error', (error) => log.error(`The open door failed: ${error.message}`));
  let closing: Promise<void> | undefined;
  const close = async () => {
    const closed = once(server, 'close');
    server.close();
    for (const client of sockets.clients) client.terminate();
    server.closeAllConnections();
    await closed;
  };
  return { port: (server.address() as AddressInfo).port, close: () => (closing ??= close()) };
}
