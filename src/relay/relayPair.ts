import type { RawData, WebSocket } from 'ws';
import type { RelayLimits } from './relayLimits';
import { CloseCode } from './webSocketStream';

/**
 * What it takes to keep a message that waits, besides its bytes: measured with messages of one byte, of which a million took 460 MiB.
 * Without it a queue of small messages would be bounded in name only.
 */
const MESSAGE_BYTES = 512;
/**
 * A connection that is not read any more still hands over what its last read brought, 64 KiB on the wire. Only messages far smaller than
 * Baton's make more of that than this.
 */
const MAX_OVERRUN_BYTES = 512 * 1024;

/** What a relay counts, over all pairs. */
export interface PairStatistics {
  bytesForwarded: number;
  /** Memory that what waits now takes, of all pairs. */
  queuedBytes: number;
  /** The most that one direction of any pair ever had waiting, counted alike. */
  peakQueuedBytes: number;
}

interface Side {
  readonly socket: WebSocket;
  /** What was sent to this side and is not yet taken by its connection: bytes, and what keeping each message takes. */
  queued: number;
  /** What this side sent, counted alike, since it is not read any more. */
  overrun: number;
  lastHeard: number;
  /** When its connection last took something, or had nothing to take. */
  lastTook: number;
}

/** Two WebSockets joined: what one sends, the other gets, and neither is read faster than the other takes it. */
export class RelayPair {
  readonly openedAt: number;
  bytes = 0;
  readonly #sides: readonly [Side, Side];
  #ended = false;

  constructor(
    dialer: WebSocket,
    host: WebSocket,
    private readonly options: { readonly limits: Pick<RelayLimits, 'maxQueuedBytes' | 'maxQueuedBytesInAll' | 'idleTimeoutMs' | 'stallTimeoutMs' | 'maxAgeMs'>; readonly now: () => number; readonly statistics: PairStatistics; readonly onEnd: () => void },
  ) {
    this.openedAt = options.now();
    this.#sides = [
      { socket: dialer, queued: 0, overrun: 0, lastHeard: this.openedAt, lastTook: this.openedAt },
      { socket: host, queued: 0, overrun: 0, lastHeard: this.openedAt, lastTook: this.openedAt },
    ];
    this.#forward(this.#sides[0], this.#sides[1]);
    this.#forward(this.#sides[1], this.#sides[0]);
  }

  /** Ends the pair where it is too old, a side is silent (one that is not being read cannot be blamed), or takes nothing of what waits for it. */
  sweep(): void {
    const now = this.options.now();
    const { idleTimeoutMs, stallTimeoutMs, maxAgeMs } = this.options.limits;
    const isOver = this.#sides.some(({ socket, queued, lastHeard, lastTook }) => (now - lastHeard > idleTimeoutMs && !socket.isPaused) || (now - lastTook > stallTimeoutMs && queued > 0));
    if (isOver || now - this.openedAt > maxAgeMs) this.terminate();
  }

  /** Ends both sides at once. */
  terminate(): void {
    for (const { socket } of this.#sides) socket.terminate();
  }

  #forward(from: Side, to: Side): void {
    const { limits, statistics } = this.options;
    from.socket.on('message', (message: RawData, isBinary: boolean) => {
      // What one read of the connection brought comes to its end, even when the socket is about to end.
      if (from.socket.readyState !== from.socket.OPEN) return;
      // An empty message carries nothing and costs as much as any.
      if (!isBinary || !Buffer.isBuffer(message) || message.length === 0) {
        from.socket.close(CloseCode.protocolError);
        // It may answer that or not; it says nothing more.
        from.socket.terminate();
        return;
      }
      const cost = message.length + MESSAGE_BYTES;
      from.lastHeard = this.options.now();
      if (to.socket.readyState !== to.socket.OPEN) return;
      if (from.socket.isPaused && (from.overrun += cost) > MAX_OVERRUN_BYTES) {
        this.terminate();
        return;
      }
      if (to.queued === 0) to.lastTook = from.lastHeard;
      to.queued += cost;
      this.bytes += message.length;
      statistics.bytesForwarded += message.length;
      statistics.queuedBytes += cost;
      statistics.peakQueuedBytes = Math.max(statistics.peakQueuedBytes, to.queued);
      to.socket.send(message, { binary: true, compress: false }, () => {
        to.queued -= cost;
        statistics.queuedBytes -= cost;
        to.lastTook = this.options.now();
        // Where all pairs together hold too much, each goes on only when what it sent last is gone.
        if (to.queued > (statistics.queuedBytes < limits.maxQueuedBytesInAll ? limits.maxQueuedBytes / 2 : 0)) return;
        if (from.socket.isPaused) from.lastHeard = to.lastTook;
        from.overrun = 0;
        from.socket.resume();
      });
      if (to.queued >= limits.maxQueuedBytes || statistics.queuedBytes >= limits.maxQueuedBytesInAll) from.socket.pause();
    });
    from.socket.on('error', () => undefined);
    from.socket.once('close', (code: number) => {
      // The close frame follows all that was sent to the other side before it.
      to.socket.close(code === CloseCode.ended ? CloseCode.ended : CloseCode.pairBroken);
      // It must be read to its end to be seen closing.
      to.socket.resume();
      if (this.#ended) return;
      this.#ended = true;
      this.options.onEnd();
    });
  }
}
