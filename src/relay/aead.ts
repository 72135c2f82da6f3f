import { ChaCha20Poly1305 } from '@stablelib/chacha20poly1305';
import { NodeChaCha20Poly1305 } from './aeadNode';
import { WasmChaCha20Poly1305 } from './aeadWasm';
import { equalBytes } from './keys';
import type { CreateCipher } from './noise/cipherState';
import { RelayError } from './relayError';

/** An implementation of ChaCha20-Poly1305 (RFC 8439) behind `@stablelib/aead`'s interface. */
export interface AeadBackEnd {
  readonly name: 'node' | 'wasm' | 'stablelib';
  readonly createCipher: CreateCipher;
}

/** Every back end, the fastest first. Browsers have only the last and name it themselves. */
export const aeadBackEnds: readonly AeadBackEnd[] = [
  { name: 'node', createCipher: (key) => new NodeChaCha20Poly1305(key) },
  { name: 'wasm', createCipher: (key) => new WasmChaCha20Poly1305(key) },
  { name: 'stablelib', createCipher: (key) => new ChaCha20Poly1305(key) },
];

const hex = (text: string): Uint8Array => Uint8Array.from(text.match(/../g) ?? [], (byte) => parseInt(byte, 16));

/** RFC 8439, section 2.8.2. */
const knownAnswer = {
  key: hex('808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f'),
  nonce: hex('070000004041424344454647'),
  associatedData: hex('50515253c0c1c2c3c4c5c6c7'),
  plaintext: new TextEncoder().encode("Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it."),
  sealed: hex(
    'd31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36' +
      '92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691',
  ),
};

/** Whether a back end gives the known answer here, opens it again, and refuses it with one bit changed. */
export function givesKnownAnswer(backEnd: AeadBackEnd): boolean {
  const { key, nonce, associatedData, plaintext, sealed } = knownAnswer;
  try {
    const cipher = backEnd.createCipher(key);
    const forged = sealed.slice();
    forged[0] = (forged[0] ?? 0) ^ 1;
    const opened = cipher.open(nonce, sealed, associatedData);
    return equalBytes(cipher.seal(nonce, plaintext, associatedData), sealed) && opened !== null && equalBytes(opened, plaintext) && cipher.open(nonce, forged, associatedData) === null;
  } catch {
    return false;
  }
}

let chosen: AeadBackEnd | undefined;

/** The first back end that gives the known answer in this process; probed once. Throws `cipher-unavailable` if none does. */
export function chooseAead(candidates: readonly AeadBackEnd[] = aeadBackEnds): AeadBackEnd {
  if (candidates === aeadBackEnds && chosen !== undefined) return chosen;
  const first = candidates.find(givesKnownAnswer);
  if (first === undefined) throw new RelayError('cipher-unavailable', 'No implementation of ChaCha20-Poly1305 works in this process.');
  if (candidates === aeadBackEnds) chosen = first;
  return first;
}
