import { BLAKE2s } from '@stablelib/blake2s';
import { SHA256 } from '@stablelib/sha256';
import { concatBytes } from '../keys';

/** A hash function of Noise with the HMAC and HKDF built on it (Noise revision 34, sections 4.3, 12.5 and 12.7). */
export interface HashFunction {
  readonly name: 'SHA256' | 'BLAKE2s';
  /** HASHLEN, in bytes. */
  readonly length: number;
  hash(...parts: readonly Uint8Array[]): Uint8Array;
  hmac(key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array;
  /** HKDF(chaining_key, input_key_material, num_outputs); each output has HASHLEN bytes. */
  hkdf(chainingKey: Uint8Array, inputKeyMaterial: Uint8Array, outputs: 2 | 3): Uint8Array[];
}

function hashFunction(name: HashFunction['name'], create: () => { update(data: Uint8Array): unknown; digest(): Uint8Array }): HashFunction {
  const blockLength = 64;
  const hash = (...parts: readonly Uint8Array[]): Uint8Array => {
    const state = create();
    for (const part of parts) state.update(part);
    return state.digest();
  };
  // RFC 2104. BLAKE2s's own keyed mode is not used: section 12.7 wants HMAC for every hash function.
  const hmac = (key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array => {
    const block = new Uint8Array(blockLength);
    block.set(key.length > blockLength ? hash(key) : key);
    const inner = hash(block.map((byte) => byte ^ 0x36), ...parts);
    return hash(block.map((byte) => byte ^ 0x5c), inner);
  };
  return {
    name,
    length: 32,
    hash,
    hmac,
    hkdf(chainingKey, inputKeyMaterial, outputs) {
      const temporaryKey = hmac(chainingKey, inputKeyMaterial);
      const results: Uint8Array[] = [];
      let previous: Uint8Array = new Uint8Array(0);
      for (let counter = 1; counter <= outputs; counter++) {
        previous = hmac(temporaryKey, concatBytes(previous, Uint8Array.of(counter)));
        results.push(previous);
      }
      return results;
    },
  };
}

export const sha256 = hashFunction('SHA256', () => new SHA256());
export const blake2s = hashFunction('BLAKE2s', () => new BLAKE2s());
