import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import type { z } from 'zod';
import { systemClock, type Clock } from './clock';
import { hostIdOf, type KeyPair } from './keys';
import { connectTo, isRelayUrl, nodeOf, notAdmitted, onRefusal, refusalOf, type NamedNode } from './relayEndpoint';
import { RelayError } from './relayError';
import type { TokenSource } from './relayMembership';
import { MAX_MESSAGE_BYTES, readMessage, toHost } from './relayMessages';
import { proveKey } from './relayProof';
import { CloseCode, WebSocketStream } from './webSocketStream';

export type RelayClientStatus = 'connecting' | 'connected' | 'errored';

export interface RelayClientOptions {
  /** `ws://` or `wss://`, with a path where the relay sits below one. */
  readonly url: string;
  readonly keyPair: KeyPair;
  /** The right to use the relay, where it asks for one. */
  readonly membership?: TokenSource | undefined;
  /** Somebody dialled this host: the stream is raw and its other end unknown until `acceptChannel` says otherwise. */
  readonly onIncoming: (stream: Duplex) => void;
  readonly log?: { info(message: string): void; warn(message: string): void };
  readonly clock?: Clock;
  /** 0 (inclusive) to 1, for the jitter of reconnecting. */
  readonly random?: () => number;
}

const HEARTBEAT_MS = 10_000;
/** No sign of the relay for so long means that the connection is dead, whatever TCP says. */
const SILENCE_MS = 25_000;
/** A relay that floods its host with dials gets no more connections than this. */
const MAX_PENDING_ACCEPTS = 32;

/** How long to wait before try number `attempt` (from 0): 1 s doubled each time, at most 30 s, half of it jittered so that hosts do not return in step. */
export function reconnectDelayMs(attempt: number, random: number): number {
  return Math.min(30_000, 1000 * 2 ** Math.min(attempt, 10)) * (0.5 + random / 2);
}

/** Keeps a host registered at a relay: connects, proves its key, answers dials, and comes back by itself whatever happens. */
export class RelayClient {
  readonly #clock: Clock;
  readonly #hostId: string;
  readonly #listeners = new Set<() => void>();
  readonly #accepting = new Set<WebSocket>();
  #isFlooded = false;
  #status: RelayClientStatus = 'connecting';
  #statusMessage: string | null = null;
  #socket: WebSocket | undefined;
  #attempt = 0;
  #lastHeard = 0;
  /** Where the relay was found. */
  #address: string | undefined;
  #stopTimer: () => void = () => undefined;
  #state: 'idle' | 'started' | 'disposed' = 'idle';

  constructor(private readonly options: RelayClientOptions) {
    this.#clock = options.clock ?? systemClock;
    this.#hostId = hostIdOf(options.keyPair.publicKey);
  }

  get status(): RelayClientStatus {
    return this.#status;
  }

  /** Why the status is `errored`, for people; else null. */
  get statusMessage(): string | null {
    return this.#statusMessage;
  }

  /** Calls back after each change of status or message, until the returned function is called. */
  onStatusChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Connects, now and after every loss. Throws `relay-unreachable` for a URL that can never work. */
  start(): void {
    if (this.#state !== 'idle') return;
    this.#state = 'started';
    if (!isRelayUrl(this.options.url)) throw new RelayError('relay-unreachable', `${this.options.url} is not the URL of a relay. It begins with ws:// or wss://.`);
    void this.#connect();
  }

  /** Resolves once this host is registered. Throws `cancelled` when the signal or `dispose` comes first. */
  async whenConnected(signal?: AbortSignal): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const settle = (): void => {
        const cancelled = signal?.aborted === true || this.#state === 'disposed';
        if (!cancelled && this.#status !== 'connected') return;
        stopListening();
        signal?.removeEventListener('abort', settle);
        if (cancelled) reject(new RelayError('cancelled', `Waiting for the relay ${this.options.url} was given up${this.#statusMessage === null ? '' : `: ${this.#statusMessage}`}.`));
        else resolve();
      };
      const stopListening = this.onStatusChange(settle);
      signal?.addEventListener('abort', settle);
      settle();
    });
  }

  /** Leaves the relay. Streams that were handed out live on. */
  dispose(): void {
    if (this.#state === 'disposed') return;
    this.#state = 'disposed';
    this.#stopTimer();
    this.#socket?.close(CloseCode.goingAway);
    this.#socket = undefined;
    for (const socket of this.#accepting) socket.terminate();
    for (const listener of [...this.#listeners]) listener();
  }

  async #connect(): Promise<void> {
    this.#setStatus('connecting', this.#statusMessage);
    const { url, membership } = this.options;
    let token: string | undefined;
    try {
      token = await membership?.token();
    } catch (error) {
      this.#lost(error instanceof Error ? error.message : String(error));
      return;
    }
    if (this.#state === 'disposed') return;
    const socket = connectTo(url, `v1/register/${this.#hostId}`, { token, maxPayload: MAX_MESSAGE_BYTES });
    this.#socket = socket;
    let problem: string | undefined;
    let isChallenged = false;
    const heard = (): void => {
      this.#lastHeard = this.#clock.now();
    };
    heard();
    socket.on('error', (error) => (problem ??= `The relay cannot be reached: ${error.message}`));
    onRefusal(socket, (status) => {
      problem ??= refusalOf(url, status).message;
      // The relay may have begun anew, with another key, since it gave the token.
      if (status === 401) membership?.forget();
    });
    socket.once('upgrade', ({ socket: { remoteAddress } }) => (this.#address = remoteAddress));
    socket.on('ping', heard).on('pong', heard);
    socket.on('message', (message, isBinary) => {
      heard();
      // A socket that was given up may still have something to say.
      if (this.#socket !== socket) return;
      const said = readMessage(toHost, message, isBinary);
      // Each answer takes this host a key agreement; one is what a registration needs.
      if (said === undefined || (said.type === 'challenge' && isChallenged)) socket.close(CloseCode.protocolError);
      else this.#receive(socket, said);
      isChallenged ||= said?.type === 'challenge';
    });
    socket.once('close', (code) => {
      if (this.#socket !== socket) return;
      this.#socket = undefined;
      this.#stopTimer();
      if (code === CloseCode.notAdmitted) membership?.forget();
      // It was there and is about to end; another node may be there already.
      if (code === CloseCode.restart) this.#attempt = 0;
      this.#lost(problem ?? closeMessage(url, code));
    });
    this.#scheduleHeartbeat(socket);
  }

  #receive(socket: WebSocket, said: z.infer<typeof toHost>): void {
    switch (said.type) {
      case 'challenge':
        try {
          socket.send(JSON.stringify(proveKey(this.options.keyPair, said)));
        } catch {
          socket.close(CloseCode.protocolError);
        }
        return;
      case 'registered':
        this.#attempt = 0;
        this.#setStatus('connected', null);
        return;
      case 'dial':
        this.#acceptDial(said.ticket, said.at);
    }
  }

  #acceptDial(ticket: string, at: string | undefined): void {
    if (this.#accepting.size >= MAX_PENDING_ACCEPTS) {
      if (!this.#isFlooded) this.options.log?.warn('More dials came at once than this host answers; the others are left unanswered.');
      this.#isFlooded = true;
      return;
    }
    this.#isFlooded = false;
    const { url, log } = this.options;
    const node: NamedNode | undefined = at === undefined ? { url, publicOnly: false } : nodeOf(url, at, this.#address);
    if (node === undefined) {
      log?.warn('A dial was left unanswered: the relay wanted this host to come for it to where it has no node.');
      return;
    }
    const socket = connectTo(node.url, `v1/accept/${ticket}`, node);
    this.#accepting.add(socket);
    const stream = new WebSocketStream(socket);
    const onError = (error: Error): void => log?.warn(`A dial could not be answered: ${error.message}`);
    stream.on('error', onError);
    socket.once('close', () => this.#accepting.delete(socket));
    socket.once('open', () => {
      this.#accepting.delete(socket);
      this.options.onIncoming(stream);
      // From here on errors are the new owner's to hear; without one they must not end the process.
      if (stream.listenerCount('error') > 1) stream.off('error', onError);
    });
  }

  #scheduleHeartbeat(socket: WebSocket): void {
    this.#stopTimer = this.#clock.after(HEARTBEAT_MS / 2, () => {
      if (this.#clock.now() - this.#lastHeard > SILENCE_MS) socket.terminate();
      else {
        if (socket.readyState === socket.OPEN && this.#clock.now() - this.#lastHeard >= HEARTBEAT_MS / 2) socket.ping();
        this.#scheduleHeartbeat(socket);
      }
    });
  }

  #lost(message: string): void {
    if (this.#state === 'disposed') return;
    const delay = reconnectDelayMs(this.#attempt++, (this.options.random ?? Math.random)());
    this.#setStatus('errored', message);
    this.#stopTimer = this.#clock.after(delay, () => void this.#connect());
  }

  #setStatus(status: RelayClientStatus, message: string | null): void {
    if (status === this.#status && message === this.#statusMessage) return;
    this.#status = status;
    this.#statusMessage = message;
    if (status === 'errored') this.options.log?.warn(`Relay: ${message ?? status}`);
    else this.options.log?.info(`Relay: ${status}`);
    for (const listener of [...this.#listeners]) listener();
  }
}

function closeMessage(url: string, code: number): string {
  switch (code) {
    case CloseCode.alreadyRegistered:
      return "Another host with this one's identity is connected to the relay: its identity.json was copied. Every machine needs a key of its own: on the one with the copy, end the host, move identity.json, peers.json and devices.json aside, start it and pair it again.";
    case CloseCode.proofRefused:
      return "The relay did not accept the proof of this host's key.";
    case CloseCode.notAdmitted:
      return notAdmitted(url);
    case CloseCode.tryAgain:
      return 'The relay cannot say just now whether this host is at another of its nodes; this host comes back to it.';
    case CloseCode.goingAway:
      return 'The relay ended the connection, as it does with each once a day; this host comes back to it.';
    case CloseCode.restart:
      return 'The relay is about to end; this host comes back to it.';
    default:
      return `The connection to the relay was lost (close code ${code}).`;
  }
}
