import { decodeBase64url, encodeBase64url } from './base64url';
import { concatBytes, equalBytes, generateKeyPair, publicKeyOf, randomBytes, sharedSecret, type KeyPair } from './keys';
import { sha256 } from './noise/hashFunction';

const NONCE_LENGTH = 32;
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

/** A challenge and what the relay must keep to check its answer. It serves one answer. */
export function createChallenge(): { readonly challenge: Challenge; readonly check: (hostId: string, proof: Proof) => boolean } {
  const relayKeyPair = generateKeyPair();
  const relayNonce = randomBytes(NONCE_LENGTH);
  return {
    challenge: { type: 'challenge', relayKey: encodeBase64url(relayKeyPair.publicKey), nonce: encodeBase64url(relayNonce) },
    check(hostId, proof) {
      const [hostNonce, mac] = [decodeBase64url(proof.nonce), decodeBase64url(proof.mac)];
      if (hostNonce?.length !== NONCE_LENGTH || mac === undefined) return false;
      const hostKey = publicKeyOf(hostId);
      try {
        return equalBytes(macOf(sharedSecret(relayKeyPair, hostKey), hostKey, relayKeyPair.publicKey, relayNonce, hostNonce), mac);
      } catch {
        // A low-order point as host id: its shared secret would be known to everybody.
        return false;
      }
    },
  };
}

/** Answers a challenge with this key pair. Throws `key-invalid` for a challenge that is none. */
export function proveKey(keyPair: KeyPair, challenge: Pick<Challenge, 'relayKey' | 'nonce'>): Proof {
  const relayKey = publicKeyOf(challenge.relayKey);
  const relayNonce = publicKeyOf(challenge.nonce);
  const hostNonce = randomBytes(NONCE_LENGTH);
  return { type: 'proof', nonce: encodeBase64url(hostNonce), mac: encodeBase64url(macOf(sharedSecret(keyPair, relayKey), keyPair.publicKey, relayKey, relayNonce, hostNonce)) };
}

/** The label keeps this MAC apart from every other use of the host's key; every part has a fixed length. */
function macOf(secret: Uint8Array, ...parts: readonly [Uint8Array, Uint8Array, Uint8Array, Uint8Array]): Uint8Array {
  return sha256.hmac(secret, concatBytes(label, ...parts));
}
