import { randomBytes } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { afterEach, describe, expect, it } from 'vitest';
import { createInvite, parseInvite, type ParsedInvite } from '../../src/relay/invite';
import { generateKeyPair, hostIdOf, publicKeyOf } from '../../src/relay/keys';
import { acceptChannel, openChannel, pairChannel } from '../../src/relay/openChannel';
import { encodePreamble, parsePreamble } from '../../src/relay/preamble';
import { ManualClock, meddledPair, receivedBy, socketPair } from './channelPair';

const closers: (() => void)[] = [];
afterEach(() => closers.splice(0).forEach((close) => close()));

const host = generateKeyPair();
const guest = generateKeyPair();
const inviteNow = (lifetimeMs = 600_000): ParsedInvite & { invite: string } => createInvite({ relayUrl: 'ws://127.0.0.1:7440', hostId: hostIdOf(host.publicKey), name: 'laptop', lifetimeMs, now: Date.now() });

async function sockets(): Promise<{ near: Duplex; far: Duplex }> {
  const pair = await socketPair();
  closers.push(pair.close);
  return pair;
}

/** An issuer that gives each psk out once. */
function issuer(...invites: ParsedInvite[]): (room: string) => Uint8Array | undefined {
  const open = new Map(invites.map(({ room, psk }) => [room, psk]));
  return (room) => {
    const psk = open.get(room);
    open.delete(room);
    return psk;
  };
}

async function attempt(pskForRoom: (room: string) => Uint8Array | undefined, invite: ParsedInvite, psk = invite.psk, key = publicKeyOf(invite.hostId)) {
  const { near, far } = await sockets();
  const [guestSide, hostSide] = await Promise.allSettled([
    pairChannel(near, { keyPair: guest, remoteKey: key, psk, room: invite.room }),
    acceptChannel(far, { keyPair: host, isTrusted: () => false, pskForRoom }),
  ]);
  for (const side of [guestSide, hostSide]) if (side.status === 'fulfilled') closers.push(() => void side.value.on('error', () => undefined).destroy());
  return { guestSide, hostSide };
}

describe('pairing with an invite', () => {
  it('makes a channel on which each side knows the key of the other', async () => {
    const invite = inviteNow();
    const parsed = parseInvite(invite.invite);
    const { guestSide, hostSide } = await attempt(issuer(invite), parsed);
    if (guestSide.status === 'rejected' || hostSide.status === 'rejected') throw new Error('not paired');
    expect(hostSide.value.remoteHostId).toBe(hostIdOf(guest.publicKey));
    expect(guestSide.value.remoteHostId).toBe(parsed.hostId);
    expect([hostSide.value.pattern, hostSide.value.purpose, hostSide.value.room]).toEqual(['XXpsk3', 'pairing', parsed.room]);
    guestSide.value.end('hello');
    expect((await receivedBy(hostSide.value)).toString()).toBe('hello');
  });

  it('works once: a second use of the invite is refused, and so is any use after a wrong one', async () => {
    const [used, guessed] = [inviteNow(), inviteNow()];
    const pskForRoom = issuer(used, guessed);
    expect((await attempt(pskForRoom, used)).guestSide.status).toBe('fulfilled');
    expect((await attempt(pskForRoom, used)).guestSide).toMatchObject({ status: 'rejected', reason: { reason: 'handshake-failed' } });
    const wrong = await attempt(pskForRoom, guessed, randomBytes(32));
    expect([wrong.guestSide, wrong.hostSide]).toMatchObject([{ status: 'rejected', reason: { reason: 'handshake-failed' } }, { status: 'rejected', reason: { reason: 'handshake-failed' } }]);
    expect((await attempt(pskForRoom, guessed)).hostSide.status).toBe('rejected');
  });

  it('fails where another host answers than the invite names', async () => {
    const invite = inviteNow();
    const { guestSide, hostSide } = await attempt(issuer(invite), invite, invite.psk, generateKeyPair().publicKey);
    expect([guestSide.status, hostSide.status]).toEqual(['rejected', 'rejected']);
  });
});

describe('a known key', () => {
  const open = async (purpose: 'control' | 'tunnel', options: { keyPair?: typeof guest; remoteKey?: Uint8Array; trusted?: Uint8Array; near: Duplex; far: Duplex }) =>
    Promise.allSettled([
      openChannel(options.near, { keyPair: options.keyPair ?? guest, remoteKey: options.remoteKey ?? host.publicKey, purpose }),
      acceptChannel(options.far, { keyPair: host, isTrusted: (key) => Buffer.compare(key, options.trusted ?? guest.publicKey) === 0, pskForRoom: () => undefined }),
    ]);

  it('that is not trusted gets no answer at all', async () => {
    const pair = await sockets();
    const answer: Buffer[] = [];
    pair.near.on('data', (chunk: Buffer) => answer.push(chunk));
    const [opened, accepted] = await open('control', { ...pair, trusted: generateKeyPair().publicKey });
    expect([opened, accepted]).toMatchObject([{ reason: { reason: 'handshake-failed' } }, { reason: { reason: 'handshake-failed' } }]);
    expect(Buffer.concat(answer).length).toBe(0);
  });

  it('that is claimed without its secret is refused', async () => {
    const impostor = { publicKey: guest.publicKey, secretKey: generateKeyPair().secretKey };
    const results = await open('control', { ...(await sockets()), keyPair: impostor });
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  });

  it('of low order is refused before it can make a key that everybody knows', async () => {
    const results = await open('control', { ...(await sockets()), keyPair: { publicKey: new Uint8Array(32), secretKey: guest.secretKey }, trusted: new Uint8Array(32) });
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  });

  it('opens nothing when somebody in between changes the purpose, or any other bit of the preamble', async () => {
    const length = 2 + encodePreamble({ pattern: 'KK', purpose: 'control', initiatorKey: guest.publicKey, room: '' }).length;
    for (let offset = 0; offset < length; offset++) {
      const pair = await meddledPair((frame, index, toFar) => {
        if (toFar && index === 0) frame[offset] = (frame[offset] ?? 0) ^ (offset === 9 ? 3 : 1);
        return [frame];
      });
      closers.push(pair.close);
      const results = await Promise.allSettled([
        openChannel(pair.near, { keyPair: guest, remoteKey: host.publicKey, purpose: 'control' }),
        acceptChannel(pair.far, { keyPair: host, isTrusted: () => true, pskForRoom: () => undefined }),
      ]);
      expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    }
  });

  it('does nothing at the responder when the first messages of another session are replayed', async () => {
    const recorded: Buffer[] = [];
    const pair = await meddledPair((frame, _index, toFar) => {
      if (toFar) recorded.push(Buffer.from(frame));
      return [frame];
    });
    closers.push(pair.close);
    const results = await open('control', pair);
    for (const result of results) if (result.status === 'fulfilled') closers.push(() => void result.value.destroy());
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled']);
    const replay = await sockets();
    const accepted = acceptChannel(replay.far, { keyPair: host, isTrusted: () => true, pskForRoom: () => undefined });
    for (const frame of recorded) replay.near.write(frame);
    await expect(accepted).rejects.toMatchObject({ reason: 'handshake-failed' });
  });
});

describe('a handshake', () => {
  it('ends at its deadline, and when it is given up', async () => {
    const clock = new ManualClock();
    const { near, far } = await sockets();
    const opening = openChannel(near, { keyPair: guest, remoteKey: host.publicKey, purpose: 'control', clock });
    clock.advance(10_000);
    await expect(opening).rejects.toMatchObject({ reason: 'timeout' });
    expect(near.destroyed).toBe(true);
    const abort = new AbortController();
    const accepting = acceptChannel(far, { keyPair: host, isTrusted: () => true, pskForRoom: () => undefined, signal: abort.signal });
    abort.abort();
    await expect(accepting).rejects.toMatchObject({ reason: expect.stringMatching(/cancelled|handshake-failed/) as string });
  });

  it('refuses a first message that announces more than a handshake needs', async () => {
    const { near, far } = await sockets();
    const accepting = acceptChannel(far, { keyPair: host, isTrusted: () => true, pskForRoom: () => undefined });
    near.write(Buffer.from([0xff, 0xff]));
    await expect(accepting).rejects.toMatchObject({ reason: 'handshake-failed' });
  });

  it('has one meaning for each preamble, and none for any other bytes', () => {
    const preamble = encodePreamble({ pattern: 'XXpsk3', purpose: 'pairing', initiatorKey: undefined, room: inviteNow().room });
    expect(encodePreamble(parsePreamble(preamble))).toEqual(preamble);
    for (const wrong of [preamble.subarray(0, -1), Buffer.concat([preamble, Buffer.of(65)]), Buffer.from(preamble).fill(2, 5, 6), Buffer.from(preamble).fill(1, 6, 7), Buffer.from(preamble).fill(0x20, 20, 21), new Uint8Array(0)]) {
      expect(() => parsePreamble(wrong)).toThrow(expect.objectContaining({ reason: 'handshake-failed' }));
    }
  });
});
