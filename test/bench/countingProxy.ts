/** A bare TCP relay on loopback that counts: the wire of the bench, and the least that any relay could do. */
import { createConnection, createServer, type AddressInfo, type Socket } from 'node:net';

export interface CountingProxy {
  readonly port: number;
  /** Bytes so far in both directions together. */
  readonly bytes: () => { readonly fromClients: number; readonly toClients: number };
  close(): Promise<void>;
}

/** Passes every connection on to `target`. A side that breaks ends the other. */
export async function startCountingProxy(target: { readonly host: string; readonly port: number }): Promise<CountingProxy> {
  const sockets = new Set<Socket>();
  let fromClients = 0;
  let toClients = 0;
  const server = createServer({ noDelay: true, allowHalfOpen: true }, (client) => {
    const upstream = createConnection({ ...target, noDelay: true, allowHalfOpen: true });
    for (const [socket, other] of [[client, upstream], [upstream, client]] as const) {
      sockets.add(socket);
      socket.on('error', () => other.destroy());
      socket.once('close', () => {
        sockets.delete(socket);
        if (socket.destroyed && !other.writableEnded) other.end();
      });
    }
    client.on('data', (chunk: Buffer) => (fromClients += chunk.length));
    upstream.on('data', (chunk: Buffer) => (toClients += chunk.length));
    client.pipe(upstream);
    upstream.pipe(client);
  });
  await new Promise<void>((fulfil, reject) => server.once('error', reject).listen(0, '127.0.0.1', fulfil));
  return {
    port: (server.address() as AddressInfo).port,
    bytes: () => ({ fromClients, toClients }),
    close: () =>
      new Promise((fulfil) => {
        server.close(() => fulfil());
        for (const socket of sockets) socket.destroy();
      }),
  };
}
