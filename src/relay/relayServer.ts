import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { systemClock, type Clock } from './clock';
import { publicKeyOf } from './keys';
import { AddressSet, clientAddress, loopback, plainAddress, shareOf } from './relayAddress';
import { Admission } from './relayAdmission';
import { RelayError } from './relayError';
import { FollowedFiles, readAdmission, readTls, type AdmissionFiles, type TlsFiles } from './relayFiles';
import { defaultRelayLimits, type RelayLimits } from './relayLimits';
import { refusals, type RelayEvent, type RelayLog } from './relayLog';
import { RelayMetrics, type RelayStatistics } from './relayMetrics';
import type { ClusterOptions, RelayPresence } from './relayPresence';
import { refuseUpgrade, RelaySwitch, type Refusal, type RelayCall } from './relaySwitch';
import { MinuteRate, Tally } from './tally';

/** How often the relay looks whether its files have changed. */
const LOOK_MS = 2000;

export interface RelayOptions {
  readonly host: string;
  /** 0 chooses a free one. */
  readonly port: number;
  readonly limits?: Partial<RelayLimits>;
  readonly log?: RelayLog;
  readonly signal?: AbortSignal;
  readonly clock?: Clock;
  /** Files of the certificate, read again when they change. Without them the relay speaks plain HTTP. */
  readonly tls?: TlsFiles;
  /** Who is let in. Without it everybody is, and the relay is to be reached from this machine only. */
  readonly admission?: AdmissionFiles;
  /** Addresses and networks of proxies whose `X-Forwarded-For` is believed. */
  readonly trustedProxies?: readonly string[];
  /** Origins of web pages that may come, such as `https://baton.example.org`; others are refused. */
  readonly allowedOrigins?: readonly string[];
  /** Addresses and networks that may read `/metrics`, besides this machine. */
  readonly metricsFrom?: readonly string[];
  /** Shares the hosts with other nodes of the same relay. */
  readonly cluster?: ClusterOptions;
}

export interface RunningRelay {
  readonly url: string;
  readonly port: number;
  statistics(): RelayStatistics;
  /** Takes no new work, lets pairs end within `drainTimeoutMs`, then closes. */
  drain(): Promise<void>;
  /** Ends every connection and frees the port. */
  close(): Promise<void>;
}

/**
 * Starts a relay: a meeting point that joins a dialer with the host that it asks for and passes on what it cannot read.
 * The wire protocol is in README.md. Throws `relay-unreachable` where the address cannot be listened on, and `setting-invalid`
 * for files that cannot be used, or a relay that others can reach and that would let everybody in.
 */
export async function startRelay(options: RelayOptions): Promise<RunningRelay> {
  const { host, tls, trustedProxies = [] } = options;
  const isOpen = !loopback.has(host) && host !== 'localhost';
  if (options.admission === undefined && (isOpen || trustedProxies.length > 0)) {
    throw new RelayError('setting-invalid', `${isOpen ? `Others can reach a relay on ${host}` : 'A relay behind a proxy can be reached by others'}, so it must know whom to let in. Give it a secret with --secret-file, or an issuer's key with --issuer-key-file.`);
  }
  const relay = new Relay(options);
  const port = await relay.listen(host, options.port);
  const close = (): Promise<void> => relay.close();
  options.signal?.addEventListener('abort', () => void close(), { once: true });
  if (options.signal?.aborted === true) await close();
  return { url: `${tls === undefined ? 'ws' : 'wss'}://${host.includes(':') ? `[${host}]` : host}:${port}`, port, statistics: () => relay.statistics(), drain: () => relay.drain(), close };
}

const behindProxy = 'A proxy stands before this relay, which lets everybody in and is for its own machine only. Give it a secret with --secret-file, or an issuer\'s key, and name the proxy with --trust-proxy.';

/** Whether a proxy says that it brings somebody else. */
const isFromProxy = ({ headers }: IncomingMessage): boolean => headers['x-forwarded-for'] !== undefined || headers.forwarded !== undefined;

class Relay {
  readonly #limits: RelayLimits;
  readonly #clock: Clock;
  readonly #server: Server | TlsServer;
  readonly #switch: RelaySwitch;
  readonly #metrics = new RelayMetrics();
  readonly #logRate: MinuteRate;
  readonly #proxies: AddressSet;
  readonly #metricsFrom: AddressSet;
  readonly #origins: ReadonlySet<string>;
  readonly #connections = new Tally();
  readonly #sockets = new Set<Socket>();
  readonly #files: readonly FollowedFiles[];
  #presence: RelayPresence | undefined;
  #stopTimer: () => void = () => undefined;
  #closed: Promise<void> | undefined;

  constructor(private readonly options: RelayOptions) {
    const { tls, admission: admissionFiles } = options;
    this.#limits = { ...defaultRelayLimits, ...options.limits };
    this.#clock = options.clock ?? systemClock;
    this.#logRate = new MinuteRate(this.#clock);
    this.#proxies = new AddressSet(options.trustedProxies ?? []);
    this.#metricsFrom = new AddressSet(options.metricsFrom ?? []);
    this.#origins = new Set(options.allowedOrigins);
    const admission = admissionFiles === undefined ? undefined : new Admission();
    this.#switch = new RelaySwitch({ limits: this.#limits, clock: this.#clock, log: (event) => this.#log(event), admission, at: options.cluster?.publicUrl });
    const { maxHeaderBytes, headersTimeoutMs, maxConnections } = this.#limits;
    const settings = { maxHeaderSize: maxHeaderBytes, headersTimeout: headersTimeoutMs, requestTimeout: headersTimeoutMs, keepAliveTimeout: 5000, connectionsCheckingInterval: Math.min(5000, headersTimeoutMs) };
    const answer: RequestListener = (request, response) => {
      const [status, body, type = 'application/json'] = this.#answer(request);
      response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store', connection: 'close' }).end(body);
      request.resume();
    };
    // Connections that are open keep the certificate that they began with.
    const tlsServer = tls === undefined ? undefined : createTlsServer({ ...settings, handshakeTimeout: headersTimeoutMs }, answer);
    this.#server = tlsServer ?? createServer(settings, answer);
    this.#files = [
      new FollowedFiles([tls?.cert, tls?.key], async () => {
        if (tls !== undefined) tlsServer?.setSecureContext(await readTls(tls));
      }),
      new FollowedFiles([admissionFiles?.secretFile, admissionFiles?.issuerKeyFile, admissionFiles?.denyFile], async () => {
        if (admissionFiles === undefined) return;
        admission?.replace(await readAdmission(admissionFiles));
        this.#switch.dropUnadmitted();
      }),
    ];
    this.#server.maxConnections = maxConnections;
    this.#server.on('connection', (socket: Socket) => this.#count(socket));
    this.#server.on('upgrade', (request, socket: Duplex, head) => {
      socket.on('error', () => undefined);
      const refusal = this.#upgrade(request, socket, head);
      if (refusal !== undefined) refuseUpgrade(socket, refusal, request.url?.slice(1));
    });
  }

  async listen(host: string, port: number): Promise<number> {
    for (const files of this.#files) await files.load();
    await this.#join();
    const listening = new Promise<void>((resolve, reject) => {
      this.#server.once('error', (cause) => reject(new RelayError('relay-unreachable', `The relay cannot listen on ${host}:${port}: ${cause.message}`, { cause })));
      this.#server.listen(port, host, resolve);
    });
    await listening.catch(async (error: unknown) => {
      await this.#presence?.leave();
      throw error;
    });
    this.#scheduleSweep();
    for (const files of this.#files) {
      // What cannot be used is said and left; the relay goes on with what it had.
      files.follow(this.#clock, LOOK_MS, (message) => this.#log(message === undefined ? { event: 'settings-read' } : { event: 'settings-refused', message }));
    }
    const { admission, tls, trustedProxies = [] } = this.options;
    const isPlain = admission !== undefined && tls === undefined && trustedProxies.length === 0;
    this.#log({ event: 'listening', ...(isPlain ? { message: 'It speaks plain HTTP, so whoever sees the network can use what lets hosts in. Give it --tls-cert and --tls-key, or put a proxy with TLS in front of it.' } : {}) });
    return (this.#server.address() as AddressInfo).port;
  }

  async #join(): Promise<void> {
    const { cluster } = this.options;
    if (cluster === undefined) return;
    // One node needs none of this, nor the code for it.
    const { RelayPresence } = await import('./relayPresence');
    this.#presence = await RelayPresence.join({ ...cluster, clock: this.#clock, log: (event) => this.#log(event), isHere: (hostId) => this.#switch.answers(hostId) });
    this.#switch.join(this.#presence);
  }

  statistics(): RelayStatistics {
    const { hosts, pairs, pendingDials, isDraining, counts } = this.#switch;
    const nodes = this.#presence === undefined ? 1 : this.#presence.isUsable ? this.#presence.nodes : 0;
    return { ...counts, hosts, pairs, pendingDials, isDraining, nodes, connections: this.#sockets.size };
  }

  async drain(): Promise<void> {
    if (!this.#switch.isDraining) {
      this.#log({ event: 'draining' });
      await this.#switch.drain();
    }
    await this.close();
  }

  close(): Promise<void> {
    return (this.#closed ??= (async () => {
      this.#stopTimer();
      for (const files of this.#files) files.stop();
      const ended = this.#switch.close();
      const closed = new Promise((resolve) => this.#server.close(resolve));
      for (const socket of this.#sockets) socket.destroy();
      await Promise.all([ended, closed]);
      await this.#presence?.leave();
      this.#log({ event: 'closed' });
    })());
  }

  #log(event: RelayEvent): void {
    this.#metrics.count(event);
    const { event: name, status = '' } = event;
    // Anybody can bring these about, as often as they like.
    if (refusals.has(name) && !this.#logRate.admits(`${name} ${status}`, 1)) return;
    this.options.log?.(event);
  }

  #scheduleSweep(): void {
    this.#stopTimer = this.#clock.after(this.#limits.heartbeatIntervalMs, () => {
      this.#switch.sweep();
      this.#scheduleSweep();
    });
  }

  #count(socket: Socket): void {
    const address = plainAddress(socket.remoteAddress) ?? '';
    // What a trusted proxy brings counts for whom it brings; that is known only with the request.
    const isCounted = !this.#proxies.has(address);
    if (isCounted && this.#connections.of(shareOf(address)) >= this.#limits.maxConnectionsPerAddress) {
      socket.destroy();
      return;
    }
    this.#sockets.add(socket);
    socket.setNoDelay(true);
    socket.once('close', () => this.#sockets.delete(socket));
    if (isCounted) socket.once('close', this.#connections.add(shareOf(address)));
  }

  /** Who a request came from: an address, and under what its limits count. Undefined where a proxy says nonsense. */
  #callerOf(request: IncomingMessage): { address: string; isForwarded: boolean } | undefined {
    const remote = plainAddress(request.socket.remoteAddress);
    const forwarded = request.headers['x-forwarded-for'];
    const address = clientAddress(remote, Array.isArray(forwarded) ? forwarded.join(',') : forwarded, this.#proxies);
    return address === undefined ? undefined : { address, isForwarded: remote !== undefined && this.#proxies.has(remote) };
  }

  /** A web page must not reach a relay that was not told of it: browsers send this header, and no Baton client does. */
  #isForeign(request: IncomingMessage): boolean {
    const { origin } = request.headers;
    return origin !== undefined && !this.#origins.has(origin);
  }

  /** A relay for its own machine only, and a proxy that brings others to it. */
  #isOpenThroughProxy(request: IncomingMessage): boolean {
    return this.options.admission === undefined && isFromProxy(request);
  }

  #answer(request: IncomingMessage): [status: number, body: string, type?: string] {
    const caller = this.#callerOf(request);
    if (this.#isForeign(request)) return [403, ''];
    if (this.#isOpenThroughProxy(request)) return [403, `${behindProxy}\n`, 'text/plain'];
    if ((request.method !== 'GET' && request.method !== 'HEAD') || caller === undefined) return [404, ''];
    if (request.url === '/healthz' || request.url === '/readyz') {
      const status = this.#switch.isDraining ? 'draining' : this.#presence?.isUsable === false ? 'no-presence' : 'ok';
      return [status === 'ok' || request.url === '/healthz' ? 200 : 503, `{"status":"${status}"}\n`];
    }
    // A proxy of this machine that the relay was not told of brings anybody.
    const mayRead = this.#metricsFrom.has(caller.address) || (loopback.has(caller.address) && !caller.isForwarded && !isFromProxy(request));
    return request.url === '/metrics' && mayRead ? [200, this.#metrics.text(this.statistics()), 'text/plain; version=0.0.4'] : [404, ''];
  }

  /** Passes a request on to the switch, or says how it is refused. */
  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Refusal | undefined {
    if (this.#isForeign(request)) return 403;
    if (this.#isOpenThroughProxy(request)) {
      this.#log({ event: 'proxy-refused', message: behindProxy });
      return 403;
    }
    const caller = this.#callerOf(request);
    if (caller === undefined) return 400;
    const share = shareOf(caller.address);
    if (caller.isForwarded) {
      if (this.#connections.of(share) >= this.#limits.maxConnectionsPerAddress) return 429;
      socket.once('close', this.#connections.add(share));
    }
    const [, action, name] = /^\/v1\/(register|token|dial|accept)\/([A-Za-z0-9_-]{43})$/.exec(request.url ?? '') ?? [];
    if (request.method !== 'GET' || action === undefined || name === undefined || head.length > 0) return 404;
    try {
      if (action !== 'accept') publicKeyOf(name);
    } catch {
      return 404;
    }
    return this.#switch.take({ action: action as RelayCall['action'], name, share, request, socket });
  }
}
