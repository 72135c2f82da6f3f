/** A channel through a relay beside bare TCP through a bare relay: what encryption and WebSockets cost. */
import { createConnection } from 'node:net';
import type { Writable } from 'node:stream';
import { Worker } from 'node:worker_threads';
import { generateKeyPair, hostIdOf, publicKeyOf } from '../../src/relay/keys';
import { openChannel } from '../../src/relay/openChannel';
import { dialThroughRelay } from '../../src/relay/relayDial';
import type { ChannelRole, FromRole, ToRole } from './channelRoles';

/** A quarter of it would be over while Node still warms up. */
export const volume = 512 * 1024 * 1024;
export const chunk = Buffer.alloc(256 * 1024, 0x5a);

/** MiB per second of one run, between two threads with the relay in a third place. */
export interface ChannelRun {
  readonly channel: number;
  readonly bareTcp: number;
}

/** Sends the same bytes both ways. `relayUrl` is a relay process; `program` is this bundle, which plays the other roles in threads. */
export async function measureChannel(relayUrl: string, program: string): Promise<ChannelRun> {
  const keyPair = generateKeyPair();
  const receiver = startRole(program, { role: 'channelReceiver', relayUrl, sender: hostIdOf(keyPair.publicKey), bytes: volume });
  let channel: number;
  try {
    const { hostId } = await receiver.next('ready');
    const stream = await openChannel(await dialThroughRelay({ url: relayUrl, hostId: hostId ?? '' }), { keyPair, remoteKey: publicKeyOf(hostId ?? ''), purpose: 'transfer' });
    channel = await throughput(stream, receiver);
    stream.destroy();
  } finally {
    await receiver.end();
  }
  const listener = startRole(program, { role: 'tcpReceiver', bytes: volume });
  const ends = [listener];
  try {
    const { port } = await listener.next('ready');
    const relay = startRole(program, { role: 'tcpRelay', port: port ?? 0 });
    ends.push(relay);
    const at = await relay.next('ready');
    const socket = createConnection({ host: '127.0.0.1', port: at.port ?? 0, noDelay: true });
    const bareTcp = await throughput(socket, listener);
    socket.destroy();
    return { channel, bareTcp };
  } finally {
    await Promise.all(ends.map((role) => role.end()));
  }
}

/** From the first byte written until the receiver has said that it has the last. */
async function throughput(stream: Writable, receiver: RunningRole): Promise<number> {
  const received = receiver.next('received');
  const begun = performance.now();
  for (let sent = 0; sent < volume; sent += chunk.length) {
    if (!stream.write(chunk)) await new Promise((fulfil) => stream.once('drain', fulfil));
  }
  await received;
  return volume / 1024 / 1024 / ((performance.now() - begun) / 1000);
}

export interface RunningRole {
  /** The next message of that kind; rejects where the thread fails first. */
  next(is: FromRole['is']): Promise<FromRole>;
  tell(what: ToRole): void;
  end(): Promise<unknown>;
}

export function startRole(program: string, role: ChannelRole): RunningRole {
  const worker = new Worker(program, { workerData: role });
  return {
    next: (is) =>
      new Promise((fulfil, reject) => {
        worker.once('error', reject);
        const hear = (message: FromRole) => {
          if (message.is !== is) return;
          worker.off('message', hear);
          worker.off('error', reject);
          fulfil(message);
        };
        worker.on('message', hear);
      }),
    tell: (what) => worker.postMessage(what),
    end: () => worker.terminate(),
  };
}
