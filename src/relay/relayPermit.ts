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
  /** The right that it was given for, where an issuer gave that. */
  readonly issued?: IssuedRight | undefined;
}

/** What an issuer lets a host in for, which lasts longer than a permit. */
export interface IssuedRight {
  /** In ms since 1970. */
  readonly until: number;
  /** Tells the issuer's key from others, 16 hexadecimal digits. */
  readonly issuer: string;
}

/** On the wire: kind (1 byte), expiry in ms since 1970 (64 bits), host id (32 bytes), for an issuer's right its end (64 bits) and the issuer (8 bytes), MAC (32 bytes); base64url. */
const PLAIN_LENGTH = 1 + 8 + 32;
const ISSUED_LENGTH = PLAIN_LENGTH + 8 + 8;
const MAC_LENGTH = 32;
const MAX_EXPIRY = 8_640_000_000_000_000;
const kinds = ['token', 'pass', 'grant'] as const;
const label = new TextEncoder().encode('Baton relay permit 1\0');

/** The spelling of every permit, for schemas. */
export const permitPattern = /^[A-Za-z0-9_-]{98}(?:[A-Za-z0-9_-]{21})?$/;

/** Seals a permit with a relay's key. */
export function sealPermit(key: Uint8Array, permit: Permit): string {
  const { kind, hostId, expiresAt, issued } = permit;
  const payload = new Uint8Array(issued === undefined ? PLAIN_LENGTH : ISSUED_LENGTH);
  const view = new DataView(payload.buffer);
  payload[0] = kinds.indexOf(kind) + 1;
  view.setBigUint64(1, BigInt(Math.floor(expiresAt)));
  payload.set(publicKeyOf(hostId), 9);
  if (issued !== undefined) {
    view.setBigUint64(PLAIN_LENGTH, BigInt(Math.floor(issued.until)));
    view.setBigUint64(PLAIN_LENGTH + 8, BigInt(`0x${issued.issuer}`));
  }
  return encodeBase64url(concatBytes(payload, sha256.hmac(key, label, payload)));
}

/** Reads a permit that was sealed with one of some keys, and with which, and has not expired at `now` (ms since 1970); undefined for anything else. */
export function openPermit(keys: readonly Uint8Array[], text: string, now: number): (Permit & { readonly key: Uint8Array }) | undefined {
  const bytes = permitPattern.test(text) ? decodeBase64url(text) : undefined;
  if (bytes === undefined) return undefined;
  const [payload, mac] = [bytes.subarray(0, -MAC_LENGTH), bytes.subarray(-MAC_LENGTH)];
  const key = keys.find((candidate) => equalBytes(sha256.hmac(candidate, label, payload), mac));
  const kind = kinds[(payload[0] ?? 0) - 1];
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  const expiresAt = Number(view.getBigUint64(1));
  if (key === undefined || kind === undefined || expiresAt > MAX_EXPIRY || expiresAt <= now) return undefined;
  const issued = payload.length === ISSUED_LENGTH ? { until: Number(view.getBigUint64(PLAIN_LENGTH)), issuer: view.getBigUint64(PLAIN_LENGTH + 8).toString(16).padStart(16, '0') } : undefined;
  return { kind, hostId: hostIdOf(payload.subarray(9, PLAIN_LENGTH)), expiresAt, issued, key };
}
