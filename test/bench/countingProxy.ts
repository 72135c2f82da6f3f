/** A bare TCP relay on loopback that counts, and can be halted: the wire of the bench, and the least that any relay could do. */
import { createConnection, createServer, type AddressInfo, type Socket } from 'node:net';

export interface CountingProxy {
  readonly port: number;
  /** Bytes so far in both directions together. */
  readonly bytes: () => { readonly fromClients: number; readonly toClients: number };
  /** Lets so many more bytes of clients pass, and then nothing in either direction; resolves when it has come to that. */
  haltAfter(bytes: number): Promise<void>;
  /** Ends every connection; new ones pass. */
  mend(): void;
  close(): Promise<void>;
}

/** Passes every connection on to `target`. A side that breaks ends the other. */
export async function startCountingProxy(target: { readonly host: string; readonly port: number }): Promise<CountingProxy> {
  const sockets = new Set<Socket>();
  let fromClients = 0;
  let toClients = 0;
  let halt: { readonly at: number; readonly done: () => void } | null = null;
  let halted = false;
  const hold = () => {
    halted = true;
    for (const socket of sockets) socket.unpipe().pause();
    halt?.done();
    halt = null;
  };
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
    if (halted) return;
    client.on('data', (chunk: Buffer) => {
      fromClients += chunk.length;
      if (halt !== null && fromClients >= halt.at) hold();
    });
    upstream.on('data', (chunk: Buffer) => (toClients += chunk.length));
    client.pipe(upstream);
    upstream.pipe(client);
  });
  await new Promise<void>((fulfil, reject) => server.once('error', reject).listen(0, '127.0.0.1', fulfil));
  return {
    port: (server.address() as AddressInfo).port,
    bytes: () => ({ fromClients, toClients }),
    haltAfter: (bytes) => new Promise((done) => (halt = { at: fromClients + bytes, done })),
    mend: () => {
      halted = false;
      for (const socket of sockets) socket.destroy();
    },
    close: () =>
      new Promise((fulfil) => {
        server.close(() => fulfil());
        for (const socket of sockets) socket.destroy();
      }),
  };
}
