/** Test vectors of Noise, in the formats of haskell-cryptography/cacophony (vectors/cacophony.txt) and mcginty/snow (tests/vectors/snow.txt). */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { chooseAead } from '../../src/relay/aead';
import { keyPairOf, type KeyPair } from '../../src/relay/keys';
import type { CreateCipher } from '../../src/relay/noise/cipherState';
import { HandshakeState } from '../../src/relay/noise/handshakeState';
import { parseProtocolName } from '../../src/relay/noise/patterns';
import { RelayError } from '../../src/relay/relayError';

const hexBytes = z.string().regex(/^([0-9a-fA-F]{2})*$/).transform((text) => new Uint8Array(Buffer.from(text, 'hex')));
const keyPair = hexBytes.transform((secretKey) => keyPairOf(secretKey));
const vectorFile = z.object({
  vectors: z.array(
    z.object({
      protocol_name: z.string(),
      init_prologue: hexBytes,
      init_static: keyPair.optional(),
      init_ephemeral: keyPair,
      init_remote_static: hexBytes.optional(),
      init_psks: z.array(hexBytes).optional(),
      resp_prologue: hexBytes,
      resp_static: keyPair.optional(),
      resp_ephemeral: keyPair,
      resp_remote_static: hexBytes.optional(),
      resp_psks: z.array(hexBytes).optional(),
      handshake_hash: hexBytes.optional(),
      messages: z.array(z.object({ payload: hexBytes, ciphertext: hexBytes })).min(1),
    }),
  ),
});
export type Vector = z.output<typeof vectorFile>['vectors'][number];

const folder = join(import.meta.dirname, '../fixtures/noise');

/** Each file of test/fixtures/noise with those of its vectors whose protocol this core has; a whole collection may lie there. */
export const vectorFiles = readdirSync(folder).filter((name) => /\.(json|txt)$/.test(name)).sort().map((name) => {
  const all = z.object({ vectors: z.array(z.looseObject({ protocol_name: z.string() })) }).parse(JSON.parse(readFileSync(join(folder, name), 'utf8')));
  return { name, vectors: vectorFile.parse({ vectors: all.vectors.filter(({ protocol_name }) => isSupported(protocol_name)) }).vectors };
});

function isSupported(protocolName: string): boolean {
  try {
    parseProtocolName(protocolName);
    return true;
  } catch (error) {
    if (RelayError.is(error, 'pattern-unsupported')) return false;
    throw error;
  }
}

/** Both sides of the handshake of a vector, before its first message. */
export function bothSides(vector: Vector, createCipher: CreateCipher = chooseAead().createCipher): { initiator: HandshakeState; responder: HandshakeState } {
  const protocol = parseProtocolName(vector.protocol_name);
  const side = (role: 'initiator' | 'responder', own: KeyPair | undefined, remote: Uint8Array | undefined, ephemeral: KeyPair, prologue: Uint8Array, psks: Uint8Array[] | undefined): HandshakeState =>
    new HandshakeState({
      protocol,
      role,
      createCipher,
      prologue,
      psks: psks ?? [],
      ephemeralKeyForTestsOnly: ephemeral,
      ...(own === undefined ? {} : { staticKey: own }),
      ...(remote === undefined ? {} : { remoteStaticKey: remote }),
    });
  return {
    initiator: side('initiator', vector.init_static, vector.init_remote_static, vector.init_ephemeral, vector.init_prologue, vector.init_psks),
    responder: side('responder', vector.resp_static, vector.resp_remote_static, vector.resp_ephemeral, vector.resp_prologue, vector.resp_psks),
  };
}
