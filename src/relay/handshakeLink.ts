import type { Duplex } from 'node:stream';
import type { Clock } from './clock';
import { FrameSplitter, frameOf } from './frames';
import { MAX_HANDSHAKE_LENGTH } from './preamble';
import { RelayError } from './relayError';
import type { MessageLink } from './shakeHands';

/** Message by message over a byte stream, while a handshake lasts. What came too early is left in `splitter` for the channel. */
export class HandshakeLink implements MessageLink {
  readonly splitter = new FrameSplitter();
  bytesSent = 0;
  bytesReceived = 0;
  #failure: RelayError | undefined;
  #wake: (() => void) | undefined;

  private constructor(readonly stream: Duplex) {
    this.splitter.maxLength = MAX_HANDSHAKE_LENGTH;
  }

  /**
   * Runs a handshake under one deadline. Whatever goes wrong, the stream is destroyed and the other side told nothing.
   * Throws `timeout`, `cancelled`, or what the handshake throws.
   */
  static async run<T>(stream: Duplex, deadline: { readonly clock: Clock; readonly timeoutMs: number; readonly signal: AbortSignal | undefined }, handshake: (link: HandshakeLink) => Promise<T>): Promise<T> {
    const link = new HandshakeLink(stream);
    const onData = (chunk: Uint8Array): void => {
      link.bytesReceived += chunk.length;
      link.splitter.push(chunk);
      // One chunk at a time: before the other side is known it gets no more memory than that.
      stream.pause();
      link.#wake?.();
    };
    const fail = (error: RelayError): void => {
      link.#failure ??= error;
      link.#wake?.();
    };
    const onError = (cause: Error): void => fail(RelayError.is(cause) ? cause : new RelayError('handshake-failed', 'The connection broke during the handshake.', { cause }));
    const onClose = (): void => fail(new RelayError('handshake-failed', 'The other side closed the connection during the handshake: it does not know this key or this invite, or speaks another version.'));
    const onAbort = (): void => fail(new RelayError('cancelled', 'The connection was given up before it was made.'));
    const stopTimer = deadline.clock.after(deadline.timeoutMs, () => fail(new RelayError('timeout', `The other side did not finish the handshake within ${deadline.timeoutMs} ms.`)));
    stream.on('data', onData).on('error', onError).on('end', onClose).on('close', onClose);
    deadline.signal?.addEventListener('abort', onAbort, { once: true });
    if (deadline.signal?.aborted === true) onAbort();
    if (stream.destroyed) onClose();
    try {
      return await handshake(link);
    } catch (error) {
      // Errors of a stream that is being given up have nobody else to hear them.
      stream.on('error', () => undefined);
      stream.destroy();
      throw RelayError.is(error) && error.reason !== 'decrypt-failed' && error.reason !== 'channel-corrupt' && error.reason !== 'key-invalid'
        ? error
        : new RelayError('handshake-failed', 'The handshake failed: the other side has another key or another secret, or something in between changed a message.', { cause: error });
    } finally {
      stopTimer();
      deadline.signal?.removeEventListener('abort', onAbort);
      stream.off('data', onData).off('error', onError).off('end', onClose).off('close', onClose);
    }
  }

  async read(): Promise<Uint8Array> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure;
      const message = this.splitter.next();
      if (message !== undefined) return message;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        this.stream.resume();
      });
      this.#wake = undefined;
    }
  }

  write(message: Uint8Array): void {
    this.writeFrame(frameOf(message));
  }

  writeFrame(frame: Uint8Array): void {
    if (this.#failure !== undefined) throw this.#failure;
    this.bytesSent += frame.length;
    this.stream.write(frame);
  }
}
