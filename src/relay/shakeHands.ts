import { chooseAead } from './aead';
import { FrameKind, FrameOpener, FrameSealer } from './frames';
import type { HandshakeLink } from './handshakeLink';
import { HandshakeState, type HandshakeOptions, type HandshakeRole, type Session } from './noise/handshakeState';
import { parseProtocolName } from './noise/patterns';
import type { Preamble } from './preamble';
import { RelayError } from './relayError';

/** What a finished handshake hands to its channel. */
export interface Established {
  readonly session: Session;
  readonly preamble: Preamble;
  readonly role: HandshakeRole;
  readonly remoteKey: Uint8Array;
}

/**
 * The Noise messages of a preamble's pattern, then one that shows to whoever wrote the last of them that it was understood.
 * Throws `handshake-failed`, `decrypt-failed`, `key-invalid`, or what the link throws.
 */
export async function shakeHands(link: HandshakeLink, preamble: Preamble, options: Omit<HandshakeOptions, 'protocol' | 'createCipher'>): Promise<Established> {
  const state = new HandshakeState({ ...options, protocol: parseProtocolName(`Noise_${preamble.pattern}_25519_ChaChaPoly_SHA256`), createCipher: chooseAead().createCipher });
  let wroteLast = false;
  while (!state.isComplete) {
    wroteLast = state.isWriting;
    if (wroteLast) link.write(state.writeMessage(new Uint8Array(0)));
    else if (state.readMessage(await link.read()).length > 0) throw new RelayError('handshake-failed', 'The other side put data into its handshake.');
  }
  const session = state.split();
  if (session.remoteStaticKey === undefined) throw new RelayError('handshake-failed', 'The other side did not show its key.');
  // This sealer and opener are not the channel's own, so neither side counts the confirmation towards the next rekey.
  if (wroteLast) {
    const { kind } = new FrameOpener(session.receiver).open(await link.read());
    if (kind !== FrameKind.confirm) throw new RelayError('handshake-failed', 'The other side did not confirm the handshake.');
  } else {
    link.writeFrame(new FrameSealer(session.sender).control(FrameKind.confirm));
  }
  return { session, preamble, role: options.role, remoteKey: session.remoteStaticKey };
}
