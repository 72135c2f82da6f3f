import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import writeFileAtomic from 'write-file-atomic';
import { carriedThread, type CarriedThread } from '../handoff/carriedThread';
import type { Log } from './log';
import { describeError } from './wireError';

const NAME = 'carried.json';

/** Keeps in a handoff's spool what Codex forgets when the thread is stopped, so that it can be put back also after a crash. */
export async function writeCarried(spool: string, carried: CarriedThread): Promise<void> {
  await mkdir(spool, { recursive: true, mode: 0o700 });
  await writeFileAtomic(join(spool, NAME), JSON.stringify(carried), { mode: 0o600, fsync: true });
}

/** What was kept there; null where the handoff had not come so far. */
export async function readCarried(spool: string, log: Log): Promise<CarriedThread | null> {
  try {
    return carriedThread.parse(JSON.parse(await readFile(join(spool, NAME), 'utf8')));
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) log.warn(`What a thread waited for before it was handed off cannot be read from ${spool}: ${describeError(error).message}`);
    return null;
  }
}
