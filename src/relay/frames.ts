import { concatBytes } from './keys';
import { MAX_MESSAGE_LENGTH, TAG_LENGTH, type CipherState } from './noise/cipherState';
import { RelayError } from './relayError';

/** The first byte of each transport message's plaintext. */
export const FrameKind = {
  /** Shows that the handshake's last message was understood; the first message of the side that read it. */
  confirm: 0,
  data: 1,
  /** The authenticated end of one direction; no data follows it. */
  end: 2,
  /** All up to the other side's end has arrived. */
  endReceived: 3,
  keepAlive: 4,
  /** The sender's next message has another key. */
  rekey: 5,
} as const;
export type FrameKind = (typeof FrameKind)[keyof typeof FrameKind];
const kinds: ReadonlySet<number> = new Set(Object.values(FrameKind));

export const PREFIX_LENGTH = 2;
/** The data that one message carries, at most. */
export const MAX_DATA_LENGTH = MAX_MESSAGE_LENGTH - TAG_LENGTH - 1;
/** A direction's key is replaced each time this many bytes of messages have been sealed with it; both sides count alike. */
export const REKEY_AFTER_BYTES = 64 * 1024 * 1024;

/** One Noise message with its length before it, as it travels. Throws `message-too-long` beyond 65,535 bytes. */
export function frameOf(message: Uint8Array): Uint8Array {
  if (message.length > MAX_MESSAGE_LENGTH) throw new RelayError('message-too-long', `A message of ${message.length} bytes does not fit a frame.`);
  return concatBytes(Uint8Array.of(message.length >> 8, message.length & 255), message);
}

/** Cuts a byte stream into messages, each after a 16-bit big-endian length. Bytes may come in pieces of any size. */
export class FrameSplitter {
  readonly #chunks: Uint8Array[] = [];
  #offset = 0;
  #length = 0;
  /** A longer message is refused as soon as its length is read; small during a handshake, before the other side is known. */
  maxLength: number = MAX_MESSAGE_LENGTH;

  push(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#length += chunk.length;
  }

  /** Whether nothing is held back, not even a part of a message. */
  get isEmpty(): boolean {
    return this.#length === 0;
  }

  /** The next whole message, or undefined until more has come. Throws `channel-corrupt` for one that is too long. */
  next(): Uint8Array | undefined {
    if (this.#length < PREFIX_LENGTH) return undefined;
    const length = (this.#byteAt(0) << 8) | this.#byteAt(1);
    if (length > this.maxLength) throw new RelayError('channel-corrupt', `The other side announced a message of ${length} bytes where at most ${this.maxLength} are allowed.`);
    if (this.#length < PREFIX_LENGTH + length) return undefined;
    this.#take(PREFIX_LENGTH);
    return this.#take(length);
  }

  #byteAt(index: number): number {
    let position = this.#offset + index;
    for (const chunk of this.#chunks) {
      if (position < chunk.length) return chunk[position] ?? 0;
      position -= chunk.length;
    }
    return 0;
  }

  /** A view where the bytes lie in one chunk, which is nearly always so; else a copy. */
  #take(length: number): Uint8Array {
    const first = this.#chunks[0];
    if (first !== undefined && first.length - this.#offset >= length) {
      const view = first.subarray(this.#offset, this.#offset + length);
      this.#drop(length);
      return view;
    }
    const copy = new Uint8Array(length);
    for (let filled = 0; filled < length; ) {
      const chunk = this.#chunks[0];
      if (chunk === undefined) break;
      const part = chunk.subarray(this.#offset, this.#offset + length - filled);
      copy.set(part, filled);
      filled += part.length;
      this.#drop(part.length);
    }
    return copy;
  }

  /** Lets go of bytes at the front, which must all lie in the first chunk. */
  #drop(length: number): void {
    this.#length -= length;
    this.#offset += length;
    if (this.#offset >= (this.#chunks[0]?.length ?? 0)) {
      this.#chunks.shift();
      this.#offset = 0;
    }
  }
}

// Sealing runs to its end at once, so one buffer serves every channel of the process.
const scratch = new Uint8Array(MAX_DATA_LENGTH + 1);

/** Chunks to be sent, read in pieces of any size. */
export class ChunkSource {
  #index = 0;
  #offset = 0;
  remaining: number;

  constructor(private readonly chunks: readonly Uint8Array[]) {
    this.remaining = chunks.reduce((length, chunk) => length + chunk.length, 0);
  }

  /** Copies the next `length` bytes (no more than remain) into `target` at `offset`. */
  copyTo(target: Uint8Array, offset: number, length: number): void {
    this.remaining -= length;
    for (let left = length; left > 0; ) {
      const chunk = this.chunks[this.#index];
      if (chunk === undefined) return;
      const part = chunk.subarray(this.#offset, this.#offset + left);
      target.set(part, offset);
      offset += part.length;
      left -= part.length;
      this.#offset += part.length;
      if (this.#offset === chunk.length) {
        this.#index += 1;
        this.#offset = 0;
      }
    }
  }
}

/** Seals what one side sends: kind and data into Noise messages, with a new key by volume. */
export class FrameSealer {
  #sealedBytes = 0;
  /** How often the key was replaced. */
  rekeys = 0;

  constructor(private readonly cipher: CipherState) {}

  /** One frame that carries no data. After `rekey` the next frame has another key. */
  control(kind: Exclude<FrameKind, typeof FrameKind.data>): Uint8Array {
    const frame = new Uint8Array(PREFIX_LENGTH + 1 + TAG_LENGTH);
    scratch[0] = kind;
    this.#seal(1, frame);
    if (kind === FrameKind.rekey) this.#rekey();
    return frame;
  }

  /**
   * One frame with as much as fits from the front of `source`, which must not be empty. Several frames in one buffer were measured to be slower:
   * beyond 128 KiB each buffer costs the system fresh pages, here and wherever a WebSocket's message is put together.
   */
  data(source: ChunkSource): Uint8Array {
    const length = Math.min(source.remaining, MAX_DATA_LENGTH);
    const frame = new Uint8Array(PREFIX_LENGTH + 1 + length + TAG_LENGTH);
    scratch[0] = FrameKind.data;
    source.copyTo(scratch, 1, length);
    this.#seal(1 + length, frame);
    return frame;
  }

  #seal(plaintextLength: number, frame: Uint8Array): void {
    const length = plaintextLength + TAG_LENGTH;
    frame[0] = length >> 8;
    frame[1] = length & 255;
    this.cipher.encryptWithAd(nothing, scratch.subarray(0, plaintextLength), frame.subarray(PREFIX_LENGTH));
    this.#sealedBytes += length;
    if (this.#sealedBytes >= REKEY_AFTER_BYTES) this.#rekey();
  }

  #rekey(): void {
    this.cipher.rekey();
    this.#sealedBytes = 0;
    this.rekeys += 1;
  }
}

const nothing = new Uint8Array(0);

/** Opens what the other side sealed; its counterpart in every count. */
export class FrameOpener {
  #openedBytes = 0;

  constructor(private readonly cipher: CipherState) {}

  /** The kind and data of one message. Throws `channel-corrupt`; the channel must then end, since what follows cannot be trusted. */
  open(message: Uint8Array): { readonly kind: FrameKind; readonly data: Uint8Array } {
    let plaintext: Uint8Array;
    try {
      plaintext = this.cipher.decryptWithAd(nothing, message);
    } catch (cause) {
      throw new RelayError('channel-corrupt', 'A message on the channel is not authentic: something between the two sides changed, reordered, repeated or dropped bytes.', { cause });
    }
    const kind = plaintext[0];
    if (!isFrameKind(kind) || (kind === FrameKind.data) !== plaintext.length > 1) {
      throw new RelayError('channel-corrupt', 'The other side sent a message that the protocol does not know.');
    }
    this.#openedBytes += message.length;
    if (kind === FrameKind.rekey || this.#openedBytes >= REKEY_AFTER_BYTES) {
      this.cipher.rekey();
      this.#openedBytes = 0;
    }
    return { kind, data: plaintext.subarray(1) };
  }
}

function isFrameKind(kind: number | undefined): kind is FrameKind {
  return kind !== undefined && kinds.has(kind);
}
