import { once } from 'node:events';
import { Duplex, PassThrough } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Message } from 'vscode-jsonrpc/node';
import { connect, JsonLinesReader, JsonLinesWriter, parseMessage } from '../../src/host/jsonLines';
import type { Log } from '../../src/host/log';
import { socketPair } from '../fixtures/socketPair';

const message = (value: unknown): Message => value as Message;
const parse = (text: string) => parseMessage(Buffer.from(text));

function recordingLog(): Log & { readonly entries: string[] } {
  const entries: string[] = [];
  const add = (entry: string) => void entries.push(entry);
  return { entries, info: add, warn: add, error: add };
}

/** A stream whose reader takes one write at a time, when told. */
function gatedStream(): { readonly stream: Duplex; readonly takeOne: () => void } {
  const waiting: (() => void)[] = [];
  const stream = new Duplex({ read: () => undefined, write: (_chunk, _encoding, taken) => void waiting.push(() => taken()) });
  return { stream, takeOne: () => waiting.shift()?.() };
}

describe('reading JSON lines', () => {
  it('gives the same messages however the bytes are cut', () => {
    fc.assert(
      fc.property(fc.array(fc.record({ id: fc.nat(), method: fc.string(), params: fc.dictionary(fc.string(), fc.jsonValue()) }), { maxLength: 8 }), fc.array(fc.nat(400)), (messages, cuts) => {
        const expected = messages.map(({ params, ...rest }) => ({ ...rest, params, jsonrpc: '2.0' }));
        const bytes = Buffer.from(messages.map((each) => `${JSON.stringify(each)}\n`).join(''));
        const stream = new PassThrough();
        const heard: Message[] = [];
        new JsonLinesReader(stream).listen((each) => heard.push(each));
        let start = 0;
        for (const cut of [...cuts, bytes.length].filter((at) => at <= bytes.length).sort((a, b) => a - b)) {
          stream.emit('data', bytes.subarray(start, cut));
          start = cut;
        }
        expect(JSON.parse(JSON.stringify(heard))).toEqual(JSON.parse(JSON.stringify(expected), (key, value: unknown) => (key === '__proto__' ? undefined : value)));
      }),
    );
  });

  it('accepts a message without "jsonrpc", and null params as none', () => {
    expect(parse('{"id":0,"method":"m","params":null}')).toEqual({ id: 0, method: 'm', jsonrpc: '2.0' });
  });

  it.each([
    ['no JSON', 'hello'], ['half a message', '{"id":1'], ['a batch', '[{"id":1,"method":"m"}]'], ['a string', '"m"'], ['null', 'null'],
    ['an id that is an object', '{"id":{},"method":"m"}'], ['a method that is a number', '{"id":1,"method":2}'],
    ['params that are a string', '{"method":"m","params":"x"}'], ['a cancellation of nothing', '{"method":"$/cancelRequest"}'], ['an error that is a word', '{"id":1,"error":"bad"}'],
  ])('takes %s for no message', (_, text) => {
    expect(parse(text)).toBeUndefined();
  });

  it('takes bytes that are not UTF-8 for no message', () => {
    expect(parseMessage(Buffer.from([0x22, 0xff, 0x22]))).toBeUndefined();
  });

  it.each(['{"method":"m","params":{"a":{"__proto__":{"polluted":1}}}}', '{"method":"m","params":{"a":{"\\u005f_proto__":{"polluted":1}}}}'])('drops keys that could reach a prototype: %s', (text) => {
    const parsed = parse(text) as unknown as { params: { a: object } };
    expect(Object.getOwnPropertyNames(parsed.params.a)).toEqual([]);
    expect(Object.assign({}, parsed.params.a)).not.toHaveProperty('polluted');
  });

  it('skips a garbage line, says so without quoting it, and lives on', async () => {
    const [here, there] = await socketPair();
    const log = recordingLog();
    const connection = connect(here, { log });
    const heard = new Promise((resolve) => connection.onNotification('hello', resolve));
    connection.listen();
    there.write('my secret prompt\n\n{"method":"hello","params":{"n":1}}\n');
    expect(await heard).toEqual({ n: 1 });
    expect(log.entries).toEqual(['Ignored a line of 16 bytes that is no JSON-RPC message.']);
    connection.dispose();
  });

  it('closes on a line that never ends, without keeping it', async () => {
    const [here, there] = await socketPair();
    const connection = connect(here, { maxMessageBytes: 1000 });
    const closed = new Promise<void>((resolve) => connection.onClose(resolve));
    connection.listen();
    const chunk = 'x'.repeat(300);
    for (let written = 0; written < 1500; written += chunk.length) there.write(chunk);
    await closed;
    expect(here.destroyed).toBe(true);
  });
});

describe('writing JSON lines', () => {
  it('settles a write when the stream has taken it, not before', async () => {
    const { stream, takeOne } = gatedStream();
    const writer = new JsonLinesWriter(stream);
    const settled: string[] = [];
    const first = writer.write(message({ method: 'a' })).then(() => settled.push('first'));
    const second = writer.write(message({ method: 'b' })).then(() => settled.push('second'));
    takeOne();
    await first;
    expect(settled).toEqual(['first']);
    takeOne();
    await second;
    expect(settled).toEqual(['first', 'second']);
  });

  it('gives up on a reader that does not read', async () => {
    const { stream, takeOne } = gatedStream();
    const writer = new JsonLinesWriter(stream, 2000);
    const failed = once(stream, 'error');
    const writes = Promise.allSettled(Array.from({ length: 30 }, () => writer.write(message({ method: 'x'.repeat(100) }))));
    expect(String((await failed)[0])).toContain('does not read');
    takeOne();
    expect((await writes).slice(1).every((write) => write.status === 'rejected')).toBe(true);
  });

  it('refuses a message over the limit and can still send others', async () => {
    const stream = new PassThrough();
    const writer = new JsonLinesWriter(stream, undefined, 100);
    await expect(writer.write(message({ method: 'x'.repeat(200) }))).rejects.toThrow('over the limit');
    await writer.write(message({ method: 'm' }));
    expect(String(stream.read())).toBe('{"method":"m"}\n');
  });
});

describe('a connection', () => {
  it('carries requests both ways, also with id 0 and an empty result', async () => {
    const [here, there] = await socketPair();
    const [left, right] = [connect(here), connect(there)];
    left.onRequest((method) => `left ${method}`);
    right.onRequest(() => undefined);
    left.listen();
    right.listen();
    expect(await right.sendRequest('ask')).toBe('left ask');
    expect(await left.sendRequest('ask')).toBeNull();
    left.dispose();
  });

  it('rejects what still waits when the other side goes away', async () => {
    const [here, there] = await socketPair();
    const connection = connect(here);
    connection.listen();
    const waiting = connection.sendRequest('never');
    there.destroy();
    await expect(waiting).rejects.toThrow();
  });

  it('answers a request whose reply would be too long with an error', async () => {
    const [here, there] = await socketPair();
    const [left, right] = [connect(here), connect(there, { maxMessageBytes: 1000 })];
    right.onRequest(() => 'x'.repeat(2000));
    left.listen();
    right.listen();
    await expect(left.sendRequest('long')).rejects.toThrow('over the limit');
    left.dispose();
  });
});
