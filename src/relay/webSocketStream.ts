import { Duplex } from 'node:stream';
import type { RawData, WebSocket } from 'ws';
import { PREFIX_LENGTH } from './frames';
import { MAX_MESSAGE_LENGTH } from './noise/cipherState';
import { RelayError } from './relayError';

/** WebSocket close codes of the relay protocol. 1000 means that a direction-less stream ended as intended. */
export const CloseCode = {
  ended: 1000,
  goingAway: 1001,
  /** The relay cannot say just now whether the host is elsewhere. */
  tryAgain: 1013,
  /** The relay is about to end; come back, to whichever node answers. */
  restart: 1012,
  /** The other half of a pair is gone, or a limit of age or silence was reached. */
  pairBroken: 4000,
  protocolError: 4001,
  /** Another connection with proof of the same key is alive. */
  alreadyRegistered: 4002,
  proofRefused: 4004,
  /** No right to use this relay was shown, or it has ended. */
  notAdmitted: 4005,
} as const;

/** One WebSocket message carries at most this much: one frame of a channel. A relay refuses more than `maxFrameBytes`. */
const MAX_FRAME_LENGTH = PREFIX_LENGTH + MAX_MESSAGE_LENGTH;
const HIGH_WATER_MARK = 256 * 1024;
/** Bytes handed to the WebSocket and not yet to the kernel, before writing waits. */
const MAX_UNSENT_BYTES = 1024 * 1024;

/**
 * Options for every client WebSocket of Baton. The mask is all zero, against RFC 6455 section 5.3: unpredictable masks
 * protect proxies from bytes that a web page chose, whereas here nothing but AEAD ciphertext and this program's own
 * protocol is sent, by no browser. Masking in JavaScript was measured to cost two thirds of the throughput, and the
 * native helper of `ws` cannot travel in a bundle; `ws` skips a zero mask at both ends.
 */
export const clientOptions = {
  perMessageDeflate: false,
  maxPayload: 1024 * 1024,
  generateMask: (mask: Buffer): void => void mask.fill(0),
  followRedirects: false,
} as const;

/**
 * A WebSocket as a byte stream, with back-pressure both ways. WebSockets have no half-close: ending this stream flushes
 * what was written and then closes both directions, so what is spoken over it must agree first on who is done (a
 * `Channel` does). Any close but the orderly one is an error (`channel-closed`), never an end.
 */
export class WebSocketStream extends Duplex {
  readonly #socket: WebSocket;
  #waiting: (() => void) | undefined;

  constructor(socket: WebSocket) {
    super({ readableHighWaterMark: HIGH_WATER_MARK, writableHighWaterMark: HIGH_WATER_MARK, autoDestroy: true });
    this.#socket = socket;
    socket.on('message', this.#onMessage);
    socket.once('close', this.#onClose);
    socket.on('error', (cause) => this.destroy(new RelayError('channel-closed', `The connection to the relay broke: ${cause.message}`, { cause })));
  }

  override _read(): void {
    if (this.#socket.isPaused) this.#socket.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    if (this.#socket.readyState !== this.#socket.OPEN) {
      callback(new RelayError('channel-closed', 'The connection to the relay is closed.'));
      return;
    }
    const sent = (error?: Error | null): void => {
      if (error !== undefined && error !== null) this.destroy(error);
      else if (this.#socket.bufferedAmount < MAX_UNSENT_BYTES) this.#release();
    };
    // Nothing to write makes no message: a relay takes no empty ones.
    for (let offset = 0; offset < chunk.length; offset += MAX_FRAME_LENGTH) {
      this.#socket.send(chunk.subarray(offset, offset + MAX_FRAME_LENGTH), { binary: true, compress: false }, sent);
    }
    if (this.#socket.bufferedAmount < MAX_UNSENT_BYTES) callback();
    else this.#waiting = callback;
  }

  override _final(callback: (error?: Error | null) => void): void {
    // The close frame goes out after everything written; its answer ends the readable side.
    this.#socket.close(CloseCode.ended);
    callback();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#socket.off('message', this.#onMessage);
    this.#release();
    // An orderly close is under way: cutting the connection now could lose its last bytes.
    if (error !== null || !this.writableFinished) this.#socket.terminate();
    else this.#socket.resume();
    callback(error);
  }

  #release(): void {
    const callback = this.#waiting;
    this.#waiting = undefined;
    callback?.();
  }

  readonly #onMessage = (message: RawData, isBinary: boolean): void => {
    if (!isBinary || !Buffer.isBuffer(message)) {
      this.destroy(new RelayError('channel-corrupt', 'The other side sent text where only bytes are allowed.'));
      return;
    }
    if (!this.push(message)) this.#socket.pause();
  };

  readonly #onClose = (code: number): void => {
    if (code === CloseCode.ended) this.push(null);
    else this.destroy(new RelayError('channel-closed', code === CloseCode.pairBroken ? 'The relay ended the connection: the other side is gone, or was silent for too long.' : `The connection to the relay was lost (close code ${code}).`));
  };
}
