import { generateKeyPairFromSeed, sharedKey } from '@stablelib/x25519';
import { hash as sha256 } from '@stablelib/sha256';
import { decodeBase64url, encodeBase64url } from './base64url';
import { RelayError } from './relayError';

/** An X25519 key pair; both keys are 32 bytes. A host's identity is its public key. */
export interface KeyPair {
  readonly publicKey: Uint8Array;
  readonly secretKey: Uint8Array;
}

export const KEY_LENGTH = 32;

/** The bytes of a text. */
export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Cryptographically random bytes; at most 65,536 at once. */
export function randomBytes(length: number): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(length));
}

/** A new X25519 key pair from the platform's random source. */
export function generateKeyPair(): KeyPair {
  return keyPairOf(randomBytes(KEY_LENGTH));
}

/** The key pair of a 32-byte secret key, as read back from where an identity is kept. Throws `key-invalid` for another length. */
export function keyPairOf(secretKey: Uint8Array): KeyPair {
  if (secretKey.length !== KEY_LENGTH) throw new RelayError('key-invalid', `A secret key has ${KEY_LENGTH} bytes, not ${secretKey.length}.`);
  return generateKeyPairFromSeed(secretKey);
}

/**
 * X25519 (RFC 7748): 32 bytes shared by both sides. Throws `key-invalid` where the result is all zero, which only a
 * low-order public key gives: such a key would make the secret known to everybody.
 */
export function sharedSecret(keyPair: KeyPair, publicKey: Uint8Array): Uint8Array {
  try {
    return sharedKey(keyPair.secretKey, publicKey, true);
  } catch (cause) {
    throw new RelayError('key-invalid', 'The public key of the other side is not a usable X25519 key.', { cause });
  }
}

/** The id of the host with this public key: base64url, 43 characters. Throws `key-invalid` for another length than 32 bytes. */
export function hostIdOf(publicKey: Uint8Array): string {
  if (publicKey.length !== KEY_LENGTH) throw new RelayError('key-invalid', `A public key has ${KEY_LENGTH} bytes, not ${publicKey.length}.`);
  return encodeBase64url(publicKey);
}

/** The public key that a host id is. Throws `key-invalid` for what is not the canonical spelling of 32 bytes. */
export function publicKeyOf(hostId: string): Uint8Array {
  const publicKey = hostId.length === 43 ? decodeBase64url(hostId) : undefined;
  if (publicKey?.length !== KEY_LENGTH) throw new RelayError('key-invalid', 'A host id is 43 characters of base64url.');
  return publicKey;
}

/** A short form of a public key for people to compare: 80 bits of its SHA-256 as four groups, such as `k7q2-m4xa-9fzt-h3de`. */
export function fingerprintOf(publicKey: Uint8Array): string {
  // Crockford's base32: no i, l, o or u that could be read as something else.
  const alphabet = '0123456789abcdefghjkmnpqrstvwxyz';
  let bits = 0n;
  for (const byte of sha256(publicKey).subarray(0, 10)) bits = (bits << 8n) | BigInt(byte);
  const characters = Array.from({ length: 16 }, (_, index) => alphabet.charAt(Number((bits >> BigInt(75 - index * 5)) & 31n)));
  return [0, 4, 8, 12].map((start) => characters.slice(start, start + 4).join('')).join('-');
}

/** Whether two byte strings are equal, in time that depends on their lengths only. */
export function equalBytes(left: Uint8Array, right: Uint8Array): boolean {
  if (left.length !== right.length) return false;
  let difference = 0;
  for (let index = 0; index < left.length; index++) difference |= (left[index] ?? 0) ^ (right[index] ?? 0);
  return difference === 0;
}

/** One byte string after the other. */
export function concatBytes(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}
