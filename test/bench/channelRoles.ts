/** What the threads beside the sender do in the measurement of channels. */
import { spawn } from 'node:child_process';
import { createServer, type AddressInfo } from 'node:net';
import type { Readable } from 'node:stream';
import { parentPort } from 'node:worker_threads';
import { WebSocketServer } from 'ws';
import type { Channel } from '../../src/relay/channel';
import { generateKeyPair, hostIdOf } from '../../src/relay/keys';
import { acceptChannel } from '../../src/relay/openChannel';
import { RelayClient } from '../../src/relay/relayClient';
import { startCountingProxy } from './countingProxy';
import { playCrowd } from './crowdRole';

export type ChannelRole =
  | { readonly role: 'channelReceiver'; readonly relayUrl: string; readonly sender: string; readonly bytes: number }
  | { readonly role: 'tcpReceiver'; readonly bytes: number }
  | { readonly role: 'tcpRelay'; readonly port: number }
  /** A host that sends back whatever comes over a channel of anybody. */
  | { readonly role: 'echoHost'; readonly relayUrl: string }
  | { readonly role: 'bareEcho' }
  /** A host that indexes the pack that comes over a channel of anybody. */
  | { readonly role: 'packHost'; readonly relayUrl: string; readonly repository: string }
  | { readonly role: 'crowd'; readonly relayUrl: string; readonly idle: number; readonly busy: number };

/** What a role says: that it can be reached, and that it has all bytes. */
export type FromRole = { readonly is: 'ready' | 'received' | 'busy' | 'quiet' | 'returned'; readonly hostId?: string; readonly port?: number };
/** What a crowd is told: how many of its hosts are to stay, and nothing more be said. */
export interface ToRole {
  readonly stay: number;
}

export const tell = (message: FromRole) => parentPort?.postMessage(message);

/** Plays a role until the thread is terminated. */
export async function playRole(role: ChannelRole): Promise<void> {
  switch (role.role) {
    case 'channelReceiver':
      return host(role.relayUrl, (channel) => receive(channel, role.bytes), (key) => hostIdOf(key) === role.sender);
    case 'echoHost':
      return host(role.relayUrl, (channel) => void channel.on('error', () => undefined).pipe(channel));
    case 'packHost':
      return host(role.relayUrl, (channel) => {
        const indexing = spawn('git', ['index-pack', '--stdin', '--fix-thin', '--strict'], { cwd: role.repository, stdio: ['pipe', 'ignore', 'inherit'] });
        channel.on('error', () => undefined).pipe(indexing.stdin);
        indexing.once('exit', (code) => (code === 0 ? tell({ is: 'received' }) : fail(new Error(`git index-pack ended with ${code ?? 'a signal'}.`))));
      });
    case 'bareEcho': {
      const server = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: false });
      server.on('connection', (socket) => socket.on('message', (message: Buffer) => socket.send(message)));
      await new Promise((fulfil) => server.once('listening', fulfil));
      tell({ is: 'ready', port: (server.address() as AddressInfo).port });
      return;
    }
    case 'crowd':
      return playCrowd(role);
    case 'tcpReceiver': {
      const server = createServer({ noDelay: true }, (socket) => receive(socket, role.bytes));
      await new Promise<void>((fulfil) => server.listen(0, '127.0.0.1', fulfil));
      tell({ is: 'ready', port: (server.address() as AddressInfo).port });
      return;
    }
    case 'tcpRelay': {
      const { port } = await startCountingProxy({ host: '127.0.0.1', port: role.port });
      tell({ is: 'ready', port });
    }
  }
}

/** Registers a new host and hands out the channels that are opened to it. */
async function host(relayUrl: string, onChannel: (channel: Channel) => void, isTrusted: (key: Uint8Array) => boolean = () => true): Promise<void> {
  const keyPair = generateKeyPair();
  const client = new RelayClient({ url: relayUrl, keyPair, onIncoming: (stream) => void acceptChannel(stream, { keyPair, isTrusted, pskForRoom: () => undefined }).then(onChannel, fail) });
  client.start();
  await client.whenConnected();
  tell({ is: 'ready', hostId: hostIdOf(keyPair.publicKey) });
}

function receive(stream: Readable, bytes: number): void {
  let missing = bytes;
  stream.on('data', (chunk: Buffer) => {
    missing -= chunk.length;
    if (missing === 0) tell({ is: 'received' });
  });
  // The sender just goes away once it knows that all is here.
  stream.on('error', (error) => {
    if (missing > 0) fail(error);
  });
}

/** Fails the thread, of which the sender hears. */
function fail(error: unknown): void {
  setImmediate(() => {
    throw error;
  });
}
