import { Buffer } from 'node:buffer';
import { createPrivateKey, createPublicKey, diffieHellman, generateKeyPairSync } from 'node:crypto';
import { decodeBase64url, encodeBase64url } from './base64url';
import { equalBytes, KEY_LENGTH, publicKeyOf, randomBytes } from './keys';
import { macOf, NONCE_LENGTH, type Challenge, type Proof } from './relayProof';

/** What comes before the 32 bytes of an X25519 public key in a SubjectPublicKeyInfo (RFC 8410). */
const SPKI_PREFIX = Buffer.from('302a300506032b656e032100', 'hex');

/**
 * A challenge and what the relay must keep to check its answer. It serves one answer.
 *
 * X25519 is OpenSSL's here: when thousands of hosts come back at once, what JavaScript takes for it (about 7 times as long) is what they
 * wait for. Keys go in and out as DER; Node 20 was seen to hang for ever when it exports many of them as JWK.
 */
export function createChallenge(): { readonly challenge: Challenge; readonly check: (hostId: string, proof: Proof) => boolean } {
  const { privateKey, publicKey } = generateKeyPairSync('x25519', { publicKeyEncoding: { format: 'der', type: 'spki' }, privateKeyEncoding: { format: 'der', type: 'pkcs8' } });
  const relayKey = publicKey.subarray(-KEY_LENGTH);
  const relayNonce = randomBytes(NONCE_LENGTH);
  return {
    challenge: { type: 'challenge', relayKey: encodeBase64url(relayKey), nonce: encodeBase64url(relayNonce) },
    check(hostId, proof) {
      const [hostNonce, mac] = [decodeBase64url(proof.nonce), decodeBase64url(proof.mac)];
      if (hostNonce?.length !== NONCE_LENGTH || mac === undefined) return false;
      const hostKey = publicKeyOf(hostId);
      try {
        const secret = diffieHellman({
          privateKey: createPrivateKey({ key: privateKey, format: 'der', type: 'pkcs8' }),
          publicKey: createPublicKey({ key: Buffer.concat([SPKI_PREFIX, hostKey]), format: 'der', type: 'spki' }),
        });
        return equalBytes(macOf(secret, hostKey, relayKey, relayNonce, hostNonce), mac);
      } catch {
        // A low-order point as host id: its shared secret would be known to everybody.
        return false;
      }
    },
  };
}
