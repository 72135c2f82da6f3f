/** This Noise against another one that shares no code with it: noise-c, in C, as WebAssembly. */
import createNoiseWithPsk from '@richardhopton/noise-c.wasm';
import createNoise from 'noise-c.wasm';
import { describe, expect, it } from 'vitest';
import { chooseAead } from '../../src/relay/aead';
import { generateKeyPair, randomBytes } from '../../src/relay/keys';
import { HandshakeState, type HandshakeRole } from '../../src/relay/noise/handshakeState';
import { parseProtocolName } from '../../src/relay/noise/patterns';

const load = (create: typeof createNoise): Promise<NoiseC> => new Promise((resolve) => create(resolve));
const noise = { plain: await load(createNoise), psk: await load(createNoiseWithPsk) };
const nothing = new Uint8Array(0);
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

const plain = ['NN', 'NK', 'XX', 'IK', 'KK'];
const withPsk = ['NNpsk0', 'NNpsk1', 'NNpsk2', 'NKpsk0', 'NKpsk1', 'NKpsk2', 'XXpsk0', 'XXpsk1', 'XXpsk2', 'XXpsk3', 'IKpsk0', 'IKpsk1', 'IKpsk2', 'KKpsk0', 'KKpsk1', 'KKpsk2'];
const protocols = [
  ...plain.flatMap((pattern) => ['SHA256', 'BLAKE2s'].map((hash) => ({ name: `Noise_${pattern}_25519_ChaChaPoly_${hash}`, library: noise.plain }))),
  ...withPsk.map((pattern) => ({ name: `Noise_${pattern}_25519_ChaChaPoly_SHA256`, library: noise.psk })),
];

interface Transport {
  seal(plaintext: Uint8Array): Uint8Array;
  open(ciphertext: Uint8Array): Uint8Array;
}

/** One side of either implementation. */
interface Side {
  write(payload: Uint8Array): Uint8Array;
  read(message: Uint8Array): Uint8Array;
  finish(): { readonly handshakeHash: string; readonly remoteKey: string | undefined; readonly transport: Transport };
}

function ours(state: HandshakeState): Side {
  return {
    write: (payload) => state.writeMessage(payload),
    read: (message) => state.readMessage(message),
    finish() {
      const { sender, receiver, handshakeHash, remoteStaticKey } = state.split();
      return {
        handshakeHash: hex(handshakeHash),
        remoteKey: remoteStaticKey && hex(remoteStaticKey),
        transport: { seal: (plaintext) => sender.encryptWithAd(nothing, plaintext), open: (ciphertext) => receiver.decryptWithAd(nothing, ciphertext) },
      };
    },
  };
}

function theirs(state: NoiseCHandshakeState, library: NoiseC, knowsRemoteKey: boolean): Side {
  return {
    write: (payload) => state.WriteMessage(payload),
    read: (message) => state.ReadMessage(message, true),
    finish() {
      expect(state.GetAction()).toBe(library.constants.NOISE_ACTION_SPLIT);
      const handshakeHash = hex(state.GetHandshakeHash());
      const remoteKey = knowsRemoteKey ? hex(state.GetRemotePublicKey()) : undefined;
      const [sender, receiver] = state.Split();
      return { handshakeHash, remoteKey, transport: { seal: (plaintext) => sender.EncryptWithAd(nothing, plaintext), open: (ciphertext) => receiver.DecryptWithAd(nothing, ciphertext) } };
    },
  };
}

describe.each(protocols)('$name', ({ name, library }) => {
  it.each<HandshakeRole>(['initiator', 'responder'])('is understood by noise-c, with this side as %s: handshake, payloads, both keys and transport', (role) => {
    const protocol = parseProtocolName(name);
    const { initiatorKnown, responderKnown, messages } = protocol.pattern;
    const other = role === 'initiator' ? 'responder' : 'initiator';
    const [ownKey, otherKey, prologue, psk] = [generateKeyPair(), generateKeyPair(), randomBytes(50), randomBytes(32)];
    const [isOwnKnown, isOtherKnown] = role === 'initiator' ? [initiatorKnown, responderKnown] : [responderKnown, initiatorKnown];
    const sends = (who: HandshakeRole): boolean => messages.some((tokens, index) => (index % 2 === 0) === (who === 'initiator') && tokens.includes('s'));
    const [hasOwn, hasOther] = [isOwnKnown || sends(role), isOtherKnown || sends(other)];

    const near = ours(new HandshakeState({ protocol, role, createCipher: chooseAead().createCipher, prologue, psks: messages.flat().includes('psk') ? [psk] : [], ...(hasOwn ? { staticKey: ownKey } : {}), ...(isOtherKnown ? { remoteStaticKey: otherKey.publicKey } : {}) }));
    const state = library.HandshakeState(name, role === 'initiator' ? library.constants.NOISE_ROLE_RESPONDER : library.constants.NOISE_ROLE_INITIATOR);
    state.Initialize(prologue, hasOther ? otherKey.secretKey : null, isOwnKnown ? ownKey.publicKey : null, psk);
    const far = theirs(state, library, hasOwn);

    for (let index = 0, [writer, reader] = role === 'initiator' ? [near, far] : [far, near]; index < messages.length; index++, [writer, reader] = [reader, writer]) {
      const payload = randomBytes(index * 100);
      expect(hex(reader.read(writer.write(payload)))).toBe(hex(payload));
    }
    const [nearEnd, farEnd] = [near.finish(), far.finish()];
    expect(nearEnd.handshakeHash).toBe(farEnd.handshakeHash);
    expect(nearEnd.remoteKey).toBe(hasOther ? hex(otherKey.publicKey) : undefined);
    expect(farEnd.remoteKey).toBe(hasOwn ? hex(ownKey.publicKey) : undefined);
    for (const length of [0, 1, 1000, 65_519]) {
      const plaintext = randomBytes(length);
      expect(hex(farEnd.transport.open(nearEnd.transport.seal(plaintext)))).toBe(hex(plaintext));
      expect(hex(nearEnd.transport.open(farEnd.transport.seal(plaintext)))).toBe(hex(plaintext));
    }
    const changed = farEnd.transport.seal(Uint8Array.of(1, 2, 3));
    expect(() => nearEnd.transport.open(changed.map((byte, index) => (index === 0 ? byte ^ 1 : byte)))).toThrow();
    expect([...nearEnd.transport.open(changed)]).toEqual([1, 2, 3]);
  });
});
