import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { encodeBase64url } from './base64url';
import type { Clock } from './clock';
import { randomBytes } from './keys';
import type { Standing } from './relayHosts';
import type { RelayLimits } from './relayLimits';
import { Tally } from './tally';

/** A dialer whose WebSocket handshake waits until the host has come for it; so it cannot send, and nothing need be held for it. */
export interface PendingDial {
  readonly hostId: string;
  /** The host that dials, where admission tells. */
  readonly from: string | null;
  /** Whether both are still let in. */
  readonly standing: Standing;
  readonly request: IncomingMessage;
  readonly socket: Duplex;
}

/** The dials that wait for their host, each under a ticket that works once. */
export class RelayDials {
  readonly #pending = new Map<string, PendingDial & { readonly forget: () => void }>();
  readonly #perHost = new Tally();

  constructor(private readonly options: { readonly limits: RelayLimits; readonly clock: Clock; /** A dial has ended that no host came for. */ readonly onLeft: () => void }) {}

  get size(): number {
    return this.#pending.size;
  }

  waitingFor(hostId: string): number {
    return this.#perHost.of(hostId);
  }

  /** Lets a dial wait; `onTimeout` runs if the host does not come in time. A dialer that goes or speaks too early is forgotten. */
  wait(dial: PendingDial, onTimeout: () => void): string {
    const ticket = encodeBase64url(randomBytes(32));
    const { socket } = dial;
    const abandon = (): void => {
      this.take(ticket);
      socket.destroy();
      this.options.onLeft();
    };
    const stopTimer = this.options.clock.after(this.options.limits.acceptTimeoutMs, () => {
      this.take(ticket);
      onTimeout();
      this.options.onLeft();
    });
    const discount = this.#perHost.add(dial.hostId);
    const forget = (): void => {
      stopTimer();
      discount();
      socket.off('data', abandon).off('end', abandon).off('close', abandon).off('error', abandon);
      // Between here and the next reader an error must not go unheard.
      socket.on('error', () => undefined);
    };
    // It has to be read for its going to be seen; a client must not send before its handshake is answered.
    socket.on('data', abandon).on('end', abandon).on('close', abandon).on('error', abandon);
    this.#pending.set(ticket, { ...dial, forget });
    return ticket;
  }

  /** Under which tickets dials wait for a host. */
  ticketsFor(hostId: string): string[] {
    return [...this.#pending].flatMap(([ticket, dial]) => (dial.hostId === hostId ? [ticket] : []));
  }

  /** The dial of a ticket, once. */
  take(ticket: string): PendingDial | undefined {
    const dial = this.#pending.get(ticket);
    this.#pending.delete(ticket);
    dial?.forget();
    return dial;
  }

  /** Ends every dial that waits. */
  close(): void {
    for (const [ticket, { socket }] of this.#pending) {
      this.take(ticket);
      socket.destroy();
    }
  }
}
