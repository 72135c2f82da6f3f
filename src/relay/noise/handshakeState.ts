import { concatBytes, generateKeyPair, KEY_LENGTH, sharedSecret, type KeyPair } from '../keys';
import { RelayError } from '../relayError';
import { MAX_MESSAGE_LENGTH, TAG_LENGTH, type CipherState, type CreateCipher } from './cipherState';
import type { Protocol, Token } from './patterns';
import { SymmetricState } from './symmetricState';

export type HandshakeRole = 'initiator' | 'responder';

export interface HandshakeOptions {
  readonly protocol: Protocol;
  readonly role: HandshakeRole;
  readonly createCipher: CreateCipher;
  /** What both sides must agree on before they can agree on a key. */
  readonly prologue?: Uint8Array;
  readonly staticKey?: KeyPair;
  readonly remoteStaticKey?: Uint8Array;
  /** 32 bytes each, in the order of the pattern's psk tokens. */
  readonly psks?: readonly Uint8Array[];
  /** A fixed ephemeral key, as test vectors need it; two handshakes with one ephemeral key have no secrecy. */
  readonly ephemeralKeyForTestsOnly?: KeyPair;
}

/** What a finished handshake leaves: a cipher for each direction and the hash that names this session. */
export interface Session {
  readonly sender: CipherState;
  readonly receiver: CipherState;
  readonly handshakeHash: Uint8Array;
  readonly remoteStaticKey: Uint8Array | undefined;
}

interface Progress {
  readonly symmetric: SymmetricState;
  ephemeral: KeyPair | undefined;
  remoteEphemeral: Uint8Array | undefined;
  remoteStatic: Uint8Array | undefined;
  message: number;
  psk: number;
}

/**
 * One side of a Noise handshake (Noise revision 34, section 5.3). It does no I/O. A message that fails, on reading or on
 * writing, leaves the state as it was; whether to try again is the caller's choice (a Baton channel never does).
 */
export class HandshakeState {
  #progress: Progress;
  #session: Session | undefined;

  /** Initialize(). Throws `handshake-misused` where a key that the pattern needs is missing or a psk has not 32 bytes. */
  constructor(private readonly options: HandshakeOptions) {
    const { protocol, role, staticKey, remoteStaticKey, psks = [] } = options;
    const { initiatorKnown, responderKnown, messages } = protocol.pattern;
    const initiator = role === 'initiator';
    const ownKnown = initiator ? initiatorKnown : responderKnown;
    const remoteKnown = initiator ? responderKnown : initiatorKnown;
    const sendsStatic = messages.some((tokens, index) => (index % 2 === 0) === initiator && tokens.includes('s'));
    if ((ownKnown || sendsStatic) && staticKey === undefined) throw new RelayError('handshake-misused', `${protocol.name} needs a static key of the ${role}.`);
    if (remoteKnown !== (remoteStaticKey !== undefined)) throw new RelayError('handshake-misused', `${protocol.name} ${remoteKnown ? 'needs' : 'cannot use'} the other side's static key beforehand.`);
    const pskCount = messages.flat().filter((token) => token === 'psk').length;
    if (psks.length !== pskCount || psks.some((psk) => psk.length !== 32)) throw new RelayError('handshake-misused', `${protocol.name} needs ${pskCount} pre-shared keys of 32 bytes.`);
    const symmetric = new SymmetricState(protocol.name, protocol.hash, options.createCipher);
    symmetric.mixHash(options.prologue ?? new Uint8Array(0));
    const initiatorKey = initiator ? staticKey?.publicKey : remoteStaticKey;
    const responderKey = initiator ? remoteStaticKey : staticKey?.publicKey;
    if (initiatorKnown && initiatorKey !== undefined) symmetric.mixHash(initiatorKey);
    if (responderKnown && responderKey !== undefined) symmetric.mixHash(responderKey);
    this.#progress = { symmetric, ephemeral: undefined, remoteEphemeral: undefined, remoteStatic: remoteStaticKey, message: 0, psk: 0 };
  }

  get isComplete(): boolean {
    return this.#progress.message === this.options.protocol.pattern.messages.length;
  }

  /** Whether the next message is this side's to write. */
  get isWriting(): boolean {
    return !this.isComplete && (this.#progress.message % 2 === 0) === (this.options.role === 'initiator');
  }

  /** WriteMessage(payload): the message to send, at most 65,535 bytes. Throws `message-too-long`, `key-invalid` or `handshake-misused`. */
  writeMessage(payload: Uint8Array): Uint8Array {
    if (!this.isWriting) throw new RelayError('handshake-misused', 'It is the other side that writes next.');
    return this.#attempt((progress, tokens) => {
      const parts: Uint8Array[] = [];
      for (const token of tokens) {
        if (token === 'e') {
          progress.ephemeral = this.options.ephemeralKeyForTestsOnly ?? generateKeyPair();
          parts.push(progress.ephemeral.publicKey);
          this.#mixEphemeral(progress, progress.ephemeral.publicKey);
        } else if (token === 's') {
          parts.push(progress.symmetric.encryptAndHash(required(this.options.staticKey).publicKey));
        } else {
          this.#mix(progress, token);
        }
      }
      parts.push(progress.symmetric.encryptAndHash(payload));
      const message = concatBytes(...parts);
      if (message.length > MAX_MESSAGE_LENGTH) throw new RelayError('message-too-long', `A handshake message of ${message.length} bytes is longer than the protocol allows.`);
      return message;
    });
  }

  /** ReadMessage(message): its payload. Throws `decrypt-failed`, `message-too-long`, `key-invalid` or `handshake-misused`. */
  readMessage(message: Uint8Array): Uint8Array {
    if (this.isComplete || this.isWriting) throw new RelayError('handshake-misused', 'It is this side that writes next.');
    if (message.length > MAX_MESSAGE_LENGTH) throw new RelayError('message-too-long', `A handshake message of ${message.length} bytes is longer than the protocol allows.`);
    return this.#attempt((progress, tokens) => {
      let offset = 0;
      const take = (length: number): Uint8Array => {
        if (offset + length > message.length) throw new RelayError('decrypt-failed', 'A handshake message is too short.');
        offset += length;
        return message.slice(offset - length, offset);
      };
      for (const token of tokens) {
        if (token === 'e') {
          progress.remoteEphemeral = take(KEY_LENGTH);
          this.#mixEphemeral(progress, progress.remoteEphemeral);
        } else if (token === 's') {
          progress.remoteStatic = progress.symmetric.decryptAndHash(take(KEY_LENGTH + (progress.symmetric.hasKey() ? TAG_LENGTH : 0)));
        } else {
          this.#mix(progress, token);
        }
      }
      return progress.symmetric.decryptAndHash(message.subarray(offset));
    });
  }

  /** Split(), once the handshake is complete; throws `handshake-misused` before. Asked again it gives the same session: two with one key would use its nonces twice. */
  split(): Session {
    if (this.#session !== undefined) return this.#session;
    if (!this.isComplete) throw new RelayError('handshake-misused', 'The handshake is not complete.');
    const { symmetric, remoteStatic } = this.#progress;
    const [first, second] = symmetric.split();
    const [sender, receiver] = this.options.role === 'initiator' ? [first, second] : [second, first];
    return (this.#session = { sender, receiver, handshakeHash: symmetric.handshakeHash, remoteStaticKey: remoteStatic });
  }

  /** Runs one message on a copy of the state and keeps the copy only if the message succeeds. */
  #attempt(run: (progress: Progress, tokens: readonly Token[]) => Uint8Array): Uint8Array {
    const progress = { ...this.#progress, symmetric: this.#progress.symmetric.clone() };
    const result = run(progress, required(this.options.protocol.pattern.messages[progress.message]));
    progress.message += 1;
    this.#progress = progress;
    return result;
  }

  #mixEphemeral(progress: Progress, publicKey: Uint8Array): void {
    progress.symmetric.mixHash(publicKey);
    // Section 9.2: with a psk anywhere in the pattern, the ephemeral key also makes each key unique.
    if ((this.options.psks ?? []).length > 0) progress.symmetric.mixKey(publicKey);
  }

  #mix(progress: Progress, token: Exclude<Token, 'e' | 's'>): void {
    if (token === 'psk') {
      progress.symmetric.mixKeyAndHash(required(this.options.psks?.[progress.psk]));
      progress.psk += 1;
      return;
    }
    // The first letter is the initiator's key, the second the responder's.
    const initiator = this.options.role === 'initiator';
    const own = (initiator ? token.charAt(0) : token.charAt(1)) === 'e' ? progress.ephemeral : this.options.staticKey;
    const remote = (initiator ? token.charAt(1) : token.charAt(0)) === 'e' ? progress.remoteEphemeral : progress.remoteStatic;
    progress.symmetric.mixKey(sharedSecret(required(own), required(remote)));
  }
}

/** What the constructor or the pattern has ensured. */
function required<T>(value: T | undefined): T {
  if (value === undefined) throw new RelayError('handshake-misused', 'The pattern uses a key before it is known.');
  return value;
}
