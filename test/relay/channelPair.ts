import { createServer, connect, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import { Transform, type Duplex } from 'node:stream';
import type { Clock } from '../../src/relay/clock';
import type { Channel, ChannelOptions } from '../../src/relay/channel';
import { generateKeyPair } from '../../src/relay/keys';
import { acceptChannel, openChannel } from '../../src/relay/openChannel';

/** Two ends of one real TCP connection on loopback. */
export async function socketPair(): Promise<{ near: Socket; far: Socket; close: () => void }> {
  const server: Server = createServer({ allowHalfOpen: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const near = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  const [far] = await accepted;
  server.close();
  for (const socket of [near, far]) socket.setNoDelay(true);
  return { near, far, close: () => [near, far].forEach((socket) => socket.destroy()) };
}

export type Meddle = (frame: Buffer, index: number, toFar: boolean) => readonly Buffer[] | 'cut';

/**
 * Two stream ends with somebody hostile in between, who sees whole frames (length and message) and says for each what goes
 * on in its place; `cut` ends the connection in an orderly way, as a relay could.
 */
export async function meddledPair(meddle: Meddle): Promise<{ near: Duplex; far: Duplex; close: () => void }> {
  const [left, right] = [await socketPair(), await socketPair()];
  const through = (toFar: boolean): Transform => {
    let held = Buffer.alloc(0);
    let index = 0;
    return new Transform({
      transform(chunk: Buffer, _encoding, callback) {
        held = Buffer.concat([held, chunk]);
        while (held.length >= 2 && held.length >= 2 + held.readUInt16BE(0)) {
          const end = 2 + held.readUInt16BE(0);
          const result = meddle(held.subarray(0, end), index++, toFar);
          if (result === 'cut') {
            left.far.end();
            right.near.end();
            return;
          }
          for (const frame of result) this.push(frame);
          held = held.subarray(end);
        }
        callback();
      },
    });
  };
  left.far.pipe(through(true)).pipe(right.near);
  right.near.pipe(through(false)).pipe(left.far);
  for (const socket of [left.far, right.near]) socket.on('error', () => undefined);
  return {
    near: left.near,
    far: right.far,
    close: () => {
      left.close();
      right.close();
    },
  };
}

/** The two channels of a KK handshake over two stream ends. */
export async function channelsOver(near: Duplex, far: Duplex, options: ChannelOptions & { purpose?: 'control' | 'transfer' | 'tunnel' } = {}): Promise<{ initiator: Channel; responder: Channel }> {
  const [keyPair, remote] = [generateKeyPair(), generateKeyPair()];
  const [initiator, responder] = await Promise.all([
    openChannel(near, { keyPair, remoteKey: remote.publicKey, purpose: 'transfer', ...options }),
    acceptChannel(far, { keyPair: remote, isTrusted: (key) => Buffer.compare(key, keyPair.publicKey) === 0, pskForRoom: () => undefined, ...options }),
  ]);
  return { initiator, responder };
}

/** All that a stream receives until the other side ends; the stream itself lives on to send. */
export async function receivedBy(stream: Duplex): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** The error that a channel ends with. */
export async function failureOf(channel: Duplex): Promise<Error & { reason?: string }> {
  if (channel.errored !== null) return channel.errored;
  return new Promise((resolve) => channel.once('error', resolve).resume());
}

/** A clock that stands still until it is moved. */
export class ManualClock implements Clock {
  #now = 0;
  readonly #waiting = new Set<{ at: number; action: () => void }>();
  now(): number {
    return this.#now;
  }
  after(milliseconds: number, action: () => void): () => void {
    const entry = { at: this.#now + milliseconds, action };
    this.#waiting.add(entry);
    return () => void this.#waiting.delete(entry);
  }
  /** Moves time on, running what falls due in its order. */
  advance(milliseconds: number): void {
    const end = this.#now + milliseconds;
    for (;;) {
      const [next] = [...this.#waiting].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at);
      if (next === undefined) break;
      this.#waiting.delete(next);
      this.#now = next.at;
      next.action();
    }
    this.#now = end;
  }
}

