/** What a stranger can do to a relay: cost it little, and others nothing. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { brotliCompressSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import type { Duplex } from 'node:stream';
import type { RunningRelay } from '../../src/relay/relayServer';
import { endProcess, startRelayProcess } from '../fixtures/machine';
import { failureOf, ManualClock, receivedBy } from './channelPair';
import { channelsThrough, closers, dial, host, registered, relay } from './relayLaboratory';

const turn = () => new Promise((resolve) => setImmediate(resolve));
const MIB = 1024 * 1024;
/** Resolves when a connection is gone, whether in order or by a reset. */
const closing = (socket: Socket) => new Promise<void>((resolve) => socket.once('close', () => resolve()));

/** Others, whom nothing that happens may disturb: a pair from before goes on, and a new one is made. */
async function others(running: RunningRelay): Promise<() => Promise<void>> {
  const { near, far } = await channelsThrough(running.url);
  return async () => {
    near.end('undisturbed');
    expect((await receivedBy(far)).toString()).toBe('undisturbed');
    const again = await channelsThrough(running.url);
    again.near.end('also now');
    expect((await receivedBy(again.far)).toString()).toBe('also now');
  };
}

/** A request to be upgraded, by hand. */
const upgrade = (path: string, extra = ''): string => `GET ${path} HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n${extra}\r\n`;

/** A dialler that speaks WebSocket by hand, paired with a host. */
async function rawDialler(running: RunningRelay, extra = ''): Promise<{ socket: Socket; peer: Duplex; head: string }> {
  const server = await host(running.url);
  const socket = connect(running.port, '127.0.0.1').on('error', () => undefined);
  closers.push(() => void socket.destroy());
  socket.write(upgrade(`/v1/dial/${server.hostId}`, extra));
  const peer = await server.incoming();
  const [head] = (await once(socket, 'data')) as [Buffer];
  return { socket, peer, head: head.toString() };
}

/** A frame with an all-zero mask. `length` may say another than the payload has. */
function frame(opcode: number, payload: Buffer, { isLast = true, length = payload.length, reserved = 0 } = {}): Buffer {
  const head = Buffer.alloc(length < 126 ? 6 : 14);
  head.writeUInt8((isLast ? 0x80 : 0) | reserved | opcode, 0);
  head.writeUInt8(0x80 | (length < 126 ? length : 127), 1);
  if (length > 125) head.writeBigUInt64BE(BigInt(length), 2);
  return Buffer.concat([head, payload]);
}

/** Sends something whole over a pair, and waits until the relay has passed it on. */
async function signOfLife(running: RunningRelay, send: () => void): Promise<void> {
  const { bytesForwarded } = running.statistics();
  send();
  while (running.statistics().bytesForwarded === bytesForwarded) await turn();
}

describe('a frame', () => {
  it('that announces 100 MiB ends the pair at its head', async () => {
    const running = await relay();
    const undisturbed = await others(running);
    const { socket, peer } = await rawDialler(running);
    const failure = failureOf(peer);
    socket.write(frame(2, Buffer.alloc(10), { length: 100 * MIB }));
    await closing(socket.resume());
    expect((await failure).message).toContain('ended the connection');
    await undisturbed();
  });

  it('that never ends is cut at the limit, however it is broken into pieces', async () => {
    const running = await relay({ limits: { maxFrameBytes: 64 * 1024 } });
    const undisturbed = await others(running);
    const { socket, peer } = await rawDialler(running);
    const failure = failureOf(peer);
    const before = running.statistics().bytesForwarded;
    const closed = closing(socket.resume());
    let sent = 0;
    socket.write(frame(2, Buffer.alloc(1000), { isLast: false }));
    while (!socket.destroyed && sent < 1000) {
      if (!socket.write(frame(0, Buffer.alloc(1000), { isLast: false }))) await Promise.race([once(socket, 'drain').catch(() => undefined), closed]);
      sent += 1;
      await turn();
    }
    await closed;
    await failure;
    expect(sent).toBeLessThan(1000);
    expect(running.statistics().bytesForwarded - before).toBe(0);
    await undisturbed();
  });

  it('that dribbles in byte by byte is no sign of life', async () => {
    const clock = new ManualClock();
    const running = await relay({ clock });
    const { socket, peer } = await rawDialler(running);
    const failure = failureOf(peer);
    const whole = frame(2, Buffer.alloc(1000));
    const closed = closing(socket.resume());
    for (let at = 0; at < 5; at++) {
      socket.write(whole.subarray(at, at + 1));
      await signOfLife(running, () => peer.write('alive'));
      clock.advance(12_000);
    }
    expect(peer.destroyed).toBe(false);
    await signOfLife(running, () => peer.write('alive'));
    clock.advance(12_000);
    await closed;
    await failure;
  });

  it.each([
    ['that is compressed', frame(2, brotliCompressSync(Buffer.alloc(MIB)), { reserved: 0x40 })],
    ['of text', frame(1, Buffer.from('hello'))],
    ['of nothing', frame(2, Buffer.alloc(0))],
    ['of an unknown kind', frame(3, Buffer.alloc(1))],
    ['without a mask', Buffer.from([0x82, 0x01, 0x00])],
  ])('%s ends the pair', async (_what, bytes) => {
    const running = await relay();
    const { socket, peer } = await rawDialler(running);
    const failure = failureOf(peer);
    socket.write(bytes);
    await closing(socket.resume());
    await failure;
    expect(running.statistics().bytesForwarded).toBe(0);
  });
});

describe('a WebSocket', () => {
  it('is not given the compression that it asks for', async () => {
    const { head } = await rawDialler(await relay(), 'Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n');
    expect(head).toContain('101');
    expect(head.toLowerCase()).not.toContain('extensions');
  });

  it('may ping as much as it likes: nothing is kept for it, and it counts as silence', async () => {
    const clock = new ManualClock();
    const running = await relay({ clock });
    const { socket, peer } = await rawDialler(running);
    const failure = failureOf(peer);
    const closed = closing(socket);
    let answered = 0;
    socket.on('data', (chunk: Buffer) => (answered += chunk.length));
    for (let flood = 0; flood < 6; flood++) {
      for (let count = 0; count < 2000; count++) socket.write(frame(9, Buffer.alloc(100)));
      await signOfLife(running, () => peer.write('alive'));
      clock.advance(12_000);
    }
    await closed;
    await failure;
    expect(answered).toBeLessThan(2000);
    // A host's control connection does answer, but drops answers that nobody reads.
    const { socket: control } = await registered(running.url);
    const raw = (control as unknown as { _socket: Socket })._socket;
    raw.pause();
    for (let count = 0; count < 20_000; count++) control.ping(Buffer.alloc(100));
    for (let turns = 0; turns < 200; turns++) await turn();
    expect(control.readyState).toBe(control.OPEN);
    raw.resume();
  });
});

/** A relay in a process of its own, with a pair whose host reads nothing; its memory is that of nothing else. */
async function pairInProcess(): Promise<{ dialler: Socket; memory: () => Promise<number> }> {
  const { url, child } = await startRelayProcess();
  closers.push(() => endProcess(child, 'SIGKILL'));
  const { port } = new URL(url);
  const open = (path: string): Socket => {
    const socket = connect(Number(port), '127.0.0.1').on('error', () => undefined);
    closers.push(() => void socket.destroy());
    socket.write(upgrade(path));
    return socket;
  };
  const { socket: control, hostId } = await registered(url);
  const dialler = open(`/v1/dial/${hostId}`);
  const [message] = (await once(control, 'message')) as [Buffer];
  open(`/v1/accept/${(JSON.parse(message.toString()) as { ticket: string }).ticket}`);
  await once(dialler, 'data');
  const memory = async (): Promise<number> => Number(/process_resident_memory_bytes (\d+)/.exec(await (await fetch(`http://127.0.0.1:${port}/metrics`)).text())?.[1]);
  return { dialler: dialler.resume(), memory };
}

describe('the memory of a relay', () => {
  it.each([
    ['nothing', frame(2, Buffer.alloc(0))],
    ['one byte', frame(2, Buffer.alloc(1))],
    ['as much as is allowed', frame(2, Buffer.alloc(68 * 1024))],
    ['as much as is allowed, each byte a piece of its own', Buffer.concat([frame(2, Buffer.alloc(1), { isLast: false }), ...Array.from({ length: 20_000 }, () => frame(0, Buffer.alloc(1), { isLast: false }))])],
  ])('stays small when somebody sends messages of %s to who reads nothing', async (what, message) => {
    const { dialler, memory } = await pairInProcess();
    const before = await memory();
    const block = Buffer.concat(Array.from({ length: Math.ceil(MIB / message.length) }, () => message));
    let most = 0;
    // Until the relay reads no more, or has ended the pair; else it would have taken 24 MiB.
    for (let sent = 0; sent < 24 && !dialler.destroyed; sent++) {
      const isTaken = dialler.write(block) || (await once(dialler, 'drain', { signal: AbortSignal.timeout(1500) }).then(() => true, () => false));
      most = Math.max(most, await memory());
      if (!isTaken) break;
    }
    console.info(`${what}: the relay grew by ${((most - before) / MIB).toFixed(0)} MiB.`);
    expect(most - before).toBeLessThan(48 * MIB);
  });
});

describe('a reader', () => {
  it('that takes nothing costs one bounded queue, and is ended in the end', async () => {
    const clock = new ManualClock();
    const running = await relay({ clock });
    const { socket, peer } = await rawDialler(running);
    const failure = failureOf(peer);
    socket.pause();
    const block = Buffer.alloc(256 * 1024);
    let before = -1;
    // An hour in which the sender would send, and gives signs of life.
    for (let quiet = 0; quiet < 20; ) {
      peer.write(block);
      for (let turns = 0; turns < 50; turns++) await turn();
      const { bytesForwarded } = running.statistics();
      quiet = bytesForwarded === before ? quiet + 1 : 0;
      before = bytesForwarded;
    }
    expect(running.statistics().queuedBytes).toBeLessThanOrEqual(2 * MIB);
    expect(running.statistics().queuedBytes).toBeGreaterThan(0);
    for (let minute = 0; minute < 9; minute++) {
      await signOfLife(running, () => socket.write(frame(2, Buffer.from('alive'))));
      clock.advance(48_000);
      expect(peer.destroyed).toBe(false);
    }
    clock.advance(300_000);
    await failure;
    expect(running.statistics().queuedBytes).toBe(0);
  });

  it('of one pair among many holds to the bound of them all', async () => {
    const running = await relay({ limits: { maxQueuedBytesInAll: 2 * MIB } });
    const pairs = await Promise.all(Array.from({ length: 8 }, () => rawDialler(running)));
    const block = Buffer.alloc(256 * 1024);
    for (const { socket } of pairs) socket.pause();
    let before = -1;
    for (let quiet = 0; quiet < 10; ) {
      for (const { peer } of pairs) peer.write(block);
      for (let turns = 0; turns < 50; turns++) await turn();
      const { bytesForwarded } = running.statistics();
      quiet = bytesForwarded === before ? quiet + 1 : 0;
      before = bytesForwarded;
    }
    // Each may have had one frame on its way when the bound was reached.
    expect(running.statistics().queuedBytes).toBeLessThanOrEqual(2 * MIB + 8 * 66 * 1024);
    // Once they read, everything comes.
    const forwarded = running.statistics().bytesForwarded;
    for (const { socket } of pairs) socket.resume();
    while (running.statistics().bytesForwarded === forwarded || running.statistics().queuedBytes > 0) await turn();
  });
});

describe('connections', () => {
  it('that say nothing, by the hundred, are closed in time and keep nobody out', async () => {
    const running = await relay({ limits: { headersTimeoutMs: 500, maxConnectionsPerAddress: 2000 } });
    const undisturbed = await others(running);
    const idle = await Promise.all(Array.from({ length: 500 }, async () => {
      const socket = connect(running.port, '127.0.0.1').on('error', () => undefined);
      closers.push(() => void socket.destroy());
      await once(socket, 'connect');
      return socket.resume();
    }));
    for (const socket of idle) if (!socket.closed) await closing(socket);
    await undisturbed();
  });

  it('that dial and go before the host comes leave nothing behind', async () => {
    const running = await relay({ limits: { maxPendingDialsPerHost: 1000 } });
    const { socket: control, hostId } = await registered(running.url);
    const tickets: string[] = [];
    control.on('message', (message: Buffer) => tickets.push((JSON.parse(message.toString()) as { ticket: string }).ticket));
    const diallers = Array.from({ length: 100 }, () => new WebSocket(`${running.url}/v1/dial/${hostId}`).on('error', () => undefined));
    while (tickets.length < 100) await turn();
    for (const dialler of diallers) dialler.terminate();
    while (running.statistics().pendingDials > 0) await turn();
    const late = new WebSocket(`${running.url}/v1/accept/${tickets[0] ?? ''}`).on('error', () => undefined);
    const [, response] = (await once(late, 'unexpected-response')) as [unknown, { statusCode: number; resume(): void }];
    response.resume();
    late.terminate();
    expect(response.statusCode).toBe(404);
  });
});

describe('dials', () => {
  it('of one host are bounded, whoever makes them, and so are the pairs that it is in', async () => {
    const running = await relay({ limits: { maxDialsPerMinutePerHost: 3, maxPairsPerHost: 2 } });
    const [first, second] = [await host(running.url), await host(running.url)];
    await dial(running.url, first.hostId);
    await dial(running.url, first.hostId);
    await expect(dial(running.url, first.hostId)).rejects.toMatchObject({ reason: 'relay-refused', message: expect.stringContaining('503') as string });
    await expect(dial(running.url, first.hostId)).rejects.toMatchObject({ reason: 'relay-refused', message: expect.stringContaining('429') as string });
    await dial(running.url, second.hostId);
  });
});
