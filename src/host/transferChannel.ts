import type { z } from 'zod';
import { HostError } from './hostError';
import { transferHeader } from './peerProtocol';

/** The header names a handoff and a thread. */
const MAX_HEADER_BYTES = 1024;

/** Reads the first line of a transfer channel, and what came with it. */
export async function readHeader(chunks: AsyncIterator<Buffer>): Promise<{ header: z.infer<typeof transferHeader>; rest: Buffer }> {
  let seen = Buffer.alloc(0);
  while (seen.length <= MAX_HEADER_BYTES) {
    const next = await chunks.next();
    if (next.done === true) break;
    seen = Buffer.concat([seen, next.value]);
    const end = seen.indexOf(0x0a);
    const header = end < 0 || end > MAX_HEADER_BYTES ? undefined : transferHeader.safeParse(parseJson(seen.subarray(0, end))).data;
    if (header !== undefined) return { header, rest: seen.subarray(end + 1) };
    if (end >= 0) break;
  }
  throw new HostError('transfer-corrupt', 'A transfer channel must begin with its header line.');
}

function parseJson(line: Buffer): unknown {
  try {
    return JSON.parse(line.toString('utf8'));
  } catch {
    return undefined;
  }
}

/** The bytes behind the header: what came with it, then the rest. */
export async function* following(first: Buffer, chunks: AsyncIterableIterator<Buffer>): AsyncIterable<Buffer> {
  if (first.length > 0) yield first;
  yield* chunks;
}
