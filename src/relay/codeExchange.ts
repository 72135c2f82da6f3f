import type { Duplex } from 'node:stream';
import type { Channel } from './channel';
import { systemClock, type Clock } from './clock';
import { calculateGenerator, ELEMENT_LENGTH, intermediateSessionKey, lvCat, sampleScalar, scalarMult } from './cpace';
import { HandshakeLink } from './handshakeLink';
import { deriveInvite } from './invite';
import { acceptChannel, pairChannel } from './openChannel';
import { concatBytes, equalBytes, KEY_LENGTH, utf8, type KeyPair } from './keys';
import type { PairingCode } from './pairingCode';
import { RelayError } from './relayError';

/**
 * Pairing by a code that people type. The code goes through CPace, so one run is one guess; the key that comes of it then is the
 * pre-shared key of an ordinary pairing channel, which shows both sides whether the guess was right.
 *
 *   joins   → `baton code` 1 · session id (16) · key of the joining side (32) · Ya (32)
 *   invites → key of the inviting side (32) · Yb (32)
 *   joins   → preamble and handshake of a pairing channel, on the same stream
 */
const MAGIC = concatBytes(utf8('baton code'), Uint8Array.of(1));
const SID_LENGTH = 16;
const TIMEOUT_MS = 10_000;

export interface CodeExchangeOptions {
  readonly keyPair: KeyPair;
  readonly code: PairingCode;
  readonly clock?: Clock | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What a run is bound to besides the password: this protocol and the place. Both keys are in the transcript as associated data. */
const contextOf = ({ place }: PairingCode): Uint8Array => lvCat(utf8('Baton pairing code 1'), utf8(place));

const run = <T>(stream: Duplex, { clock = systemClock, signal }: CodeExchangeOptions, exchange: (link: HandshakeLink) => Promise<T>): Promise<T> => HandshakeLink.run(stream, { clock, timeoutMs: TIMEOUT_MS, signal }, exchange);

/**
 * Joins by a code: the channel to whoever has the same code. Throws `handshake-failed` where the other side has another one or is
 * gone, `timeout`, `cancelled`; the stream is then destroyed.
 */
export async function joinByCode(stream: Duplex, options: CodeExchangeOptions): Promise<Channel> {
  const { keyPair, code } = options;
  const { remoteKey, secret } = await run(stream, options, async (link) => {
    const sid = crypto.getRandomValues(new Uint8Array(SID_LENGTH));
    const ya = sampleScalar();
    const Ya = scalarMult(ya, calculateGenerator(code.password, contextOf(code), sid));
    link.write(concatBytes(MAGIC, sid, keyPair.publicKey, Ya));
    const [ADb, Yb] = parts(await link.read(), [KEY_LENGTH, ELEMENT_LENGTH]);
    return { remoteKey: ADb, secret: intermediateSessionKey(ya, Yb, sid, { Ya, ADa: keyPair.publicKey, Yb, ADb }) };
  });
  return pairChannel(stream, { ...options, remoteKey, ...deriveInvite(secret) });
}

/**
 * Answers somebody who joins by a code. `onGuess` is called before anything is answered, and not at all where what came is no
 * attempt; it throws where there is none left. Throws as `joinByCode`, and what `onGuess` throws.
 */
export async function inviteByCode(stream: Duplex, options: CodeExchangeOptions & { readonly onGuess: () => void }): Promise<Channel> {
  const { keyPair, code } = options;
  const { ADa, secret } = await run(stream, options, async (link) => {
    const [magic, sid, key, Ya] = parts(await link.read(), [MAGIC.length, SID_LENGTH, KEY_LENGTH, ELEMENT_LENGTH]);
    if (!equalBytes(magic, MAGIC)) throw new RelayError('handshake-failed', 'The other side did not open the connection with a code of this version.');
    options.onGuess();
    const yb = sampleScalar();
    const Yb = scalarMult(yb, calculateGenerator(code.password, contextOf(code), sid));
    const isk = intermediateSessionKey(yb, Ya, sid, { Ya, ADa: key, Yb, ADb: keyPair.publicKey });
    link.write(concatBytes(keyPair.publicKey, Yb));
    return { ADa: key, secret: isk };
  });
  const { room, psk } = deriveInvite(secret);
  const channel = await acceptChannel(stream, { ...options, isTrusted: () => false, pskForRoom: (named) => (named === room ? psk : undefined) });
  if (equalBytes(channel.remoteKey, ADa)) return channel;
  channel.destroy();
  throw new RelayError('handshake-failed', 'The other side proved another key than the one with which it began.');
}

/** A message cut into parts of these lengths, which must be all of it. */
function parts<const L extends readonly number[]>(message: Uint8Array, lengths: L): { [K in keyof L]: Uint8Array } {
  if (message.length !== lengths.reduce((sum, length) => sum + length, 0)) throw new RelayError('handshake-failed', 'The other side sent a message of a wrong length.');
  let offset = 0;
  return lengths.map((length) => message.slice(offset, (offset += length))) as { [K in keyof L]: Uint8Array };
}
