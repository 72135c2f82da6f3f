import { describe, expect, it } from 'vitest';
import { aeadBackEnds } from '../../src/relay/aead';
import type { HandshakeState } from '../../src/relay/noise/handshakeState';
import { RelayError } from '../../src/relay/relayError';
import { bothSides, vectorFiles, type Vector } from './noiseVectors';

const nothing = new Uint8Array(0);
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

describe.each(vectorFiles)('the vectors of $name', ({ vectors }) => {
  it('have at least one whose protocol is there to be tried', () => {
    expect(vectors.length).toBeGreaterThan(0);
  });

  it.each(aeadBackEnds)('pass on the $name cipher', ({ createCipher }) => {
    for (const vector of vectors) {
      const { initiator, responder } = bothSides(vector, createCipher);
      vector.messages.forEach(({ payload, ciphertext }, index) => {
        const [writer, reader] = index % 2 === 0 ? [initiator, responder] : [responder, initiator];
        if (writer.isComplete) {
          expect(hex(writer.split().sender.encryptWithAd(nothing, payload))).toBe(hex(ciphertext));
          expect(hex(reader.split().receiver.decryptWithAd(nothing, ciphertext))).toBe(hex(payload));
        } else {
          expect(hex(writer.writeMessage(payload))).toBe(hex(ciphertext));
          expect(hex(reader.readMessage(ciphertext))).toBe(hex(payload));
        }
      });
      expect(initiator.isComplete && responder.isComplete).toBe(true);
      expect(hex(initiator.split().handshakeHash)).toBe(hex(responder.split().handshakeHash));
      if (vector.handshake_hash !== undefined) expect(hex(initiator.split().handshakeHash)).toBe(hex(vector.handshake_hash));
    }
  });
});

describe.each(vectorFiles)('a handshake message of $name', ({ name, vectors }) => {
  it('that has any one bit changed never leads to a session, and whoever refused it still reads the true one', () => {
    let flips = 0;
    for (const vector of vectors) {
      const { initiator, responder } = bothSides(vector);
      vector.messages.forEach(({ payload, ciphertext }, index) => {
        const [writer, reader] = index % 2 === 0 ? [initiator, responder] : [responder, initiator];
        if (writer.isComplete) return;
        writer.writeMessage(payload);
        for (let bit = 0; bit < ciphertext.length * 8; bit++, flips++) {
          const changed = ciphertext.slice();
          changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
          // Only the first message can be without a key, and then the change shows in the second.
          if (index === 0 && isClear(vector)) expect(refuses(initiator, answerTo(vector, changed))).toBe(true);
          else expect(refuses(reader, changed)).toBe(true);
        }
        reader.readMessage(ciphertext);
      });
      expect(initiator.isComplete && responder.isComplete).toBe(true);
    }
    console.info(`${name}: ${flips} handshake messages with one bit changed were refused.`);
  });

  /** Whether the first message has no tag. */
  const isClear = ({ messages: [first] }: Vector): boolean => first?.ciphertext.length === 32 + (first?.payload.length ?? 0);

  /** What a new responder says to a changed first message; undefined where it says nothing. */
  function answerTo(vector: Vector, changed: Uint8Array): Uint8Array | undefined {
    const { responder } = bothSides(vector);
    return refuses(responder, changed) ? undefined : responder.writeMessage(vector.messages[1]?.payload ?? nothing);
  }

  function refuses(reader: HandshakeState, message: Uint8Array | undefined): boolean {
    if (message === undefined) return true;
    try {
      reader.readMessage(message);
      return false;
    } catch (error) {
      if (RelayError.is(error, 'decrypt-failed') || RelayError.is(error, 'key-invalid')) return true;
      throw error;
    }
  }
});
