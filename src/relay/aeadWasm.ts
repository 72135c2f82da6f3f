import { ChaCha20Poly1305, newInstance } from '@chainsafe/as-chacha20poly1305';
import type { AEAD } from '@stablelib/aead';

const TAG_LENGTH = 16;
/** The module has room for 32 bytes of associated data: the length of a Noise handshake hash, and all that Noise ever passes. */
const MAX_ASSOCIATED_DATA = 32;

// One instance serves every key: each call copies its key into the module's memory and runs to its end before the next.
let shared: ChaCha20Poly1305 | undefined;

/** ChaCha20-Poly1305 in WebAssembly, for a Node without the native cipher (Electron's). */
export class WasmChaCha20Poly1305 implements AEAD {
  readonly nonceLength = 12;
  readonly tagLength = TAG_LENGTH;
  readonly #key: Uint8Array;
  readonly #module: ChaCha20Poly1305;

  constructor(key: Uint8Array) {
    this.#key = key.slice();
    this.#module = shared ??= new ChaCha20Poly1305(newInstance());
  }

  seal(nonce: Uint8Array, plaintext: Uint8Array, associatedData?: Uint8Array, destination?: Uint8Array): Uint8Array {
    return this.#module.seal(this.#key, nonce, plaintext, limited(associatedData), destination);
  }

  open(nonce: Uint8Array, sealed: Uint8Array, associatedData?: Uint8Array, destination?: Uint8Array): Uint8Array | null {
    if (sealed.length < TAG_LENGTH) return null;
    const plaintext = destination ?? new Uint8Array(sealed.length - TAG_LENGTH);
    // The module writes the plaintext before it compares the tag; a failed one must not stay behind.
    const opened = this.#module.open(this.#key, nonce, sealed, limited(associatedData), plaintext);
    if (opened === null) plaintext.fill(0);
    return opened;
  }

  clean(): this {
    this.#key.fill(0);
    return this;
  }
}

function limited(associatedData: Uint8Array | undefined): Uint8Array | undefined {
  if (associatedData !== undefined && associatedData.length > MAX_ASSOCIATED_DATA) throw new RangeError(`associated data is longer than ${MAX_ASSOCIATED_DATA} bytes`);
  return associatedData;
}
