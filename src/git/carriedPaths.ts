import { readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { nulTerminated, type BytePath } from './bytePath';
import type { WorktreeLooker } from './worktreeScan';

/**
 * Untracked files that arrived from a host where they are not ignored, in a worktree on a host where they are. They
 * belong to the working state, so they are listed (NUL-terminated) in the worktree's Git directory and travel on.
 */
const FILE = 'baton-carried';
/** Files that were written as the content of their LFS pointers, on a host where attributes may not say that they are such. */
const LFS_FILE = 'baton-lfs';

/** Those that are still there. */
export async function carriedPaths(gitDir: string, looker: WorktreeLooker): Promise<BytePath[]> {
  const present: BytePath[] = [];
  for (const name of await readList(gitDir, FILE)) {
    const kind = await looker.kind(name);
    if (kind === 'file' || kind === 'symlink') present.push(name);
  }
  return present;
}

export async function writeCarriedPaths(gitDir: string, names: readonly BytePath[]): Promise<void> {
  await writeFile(path.join(gitDir, FILE), nulTerminated(names));
}

/** Those that the last restore here wrote; they may be something else by now. */
export async function carriedLfsPaths(gitDir: string): Promise<BytePath[]> {
  return readList(gitDir, LFS_FILE);
}

export async function writeCarriedLfsPaths(gitDir: string, names: readonly BytePath[]): Promise<void> {
  if (names.length === 0) await rm(path.join(gitDir, LFS_FILE), { force: true });
  else await writeFile(path.join(gitDir, LFS_FILE), nulTerminated(names));
}

async function readList(gitDir: string, file: string): Promise<BytePath[]> {
  const list = await readFile(path.join(gitDir, file), 'latin1').catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  });
  return list.split('\0').filter((name) => name !== '');
}
