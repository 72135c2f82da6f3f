import { lstat, mkdir, rmdir } from 'node:fs/promises';
import { absolutePath, parentPaths, pathForPeople, type BytePath } from './bytePath';
import { GitError } from './gitError';

/** Makes a directory with those above it, where nothing else is. @throws {GitError} `worktree-diverged` below a symbolic link */
export async function makeDirectory(root: string, name: BytePath): Promise<void> {
  if (await isBelowLink(root, `${name}/`)) throw new GitError('worktree-diverged', `${pathForPeople(name)} in ${root}, or a directory above it, became something else while it was being restored. Let other programs finish there, then try again.`);
  await mkdir(absolutePath(root, name), { recursive: true });
}

/** Whether something above a path is no directory, so that what is done there would happen elsewhere. Git looks in the same way before it writes. */
export async function isBelowLink(root: string, name: BytePath): Promise<boolean> {
  for (const above of parentPaths(name)) {
    const found = await lstat(absolutePath(root, above)).catch(unlessAbsent);
    if (found === null) return false;
    if (!found.isDirectory()) return true;
  }
  return false;
}

/** Removes a directory and those above it, as far as they are empty; never the root. */
export async function removeEmpty(root: string, name: BytePath): Promise<void> {
  if (name === '' || (await isBelowLink(root, name))) return;
  for (const directory of [name, ...parentPaths(name).reverse()]) {
    const emptied = await rmdir(absolutePath(root, directory)).then(() => true, unlessUnremovable);
    if (emptied !== true) return;
  }
}

/** Whether an error of the file system says that nothing is there. */
export function isAbsent(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '');
}

/** Whether something is at a place, be it a link that leads nowhere. */
export async function isThere(place: string | Buffer): Promise<boolean> {
  return (await lstat(place).catch(unlessAbsent)) !== null;
}

/** @throws the error, unless nothing is there */
export function unlessAbsent(error: unknown): null {
  if (isAbsent(error)) return null;
  throw error;
}

function unlessUnremovable(error: unknown): null {
  const { code } = error as NodeJS.ErrnoException;
  // Something is mounted on the last.
  if (code === 'ENOTEMPTY' || code === 'EEXIST' || code === 'EBUSY') return null;
  return unlessAbsent(error);
}
