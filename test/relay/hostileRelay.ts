/**
 * A relay that does to its pairs whatever a test says; hosts register at an honest one behind it, whose pairs it makes its own. And one that
 * does whatever a test says to the hosts that register at it.
 */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { WebSocket, WebSocketServer } from 'ws';
import { refuseUpgrade } from '../../src/relay/relaySwitch';
import { clientOptions } from '../../src/relay/webSocketStream';
import { closers } from './relayLaboratory';

export interface Hostility {
  /** What goes on in place of a message, the `index`-th that way; `end` closes the pair as if both sides had wanted that, `cut` breaks it. */
  readonly meddle?: (message: Buffer, index: number, toHost: boolean, pair: number) => readonly Buffer[] | 'end' | 'cut';
  /** Which host a dial is brought to, or the HTTP status that it is refused with. */
  readonly route?: (hostId: string) => string | number;
  /** To which pair's other side a message goes; its own if not given. */
  readonly splice?: (pair: number) => number;
}

/** Starts one in front of an honest relay; returns its URL. */
export async function hostileRelay(honestUrl: string, { meddle = (message) => [message], route = (hostId) => hostId, splice = (pair) => pair }: Hostility): Promise<string> {
  const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false });
  const pairs: { readonly dialer: WebSocket; readonly host: WebSocket }[] = [];
  const server = createServer().listen(0, '127.0.0.1');
  server.on('upgrade', (request, socket, head) => {
    const destination = route(request.url?.split('/')[3] ?? '');
    if (typeof destination === 'number') {
      refuseUpgrade(socket, destination);
      return;
    }
    const host = new WebSocket(`${honestUrl}/v1/dial/${destination}`, clientOptions).on('error', () => undefined);
    closers.push(() => host.terminate());
    host.once('unexpected-response', (_request, response) => {
      response.resume();
      refuseUpgrade(socket, response.statusCode ?? 502);
    });
    host.once('open', () => sockets.handleUpgrade(request, socket, head, (dialer) => {
      const pair = pairs.push({ dialer: dialer.on('error', () => undefined), host }) - 1;
      closers.push(() => dialer.terminate());
      forward(pair, true);
      forward(pair, false);
    }));
  });

  function forward(pair: number, toHost: boolean): void {
    const of = (number: number): { from: WebSocket; to: WebSocket } => {
      const { dialer, host } = pairs[number] ?? {};
      if (dialer === undefined || host === undefined) throw new Error(`There is no pair ${number}.`);
      return toHost ? { from: dialer, to: host } : { from: host, to: dialer };
    };
    const { from, to } = of(pair);
    let index = 0;
    from.on('message', (message: Buffer) => {
      const result = meddle(message, index++, toHost, pair);
      if (typeof result === 'string') {
        for (const socket of [from, to]) socket.close(result === 'end' ? 1000 : 4000);
        return;
      }
      for (const piece of result) of(splice(pair)).to.send(piece);
    });
    from.once('close', (code) => to.close(code === 1000 ? 1000 : 4000));
  }

  await once(server, 'listening');
  closers.push(() => void server.close());
  return `ws://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

export interface HostilityToHosts {
  /** A host wants to register. */
  readonly register: (control: WebSocket) => void;
  /** A host comes for a dial; `open` lets it. */
  readonly accept?: (socket: Duplex, open: () => WebSocket | undefined) => void;
}

/** Starts one at which hosts register; `comes` counts how many times one has come for a dial. */
export async function relayHostileToHosts({ register, accept = () => undefined }: HostilityToHosts): Promise<{ url: string; comes: () => number }> {
  const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false });
  let comes = 0;
  const server = createServer().listen(0, '127.0.0.1');
  server.on('upgrade', (request, socket, head) => {
    closers.push(() => void socket.on('error', () => undefined).destroy());
    if (request.url?.startsWith('/v1/accept/') === true) {
      comes += 1;
      accept(socket, () => {
        let opened: WebSocket | undefined;
        sockets.handleUpgrade(request, socket, head, (webSocket) => (opened = webSocket.on('error', () => undefined)));
        return opened;
      });
      return;
    }
    sockets.handleUpgrade(request, socket, head, (control) => register(control.on('error', () => undefined)));
  });
  await once(server, 'listening');
  closers.push(() => void server.close());
  return { url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}`, comes: () => comes };
}
