import { decodeBase64url, encodeBase64url } from './base64url';
import { concatBytes, equalBytes, hostIdOf, publicKeyOf } from './keys';
import { sha256 } from './noise/hashFunction';

/**
 * What a relay hands out, each under its MAC, so that it remembers none of them:
 * a *token* lets a host register and dial for some minutes; a *pass* lets whoever shows it dial one host, the inviting one;
 * a *grant* lets the holder of a host's key ask for tokens, for months, and is of no use to anybody else. As long as it is used, it is replaced by a fresh one.
 */
export interface Permit {
  readonly kind: (typeof kinds)[number];
  readonly hostId: string;
  /** In ms since 1970. */
  readonly expiresAt: number;
}

/** On the wire: kind (1 byte), expiry in ms since 1970 (64 bits), host id (32 bytes), MAC (32 bytes); base64url. */
const PAYLOAD_LENGTH = 1 + 8 + 32;
const LENGTH = PAYLOAD_LENGTH + 32;
const MAX_EXPIRY = 8_640_000_000_000_000;
const kinds = ['token', 'pass', 'grant'] as const;
const label = new TextEncoder().encode('Baton relay permit 1\0');

/** The spelling of every permit, for schemas. */
export const permitPattern = /^[A-Za-z0-9_-]{98}$/;

/** Seals a permit with a relay's key. */
export function sealPermit(key: Uint8Array, permit: Permit): string {
  const payload = new Uint8Array(PAYLOAD_LENGTH);
  payload[0] = kinds.indexOf(permit.kind) + 1;
  new DataView(payload.buffer).setBigUint64(1, BigInt(Math.floor(permit.expiresAt)));
  payload.set(publicKeyOf(permit.hostId), 9);
  return encodeBase64url(concatBytes(payload, sha256.hmac(key, label, payload)));
}

/** Reads a permit that was sealed with one of some keys and has not expired at `now` (ms since 1970); undefined for anything else. */
export function openPermit(keys: readonly Uint8Array[], text: string, now: number): Permit | undefined {
  const bytes = text.length === 98 ? decodeBase64url(text) : undefined;
  if (bytes?.length !== LENGTH) return undefined;
  const [payload, mac] = [bytes.subarray(0, PAYLOAD_LENGTH), bytes.subarray(PAYLOAD_LENGTH)];
  if (!keys.some((key) => equalBytes(sha256.hmac(key, label, payload), mac))) return undefined;
  const kind = kinds[(payload[0] ?? 0) - 1];
  const expiresAt = Number(new DataView(payload.buffer, payload.byteOffset).getBigUint64(1));
  if (kind === undefined || expiresAt > MAX_EXPIRY || expiresAt <= now) return undefined;
  return { kind, hostId: hostIdOf(payload.subarray(9)), expiresAt };
}
