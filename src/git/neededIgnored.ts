import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import type { BytePath } from './bytePath';
import { includedFiles, readIncludeList } from './includedFiles';

/** After so many ignored files no more are looked at: they lie in few directories. */
const MOST_FILES = 50_000;

/**
 * Ignored files and directories (ending in `/`) at the root of a checkout that its project seems to need: `.env*`, and what its
 * `.worktreeinclude` lists. Each is the first part of a path.
 *
 * @param most so many are named
 */
export async function neededIgnored(root: string, most: number, signal?: AbortSignal): Promise<BytePath[]> {
  const listed = await readIncludeList(root).catch(() => null);
  const temporary = await mkdtemp(path.join(os.tmpdir(), 'baton-needed-'));
  const tops = new Set<BytePath>();
  try {
    let files = 0;
    for await (const name of includedFiles(root, Buffer.concat([listed ?? Buffer.alloc(0), Buffer.from('\n/.env*\n')]), temporary, () => undefined, signal)) {
      const [top = name] = name.split('/', 1);
      tops.add(top === name ? name : `${top}/`);
      if (tops.size === most || ++files === MOST_FILES) break;
    }
    return [...tops];
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}
