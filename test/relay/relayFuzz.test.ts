/** Random and half-right bytes on the wire to a real relay: before a request is understood, and after it was upgraded. */
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import type { RunningRelay } from '../../src/relay/relayServer';
import { isWhole } from '../fixtures/whole';
import { receivedBy } from './channelPair';
import { likely } from './likely';
import { channelsThrough, closers, host, relay } from './relayLaboratory';

/** How often the usual number of inputs is tried, and by which they can be tried again. */
const rounds = isWhole ? 100 : 1;
const seed = randomInt(2 ** 31);
vi.setConfig({ testTimeout: isWhole ? 3_600_000 : 60_000 });

const turn = () => new Promise((resolve) => setImmediate(resolve));
const upgrade = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${Buffer.alloc(16, 0x5a).toString('base64')}\r\n\r\n`;

function connection(running: RunningRelay): Socket {
  const socket = connect(running.port, '127.0.0.1').on('error', () => undefined);
  closers.push(() => void socket.destroy());
  return socket;
}

/** Whether the relay serves others as if nothing had been, and has let go of all that came. */
async function isUndisturbed(running: RunningRelay): Promise<void> {
  const { near, far } = await channelsThrough(running.url);
  near.end('undisturbed');
  expect((await receivedBy(far)).toString()).toBe('undisturbed');
}

describe('a relay', () => {
  it('outlives whatever comes in place of a request', async () => {
    const running = await relay({ limits: { headersTimeoutMs: 2000, maxProofsPerMinutePerAddress: 1_000_000, maxDialsPerMinutePerAddress: 1_000_000 } });
    const { hostId } = await host(running.url);
    const requests = ['register', 'token', 'dial', 'accept'].map((action) => upgrade(`/v1/${action}/${hostId}`));
    const inputs = fc.sample(fc.oneof(...[...requests, 'GET /healthz HTTP/1.1\r\nHost: relay\r\n\r\n', 'POST /v1/dial HTTP/1.1\r\nContent-Length: 5\r\n\r\nabcde'].map((request) => likely(Buffer.from(request, 'latin1')))), { numRuns: 600 * rounds, seed });
    for (const bytes of inputs) {
      const socket = connection(running);
      socket.end(bytes);
      await once(socket.resume(), 'close');
    }
    console.info(`${inputs.length} requests that were none, or nearly one, by the seed ${seed}.`);
    await isUndisturbed(running);
    while (running.statistics().pendingDials > 0) await turn();
  });

  it('outlives whatever comes in place of WebSocket frames, and nothing of it stays', async () => {
    const running = await relay({ limits: { maxDialsPerMinutePerAddress: 1_000_000, maxDialsPerMinutePerHost: 1_000_000, maxPairsPerHost: 1_000_000 } });
    const server = await host(running.url);
    const masked = (opcode: number, payload: Buffer): Buffer => Buffer.concat([Buffer.from([0x80 | opcode, 0x80 | payload.length, 0, 0, 0, 0]), payload]);
    const frames = Buffer.concat([masked(2, Buffer.alloc(100, 0x5a)), masked(9, Buffer.from('ping')), masked(2, Buffer.alloc(20, 0xa5)), masked(8, Buffer.from([3, 232]))]);
    const inputs = fc.sample(likely(frames), { numRuns: 300 * rounds, seed });
    let received = 0;
    for (const bytes of inputs) {
      const socket = connection(running);
      socket.write(upgrade(`/v1/dial/${server.hostId}`));
      const peer = await server.incoming();
      peer.on('data', (chunk: Buffer) => (received += chunk.length));
      await once(socket, 'data');
      socket.end(bytes);
      await once(socket.resume(), 'close');
    }
    while (running.statistics().pairs > 0) await turn();
    expect(running.statistics().queuedBytes).toBe(0);
    expect(received).toBeGreaterThan(0);
    console.info(`${inputs.length} pairs with bytes that were no frames, or nearly, by the seed ${seed}.`);
    await isUndisturbed(running);
  });
});
