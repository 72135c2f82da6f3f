/** Random and half-right bytes at each place where bytes come from somebody else. Each is refused with an error of its own, or understood; nothing else happens. */
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { chooseAead } from '../../src/relay/aead';
import { ChunkSource, FrameKind, FrameOpener, FrameSealer, frameOf, FrameSplitter } from '../../src/relay/frames';
import { createInvite, parseInvite } from '../../src/relay/invite';
import { concatBytes, generateKeyPair, hostIdOf, publicKeyOf, type KeyPair } from '../../src/relay/keys';
import { CipherState } from '../../src/relay/noise/cipherState';
import { HandshakeState } from '../../src/relay/noise/handshakeState';
import { parseProtocolName } from '../../src/relay/noise/patterns';
import { acceptChannel } from '../../src/relay/openChannel';
import { encodePreamble, MAX_HANDSHAKE_LENGTH, parsePreamble } from '../../src/relay/preamble';
import { Admission } from '../../src/relay/relayAdmission';
import { exchangeRequest, readMessage, registration, toHost, toMember } from '../../src/relay/relayMessages';
import { openPermit, sealPermit, type Permit } from '../../src/relay/relayPermit';
import { RelayError, type RelayErrorReason } from '../../src/relay/relayError';
import { receivedBy, socketPair } from './channelPair';
import { likely } from './likely';

const { createCipher } = chooseAead();
const nothing = new Uint8Array(0);
const counts = new Map<string, number>();
afterAll(() => {
  for (const [place, count] of counts) console.info(`Fuzzed ${place} with ${count} inputs.`);
});

/** What a property is run with; counts them by place. */
function fuzz<T>(place: string, numRuns: number, input: fc.Arbitrary<T>, check: (input: T) => void): void {
  fc.assert(fc.property(input, (given) => {
    counts.set(place, (counts.get(place) ?? 0) + 1);
    check(given);
  }), { numRuns });
}

const isSame = (left: Uint8Array, right: Uint8Array): boolean => Buffer.compare(left, right) === 0;

/** Runs what may be refused, for these reasons only; undefined where it was. */
function unlessRefused<T>(reasons: readonly RelayErrorReason[], action: () => T): T | undefined {
  try {
    return action();
  } catch (error) {
    if (RelayError.is(error) && reasons.includes(error.reason)) return undefined;
    throw error;
  }
}

describe('a preamble', () => {
  const keyed = encodePreamble({ pattern: 'KK', purpose: 'control', initiatorKey: generateKeyPair().publicKey, room: '' });
  const paired = encodePreamble({ pattern: 'XXpsk3', purpose: 'pairing', initiatorKey: undefined, room: 'r'.repeat(43) });
  it.each([['KK', keyed], ['XXpsk3', paired]])('of %s is refused, or means exactly its own bytes', (pattern, whole) => {
    fuzz(`the preamble of ${pattern}`, 5000, likely(whole), (bytes) => {
      const preamble = unlessRefused(['handshake-failed'], () => parsePreamble(bytes));
      if (preamble !== undefined) expect(isSame(encodePreamble(preamble), bytes)).toBe(true);
    });
  });
});

describe.each(['KK', 'XXpsk3', 'IK', 'NN'])('a handshake message of %s', (pattern) => {
  const protocol = parseProtocolName(`Noise_${pattern}_25519_ChaChaPoly_SHA256`);
  const keys: Record<'initiator' | 'responder', KeyPair> = { initiator: generateKeyPair(), responder: generateKeyPair() };
  const side = (role: 'initiator' | 'responder') => {
    const { initiatorKnown, responderKnown } = protocol.pattern;
    const remote = role === 'initiator' ? 'responder' : 'initiator';
    return new HandshakeState({ protocol, role, createCipher, staticKey: keys[role], psks: pattern.includes('psk') ? [new Uint8Array(32)] : [], ...((role === 'initiator' ? responderKnown : initiatorKnown) ? { remoteStaticKey: keys[remote].publicKey } : {}) });
  };

  it('is refused and forgotten, or changes what is agreed, whichever of them it is', () => {
    const [initiator, responder] = [side('initiator'), side('responder')];
    for (let [writer, reader] = [initiator, responder], number = 1; !writer.isComplete; [writer, reader] = [reader, writer], number++) {
      const message = writer.writeMessage(nothing);
      // A message without a tag can be exchanged; that it then ends with the next one is what the vectors are tried for.
      const isSealed = message.length > 32;
      if (isSealed) {
        fuzz(`handshake message ${number} of ${pattern}`, 250, likely(message), (bytes) => {
          if (!isSame(bytes, message)) expect(unlessRefused(['decrypt-failed', 'key-invalid'], () => reader.readMessage(bytes))).toBeUndefined();
        });
      }
      expect(reader.readMessage(message).length).toBe(0);
    }
    expect(initiator.split().handshakeHash).toEqual(responder.split().handshakeHash);
  });
});

describe('a connection', () => {
  const [keyPair, remote] = [generateKeyPair(), generateKeyPair()];
  it('over which anything comes is no channel, whoever is trusted, and nobody is told why', async () => {
    const preamble = encodePreamble({ pattern: 'KK', purpose: 'control', initiatorKey: remote.publicKey, room: '' });
    const inputs = fc.sample(likely(concatBytes(frameOf(preamble), frameOf(new Uint8Array(48)), frameOf(new Uint8Array(17)))), 300);
    for (const bytes of inputs) {
      const { near, far, close } = await socketPair();
      const said = receivedBy(near);
      const accepted = acceptChannel(far, { keyPair, isTrusted: () => true, pskForRoom: () => undefined });
      near.end(bytes);
      await expect(accepted).rejects.toMatchObject({ reason: expect.stringMatching(/^(handshake-failed|channel-corrupt)$/) as string });
      expect((await said).length).toBe(0);
      close();
    }
    counts.set('a new connection', inputs.length);
  });
});

describe('a stream of frames', () => {
  const key = new Uint8Array(32).fill(3);
  const sealer = new FrameSealer(new CipherState(createCipher, key));
  const sent = [sealer.data(new ChunkSource([Uint8Array.of(1, 2, 3)])), sealer.control(FrameKind.rekey), sealer.data(new ChunkSource([new Uint8Array(500)])), sealer.control(FrameKind.keepAlive), sealer.control(FrameKind.end)];
  const whole = concatBytes(...sent);

  it('that somebody changed gives the true messages up to there, and then an error or nothing', () => {
    fuzz('a stream of frames', 4000, fc.tuple(likely(whole), fc.array(fc.integer({ min: 1, max: 300 }))), ([bytes, cuts]) => {
      const [splitter, opener] = [new FrameSplitter(), new FrameOpener(new CipherState(createCipher, key))];
      const received: string[] = [];
      unlessRefused(['channel-corrupt'], () => {
        for (let offset = 0, turn = 0; offset < bytes.length; turn++) {
          const length = cuts[turn % Math.max(cuts.length, 1)] ?? bytes.length;
          splitter.push(bytes.subarray(offset, (offset += length)));
          for (let message = splitter.next(); message !== undefined; message = splitter.next()) {
            const { kind, data } = opener.open(message);
            received.push(`${kind}:${data.length}`);
          }
        }
      });
      const truth = ['1:3', '5:0', '1:500', '4:0', '2:0'];
      expect(received).toEqual(truth.slice(0, received.length));
    });
  });

  it('with lengths that are not allowed yet is refused at the length', () => {
    fuzz('the length of a frame in a handshake', 3000, fc.uint8Array({ maxLength: 600 }), (bytes) => {
      const splitter = new FrameSplitter();
      splitter.maxLength = MAX_HANDSHAKE_LENGTH;
      splitter.push(bytes);
      unlessRefused(['channel-corrupt'], () => {
        for (let message = splitter.next(); message !== undefined; message = splitter.next()) expect(message.length).toBeLessThanOrEqual(MAX_HANDSHAKE_LENGTH);
      });
    });
  });

  it('with sealed contents that nobody sends is refused', () => {
    fuzz('the contents of a frame', 4000, fc.uint8Array({ maxLength: 40 }), (plaintext) => {
      const opened = unlessRefused(['channel-corrupt'], () => new FrameOpener(new CipherState(createCipher, key)).open(new CipherState(createCipher, key).encryptWithAd(nothing, plaintext)));
      if (opened !== undefined) expect(isSame(concatBytes(Uint8Array.of(opened.kind), opened.data), plaintext)).toBe(true);
    });
  });
});

describe('text from others', () => {
  it('as an invite is refused, or is the one way to write what it says', () => {
    const { invite } = createInvite({ relayUrl: 'wss://relay.example.org/baton', hostId: hostIdOf(generateKeyPair().publicKey), name: 'laptop', lifetimeMs: 60_000, pass: 'cGFzcw' });
    const mutated = likely(new TextEncoder().encode(invite)).map((bytes) => Buffer.from(bytes).toString('latin1'));
    fuzz('an invite', 5000, fc.oneof(mutated, fc.string({ unit: 'binary', maxLength: 300 })), (text) => {
      const parsed = unlessRefused(['invite-invalid'], () => parseInvite(text));
      if (parsed !== undefined) expect(text.trim()).toBe(invite);
    });
  });

  it('as a host id is refused, or is the one way to write its key', () => {
    const id = new TextEncoder().encode(hostIdOf(generateKeyPair().publicKey));
    fuzz('a host id', 5000, fc.oneof(likely(id).map((bytes) => Buffer.from(bytes).toString('latin1')), fc.string({ maxLength: 60 })), (text) => {
      const key = unlessRefused(['key-invalid'], () => publicKeyOf(text));
      if (key !== undefined) expect(hostIdOf(key)).toBe(text);
    });
  });

  it('as a message of a relay is refused, or has the form that it should have', () => {
    const likeOne = fc.record({ type: fc.constantFrom('challenge', 'registered', 'dial', 'proof', '__proto__'), ticket: fc.anything(), at: fc.anything(), relayKey: fc.anything(), nonce: fc.anything() }, { requiredKeys: [] });
    const texts = fc.oneof(fc.json(), fc.string({ maxLength: 200 }), likeOne.map((value) => JSON.stringify(value)), fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes).toString('latin1')));
    fuzz('a message of a relay', 5000, fc.tuple(texts, fc.boolean()), ([text, isBinary]) => {
      const messages = [toHost, toMember].map((schema) => readMessage(schema, Buffer.from(text), isBinary));
      for (const message of messages) if (message !== undefined) expect([isBinary, message.type]).toEqual([false, expect.stringMatching(/^(challenge|registered|dial|permit)$/)]);
    });
  });

  it('as what a stranger says to a relay is refused, or asks for what can be asked for', () => {
    const id = hostIdOf(generateKeyPair().publicKey);
    const text43 = fc.oneof(fc.constant('x'.repeat(43)), fc.string({ maxLength: 50 }), fc.anything());
    const by = fc.oneof(fc.record({ secret: text43 }), fc.record({ grant: fc.oneof(fc.string({ maxLength: 100 }), fc.constant('A'.repeat(98))) }), fc.record({ secret: text43, grant: text43 }), fc.anything());
    const want = fc.record({ kind: fc.constantFrom('token', 'pass', 'grant', 'secret', '__proto__'), hostId: fc.oneof(text43, fc.constant(id)) }, { requiredKeys: [] });
    const likeOne = fc.record({ type: fc.constantFrom('proof', 'challenge'), nonce: text43, mac: text43, by, want }, { requiredKeys: ['type'] });
    const bytes = fc.oneof(fc.json(), likeOne.map((value) => JSON.stringify(value)), fc.string({ unit: 'binary', maxLength: 200 }));
    const admission = new Admission();
    admission.replace({ secrets: ['s'.repeat(40)], issuerKeys: [], denied: new Set() });
    let understood = 0;
    fuzz('what a stranger says to a relay', 5000, bytes, (text) => {
      const [registers, asks] = [readMessage(registration, Buffer.from(text), false), readMessage(exchangeRequest, Buffer.from(text), false)];
      if (registers !== undefined) expect([registers.nonce.length, registers.mac.length]).toEqual([43, 43]);
      if (asks === undefined) return;
      understood += 1;
      // It knows no secret and has no grant.
      expect(admission.exchange(id, asks)).toBeUndefined();
    });
    expect(understood).toBeGreaterThan(0);
  });

  it('as a permit is refused, or is the one that was given', () => {
    const key = new Uint8Array(32).fill(5);
    const hostId = hostIdOf(generateKeyPair().publicKey);
    const permits: Permit[] = [{ kind: 'token', hostId, expiresAt: 2000 }, { kind: 'pass', hostId, expiresAt: 2000, issued: { until: 3000, issuer: '00ff00ff00ff00ff' } }];
    const admission = new Admission(() => 1000);
    admission.replace({ secrets: ['s'.repeat(40)], issuerKeys: [], denied: new Set() });
    for (const permit of permits) {
      const sealed = sealPermit(key, permit);
      const asText = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');
      const changed = fc.oneof(likely(Buffer.from(sealed, 'base64url')).map((bytes) => Buffer.from(bytes).toString('base64url')), likely(Buffer.from(sealed)).map(asText));
      fuzz(`a permit ${permit.issued === undefined ? 'of the relay itself' : "by an issuer's right"}`, 4000, changed, (text) => {
        const opened = openPermit([key], text, 1000);
        if (opened !== undefined) expect([text, opened]).toEqual([sealed, { ...permit, issued: permit.issued, key }]);
        expect(admission.admits(`Bearer ${text}`, 'dial', hostId)).toBeUndefined();
      });
      expect(openPermit([key], sealed, 1000)).toMatchObject(permit);
      expect(openPermit([key], sealed, 2000)).toBeUndefined();
    }
  });
});
