import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { localSocketPath } from './localSocket';

/**
 * What reaches the local socket and is not a controller itself, but what another machine says, brought here by a process of this account: one that
 * ssh started. It begins with one line. `channel`: the other machine begins a channel. `callback`: this host does, in answer to a call of its own.
 */
export type BroughtStream = { readonly kind: 'channel' } | { readonly kind: 'callback'; readonly ticket: string };

const PREFIX = 'baton ';
const MOST_HEADER_BYTES = 64;

/** Tells a controller, whose first byte begins JSON, from a stream that was brought here. Nothing of what follows is lost. */
export function sortLocal(socket: Socket, to: { readonly controller: (stream: Duplex) => void; readonly brought: (stream: Duplex, what: BroughtStream) => void }): void {
  let received = Buffer.alloc(0);
  const onData = (chunk: Buffer): void => {
    received = Buffer.concat([received, chunk]);
    const known = Math.min(received.length, PREFIX.length);
    const isBrought = received.toString('latin1', 0, known) === PREFIX.slice(0, known);
    const end = received.indexOf(0x0a);
    if (isBrought && end < 0 && received.length <= MOST_HEADER_BYTES) return;
    socket.off('data', onData);
    socket.pause();
    if (!isBrought) {
      socket.unshift(received);
      to.controller(socket);
      return;
    }
    const what = parse(received.toString('latin1', PREFIX.length, Math.max(end, 0)));
    if (what === undefined) return void socket.destroy();
    if (received.length > end + 1) socket.unshift(received.subarray(end + 1));
    to.brought(socket, what);
  };
  socket.on('data', onData);
}

/** Brings what another machine says to the host of a home. Rejects where none listens. */
export async function bringTo(batonHome: string, what: BroughtStream): Promise<Duplex> {
  const socket = createConnection(localSocketPath(batonHome));
  await once(socket, 'connect');
  socket.write(`${PREFIX}${what.kind}${what.kind === 'callback' ? ` ${what.ticket}` : ''}\n`);
  return socket;
}

function parse(text: string): BroughtStream | undefined {
  if (text === 'channel') return { kind: 'channel' };
  const [, ticket] = /^callback ([0-9a-f]{32})$/.exec(text) ?? [];
  return ticket === undefined ? undefined : { kind: 'callback', ticket };
}
