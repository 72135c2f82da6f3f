import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { WebSocketServer, type WebSocket } from 'ws';
import { systemClock, type Clock } from './clock';
import { publicKeyOf } from './keys';
import { RelayDials } from './relayDials';
import { RelayError } from './relayError';
import { RelayHosts } from './relayHosts';
import { defaultRelayLimits, type RelayLimits } from './relayLimits';
import { RelayPair, type PairStatistics } from './relayPair';
import { CloseCode } from './webSocketStream';

/** One thing that happened, for the log: ids, sizes and times, and nothing else. */
export interface RelayEvent {
  readonly event: 'listening' | 'registered' | 'unregistered' | 'replaced' | 'claim-refused' | 'proof-refused' | 'dial-refused' | 'paired' | 'pair-ended' | 'closed';
  readonly hostId?: string;
  readonly status?: number;
  readonly bytes?: number;
  readonly milliseconds?: number;
}
export type RelayLog = (event: RelayEvent) => void;

interface RelayStatistics extends Readonly<PairStatistics> {
  readonly hosts: number;
  readonly pairs: number;
  readonly pendingDials: number;
  readonly connections: number;
}

export interface RunningRelay {
  readonly url: string;
  readonly port: number;
  statistics(): RelayStatistics;
  /** Ends every connection and frees the port. */
  close(): Promise<void>;
}

/**
 * Starts a relay: a meeting point that joins a dialer with the host that it asks for and passes on what it cannot read.
 * The wire protocol is in README.md. Throws `relay-unreachable` where the address cannot be listened on.
 */
export async function startRelay(options: {
  readonly host: string;
  /** 0 chooses a free one. */
  readonly port: number;
  readonly limits?: Partial<RelayLimits>;
  readonly log?: RelayLog;
  readonly signal?: AbortSignal;
  readonly clock?: Clock;
}): Promise<RunningRelay> {
  const relay = new Relay({ ...defaultRelayLimits, ...options.limits }, options.clock ?? systemClock, options.log ?? (() => undefined));
  const port = await relay.listen(options.host, options.port);
  const close = (): Promise<void> => relay.close();
  options.signal?.addEventListener('abort', () => void close(), { once: true });
  if (options.signal?.aborted === true) await close();
  const host = options.host.includes(':') ? `[${options.host}]` : options.host;
  return { url: `ws://${host}:${port}`, port, statistics: () => relay.statistics(), close };
}

class Relay {
  readonly #server;
  readonly #controlSockets = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: 1024, autoPong: false, clientTracking: false });
  readonly #pairSockets;
  readonly #hosts: RelayHosts;
  readonly #dials: RelayDials;
  readonly #pairs = new Map<RelayPair, string>();
  readonly #connections = new Map<string, number>();
  readonly #sockets = new Set<Socket>();
  readonly #counts: PairStatistics = { bytesForwarded: 0, peakQueuedBytes: 0 };
  #stopTimer: () => void = () => undefined;
  #onPairEnded: () => void = () => undefined;
  #closed: Promise<void> | undefined;

  constructor(
    private readonly limits: RelayLimits,
    private readonly clock: Clock,
    private readonly log: RelayLog,
  ) {
    this.#pairSockets = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: limits.maxFrameBytes, autoPong: false, clientTracking: false });
    this.#hosts = new RelayHosts({ limits, clock, log });
    this.#dials = new RelayDials({ limits, clock });
    this.#server = createServer(
      { maxHeaderSize: limits.maxHeaderBytes, headersTimeout: limits.headersTimeoutMs, requestTimeout: limits.headersTimeoutMs, keepAliveTimeout: 5000, connectionsCheckingInterval: Math.min(5000, limits.headersTimeoutMs) },
      (request, response) => {
        const [status, body] = request.headers.origin !== undefined ? [403, ''] : request.method === 'GET' && request.url === '/healthz' ? [200, '{"ok":true}\n'] : [404, ''];
        response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store', connection: 'close' }).end(body);
        request.resume();
      },
    );
    this.#server.maxConnections = limits.maxConnections;
    this.#server.on('connection', (socket) => this.#count(socket));
    this.#server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head));
  }

  async listen(host: string, port: number): Promise<number> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (cause) => reject(new RelayError('relay-unreachable', `The relay cannot listen on ${host}:${port}: ${cause.message}`, { cause })));
      this.#server.listen(port, host, resolve);
    });
    this.#scheduleSweep();
    this.log({ event: 'listening' });
    return (this.#server.address() as AddressInfo).port;
  }

  statistics(): RelayStatistics {
    return { ...this.#counts, hosts: this.#hosts.size, pairs: this.#pairs.size, pendingDials: this.#dials.size, connections: this.#sockets.size };
  }

  close(): Promise<void> {
    return (this.#closed ??= new Promise((resolve) => {
      this.#stopTimer();
      this.#dials.close();
      this.#hosts.close();
      for (const pair of this.#pairs.keys()) pair.terminate();
      const settle = (): void => {
        if (this.#server.listening || this.#pairs.size > 0) return;
        this.log({ event: 'closed' });
        resolve();
      };
      this.#onPairEnded = settle;
      this.#server.close(settle);
      for (const socket of this.#sockets) socket.destroy();
    }));
  }

  #scheduleSweep(): void {
    this.#stopTimer = this.clock.after(this.limits.heartbeatIntervalMs, () => {
      const now = this.clock.now();
      this.#hosts.heartbeat();
      for (const pair of this.#pairs.keys()) {
        if (pair.isSilentSince(now - this.limits.idleTimeoutMs) || now - pair.openedAt > this.limits.maxAgeMs) pair.terminate();
      }
      this.#scheduleSweep();
    });
  }

  #count(socket: Socket): void {
    const address = socket.remoteAddress ?? '';
    const count = (this.#connections.get(address) ?? 0) + 1;
    if (count > this.limits.maxConnectionsPerAddress) {
      socket.destroy();
      return;
    }
    this.#connections.set(address, count);
    this.#sockets.add(socket);
    socket.setNoDelay(true);
    socket.once('close', () => {
      this.#sockets.delete(socket);
      const left = (this.#connections.get(address) ?? 1) - 1;
      if (left === 0) this.#connections.delete(address);
      else this.#connections.set(address, left);
    });
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', () => undefined);
    // A web page must not reach a relay: browsers send this header, and no Baton client does.
    if (request.headers.origin !== undefined) { this.#refuse(socket, 403); return; }
    const [, action, name] = /^\/v1\/(register|dial|accept)\/([A-Za-z0-9_-]{43})$/.exec(request.url ?? '') ?? [];
    if (request.method !== 'GET' || action === undefined || name === undefined || head.length > 0) { this.#refuse(socket, 404); return; }
    if (action === 'accept') { this.#accept(name, request, socket); return; }
    try {
      publicKeyOf(name);
    } catch {
      this.#refuse(socket, 404); return;
    }
    if (action === 'dial') { this.#dial(name, request, socket); return; }
    this.#controlSockets.handleUpgrade(request, socket, head, (webSocket) => this.#hosts.greet(name, webSocket));
  }

  #dial(hostId: string, request: IncomingMessage, socket: Duplex): void {
    const refuse = (status: number): void => {
      this.log({ event: 'dial-refused', hostId, status });
      this.#refuse(socket, status);
    };
    if (!this.#dials.admits(request.socket.remoteAddress ?? '')) { refuse(429); return; }
    if (!this.#hosts.has(hostId)) { refuse(404); return; }
    const pairs = [...this.#pairs.values()].filter((id) => id === hostId).length;
    if (this.#dials.waitingFor(hostId) >= this.limits.maxPendingDialsPerHost || pairs >= this.limits.maxPairsPerHost) { refuse(503); return; }
    const ticket = this.#dials.wait({ hostId, request, socket }, () => refuse(504));
    if (this.#hosts.announceDial(hostId, ticket)) return;
    this.#dials.take(ticket);
    refuse(404);
  }

  #accept(ticket: string, request: IncomingMessage, socket: Duplex): void {
    const dial = this.#dials.take(ticket);
    if (dial === undefined) { this.#refuse(socket, 404); return; }
    // handleUpgrade answers at once, or refuses a malformed request by itself and never calls back.
    const dialer = this.#open(dial.request, dial.socket);
    if (dialer === undefined) { this.#refuse(socket, 404); return; }
    const host = this.#open(request, socket);
    if (host === undefined) { dialer.close(CloseCode.pairBroken); return; }
    const pair: RelayPair = new RelayPair(dialer, host, {
      maxQueuedBytes: this.limits.maxQueuedBytes,
      now: () => this.clock.now(),
      statistics: this.#counts,
      onEnd: () => {
        this.#pairs.delete(pair);
        this.log({ event: 'pair-ended', hostId: dial.hostId, bytes: pair.bytes, milliseconds: Math.round(this.clock.now() - pair.openedAt) });
        this.#onPairEnded();
      },
    });
    this.#pairs.set(pair, dial.hostId);
    this.log({ event: 'paired', hostId: dial.hostId });
  }

  #open(request: IncomingMessage, socket: Duplex): WebSocket | undefined {
    let opened: WebSocket | undefined;
    this.#pairSockets.handleUpgrade(request, socket, Buffer.alloc(0), (webSocket) => (opened = webSocket));
    return opened;
  }

  #refuse(socket: Duplex, status: number): void {
    socket.end(`HTTP/1.1 ${status} Refused\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`, () => socket.destroy());
  }
}
