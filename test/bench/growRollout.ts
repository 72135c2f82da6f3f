import { randomBytes } from 'node:crypto';
import { dirname, join } from 'node:path';
import { RpcConnection } from '../../src/codex/rpc';
import { connectUnix } from '../../src/codex/transport';
import { localSocketPath } from '../../src/host/localSocket';
import type { Machine } from '../fixtures/machine';

/** A line of Codex's: about as large as the output of a command may be. */
const LINE_BYTES = 250_000;

/** Makes a thread's rollout larger by `bytes`, as long conversations are: with what its model sees, half of it noise unless another share is given. The thread must be at rest. */
export async function growRollout(machine: Machine, threadId: string, bytes: number, noisy = 0.5): Promise<void> {
  const socket = join(dirname(localSocketPath(machine.batonHome)), 'codex.sock');
  const rpc = new RpcConnection(await connectUnix(socket), { notification: () => undefined, request: () => undefined, closed: () => undefined });
  try {
    await rpc.request('initialize', { clientInfo: { name: 'bench', title: null, version: '0' }, capabilities: { experimentalApi: true } });
    rpc.notify('initialized');
    await rpc.request('thread/resume', { threadId, excludeTurns: true });
    for (let grown = 0; grown < bytes; grown += LINE_BYTES) {
      const noise = randomBytes(Math.round(LINE_BYTES * noisy * 3 / 4)).toString('base64');
      const text = `${noise}${'The comet goes on and on. '.repeat(Math.ceil((LINE_BYTES - noise.length) / 26))}`;
      await rpc.request('thread/inject_items', { threadId, items: [{ type: 'message', role: 'developer', content: [{ type: 'input_text', text }] }] });
    }
  } finally {
    rpc.close();
  }
}
