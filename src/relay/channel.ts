import { Duplex } from 'node:stream';
import { systemClock, type Clock } from './clock';
import { ChunkSource, FrameKind, FrameOpener, FrameSealer } from './frames';
import type { HandshakeLink } from './handshakeLink';
import { hostIdOf } from './keys';
import { MAX_MESSAGE_LENGTH } from './noise/cipherState';
import type { HandshakeRole } from './noise/handshakeState';
import type { ChannelPattern, ChannelPurpose } from './preamble';
import { RelayError } from './relayError';
import type { Established } from './shakeHands';

/** What every way of opening a channel takes besides the keys. */
export interface ChannelOptions {
  readonly signal?: AbortSignal | undefined;
  /** For the whole handshake; 10 s if not given. */
  readonly handshakeTimeoutMs?: number | undefined;
  readonly clock?: Clock | undefined;
}

const HIGH_WATER_MARK = 512 * 1024;
/**
 * How long a side is silent before it says that it is alive. After two and a half times this without a word from the other
 * side the channel ends, and it is looked for every half: a dead link ends it within 30 s.
 */
const HEARTBEAT_MS = 10_000;
/** A key that has been used is replaced after this time even if little was sent. */
const REKEY_AFTER_MS = 10 * 60_000;
/** How long the other side may take nothing of what waits for it, or leave the end of a direction without an answer. A relay waits as long. */
const STALL_MS = 10 * 60_000;
/** How long the stream below may take to close once both sides have all that was sent. */
const LINGER_MS = 10_000;

/**
 * A mutually authenticated, encrypted byte stream over any byte stream (a relay, ssh, a socket). It ends, as a Duplex
 * ends, only where the other side said so under its key; a connection that just stops is an error. `finish` means more
 * than usual: the other side has received everything. Errors are `RelayError`s; the other side learns none of them.
 */
export class Channel extends Duplex {
  readonly purpose: ChannelPurpose;
  readonly pattern: ChannelPattern;
  readonly role: HandshakeRole;
  /** The room of the invite, for `XXpsk3`; else empty. */
  readonly room: string;
  /** The other side's static public key, proven by the handshake. */
  readonly remoteKey: Uint8Array;
  readonly remoteHostId: string;
  /** The same 32 bytes on both sides and on no other channel; what is bound to them is bound to this channel. */
  readonly handshakeHash: Uint8Array;

  readonly #stream: Duplex;
  readonly #link: HandshakeLink;
  readonly #sealer: FrameSealer;
  readonly #opener: FrameOpener;
  readonly #clock: Clock;
  #stopHeartbeat: () => void = () => undefined;
  #lastSent: number;
  #lastReceived: number;
  #lastRekey: number;
  /** Since when the other side owes something: room for more, or the answer to an end. */
  #owedSince: number | undefined;
  #paused = true;
  #endSent = false;
  #endAcknowledged = false;
  #remoteEnded = false;
  #pendingWrite: ((error?: Error | null) => void) | undefined;
  #pendingFinal: ((error?: Error | null) => void) | undefined;

  /** Made by `openChannel`, `pairChannel` and `acceptChannel` (openChannel.ts) only. */
  constructor(link: HandshakeLink, { session, preamble, role, remoteKey }: Established, options: ChannelOptions) {
    super({ readableHighWaterMark: HIGH_WATER_MARK, writableHighWaterMark: HIGH_WATER_MARK });
    this.purpose = preamble.purpose;
    this.pattern = preamble.pattern;
    this.role = role;
    this.room = preamble.room;
    this.remoteKey = remoteKey;
    this.remoteHostId = hostIdOf(remoteKey);
    this.handshakeHash = session.handshakeHash;
    this.#link = link;
    this.#stream = link.stream;
    this.#sealer = new FrameSealer(session.sender);
    this.#opener = new FrameOpener(session.receiver);
    this.#clock = options.clock ?? systemClock;
    this.#lastSent = this.#lastReceived = this.#lastRekey = this.#clock.now();
    link.splitter.maxLength = MAX_MESSAGE_LENGTH;
    this.#stream.on('data', this.#onData).on('end', this.#onEnd).on('close', this.#onEnd).on('error', this.#onStreamError).on('drain', this.#onDrain);
    this.#scheduleHeartbeat();
    if (this.#stream.destroyed) process.nextTick(this.#onEnd);
    // Acknowledgements must be heard even by a side that only writes.
    else process.nextTick(() => void this.read(0));
  }

  /** Bytes given to the stream below so far, handshake and framing included. */
  get bytesSent(): number {
    return this.#link.bytesSent;
  }

  /** Bytes that came from the stream below so far, handshake and framing included. */
  get bytesReceived(): number {
    return this.#link.bytesReceived;
  }

  /** How often this side has replaced the key that it sends with. */
  get rekeys(): number {
    return this.#sealer.rekeys;
  }

  override _read(): void {
    if (!this.#paused || this.destroyed) return;
    this.#paused = false;
    // Silence counts from now: while this side did not listen, the other one could not be heard.
    this.#lastReceived = this.#clock.now();
    this.#openMessages();
    // What was waiting may have filled the buffer again.
    if (!this.#isPaused()) this.#stream.resume();
  }

  override _write(chunk: Uint8Array, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#send([chunk], callback);
  }

  override _writev(chunks: readonly { readonly chunk: Uint8Array }[], callback: (error?: Error | null) => void): void {
    this.#send(chunks.map(({ chunk }) => chunk), callback);
  }

  /** Completes when the other side has acknowledged the end, and with it all data before. */
  override _final(callback: (error?: Error | null) => void): void {
    this.#endSent = true;
    this.#pendingFinal = callback;
    this.#sendControl(FrameKind.end);
    this.#owedSince ??= this.#clock.now();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#stopHeartbeat();
    const stream = this.#stream;
    stream.off('data', this.#onData).off('end', this.#onEnd).off('close', this.#onEnd).off('error', this.#onStreamError).off('drain', this.#onDrain);
    // Nobody is left to hear how the stream below ends.
    stream.on('error', () => undefined);
    if (error === null && this.#endAcknowledged && this.#remoteEnded) {
      const stopLinger = this.#clock.after(LINGER_MS, () => stream.destroy());
      stream.once('close', stopLinger);
      if (stream.destroyed) stopLinger();
      stream.resume();
      stream.end();
    } else {
      stream.destroy();
    }
    const interrupted = error ?? new RelayError('channel-closed', 'The channel was closed before everything was sent.');
    this.#pendingWrite?.(interrupted);
    this.#pendingFinal?.(interrupted);
    this.#pendingWrite = this.#pendingFinal = undefined;
    callback(error);
  }

  #send(chunks: readonly Uint8Array[], callback: (error?: Error | null) => void): void {
    const source = new ChunkSource(chunks);
    this.#pendingWrite = callback;
    const step = (): void => {
      if (this.destroyed) return;
      while (source.remaining > 0) {
        // Here too: a link that always has more to send than it takes gets to no heartbeat that would do it.
        if (this.#isKeyOld()) this.#rekey();
        const hasRoom = this.#put(() => this.#sealer.data(source));
        if (hasRoom === undefined) return;
        if (!hasRoom && source.remaining > 0) {
          this.#stream.once('drain', step);
          return;
        }
      }
      if (this.#stream.writableNeedDrain) this.#stream.once('drain', step);
      else {
        // Where all is taken at once, whoever writes without end would let nothing else of the process have its turn, not even what frees memory.
        setImmediate(() => {
          if (this.#pendingWrite !== callback) return;
          this.#pendingWrite = undefined;
          callback();
        });
      }
    };
    step();
  }

  #isKeyOld(): boolean {
    return this.#clock.now() - this.#lastRekey >= REKEY_AFTER_MS;
  }

  #rekey(): void {
    this.#lastRekey = this.#clock.now();
    this.#sendControl(FrameKind.rekey);
  }

  #sendControl(kind: Exclude<FrameKind, typeof FrameKind.data>): void {
    this.#put(() => this.#sealer.control(kind));
  }

  /** Sends one frame; false where more should wait, undefined where nothing can be sealed any more and the channel has ended. */
  #put(seal: () => Uint8Array): boolean | undefined {
    let frame: Uint8Array;
    try {
      frame = seal();
    } catch (error) {
      this.destroy(error as Error);
      return undefined;
    }
    this.#lastSent = this.#clock.now();
    this.#link.bytesSent += frame.length;
    const hasRoom = this.#stream.write(frame);
    if (!hasRoom) this.#owedSince ??= this.#lastSent;
    return hasRoom;
  }

  readonly #onDrain = (): void => {
    this.#owedSince = this.#endSent && !this.#endAcknowledged ? this.#clock.now() : undefined;
  };

  readonly #onData = (chunk: Uint8Array): void => {
    this.#link.bytesReceived += chunk.length;
    this.#lastReceived = this.#clock.now();
    this.#link.splitter.push(chunk);
    this.#openMessages();
  };

  #openMessages(): void {
    try {
      // A pause takes effect after what has already come: one chunk of the stream below, never more.
      for (let message = this.#link.splitter.next(); message !== undefined && !this.destroyed; message = this.#link.splitter.next()) {
        const { kind, data } = this.#opener.open(message);
        this.#handle(kind, data);
      }
    } catch (error) {
      this.destroy(error as Error);
    }
  }

  #handle(kind: FrameKind, data: Uint8Array): void {
    switch (kind) {
      case FrameKind.data:
        if (this.#remoteEnded) throw new RelayError('channel-corrupt', 'The other side sent data after it had ended its direction.');
        if (!this.push(data)) {
          this.#paused = true;
          this.#stream.pause();
        }
        return;
      case FrameKind.end:
        if (this.#remoteEnded) throw new RelayError('channel-corrupt', 'The other side ended its direction twice.');
        this.#remoteEnded = true;
        this.push(null);
        this.#sendControl(FrameKind.endReceived);
        // From here on only small signs come, and nobody calls _read() any more.
        this.#paused = false;
        this.#stream.resume();
        return;
      case FrameKind.endReceived:
        if (!this.#endSent || this.#endAcknowledged) throw new RelayError('channel-corrupt', 'The other side acknowledged an end that this side had not sent.');
        this.#endAcknowledged = true;
        this.#owedSince = undefined;
        this.#pendingFinal?.();
        this.#pendingFinal = undefined;
        return;
      case FrameKind.keepAlive:
      case FrameKind.rekey:
        return;
      case FrameKind.confirm:
        throw new RelayError('channel-corrupt', 'The other side repeated the end of its handshake.');
    }
  }

  #isPaused(): boolean {
    return this.#paused;
  }

  #scheduleHeartbeat(): void {
    this.#stopHeartbeat = this.#clock.after(HEARTBEAT_MS / 2, () => this.#heartbeat());
  }

  #heartbeat(): void {
    const now = this.#clock.now();
    if (!this.#paused && now - this.#lastReceived >= HEARTBEAT_MS * 2.5) {
      this.destroy(new RelayError('channel-dead', `Nothing was heard from the other side for ${Math.round((now - this.#lastReceived) / 1000)} s; the connection is gone.`));
      return;
    }
    if (this.#owedSince !== undefined && now - this.#owedSince >= STALL_MS) {
      this.destroy(new RelayError('channel-dead', 'The other side took nothing of what was sent to it for ten minutes.'));
      return;
    }
    // Bytes that wait to be sent are a sign of life already.
    if (!this.#stream.writableNeedDrain) {
      if (this.#isKeyOld()) this.#rekey();
      else if (now - this.#lastSent >= HEARTBEAT_MS) this.#sendControl(FrameKind.keepAlive);
    }
    this.#scheduleHeartbeat();
  }

  readonly #onEnd = (): void => {
    if (this.#endAcknowledged && this.#remoteEnded) return;
    this.destroy(new RelayError('channel-truncated', 'The connection ended before the other side had said that it was done; what was received may be incomplete.'));
  };

  readonly #onStreamError = (cause: Error): void => {
    // After both ends are acknowledged the stream below has nothing left to lose.
    if (this.#endAcknowledged && this.#remoteEnded) return;
    this.destroy(new RelayError('channel-closed', `The connection broke: ${cause.message}`, { cause }));
  };
}
