/** A relay of a test, with real hosts and dialers at it. What a test opens is closed when it ends. */
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { afterEach, expect } from 'vitest';
import { WebSocket } from 'ws';
import type { Channel } from '../../src/relay/channel';
import { generateKeyPair, hostIdOf, type KeyPair } from '../../src/relay/keys';
import { acceptChannel, openChannel } from '../../src/relay/openChannel';
import { RelayClient } from '../../src/relay/relayClient';
import { dialThroughRelay, type DialOptions } from '../../src/relay/relayDial';
import type { TokenSource } from '../../src/relay/relayMembership';
import { proveKey } from '../../src/relay/relayProof';
import { startRelay, type RelayOptions, type RunningRelay } from '../../src/relay/relayServer';

export const closers: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

export async function relay(options: Partial<RelayOptions> = {}): Promise<RunningRelay> {
  const running = await startRelay({ host: '127.0.0.1', port: 0, ...options });
  closers.push(() => running.close());
  return running;
}

/** A host at a relay; `incoming` hands out what is dialled, in order. */
export async function host(url: string, keyPair: KeyPair = generateKeyPair(), membership?: TokenSource) {
  const waiting: ((stream: Duplex) => void)[] = [];
  const arrived: Duplex[] = [];
  const client = new RelayClient({
    url,
    keyPair,
    membership,
    onIncoming: (stream) => {
      stream.on('error', () => undefined);
      closers.push(() => void stream.destroy());
      const next = waiting.shift();
      if (next === undefined) arrived.push(stream);
      else next(stream);
    },
  });
  closers.push(() => client.dispose());
  client.start();
  await client.whenConnected();
  const incoming = (): Promise<Duplex> => new Promise((resolve) => {
    const stream = arrived.shift();
    if (stream === undefined) waiting.push(resolve);
    else resolve(stream);
  });
  return { client, keyPair, hostId: hostIdOf(keyPair.publicKey), incoming };
}

export async function dial(url: string, hostId: string, right: Pick<DialOptions, 'membership' | 'pass'> = {}): Promise<Duplex> {
  const stream = await dialThroughRelay({ url, hostId, ...right });
  closers.push(() => void stream.destroy());
  return stream;
}

export async function channelsThrough(url: string): Promise<{ near: Channel; far: Channel }> {
  const server = await host(url);
  const keyPair = generateKeyPair();
  const stream = await dial(url, server.hostId);
  const [near, far] = await Promise.all([
    openChannel(stream, { keyPair, remoteKey: server.keyPair.publicKey, purpose: 'transfer' }),
    server.incoming().then((other) => acceptChannel(other, { keyPair: server.keyPair, isTrusted: () => true, pskForRoom: () => undefined })),
  ]);
  closers.push(() => [near, far].forEach((channel) => channel.on('error', () => undefined).destroy()));
  return { near, far };
}

/** A host that has proven its key and answers nothing by itself. */
export async function registered(url: string, keyPair: KeyPair = generateKeyPair()): Promise<{ socket: WebSocket; hostId: string }> {
  const hostId = hostIdOf(keyPair.publicKey);
  const socket = new WebSocket(`${url}/v1/register/${hostId}`);
  closers.push(() => socket.terminate());
  socket.on('error', () => undefined);
  const [challenge] = (await once(socket, 'message')) as [Buffer];
  socket.send(JSON.stringify(proveKey(keyPair, JSON.parse(challenge.toString()) as { relayKey: string; nonce: string })));
  const [answer] = (await once(socket, 'message')) as [Buffer];
  expect(JSON.parse(answer.toString())).toEqual({ type: 'registered' });
  return { socket, hostId };
}

export async function statusOf(url: string, headers: Record<string, string> = {}): Promise<number> {
  const socket = new WebSocket(url, { headers });
  socket.on('error', () => undefined);
  return new Promise((resolve) => {
    socket.once('unexpected-response', (_request, response) => {
      response.resume();
      socket.terminate();
      resolve(response.statusCode ?? 0);
    });
    socket.once('open', () => {
      socket.terminate();
      resolve(101);
    });
  });
}

