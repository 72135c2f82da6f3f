import type { Duplex } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { sortLocal, type BroughtStream } from '../../src/host/localDoor';
import { socketPair } from '../fixtures/socketPair';

/** What a connection that begins with these pieces is taken for, and all that comes on it afterwards. */
async function sorted(...pieces: readonly string[]): Promise<{ what: BroughtStream | 'controller' | 'nothing'; text: string }> {
  const [here, there] = await socketPair();
  here.on('error', () => undefined);
  const result = new Promise<{ what: BroughtStream | 'controller' | 'nothing'; stream: Duplex | null }>((resolve) => {
    sortLocal(there, { controller: (stream) => resolve({ what: 'controller', stream }), brought: (stream, what) => resolve({ what, stream }) });
    there.once('close', () => resolve({ what: 'nothing', stream: null }));
  });
  for (const piece of pieces) {
    here.write(piece);
    await new Promise(setImmediate);
  }
  here.end();
  const { what, stream } = await result;
  let text = '';
  if (stream !== null) for await (const chunk of stream) text += String(chunk);
  return { what, text };
}

describe('a local connection', () => {
  const ticket = 'ab'.repeat(16);
  it.each([
    ['of a controller', ['{"id":1}\n', '{"id":2}\n'], 'controller', '{"id":1}\n{"id":2}\n'],
    ['of a controller that begins with white space', [' {}\n'], 'controller', ' {}\n'],
    ['of a controller that says nonsense', ['bat{}\n'], 'controller', 'bat{}\n'],
    ['that brings a channel', ['baton channel\n', 'bytes'], { kind: 'channel' }, 'bytes'],
    ['that brings a channel, in one piece', ['baton channel\nbytes'], { kind: 'channel' }, 'bytes'],
    ['that brings a channel, in many pieces', ['b', 'aton', ' chan', 'nel', '\n', 'by', 'tes'], { kind: 'channel' }, 'bytes'],
    ['that answers a call', [`baton callback ${ticket}\nbytes`], { kind: 'callback', ticket }, 'bytes'],
    ['that answers no ticket', ['baton callback ../..\nbytes'], 'nothing', ''],
    ['that brings something else', ['baton else\nbytes'], 'nothing', ''],
    ['that never ends its line', [`baton ${'x'.repeat(100)}`], 'nothing', ''],
  ] as const)('%s', async (_, pieces, what, text) => {
    expect(await sorted(...pieces)).toEqual({ what, text });
  });
});
