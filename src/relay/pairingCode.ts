import { wordlist } from '@scure/bip39/wordlists/english';
import { keyPairOf, randomBytes, utf8, type KeyPair } from './keys';
import { sha256 } from './noise/hashFunction';
import { RelayError } from './relayError';

/** A code that people type, such as `WOLF-MAPLE-7482`: two words of 2048, which are the password, and where to meet, which anybody may know. */
export interface PairingCode {
  readonly text: string;
  /** Four digits. The relay sees the place that comes from them. */
  readonly place: string;
  /** What goes through the PAKE: 22 bits. */
  readonly password: Uint8Array;
}

/** The words of BIP 39: no two begin with the same four letters, so a code can be typed from a bad line or by its beginnings. */
const words: readonly string[] = wordlist;
const LEAST_LETTERS = 4;

const codeOf = (first: string, second: string, place: string): PairingCode => ({ text: `${first}-${second}-${place}`.toUpperCase(), place, password: utf8(`${first}-${second}`) });

/** A random code. */
export function createCode(): PairingCode {
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0] = randomBytes(8);
  // 32 bits over 10,000 places: the bias is below one in 400,000, and a place is no secret.
  const place = (((e << 24) | (f << 16) | (g << 8) | h) >>> 0) % 10_000;
  const word = (high: number, low: number): string => words[((high << 8) | low) & 2047] ?? '';
  return codeOf(word(a, b), word(c, d), String(place).padStart(4, '0'));
}

/** Reads a code, in any case, with hyphens or spaces, each word whole or by four letters or more. Throws `invite-invalid`, which names the word that is none. */
export function parseCode(text: string): PairingCode {
  const [first = '', second = '', place = '', ...rest] = text.trim().toLowerCase().split(/[\s-]+/);
  if (rest.length > 0 || !/^\d{4}$/.test(place)) throw new RelayError('invite-invalid', 'A code is two words and four digits, such as WOLF-MAPLE-7482. Type all of it.');
  const [one, two] = [first, second].map((typed) => {
    const word = words.find((known) => known === typed || (typed.length >= LEAST_LETTERS && known.startsWith(typed)));
    if (word === undefined) throw new RelayError('invite-invalid', `"${typed.slice(0, 20)}" is none of the words of a code: it was mistyped or misheard. Nothing was tried yet.`);
    return word;
  });
  return codeOf(one ?? '', two ?? '', place);
}

/**
 * The key with which the inviting host is met at a place. Anybody can compute it, so it proves nothing; it lets a relay that knows
 * nothing of codes bring the two together, and whoever takes the place can only keep others from meeting there.
 */
export function placeKeyPair(place: string): KeyPair {
  return keyPairOf(sha256.hash(utf8('baton pairing place 1\0'), utf8(place)));
}

/** Four words that are the same on both sides of a channel and on no other: 44 bits of its handshake hash. */
export function fingerprintWords(handshakeHash: Uint8Array): string {
  const digest = sha256.hmac(utf8('baton fingerprint words 1'), handshakeHash);
  let bits = 0n;
  for (const byte of digest.subarray(0, 6)) bits = (bits << 8n) | BigInt(byte);
  return [37n, 26n, 15n, 4n].map((shift) => words[Number((bits >> shift) & 2047n)] ?? '').join(' ');
}
