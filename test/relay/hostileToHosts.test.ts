/** What a relay can do to the hosts that register at it, and to who dials through it: waste its own time. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { describe, expect, it } from 'vitest';
import type { WebSocket } from 'ws';
import { generateKeyPair, hostIdOf } from '../../src/relay/keys';
import { RelayClient } from '../../src/relay/relayClient';
import { dialThroughRelay } from '../../src/relay/relayDial';
import { connectTo, nodeOf } from '../../src/relay/relayEndpoint';
import { refuseUpgrade } from '../../src/relay/relaySwitch';
import { ManualClock } from './channelPair';
import { relayHostileToHosts } from './hostileRelay';
import { closers } from './relayLaboratory';

const turn = () => new Promise((resolve) => setTimeout(resolve, 5));
const ticket = () => randomBytes(32).toString('base64url');
const challenge = () => JSON.stringify({ type: 'challenge', relayKey: hostIdOf(generateKeyPair().publicKey), nonce: ticket() });
const registered = JSON.stringify({ type: 'registered' });

/** A host there; what it says in its log, and what is handed to it. */
function hostAt(url: string) {
  const clock = new ManualClock();
  const said: string[] = [];
  const incoming: Duplex[] = [];
  const client = new RelayClient({
    url, keyPair: generateKeyPair(), clock, random: () => 0,
    onIncoming: (stream) => {
      incoming.push(stream.on('error', () => undefined));
      closers.push(() => void stream.destroy());
    },
    log: { info: () => undefined, warn: (message) => said.push(message) },
  });
  closers.push(() => client.dispose());
  client.start();
  return { client, clock, said, incoming };
}

/** Somebody at another address of this machine, as in a host's network; `visits` are the connections that came. */
async function bystander(): Promise<{ port: number; visits: () => number }> {
  let visits = 0;
  const server = createServer((socket) => {
    visits += 1;
    socket.destroy();
  }).listen(0, '127.0.0.2');
  await once(server, 'listening');
  closers.push(() => void server.close());
  return { port: (server.address() as AddressInfo).port, visits: () => visits };
}

describe('a host at a hostile relay', () => {
  it('answers so many dials at once and no more, says so once, and stays registered', async () => {
    const relay = await relayHostileToHosts({
      register: (control) => {
        control.send(registered);
        for (let count = 0; count < 2000; count++) control.send(JSON.stringify({ type: 'dial', ticket: ticket() }));
      },
    });
    const { client, said } = hostAt(relay.url);
    await client.whenConnected();
    while (relay.comes() < 32) await turn();
    for (let turns = 0; turns < 50; turns++) await turn();
    expect(relay.comes()).toBe(32);
    expect(said).toHaveLength(1);
    expect(client.status).toBe('connected');
  });

  it('is sent nowhere else by it, whatever it says where a dial waits', async () => {
    const { port, visits } = await bystander();
    const places = [`ws://127.0.0.2:${port}`, `ws://[::ffff:127.0.0.2]:${port}`, `ws://localhost:${port}`, `ws://x.127.0.0.1.example:${port}`, `ws://user:password@127.0.0.1:${port}`];
    const relay = await relayHostileToHosts({
      register: (control) => {
        control.send(registered);
        for (const at of places) control.send(JSON.stringify({ type: 'dial', ticket: ticket(), at }));
        control.send(JSON.stringify({ type: 'dial', ticket: ticket() }));
      },
    });
    const { client, said } = hostAt(relay.url);
    await client.whenConnected();
    // The last one, which it may come for, has been gone through too.
    while (relay.comes() === 0) await turn();
    expect(visits()).toBe(0);
    expect(said).toEqual(places.map(() => expect.stringContaining('has no node') as string));
  });

  it.each<[string, readonly (string | Buffer)[]]>([
    ['what is no JSON', ['registered']],
    ['bytes', [randomBytes(100)]],
    ['a message that is too long', [JSON.stringify({ type: 'registered', padding: 'x'.repeat(5000) })]],
    ['a kind that it does not know', [JSON.stringify({ type: 'shutdown' })]],
    ['more than a message has', [JSON.stringify({ type: 'registered', admin: true })]],
    ['a key that is none', [JSON.stringify({ type: 'challenge', relayKey: 'A'.repeat(43), nonce: ticket() })]],
    ['a node that is at no WebSocket', [JSON.stringify({ type: 'dial', ticket: ticket(), at: 'file:///etc/passwd' })]],
    ['one challenge after the other', [challenge(), challenge()]],
  ])('leaves it when it says %s, and tries again later', async (_what, messages) => {
    let registrations = 0;
    const relay = await relayHostileToHosts({
      register: (control) => {
        registrations += 1;
        for (const message of messages) control.send(message);
      },
    });
    const { client, clock } = hostAt(relay.url);
    while (client.status !== 'errored') await turn();
    clock.advance(500);
    while (registrations < 2) await turn();
  });

  it.each<[string, (socket: Duplex) => void]>([
    ['refuses it', (socket) => refuseUpgrade(socket, 404)],
    ['sends it elsewhere', (socket) => refuseUpgrade(socket, { elsewhere: 'ws://127.0.0.2' })],
    ['speaks no HTTP', (socket) => socket.end(randomBytes(2000))],
    ['hangs up', (socket) => socket.destroy()],
    ['answers as no WebSocket does', (socket) => socket.end('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n')],
  ])('goes on when the relay calls it for a dial and then %s', async (_what, accept) => {
    let call: () => void = () => undefined;
    const relay = await relayHostileToHosts({
      register: (control) => {
        control.send(registered);
        call = () => control.send(JSON.stringify({ type: 'dial', ticket: ticket() }));
      },
      accept,
    });
    const { client, said, incoming } = hostAt(relay.url);
    await client.whenConnected();
    // More than may be under way at once: each that failed makes room.
    for (let count = 1; count <= 40; count++) {
      call();
      while (said.length < count) await turn();
    }
    expect(incoming).toEqual([]);
    expect(client.status).toBe('connected');
  });

  it.each<[string, (pair: WebSocket) => void]>([
    ['says nothing', () => undefined],
    ['says text', (pair) => pair.send('text')],
    ['says what is no WebSocket', (pair) => (pair as unknown as { _socket: Duplex })._socket.write(randomBytes(1000))],
    ['hangs up', (pair) => pair.terminate()],
  ])('hands on whoever the relay joins it with, though it then %s, and stays free for more', async (_what, act) => {
    let call: () => void = () => undefined;
    const relay = await relayHostileToHosts({
      register: (control) => {
        control.send(registered);
        call = () => control.send(JSON.stringify({ type: 'dial', ticket: ticket() }));
      },
      accept: (_socket, open) => {
        const pair = open();
        if (pair !== undefined) act(pair);
      },
    });
    const { client, said, incoming } = hostAt(relay.url);
    await client.whenConnected();
    for (let count = 1; count <= 40; count++) {
      call();
      while (incoming.length < count) await turn();
    }
    expect(said.filter((line) => line.startsWith('More dials'))).toEqual([]);
    expect(client.status).toBe('connected');
  });
});

describe('who dials through a hostile relay', () => {
  it('is not sent elsewhere by it, nor is what lets it in', async () => {
    const { port, visits } = await bystander();
    const hostId = hostIdOf(generateKeyPair().publicKey);
    const redirecting = createServer((socket) => {
      socket.on('error', () => undefined).once('data', () => socket.end(`HTTP/1.1 307 Refused\r\nLocation: ws://127.0.0.2:${port}/v1/dial/${hostId}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`));
    }).listen(0, '127.0.0.1');
    await once(redirecting, 'listening');
    closers.push(() => void redirecting.close());
    await expect(dialThroughRelay({ url: `ws://127.0.0.1:${(redirecting.address() as AddressInfo).port}`, hostId, pass: 'A'.repeat(98) })).rejects.toMatchObject({ reason: 'relay-refused' });
    expect(visits()).toBe(0);
  });
});

describe('who dials through a slow relay', () => {
  it('waits as long as it was told in all, however often it is sent on', async () => {
    const hostId = hostIdOf(generateKeyPair().publicKey);
    const servers = [createServer(), createServer()].map((server) => server.listen(0, '127.0.0.1'));
    await Promise.all(servers.map((server) => once(server, 'listening')));
    const ports = servers.map((server) => (server.address() as AddressInfo).port);
    servers.forEach((server, index) => {
      closers.push(() => void server.close());
      server.on('connection', (socket) => {
        socket.on('error', () => undefined).once('data', () => setTimeout(() => socket.end(`HTTP/1.1 307 Refused\r\nLocation: ws://127.0.0.1:${ports[1 - index] ?? 0}/v1/dial/${hostId}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`), 500));
      });
    });
    // It would be refused after 2 s, having been sent on three times.
    await expect(dialThroughRelay({ url: `ws://127.0.0.1:${ports[0] ?? 0}`, hostId, timeoutMs: 900 })).rejects.toMatchObject({ reason: 'timeout' });
  });
});

describe('a node that a relay names', () => {
  const publicly = '203.0.113.1';
  it.each([
    ['wss://relay.example.org', 'wss://relay.example.org:7441', publicly, false],
    ['wss://relay.example.org', 'wss://relay-1.example.org', publicly, true],
    ['wss://relay.example.org', 'wss://one.relay.example.org', publicly, true],
    ['wss://relay.example.org', 'wss://relay-1.example.org', '10.0.0.7', false],
    ['wss://relay.example.org', 'wss://relay-1.example.org', undefined, true],
    ['ws://127.0.0.1:7440', 'ws://127.0.0.1:7441', '127.0.0.1', false],
    ['ws://relay', 'ws://one.relay', '10.0.0.7', false],
  ])('of %s may be %s, reached at %s', (url, named, address, publicOnly) => {
    expect(nodeOf(url, named, address)).toEqual({ url: named, publicOnly });
  });

  it.each([
    ['wss://relay.example.org', 'wss://evil.example'],
    ['wss://relay.example.org', 'wss://relay.example.org.evil.example'],
    ['wss://relay.example.org', 'wss://evilrelay.example.org.evil'],
    ['wss://relay.example.org', 'wss://example.org'],
    ['wss://relay.example.org', 'wss://other.deep.example.org'],
    ['wss://example.org', 'wss://evil.org'],
    ['wss://relay.example.org', 'ws://relay.example.org'],
    ['wss://relay.example.org', 'wss://localhost'],
    ['wss://relay.example.org', 'wss://192.168.1.1'],
    ['wss://relay.example.org', 'wss://3232235777'],
    ['wss://relay.example.org', 'wss://[::1]'],
    ['wss://relay.example.org', 'wss://user@relay.example.org'],
    ['wss://relay.example.org', 'https://relay.example.org'],
    ['ws://10.0.0.7', 'ws://10.0.0.8'],
    ['ws://203.0.113.1', 'ws://127.0.0.1'],
    ['ws://relay', 'ws://printer'],
  ])('of %s is not %s', (url, named) => {
    expect(nodeOf(url, named, '10.0.0.7')).toBeUndefined();
  });

  it('is not connected to where its name stands for an inner address and only the open internet is meant', async () => {
    const { port } = await bystander();
    const socket = connectTo(`ws://localhost:${port}`, 'v1/x', { publicOnly: true });
    expect(String((await once(socket, 'error'))[0])).toContain('no address of the open internet');
  });
});
