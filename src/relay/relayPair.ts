import type { RawData, WebSocket } from 'ws';
import { CloseCode } from './webSocketStream';

/** What a relay counts, over all pairs. */
export interface PairStatistics {
  bytesForwarded: number;
  /** The most bytes that one direction of any pair ever had waiting. */
  peakQueuedBytes: number;
}

interface Side {
  readonly socket: WebSocket;
  /** Bytes sent to this side and not yet taken by its connection. */
  queued: number;
  lastHeard: number;
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
    private readonly options: { readonly maxQueuedBytes: number; readonly now: () => number; readonly statistics: PairStatistics; readonly onEnd: () => void },
  ) {
    this.openedAt = options.now();
    this.#sides = [
      { socket: dialer, queued: 0, lastHeard: this.openedAt },
      { socket: host, queued: 0, lastHeard: this.openedAt },
    ];
    this.#forward(this.#sides[0], this.#sides[1]);
    this.#forward(this.#sides[1], this.#sides[0]);
  }

  /** Whether a side has said nothing since `time`; a side that is not being read cannot be blamed. */
  isSilentSince(time: number): boolean {
    return this.#sides.some(({ socket, lastHeard }) => lastHeard < time && !socket.isPaused);
  }

  /** Ends both sides at once. */
  terminate(): void {
    for (const { socket } of this.#sides) socket.terminate();
  }

  #forward(from: Side, to: Side): void {
    const { maxQueuedBytes, statistics } = this.options;
    from.socket.on('message', (message: RawData, isBinary: boolean) => {
      if (!isBinary || !Buffer.isBuffer(message)) {
        from.socket.close(CloseCode.protocolError);
        return;
      }
      const { length } = message;
      from.lastHeard = this.options.now();
      if (to.socket.readyState !== to.socket.OPEN) return;
      to.queued += length;
      this.bytes += length;
      statistics.bytesForwarded += length;
      statistics.peakQueuedBytes = Math.max(statistics.peakQueuedBytes, to.queued);
      to.socket.send(message, { binary: true, compress: false }, () => {
        to.queued -= length;
        if (to.queued <= maxQueuedBytes / 2) {
          if (from.socket.isPaused) from.lastHeard = this.options.now();
          from.socket.resume();
        }
      });
      if (to.queued >= maxQueuedBytes) from.socket.pause();
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
