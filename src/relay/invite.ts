import { decodeBase64url, encodeBase64url } from './base64url';
import { LINK_SCHEME } from './inviteForms';
import { concatBytes, equalBytes, hostIdOf, publicKeyOf, randomBytes, utf8 } from './keys';
import { sha256 } from './noise/hashFunction';
import { RelayError } from './relayError';

/** What an invite says, as the side that joins needs it. */
export interface ParsedInvite {
  readonly relayUrl: string;
  readonly hostId: string;
  readonly name: string;
  readonly secret: Uint8Array;
  readonly room: string;
  readonly psk: Uint8Array;
  /** What lets whoever joins dial the inviting host, where the relay asks for that. */
  readonly pass: string | undefined;
  readonly expiresAt: Date;
}

const VERSION = 2;
const SECRET_LENGTH = 32;
const CHECKSUM_LENGTH = 8;
const MAX_URL_LENGTH = 512;
const MAX_NAME_LENGTH = 64;
/** version, expiry (64 bit), host key, secret, length of the URL (16 bit), length of the name (8 bit), length of the pass (8 bit), checksum. */
const FIXED_LENGTH = 1 + 8 + 32 + SECRET_LENGTH + 2 + 1 + 1 + CHECKSUM_LENGTH;
/** Seconds since 1970 fit in far fewer bits; more would not be exact as a number. */
const MAX_EXPIRY = 8_640_000_000_000_000;

/** The room and pre-shared key of a secret: HKDF-SHA256 (RFC 5869) with labels, so that the room, which the relay sees, says nothing of the key. */
export function deriveInvite(secret: Uint8Array): { readonly room: string; readonly psk: Uint8Array } {
  const pseudorandomKey = sha256.hmac(utf8('baton invite 1'), secret);
  const expand = (label: string): Uint8Array => sha256.hmac(pseudorandomKey, utf8(label), Uint8Array.of(1));
  return { room: encodeBase64url(expand('room')), psk: expand('psk') };
}

/**
 * A new invite to this host with a one-time secret of 256 bits. The issuer keeps `room`, `psk` and `expiresAt`, gives
 * the psk out for one attempt, and not after the expiry: what the text says about it is only a courtesy to the reader.
 * `now` is milliseconds since 1970. Throws `invite-invalid` for a URL or name that an invite cannot hold.
 */
export function createInvite(options: { readonly relayUrl: string; readonly hostId: string; readonly name: string; readonly pass?: string | undefined; readonly lifetimeMs: number; readonly now?: number }): ParsedInvite & { readonly invite: string } {
  const { relayUrl, hostId, name, pass } = options;
  const expiresAt = Math.floor((options.now ?? Date.now()) + options.lifetimeMs);
  if (!isRelayUrl(relayUrl)) throw new RelayError('invite-invalid', `An invite cannot name the relay ${relayUrl}: it must be a ws:// or wss:// URL without credentials, query or fragment, of at most ${MAX_URL_LENGTH} bytes.`);
  if (!isName(name)) throw new RelayError('invite-invalid', `An invite cannot carry this host name: 1 to ${MAX_NAME_LENGTH} characters are allowed, none of them invisible.`);
  const secret = randomBytes(SECRET_LENGTH);
  const url = utf8(relayUrl);
  const nameBytes = utf8(name);
  const passBytes = pass === undefined ? new Uint8Array(0) : decodeBase64url(pass);
  if (passBytes === undefined || passBytes.length > 255) throw new RelayError('invite-invalid', 'An invite cannot carry this pass of a relay.');
  const expiry = new Uint8Array(8);
  new DataView(expiry.buffer).setBigUint64(0, BigInt(expiresAt));
  const payload = concatBytes(Uint8Array.of(VERSION), expiry, publicKeyOf(hostId), secret, Uint8Array.of(url.length >> 8, url.length & 255), url, Uint8Array.of(nameBytes.length), nameBytes, Uint8Array.of(passBytes.length), passBytes);
  return { invite: LINK_SCHEME + encodeBase64url(concatBytes(payload, checksumOf(payload))), relayUrl, hostId, name, secret, pass, expiresAt: new Date(expiresAt), ...deriveInvite(secret) };
}

/** Reads an invite. Throws `invite-invalid` where it was mistyped, cut off or tampered with. Whether its time is over the issuer knows: this machine's clock may be wrong. */
export function parseInvite(text: string): ParsedInvite {
  const invalid = (): never => {
    throw new RelayError('invite-invalid', 'This is not a whole Baton invite: it was mistyped, cut off or changed. Copy all of it, from "baton:" on, or ask for a new one.');
  };
  const trimmed = text.trim();
  if (!trimmed.startsWith(LINK_SCHEME) || trimmed.length > 2048) return invalid();
  const bytes = decodeBase64url(trimmed.slice(LINK_SCHEME.length));
  if (bytes === undefined || bytes.length < FIXED_LENGTH) return invalid();
  const payload = bytes.subarray(0, -CHECKSUM_LENGTH);
  if (!equalBytes(checksumOf(payload), bytes.subarray(-CHECKSUM_LENGTH))) return invalid();
  if (payload[0] !== VERSION) throw new RelayError('invite-invalid', 'This invite was made by another version of Baton. Update Baton on this machine or on the inviting one.');
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  const urlLength = view.getUint16(73);
  const nameStart = 75 + urlLength + 1;
  const passStart = nameStart + (payload[nameStart - 1] ?? 0) + 1;
  if (passStart > payload.length || passStart + (payload[passStart - 1] ?? 0) !== payload.length) return invalid();
  const relayUrl = decodeText(payload.subarray(75, 75 + urlLength));
  const name = decodeText(payload.subarray(nameStart, passStart - 1));
  const expiresAt = Number(view.getBigUint64(1));
  if (relayUrl === undefined || name === undefined || !isRelayUrl(relayUrl) || !isName(name) || expiresAt > MAX_EXPIRY) return invalid();
  const secret = payload.slice(41, 41 + SECRET_LENGTH);
  return { relayUrl, hostId: hostIdOf(payload.slice(9, 41)), name, secret, pass: passStart === payload.length ? undefined : encodeBase64url(payload.subarray(passStart)), expiresAt: new Date(expiresAt), ...deriveInvite(secret) };
}

/** It tells a slip of the hand from an invite that was used; it is no protection, since whoever changes an invite can compute it. */
function checksumOf(payload: Uint8Array): Uint8Array {
  return sha256.hash(utf8('baton invite checksum'), payload).subarray(0, CHECKSUM_LENGTH);
}

function decodeText(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

function isRelayUrl(text: string): boolean {
  if (utf8(text).length > MAX_URL_LENGTH || !URL.canParse(text)) return false;
  const url = new URL(text);
  return (url.protocol === 'ws:' || url.protocol === 'wss:') && url.username === '' && url.password === '' && url.search === '' && url.hash === '' && !/\s/.test(text);
}

/** Names are shown to people: no control, format (bidirectional and zero-width) or unpaired characters. */
function isName(name: string): boolean {
  return name.length > 0 && name.length <= MAX_NAME_LENGTH && !/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.test(name) && name.trim() === name;
}
