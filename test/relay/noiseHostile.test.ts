/** What a hostile side, or somebody in between, can put into a handshake or a transport message: it is refused, and nothing changes. */
import { describe, expect, it } from 'vitest';
import { chooseAead } from '../../src/relay/aead';
import { generateKeyPair, type KeyPair } from '../../src/relay/keys';
import { HandshakeState, type HandshakeRole } from '../../src/relay/noise/handshakeState';
import { parseProtocolName } from '../../src/relay/noise/patterns';

const { createCipher } = chooseAead();
const nothing = new Uint8Array(0);
const psk = new Uint8Array(32).fill(9);
const [initiatorKey, responderKey] = [generateKeyPair(), generateKeyPair()];
/** Every pattern, with and without each place that a psk can have in it. */
const patterns = ['NN', 'NNpsk0', 'NNpsk1', 'NNpsk2', 'NK', 'NKpsk0', 'NKpsk1', 'NKpsk2', 'XX', 'XXpsk0', 'XXpsk1', 'XXpsk2', 'XXpsk3', 'IK', 'IKpsk0', 'IKpsk1', 'IKpsk2', 'KK', 'KKpsk0', 'KKpsk1', 'KKpsk2', 'XXpsk0+psk3'];

interface Meeting {
  readonly pattern?: string;
  readonly hash?: 'SHA256' | 'BLAKE2s';
  readonly prologue?: Uint8Array;
  readonly initiator?: KeyPair;
  readonly responder?: KeyPair;
}

function side(role: HandshakeRole, { pattern = 'XX', hash = 'SHA256', prologue = nothing, initiator = initiatorKey, responder = responderKey }: Meeting): HandshakeState {
  const protocol = parseProtocolName(`Noise_${pattern}_25519_ChaChaPoly_${hash}`);
  const { initiatorKnown, responderKnown, messages } = protocol.pattern;
  const [own, remote, isRemoteKnown] = role === 'initiator' ? [initiator, responder, responderKnown] : [responder, initiator, initiatorKnown];
  const psks = messages.flat().filter((token) => token === 'psk').map(() => psk);
  return new HandshakeState({ protocol, role, createCipher, prologue, psks, staticKey: own, ...(isRemoteKnown ? { remoteStaticKey: remote.publicKey } : {}) });
}

const sides = (meeting: Meeting) => ({ initiator: side('initiator', meeting), responder: side('responder', meeting) });

/** The writer and the reader of each message, in turn, until the handshake is over. */
function* turns({ initiator, responder }: ReturnType<typeof sides>): Generator<[HandshakeState, HandshakeState]> {
  for (let [writer, reader] = [initiator, responder]; !writer.isComplete || !reader.isComplete; [writer, reader] = [reader, writer]) yield [writer, reader];
}

const refusal = expect.objectContaining({ reason: expect.stringMatching(/^(decrypt-failed|key-invalid|message-too-long)$/) as string }) as Error;

// The points of small order on Curve25519 and its twist, and the same again not reduced modulo p (https://cr.yp.to/ecdh.html#validate).
const lowOrder = [
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
  '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
].map((text) => new Uint8Array(Buffer.from(text, 'hex')));
// X25519 takes no notice of the last bit, so each has a twin.
const unusable = lowOrder.flatMap((point) => [point, point.map((byte, index) => (index === 31 ? byte | 0x80 : byte))]);

describe('a public key of low order', () => {
  it.each(['NN', 'NK', 'XX', 'IK', 'KK', 'XXpsk3'])('as the ephemeral key ends a handshake of %s at the first agreement with it', (pattern) => {
    for (const point of unusable) {
      const { initiator, responder } = sides({ pattern });
      const message = initiator.writeMessage(nothing);
      // XX and NN agree on nothing before the second message; then it is the responder's own that fails.
      expect(() => {
        responder.readMessage(Buffer.concat([point, message.subarray(32)]));
        responder.writeMessage(nothing);
      }).toThrow(refusal);
      expect(responder.isComplete).toBe(false);
      expect(() => responder.split()).toThrow(expect.objectContaining({ reason: 'handshake-misused' }));
    }
  });

  it.each(['NK', 'IK', 'KK'])('as a static key that is known beforehand ends a handshake of %s with the first message, or the first answer', (pattern) => {
    for (const point of unusable) {
      const responder = { publicKey: point, secretKey: responderKey.secretKey };
      expect(() => side('initiator', { pattern, responder }).writeMessage(nothing)).toThrow(refusal);
    }
  });

  it('as a static key that is sent is not taken, and nobody is told it as the other side', () => {
    for (const point of unusable) {
      const { initiator, responder } = sides({ pattern: 'XX', initiator: { publicKey: point, secretKey: initiatorKey.secretKey } });
      responder.readMessage(initiator.writeMessage(nothing));
      initiator.readMessage(responder.writeMessage(nothing));
      // The initiator itself agrees with its secret key, and so seals what only looks well.
      expect(() => responder.readMessage(initiator.writeMessage(nothing))).toThrow(refusal);
      expect(responder.isComplete).toBe(false);
    }
  });
});

describe.each(patterns)('a handshake of %s', (pattern) => {
  it('refuses messages of other lengths than one can have, and goes on with the true one', () => {
    for (const hash of ['SHA256', 'BLAKE2s'] as const) {
      for (const [writer, reader] of turns(sides({ pattern, hash }))) {
        const message = writer.writeMessage(nothing);
        for (const length of [0, 1, 15, 16, 31, message.length - 1, 65_536]) {
          const other = new Uint8Array(length);
          other.set(message.subarray(0, length));
          expect(() => reader.readMessage(other)).toThrow(refusal);
        }
        expect(reader.readMessage(message).length).toBe(0);
      }
    }
  });

  it('does not take a message back that its reader wrote itself, nor one twice', () => {
    let earlier: Uint8Array | undefined;
    for (const [writer, reader] of turns(sides({ pattern }))) {
      if (earlier !== undefined) {
        const own = earlier;
        expect(() => reader.readMessage(own)).toThrow(refusal);
      }
      const message = writer.writeMessage(nothing);
      reader.readMessage(message);
      expect(() => reader.readMessage(message)).toThrow();
      earlier = message;
    }
  });

  it.each<[string, Meeting]>([
    ['another prologue, as of another version or purpose', { pattern, prologue: Uint8Array.of(1) }],
    ['another hash function', { pattern, hash: 'BLAKE2s' }],
    ['another pattern of the same shape', { pattern: pattern === 'NNpsk0' ? 'NNpsk1' : pattern.startsWith('NN') ? 'NNpsk0' : pattern === 'XXpsk1' ? 'XXpsk0' : 'XXpsk1' }],
  ])('never comes to an end with a responder that has %s', (_what, theirs) => {
    expect(() => {
      for (const [writer, reader] of turns({ initiator: side('initiator', { pattern }), responder: side('responder', theirs) })) reader.readMessage(writer.writeMessage(nothing));
    }).toThrow(expect.objectContaining({ reason: expect.stringMatching(/^(decrypt-failed|key-invalid|handshake-misused)$/) as string }));
  });
});

describe('a transport message', () => {
  it('of another length than one can have, reflected, repeated or out of order is refused, and the true one is read after it', () => {
    const both = sides({ pattern: 'KK' });
    for (const [writer, reader] of turns(both)) reader.readMessage(writer.writeMessage(nothing));
    const [near, far] = [both.initiator.split(), both.responder.split()];
    const [first, second] = [near.sender.encryptWithAd(nothing, nothing), near.sender.encryptWithAd(nothing, Uint8Array.of(2))];
    expect(first.length).toBe(16);
    for (const length of [0, 15, 16, 65_535, 65_536]) expect(() => far.receiver.decryptWithAd(nothing, new Uint8Array(length))).toThrow(refusal);
    expect(() => near.receiver.decryptWithAd(nothing, first)).toThrow(refusal);
    expect(() => far.receiver.decryptWithAd(nothing, second)).toThrow(refusal);
    expect(() => far.receiver.decryptWithAd(Uint8Array.of(0), first)).toThrow(refusal);
    expect(far.receiver.nonce).toBe(0n);
    expect(far.receiver.decryptWithAd(nothing, first).length).toBe(0);
    expect(() => far.receiver.decryptWithAd(nothing, first)).toThrow(refusal);
    expect([...far.receiver.decryptWithAd(nothing, second)]).toEqual([2]);
  });

  it('has no nonce left after 2^64 - 1 of them, on either side, and a new key does not give one back', () => {
    const both = sides({ pattern: 'KK' });
    for (const [writer, reader] of turns(both)) reader.readMessage(writer.writeMessage(nothing));
    const [{ sender }, { receiver }] = [both.initiator.split(), both.responder.split()];
    for (const state of [sender, receiver]) state.setNonce(2n ** 64n - 2n);
    expect(receiver.decryptWithAd(nothing, sender.encryptWithAd(nothing, nothing)).length).toBe(0);
    for (const state of [sender, receiver]) state.rekey();
    expect(() => sender.encryptWithAd(nothing, nothing)).toThrow(expect.objectContaining({ reason: 'nonce-exhausted' }));
    expect(() => receiver.decryptWithAd(nothing, new Uint8Array(16))).toThrow(expect.objectContaining({ reason: 'nonce-exhausted' }));
  });
});
