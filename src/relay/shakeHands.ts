import { FrameKind, FrameOpener, FrameSealer } from './frames';
import { HandshakeState, type HandshakeOptions, type HandshakeRole, type Session } from './noise/handshakeState';
import { parseProtocolName } from './noise/patterns';
import type { Preamble } from './preamble';
import { RelayError } from './relayError';

/** Whole messages to and from the other side, in order. */
export interface MessageLink {
  /** The next message of the other side. */
  read(): Promise<Uint8Array>;
  /** Sends one message; its length goes before it. */
  write(message: Uint8Array): void;
  /** Sends a message that has its length before it already. */
  writeFrame(frame: Uint8Array): void;
}

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
export async function shakeHands(link: MessageLink, preamble: Preamble, options: Omit<HandshakeOptions, 'protocol'>): Promise<Established> {
  const state = new HandshakeState({ ...options, protocol: parseProtocolName(`Noise_${preamble.pattern}_25519_ChaChaPoly_SHA256`) });
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
