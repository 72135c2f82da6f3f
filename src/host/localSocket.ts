import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';

/** `sun_path` holds 104 bytes on macOS and 108 on Linux, a terminating zero included. The shorter one holds everywhere. */
const MAX_SOCKET_PATH_BYTES = 103;
const fits = (path: string) => Buffer.byteLength(path) <= MAX_SOCKET_PATH_BYTES;

/** Where a host whose home is too deep for a socket writes down where its socket is. */
export const socketPathFile = (batonHome: string): string => join(batonHome, 'host.socket-path');

/**
 * Where the host of `batonHome` listens, or would: `host.sock` in its home; where that path is too long for a socket, a path
 * under the temporary directory that the host records in `host.socket-path`; on Windows a named pipe.
 */
export function localSocketPath(batonHome: string): string {
  const tag = createHash('sha256').update(batonHome).digest('hex').slice(0, 24);
  if (process.platform === 'win32') return `\\\\.\\pipe\\baton-${userInfo().username}-${tag}`;
  const inHome = join(batonHome, 'host.sock');
  if (fits(inHome)) return inHome;
  return recordedPath(batonHome) ?? join(fits(join(tmpdir(), shortName(tag))) ? tmpdir() : '/tmp', shortName(tag));
}

const shortName = (tag: string) => join(`baton-${process.getuid?.() ?? 0}-${tag}`, 'host.sock');

/** TMPDIR may differ between the host and who looks for it, so what the host wrote down counts. */
function recordedPath(batonHome: string): string | undefined {
  try {
    const path = readFileSync(socketPathFile(batonHome), 'utf8').trim();
    return isAbsolute(path) && fits(path) && dirname(path) !== path ? path : undefined;
  } catch {
    return undefined;
  }
}
