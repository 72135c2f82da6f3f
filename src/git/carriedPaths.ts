import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { nulTerminated, type BytePath } from './bytePath';
import type { WorktreeLooker } from './worktreeScan';

/**
 * Untracked files that arrived from a host where they are not ignored, in a worktree on a host where they are. They
 * belong to the working state, so they are listed (NUL-terminated) in the worktree's Git directory and travel on.
 */
const FILE = 'baton-carried';

/** Those that are still there. */
export async function carriedPaths(gitDir: string, looker: WorktreeLooker): Promise<BytePath[]> {
  const list = await readFile(path.join(gitDir, FILE), 'latin1').catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  });
  const present: BytePath[] = [];
  for (const name of list.split('\0')) {
    if (name === '') continue;
    const kind = await looker.kind(name);
    if (kind === 'file' || kind === 'symlink') present.push(name);
  }
  return present;
}

export async function writeCarriedPaths(gitDir: string, names: readonly BytePath[]): Promise<void> {
  await writeFile(path.join(gitDir, FILE), nulTerminated(names));
}
