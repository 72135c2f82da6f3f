import { lstat, readdir } from 'node:fs/promises';
import type { Dirent, Stats } from 'node:fs';
import { absolutePath, childPath, parentPaths, type BytePath } from './bytePath';
import { ignoredAmong } from './ignored';
import { pathList } from './indexListing';
import { inShadow, type Shadow } from './shadow';

export type PathKind = 'file' | 'symlink' | 'directory' | 'special' | 'absent';

/** Looks at paths of a worktree without following symbolic links, neither the last part nor one above it. */
export class WorktreeLooker {
  private readonly directories = new Map<BytePath, boolean>();
  constructor(private readonly root: string) {}

  async kind(name: BytePath): Promise<PathKind> {
    for (const parent of parentPaths(name)) {
      let real = this.directories.get(parent);
      if (real === undefined) {
        real = (await this.stat(parent))?.isDirectory() ?? false;
        this.directories.set(parent, real);
      }
      if (!real) return 'absent';
    }
    const found = await this.stat(name);
    if (found === null) return 'absent';
    if (found.isFile()) return 'file';
    if (found.isSymbolicLink()) return 'symlink';
    return found.isDirectory() ? 'directory' : 'special';
  }

  private async stat(name: BytePath): Promise<Stats | null> {
    return lstat(absolutePath(this.root, name)).catch((error: unknown) => {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === 'ENOENT' || code === 'ENOTDIR') return null;
      throw error;
    });
  }
}

export interface Untracked {
  readonly files: readonly BytePath[];
  /** Repositories of their own inside the worktree; git does not look into them. */
  readonly nestedRepositories: readonly BytePath[];
}

/** Files that are neither tracked nor ignored. */
export async function listUntracked(shadow: Shadow, index: string, signal?: AbortSignal): Promise<Untracked> {
  const names = await pathList(['ls-files', '-o', '-z', '--exclude-standard'], inShadow(shadow, { index, signal }));
  return {
    files: names.filter((name) => !name.endsWith('/')),
    nestedRepositories: names.filter((name) => name.endsWith('/')).map((name) => name.slice(0, -1)),
  };
}

export interface LeftBehind {
  readonly emptyDirectories: readonly BytePath[];
  /** FIFOs, sockets and devices. */
  readonly special: readonly BytePath[];
}

/** What git has no place for: empty directories, and files that are not files, where they are not ignored. */
export async function listUnstorable(shadow: Shadow, nestedRepositories: readonly BytePath[], signal?: AbortSignal): Promise<LeftBehind> {
  const options = inShadow(shadow, { signal });
  const nested = new Set(nestedRepositories);
  const empty: BytePath[] = [];
  const special: BytePath[] = [];
  const walk = async (directory: BytePath): Promise<void> => {
    if (nested.has(directory)) return;
    const entries: Dirent<Buffer>[] = await readdir(absolutePath(shadow.worktree, directory), { withFileTypes: true, encoding: 'buffer' });
    if (entries.length === 0) empty.push(directory);
    for (const entry of entries) {
      if (entry.isDirectory()) await walk(childPath(directory, entry.name));
      else if (!entry.isFile() && !entry.isSymbolicLink()) special.push(childPath(directory, entry.name));
    }
  };
  // Git collapses what is wholly untracked to its topmost directory; below that only a walk tells.
  for (const name of await pathList(['ls-files', '-o', '-z', '--directory', '--exclude-standard'], options)) {
    if (name.endsWith('/')) await walk(name.slice(0, -1));
  }
  const ignored = await ignoredAmong([...empty, ...special], options);
  return { emptyDirectories: empty.filter((name) => !ignored.has(name)), special: special.filter((name) => !ignored.has(name)) };
}
