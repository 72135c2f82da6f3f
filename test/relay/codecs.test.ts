import { createHmac, hkdfSync } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { aeadBackEnds, chooseAead, givesKnownAnswer, type AeadBackEnd } from '../../src/relay/aead';
import { decodeBase64url, encodeBase64url } from '../../src/relay/base64url';
import { ChunkSource, FrameKind, FrameOpener, FrameSealer, frameOf, FrameSplitter, MAX_DATA_LENGTH, REKEY_AFTER_BYTES } from '../../src/relay/frames';
import { createInvite, deriveInvite, parseInvite } from '../../src/relay/invite';
import { fingerprintOf, generateKeyPair, hostIdOf, publicKeyOf, sharedSecret } from '../../src/relay/keys';
import { CipherState } from '../../src/relay/noise/cipherState';
import { HandshakeState } from '../../src/relay/noise/handshakeState';
import { blake2s, sha256 } from '../../src/relay/noise/hashFunction';
import { parseProtocolName } from '../../src/relay/noise/patterns';
import { createChallenge } from '../../src/relay/relayChallenge';
import { proveKey } from '../../src/relay/relayProof';

const bytes = (constraints: fc.IntArrayConstraints = {}): fc.Arbitrary<Uint8Array> => fc.uint8Array({ maxLength: 300, ...constraints });
const key = new Uint8Array(32).fill(7);
const { createCipher } = chooseAead();
const nothing = new Uint8Array(0);

describe('the ciphers', () => {
  it('are chosen by the known answer: what throws or answers wrongly is passed over', () => {
    const [node, wasm, stablelib] = aeadBackEnds as [AeadBackEnd, AeadBackEnd, AeadBackEnd];
    expect(aeadBackEnds.map(givesKnownAnswer)).toEqual([true, true, true]);
    expect(chooseAead().name).toBe('node');
    const lacking: AeadBackEnd = { name: 'node', createCipher: () => { throw new Error('Unknown cipher'); } };
    const wrong: AeadBackEnd = { name: 'wasm', createCipher: () => node.createCipher(new Uint8Array(32)) };
    expect(chooseAead([lacking, wrong, stablelib]).name).toBe('stablelib');
    expect(chooseAead([lacking, wasm]).name).toBe('wasm');
    expect(() => chooseAead([lacking, wrong])).toThrow(expect.objectContaining({ reason: 'cipher-unavailable' }));
  });

  it('agree on every message, open what the others sealed, and refuse every change', () => {
    fc.assert(
      fc.property(bytes({ minLength: 32, maxLength: 32 }), bytes({ minLength: 12, maxLength: 12 }), bytes({ maxLength: 32 }), bytes({ maxLength: 2000 }), fc.nat(), (cipherKey, nonce, associatedData, plaintext, position) => {
        const ciphers = aeadBackEnds.map((backEnd) => backEnd.createCipher(cipherKey));
        const sealed = ciphers.map((cipher) => Buffer.from(cipher.seal(nonce, plaintext, associatedData)).toString('hex'));
        expect(new Set(sealed).size).toBe(1);
        const message = Buffer.from(sealed[0] ?? '', 'hex');
        for (const cipher of ciphers) expect(Buffer.from(cipher.open(nonce, message, associatedData) ?? [0]).equals(Buffer.from(plaintext))).toBe(true);
        message[position % message.length] = (message[position % message.length] ?? 0) ^ (1 << (position % 8));
        for (const cipher of ciphers) expect(cipher.open(nonce, message, associatedData)).toBeNull();
        for (const cipher of ciphers) expect(cipher.open(nonce, message.subarray(0, 15), associatedData)).toBeNull();
      }),
      { numRuns: 60 },
    );
  });

  it.each(aeadBackEnds)('carry the longest Noise message on $name', ({ createCipher: create }) => {
    const plaintext = new Uint8Array(65_519).map((_, index) => index * 31);
    const destination = new Uint8Array(65_535);
    create(key).seal(new Uint8Array(12), plaintext, undefined, destination);
    expect(Buffer.from(createCipher(key).open(new Uint8Array(12), destination) ?? []).equals(Buffer.from(plaintext))).toBe(true);
  });
});

describe('a cipher state', () => {
  it('keeps its nonce when a message fails, and reads the true one afterwards', () => {
    const [sender, receiver] = [new CipherState(createCipher, key), new CipherState(createCipher, key)];
    const message = sender.encryptWithAd(nothing, Uint8Array.of(1, 2, 3));
    for (const wrong of [message.map((byte, index) => (index === 0 ? byte ^ 1 : byte)), message.subarray(1), nothing, new Uint8Array(65_536)]) expect(() => receiver.decryptWithAd(nothing, wrong)).toThrow();
    expect(receiver.nonce).toBe(0n);
    expect([...receiver.decryptWithAd(nothing, message)]).toEqual([1, 2, 3]);
    expect(() => receiver.decryptWithAd(nothing, message)).toThrow(expect.objectContaining({ reason: 'decrypt-failed' }));
  });

  it('never uses the reserved nonce, and refuses messages that are too long', () => {
    const state = new CipherState(createCipher, key);
    state.setNonce(2n ** 64n - 2n);
    const last = state.encryptWithAd(nothing, nothing);
    expect(() => state.encryptWithAd(nothing, nothing)).toThrow(expect.objectContaining({ reason: 'nonce-exhausted' }));
    expect(() => state.decryptWithAd(nothing, last)).toThrow(expect.objectContaining({ reason: 'nonce-exhausted' }));
    state.setNonce(0n);
    expect(() => state.encryptWithAd(nothing, new Uint8Array(65_520))).toThrow(expect.objectContaining({ reason: 'message-too-long' }));
    expect(state.encryptWithAd(nothing, new Uint8Array(65_519)).length).toBe(65_535);
  });

  it('has another key after each rekey', () => {
    const [sender, stale] = [new CipherState(createCipher, key), new CipherState(createCipher, key)];
    sender.rekey();
    const message = sender.encryptWithAd(nothing, Uint8Array.of(1));
    expect(() => stale.decryptWithAd(nothing, message)).toThrow();
    stale.rekey();
    expect([...stale.decryptWithAd(nothing, message)]).toEqual([1]);
  });
});

describe('the hash functions', () => {
  it('make the HMAC of RFC 2104', () => {
    fc.assert(fc.property(bytes(), bytes(), (secret, message) => {
      expect(Buffer.from(sha256.hmac(secret, message)).toString('hex')).toBe(createHmac('sha256', secret).update(message).digest('hex'));
      expect(Buffer.from(blake2s.hmac(secret, message)).toString('hex')).toBe(createHmac('blake2s256', secret).update(message).digest('hex'));
    }));
  });
});

describe('a handshake', () => {
  it('knows the patterns and psk modifiers that it says, and no others', () => {
    expect(parseProtocolName('Noise_NKpsk0+psk2_25519_ChaChaPoly_BLAKE2s').pattern.messages).toEqual([['psk', 'e', 'es'], ['e', 'ee', 'psk']]);
    for (const name of ['Noise_N_25519_ChaChaPoly_SHA256', 'Noise_XX_448_ChaChaPoly_SHA256', 'Noise_XX_25519_AESGCM_SHA256', 'Noise_KKpsk3_25519_ChaChaPoly_SHA256', 'Noise_XXpsk1+psk1_25519_ChaChaPoly_SHA256', 'XX', '']) {
      expect(() => parseProtocolName(name)).toThrow(expect.objectContaining({ reason: 'pattern-unsupported' }));
    }
  });

  it('agrees on a session for every pattern and psk modifier, with payloads of any size', () => {
    const names = ['NN', 'NK', 'XX', 'IK', 'KK', 'NNpsk0', 'NNpsk2', 'NKpsk0', 'NKpsk2', 'XXpsk1', 'XXpsk2', 'XXpsk3', 'IKpsk1', 'IKpsk2', 'KKpsk0', 'KKpsk2'];
    for (const name of names) {
      const protocol = parseProtocolName(`Noise_${name}_25519_ChaChaPoly_SHA256`);
      const [initiatorKey, responderKey] = [generateKeyPair(), generateKeyPair()];
      const psks = name.includes('psk') ? [key] : [];
      const { initiatorKnown, responderKnown } = protocol.pattern;
      const initiator = new HandshakeState({ protocol, role: 'initiator', createCipher, psks, staticKey: initiatorKey, ...(responderKnown ? { remoteStaticKey: responderKey.publicKey } : {}) });
      const responder = new HandshakeState({ protocol, role: 'responder', createCipher, psks, staticKey: responderKey, ...(initiatorKnown ? { remoteStaticKey: initiatorKey.publicKey } : {}) });
      for (let [writer, reader] = [initiator, responder]; !initiator.isComplete; [writer, reader] = [reader, writer]) {
        const payload = Uint8Array.of(1, 2, 3);
        expect(() => reader.writeMessage(payload)).toThrow(expect.objectContaining({ reason: 'handshake-misused' }));
        expect(() => writer.writeMessage(new Uint8Array(65_535))).toThrow(expect.objectContaining({ reason: 'message-too-long' }));
        expect([...reader.readMessage(writer.writeMessage(payload))]).toEqual([...payload]);
      }
      expect(initiator.split().handshakeHash).toEqual(responder.split().handshakeHash);
      expect([...responder.split().receiver.decryptWithAd(nothing, initiator.split().sender.encryptWithAd(nothing, key))]).toEqual([...key]);
    }
  });

  it('never takes a public key of low order', () => {
    const lowOrder = [new Uint8Array(32), Uint8Array.from({ length: 32 }, (_, index) => (index === 0 ? 1 : 0)), new Uint8Array(Buffer.from('e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800', 'hex'))];
    for (const point of lowOrder) expect(() => sharedSecret(generateKeyPair(), point)).toThrow(expect.objectContaining({ reason: 'key-invalid' }));
  });

  it('proves a host id to the relay, and neither another id nor a point whose secret everybody knows', () => {
    const [host, other] = [generateKeyPair(), generateKeyPair()];
    const { challenge, check } = createChallenge();
    const proof = proveKey(host, challenge);
    expect(check(hostIdOf(host.publicKey), proof)).toBe(true);
    expect(check(hostIdOf(other.publicKey), proof)).toBe(false);
    expect(check(hostIdOf(host.publicKey), proveKey(host, createChallenge().challenge))).toBe(false);
    expect(check(hostIdOf(new Uint8Array(32)), proof)).toBe(false);
  });
});

describe('frames', () => {
  it('come out as they went in, whatever the pieces in which they travel', () => {
    fc.assert(
      fc.property(fc.array(bytes({ maxLength: 1200 }), { maxLength: 12 }), fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 20 }), (messages, sizes) => {
        const stream = Buffer.concat(messages.map(frameOf));
        const splitter = new FrameSplitter();
        const out: string[] = [];
        for (let offset = 0, piece = 0; offset < stream.length; piece++) {
          const end = offset + (sizes[piece % sizes.length] ?? 1);
          splitter.push(stream.subarray(offset, end));
          offset = end;
          for (let message = splitter.next(); message !== undefined; message = splitter.next()) out.push(Buffer.from(message).toString('hex'));
        }
        expect(out).toEqual(messages.map((message) => Buffer.from(message).toString('hex')));
        expect(splitter.isEmpty).toBe(true);
      }),
    );
  });

  it('beyond the allowed length are refused as soon as the length is read', () => {
    const splitter = new FrameSplitter();
    splitter.maxLength = 255;
    splitter.push(Uint8Array.of(1));
    expect(splitter.next()).toBeUndefined();
    splitter.push(Uint8Array.of(0));
    expect(() => splitter.next()).toThrow(expect.objectContaining({ reason: 'channel-corrupt' }));
  });

  it('carry chunks of any sizes in order, sealed and opened', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 2 * MAX_DATA_LENGTH }), { minLength: 1, maxLength: 5 }), (lengths) => {
        const chunks = lengths.map((length, index) => Buffer.alloc(length, index + 1));
        const [sealer, opener] = [new FrameSealer(new CipherState(createCipher, key)), new FrameOpener(new CipherState(createCipher, key))];
        const [source, splitter, opened] = [new ChunkSource(chunks), new FrameSplitter(), [] as Uint8Array[]];
        while (source.remaining > 0) splitter.push(sealer.data(source));
        splitter.push(sealer.control(FrameKind.end));
        for (let message = splitter.next(); message !== undefined; message = splitter.next()) opened.push(opener.open(message).data);
        expect(Buffer.concat(opened).equals(Buffer.concat(chunks))).toBe(true);
      }),
      { numRuns: 30 },
    );
  });

  it('of an unknown kind, empty, or with data where none belongs are refused', () => {
    const sealed = new CipherState(createCipher, key);
    const opener = new FrameOpener(new CipherState(createCipher, key));
    for (const plaintext of [[], [FrameKind.data], [FrameKind.end, 0], [6, 1], [255]]) {
      expect(() => opener.open(sealed.encryptWithAd(nothing, Uint8Array.from(plaintext)))).toThrow(expect.objectContaining({ reason: 'channel-corrupt' }));
    }
  });

  it('have a new key when asked for, on both sides, and a receiver that missed it cannot follow', () => {
    const sealer = new FrameSealer(new CipherState(createCipher, key));
    const [opener, deaf] = [new FrameOpener(new CipherState(createCipher, key)), new CipherState(createCipher, key)];
    const [rekey, next] = [sealer.control(FrameKind.rekey).subarray(2), sealer.control(FrameKind.keepAlive).subarray(2)];
    expect(opener.open(rekey).kind).toBe(FrameKind.rekey);
    expect(opener.open(next).kind).toBe(FrameKind.keepAlive);
    deaf.decryptWithAd(nothing, rekey);
    expect(() => deaf.decryptWithAd(nothing, next)).toThrow();
    expect(REKEY_AFTER_BYTES).toBe(67_108_864);
  });
});

describe('keys', () => {
  it('have one spelling as a host id, and base64url agrees with Node', () => {
    fc.assert(fc.property(bytes(), (value) => {
      expect(encodeBase64url(value)).toBe(Buffer.from(value).toString('base64url'));
      expect(decodeBase64url(encodeBase64url(value))).toEqual(value);
    }));
    const { publicKey } = generateKeyPair();
    const hostId = hostIdOf(publicKey);
    expect(publicKeyOf(hostId)).toEqual(publicKey);
    for (const wrong of [hostId.slice(1), `${hostId}=`, ` ${hostId}`, `${hostId.slice(0, -1)}B`, '', hostId.replace(/./, '+')]) expect(() => publicKeyOf(wrong)).toThrow(expect.objectContaining({ reason: 'key-invalid' }));
    expect(fingerprintOf(publicKey)).toMatch(/^([0-9a-z]{4}-){3}[0-9a-z]{4}$/);
    expect(fingerprintOf(publicKey)).not.toBe(fingerprintOf(generateKeyPair().publicKey));
  });
});

describe('an invite', () => {
  const name = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 }).filter((text) => text.trim() === text && text.length > 0 && !/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.test(text) && Buffer.byteLength(text) <= 64);
  const url = fc.constantFrom('ws://127.0.0.1:7440', 'wss://relay.example/baton', 'ws://[::1]:7440/');
  const hostId = hostIdOf(generateKeyPair().publicKey);
  const now = Date.UTC(2026, 0, 1);

  it('is read as it was written', () => {
    fc.assert(fc.property(url, name, fc.integer({ min: 1, max: 10 ** 9 }), (relayUrl, hostName, lifetimeMs) => {
      const { invite, ...written } = createInvite({ relayUrl, hostId, name: hostName, lifetimeMs, now });
      expect(parseInvite(`  ${invite}\n`)).toEqual(written);
    }));
  });

  it('with any character changed, added or missing is invalid', () => {
    const { invite } = createInvite({ relayUrl: 'wss://relay.example', hostId, name: 'laptop', lifetimeMs: 1000, now });
    const invalid = expect.objectContaining({ reason: 'invite-invalid' }) as Error;
    for (let index = 0; index < invite.length; index++) {
      const changed = invite.charAt(index) === 'A' ? 'B' : 'A';
      expect(() => parseInvite(invite.slice(0, index) + changed + invite.slice(index + 1))).toThrow(invalid);
      expect(() => parseInvite(invite.slice(0, index) + invite.slice(index + 1))).toThrow(invalid);
    }
    fc.assert(fc.property(fc.string(), (text) => {
      expect(() => parseInvite(`baton:${text}`)).toThrow(invalid);
    }));
    expect(() => parseInvite(`baton:${'A'.repeat(5000)}`)).toThrow(invalid);
  });

  it('holds no URL that is not a relay, and no name that could deceive', () => {
    const make = (changes: object) => () => createInvite({ relayUrl: 'wss://relay.example', hostId, name: 'laptop', lifetimeMs: 1000, now, ...changes });
    for (const relayUrl of ['https://relay.example', 'ws://user:pass@relay.example', 'ws://relay.example/?a', 'ws://relay.example/#a', 'relay', `ws://${'a'.repeat(600)}`]) expect(make({ relayUrl })).toThrow(expect.objectContaining({ reason: 'invite-invalid' }));
    for (const wrong of ['', ' a', 'a\nb', 'a\u202Eb', 'a\u200Bb', 'a\u001bb', 'x'.repeat(65)]) expect(make({ name: wrong })).toThrow(expect.objectContaining({ reason: 'invite-invalid' }));
  });

  it('derives room and key as HKDF-SHA256 does', () => {
    const secret = new Uint8Array(32).fill(9);
    const derive = (info: string): Buffer => Buffer.from(hkdfSync('sha256', secret, 'baton invite 1', info, 32));
    expect(deriveInvite(secret).room).toBe(derive('room').toString('base64url'));
    expect(Buffer.from(deriveInvite(secret).psk).equals(derive('psk'))).toBe(true);
  });
});
