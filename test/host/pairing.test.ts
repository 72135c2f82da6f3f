import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AuditLog } from '../../src/host/audit';
import { DeviceStore } from '../../src/host/devices';
import { Invites, type Invite } from '../../src/host/invites';
import { silentLog } from '../../src/host/log';
import { Pairing } from '../../src/host/pairing';
import type { PeerHandlers } from '../../src/host/peerLink';
import { PeerNetwork } from '../../src/host/peerNetwork';
import { PeerStore } from '../../src/host/peers';
import { PROTOCOL_VERSION } from '../../src/host/protocol';
import { RelayAccess } from '../../src/host/relayAccess';
import { Trust } from '../../src/host/trust';
import { pairChannel } from '../../src/relay/openChannel';
import { joinByCode } from '../../src/relay/codeExchange';
import { createInvite, parseInvite } from '../../src/relay/invite';
import { generateKeyPair, hostIdOf, publicKeyOf, randomBytes, type KeyPair } from '../../src/relay/keys';
import { createCode, fingerprintWords, parseCode, placeKeyPair, type PairingCode } from '../../src/relay/pairingCode';
import { RelayClient } from '../../src/relay/relayClient';
import { dialThroughRelay } from '../../src/relay/relayDial';
import { startRelay, type RunningRelay } from '../../src/relay/relayServer';
import { ManualClock } from '../relay/channelPair';

const MINUTE = 60_000;
const threadId = '0199abcd-0000-7000-8000-000000000000';
const closers: (() => void)[] = [];
const audits: (() => Promise<unknown[]>)[] = [];
let directory: string;
let relay: RunningRelay;
let clock: ManualClock;
let laptop: Host;
let server: Host;

const now = () => Date.parse('2026-01-01T00:00:00Z') + clock.now();

interface Host {
  readonly name: string;
  readonly keyPair: KeyPair;
  readonly hostId: string;
  readonly trust: Trust;
  readonly pairing: Pairing;
  audit(): Promise<unknown[]>;
}

async function host(name: string, aheadMs = 0): Promise<Host> {
  const home = join(directory, name);
  await mkdir(home);
  const keyPair = generateKeyPair();
  const itsNow = () => now() + aheadMs;
  const trust = new Trust(await PeerStore.open(home), await DeviceStore.open(home), clock, itsNow);
  const audit = new AuditLog(join(home, 'audit'));
  const hello = () => Promise.resolve({ protocolVersion: PROTOCOL_VERSION, name, batonVersion: '0', codexVersion: null });
  const network = new PeerNetwork({
    keyPair, name: () => name, trust, relays: await RelayAccess.open(home, keyPair), handlers: { 'host/hello': hello } as unknown as PeerHandlers,
    audit, clock, now: itsNow, onTransfer: () => undefined, onController: () => undefined, onTunnel: () => undefined, onProgress: () => undefined, onChanged: () => undefined, log: silentLog,
  });
  network.setRelay(relay.url);
  await network.registered();
  closers.push(() => network.dispose());
  const events = async () => (await audit.read({ threadId: null, limit: 100 })).events;
  audits.push(events);
  return { name, keyPair, hostId: network.hostId, trust, pairing: network.pairing, audit: events };
}

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'baton-pairing-'));
  relay = await startRelay({ host: '127.0.0.1', port: 0 });
  clock = new ManualClock();
  [laptop, server] = await Promise.all([host('laptop'), host('server')]);
});
afterEach(async () => {
  for (const close of closers.splice(0)) close();
  await relay.close();
  // What is still being written to the logs is in what they answer.
  for (const read of audits.splice(0)) await read();
  await rm(directory, { recursive: true });
});

const invite = (wish: Partial<Parameters<Pairing['invite']>[0]> = {}) => laptop.pairing.invite({ role: 'peer', by: 'local', ...wish });
const codeOf = (made: { code: string | null }): string => made.code ?? 'no code';
/** A code of the same place with other words. */
const wrong = (code: string): PairingCode => ({ ...createCode(), place: parseCode(code).place });
const nobody = (pairing: Host = laptop) => expect([pairing.trust.list(), pairing.trust.peers.list()]).toEqual([[], []]);

/** One attempt with a code by somebody who is no host; what it came to. */
async function attempt(code: PairingCode, keyPair = generateKeyPair()): Promise<string> {
  try {
    const stream = await dialThroughRelay({ url: relay.url, hostId: hostIdOf(placeKeyPair(code.place).publicKey) });
    const channel = await joinByCode(stream, { keyPair, code });
    closers.push(() => channel.on('error', () => undefined).destroy());
    return 'in';
  } catch (error) {
    return (error as { reason: string }).reason;
  }
}

describe.each(['link', 'code'] as const)('pairing by %s', (by) => {
  const secretOf = (made: { invite: string; code: string | null }) => (by === 'link' ? made.invite : codeOf(made));

  it('makes two hosts know each other, with the same words on both sides, and leaves a record', async () => {
    const made = await invite();
    const joined = await server.pairing.join(secretOf(made));
    expect(joined).toMatchObject({ hostId: laptop.hostId, name: 'laptop', role: 'peer', threadId: null, expiresAt: null });
    const ended = await laptop.pairing.invites.wait(made.id);
    expect(ended).toMatchObject({ state: 'claimed', wrongCodes: 0, claimedBy: { id: server.hostId, name: 'server', words: joined.words } });
    expect(joined.words.split(' ')).toHaveLength(4);
    expect([laptop.trust.peer(server.hostId)?.role, server.trust.peer(laptop.hostId)?.role]).toEqual(['peer', 'peer']);
    expect(await laptop.audit()).toMatchObject([{ type: 'invite-made', inviteId: made.id, by: 'local' }, { type: 'device-paired', deviceId: server.hostId, kind: 'host', inviteId: made.id, words: joined.words }]);
    expect(await server.audit()).toMatchObject([{ type: 'host-paired', hostId: laptop.hostId, role: 'peer' }]);
  });

  it('works once, and the second who scans or types it is told, and so is the log', async () => {
    const made = await invite();
    await server.pairing.join(secretOf(made));
    const third = await host('third');
    await expect(third.pairing.join(secretOf(made))).rejects.toMatchObject({ reason: 'invite-used' });
    expect(laptop.trust.list()).toHaveLength(1);
    if (by === 'link') expect(await laptop.audit()).toContainEqual(expect.objectContaining({ type: 'invite-refused', inviteId: made.id, why: 'claimed' }));
    nobody(third);
  });

  it('lets nobody in after it was cancelled, or after its time', async () => {
    const [cancelled, late] = [await invite(), await invite()];
    expect(laptop.pairing.invites.end(cancelled.id, 'cancelled')).toBe(true);
    await expect(server.pairing.join(secretOf(cancelled))).rejects.toMatchObject({ reason: 'invite-used' });
    clock.advance(10 * MINUTE + 1);
    await expect(server.pairing.join(secretOf(late))).rejects.toMatchObject({ reason: by === 'link' ? 'invite-expired' : 'invite-used' });
    expect(laptop.pairing.invites.list().map(({ state }) => state)).toEqual(['cancelled', 'expired']);
    expect(laptop.pairing.invites.end(cancelled.id, 'cancelled')).toBe(false);
    nobody();
    nobody(server);
  });

  it('is for the host that made it to judge, not for a machine whose clock is a day ahead', async () => {
    const ahead = await host('server ahead', 24 * 60 * MINUTE);
    await ahead.pairing.join(secretOf(await invite()));
    expect(laptop.trust.list()).toHaveLength(1);
  });

  it('lets a viewer in for an hour and one thread, and trusts the viewed host with nothing', async () => {
    const joined = await server.pairing.join(secretOf(await invite({ role: 'viewer', threadId, accessMs: 60 * MINUTE })));
    expect(joined).toMatchObject({ role: 'viewer', threadId });
    expect(laptop.trust.access(server.hostId)).toEqual({ by: `device:${server.hostId}`, role: 'viewer', threadId, temporary: true });
    expect([laptop.trust.peer(server.hostId), server.trust.knows(laptop.hostId), server.trust.peers.get(laptop.hostId)?.role]).toEqual([undefined, false, 'none']);
  });

  it('is of no use at the host that made it', async () => {
    await expect(laptop.pairing.join(secretOf(await invite()))).rejects.toMatchObject({ reason: 'invite-own' });
  });
});

describe('a link', () => {
  /** The same link with another expiry, host, relay or secret, and a checksum that fits. */
  const edited = (text: string, change: Partial<{ lifetimeMs: number; hostId: string; relayUrl: string }>) => {
    const { relayUrl, hostId, name } = parseInvite(text);
    return createInvite({ relayUrl, hostId, name, lifetimeMs: 10 * MINUTE, now: now(), ...change });
  };

  it('has its secret in the fragment, and nothing else that a server could be asked with', async () => {
    const { invite: text } = await invite();
    const url = new URL(text);
    expect([url.protocol, url.pathname, url.search]).toEqual(['baton:', 'join', '']);
    expect(url.hash.length).toBeGreaterThan(100);
  });

  it('whose expiry was edited is still over at the host that made it', async () => {
    const made = await invite();
    const real = parseInvite(made.invite);
    clock.advance(10 * MINUTE);
    const stream = await dialThroughRelay({ url: relay.url, hostId: laptop.hostId });
    await expect(pairChannel(stream, { keyPair: server.keyPair, remoteKey: laptop.keyPair.publicKey, psk: real.psk, room: real.room })).rejects.toBeDefined();
    nobody();
  });

  it('that was edited to name another host or secret pairs with nobody', async () => {
    const made = await invite();
    await expect(server.pairing.join(edited(made.invite, {}).invite)).rejects.toMatchObject({ reason: 'invite-used' });
    const mallory = await host('mallory');
    await expect(server.pairing.join(edited(made.invite, { hostId: mallory.hostId }).invite)).rejects.toMatchObject({ reason: 'invite-used' });
    nobody();
    nobody(server);
    nobody(mallory);
  });

  it('that was tried with a wrong secret, as a relay could that sees its room, is void', async () => {
    const made = await invite();
    const { room } = parseInvite(made.invite);
    const stream = await dialThroughRelay({ url: relay.url, hostId: laptop.hostId });
    await expect(pairChannel(stream, { keyPair: server.keyPair, remoteKey: laptop.keyPair.publicKey, psk: randomBytes(32), room })).rejects.toBeDefined();
    expect(await laptop.pairing.invites.wait(made.id)).toMatchObject({ state: 'void', claimedBy: null });
    nobody();
  });

  it('of a relay of an attacker reaches nobody who knows its secret', async () => {
    const made = await invite();
    const evil = await startRelay({ host: '127.0.0.1', port: 0 });
    closers.push(() => void evil.close());
    // It registers under the real host's id without its key, which no relay of ours lets it; this one is its own.
    const { hostId, psk, room } = parseInvite(made.invite);
    const own = generateKeyPair();
    const impostor = new RelayClient({ url: evil.url, keyPair: own, onIncoming: (stream) => void stream.on('error', () => undefined) });
    closers.push(() => impostor.dispose());
    impostor.start();
    await impostor.whenConnected();
    const stream = await dialThroughRelay({ url: evil.url, hostId: hostIdOf(own.publicKey) });
    const attempted = pairChannel(stream, { keyPair: server.keyPair, remoteKey: publicKeyOf(hostId), psk, room, handshakeTimeoutMs: 200 });
    await expect(attempted).rejects.toBeDefined();
    nobody(server);
  });
});

describe('a code', () => {
  it('is two words and four digits, and is read in any case, with spaces, and by the first four letters', () => {
    const { text, place, password } = createCode();
    expect(text).toMatch(/^[A-Z]{3,8}-[A-Z]{3,8}-\d{4}$/);
    expect(parseCode(text.toLowerCase().replaceAll('-', '  '))).toEqual({ text, place, password });
    expect(parseCode('wolf-MAPLE-7482').text).toBe('WOLF-MAPLE-7482');
    expect(parseCode('abst-abst-0001').text).toBe('ABSTRACT-ABSTRACT-0001');
    for (const slip of ['wolf-maple-748', 'wolf-7482', 'wolf-maple-tree-7482', 'wolff-maple-7482', 'abs-maple-7482', '']) expect(() => parseCode(slip)).toThrow(expect.objectContaining({ reason: 'invite-invalid' }));
  });

  it('may be mistyped twice, and is void after the third time, also for whoever has it right', async () => {
    const made = await invite();
    for (const expected of ['open', 'open', 'void']) {
      expect(await attempt(wrong(codeOf(made)))).toMatch(/^(handshake-failed|channel-closed)$/);
      expect(laptop.pairing.invites.list()[0]).toMatchObject({ state: expected });
    }
    await expect(server.pairing.join(codeOf(made))).rejects.toMatchObject({ reason: 'invite-used' });
    await expect(server.pairing.join(made.invite)).rejects.toMatchObject({ reason: 'invite-used' });
    expect(await laptop.audit()).toContainEqual(expect.objectContaining({ type: 'invite-ended', inviteId: made.id, outcome: 'void' }));
    nobody();
  });

  it('that is mistyped once lets in whoever then has it right', async () => {
    const made = await invite();
    await attempt(wrong(codeOf(made)));
    await server.pairing.join(codeOf(made));
    expect(await laptop.pairing.invites.wait(made.id)).toMatchObject({ state: 'claimed', wrongCodes: 1 });
  });

  it('is no easier to guess by many at once: three of them get an answer', async () => {
    const made = await invite();
    const results = await Promise.all(Array.from({ length: 60 }, () => attempt(wrong(codeOf(made)))));
    expect(results).not.toContain('in');
    expect(laptop.pairing.invites.list()[0]?.wrongCodes).toBeLessThanOrEqual(3);
    nobody();
  });

  it('takes three of ten thousand guesses that come at once, and then nobody may try', () => {
    const invites = new Invites(clock, now, () => undefined);
    const open: Invite = { id: '0badcafe', role: 'peer', threadId: null, accessMs: null, by: 'local', room: 'x', psk: randomBytes(32), code: createCode(), expiresAt: now() + MINUTE };
    invites.add(open);
    let taken = 0;
    for (let guess = 0; guess < 10_000; guess++) {
      try {
        invites.guess(open.id);
        taken++;
        invites.missed(open.id);
      } catch (error) {
        expect(error).toMatchObject({ reason: 'invite-used' });
      }
    }
    expect([taken, invites.list()[0]?.state]).toEqual([3, 'void']);
  });

  it('pairs with no relay that takes its place: it would have to guess, once', async () => {
    const made = await invite();
    laptop.pairing.invites.end(made.id, 'cancelled');
    // Anybody can take the place; who answers there without the words makes no channel.
    const code = parseCode(codeOf(made));
    const seen: Buffer[] = [];
    let hear: () => void = () => undefined;
    const heardTwice = new Promise<void>((resolve) => (hear = resolve));
    const mallory = new RelayClient({
      url: relay.url, keyPair: placeKeyPair(code.place),
      onIncoming: (stream) => void stream.on('error', () => undefined).on('data', (chunk: Buffer) => {
        // Its own element, and the key that it would like to be taken for.
        if (seen.push(chunk) === 1) stream.write(Buffer.concat([Buffer.from([0, 64]), laptop.keyPair.publicKey, chunk.subarray(-32)]));
        else hear();
      }),
    });
    closers.push(() => mallory.dispose());
    mallory.start();
    await mallory.whenConnected();
    const clockOfJoin = new ManualClock();
    const stream = await dialThroughRelay({ url: relay.url, hostId: hostIdOf(placeKeyPair(code.place).publicKey) });
    const joining = joinByCode(stream, { keyPair: server.keyPair, code, clock: clockOfJoin });
    const rejected = expect(joining).rejects.toMatchObject({ reason: expect.stringMatching(/timeout|handshake-failed/) as string });
    await heardTwice;
    clockOfJoin.advance(10_000);
    await rejected;
    nobody(server);
  });

  it('is not in what the relay sees', async () => {
    const made = await invite();
    const code = parseCode(codeOf(made));
    const place = hostIdOf(placeKeyPair(code.place).publicKey);
    const others = Array.from({ length: 50 }, () => hostIdOf(placeKeyPair(wrong(code.text).place).publicKey));
    expect(new Set([place, ...others]).size).toBe(1);
  });

  it('gives the words of the channel, not of the code', () => {
    const [one, other] = [fingerprintWords(randomBytes(32)), fingerprintWords(randomBytes(32))];
    expect(one).toMatch(/^[a-z]{3,8}( [a-z]{3,8}){3}$/);
    expect(one).not.toBe(other);
    expect(fingerprintWords(new Uint8Array(32))).toBe(fingerprintWords(new Uint8Array(32)));
  });

  it('needs to know at which relay', async () => {
    const stranger: Partial<ConstructorParameters<typeof Pairing>[0]> = { keyPair: generateKeyPair(), relayUrl: () => null, clock };
    await expect(new Pairing(stranger as ConstructorParameters<typeof Pairing>[0]).join('wolf-maple-7482')).rejects.toMatchObject({ reason: 'relay-not-set' });
  });
});

it('a peer is not invited for one thread', async () => {
  await expect(invite({ threadId })).rejects.toMatchObject({ reason: 'invalid-params' });
});
