import { execFile } from 'node:child_process';

/**
 * Waits until what was written before is on the disk, so that the next measurement does not pay for the last one: thousands
 * of files that were just made or removed slow down whoever makes the next. Where there is no sync(1), it does not wait.
 */
export function quietDisk(): Promise<void> {
  return new Promise((fulfil) => execFile('sync', () => fulfil()));
}
