import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { brotliCompress, constants } from 'node:zlib';

/**
 * Plain bytes of a piece of a rollout. Pieces begin at the same bytes as long as the destination holds the same of it, and the
 * same bytes are compressed alike: so a rollout that has grown since is sent again from the piece that changed.
 */
const PIECE_BYTES = 8 * 1024 * 1024;
/** Quality 1 shrinks a transcript nearly threefold at well over 100 MB/s; more would take longer than most links. */
const compression = { params: { [constants.BROTLI_PARAM_QUALITY]: 1, [constants.BROTLI_PARAM_MODE]: constants.BROTLI_MODE_TEXT } };
const compress = promisify(brotliCompress);

export interface SealedPiece {
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
}

/**
 * Compresses what the destination lacks of a rollout into the files `<prefix>-0`, `<prefix>-1`, …, each for 8 MiB of it. Memory stays
 * that of a few pieces.
 */
export async function sealTail(body: AsyncIterable<Buffer>, prefix: string, signal: AbortSignal): Promise<SealedPiece[]> {
  const sealed: SealedPiece[] = [];
  for await (const plain of inPieces(body, PIECE_BYTES)) {
    signal.throwIfAborted();
    const content = await compress(plain, compression);
    const path = `${prefix}-${sealed.length}`;
    await writeFile(path, content, { mode: 0o600 });
    sealed.push({ path, bytes: content.length, sha256: createHash('sha256').update(content).digest('hex') });
  }
  return sealed;
}

async function* inPieces(stream: AsyncIterable<Buffer>, bytes: number): AsyncGenerator<Buffer> {
  let held: Buffer[] = [];
  let length = 0;
  for await (const chunk of stream) {
    for (let rest = chunk; rest.length > 0; ) {
      const taken = rest.subarray(0, bytes - length);
      held.push(taken);
      length += taken.length;
      rest = rest.subarray(taken.length);
      if (length < bytes) continue;
      yield Buffer.concat(held);
      held = [];
      length = 0;
    }
  }
  if (length > 0) yield Buffer.concat(held);
}
