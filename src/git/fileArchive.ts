import { createHash, type Hash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { z } from 'zod';
import { parentPaths } from './bytePath';
import { GitError } from './gitError';

/**
 * Files as they cross to another host, in one stream: for each the length of its header (32 bits, big-endian), the header as
 * JSON, and its bytes. They come in git's order, without twins.
 */
const header = z.strictObject({
  // eslint-disable-next-line no-control-regex -- every byte but NUL is allowed
  path: z.string().min(1).max(4096).regex(/^[\u0001-\u00ff]+$/),
  /** Permission bits: what runs as another user does not travel. */
  mode: z.number().int().min(0).max(0o777),
  mtimeMs: z.number().min(0).max(8.64e15),
  bytes: z.number().int().nonnegative(),
  /** Permission bits of the directories above it, the outermost first. */
  directories: z.array(z.number().int().min(0).max(0o777)).max(2048),
});
export type FileHeader = z.infer<typeof header>;

export interface ArchivedFile extends FileHeader {
  /** Where its bytes begin in the archive. */
  readonly offset: number;
}

const LENGTH_BYTES = 4;
const MOST_HEADER_BYTES = 64 * 1024;
export const CHUNK_BYTES = 256 * 1024;

export function encodeHeader(file: FileHeader): Buffer {
  const json = Buffer.from(JSON.stringify(header.parse(file)));
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt32BE(json.length);
  return Buffer.concat([length, json]);
}

/** Reads the headers of an archive; its files' bytes are passed over. @throws {GitError} `hostile-content` for what is none */
export async function* archivedFiles(archive: FileHandle): AsyncGenerator<ArchivedFile, void, undefined> {
  const { size } = await archive.stat();
  let before = '';
  for (let position = 0; position < size; ) {
    const length = (await exactly(archive, position, LENGTH_BYTES)).readUInt32BE();
    if (length > MOST_HEADER_BYTES) throw malformed('a header is too long');
    const parsed = header.safeParse(parseJson(await exactly(archive, position + LENGTH_BYTES, length)));
    if (!parsed.success) throw malformed('a header is none');
    const file = parsed.data;
    if (file.path <= before) throw malformed('its files are not in order');
    if (file.directories.length !== parentPaths(file.path).length) throw malformed('a path and its directories do not fit');
    const offset = position + LENGTH_BYTES + length;
    if (offset + file.bytes > size) throw malformed('it ends within a file');
    yield { ...file, offset };
    before = file.path;
    position = offset + file.bytes;
  }
}

/** The bytes of a file in an archive. */
export async function* archivedContent(archive: FileHandle, { offset, bytes }: ArchivedFile): AsyncGenerator<Buffer, void, undefined> {
  for (let done = 0; done < bytes; ) {
    const chunk = await exactly(archive, offset + done, Math.min(CHUNK_BYTES, bytes - done));
    yield chunk;
    done += chunk.length;
  }
}

async function exactly(archive: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await archive.read(buffer, done, length - done, position + done);
    if (bytesRead === 0) throw malformed('it ends too early');
    done += bytesRead;
  }
  return buffer;
}

/** Hashes what an archive says: names, modes, and for each file the SHA-256 of its content. Both ends of a handoff come to the same. */
export class ArchiveDigest {
  private readonly hash: Hash = createHash('sha256');

  add({ path, mode, bytes }: Pick<FileHeader, 'path' | 'mode' | 'bytes'>, sha256: string): void {
    this.hash.update(`${path}\0${mode.toString(8)} ${bytes} ${sha256}\n`, 'latin1');
  }

  hex(): string {
    return this.hash.digest('hex');
  }
}

export async function sha256Of(content: AsyncIterable<Buffer>): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of content) hash.update(chunk);
  return hash.digest('hex');
}

function malformed(why: string): GitError {
  return new GitError('hostile-content', `The ignored files arrived in a form that cannot be read: ${why}. None was placed.`);
}

function parseJson(text: Buffer): unknown {
  try {
    return JSON.parse(text.toString('utf8'));
  } catch {
    return undefined;
  }
}
