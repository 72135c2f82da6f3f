/** A TCP proxy on loopback between hosts and relay that can be told to fail. */
import { createConnection, createServer, type AddressInfo, type Socket } from 'node:net';

export const wireFaults = ['cut', 'reset', 'halfClose', 'flip', 'stall', 'delay'] as const;
export type WireFault = (typeof wireFaults)[number];

export interface FaultyWire {
  readonly port: number;
  /** Bytes that passed since this was last called, in both directions together. */
  passed(): number;
  /**
   * Once so many bytes have passed: `cut` ends every connection, `reset` too without a farewell, `halfClose` ends one direction
   * of the one concerned, `flip` inverts a bit of the next byte, `stall` holds back all that comes, `delay` each piece for a while.
   */
  fail(fault: WireFault, afterBytes: number): void;
  /** New connections lead there from now on. */
  leadTo(port: number): void;
  /** Ends every connection and takes no other. */
  part(): void;
  /** From now on everything passes again, also what was held back. Gives whether the fault had come about. */
  heal(): boolean;
  close(): Promise<void>;
}

const DELAY_MS = 20;

/** Passes every connection on to `first`, until it is told another port. */
export async function startFaultyWire(first: { readonly host: string; readonly port: number }): Promise<FaultyWire> {
  let target = first;
  const sockets = new Set<Socket>();
  const held: (() => void)[] = [];
  let bytes = 0;
  let planned: { readonly fault: WireFault; left: number } | null = null;
  let happened = false;
  let holding: 'stall' | 'delay' | null = null;
  let parted = false;

  const endAll = (how: 'destroy' | 'resetAndDestroy') => {
    for (const socket of sockets) socket[how]();
  };
  const strike = (fault: WireFault, from: Socket, to: Socket, chunk: Buffer, at: number): void => {
    happened = true;
    if (fault === 'cut') endAll('destroy');
    else if (fault === 'reset') endAll('resetAndDestroy');
    else if (fault === 'halfClose') {
      to.end(chunk.subarray(0, at));
      from.pause();
    } else if (fault === 'flip') {
      const changed = Buffer.from(chunk);
      changed[at] = (changed[at] ?? 0) ^ 0x10;
      to.write(changed);
    } else {
      holding = fault;
      forward(from, to, chunk);
    }
  };
  const forward = (from: Socket, to: Socket, chunk: Buffer): void => {
    const write = () => {
      if (!to.writable) return;
      if (!to.write(chunk)) from.pause();
    };
    if (holding === 'stall') {
      held.push(write);
      from.pause();
    } else if (holding === 'delay') setTimeout(write, DELAY_MS);
    else write();
  };

  const server = createServer({ noDelay: true }, (client) => {
    if (parted) {
      client.destroy();
      return;
    }
    const upstream = createConnection({ ...target, noDelay: true });
    for (const [from, to] of [[client, upstream], [upstream, client]] as const) {
      sockets.add(from);
      from.on('error', () => to.destroy());
      from.once('close', () => {
        sockets.delete(from);
        to.end();
      });
      to.on('drain', () => from.resume());
      from.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (planned !== null) planned.left -= chunk.length;
        if (planned === null || planned.left >= 0) {
          forward(from, to, chunk);
          return;
        }
        const { fault, left } = planned;
        planned = null;
        strike(fault, from, to, chunk, Math.max(0, chunk.length + left));
      });
    }
  });
  await new Promise<void>((fulfil, reject) => server.once('error', reject).listen(0, '127.0.0.1', fulfil));
  return {
    port: (server.address() as AddressInfo).port,
    passed: () => {
      const passed = bytes;
      bytes = 0;
      return passed;
    },
    fail: (fault, afterBytes) => {
      happened = false;
      planned = { fault, left: afterBytes };
    },
    leadTo: (port) => {
      target = { ...target, port };
    },
    part: () => {
      happened = true;
      parted = true;
      endAll('destroy');
    },
    heal: () => {
      planned = null;
      parted = false;
      holding = null;
      for (const write of held.splice(0)) write();
      for (const socket of sockets) socket.resume();
      const did = happened;
      happened = false;
      return did;
    },
    close: () =>
      new Promise((fulfil) => {
        server.close(() => fulfil());
        endAll('destroy');
      }),
  };
}
