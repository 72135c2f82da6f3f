import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Controllers, type Implementations } from '../../src/host/controllers';
import { DeviceStore, type Device } from '../../src/host/devices';
import { HostClient } from '../../src/host/hostClient';
import { loadIdentity } from '../../src/host/identity';
import { silentLog } from '../../src/host/log';
import type { PeerHandlers } from '../../src/host/peerLink';
import { PeerNetwork } from '../../src/host/peerNetwork';
import { PeerStore } from '../../src/host/peers';
import { PROTOCOL_VERSION } from '../../src/host/protocol';
import { RelayAccess } from '../../src/host/relayAccess';
import { Trust } from '../../src/host/trust';
import type { Channel } from '../../src/relay/channel';
import { openChannel } from '../../src/relay/openChannel';
import { generateKeyPair, hostIdOf } from '../../src/relay/keys';
import { RelayClient } from '../../src/relay/relayClient';
import { dialThroughRelay } from '../../src/relay/relayDial';
import { startRelay, type RunningRelay } from '../../src/relay/relayServer';
import { remoteControlOff } from '../fixtures/remoteControlOff';
import { ManualClock } from '../relay/channelPair';

const MINUTE = 60_000;
const start = Date.parse('2026-01-01T00:00:00Z');
const keys = generateKeyPair();
const phone = generateKeyPair();
const phoneId = hostIdOf(phone.publicKey);
const client = { clientInfo: { name: 'test', version: '0' } };

let home: string;
let relay: RunningRelay;
let host: PeerNetwork;
let trust: Trust;
let controllers: Controllers;
let clock: ManualClock;
let sleptMs: number;
let callers: string[];
const closers: (() => void)[] = [];

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'baton-devices-'));
  relay = await startRelay({ host: '127.0.0.1', port: 0 });
  clock = new ManualClock();
  sleptMs = 0;
  callers = [];
  trust = new Trust(await PeerStore.open(home), await DeviceStore.open(home), clock, () => start + sleptMs + clock.now());
  const implementations = { 'host/list': (_: unknown, { by }: { by: string }) => Promise.resolve({ hosts: [], callers: callers.push(by) }) } as unknown as Implementations;
  controllers = new Controllers({
    implementations,
    log: silentLog,
    initialize: (role) => Promise.resolve({ baton: { protocolVersion: PROTOCOL_VERSION, hostId: hostIdOf(keys.publicKey), name: 'laptop', role } }),
    forward: () => Promise.resolve({}),
    remoteControl: remoteControlOff,
  });
  const hello = () => Promise.resolve({ protocolVersion: PROTOCOL_VERSION, name: 'laptop', batonVersion: '0', codexVersion: null });
  host = new PeerNetwork({
    keyPair: keys, name: () => 'laptop', trust, relays: await RelayAccess.open(home, keys), handlers: { 'host/hello': hello } as unknown as PeerHandlers,
    audit: { append: () => Promise.resolve() }, onTransfer: () => undefined, onController: (channel, access) => controllers.serve(channel, access), onTunnel: () => undefined, onProgress: () => undefined, onChanged: () => undefined, log: silentLog,
  });
  host.setRelay(relay.url);
  await host.registered();
});
afterEach(async () => {
  for (const close of closers.splice(0)) close();
  host.dispose();
  await relay.close();
  await rm(home, { recursive: true });
});

const device = (more: Partial<Device> = {}): Device => ({ deviceId: phoneId, name: 'phone', role: 'viewer', threadId: null, addedAt: new Date(start).toISOString(), expiresAt: null, ...more });

async function dial(purpose: 'control' | 'transfer' | 'tunnel' = 'control'): Promise<Channel> {
  const channel = await openChannel(await dialThroughRelay({ url: relay.url, hostId: host.hostId }), { keyPair: phone, remoteKey: keys.publicKey, purpose });
  channel.on('error', () => undefined);
  closers.push(() => channel.destroy());
  return channel;
}

/** The relay may be faster to say that the connection has ended. */
const refused = { reason: expect.stringMatching(/^(handshake-failed|channel-closed)$/) as string };

const closed = (channel: { once(event: 'close', listener: () => void): unknown; readonly closed: boolean }) => new Promise<void>((resolve) => (channel.closed ? resolve() : channel.once('close', resolve)));

describe('a paired device', () => {
  it('speaks the host protocol over a channel in its role, and what it does is done in its name', async () => {
    await trust.trustDevice(device());
    const controller = await HostClient.over(await dial(), client);
    expect(controller.host.baton.role).toBe('viewer');
    await controller.call('host/list');
    expect(callers).toEqual([`device:${phoneId}`]);
    await expect(controller.call('host/stop')).rejects.toMatchObject({ reason: 'not-permitted' });
    expect(trust.list()).toMatchObject([{ id: phoneId, kind: 'device', role: 'viewer', channels: 1, expired: false }]);
  });

  it('that nobody paired gets no answer', async () => {
    await expect(dial()).rejects.toMatchObject(refused);
  });

  it('is no host: it sends no working states, and calls none of their methods', async () => {
    await trust.trustDevice(device({ role: 'operator' }));
    await closed(await dial('transfer'));
    const controller = await HostClient.over(await dial(), client);
    await expect(controller.codex('handoff/begin', {})).rejects.toMatchObject({ reason: 'unknown-method' });
  });

  it('loses its channels in the middle of a stream when it is revoked, and comes in no more', async () => {
    await trust.trustDevice(device());
    const channel = await dial();
    const controller = await HostClient.over(channel, client);
    const heard: unknown[] = [];
    const some = new Promise<void>((resolve) => controller.onCodex((_, params) => {
      if (heard.push(params) === 3) resolve();
    }));
    for (let item = 0; item < 3; item++) controllers.broadcast('item/agentMessage/delta', { threadId: 't', item });
    await some;
    expect(await trust.revoke(phoneId)).toBe(1);
    controllers.broadcast('item/agentMessage/delta', { threadId: 't', item: 'after' });
    await closed(channel);
    expect(heard).toHaveLength(3);
    await expect(controller.call('host/list')).rejects.toMatchObject({ reason: 'connection-lost' });
    await expect(dial()).rejects.toMatchObject(refused);
    expect(await trust.revoke(phoneId)).toBeNull();
    expect((await DeviceStore.open(home)).list()).toEqual([]);
  });

  it('loses what it has open when its time is over, also where the machine slept through it', async () => {
    const sleep = () => {
      sleptMs = 60 * MINUTE;
      clock.advance(MINUTE);
    };
    for (const pass of [() => clock.advance(60 * MINUTE), sleep]) {
      clock.advance(1);
      sleptMs = 0;
      await trust.trustDevice(device({ expiresAt: new Date(start + clock.now() + 60 * MINUTE).toISOString() }));
      const channel = await dial();
      await HostClient.over(channel, client);
      clock.advance(59 * MINUTE - MINUTE);
      expect(channel.destroyed).toBe(false);
      pass();
      await closed(channel);
      await expect(dial()).rejects.toMatchObject(refused);
      expect(trust.list()).toMatchObject([{ expired: true }]);
    }
  });

  it('that comes before it is known whether it may is not turned away, nor let in as less than it is', async () => {
    await trust.trustDevice(device());
    await trust.peers.save({ hostId: phoneId, name: 'server', relayUrl: null, addedAt: new Date(start).toISOString(), role: 'peer' });
    trust.admitControllers(null);
    const beginning = HostClient.over(await dial(), client);
    trust.admitControllers(true);
    expect((await beginning).host.baton.role).toBe('viewer');

    await trust.peers.remove(phoneId);
    trust.admitControllers(null);
    const early = await dial();
    trust.admitControllers(false);
    await closed(early);
  });

  it('that is paired anew in a lower role does not keep what it has open in the higher one', async () => {
    await trust.trustDevice(device({ role: 'operator' }));
    const channel = await dial();
    await trust.trustDevice(device({ role: 'viewer' }));
    await closed(channel);
    expect((await HostClient.over(await dial(), client)).host.baton.role).toBe('viewer');
  });
});

describe('another host', () => {
  const peer = { hostId: phoneId, name: 'server', relayUrl: null, addedAt: new Date(start).toISOString() };

  it('loses its channels, whoever opened them, when it is revoked', async () => {
    await trust.peers.save({ ...peer, role: 'peer' });
    const ofTheirs = await dial();
    expect(await trust.revoke(phoneId)).toBe(1);
    await closed(ofTheirs);
    await expect(host.connect(phoneId)).rejects.toMatchObject({ reason: 'no-such-host' });
  });

  it('is trusted for a time only, where that was said', async () => {
    await trust.peers.save({ ...peer, role: 'operator', expiresAt: new Date(start + 60 * MINUTE).toISOString() });
    expect(trust.access(phoneId)).toMatchObject({ role: 'operator', temporary: true });
    const channel = await dial();
    clock.advance(60 * MINUTE);
    await closed(channel);
    expect([trust.peer(phoneId), trust.access(phoneId)]).toEqual([undefined, undefined]);
    await expect(host.connect(phoneId)).rejects.toMatchObject({ reason: 'no-such-host' });
  });

  it('that let this host in as less than a peer may do nothing here', async () => {
    await trust.peers.save({ ...peer, role: 'none' });
    expect([trust.knows(phoneId), trust.list()]).toEqual([false, []]);
    await expect(dial()).rejects.toMatchObject(refused);
  });
});

describe('the identity', () => {
  it('is not made anew where others know the one that is lost', async () => {
    await expect(loadIdentity({ batonHome: home, knownBy: 2 })).rejects.toMatchObject({ reason: 'identity-invalid', message: expect.stringMatching(/is gone, and 2 paired hosts and devices know it.*backup.*peers\.json/) as string });
    expect((await loadIdentity({ batonHome: home, knownBy: 0 })).hostId).toHaveLength(43);
  });

  it('that is used on two machines is told at the one that comes second', async () => {
    const copy = new RelayClient({ url: relay.url, keyPair: keys, onIncoming: () => undefined });
    closers.push(() => copy.dispose());
    const told = new Promise<string | null>((resolve) => copy.onStatusChange(() => copy.status === 'errored' && resolve(copy.statusMessage)));
    copy.start();
    expect(await told).toMatch(/identity\.json was copied/);
    expect(host.relayStatus.status).toBe('connected');
  });

  it('has no devices in a file that nobody can read', async () => {
    await writeFile(join(home, 'devices.json'), '{"version":1,"devices":[{"deviceId":"short"}]}');
    await expect(DeviceStore.open(home)).rejects.toMatchObject({ reason: 'state-invalid' });
  });
});
