/** What the threads beside the sender do in the measurement of channels. */
import { createServer, type AddressInfo } from 'node:net';
import type { Readable } from 'node:stream';
import { parentPort } from 'node:worker_threads';
import { acceptChannel } from '../../src/relay/channel';
import { generateKeyPair, hostIdOf } from '../../src/relay/keys';
import { RelayClient } from '../../src/relay/relayClient';
import { startCountingProxy } from './countingProxy';

export type ChannelRole =
  | { readonly role: 'channelReceiver'; readonly relayUrl: string; readonly sender: string; readonly bytes: number }
  | { readonly role: 'tcpReceiver'; readonly bytes: number }
  | { readonly role: 'tcpRelay'; readonly port: number };

/** What a role says: that it can be reached, and that it has all bytes. */
export type FromRole = { readonly is: 'ready' | 'received'; readonly hostId?: string; readonly port?: number };

const tell = (message: FromRole) => parentPort?.postMessage(message);

/** Plays a role until the thread is terminated. */
export async function playRole(role: ChannelRole): Promise<void> {
  switch (role.role) {
    case 'channelReceiver': {
      const keyPair = generateKeyPair();
      const client = new RelayClient({
        url: role.relayUrl,
        keyPair,
        onIncoming: (stream) => {
          acceptChannel(stream, { keyPair, isTrusted: (key) => hostIdOf(key) === role.sender, pskForRoom: () => undefined }).then((channel) => receive(channel, role.bytes), fail);
        },
      });
      client.start();
      await client.whenConnected();
      tell({ is: 'ready', hostId: hostIdOf(keyPair.publicKey) });
      return;
    }
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
