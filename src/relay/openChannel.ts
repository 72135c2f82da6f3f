import type { Duplex } from 'node:stream';
import { chooseAead } from './aead';
import { Channel, type ChannelOptions } from './channel';
import { systemClock } from './clock';
import { HandshakeLink } from './handshakeLink';
import { equalBytes, hostIdOf, type KeyPair } from './keys';
import type { HandshakeOptions } from './noise/handshakeState';
import { encodePreamble, parsePreamble, prologueOf, type ChannelPurpose, type Preamble } from './preamble';
import { RelayError } from './relayError';
import { shakeHands, type Established } from './shakeHands';

/**
 * Opens a channel to a host or device that is known and that knows this key: Noise KK as initiator.
 * Throws `handshake-failed`, `timeout` or `cancelled`; the stream is then destroyed.
 */
export async function openChannel(
  stream: Duplex,
  options: ChannelOptions & { readonly keyPair: KeyPair; readonly remoteKey: Uint8Array; readonly purpose: Exclude<ChannelPurpose, 'pairing'> },
): Promise<Channel> {
  const preamble: Preamble = { pattern: 'KK', purpose: options.purpose, initiatorKey: options.keyPair.publicKey, room: '' };
  return initiate(stream, preamble, options, { remoteStaticKey: options.remoteKey });
}

/**
 * Opens the first channel to the host that issued an invite: Noise XXpsk3 as initiator with the invite's secret (32
 * bytes), room and host key. Throws `handshake-failed`, `timeout` or `cancelled`; the stream is then destroyed.
 */
export async function pairChannel(
  stream: Duplex,
  options: ChannelOptions & { readonly keyPair: KeyPair; readonly remoteKey: Uint8Array; readonly psk: Uint8Array; readonly room: string },
): Promise<Channel> {
  return initiate(stream, { pattern: 'XXpsk3', purpose: 'pairing', initiatorKey: undefined, room: options.room }, options, { psks: [options.psk] });
}

/**
 * Answers either. `isTrusted` is asked for the key of a KK initiator; `pskForRoom` for the secret of an XXpsk3
 * initiator's room, exactly once per attempt and before anything is answered: an owner who forgets the room there lets
 * an invite be tried once. Resolves only when the initiator has proven that it has its key (a replayed first message
 * does nothing). Throws `handshake-failed`, `timeout` or `cancelled`; the stream is then closed with nothing said.
 */
export async function acceptChannel(
  stream: Duplex,
  options: ChannelOptions & {
    readonly keyPair: KeyPair;
    readonly isTrusted: (remoteKey: Uint8Array) => boolean;
    readonly pskForRoom: (room: string) => Uint8Array | undefined;
  },
): Promise<Channel> {
  return establish(stream, options, async (link) => {
    const preambleBytes = await link.read();
    const preamble = parsePreamble(preambleBytes);
    const known: { remoteStaticKey?: Uint8Array; psks?: Uint8Array[] } = {};
    if (preamble.pattern === 'KK') {
      if (!options.isTrusted(preamble.initiatorKey)) throw new RelayError('handshake-failed', `${hostIdOf(preamble.initiatorKey)} is not a key that this host trusts.`);
      known.remoteStaticKey = preamble.initiatorKey;
    } else {
      const psk = options.pskForRoom(preamble.room);
      if (psk === undefined) throw new RelayError('handshake-failed', 'There is no open invite for the room that the other side named: it was used, has expired, or never was.');
      known.psks = [psk];
    }
    return shakeHands(link, preamble, { ...known, role: 'responder', createCipher: chooseAead().createCipher, staticKey: options.keyPair, prologue: prologueOf(preambleBytes, options.keyPair.publicKey) });
  });
}

async function initiate(stream: Duplex, preamble: Preamble, options: ChannelOptions & { readonly keyPair: KeyPair; readonly remoteKey: Uint8Array }, known: Pick<HandshakeOptions, 'remoteStaticKey' | 'psks'>): Promise<Channel> {
  return establish(stream, options, async (link) => {
    const preambleBytes = encodePreamble(preamble);
    link.write(preambleBytes);
    const established = await shakeHands(link, preamble, { ...known, role: 'initiator', createCipher: chooseAead().createCipher, staticKey: options.keyPair, prologue: prologueOf(preambleBytes, options.remoteKey) });
    // XX proves which key answered; it must be the one that the invite named.
    if (!equalBytes(established.remoteKey, options.remoteKey)) throw new RelayError('handshake-failed', 'Another host answered than the invite names.');
    return established;
  });
}

async function establish(stream: Duplex, options: ChannelOptions, handshake: (link: HandshakeLink) => Promise<Established>): Promise<Channel> {
  const { clock = systemClock, handshakeTimeoutMs: timeoutMs = 10_000, signal } = options;
  const { link, established } = await HandshakeLink.run(stream, { clock, timeoutMs, signal }, async (running) => ({ link: running, established: await handshake(running) }));
  return new Channel(link, established, options);
}
