/**
 * Reading rollouts: the append-only files in which Codex keeps its threads. Line 1 (`session_meta`) tells of this machine
 * and is rewritten where the thread lands; all that follows, the body, is the same bytes on every host that has it.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { basename } from 'node:path';
import { Readable } from 'node:stream';
import { z } from 'zod';
import { CodexError } from './codexError';

const namePattern = /^rollout-(\d{4})-(\d{2})-(\d{2})T\d{2}-\d{2}-\d{2}-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:_([0-9A-Za-z-]{1,64}))?\.jsonl$/;

/** What the name of a rollout says: whose it is, on which day it was begun, and whether it is a later segment of its thread. */
export type RolloutName = { threadId: string; segmentId: string | null; day: readonly [year: string, month: string, day: string] };

/** Reads a rollout's file name; null if it is none. The pattern admits no separator and no `..`, so such a name is safe to join to a folder. */
export function parseRolloutName(name: string): RolloutName | null {
  const match = namePattern.exec(name);
  if (match === null) return null;
  const [, year, month, day, threadId, segmentId] = match;
  return { threadId: threadId ?? '', segmentId: segmentId ?? null, day: [year ?? '', month ?? '', day ?? ''] };
}

/** As what another rollout names one in its `history_base`: a segment by its own id, the first file of a thread by the thread's. */
export function baseIdOf(name: string): string | null {
  const parsed = parseRolloutName(name);
  return parsed === null ? null : (parsed.segmentId ?? parsed.threadId);
}

const meta = z.looseObject({
  type: z.literal('session_meta'),
  payload: z.looseObject({
    id: z.string(),
    cwd: z.string(),
    parent_thread_id: z.string().nullish(),
    forked_from_id: z.string().nullish(),
    history_base: z.looseObject({ thread_id: z.string(), end_byte_offset: z.number().int().nonnegative().optional() }).nullish(),
    model_provider: z.string().nullish(),
    cli_version: z.string().nullish(),
    source: z.unknown().optional(),
  }),
});
export type RolloutMeta = z.infer<typeof meta>;

/** Parses line 1 of a rollout. @throws CodexError `rollout-invalid` */
export function parseMetaLine(line: string, what: string): RolloutMeta {
  try {
    return meta.parse(JSON.parse(line));
  } catch (cause) {
    throw new CodexError('rollout-invalid', `The rollout ${what} does not begin with a session_meta line that Baton can read, so the thread cannot be moved.`, { cause });
  }
}

/** Line 1 holds the model's base instructions (22 kB in Codex 0.169) and any dynamic tools; far beyond that it is no rollout. */
export const maxMetaLineBytes = 16 * 1024 * 1024;
const chunkBytes = 256 * 1024;
const newline = 0x0a;

/** Line 1 of a rollout, without its newline. @throws CodexError `rollout-invalid` when it is torn or too long, `rollout-compressed` */
export async function readMetaLine(path: string): Promise<string> {
  return withRollout(path, (file) => metaLineOf(file, path));
}

async function metaLineOf(file: FileHandle, path: string): Promise<string> {
  const parts: Buffer[] = [];
  for (let position = 0; position < maxMetaLineBytes; ) {
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(chunkBytes), 0, chunkBytes, position);
    if (bytesRead === 0) break;
    const part = buffer.subarray(0, bytesRead);
    const end = part.indexOf(newline);
    parts.push(end < 0 ? part : part.subarray(0, end));
    if (end >= 0) return Buffer.concat(parts).toString('utf8');
    position += bytesRead;
  }
  throw new CodexError('rollout-invalid', `The rollout ${path} has no complete first line.`);
}

export type RolloutDescription = {
  /** File name. */
  name: string;
  /** Line 1 without its newline. */
  metaLine: string;
  /** Length of the body: the complete lines after line 1. A torn last line does not count. */
  bodyBytes: number;
  /** SHA-256 of the body, hex. */
  bodySha256: string;
  /** Ordinal of the last complete line; null in a legacy rollout, which numbers none, and without a body. */
  lastOrdinal: number | null;
};

/**
 * Measures and hashes a rollout in one pass, in constant memory: threads of 300 MB exist.
 * @throws CodexError `rollout-invalid`, `rollout-compressed`, `rollout-missing`
 */
export async function describeRollout(path: string): Promise<RolloutDescription> {
  return withRollout(path, async (file) => {
    const metaLine = await metaLineOf(file, path);
    const name = basename(path);
    const { threadId } = parseRolloutName(name) ?? {};
    if (threadId === undefined || parseMetaLine(metaLine, name).payload.id !== threadId) {
      throw new CodexError('rollout-invalid', `The rollout ${path} is not named for the thread that it holds.`);
    }
    const start = Buffer.byteLength(metaLine) + 1;
    const hash = createHash('sha256');
    let bodyBytes = 0;
    let torn: Buffer[] = [];
    for await (const chunk of createReadStream(path, { start, highWaterMark: chunkBytes }) as AsyncIterable<Buffer>) {
      const end = chunk.lastIndexOf(newline) + 1;
      if (end === 0) {
        torn.push(chunk);
        continue;
      }
      for (const part of [...torn, chunk.subarray(0, end)]) {
        hash.update(part);
        bodyBytes += part.length;
      }
      torn = end === chunk.length ? [] : [chunk.subarray(end)];
    }
    return { name, metaLine, bodyBytes, bodySha256: hash.digest('hex'), lastOrdinal: bodyBytes === 0 ? null : await ordinalBefore(file, start, start + bodyBytes) };
  });
}

const numbered = z.looseObject({ ordinal: z.number().int().nonnegative() });

/** The ordinal of the line that ends at byte `end`. */
async function ordinalBefore(file: FileHandle, start: number, end: number): Promise<number | null> {
  const parts: Buffer[] = [];
  for (let position = end - 1; position > start; ) {
    const length = Math.min(chunkBytes, position - start);
    position -= length;
    const part = Buffer.allocUnsafe(length);
    await file.read(part, 0, length, position);
    const before = part.lastIndexOf(newline);
    parts.unshift(before < 0 ? part : part.subarray(before + 1));
    if (before >= 0) break;
  }
  try {
    const line = numbered.safeParse(JSON.parse(Buffer.concat(parts).toString('utf8')));
    return line.success ? line.data.ordinal : null;
  } catch {
    return null;
  }
}

/**
 * SHA-256, hex, of the first `bytes` bytes of a rollout's body.
 * @throws CodexError `rollout-invalid` when the body is shorter, `rollout-compressed`, `rollout-missing`
 */
export async function hashBodyPrefix(path: string, bytes: number): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of readBody(path, 0, bytes) as AsyncIterable<Buffer>) hash.update(chunk);
  return hash.digest('hex');
}

/** Bytes `from` (inclusive) to `to` (exclusive) of a rollout's body. The stream fails with a CodexError `rollout-invalid` if there are fewer. */
export function readBody(path: string, from: number, to: number): Readable {
  return Readable.from(bodyBytes(path, from, to), { objectMode: false });
}

async function* bodyBytes(path: string, from: number, to: number): AsyncGenerator<Buffer> {
  const start = Buffer.byteLength(await readMetaLine(path)) + 1;
  let missing = to - from;
  if (missing <= 0) return;
  for await (const chunk of createReadStream(path, { start: start + from, end: start + to - 1, highWaterMark: chunkBytes }) as AsyncIterable<Buffer>) {
    missing -= chunk.length;
    yield chunk;
  }
  if (missing > 0) throw new CodexError('rollout-invalid', `The rollout ${path} ends ${missing} bytes before byte ${to} of its body. It was cut short; the thread must be sent anew.`);
}

async function withRollout<T>(path: string, use: (file: FileHandle) => Promise<T>): Promise<T> {
  if (path.endsWith('.zst')) {
    throw new CodexError('rollout-compressed', `Codex has compressed the rollout ${path}, and Baton reads plain ones only. Open the thread once in Codex, which writes it out again, then retry.`);
  }
  const file = await open(path, 'r').catch((cause: unknown) => {
    throw new CodexError('rollout-missing', `The rollout ${path} cannot be opened: ${cause instanceof Error ? cause.message : String(cause)}.`, { cause });
  });
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}
