import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { aeadBackEnds, chooseAead } from '../../src/relay/aead';
import { keyPairOf } from '../../src/relay/keys';
import { HandshakeState, type Session } from '../../src/relay/noise/handshakeState';
import { parseProtocolName } from '../../src/relay/noise/patterns';
import { RelayError } from '../../src/relay/relayError';

// Formats of haskell-cryptography/cacophony (vectors/cacophony.txt) and mcginty/snow (tests/vectors/snow.txt).
const hexBytes = z.string().regex(/^([0-9a-f]{2})*$/).transform((text) => new Uint8Array(Buffer.from(text, 'hex')));
const vectorFile = z.object({
  vectors: z.array(
    z.object({
      protocol_name: z.string(),
      init_prologue: hexBytes,
      init_static: hexBytes.optional(),
      init_ephemeral: hexBytes,
      init_remote_static: hexBytes.optional(),
      init_psks: z.array(hexBytes).optional(),
      resp_prologue: hexBytes,
      resp_static: hexBytes.optional(),
      resp_ephemeral: hexBytes,
      resp_remote_static: hexBytes.optional(),
      resp_psks: z.array(hexBytes).optional(),
      handshake_hash: hexBytes.optional(),
      messages: z.array(z.object({ payload: hexBytes, ciphertext: hexBytes })).min(1),
    }),
  ).min(1),
});
type Vector = z.output<typeof vectorFile>['vectors'][number];

const folder = join(import.meta.dirname, '../fixtures/noise');
const files = readdirSync(folder).filter((name) => name.endsWith('.json')).sort();

function bothSides(vector: Vector, createCipher: (typeof aeadBackEnds)[number]['createCipher']): { initiator: HandshakeState; responder: HandshakeState } {
  const protocol = parseProtocolName(vector.protocol_name);
  const side = (role: 'initiator' | 'responder', own: Uint8Array | undefined, remote: Uint8Array | undefined, ephemeral: Uint8Array, prologue: Uint8Array, psks: Uint8Array[] | undefined): HandshakeState =>
    new HandshakeState({
      protocol,
      role,
      createCipher,
      prologue,
      psks: psks ?? [],
      ephemeralKeyForTestsOnly: keyPairOf(ephemeral),
      ...(own === undefined ? {} : { staticKey: keyPairOf(own) }),
      ...(remote === undefined ? {} : { remoteStaticKey: remote }),
    });
  return {
    initiator: side('initiator', vector.init_static, vector.init_remote_static, vector.init_ephemeral, vector.init_prologue, vector.init_psks),
    responder: side('responder', vector.resp_static, vector.resp_remote_static, vector.resp_ephemeral, vector.resp_prologue, vector.resp_psks),
  };
}

const nothing = new Uint8Array(0);
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

describe.each(files)('the vectors of %s', (file) => {
  const { vectors } = vectorFile.parse(JSON.parse(readFileSync(join(folder, file), 'utf8')));
  it.each(aeadBackEnds)('pass on the $name cipher', ({ createCipher }) => {
    for (const vector of vectors) {
      const { initiator, responder } = bothSides(vector, createCipher);
      let sessions: [Session, Session] | undefined;
      vector.messages.forEach(({ payload, ciphertext }, index) => {
        const [writer, reader] = index % 2 === 0 ? [initiator, responder] : [responder, initiator];
        if (!writer.isComplete) {
          expect(hex(writer.writeMessage(payload))).toBe(hex(ciphertext));
          expect(hex(reader.readMessage(ciphertext))).toBe(hex(payload));
          return;
        }
        sessions ??= [initiator.split(), responder.split()];
        const [sender, receiver] = index % 2 === 0 ? sessions : [sessions[1], sessions[0]];
        expect(hex(sender.sender.encryptWithAd(nothing, payload))).toBe(hex(ciphertext));
        expect(hex(receiver.receiver.decryptWithAd(nothing, ciphertext))).toBe(hex(payload));
      });
      expect(initiator.isComplete && responder.isComplete).toBe(true);
      const hashes = [initiator.split().handshakeHash, responder.split().handshakeHash];
      expect(hex(hashes[0] ?? nothing)).toBe(hex(hashes[1] ?? nothing));
      if (vector.handshake_hash !== undefined) expect(hex(hashes[0] ?? nothing)).toBe(hex(vector.handshake_hash));
    }
  });
});

describe.each(files)('a handshake message of %s', (file) => {
  const { vectors } = vectorFile.parse(JSON.parse(readFileSync(join(folder, file), 'utf8')));
  const { createCipher } = chooseAead();

  it('that has any bit changed never leads to a session, and whoever refused it still reads the true one', () => {
    for (const vector of vectors) {
      const { initiator, responder } = bothSides(vector, createCipher);
      vector.messages.forEach(({ payload, ciphertext }, index) => {
        const [writer, reader] = index % 2 === 0 ? [initiator, responder] : [responder, initiator];
        if (writer.isComplete) return;
        writer.writeMessage(payload);
        const isClear = ciphertext.length === 32 + payload.length;
        // A change of a message in clear shows only in the next one, so each needs a handshake of its own; every fifth bit is tried.
        for (let bit = 0; bit < ciphertext.length * 8; bit += isClear ? 5 : 1) {
          const changed = ciphertext.slice();
          changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
          if (isClear) expect(leadsToSession(vector, index, changed)).toBe(false);
          else expect(() => reader.readMessage(changed)).toThrow(expect.objectContaining({ reason: expect.stringMatching(/decrypt-failed|key-invalid/) as string }));
        }
        reader.readMessage(ciphertext);
      });
      expect(initiator.isComplete && responder.isComplete).toBe(true);
      expect(leadsToSession(vector, -1, nothing)).toBe(true);
    }
  });

  /** Whether both sides can speak after a handshake in which one message was exchanged for another. */
  function leadsToSession(vector: Vector, changedIndex: number, changed: Uint8Array): boolean {
    const { initiator, responder } = bothSides(vector, createCipher);
    try {
      for (let index = 0; !initiator.isComplete || !responder.isComplete; index++) {
        const [writer, reader] = index % 2 === 0 ? [initiator, responder] : [responder, initiator];
        const message = writer.writeMessage(vector.messages[index]?.payload ?? nothing);
        reader.readMessage(index === changedIndex ? changed : message);
      }
      responder.split().receiver.decryptWithAd(nothing, initiator.split().sender.encryptWithAd(nothing, nothing));
      return true;
    } catch (error) {
      if (RelayError.is(error)) return false;
      throw error;
    }
  }
});
