import { describe, expect, it } from 'vitest';
import { RpcConnection } from '../../src/codex/rpc';
import type { Transport } from '../../src/codex/transport';

type Sent = { id: number; method: string; params: unknown };

/** The far end in memory; `answer` decides what comes back, undefined for nothing. */
function farEnd(answer: (request: Sent) => object | undefined) {
  const sent: Sent[] = [];
  let onText: (text: string) => void = () => undefined;
  let onClose: (why: string) => void = () => undefined;
  const transport: Transport = {
    send: (text) => {
      const request = JSON.parse(text) as Sent;
      sent.push(request);
      const reply = answer(request);
      if (reply !== undefined) queueMicrotask(() => onText(JSON.stringify({ id: request.id, ...reply })));
    },
    onText: (listener) => (onText = listener),
    onClose: (listener) => (onClose = listener),
    close: () => onClose('closed here'),
  };
  return { transport, sent, say: (text: string) => onText(text), drop: (why: string) => onClose(why) };
}
const deaf = { notification: () => undefined, request: () => undefined, closed: () => undefined };
const overloaded = { error: { code: -32001, message: 'Server overloaded; retry later.' } };
const closing = { error: { code: -32600, message: 'thread 01a1fde5-99e2-7192-a8f9-b38a254ebf26 is closing; retry thread/resume after the thread is closed' } };

describe('a connection to the app-server', () => {
  it.each([['the server was too busy for', overloaded], ['came while its thread was being closed', closing]])('repeats a request that %s, and no other', async (_, refusal) => {
    let refusals = 3;
    const { transport, sent } = farEnd(({ method }) => (method === 'bad' ? { error: { code: -32600, message: 'no' } } : refusals-- > 0 ? refusal : { result: 'at last' }));
    const rpc = new RpcConnection(transport, deaf, { random: () => 0 });
    expect(await rpc.request('good', {})).toBe('at last');
    expect(sent).toHaveLength(4);
    await expect(rpc.request('bad', {})).rejects.toMatchObject({ reason: 'refused' });
    expect(sent).toHaveLength(5);
  });

  it('keeps the number of open requests bounded', async () => {
    let open = 0;
    let most = 0;
    const held: (() => void)[] = [];
    const end = farEnd((request) => {
      most = Math.max(most, ++open);
      held.push(() => {
        open -= 1;
        end.say(JSON.stringify({ id: request.id, result: request.method }));
      });
      return undefined;
    });
    const rpc = new RpcConnection(end.transport, deaf, { maxInFlight: 4 });
    const all = Promise.all(Array.from({ length: 20 }, (_, index) => rpc.request(`m${index}`, {})));
    const release = async (): Promise<void> => {
      const next = held.shift();
      if (next === undefined) return;
      next();
      await new Promise((resolve) => setImmediate(resolve));
      await release();
    };
    await new Promise((resolve) => setImmediate(resolve));
    await release();
    expect(await all).toEqual(Array.from({ length: 20 }, (_, index) => `m${index}`));
    expect(most).toBe(4);
  });

  it('fails what is open, waiting or new when it is lost, and says why', async () => {
    const end = farEnd(() => undefined);
    const rpc = new RpcConnection(end.transport, deaf, { maxInFlight: 1 });
    const requests = [rpc.request('open', {}), rpc.request('waiting', {})];
    await new Promise((resolve) => setImmediate(resolve));
    end.drop('cut');
    for (const request of requests) await expect(request).rejects.toMatchObject({ reason: 'connection-lost', message: expect.stringContaining('cut') as string });
    await expect(rpc.request('new', {})).rejects.toMatchObject({ reason: 'connection-lost' });
    expect(rpc.isClosed).toBe(true);
  });

  it('hears questions with id 0, and is not disturbed by what it does not understand', async () => {
    const heard: unknown[] = [];
    const end = farEnd(() => ({ result: 'fine' }));
    const rpc = new RpcConnection(end.transport, { ...deaf, request: (id, method) => heard.push([id, method]), notification: (method) => heard.push(method) });
    for (const text of ['garbage', '[]', '7', '{"id":99,"result":1}', '{"id":{},"method":"x"}', '{"error":{}}', '{"method":"told"}', '{"id":0,"method":"asked"}']) end.say(text);
    expect(heard).toEqual(['told', [0, 'asked']]);
    expect(await rpc.request('still', {})).toBe('fine');
  });

  it('gives up on an answer that does not come', async () => {
    const rpc = new RpcConnection(farEnd(() => undefined).transport, deaf, { timeoutMs: 5 });
    await expect(rpc.request('slow', {})).rejects.toMatchObject({ reason: 'timed-out' });
  });
});
