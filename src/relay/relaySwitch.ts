import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { WebSocketServer, type WebSocket } from 'ws';
import type { Clock } from './clock';
import type { Admission, Admitted } from './relayAdmission';
import { RelayDials } from './relayDials';
import { exchange } from './relayExchange';
import { RelayHosts, type Standing } from './relayHosts';
import type { RelayLimits } from './relayLimits';
import type { RelayLog } from './relayLog';
import { MAX_MESSAGE_BYTES } from './relayMessages';
import { RelayPair, type PairStatistics } from './relayPair';
import type { RelayPresence } from './relayPresence';
import { MinuteRate, Tally } from './tally';
import { CloseCode } from './webSocketStream';

/** Into so many pieces a message may be broken, by who sends it or by the network. Each takes memory of its own; 512 bytes to a packet make 136. */
const MAX_PIECES = 256;

/** A request to be upgraded, of a form that the relay knows. */
export interface RelayCall {
  readonly action: 'register' | 'token' | 'dial' | 'accept';
  /** A host id; the ticket of a dial for `accept`. */
  readonly name: string;
  /** Under what the limits of its address count. */
  readonly share: string;
  readonly request: IncomingMessage;
  readonly socket: Duplex;
}

export interface SwitchOptions {
  readonly limits: RelayLimits;
  readonly clock: Clock;
  readonly log: RelayLog;
  /** Undefined lets everybody in. */
  readonly admission: Admission | undefined;
  /** The URL of this node, where there are others; hosts come there for dials. */
  readonly at: string | undefined;
}

/** An HTTP status, or the URL of the node that has the host. */
export type Refusal = number | { readonly elsewhere: string };

/** Joins who dials with the host that is dialled. Nothing of what passes is looked at or kept. */
export class RelaySwitch {
  readonly counts: PairStatistics = { bytesForwarded: 0, queuedBytes: 0, peakQueuedBytes: 0 };
  readonly #controlSockets = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: MAX_MESSAGE_BYTES, autoPong: false, clientTracking: false });
  readonly #pairSockets;
  readonly #hosts: RelayHosts;
  readonly #dials: RelayDials;
  readonly #dialRate: MinuteRate;
  readonly #hostRate: MinuteRate;
  readonly #proofRate: MinuteRate;
  readonly #pairs = new Map<RelayPair, Standing>();
  readonly #pairsPerHost = new Tally();
  #presence: RelayPresence | undefined;
  #isDraining = false;
  #onIdle: () => void = () => undefined;

  constructor(private readonly options: SwitchOptions) {
    const { limits, clock } = options;
    this.#pairSockets = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: limits.maxFrameBytes, maxFragments: MAX_PIECES, maxBufferedChunks: MAX_PIECES, autoPong: false, clientTracking: false });
    this.#dials = new RelayDials({ ...options, onLeft: () => this.#tellIfIdle() });
    // What was told over a connection that is dead by now was heard by nobody.
    const onRegistered = (hostId: string): void => this.#dials.ticketsFor(hostId).forEach((ticket) => this.#hosts.announceDial(hostId, ticket));
    this.#hosts = new RelayHosts({ ...options, onRegistered });
    [this.#dialRate, this.#hostRate, this.#proofRate] = [new MinuteRate(clock), new MinuteRate(clock), new MinuteRate(clock)];
  }

  get hosts(): number {
    return this.#hosts.size;
  }

  get pairs(): number {
    return this.#pairs.size;
  }

  get pendingDials(): number {
    return this.#dials.size;
  }

  get isDraining(): boolean {
    return this.#isDraining;
  }

  /** From here on hosts are shared with other nodes. */
  join(presence: RelayPresence): void {
    this.#presence = presence;
    this.#hosts.presence = presence;
  }

  /** Whether a host that is registered here answers; one that does not is let go. */
  answers(hostId: string): Promise<boolean> {
    return this.#hosts.answers(hostId);
  }

  /** Answers a request, or says how it is to be refused. */
  take(call: RelayCall): Refusal | undefined {
    const { action, name, request, share } = call;
    // A host that was told of a dial before the end was announced may still come for it.
    if (action === 'accept') return this.#accept(name, request, call.socket);
    if (this.#isDraining) return 503;
    return action === 'dial' ? this.#dial(call) : this.#greet(action, name, share, request, call.socket);
  }

  /** Looks after everything that is too old, too silent or no longer let in. */
  sweep(): void {
    this.#hosts.heartbeat();
    // What an issuer lets in for ends by itself.
    this.dropUnadmitted();
    for (const pair of this.#pairs.keys()) pair.sweep();
  }

  /** Ends the registrations and pairs that nothing lets in any more. */
  dropUnadmitted(): void {
    this.#hosts.dropUnadmitted();
    for (const [pair, standing] of this.#pairs) if (!standing()) pair.terminate();
  }

  /** Takes no new work, sends the hosts elsewhere, and resolves when the last pair has ended or the limit of time is reached. */
  async drain(): Promise<void> {
    this.#isDraining = true;
    this.#hosts.sendAway();
    await new Promise<void>((resolve) => {
      const settle = (): void => {
        stopTimer();
        resolve();
      };
      const stopTimer = this.options.clock.after(this.options.limits.drainTimeoutMs, settle);
      this.#onIdle = settle;
      this.#tellIfIdle();
    });
  }

  /** Ends everything; resolves when the last pair is gone. */
  async close(): Promise<void> {
    this.#isDraining = true;
    this.#dials.close();
    this.#hosts.close();
    for (const pair of this.#pairs.keys()) pair.terminate();
    await new Promise<void>((resolve) => {
      this.#onIdle = resolve;
      this.#tellIfIdle();
    });
  }

  #tellIfIdle(): void {
    if (this.#pairs.size === 0 && this.#dials.size === 0) this.#onIdle();
  }

  #greet(action: 'register' | 'token', hostId: string, share: string, request: IncomingMessage, socket: Duplex): number | undefined {
    const { admission, limits, log } = this.options;
    if (!this.#proofRate.admits(share, limits.maxProofsPerMinutePerAddress)) return 429;
    if (action === 'token') {
      if (admission === undefined) return 404;
      this.#controlSockets.handleUpgrade(request, socket, Buffer.alloc(0), (webSocket) => exchange(webSocket, hostId, admission, this.options));
      return undefined;
    }
    const admitted = this.#admitted(request, 'register', hostId);
    if (admitted === undefined) {
      log({ event: 'not-admitted', hostId });
      return 401;
    }
    this.#controlSockets.handleUpgrade(request, socket, Buffer.alloc(0), (webSocket) => this.#hosts.receive(hostId, webSocket, this.#standing(admitted)));
    return undefined;
  }

  #dial({ name: hostId, share, request, socket }: RelayCall): Refusal | undefined {
    const { limits, log } = this.options;
    const refuse = (status: number): number => {
      log({ event: 'dial-refused', hostId, status });
      return status;
    };
    if (!this.#dialRate.admits(share, limits.maxDialsPerMinutePerAddress)) return refuse(429);
    const admitted = this.#admitted(request, 'dial', hostId);
    if (admitted === undefined) return refuse(401);
    if (!this.#hosts.has(hostId)) {
      const elsewhere = this.#presence?.urlOf(hostId);
      if (elsewhere === undefined) return refuse(this.#presence?.isUsable === false ? 503 : 404);
      log({ event: 'dial-redirected', hostId });
      return { elsewhere };
    }
    if (!this.#hostRate.admits(hostId, limits.maxDialsPerMinutePerHost)) return refuse(429);
    const from = admitted === 'everybody' ? null : admitted.hostId;
    const isFull = [hostId, from].some((id) => id !== null && this.#pairsPerHost.of(id) >= limits.maxPairsPerHost);
    if (isFull || this.#dials.waitingFor(hostId) >= limits.maxPendingDialsPerHost) return refuse(503);
    const [ofDialer, ofHost] = [this.#standing(admitted), this.#hosts.standingOf(hostId)];
    const ticket = this.#dials.wait({ hostId, from, standing: () => ofDialer() && ofHost(), request, socket }, () => refuseUpgrade(socket, refuse(504)));
    if (this.#hosts.announceDial(hostId, ticket)) return undefined;
    this.#dials.take(ticket);
    return refuse(404);
  }

  #accept(ticket: string, request: IncomingMessage, socket: Duplex): number | undefined {
    const dial = this.#dials.take(ticket);
    if (dial === undefined) return 404;
    if (!dial.standing()) {
      refuseUpgrade(dial.socket, 401);
      this.#tellIfIdle();
      return 404;
    }
    // handleUpgrade answers at once, or refuses a malformed request by itself and never calls back.
    const dialer = this.#open(dial.request, dial.socket);
    const host = dialer === undefined ? undefined : this.#open(request, socket);
    if (dialer === undefined || host === undefined) {
      dialer?.close(CloseCode.pairBroken);
      this.#tellIfIdle();
      return dialer === undefined ? 404 : undefined;
    }
    const { limits, clock, log } = this.options;
    const ids = dial.from === null || dial.from === dial.hostId ? [dial.hostId] : [dial.hostId, dial.from];
    const discounts = ids.map((id) => this.#pairsPerHost.add(id));
    const pair: RelayPair = new RelayPair(dialer, host, {
      limits,
      now: () => clock.now(),
      statistics: this.counts,
      onEnd: () => {
        this.#pairs.delete(pair);
        for (const discount of discounts) discount();
        log({ event: 'pair-ended', hostId: dial.hostId, bytes: pair.bytes, milliseconds: Math.round(clock.now() - pair.openedAt) });
        this.#tellIfIdle();
      },
    });
    this.#pairs.set(pair, dial.standing);
    log({ event: 'paired', hostId: dial.hostId });
    return undefined;
  }

  /** By what a request is let in; undefined where it is not. */
  #admitted(request: IncomingMessage, action: 'register' | 'dial', hostId: string): Admitted | 'everybody' | undefined {
    const { admission } = this.options;
    return admission === undefined ? 'everybody' : admission.admits(request.headers.authorization, action, hostId);
  }

  #standing(admitted: Admitted | 'everybody'): Standing {
    const { admission } = this.options;
    return admitted === 'everybody' || admission === undefined ? () => true : () => admission.stillAdmits(admitted);
  }

  #open(request: IncomingMessage, socket: Duplex): WebSocket | undefined {
    let opened: WebSocket | undefined;
    this.#pairSockets.handleUpgrade(request, socket, Buffer.alloc(0), (webSocket) => (opened = webSocket));
    return opened;
  }
}

/** Ends a request that asked to be upgraded, with an HTTP status and nothing else. `path` is what it asked for, without the first slash. */
export function refuseUpgrade(socket: Duplex, refusal: Refusal, path = ''): void {
  const status = typeof refusal === 'number' ? refusal : 307;
  const advice = typeof refusal !== 'number' ? `Location: ${refusal.elsewhere.replace(/\/$/, '')}/${path}\r\n` : status === 401 ? 'WWW-Authenticate: Bearer\r\n' : status === 429 || status === 503 ? 'Retry-After: 30\r\n' : '';
  socket.end(`HTTP/1.1 ${status} Refused\r\n${advice}Connection: close\r\nContent-Length: 0\r\n\r\n`, () => socket.destroy());
}
