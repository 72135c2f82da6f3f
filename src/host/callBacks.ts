import { randomBytes } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { HostError } from './hostError';

/** The other host has to dial, be let in, and start what it needs for that. */
const CALL_TIMEOUT_MS = 60_000;

/**
 * Streams that this host asked another one for, which can reach this host though this one cannot reach it: over ssh. The other host dials, names the
 * ticket, and this host begins the channel. Only a process of this account brings a ticket here, and the channel proves who is at the other end.
 */
export class CallBacks {
  private readonly waiting = new Map<string, (stream: Duplex) => void>();

  /** A stream from the other host; `ask` tells it the ticket. Throws what `ask` throws, HostError `host-offline`, `cancelled`. */
  async request(ask: (ticket: string) => Promise<unknown>, signal: AbortSignal): Promise<Duplex> {
    const ticket = randomBytes(16).toString('hex');
    let stop: () => void = () => undefined;
    const came = new Promise<Duplex>((resolve, reject) => {
      const timer = setTimeout(() => reject(new HostError('host-offline', 'The other host was asked to connect to this one, and did not.')), CALL_TIMEOUT_MS);
      const onAbort = () => reject(new HostError('cancelled', 'Cancelled.'));
      signal.addEventListener('abort', onAbort, { once: true });
      if (signal.aborted) onAbort();
      stop = () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
        this.waiting.delete(ticket);
      };
      this.waiting.set(ticket, resolve);
    });
    came.catch(() => undefined);
    try {
      const [stream] = await Promise.all([came, ask(ticket)]);
      return stream;
    } finally {
      stop();
    }
  }

  /** A stream that names a ticket has come; one that nobody waits for ends. */
  arrive(ticket: string, stream: Duplex): void {
    const take = this.waiting.get(ticket);
    if (take === undefined) {
      stream.on('error', () => undefined).destroy();
      return;
    }
    this.waiting.delete(ticket);
    take(stream);
  }
}
