import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DeviceStore } from '../../src/host/devices';
import { HostError } from '../../src/host/hostError';
import { silentLog } from '../../src/host/log';
import type { PeerHandlers } from '../../src/host/peerLink';
import { PeerNetwork } from '../../src/host/peerNetwork';
import { PeerStore, type Peer } from '../../src/host/peers';
import { unreachable, type SshDialer } from '../../src/host/peerWays';
import { PROTOCOL_VERSION } from '../../src/host/protocol';
import { RelayAccess } from '../../src/host/relayAccess';
import { Trust } from '../../src/host/trust';
import type { Channel } from '../../src/relay/channel';
import { generateKeyPair, hostIdOf, type KeyPair } from '../../src/relay/keys';
import { refusalOf } from '../../src/relay/relayEndpoint';
import { RelayError } from '../../src/relay/relayError';
import { startRelay } from '../../src/relay/relayServer';
import { socketPair } from '../fixtures/socketPair';

/** A host and what reached it. */
interface Side {
  readonly network: PeerNetwork;
  readonly peers: PeerStore;
  /** The next transfer channel that comes. */
  transfer(): Promise<Channel>;
}

let directory: string;
let laptop: Side;
let server: Side;
let dials: number;
/** What ssh does in place of a connection; null for one. */
let sshFails: HostError | null;
/** Versions that the laptop was asked to mend, and whether it says that it did. */
let mends: string[];
let version: string;

async function side(name: string, keyPair: KeyPair, peer: KeyPair, ssh: SshDialer | undefined): Promise<Side> {
  await mkdir(join(directory, name));
  const peers = await PeerStore.open(join(directory, name));
  await peers.save({ hostId: hostIdOf(peer.publicKey), name: `the peer of the ${name}`, role: 'peer', relayUrl: null, addedAt: new Date().toISOString(), ssh: ssh === undefined ? [] : ['box'], comes: ssh === undefined });
  let onTransfer: (channel: Channel) => void = () => undefined;
  const network: PeerNetwork = new PeerNetwork({
    keyPair, name: () => name, trust: new Trust(peers, await DeviceStore.open(join(directory, name))), relays: await RelayAccess.open(join(directory, name), keyPair), ...(ssh === undefined ? {} : { ssh }),
    handlers: {
      'host/hello': () => Promise.resolve({ protocolVersion: PROTOCOL_VERSION, name, batonVersion: version, codexVersion: null }),
      'host/callBack': async ({ ticket }, link) => (await network.callBack(link.hostId, ticket), {}),
    } as Partial<PeerHandlers> as PeerHandlers,
    onTransfer: (channel) => onTransfer(channel), onController: () => undefined, onTunnel: () => undefined, audit: { append: () => Promise.resolve() }, onProgress: () => undefined, onChanged: () => undefined, log: silentLog,
  });
  return { network, peers, transfer: () => new Promise((resolve) => (onTransfer = resolve)) };
}

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'baton-ways-'));
  [dials, sshFails, mends, version] = [0, null, [], '1.0.0'];
  const [keysOfLaptop, keysOfServer] = [generateKeyPair(), generateKeyPair()];
  laptop = await side('laptop', keysOfLaptop, keysOfServer, {
    dial: async (_, { ticket } = {}) => {
      dials++;
      if (sshFails !== null) throw sshFails;
      const [here, there] = await socketPair();
      server.network.take(there, ticket === undefined ? { kind: 'channel' } : { kind: 'callback', ticket });
      return here;
    },
    mend: (_, theirs) => {
      mends.push(theirs);
      if (theirs !== '0.9.0') return Promise.resolve(false);
      version = '1.0.0';
      return Promise.resolve(true);
    },
    judge: () => undefined,
  });
  server = await side('server', keysOfServer, keysOfLaptop, undefined);
});
afterEach(async () => {
  laptop.network.dispose();
  server.network.dispose();
  await rm(directory, { recursive: true });
});

/** Sends a word over a channel that one side opened, and gives what came at the other. */
async function passes(opened: Channel, accepted: Channel): Promise<string> {
  opened.end('word');
  let text = '';
  for await (const chunk of accepted) text += String(chunk);
  accepted.end();
  return text;
}

describe('why a peer could not be reached', () => {
  const peer = { hostId: 'x', name: 'server', role: 'peer', relayUrl: null, addedAt: '', ssh: [], address: null, comes: false } as unknown as Peer;

  it.each<[string, RelayError, RegExp, string]>([
    ['a limit', refusalOf('wss://relay.example.org', 429), /too many requests\. Try again in a minute\.$/, 'relay-unreachable'],
    ['a relay that cannot', refusalOf('wss://relay.example.org', 503), /about to end, has lost its other nodes, or has as many connections.*Try again in a minute\.$/, 'relay-unreachable'],
    ['no connection', new RelayError('relay-unreachable', 'It cannot be reached: no route'), /no route\. Check that the relay runs and that this machine is online/, 'relay-unreachable'],
    ['no answer', new RelayError('timeout', 'The host did not answer the relay in time.'), /^server did not answer in time\. The host did not answer the relay in time\./, 'host-offline'],
    ['no registration', new RelayError('host-offline', 'It is not there.'), /is not connected to the relay/, 'host-offline'],
    ['no trust', new RelayError('handshake-failed', 'It broke.'), /no longer trusts this host/, 'host-offline'],
  ])('is said of %s', (_what, cause, message, reason) => {
    const error = unreachable(peer, cause);
    expect([error.message, error.reason]).toEqual([expect.stringMatching(message) as string, reason]);
  });
});

describe('two hosts, of which one reaches the other over ssh alone', () => {
  it('call each other over the link that the one opened', async () => {
    const there = await laptop.network.connect(server.network.hostId);
    const back = await server.network.connect(laptop.network.hostId);
    expect(back.binding).toBe(there.binding);
    expect((await back.call('host/hello', { protocolVersion: PROTOCOL_VERSION, name: 'server', relayUrl: null })).name).toBe('laptop');
    expect(dials).toBe(1);
  });

  it('open transfers both ways, the other one by calling back', async () => {
    await laptop.network.connect(server.network.hostId);
    let arrived = server.transfer();
    expect(await passes(await laptop.network.openTransfer(server.network.hostId), await arrived)).toBe('word');
    arrived = laptop.transfer();
    expect(await passes(await server.network.openTransfer(laptop.network.hostId), await arrived)).toBe('word');
    expect(dials).toBe(3);
  });

  it('say what is the case while the one is not connected', async () => {
    await expect(server.network.connect(laptop.network.hostId)).rejects.toMatchObject({ reason: 'host-offline', message: expect.stringMatching(/cannot be reached from here while it is not connected/) as string });
    const link = await laptop.network.connect(server.network.hostId);
    const back = await server.network.connect(laptop.network.hostId);
    const gone = new Promise<void>((resolve) => back.onClose(resolve));
    link.dispose();
    await gone;
    await expect(server.network.openTransfer(laptop.network.hostId)).rejects.toMatchObject({ reason: 'host-offline' });
  });

  it('do not bring streams for who may not ask, nor for tickets that nobody waits for', async () => {
    await expect(laptop.network.callBack('x'.repeat(43), '0'.repeat(32))).rejects.toMatchObject({ reason: 'not-permitted' });
    await expect(server.network.callBack(laptop.network.hostId, '0'.repeat(32))).rejects.toMatchObject({ reason: 'not-permitted' });
    const [here, there] = await socketPair();
    const closed = new Promise((resolve) => here.once('close', resolve));
    here.resume();
    server.network.take(there, { kind: 'callback', ticket: '0'.repeat(32) });
    await closed;
  });

  it('are of one version before anything is done, where the older one can be mended', async () => {
    version = '0.9.0';
    const link = await laptop.network.connect(server.network.hostId);
    expect((await link.call('host/hello', { protocolVersion: PROTOCOL_VERSION, name: 'laptop', relayUrl: null })).batonVersion).toBe('1.0.0');
    expect(mends).toEqual(['0.9.0']);
    expect(dials).toBe(2);
  });
});

describe('two hosts with a relay and ssh', () => {
  it('use whichever works, and say how both failed', async () => {
    const relay = await startRelay({ host: '127.0.0.1', port: 0 });
    try {
      for (const { network } of [laptop, server]) {
        network.setRelay(relay.url);
        await network.registered();
      }
      sshFails = new HostError('ssh-unreachable', 'ssh leads nowhere.');
      expect((await laptop.network.connect(server.network.hostId)).hostId).toBe(server.network.hostId);
    } finally {
      await relay.close();
    }
    await expect(laptop.network.openTransfer(server.network.hostId)).rejects.toMatchObject({ reason: 'relay-unreachable', message: expect.stringMatching(/By relay: .*By ssh: ssh leads nowhere/) as string });
    sshFails = null;
    const arrived = server.transfer();
    expect(await passes(await laptop.network.openTransfer(server.network.hostId), await arrived)).toBe('word');
  });
});
