/** Many hosts in one thread: most are just there, some have a pair that is used all the time. */
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { parentPort } from 'node:worker_threads';
import { generateKeyPair, hostIdOf } from '../../src/relay/keys';
import { RelayClient } from '../../src/relay/relayClient';
import { dialThroughRelay } from '../../src/relay/relayDial';
import { tell, type ChannelRole, type ToRole } from './channelRoles';

/** So many connect at once, as not all machines of the world do. */
const AT_ONCE = 100;
/** What a busy pair does: a kilobyte there and back, so often. */
const MESSAGE = Buffer.alloc(1024);
const PAUSE_MS = 100;

export async function playCrowd({ relayUrl, idle, busy }: Extract<ChannelRole, { role: 'crowd' }>): Promise<void> {
  const clients: { readonly hostId: string; readonly client: RelayClient }[] = [];
  for (let left = idle; left > 0; left -= AT_ONCE) {
    await Promise.all(Array.from({ length: Math.min(left, AT_ONCE) }, async () => {
      const keyPair = generateKeyPair();
      const client = new RelayClient({ url: relayUrl, keyPair, onIncoming: (stream) => void stream.on('error', () => undefined).pipe(stream) });
      clients.push({ hostId: hostIdOf(keyPair.publicKey), client });
      client.start();
      await client.whenConnected();
    }));
  }
  tell({ is: 'ready' });
  const told = new Promise<ToRole>((resolve) => parentPort?.once('message', resolve));
  // Each pair is two connections.
  const streams: Duplex[] = [];
  for (let pair = 0; pair < busy / 2; pair++) streams.push(await dialThroughRelay({ url: relayUrl, hostId: clients[pair % Math.min(100, clients.length)]?.hostId ?? '' }));
  for (const stream of streams) void talk(stream);
  tell({ is: 'busy' });
  const { stay } = await told;
  for (const stream of streams) stream.destroy();
  const [staying, leaving] = [clients.slice(0, stay), clients.slice(stay)];
  for (const { client } of leaving) client.dispose();
  const lost = staying.map(({ client }) => new Promise<void>((resolve) => {
    const stop = client.onStatusChange(() => {
      if (client.status === 'connected') return;
      stop();
      resolve();
    });
  }));
  tell({ is: 'quiet' });
  await Promise.all(lost);
  await Promise.all(staying.map(({ client }) => client.whenConnected()));
  tell({ is: 'returned' });
}

async function talk(stream: Duplex): Promise<void> {
  stream.on('error', () => undefined);
  let missing = 0;
  stream.on('data', (chunk: Buffer) => {
    missing -= chunk.length;
    if (missing === 0) setTimeout(say, PAUSE_MS);
  });
  const say = (): void => {
    if (stream.destroyed) return;
    missing = MESSAGE.length;
    stream.write(MESSAGE);
  };
  // Not all at once.
  setTimeout(say, Math.random() * PAUSE_MS);
  await once(stream, 'close');
}
