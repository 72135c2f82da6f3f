import { concatBytes } from '../keys';
import { CipherState, type CreateCipher } from './cipherState';
import type { HashFunction } from './hashFunction';

/** The chaining key, handshake hash and cipher of a handshake (Noise revision 34, section 5.2). */
export class SymmetricState {
  #cipherState: CipherState;
  #chainingKey: Uint8Array;
  #handshakeHash: Uint8Array;

  /** InitializeSymmetric(protocol_name). */
  constructor(
    protocolName: string,
    private readonly hash: HashFunction,
    private readonly createCipher: CreateCipher,
  ) {
    const name = new TextEncoder().encode(protocolName);
    this.#handshakeHash = name.length <= hash.length ? concatBytes(name, new Uint8Array(hash.length - name.length)) : hash.hash(name);
    this.#chainingKey = this.#handshakeHash;
    this.#cipherState = new CipherState(createCipher);
  }

  /** The same state, from here on apart: what a handshake goes back to when a message fails. */
  clone(): SymmetricState {
    const copy = new SymmetricState('', this.hash, this.createCipher);
    copy.#handshakeHash = this.#handshakeHash;
    copy.#chainingKey = this.#chainingKey;
    copy.#cipherState = this.#cipherState.clone();
    return copy;
  }

  mixKey(inputKeyMaterial: Uint8Array): void {
    const [chainingKey, key] = this.#derive(inputKeyMaterial);
    this.#chainingKey = chainingKey;
    this.#cipherState = new CipherState(this.createCipher, key);
  }

  mixHash(bytes: Uint8Array): void {
    this.#handshakeHash = this.hash.hash(this.#handshakeHash, bytes);
  }

  mixKeyAndHash(inputKeyMaterial: Uint8Array): void {
    const [chainingKey, hash, key] = this.hash.hkdf(this.#chainingKey, inputKeyMaterial, 3) as [Uint8Array, Uint8Array, Uint8Array];
    this.#chainingKey = chainingKey;
    this.mixHash(hash);
    this.#cipherState = new CipherState(this.createCipher, key);
  }

  /** GetHandshakeHash(): the same 32 bytes on both sides after the handshake, and on no other channel (channel binding). */
  get handshakeHash(): Uint8Array {
    return this.#handshakeHash.slice();
  }

  hasKey(): boolean {
    return this.#cipherState.hasKey();
  }

  encryptAndHash(plaintext: Uint8Array): Uint8Array {
    const ciphertext = this.#cipherState.encryptWithAd(this.#handshakeHash, plaintext);
    this.mixHash(ciphertext);
    return ciphertext;
  }

  decryptAndHash(ciphertext: Uint8Array): Uint8Array {
    const plaintext = this.#cipherState.decryptWithAd(this.#handshakeHash, ciphertext);
    this.mixHash(ciphertext);
    return plaintext;
  }

  /** Split(): the initiator's sending cipher, then the responder's. */
  split(): [CipherState, CipherState] {
    const [first, second] = this.#derive(new Uint8Array(0));
    return [new CipherState(this.createCipher, first), new CipherState(this.createCipher, second)];
  }

  #derive(inputKeyMaterial: Uint8Array): [Uint8Array, Uint8Array] {
    return this.hash.hkdf(this.#chainingKey, inputKeyMaterial, 2) as [Uint8Array, Uint8Array];
  }
}
