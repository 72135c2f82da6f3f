import type { AEAD } from '@stablelib/aead';
import { RelayError } from '../relayError';

/** Makes the ChaCha20-Poly1305 cipher (RFC 8439) of a 32-byte key. */
export type CreateCipher = (key: Uint8Array) => AEAD;

export const TAG_LENGTH = 16;
/** Noise revision 34, section 3: no message is longer. */
export const MAX_MESSAGE_LENGTH = 65_535;
const RESERVED_NONCE = 0xffff_ffff_ffff_ffffn;
const none = new Uint8Array(0);

/** The key and nonce of one direction (Noise revision 34, section 5.1). A call that throws leaves both as they were. */
export class CipherState {
  #cipher: AEAD | undefined;
  #nonce = 0n;
  readonly #nonceBytes = new Uint8Array(12);
  readonly #nonceView = new DataView(this.#nonceBytes.buffer);

  /** InitializeKey(key); without a key, messages pass unencrypted, as the handshake's first ones do. */
  constructor(
    private readonly createCipher: CreateCipher,
    key?: Uint8Array,
  ) {
    if (key !== undefined) this.#cipher = createCipher(key);
  }

  hasKey(): boolean {
    return this.#cipher !== undefined;
  }

  get nonce(): bigint {
    return this.#nonce;
  }

  /** SetNonce(nonce), for transports that lose or reorder messages, and for tests. */
  setNonce(nonce: bigint): void {
    this.#nonce = nonce;
  }

  /** The same key and nonce, from here on apart. */
  clone(): CipherState {
    const copy = new CipherState(this.createCipher);
    copy.#cipher = this.#cipher;
    copy.#nonce = this.#nonce;
    return copy;
  }

  /**
   * EncryptWithAd(ad, plaintext): the ciphertext with its 16-byte tag, in `destination` where one of that length is given.
   * Throws `nonce-exhausted` after 2^64 - 1 messages and `message-too-long` for more than 65,519 bytes.
   */
  encryptWithAd(associatedData: Uint8Array, plaintext: Uint8Array, destination?: Uint8Array): Uint8Array {
    if (this.#cipher === undefined) return plaintext.slice();
    if (plaintext.length + TAG_LENGTH > MAX_MESSAGE_LENGTH) throw new RelayError('message-too-long', `A Noise message cannot carry ${plaintext.length} bytes.`);
    const ciphertext = this.#cipher.seal(this.#currentNonce(), plaintext, associatedData, destination);
    this.#nonce += 1n;
    return ciphertext;
  }

  /** DecryptWithAd(ad, ciphertext): the plaintext. Throws `decrypt-failed` where the tag does not match; the nonce then stays. */
  decryptWithAd(associatedData: Uint8Array, ciphertext: Uint8Array): Uint8Array {
    if (this.#cipher === undefined) return ciphertext.slice();
    if (ciphertext.length > MAX_MESSAGE_LENGTH) throw new RelayError('message-too-long', `A Noise message of ${ciphertext.length} bytes is longer than the protocol allows.`);
    const nonce = this.#currentNonce();
    const plaintext = ciphertext.length < TAG_LENGTH ? null : this.#cipher.open(nonce, ciphertext, associatedData);
    if (plaintext === null) throw new RelayError('decrypt-failed', 'A message is not authentic: it was changed, reordered, repeated or made with another key.');
    this.#nonce += 1n;
    return plaintext;
  }

  /** Rekey(): the key becomes one from which the earlier key cannot be found (section 4.2). The nonce goes on counting. */
  rekey(): void {
    if (this.#cipher === undefined) throw new RelayError('handshake-misused', 'There is no key to replace.');
    const earlier = this.#cipher;
    this.#nonceView.setBigUint64(4, RESERVED_NONCE, true);
    this.#cipher = this.createCipher(earlier.seal(this.#nonceBytes, new Uint8Array(32), none).slice(0, 32));
    earlier.clean();
  }

  #currentNonce(): Uint8Array {
    // 2^64 - 1 is kept for rekey(); using it twice would give its key stream away.
    if (this.#nonce >= RESERVED_NONCE) throw new RelayError('nonce-exhausted', 'This key has encrypted as many messages as it may.');
    this.#nonceView.setBigUint64(4, this.#nonce, true);
    return this.#nonceBytes;
  }
}
