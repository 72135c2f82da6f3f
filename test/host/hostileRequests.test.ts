/** What a controller or a peer may put on the wire that no client of ours would (transfer.md, H25). */
import { createInterface } from 'node:readline';
import type { Duplex } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { localOperator } from '../../src/host/access';
import { Controllers, type Implementations } from '../../src/host/controllers';
import { silentLog } from '../../src/host/log';
import { PeerLink } from '../../src/host/peerLink';
import { methods, PROTOCOL_VERSION } from '../../src/host/protocol';
import { remoteControlOff } from '../fixtures/remoteControlOff';
import { socketPair } from '../fixtures/socketPair';

const hostId = 'A'.repeat(43);
const threadId = '0199abcd-0000-7000-8000-000000000000';

interface Reply {
  readonly id?: unknown;
  readonly result?: unknown;
  readonly error?: { readonly code: number; readonly data?: { readonly reason: string } };
}

/** The far end of a connection, on which raw lines are written, and what reached the host over it. */
interface Wire {
  readonly stream: Duplex;
  readonly replies: AsyncIterator<string>;
  readonly reached: unknown[];
  /** A request that is answered, with the id 7. */
  readonly honest: object;
}

async function toController(): Promise<Wire> {
  const reached: unknown[] = [];
  const reach = (params: unknown) => {
    reached.push(params);
    return Promise.resolve({});
  };
  const implementations = Object.fromEntries(Object.keys(methods).map((method) => [method, reach])) as unknown as Implementations;
  const initialize = () => Promise.resolve({ baton: { protocolVersion: PROTOCOL_VERSION, hostId, name: 'test', role: 'operator' as const } });
  const controllers = new Controllers({ implementations, log: silentLog, initialize, forward: (_, params) => reach(params), remoteControl: remoteControlOff });
  const [here, there] = await socketPair();
  controllers.serve(there, localOperator);
  const replies = createInterface({ input: here })[Symbol.asyncIterator]();
  here.write('{"id":1,"method":"initialize","params":{"clientInfo":{"name":"test","version":"0"}}}\n');
  // The answer, and what each controller is told at its beginning.
  await replies.next();
  await replies.next();
  return { stream: here, replies, reached, honest: { id: 7, method: 'approval/list', params: { threadId } } };
}

async function toPeer(): Promise<Wire> {
  const reached: unknown[] = [];
  const reach = (params: unknown) => {
    reached.push(params);
    return Promise.resolve({ claims: [] });
  };
  const [here, there] = await socketPair();
  new PeerLink(there, hostId, '0'.repeat(64), { 'handoff/claims': reach }, silentLog);
  return { stream: here, replies: createInterface({ input: here })[Symbol.asyncIterator](), reached, honest: { id: 7, method: 'handoff/claims', params: { claims: [] } } };
}

const hostile: readonly (readonly [what: string, line: string])[] = [
  ['the name of a prototype as a method', '{"id":2,"method":"__proto__","params":{}}'],
  ['a constructor as a method', '{"id":2,"method":"constructor","params":{}}'],
  ['a method of every object', '{"id":2,"method":"hasOwnProperty","params":{}}'],
  ['a method that is no text', '{"id":2,"method":{"toString":1},"params":{}}'],
  ['params that reach for a prototype', '{"id":2,"method":"approval/list","params":{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"threadId":"x"}}'],
  ['nesting without an end', `{"id":2,"method":"approval/list","params":${'['.repeat(200_000)}${']'.repeat(200_000)}}`],
  ['nesting that is cut off', `{"id":2,"method":"approval/list","params":${'{"a":'.repeat(100_000)}`],
  ['a million keys', `{"id":2,"method":"approval/list","params":{${Array.from({ length: 1_000_000 }, (_, index) => `"k${index}":0`).join(',')},"threadId":1}}`],
  ['a key twice, the second of which does not fit', `{"id":2,"method":"approval/list","params":{"threadId":"${threadId}","threadId":"../x"}}`],
  ['a number beyond all bounds', '{"id":2,"method":"handoff/claims","params":{"claims":[{"threadId":1e400}]}}'],
  ['an id that is an object', '{"id":{"a":1},"method":"handoff/start","params":{}}'],
  ['an id that is a fraction', '{"id":1.5,"method":"handoff/start","params":{}}'],
  ['an id that is true', '{"id":true,"method":"handoff/start","params":{}}'],
  ['no id at all, so that it is a notification', `{"method":"handoff/start","params":{"threadId":"${threadId}","to":"${hostId}"}}`],
  ['a batch', `[{"id":2,"method":"handoff/start","params":{"threadId":"${threadId}","to":"${hostId}"}}]`],
  ['an answer that nobody asked for', '{"id":99,"result":{}}'],
  ['an error that nobody asked for', '{"id":99,"error":{"code":"x"}}'],
  ['text', '"handoff/start"'],
  ['nothing', 'null'],
  ['bytes that are no text', '\u0000\u0001\ufffd{'],
];

describe.each([['a controller', toController], ['a peer', toPeer]] as const)('%s', (_, open) => {
  it.each(hostile)('that sends %s gets nothing done by it, and is served on', async (_what, line) => {
    const { stream, replies, reached, honest } = await open();
    stream.write(`${line}\n${JSON.stringify(honest)}\n`);
    let last: Reply = {};
    while (last.id !== 7) {
      const next = await replies.next();
      if (next.done === true) throw new Error('The connection was ended.');
      last = JSON.parse(next.value) as Reply;
      if (last.id !== 7) expect(last).toMatchObject({ error: { code: expect.any(Number) as number } });
    }
    expect(last.error).toBeUndefined();
    expect(reached).toHaveLength(1);
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
    stream.destroy();
  });
});
