import type { HostClient } from '../host/hostClient';
import { HostError } from '../host/hostError';

export type ConnectionState =
  | { readonly kind: 'connecting' }
  | { readonly kind: 'connected'; readonly client: HostClient }
  /** The host was there and is gone; it is looked for, and not started again unasked: the user may have stopped it. */
  | { readonly kind: 'stopped' }
  | { readonly kind: 'failed'; readonly message: string };

/** Where connections come from: `start` starts the host if none runs, `attach` only finds one that runs. */
export type OpenHost = (how: 'start' | 'attach') => Promise<HostClient>;

export interface ConnectionLog {
  info(message: string): void;
  warn(message: string): void;
}

const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 30_000;

/** The connection of one VS Code window to this account's host: found or started, and found again after it was lost. */
export class HostConnection {
  #state: ConnectionState = { kind: 'connecting' };
  #attempt = 0;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #disposed = false;
  readonly #handlers = new Set<(state: ConnectionState) => void>();

  constructor(
    private readonly openHost: OpenHost,
    private readonly log: ConnectionLog,
    private readonly random: () => number = Math.random,
  ) {}

  get state(): ConnectionState {
    return this.#state;
  }

  /** The client of the connected host. @throws {HostError} `host-unreachable` where there is none now. */
  get client(): HostClient {
    if (this.#state.kind === 'connected') return this.#state.client;
    throw new HostError('host-unreachable', 'Baton is not connected to the host of this machine. Start it from the Threads view and try again.');
  }

  /** Calls `handler` with every later state; returns what ends that. */
  onChange(handler: (state: ConnectionState) => void): () => void {
    this.#handlers.add(handler);
    return () => this.#handlers.delete(handler);
  }

  /** Connects, and starts the host if none runs. Never rejects: how it went is the state. */
  async start(): Promise<void> {
    if (this.#state.kind === 'connected') return;
    this.#attempt = 0;
    await this.#open('start');
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    clearTimeout(this.#retry);
    if (this.#state.kind === 'connected') this.#state.client.dispose();
    this.#handlers.clear();
  }

  async #open(how: 'start' | 'attach'): Promise<void> {
    clearTimeout(this.#retry);
    const attempt = (this.#attempt += 1);
    // An attempt to find a stopped host again is not worth a change of what the views show.
    if (how === 'start') this.#enter({ kind: 'connecting' });
    let client: HostClient;
    try {
      client = await this.openHost(how);
    } catch (error) {
      if (this.#disposed || attempt !== this.#attempt) return;
      const message = error instanceof Error ? error.message : String(error);
      if (how === 'start') {
        this.log.warn(`No connection to the host: ${message}`);
        this.#enter({ kind: 'failed', message });
      }
      this.#retryLater();
      return;
    }
    if (this.#disposed || attempt !== this.#attempt) {
      client.dispose();
      return;
    }
    client.onClose(() => {
      if (this.#disposed || this.#state.kind !== 'connected' || this.#state.client !== client) return;
      this.log.info('The host closed the connection.');
      this.#attempt = 0;
      this.#enter({ kind: 'stopped' });
      this.#retryLater();
    });
    this.log.info('Connected to the host.');
    this.#enter({ kind: 'connected', client });
  }

  #retryLater(): void {
    const longest = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(this.#attempt, 10));
    const delay = longest * (0.5 + this.random() / 2);
    this.#retry = setTimeout(() => void this.#open('attach'), delay);
    this.#retry.unref();
  }

  #enter(state: ConnectionState): void {
    this.#state = state;
    for (const handler of [...this.#handlers]) handler(state);
  }
}
