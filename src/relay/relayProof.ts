import { encodeBase64url } from './base64url';
import { concatBytes, publicKeyOf, randomBytes, sharedSecret, type KeyPair } from './keys';
import { sha256 } from './noise/hashFunction';

export const NONCE_LENGTH = 32;
const label = new TextEncoder().encode('Baton relay registration 1\0');

/** What the relay says to whoever wants to be known under a host id: a fresh key and a fresh nonce, base64url. */
export interface Challenge {
  readonly type: 'challenge';
  readonly relayKey: string;
  readonly nonce: string;
}

/** The answer: the host's own nonce and a MAC that only the holder of the id's secret key (or of the fresh one) can make. */
export interface Proof {
  readonly type: 'proof';
  readonly nonce: string;
  readonly mac: string;
}

/** Answers a challenge with this key pair. Throws `key-invalid` for a challenge that is none. */
export function proveKey(keyPair: KeyPair, challenge: Pick<Challenge, 'relayKey' | 'nonce'>): Proof {
  const relayKey = publicKeyOf(challenge.relayKey);
  const relayNonce = publicKeyOf(challenge.nonce);
  const hostNonce = randomBytes(NONCE_LENGTH);
  return { type: 'proof', nonce: encodeBase64url(hostNonce), mac: encodeBase64url(macOf(sharedSecret(keyPair, relayKey), keyPair.publicKey, relayKey, relayNonce, hostNonce)) };
}

/** The label keeps this MAC apart from every other use of the host's key; every part has a fixed length. */
export function macOf(secret: Uint8Array, ...parts: readonly [Uint8Array, Uint8Array, Uint8Array, Uint8Array]): Uint8Array {
  return sha256.hmac(secret, concatBytes(label, ...parts));
}
