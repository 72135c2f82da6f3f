import { concatBytes, KEY_LENGTH } from './keys';
import { RelayError } from './relayError';

const CHANNEL_VERSION = 1;
const purposes = ['control', 'transfer', 'tunnel', 'pairing'] as const;
/** What a channel is for. It is bound into the handshake, so a message of one can never be replayed into another. */
export type ChannelPurpose = (typeof purposes)[number];
const patterns = ['KK', 'XXpsk3'] as const;
/** `XXpsk3` for a first meeting with an invite's secret, `KK` between keys that know each other. */
export type ChannelPattern = (typeof patterns)[number];

/** What the initiator says in clear before the handshake. */
export type Preamble =
  | { readonly pattern: 'KK'; readonly purpose: Exclude<ChannelPurpose, 'pairing'>; readonly initiatorKey: Uint8Array; readonly room: '' }
  | { readonly pattern: 'XXpsk3'; readonly purpose: 'pairing'; readonly initiatorKey: undefined; readonly room: string };

const magic = new TextEncoder().encode('baton');
const ROOM_LENGTH = 43;
/** The longest preamble or handshake message; anything longer is refused on sight of its length. */
export const MAX_HANDSHAKE_LENGTH = 256;

/** `baton`, version, pattern, purpose (one byte each, from 1), then 32 bytes of key (KK) or 43 characters of room (XXpsk3). */
export function encodePreamble(preamble: Preamble): Uint8Array {
  const head = Uint8Array.of(CHANNEL_VERSION, patterns.indexOf(preamble.pattern) + 1, purposes.indexOf(preamble.purpose) + 1);
  return concatBytes(magic, head, preamble.pattern === 'KK' ? preamble.initiatorKey : new TextEncoder().encode(preamble.room));
}

/** Reads a preamble strictly: every byte string has one meaning or none. Throws `handshake-failed`. */
export function parsePreamble(bytes: Uint8Array): Preamble {
  const refuse = (what: string): never => {
    throw new RelayError('handshake-failed', `The other side opened the connection with ${what}.`);
  };
  if (bytes.length < magic.length + 3 || magic.some((byte, index) => bytes[index] !== byte)) return refuse('something that is not a Baton channel');
  const [version, patternNumber = 0, purposeNumber = 0] = bytes.subarray(magic.length);
  if (version !== CHANNEL_VERSION) return refuse(`version ${version ?? 0} of the channel protocol; this side speaks version ${CHANNEL_VERSION}`);
  const pattern = patterns[patternNumber - 1];
  const purpose = purposes[purposeNumber - 1];
  const rest = bytes.slice(magic.length + 3);
  if (pattern === 'KK' && purpose !== undefined && purpose !== 'pairing' && rest.length === KEY_LENGTH) return { pattern, purpose, initiatorKey: rest, room: '' };
  const room = String.fromCharCode(...rest.subarray(0, ROOM_LENGTH + 1));
  if (pattern === 'XXpsk3' && purpose === 'pairing' && /^[A-Za-z0-9_-]{43}$/.test(room)) return { pattern, purpose, initiatorKey: undefined, room };
  return refuse('a combination of pattern and purpose that does not exist');
}

/**
 * The Noise prologue: protocol and version, the whole preamble (pattern, purpose, initiator, room), and the responder's
 * key. Who was meant by either side is so part of the key agreement; a relay that connects others learns nothing and gains nothing.
 */
export function prologueOf(preamble: Uint8Array, responderKey: Uint8Array): Uint8Array {
  return concatBytes(new TextEncoder().encode(`Baton channel ${CHANNEL_VERSION}\0`), Uint8Array.of(preamble.length), preamble, responderKey);
}
