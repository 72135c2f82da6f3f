import { existsSync, type BigIntStats, type Dirent } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { absolutePath, childPath, parentPaths, type BytePath } from './bytePath';
import { ignoredAmong } from './ignored';
import { pathList } from './indexListing';
import { inShadow, type Shadow } from './shadow';

export type PathKind = 'file' | 'symlink' | 'directory' | 'special' | 'absent';

/** What lies at a path, and enough of its numbers to notice that something else does. */
export interface Sighting {
  readonly kind: PathKind;
  readonly executable: boolean;
  readonly bytes: number;
  /** Equal as long as nobody writes there. */
  readonly signature: string;
}

const nothing: Sighting = { kind: 'absent', executable: false, bytes: 0, signature: 'absent' };
/** As many at once as keep the thread pool busy. */
const AT_ONCE = 64;

/** Looks at paths of a worktree without following symbolic links, neither the last part nor one above it. */
export class WorktreeLooker {
  private readonly directories = new Map<BytePath, boolean>();
  constructor(private readonly root: string) {}

  async kind(name: BytePath): Promise<PathKind> {
    return (await this.look(name)).kind;
  }

  async look(name: BytePath): Promise<Sighting> {
    for (const parent of parentPaths(name)) {
      let real = this.directories.get(parent);
      if (real === undefined) {
        real = (await this.stat(parent))?.isDirectory() ?? false;
        this.directories.set(parent, real);
      }
      if (!real) return nothing;
    }
    const found = await this.stat(name);
    return found === null ? nothing : sightingOf(found);
  }

  /** {@link look} for many paths, in their order. */
  async lookAll(names: Iterable<BytePath>): Promise<Map<BytePath, Sighting>> {
    const list = [...names];
    const seen = new Map<BytePath, Sighting>();
    for (let start = 0; start < list.length; start += AT_ONCE) {
      const some = list.slice(start, start + AT_ONCE);
      const sightings = await Promise.all(some.map((name) => this.look(name)));
      for (const [position, name] of some.entries()) seen.set(name, sightings[position] ?? nothing);
    }
    return seen;
  }

  private async stat(name: BytePath): Promise<BigIntStats | null> {
    return lstat(absolutePath(this.root, name), { bigint: true }).catch((error: unknown) => {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === 'ENOENT' || code === 'ENOTDIR') return null;
      throw error;
    });
  }
}

export function sightingOf(found: BigIntStats): Sighting {
  const kind = found.isFile() ? 'file' : found.isSymbolicLink() ? 'symlink' : found.isDirectory() ? 'directory' : 'special';
  // A directory's times change with what lies in it, which is looked at by itself.
  const signature = kind === 'directory' ? kind : [found.mode, found.size, found.mtimeNs, found.ctimeNs, found.ino].join(' ');
  return { kind, executable: (found.mode & 0o100n) !== 0n, bytes: Number(found.size), signature };
}

export interface Untracked {
  readonly files: readonly BytePath[];
  /** Repositories of their own inside the worktree; git does not look into them. */
  readonly nestedRepositories: readonly BytePath[];
  /** The topmost directories without a tracked file; what is in them may be ignored. */
  readonly directories: readonly BytePath[];
}

/** More directories than this, and git looks through everything once more instead. */
const NAMED_DIRECTORIES = 200;

/**
 * Files that are neither tracked nor ignored.
 *
 * @param how `below` the untracked directories only, or `everywhere`, where a directory may stand in the place of a tracked file
 */
export async function listUntracked(shadow: Shadow, signal?: AbortSignal, how: 'below' | 'everywhere' = 'below'): Promise<Untracked> {
  const options = inShadow(shadow, { signal });
  const list = ['ls-files', '-o', '-z', '--exclude-standard'];
  const topmost = await pathList([...list, '--directory'], options);
  const directories = withoutSlash(topmost);
  if (directories.length === 0 && how === 'below') return { files: topmost, nestedRepositories: [], directories };
  // Git walks into a repository that it is given by name. Arguments are text, so other names are found by a walk through everything.
  // eslint-disable-next-line no-control-regex -- ASCII is what is asked for
  const nameable = how === 'below' && directories.length <= NAMED_DIRECTORIES && directories.every((name) => /^[\u0001-\u007f]*$/.test(name) && !existsSync(absolutePath(shadow.worktree, `${name}/.git`)));
  const within = await pathList(nameable ? [...list, '--', ...directories.map((name) => `${name}/`)] : list, options);
  const files = nameable ? [...topmost.filter((name) => !name.endsWith('/')), ...within] : within;
  return { files: files.filter((name) => !name.endsWith('/')), nestedRepositories: withoutSlash(within), directories };
}

function withoutSlash(names: readonly BytePath[]): BytePath[] {
  return names.filter((name) => name.endsWith('/')).map((name) => name.slice(0, -1));
}

export interface LeftBehind {
  readonly emptyDirectories: readonly BytePath[];
  /** FIFOs, sockets and devices. */
  readonly special: readonly BytePath[];
}

/** What git has no place for: empty directories, and files that are not files, where they are not ignored. */
export async function listUnstorable(shadow: Shadow, untracked: Untracked, signal?: AbortSignal): Promise<LeftBehind> {
  const nested = new Set(untracked.nestedRepositories);
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
  for (const name of untracked.directories) await walk(name);
  const ignored = await ignoredAmong([...empty, ...special], inShadow(shadow, { signal }));
  return { emptyDirectories: empty.filter((name) => !ignored.has(name)), special: special.filter((name) => !ignored.has(name)) };
}
