import type { Duplex } from 'node:stream';
import { WebSocket, type RawData } from 'ws';
import { z } from 'zod';
import { systemClock, type Clock } from './clock';
import { hostIdOf, type KeyPair } from './keys';
import { RelayError } from './relayError';
import { proveKey } from './relayProof';
import { CloseCode, clientOptions, WebSocketStream } from './webSocketStream';

export type RelayClientStatus = 'connecting' | 'connected' | 'errored';

export interface RelayClientOptions {
  /** `ws://` or `wss://`, with a path where the relay sits below one. */
  readonly url: string;
  readonly keyPair: KeyPair;
  /** Somebody dialled this host: the stream is raw and its other end unknown until `acceptChannel` says otherwise. */
  readonly onIncoming: (stream: Duplex) => void;
  readonly log?: { info(message: string): void; warn(message: string): void };
  readonly clock?: Clock;
  /** 0 (inclusive) to 1, for the jitter of reconnecting. */
  readonly random?: () => number;
}

const token = z.string().regex(/^[A-Za-z0-9_-]{43}$/);
const relayMessage = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('challenge'), relayKey: token, nonce: token }),
  z.strictObject({ type: z.literal('registered') }),
  z.strictObject({ type: z.literal('dial'), ticket: token }),
]);

const HEARTBEAT_MS = 10_000;
/** No sign of the relay for so long means that the connection is dead, whatever TCP says. */
const SILENCE_MS = 25_000;
const CONNECT_TIMEOUT_MS = 10_000;
/** A relay that floods its host with dials gets no more connections than this. */
const MAX_PENDING_ACCEPTS = 32;

/** How long to wait before try number `attempt` (from 0): 1 s doubled each time, at most 30 s, half of it jittered so that hosts do not return in step. */
export function reconnectDelayMs(attempt: number, random: number): number {
  return Math.min(30_000, 1000 * 2 ** Math.min(attempt, 10)) * (0.5 + random / 2);
}

/** The WebSocket URL of a path below a relay's URL. Throws `relay-unreachable` for what is no ws:// or wss:// URL. */
function endpoint(url: string, path: string): URL {
  if (!URL.canParse(url) || !/^wss?:$/.test(new URL(url).protocol)) throw new RelayError('relay-unreachable', `${url} is not the URL of a relay. It begins with ws:// or wss://.`);
  return new URL(path, url.endsWith('/') ? url : `${url}/`);
}

/** Keeps a host registered at a relay: connects, proves its key, answers dials, and comes back by itself whatever happens. */
export class RelayClient {
  readonly #clock: Clock;
  readonly #hostId: string;
  readonly #listeners = new Set<() => void>();
  readonly #accepting = new Set<WebSocket>();
  #status: RelayClientStatus = 'connecting';
  #statusMessage: string | null = null;
  #socket: WebSocket | undefined;
  #attempt = 0;
  #lastHeard = 0;
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
    endpoint(this.options.url, 'v1/');
    this.#connect();
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

  #connect(): void {
    this.#setStatus('connecting', this.#statusMessage);
    const socket = new WebSocket(endpoint(this.options.url, `v1/register/${this.#hostId}`), { ...clientOptions, maxPayload: 1024, handshakeTimeout: CONNECT_TIMEOUT_MS });
    this.#socket = socket;
    let problem: string | undefined;
    const heard = (): void => {
      this.#lastHeard = this.#clock.now();
    };
    heard();
    socket.on('error', (error) => (problem ??= error.message));
    socket.on('ping', heard).on('pong', heard);
    socket.on('message', (message, isBinary) => {
      heard();
      // A socket that was given up may still have something to say.
      if (this.#socket === socket) this.#receive(socket, message, isBinary);
    });
    socket.once('close', (code) => {
      if (this.#socket !== socket) return;
      this.#socket = undefined;
      this.#stopTimer();
      this.#lost(closeMessage(code, problem));
    });
    this.#scheduleHeartbeat(socket);
  }

  #receive(socket: WebSocket, message: RawData, isBinary: boolean): void {
    const parsed = isBinary || !Buffer.isBuffer(message) ? undefined : relayMessage.safeParse(parseJson(message)).data;
    switch (parsed?.type) {
      case undefined:
        socket.close(CloseCode.protocolError);
        return;
      case 'challenge':
        try {
          socket.send(JSON.stringify(proveKey(this.options.keyPair, parsed)));
        } catch {
          socket.close(CloseCode.protocolError);
        }
        return;
      case 'registered':
        this.#attempt = 0;
        this.#setStatus('connected', null);
        return;
      case 'dial':
        this.#acceptDial(parsed.ticket);
    }
  }

  #acceptDial(ticket: string): void {
    if (this.#accepting.size >= MAX_PENDING_ACCEPTS) {
      this.options.log?.warn('More dials came at once than this host answers; one was left unanswered.');
      return;
    }
    const socket = new WebSocket(endpoint(this.options.url, `v1/accept/${ticket}`), { ...clientOptions, handshakeTimeout: CONNECT_TIMEOUT_MS });
    this.#accepting.add(socket);
    const stream = new WebSocketStream(socket);
    const onError = (error: Error): void => this.options.log?.warn(`A dial could not be answered: ${error.message}`);
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
    this.#stopTimer = this.#clock.after(delay, () => this.#connect());
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

/**
 * Dials a host through a relay: a raw byte stream to it, to be given to `openChannel` or `pairChannel`. Throws
 * `relay-unreachable`, `host-offline` (not registered, or it did not answer), `relay-refused` (a limit), `timeout` or `cancelled`.
 */
export async function dialThroughRelay(options: { readonly url: string; readonly hostId: string; readonly signal?: AbortSignal; readonly timeoutMs?: number }): Promise<Duplex> {
  const { url, hostId, signal, timeoutMs = 15_000 } = options;
  const socket = new WebSocket(endpoint(url, `v1/dial/${hostId}`), clientOptions);
  const stream = new WebSocketStream(socket);
  return new Promise((resolve, reject) => {
    const settle = (error?: RelayError): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      if (error === undefined) {
        stream.off('error', onError);
        resolve(stream);
        return;
      }
      reject(error);
      socket.terminate();
    };
    const onError = (cause: Error): void => settle(new RelayError('relay-unreachable', `The relay ${url} cannot be reached: ${cause.message}`, { cause }));
    const onAbort = (): void => settle(new RelayError('cancelled', 'Dialling was given up.'));
    const timer = setTimeout(() => settle(new RelayError('timeout', `The relay ${url} did not connect to the host within ${timeoutMs} ms.`)), timeoutMs);
    stream.on('error', onError);
    socket.once('open', () => settle());
    socket.once('unexpected-response', (_request, response) => {
      const status = response.statusCode ?? 0;
      response.resume();
      settle(
        status === 404 || status === 504
          ? new RelayError('host-offline', status === 404 ? `The host ${hostId} is not at the relay ${url}.` : `The host ${hostId} did not answer the relay ${url} in time.`)
          : new RelayError('relay-refused', `The relay ${url} refused to connect (status ${status})${status === 429 || status === 503 ? ': there were too many requests. Try again in a minute' : ''}.`),
      );
    });
    signal?.addEventListener('abort', onAbort, { once: true });
    if (signal?.aborted === true) onAbort();
  });
}

function closeMessage(code: number, problem: string | undefined): string {
  switch (code) {
    case CloseCode.alreadyRegistered:
      return 'Another host process with this identity is connected to the relay.';
    case CloseCode.proofRefused:
      return "The relay did not accept the proof of this host's key.";
    default:
      return problem === undefined ? `The connection to the relay was lost (close code ${code}).` : `The relay cannot be reached: ${problem}`;
  }
}

function parseJson(message: Buffer): unknown {
  try {
    return JSON.parse(message.toString('utf8'));
  } catch {
    return undefined;
  }
}
