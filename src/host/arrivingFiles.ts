/**
 * Files that arrive over one connection or several. What counts as there is what was synced: a length noted beside the file
 * outlives a host that is killed and a machine that loses power, and what lies behind it is written anew.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, readFile, rm, stat, type FileHandle } from 'node:fs/promises';
import writeFileAtomic from 'write-file-atomic';
import { HostError } from './hostError';

/** A file that a transfer fills: where, how long it will be, and what it must be then. */
export interface ArrivingFile {
  readonly path: string;
  readonly bytes: number;
  /** Of the whole file, hex. */
  readonly sha256: string;
  /** The hash names the content and is none of the file's bytes; whoever uses the file checks it. */
  readonly named?: true;
  /** It need not be sent. */
  readonly held?: boolean;
}

/** So much may have to be sent again after a crash. */
const SYNC_EVERY_BYTES = 8 * 1024 * 1024;

/** The note of how much of a file that is not complete is surely on disk. */
export const safeNote = (path: string): string => `${path}.safe`;

/** How many bytes of a file are there for good: all of one that is complete, else what was synced. */
export async function safeLength({ path, bytes, held }: ArrivingFile): Promise<number> {
  if (held === true) return bytes;
  const there = await stat(path).then(({ size }) => size, unlessMissing(0));
  if (there >= bytes) return there === bytes ? bytes : 0;
  const noted = Number(await readFile(safeNote(path), 'utf8').catch(unlessMissing('0')));
  return Number.isSafeInteger(noted) && noted > 0 ? Math.min(there, noted) : 0;
}

/**
 * Writes a stream of bytes to one file after the other, each from where it ends to its announced length, and syncs them.
 *
 * @throws HostError `transfer-incomplete` where the stream ends early: what came stays; `transfer-corrupt` where it holds more than
 *   was announced, or where a file that did not come in one piece is not what was announced: it is removed then
 */
export async function receiveFiles(source: AsyncIterable<Buffer>, files: readonly ArrivingFile[]): Promise<void> {
  const writer = new FileWriter(files.filter(({ held }) => held !== true));
  try {
    await writer.open();
    for await (const chunk of source) await writer.write(chunk);
  } finally {
    await writer.close();
  }
  if (!writer.complete) throw new HostError('transfer-incomplete', 'The transfer ended before everything was there.');
  for (const file of writer.patched) await expectIntact(file);
}

class FileWriter {
  /** Files of which something was there already. Others are looked at when they are used. */
  readonly patched: ArrivingFile[] = [];
  private file: FileHandle | null = null;
  private length = 0;
  private synced = 0;

  constructor(private readonly pending: ArrivingFile[]) {}

  get complete(): boolean {
    return this.pending.length === 0;
  }

  /** Opens the first file that lacks something. */
  async open(): Promise<void> {
    for (let next = this.pending[0]; next !== undefined; next = this.pending[0]) {
      this.length = this.synced = await safeLength(next);
      if (this.length > 0) this.patched.push(next);
      if (this.length < next.bytes || next.bytes === 0) {
        this.file = await open(next.path, this.length === 0 ? 'w' : 'r+', 0o600);
        await this.file.truncate(this.length);
      }
      if (this.length < next.bytes) return;
      await this.close();
      this.pending.shift();
    }
  }

  async write(chunk: Buffer): Promise<void> {
    for (let rest = chunk; rest.length > 0; ) {
      const [current] = this.pending;
      if (this.file === null || current === undefined) throw new HostError('transfer-corrupt', 'The source sent more than it had announced.');
      const taken = rest.subarray(0, current.bytes - this.length);
      for (let written = 0; written < taken.length; ) written += (await this.file.write(taken, written, taken.length - written, this.length + written)).bytesWritten;
      this.length += taken.length;
      rest = rest.subarray(taken.length);
      if (this.length < current.bytes) {
        if (this.length - this.synced >= SYNC_EVERY_BYTES) await this.sync();
        continue;
      }
      await this.close();
      this.pending.shift();
      await this.open();
    }
  }

  async close(): Promise<void> {
    const { file } = this;
    this.file = null;
    if (file === null) return;
    try {
      await this.sync(file);
    } finally {
      await file.close();
    }
  }

  private async sync(file = this.file): Promise<void> {
    const [current] = this.pending;
    if (file === null || current === undefined) return;
    await file.sync();
    this.synced = this.length;
    if (this.length === current.bytes) await rm(safeNote(current.path), { force: true });
    else if (this.length > 0) await writeFileAtomic(safeNote(current.path), String(this.length), { mode: 0o600, fsync: true });
  }
}

async function expectIntact({ path, sha256, named }: ArrivingFile): Promise<void> {
  if (named === true) return;
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  if (hash.digest('hex') === sha256) return;
  await rm(path, { force: true });
  throw new HostError('transfer-corrupt', 'What arrived over several connections is not what was announced, so it was removed.');
}

/** Takes `value` for a file that is not there; any other failure stays one. */
export function unlessMissing<T>(value: T): (error: unknown) => T {
  return (error) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return value;
    throw error;
  };
}
