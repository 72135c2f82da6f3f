import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { receiveFiles, safeLength, safeNote, type ArrivingFile } from '../../src/host/arrivingFiles';
import { HostError } from '../../src/host/hostError';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'baton-arriving-'));
});
afterEach(() => rm(directory, { recursive: true }));

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
const arriving = (name: string, content: Buffer): ArrivingFile => ({ path: join(directory, name), bytes: content.length, sha256: sha256(content) });

/** A connection that carries `bytes` in chunks and then ends, or breaks. */
async function* carrying(bytes: Buffer, chunk: number, breaks: boolean): AsyncIterable<Buffer> {
  await Promise.resolve();
  for (let start = 0; start < bytes.length; start += chunk) yield bytes.subarray(start, start + chunk);
  if (breaks) throw new Error('The connection broke.');
}

const reasonOf = (attempt: Promise<unknown>) => attempt.then(() => null, (error: unknown) => (HostError.is(error) ? error.reason : String(error)));

describe('what arrives over two connections is whole where the first one broke', () => {
  const CHUNK = 4096;
  const contents = [randomBytes(3 * CHUNK), Buffer.alloc(0), randomBytes(CHUNK + 1)];
  const all = Buffer.concat(contents);
  it.each([
    ['before the first byte', 0],
    ['after one byte', 1],
    ['one byte before the edge of a chunk', CHUNK - 1],
    ['at the edge of a chunk', CHUNK],
    ['one byte behind it', CHUNK + 1],
    ['one byte before the end of a file', 3 * CHUNK - 1],
    ['between two files', 3 * CHUNK],
    ['in the last file', 3 * CHUNK + 1],
    ['before the last byte', all.length - 1],
    ['after the last byte', all.length],
  ])('%s', async (_, at) => {
    const files = contents.map((content, index) => arriving(String(index), content));
    expect(await reasonOf(receiveFiles(carrying(all.subarray(0, at), CHUNK, true), files))).toBe('Error: The connection broke.');
    const lengths = await Promise.all(files.map(safeLength));
    expect(lengths.reduce((sum, length) => sum + length, 0)).toBe(at);
    await receiveFiles(carrying(all.subarray(at), 1000, false), files);
    for (const [index, { path }] of files.entries()) expect(await readFile(path)).toEqual(contents[index]);
    expect(files.some(({ path }) => existsSync(safeNote(path)))).toBe(false);
  });
});

it('a transfer that ends early keeps what came, and says that there is more', async () => {
  const content = randomBytes(5000);
  const file = arriving('a', content);
  expect(await reasonOf(receiveFiles(carrying(content.subarray(0, 4000), 512, false), [file]))).toBe('transfer-incomplete');
  expect(await safeLength(file)).toBe(4000);
});

it('what is held is neither expected nor written', async () => {
  const content = randomBytes(100);
  const held = { ...arriving('held', randomBytes(50)), held: true };
  await receiveFiles(carrying(content, 512, false), [held, arriving('a', content)]);
  expect(existsSync(held.path)).toBe(false);
  expect(await safeLength(held)).toBe(50);
});

it('more than was announced is refused', async () => {
  const content = randomBytes(100);
  expect(await reasonOf(receiveFiles(carrying(Buffer.concat([content, Buffer.from('x')]), 512, false), [arriving('a', content)]))).toBe('transfer-corrupt');
});

it('what a machine that lost power left behind the note is written anew', async () => {
  const content = randomBytes(5000);
  const file = arriving('a', content);
  await receiveFiles(carrying(content.subarray(0, 2000), 512, false), [file]).catch(() => undefined);
  // The length is on disk, the bytes are not.
  await writeFile(file.path, Buffer.concat([content.subarray(0, 2000), Buffer.alloc(1500)]));
  expect(await safeLength(file)).toBe(2000);
  await receiveFiles(carrying(content.subarray(2000), 512, false), [file]);
  expect(await readFile(file.path)).toEqual(content);
});

it.each(['', 'x', '-1', '1e99', '5001', 'NaN', '1.5'])('a note that says %j counts no byte that is not there', async (note) => {
  const file = arriving('a', randomBytes(5000));
  await writeFile(file.path, Buffer.alloc(10));
  await writeFile(safeNote(file.path), note);
  expect([0, 10]).toContain(await safeLength(file));
});

it('a file without a note, or longer than announced, is begun anew', async () => {
  const content = randomBytes(5000);
  const file = arriving('a', content);
  await writeFile(file.path, content.subarray(0, 100));
  expect(await safeLength(file)).toBe(0);
  await writeFile(file.path, Buffer.alloc(5001));
  expect(await safeLength(file)).toBe(0);
  await receiveFiles(carrying(content, 512, false), [file]);
  expect(await readFile(file.path)).toEqual(content);
});

it('two contents are never mixed: what was begun as another is noticed at the end, and removed', async () => {
  const [one, other] = [randomBytes(5000), randomBytes(5000)];
  await receiveFiles(carrying(one.subarray(0, 2000), 512, false), [arriving('a', one)]).catch(() => undefined);
  const file = arriving('a', other);
  expect(await reasonOf(receiveFiles(carrying(other.subarray(2000), 512, false), [file]))).toBe('transfer-corrupt');
  expect(existsSync(file.path)).toBe(false);
  await receiveFiles(carrying(other, 512, false), [file]);
  expect(await readFile(file.path)).toEqual(other);
});

it('a host that is killed finds what was synced meanwhile', async () => {
  const content = randomBytes(40 * 1024 * 1024);
  const file = arriving('a', content);
  let seen = 0;
  const stalled = (async function* () {
    yield* carrying(content.subarray(0, 30 * 1024 * 1024), 65_536, false);
    // The writer has taken all of it, and has not been told of an end.
    seen = await safeLength(file);
    throw new Error('killed');
  })();
  await receiveFiles(stalled, [file]).catch(() => undefined);
  expect(seen).toBeGreaterThanOrEqual(14 * 1024 * 1024);
  expect(seen).toBeLessThan((await stat(file.path)).size);
});
