import { Buffer } from 'node:buffer';
import type { Duplex } from 'node:stream';

const MOST_LINE_BYTES = 16 * 1024;

/** The first line of a stream, without its line feed; what follows it stays there. Rejects with a SyntaxError for one that is too long, and where the stream or `signal` ends first. */
export function firstLine(stream: Duplex, signal?: AbortSignal): Promise<string> {
  let received = Buffer.alloc(0);
  let stop: () => void = () => undefined;
  return new Promise<string>((resolve, reject) => {
    const onData = (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      const end = received.indexOf(0x0a);
      if (end < 0 && received.length <= MOST_LINE_BYTES) return;
      stop();
      stream.pause();
      if (end < 0) reject(new SyntaxError('It says something else.'));
      else {
        if (received.length > end + 1) stream.unshift(received.subarray(end + 1));
        resolve(received.toString('utf8', 0, end));
      }
    };
    const onEnd = () => reject(new Error('the connection ended.'));
    const onAbort = () => reject(new Error('it did not answer in time.'));
    stop = () => {
      stream.off('data', onData).off('error', reject).off('end', onEnd).off('close', onEnd);
      signal?.removeEventListener('abort', onAbort);
    };
    stream.on('data', onData).on('error', reject).on('end', onEnd).on('close', onEnd);
    signal?.addEventListener('abort', onAbort, { once: true });
    if (signal?.aborted === true) onAbort();
  }).finally(stop);
}
