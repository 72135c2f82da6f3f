import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DeviceStore } from '../../src/host/devices';
import { HostError } from '../../src/host/hostError';
import { silentLog } from '../../src/host/log';
import type { PeerHandlers } from '../../src/host/peerLink';
import { PeerNetwork } from '../../src/host/peerNetwork';
import { PeerStore } from '../../src/host/peers';
import { PROTOCOL_VERSION } from '../../src/host/protocol';
import { RelayAccess } from '../../src/host/relayAccess';
import { Trust } from '../../src/host/trust';
import { generateKeyPair, hostIdOf, type KeyPair } from '../../src/relay/keys';
import { startRelay, type RunningRelay } from '../../src/relay/relayServer';
import { socketPair } from '../fixtures/socketPair';

let directory: string;
let relay: RunningRelay;
let laptop: PeerNetwork;
let server: PeerNetwork;
/** Resolves when the server is asked who it is; it does not answer before `answer` is called. */
let asked: Promise<void>;
let answer: () => void;
let hellos: number;

async function network(name: string, keyPair: KeyPair, peer: KeyPair, handlers: Partial<PeerHandlers>): Promise<PeerNetwork> {
  await mkdir(join(directory, name));
  const peers = await PeerStore.open(join(directory, name));
  const made = new PeerNetwork({ keyPair, name: () => name, trust: new Trust(peers, await DeviceStore.open(join(directory, name))), relays: await RelayAccess.open(join(directory, name), keyPair), handlers: handlers as PeerHandlers, onTransfer: () => undefined, onController: () => undefined, onTunnel: () => undefined, audit: { append: () => Promise.resolve() }, onProgress: () => undefined, onChanged: () => undefined, log: silentLog });
  await peers.save({ hostId: hostIdOf(peer.publicKey), name: 'peer', role: 'peer', relayUrl: null, addedAt: new Date().toISOString() });
  made.setRelay(relay.url);
  await made.registered();
  return made;
}

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'baton-network-'));
  relay = await startRelay({ host: '127.0.0.1', port: 0 });
  let hear: () => void = () => undefined;
  asked = new Promise((resolve) => (hear = resolve));
  const answered = new Promise<void>((resolve) => (answer = resolve));
  hellos = 0;
  const [keysOfLaptop, keysOfServer] = [generateKeyPair(), generateKeyPair()];
  laptop = await network('laptop', keysOfLaptop, keysOfServer, {});
  server = await network('server', keysOfServer, keysOfLaptop, {
    'host/hello': async () => {
      hellos++;
      hear();
      await answered;
      return { protocolVersion: PROTOCOL_VERSION, name: 'server', batonVersion: '0', codexVersion: null };
    },
  });
});
afterEach(async () => {
  answer();
  laptop.dispose();
  server.dispose();
  await relay.close();
  await rm(directory, { recursive: true });
});

describe('the control channel to a peer', () => {
  it('is opened once for all who ask for it, and one who gives up does not take it from the others', async () => {
    const impatient = new AbortController();
    const first = laptop.connect(server.hostId, impatient.signal);
    const second = laptop.connect(server.hostId);
    await asked;
    impatient.abort();
    await expect(first).rejects.toSatisfy((error) => HostError.is(error, 'cancelled'));
    answer();
    expect((await second).hostId).toBe(server.hostId);
    expect(await laptop.connect(server.hostId)).toBe(await second);
    expect(hellos).toBe(1);
  });

  it('is waited for only as long as the caller wants, also where another one began to open it', async () => {
    const patient = laptop.connect(server.hostId);
    await asked;
    await expect(laptop.connect(server.hostId, AbortSignal.abort())).rejects.toSatisfy((error) => HostError.is(error, 'cancelled'));
    answer();
    await expect(patient).resolves.toMatchObject({ hostId: server.hostId });
  });

  it('is opened anew after it broke', async () => {
    answer();
    const broken = await laptop.connect(server.hostId);
    const closed = new Promise<void>((resolve) => broken.onClose(resolve));
    broken.dispose();
    await closed;
    const fresh = await laptop.connect(server.hostId);
    expect(fresh).not.toBe(broken);
    expect(hellos).toBe(2);
  });

  it('is not opened by a host that is stopping', async () => {
    laptop.dispose();
    await expect(laptop.connect(server.hostId)).rejects.toSatisfy((error) => HostError.is(error, 'connection-lost'));
  });

  it('is opened to however many strangers only up to a bound, and to a peer again when they are gone', async () => {
    answer();
    const strangers = await Promise.all(Array.from({ length: 65 }, () => socketPair()));
    for (const [, there] of strangers) server.take(there, { kind: 'channel' });
    const [last] = strangers.at(-1) ?? [];
    if (last === undefined) throw new Error('There is none.');
    last.resume();
    await once(last, 'close');
    expect(strangers.filter(([, there]) => there.destroyed)).toHaveLength(1);
    const gone = Promise.all(strangers.slice(0, -1).map(([, there]) => once(there, 'close')));
    for (const [here] of strangers) here.destroy();
    await gone;
    await expect(laptop.connect(server.hostId)).resolves.toMatchObject({ hostId: server.hostId });
  });
});
