import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { brotliDecompressSync } from 'node:zlib';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { sealTail } from '../../src/host/sealTail';

const PIECE = 8 * 1024 * 1024;
/** Lines as an agent's conversation has them: compressible, and no two pieces alike. */
const conversation = Buffer.from(Array.from({ length: 90_000 }, (_, line) => `{"ordinal":${line},"text":"${randomBytes(48).toString('base64')} and so on and so on and so on and so on, once more"}\n`).join(''));

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'baton-tail-'));
});
afterEach(() => rm(directory, { recursive: true }));

async function* inChunks(bytes: Buffer, chunk: number): AsyncIterable<Buffer> {
  await Promise.resolve();
  for (let start = 0; start < bytes.length; start += chunk) yield bytes.subarray(start, start + chunk);
}
const seal = (name: string, bytes: Buffer, chunk = 262_144) => sealTail(inChunks(bytes, chunk), join(directory, name), new AbortController().signal);

it('the pieces together are the body, and each is what its hash says', async () => {
  const pieces = await seal('a', conversation);
  expect(pieces).toHaveLength(Math.ceil(conversation.length / PIECE));
  const plain: Buffer[] = [];
  for (const { path, bytes, sha256 } of pieces) {
    const content = await readFile(path);
    expect({ bytes: content.length, sha256: createHash('sha256').update(content).digest('hex') }).toEqual({ bytes, sha256 });
    plain.push(brotliDecompressSync(content));
  }
  expect(Buffer.concat(plain).equals(conversation)).toBe(true);
});

it('a rollout that has grown has the same pieces up to the one that grew, however it is read', async () => {
  const before = await seal('before', conversation.subarray(0, conversation.length - 1000));
  const after = await seal('after', conversation, 65_521);
  const hashes = (pieces: typeof before) => pieces.map(({ sha256 }) => sha256);
  expect(before.length).toBeGreaterThan(1);
  expect(hashes(after).slice(0, -1)).toEqual(hashes(before).slice(0, -1));
  expect(hashes(after).at(-1)).not.toBe(hashes(before).at(-1));
});

it('nothing to send is no piece', async () => {
  expect(await seal('none', Buffer.alloc(0))).toEqual([]);
});
