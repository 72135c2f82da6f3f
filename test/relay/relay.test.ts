import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { request } from 'node:http';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { finished } from 'node:stream/promises';
import { describe, expect, it } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { generateKeyPair, hostIdOf } from '../../src/relay/keys';
import { reconnectDelayMs, RelayClient } from '../../src/relay/relayClient';
import { dialThroughRelay } from '../../src/relay/relayDial';
import { RelayHosts } from '../../src/relay/relayHosts';
import { defaultRelayLimits } from '../../src/relay/relayLimits';
import type { RelayEvent } from '../../src/relay/relayLog';
import { proveKey } from '../../src/relay/relayProof';
import { failureOf, ManualClock, receivedBy } from './channelPair';
import { relayHostileToHosts } from './hostileRelay';
import { channelsThrough, closers, dial, host, registered, relay, statusOf } from './relayLaboratory';

/** A way to a relay on which what is open can fall silent without being closed, as when the machine sleeps or has another address; what is new passes. */
async function silentPath(port: number): Promise<{ url: string; silence: () => void }> {
  const open = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect(port, '127.0.0.1');
    for (const socket of [near, far]) {
      open.add(socket.on('error', () => undefined));
      closers.push(() => void socket.destroy());
    }
    near.pipe(far).pipe(near);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  closers.push(() => void server.close());
  return {
    url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}`,
    silence() {
      for (const socket of open) socket.unpipe().pause();
      open.clear();
    },
  };
}

describe('a channel through a relay', () => {
  it('carries 96 MiB to a slow reader unchanged, while the relay holds little', async () => {
    const running = await relay();
    const { near, far } = await channelsThrough(running.url);
    const block = randomBytes(1024 * 1024);
    const sent = createHash('sha256');
    const received = createHash('sha256');
    let reads = 0;
    const reading = (async () => {
      for await (const chunk of far.iterator({ destroyOnReturn: false })) {
        received.update(chunk as Buffer);
        // Other work comes first, again and again.
        for (let turn = 0; reads++ % 8 === 0 && turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
      }
    })();
    for (let index = 0; index < 96; index++) {
      sent.update(block);
      if (!near.write(block)) await once(near, 'drain');
    }
    near.end();
    await reading;
    await finished(near, { readable: false });
    expect(received.digest('hex')).toBe(sent.digest('hex'));
    const { peakQueuedBytes, bytesForwarded } = running.statistics();
    expect(bytesForwarded).toBe(near.bytesSent + near.bytesReceived);
    expect(peakQueuedBytes).toBeLessThanOrEqual(2 * 1024 * 1024);
  });

  it('costs the relay one bounded queue when the reader stops reading', async () => {
    const running = await relay();
    const { near, far } = await channelsThrough(running.url);
    const block = Buffer.alloc(1024 * 1024);
    let accepted = 0;
    const write = (): void =>
      void near.write(block, (error) => {
        if (error) return;
        accepted += 1;
        write();
      });
    for (let parallel = 0; parallel < 4; parallel++) write();
    // The relay stops forwarding when what it holds for the reader has reached its bound.
    let before = -1;
    while (running.statistics().bytesForwarded !== before || before < 1024 * 1024) {
      before = running.statistics().bytesForwarded;
      for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(running.statistics().peakQueuedBytes).toBeLessThanOrEqual(2 * 1024 * 1024);
    expect(accepted).toBeLessThan(200);
    expect(far.readableLength).toBeLessThanOrEqual(2 * 1024 * 1024);
  });

  it('can be ended one way and still carry the other, and closes on both sides', async () => {
    const running = await relay();
    const { near, far } = await channelsThrough(running.url);
    near.end('question');
    expect((await receivedBy(far)).toString()).toBe('question');
    far.end(randomBytes(3_000_000));
    expect((await receivedBy(near)).length).toBe(3_000_000);
    await Promise.all([finished(near), finished(far)]);
  });

  it('fails on both sides when the relay dies in the middle', async () => {
    const running = await relay();
    const { near, far } = await channelsThrough(running.url);
    near.write('half of it');
    await once(far, 'readable');
    const failures = Promise.all([failureOf(near), failureOf(far)]);
    await running.close();
    for (const failure of await failures) expect(failure.reason).toBe('channel-closed');
  });

  it('fails on the other side when one side is destroyed', async () => {
    const running = await relay();
    const { near, far } = await channelsThrough(running.url);
    near.write('half of it');
    await once(far, 'readable');
    near.destroy();
    expect((await failureOf(far)).reason).toBe('channel-closed');
  });
});

describe('dialling', () => {
  it('says that a host is offline', async () => {
    const running = await relay();
    await expect(dial(running.url, hostIdOf(generateKeyPair().publicKey))).rejects.toMatchObject({ reason: 'host-offline' });
  });

  it('says that the relay is unreachable', async () => {
    const running = await relay();
    await running.close();
    await expect(dial(running.url, hostIdOf(generateKeyPair().publicKey))).rejects.toMatchObject({ reason: 'relay-unreachable' });
    await expect(dial('https://127.0.0.1', hostIdOf(generateKeyPair().publicKey))).rejects.toMatchObject({ reason: 'relay-unreachable' });
  });

  it('can be cancelled while the host does not answer, and the relay forgets the dial', async () => {
    const running = await relay();
    const { socket, hostId } = await registered(running.url);
    const abort = new AbortController();
    const dialling = dialThroughRelay({ url: running.url, hostId, signal: abort.signal });
    await once(socket, 'message');
    expect(running.statistics().pendingDials).toBe(1);
    abort.abort();
    await expect(dialling).rejects.toMatchObject({ reason: 'cancelled' });
    while (running.statistics().pendingDials > 0) await new Promise((resolve) => setImmediate(resolve));
  });

  it('fails when the host does not answer in time', async () => {
    const clock = new ManualClock();
    const running = await relay({ clock });
    const { socket, hostId } = await registered(running.url);
    const dialling = dialThroughRelay({ url: running.url, hostId });
    await once(socket, 'message');
    clock.advance(10_000);
    await expect(dialling).rejects.toMatchObject({ reason: 'timeout' });
  });

  it('is refused beyond the limits of waiting dials and of dials in a minute', async () => {
    const clock = new ManualClock();
    const running = await relay({ clock, limits: { maxPendingDialsPerHost: 1, maxDialsPerMinutePerAddress: 3 } });
    const { socket, hostId } = await registered(running.url);
    const first = dialThroughRelay({ url: running.url, hostId }).catch((error: unknown) => error);
    await once(socket, 'message');
    await expect(dial(running.url, hostId)).rejects.toMatchObject({ reason: 'relay-refused', message: expect.stringContaining('503') as string });
    await expect(dial(running.url, hostIdOf(generateKeyPair().publicKey))).rejects.toMatchObject({ reason: 'host-offline' });
    await expect(dial(running.url, hostId)).rejects.toMatchObject({ reason: 'relay-refused', message: expect.stringContaining('429') as string });
    clock.advance(60_000);
    await expect(dial(running.url, hostIdOf(generateKeyPair().publicKey))).rejects.toMatchObject({ reason: 'host-offline' });
    expect(await first).toMatchObject({ reason: 'timeout' });
  });

  it('is told again to a host that comes back before it came for it', async () => {
    const running = await relay();
    const keyPair = generateKeyPair();
    const away = await registered(running.url, keyPair);
    const told = once(away.socket, 'message');
    const dialled = dial(running.url, away.hostId);
    await told;
    away.socket.terminate();
    const back = await host(running.url, keyPair);
    const [near, far] = await Promise.all([dialled, back.incoming()]);
    near.write('hello');
    expect(String((await once(far, 'data'))[0])).toBe('hello');
  });

  it('gives a ticket that works once', async () => {
    const running = await relay();
    const { socket, hostId } = await registered(running.url);
    const dialling = dial(running.url, hostId);
    const [message] = (await once(socket, 'message')) as [Buffer];
    const { ticket } = JSON.parse(message.toString()) as { ticket: string };
    const accepted = new WebSocket(`${running.url}/v1/accept/${ticket}`);
    closers.push(() => accepted.terminate());
    await once(accepted, 'open');
    await dialling;
    expect(await statusOf(`${running.url}/v1/accept/${ticket}`)).toBe(404);
  });
});

describe('registration', () => {
  it('without proof never displaces a host', async () => {
    const events: RelayEvent[] = [];
    const running = await relay({ log: (event) => events.push(event) });
    const victim = await host(running.url);
    const thief = new WebSocket(`${running.url}/v1/register/${victim.hostId}`);
    closers.push(() => thief.terminate());
    const [challenge] = (await once(thief, 'message')) as [Buffer];
      thief.send(JSON.stringify(proveKey(generateKeyPair(), JSON.parse(challenge.toString()) as { relayKey: string; nonce: string })));
    expect((await once(thief, 'close'))[0]).toBe(4004);
    expect(events.map(({ event }) => event)).toContain('proof-refused');
    const stream = await dial(running.url, victim.hostId);
    const other = await victim.incoming();
    stream.end('still there');
    expect((await receivedBy(other)).toString()).toBe('still there');
  });

  it('does not accept a proof made for another connection', async () => {
    const running = await relay();
    const keyPair = generateKeyPair();
      const open = async (): Promise<[WebSocket, { relayKey: string; nonce: string }]> => {
      const socket = new WebSocket(`${running.url}/v1/register/${hostIdOf(keyPair.publicKey)}`);
      closers.push(() => socket.terminate());
      const [message] = (await once(socket, 'message')) as [Buffer];
      return [socket, JSON.parse(message.toString()) as { relayKey: string; nonce: string }];
    };
    const [[, earlier], [socket]] = [await open(), await open()];
    socket.send(JSON.stringify(proveKey(keyPair, earlier)));
    expect((await once(socket, 'close'))[0]).toBe(4004);
    expect(running.statistics().hosts).toBe(0);
  });

  it('with proof waits for a living host of the same key, and replaces a dead one', async () => {
    const clock = new ManualClock();
    const running = await relay({ clock });
    const keyPair = generateKeyPair();
    const first = await registered(running.url, keyPair);
    const second = new RelayClient({ url: running.url, keyPair, onIncoming: () => undefined });
    closers.push(() => second.dispose());
    const errored = new Promise<void>((resolve) => second.onStatusChange(() => second.status === 'errored' && resolve()));
    second.start();
    await errored;
    expect(second.statusMessage).toContain('identity.json was copied');
    // The first host's machine has gone without a word: it no longer answers.
    (first.socket as unknown as { _socket: { pause(): void } })._socket.pause();
    const third = registered(running.url, keyPair);
    while (!(await Promise.race([third.then(() => true), new Promise<false>((resolve) => setImmediate(() => resolve(false)))]))) clock.advance(100);
    expect(running.statistics().hosts).toBe(1);
  });

  it.each([
    [1001, 'as it does with each once a day'],
    [1012, 'about to end'],
    [1013, 'at another of its nodes'],
  ])('that is ended with %i says why', async (code, why) => {
    const { url } = await relayHostileToHosts({ register: (control) => control.close(code) });
    const client = new RelayClient({ url, keyPair: generateKeyPair(), onIncoming: () => undefined });
    closers.push(() => client.dispose());
    const errored = new Promise<void>((resolve) => client.onStatusChange(() => client.status === 'errored' && resolve()));
    client.start();
    await errored;
    expect(client.statusMessage).toContain(why);
  });

  it('comes back by itself when the relay does', async () => {
    const running = await relay();
    const server = await host(running.url);
    const errored = new Promise<void>((resolve) => server.client.onStatusChange(() => server.client.status === 'errored' && resolve()));
    await running.close();
    await errored;
    const again = await relay({ port: running.port });
    await server.client.whenConnected();
    await dial(again.url, server.hostId);
  });

  it.each(['sleep', 'change of address'])('comes back by itself after a %s, through which its connection is lost without a word, and its status is the true one', async (what) => {
    const [hostClock, relayClock] = [new ManualClock(), new ManualClock()];
    const running = await relay({ clock: relayClock });
    const path = await silentPath(running.port);
    const keyPair = generateKeyPair();
    const statuses: string[] = [];
    const client = new RelayClient({ url: path.url, keyPair, clock: hostClock, random: () => 0, onIncoming: (stream) => void stream.on('error', () => undefined).pipe(stream) });
    closers.push(() => client.dispose());
    client.onStatusChange(() => statuses.push(client.status));
    client.start();
    await client.whenConnected();
    path.silence();
    hostClock.advance(what === 'sleep' ? 8 * 3_600_000 : 35_000);
    while (client.status !== 'errored') await new Promise((resolve) => setImmediate(resolve));
    hostClock.advance(500);
    const connected = client.whenConnected();
    // The relay has to find out that the earlier connection is dead before it takes the new one.
    while (!(await Promise.race([connected.then(() => true), new Promise<false>((resolve) => setImmediate(() => resolve(false)))]))) relayClock.advance(10);
    expect(statuses).toEqual(['connected', 'errored', 'connecting', 'connected']);
    expect(running.statistics().hosts).toBe(1);
    const stream = await dial(running.url, hostIdOf(keyPair.publicKey));
    stream.write('again');
    expect(String((await once(stream, 'data'))[0])).toBe('again');
  });

  it('tries again after one second, then longer, never longer than thirty', () => {
    expect([0, 1, 2, 5, 50].map((attempt) => reconnectDelayMs(attempt, 1))).toEqual([1000, 2000, 4000, 30_000, 30_000]);
    expect(reconnectDelayMs(50, 0)).toBe(15_000);
  });
});

describe('the hosts of a node', () => {
  it('give one back to the other nodes whose earlier connection was dead and whose next one could not be claimed', async () => {
    const clock = new ManualClock();
    const hosts = new RelayHosts({ limits: defaultRelayLimits, clock, log: () => undefined, at: undefined });
    const sockets = new WebSocketServer({ port: 0, host: '127.0.0.1' });
    await once(sockets, 'listening');
    closers.push(() => sockets.close());
    const keyPair = generateKeyPair();
    const hostId = hostIdOf(keyPair.publicKey);
    sockets.on('connection', (socket) => hosts.receive(hostId, socket, () => true));
    const released: string[] = [];
    let claim = () => Promise.resolve(true);
    hosts.presence = {
      claim: () => claim(),
      release: (id) => {
        released.push(id);
        return Promise.resolve();
      },
    };
    const url = `ws://127.0.0.1:${(sockets.address() as AddressInfo).port}`;
    const first = await registered(url, keyPair);
    (first.socket as unknown as { _socket: { pause(): void } })._socket.pause();
    claim = () => Promise.reject(new Error('NATS does not answer.'));
    const second = new WebSocket(`${url}/v1/register/${hostId}`).on('error', () => undefined);
    const [challenge] = (await once(second, 'message')) as [Buffer];
    second.send(JSON.stringify(proveKey(keyPair, JSON.parse(challenge.toString()) as { relayKey: string; nonce: string })));
    let code: number | undefined;
    second.once('close', (given) => (code = given));
    while (code === undefined) {
      clock.advance(100);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect([code, released, hosts.size]).toEqual([1013, [hostId], 0]);
  });
});

describe('a relay', () => {
  it('refuses every request of a web page before it is upgraded', async () => {
    const running = await relay();
    const { hostId } = await host(running.url);
    for (const path of [`v1/dial/${hostId}`, `v1/register/${hostId}`, `v1/accept/${hostId}`]) {
      for (const origin of ['https://evil.example', 'null', running.url.replace('ws', 'http')]) expect(await statusOf(`${running.url}/${path}`, { origin })).toBe(403);
    }
  });

  it('answers on /healthz and /readyz, and nothing else', async () => {
    const running = await relay();
    const get = (path: string, method = 'GET'): Promise<number> => new Promise((resolve) => request({ port: running.port, host: '127.0.0.1', path, method }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    }).end());
    expect(await Promise.all(['/healthz', '/readyz', '/', '/v1/dial/x', '/healthz?x=1'].map((path) => get(path)))).toEqual([200, 200, 404, 404, 404]);
    expect(await Promise.all(['HEAD', 'POST'].map((method) => get('/healthz', method)))).toEqual([200, 404]);
    expect(await statusOf(`${running.url}/v1/dial/${'A'.repeat(42)}B`)).toBe(404);
    expect(await statusOf(`${running.url}/v1/../healthz`)).toBe(404);
  });

  it('ends a pair whose side sends a frame that is too large, or text', async () => {
    const running = await relay({ limits: { maxFrameBytes: 1000 } });
    const server = await host(running.url);
    for (const message of [Buffer.alloc(1001), 'text']) {
      const socket = new WebSocket(`${running.url}/v1/dial/${server.hostId}`);
      closers.push(() => socket.terminate());
      socket.on('error', () => undefined);
      const other = server.incoming();
      await once(socket, 'open');
      const failure = failureOf(await other);
      socket.send(message);
      expect((await failure).message).toContain('ended the connection');
    }
  });

  it('ends pairs that are silent or too old, and hosts that do not prove their key', async () => {
    const clock = new ManualClock();
    const running = await relay({ clock });
    const server = await host(running.url);
    const stream = await dial(running.url, server.hostId);
    const failure = failureOf(stream);
    const unproven = new WebSocket(`${running.url}/v1/register/${server.hostId}`);
    await once(unproven, 'message');
    clock.advance(12_000);
    expect((await once(unproven, 'close'))[0]).toBe(4004);
    clock.advance(62_000);
    expect((await failure).message).toMatch(/silent|lost/);
  });

  it('closes connections whose headers never end or are too large, and those beyond the limit of an address', async () => {
    const running = await relay({ limits: { headersTimeoutMs: 300, maxConnectionsPerAddress: 3 } });
    const slow = connect(running.port, '127.0.0.1').on('error', () => undefined);
    slow.write('GET /healthz HTTP/1.1\r\nHost: x\r\n');
    await once(slow.resume(), 'close');
    const large = connect(running.port, '127.0.0.1').on('error', () => undefined);
    large.write(`GET /healthz HTTP/1.1\r\nHost: x\r\nA: ${'a'.repeat(20_000)}\r\n\r\n`);
    const [answer] = (await once(large, 'data')) as [Buffer];
    expect(answer.toString()).toContain('431');
    await once(large, 'close');
    const sockets = [1, 2, 3, 4].map(() => connect(running.port, '127.0.0.1').on('error', () => undefined));
    closers.push(() => sockets.forEach((socket) => void socket.destroy()));
    await Promise.race(sockets.map((socket) => once(socket.resume(), 'close')));
    expect(running.statistics().connections).toBe(3);
  });

  it('logs ids, sizes and times and nothing of what passes', async () => {
    const events: RelayEvent[] = [];
    const running = await relay({ log: (event) => events.push(event) });
    const { near, far } = await channelsThrough(running.url);
    near.end('a secret name');
    far.end(await receivedBy(far));
    await receivedBy(near);
    await running.close();
    expect(JSON.stringify(events)).not.toMatch(/secret|127\.0\.0\.1/);
    expect(events.map(({ event }) => event)).toEqual(expect.arrayContaining(['listening', 'registered', 'paired', 'pair-ended', 'closed']));
  });
});
