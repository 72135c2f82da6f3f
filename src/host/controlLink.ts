import { systemClock, type Clock } from '../relay/clock';
import { reconnectDelayMs } from '../relay/relayClient';
import type { Cursor, HostClient } from './hostClient';
import { HostError } from './hostError';
import { notifications, type NotificationName } from './protocol';

export type ControlState =
  | { readonly kind: 'connecting'; readonly message: string | null }
  /** `missed`: after a gap of which not all can be told. */
  | { readonly kind: 'connected'; readonly client: HostClient; readonly missed: boolean }
  | { readonly kind: 'waiting'; readonly message: string; readonly retryInMs: number }
  /** That it fails again is certain, so it is not tried. */
  | { readonly kind: 'refused'; readonly message: string };

export interface ControlLinkOptions {
  /** Connects to the host, as HostClient does, with these options. */
  readonly connect: (options: { readonly after: Cursor; readonly prepare: (client: HostClient) => void; readonly signal: AbortSignal }) => Promise<HostClient>;
  readonly onState: (state: ControlState) => void;
  /** What the host told, in order and once; Baton's own and Codex's. */
  readonly onEvent: (method: string, params: unknown) => void;
  readonly clock?: Clock;
  readonly random?: () => number;
}

/** Reasons for which the next try would fail as well. */
const FINAL = ['not-permitted', 'no-such-host', 'protocol-mismatch', 'invalid-params'] as const;

/**
 * A controller's connection to a host that stays: lost for whatever reason (sleep, a drop, a relay or host that starts again, another address) it is
 * made again, after a time that grows and is never the same for all, and goes on hearing where it stopped.
 */
export class ControlLink {
  #state: ControlState = { kind: 'connecting', message: null };
  #cursor: Cursor = { run: null, after: 0 };
  #attempt = 0;
  #wasConnected = false;
  #trying: AbortController | undefined;
  #stopTimer: () => void = () => undefined;
  #disposed = false;

  constructor(private readonly options: ControlLinkOptions) {}

  get state(): ControlState {
    return this.#state;
  }

  start(): void {
    if (this.#trying === undefined && this.#state.kind !== 'connected') void this.#connect();
  }

  /** Something has changed that may let it through: what waits is tried at once, also what was refused. */
  retry(): void {
    if (this.#disposed || (this.#state.kind !== 'waiting' && this.#state.kind !== 'refused')) return;
    this.#stopTimer();
    void this.#connect();
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#stopTimer();
    this.#trying?.abort();
    if (this.#state.kind === 'connected') this.#state.client.dispose();
  }

  async #connect(): Promise<void> {
    const trying = new AbortController();
    this.#trying = trying;
    this.#enter({ kind: 'connecting', message: 'message' in this.#state ? this.#state.message : null });
    try {
      const client = await this.options.connect({ after: this.#cursor, signal: trying.signal, prepare: (prepared) => this.#hear(prepared) });
      if (this.#disposed) {
        client.dispose();
        return;
      }
      this.#attempt = 0;
      this.#cursor = client.cursor ?? this.#cursor;
      const missed = this.#wasConnected && client.host.baton.events?.missed !== false;
      this.#wasConnected = true;
      this.#enter({ kind: 'connected', client, missed });
      client.onClose(() => {
        if (!this.#disposed) this.#wait('The connection was lost.');
      });
    } catch (error) {
      if (this.#disposed) return;
      const message = error instanceof Error ? error.message : String(error);
      if (HostError.is(error) && (FINAL as readonly string[]).includes(error.reason)) this.#enter({ kind: 'refused', message });
      else this.#wait(message);
    } finally {
      this.#trying = undefined;
    }
  }

  #hear(client: HostClient): void {
    const hear = (method: string, params: unknown): void => {
      this.#cursor = client.cursor ?? this.#cursor;
      if (!this.#disposed) this.options.onEvent(method, params);
    };
    client.onCodex(hear);
    for (const name of Object.keys(notifications) as NotificationName[]) client.on(name, (value) => hear(name, value));
  }

  #wait(message: string): void {
    const retryInMs = reconnectDelayMs(this.#attempt++, (this.options.random ?? Math.random)());
    this.#stopTimer = (this.options.clock ?? systemClock).after(retryInMs, () => void this.#connect());
    this.#enter({ kind: 'waiting', message, retryInMs });
  }

  #enter(state: ControlState): void {
    this.#state = state;
    this.options.onState(state);
  }
}
