import { existsSync, type BigIntStats, type Dirent } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { absolutePath, childPath, parentPaths, pathForPeople, type BytePath } from './bytePath';
import { GitError } from './gitError';
import { ignoredAmong } from './ignored';
import { pathList } from './indexListing';
import { inShadow, type Shadow } from './shadow';

export type PathKind = 'file' | 'symlink' | 'directory' | 'special' | 'absent';

/** What lies at a path, and enough of its numbers to notice that something else does. */
export interface Sighting {
  readonly kind: PathKind;
  readonly executable: boolean;
  readonly bytes: number;
  /** Equal as long as nobody writes there, once the file's time has settled (see {@link settle}). */
  readonly signature: string;
  /** The same, but for what a rename or a link changes too. */
  readonly identity: string;
  /** When it was last changed in any way, Unix time in nanoseconds; 0 for a directory. */
  readonly changedNs: bigint;
}

const nothing: Sighting = { kind: 'absent', executable: false, bytes: 0, signature: 'absent', identity: 'absent', changedNs: 0n };
/** Kernels note times by a clock that ticks every 1 to 16 ms. */
const TICK_MS = 20;
/** File systems that know whole seconds only, at worst every other one. */
const COARSE_TICK_MS = 2000;
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
      throw unreadable(this.root, name, (error as Error).message, error);
    });
  }
}

export function sightingOf(found: BigIntStats): Sighting {
  const kind = found.isFile() ? 'file' : found.isSymbolicLink() ? 'symlink' : found.isDirectory() ? 'directory' : 'special';
  // A directory's times change with what lies in it, which is looked at by itself.
  const identity = kind === 'directory' ? kind : [found.mode, found.size, found.mtimeNs, found.ino].join(' ');
  const signature = kind === 'directory' ? kind : `${identity} ${found.ctimeNs}`;
  return { kind, executable: (found.mode & 0o100n) !== 0n, bytes: Number(found.size), signature, identity, changedNs: kind === 'directory' ? 0n : found.ctimeNs };
}

/**
 * Waits until whatever is written from now on gets another time than what was seen: within one tick of the file system's clock a
 * file can change twice, and look the same. Only files that changed a moment ago have to be waited for.
 */
export async function settle(sightings: Iterable<Sighting>): Promise<void> {
  const now = Date.now();
  let wait = 0;
  for (const { changedNs } of sightings) {
    const tick = changedNs % 1_000_000_000n === 0n ? COARSE_TICK_MS : TICK_MS;
    const age = now - Number(changedNs / 1_000_000n);
    // A time in the future is another machine's, and says nothing about how long to wait; one tick is all that can be done.
    if (age < tick) wait = Math.max(wait, Math.min(tick, tick - age));
  }
  if (wait > 0) await delay(wait);
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

/**
 * The entries of a directory of a worktree; null where it is gone or no directory any more, which whoever looks once more will see.
 *
 * @throws {GitError} `unsupported-state` where this account may not look into it: git would pass over it without a word
 */
async function entriesOf(root: string, directory: BytePath): Promise<Dirent<Buffer>[] | null> {
  const place = directory === '' ? root : absolutePath(root, directory);
  try {
    const entries = await readdir(place, { withFileTypes: true, encoding: 'buffer' });
    // Names can be listed where files cannot be looked at: that takes another permission.
    await lstat(Buffer.concat([Buffer.from(place), Buffer.from('/.')]));
    return entries;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    throw unreadable(root, directory, message, error);
  }
}

/** What cannot be read cannot be carried, and is not to be dropped silently. */
export function unreadable(root: string, name: BytePath, why: string, cause: unknown): GitError {
  return new GitError('unsupported-state', `${name === '' ? root : `${pathForPeople(name)} in ${root}`} could not be read: ${why}. Make it readable, or let git ignore it.`, { cause });
}

/** FIFOs, sockets and devices among tracked files that git does not ignore: it takes no notice of them. Follows no symbolic link. */
export async function listSpecial(shadow: Shadow, trackedDirectories: readonly BytePath[], signal?: AbortSignal): Promise<BytePath[]> {
  const tracked = new Set(trackedDirectories.flatMap((directory) => [...parentPaths(directory), directory]));
  const special: BytePath[] = [];
  for (let level: BytePath[] = ['']; level.length > 0;) {
    const below: BytePath[] = [];
    for (let start = 0; start < level.length; start += AT_ONCE) {
      const some = level.slice(start, start + AT_ONCE);
      const listed = await Promise.all(some.map((directory) => entriesOf(shadow.worktree, directory)));
      for (const [position, directory] of some.entries()) {
        for (const entry of listed[position] ?? []) {
          if (entry.isFile() || entry.isSymbolicLink()) continue;
          const name = childPath(directory, entry.name);
          if (!entry.isDirectory()) special.push(name);
          else if (tracked.has(name)) below.push(name);
        }
      }
    }
    level = below;
  }
  const ignored = await ignoredAmong(special, inShadow(shadow, { signal }));
  return special.filter((name) => !ignored.has(name));
}

export interface LeftBehind {
  readonly emptyDirectories: readonly BytePath[];
  /** FIFOs, sockets and devices. */
  readonly special: readonly BytePath[];
}

/** What git has no place for in some directories without tracked files: empty ones, and files that are not files, where they are not ignored. */
export async function listUnstorable(shadow: Shadow, directories: readonly BytePath[], nestedRepositories: readonly BytePath[], signal?: AbortSignal): Promise<LeftBehind> {
  // One that stands in the place of a tracked file may hold others that git lists.
  const seen = new Set(nestedRepositories);
  const empty: BytePath[] = [];
  const special: BytePath[] = [];
  const walk = async (directory: BytePath): Promise<void> => {
    if (seen.has(directory)) return;
    seen.add(directory);
    const entries = await entriesOf(shadow.worktree, directory);
    if (entries === null) return;
    if (entries.length === 0) empty.push(directory);
    for (const entry of entries) {
      if (entry.isDirectory()) await walk(childPath(directory, entry.name));
      else if (!entry.isFile() && !entry.isSymbolicLink()) special.push(childPath(directory, entry.name));
    }
  };
  for (const name of directories) await walk(name);
  const ignored = await ignoredAmong([...empty, ...special], inShadow(shadow, { signal }));
  return { emptyDirectories: empty.filter((name) => !ignored.has(name)), special: special.filter((name) => !ignored.has(name)) };
}
