import { createHash } from 'node:crypto';
import { lstat, open, readdir } from 'node:fs/promises';
import path from 'node:path';
import { absolutePath, childPath, parentPaths, type BytePath } from './bytePath';
import { ignoredAmong } from './ignored';
import { placeIn } from './submodules';

/** What of a worktree's ignored files would be lost with it. */
export interface IgnoredFiles {
  /** Names of what can be made again: dependencies, build output, caches. At most {@link NAMED}. */
  readonly rebuilt: readonly BytePath[];
  /** Files that are the same in the user's own checkout. */
  readonly copies: number;
  /** Files that nothing else is known to have: at most {@link NAMED} names, and a SHA-256 over all of them. */
  readonly own: { readonly count: number; readonly bytes: number; readonly names: readonly BytePath[]; readonly digest: string };
}

/** A SHA-256 that names a list of paths. */
export function digestOf(names: readonly BytePath[]): string {
  return createHash('sha256').update(names.map((name) => `${name}\0`).join(''), 'latin1').digest('hex');
}

/** Directories whose content programs make again from what is tracked. */
const REBUILT_DIRECTORIES = new Set([
  'node_modules', 'bower_components', 'jspm_packages', '.pnpm-store', '.yarn', 'vendor', 'Pods', '.bundle', 'deps', '_build',
  '.venv', 'venv', '.tox', '.nox', '__pycache__', '.mypy_cache', '.pytest_cache', '.ruff_cache', '.eggs', 'site-packages',
  'target', 'build', 'dist', 'out', 'obj', '.gradle', '.next', '.nuxt', '.svelte-kit', '.turbo', '.parcel-cache', '.angular', '.vite', '.cache',
  'coverage', '.nyc_output', 'DerivedData', 'cmake-build-debug', 'cmake-build-release', 'elm-stuff', '.dart_tool', '.stack-work', 'dist-newstyle', '.vscode-test',
]);
/** Not among them: editors' swap files, which may hold the only unsaved text, logs, `.tmp`, and `.obj`, which may be a 3D model. */
const REBUILT_FILES = /^(\.DS_Store|Thumbs\.db|\.eslintcache|\.coverage|.*\.(pyc|pyo|o|a|so|dylib|dll|class|tsbuildinfo|egg-info|gcda|gcno))$/;

/** Files that are looked at in one worktree; with more the rest counts as files that nothing else has. */
const LOOKED_AT = 5_000;
const NAMED = 20;
const COMPARED_BYTES = 64 * 1024 * 1024;

/** Whether a path is, by its names, something that programs make again. */
export function isRebuilt(name: BytePath): boolean {
  return [...parentPaths(name), name].some((part) => REBUILT_DIRECTORIES.has(part.slice(part.lastIndexOf('/') + 1))) || REBUILT_FILES.test(name.slice(name.lastIndexOf('/') + 1));
}

/**
 * Looks at the ignored paths that git named. Links are not followed.
 *
 * @param entries as `git status --ignored=traditional` has them, directories with a slash at the end
 * @param checkout the user's own checkout of the repository, in which a file may be as well
 * @param carried ignored files that belong to the working state all the same
 */
export async function readIgnored(root: string, entries: readonly BytePath[], checkout: string, carried: ReadonlySet<BytePath>): Promise<IgnoredFiles> {
  const rebuilt: BytePath[] = [];
  const own = { count: 0, bytes: 0 };
  const names: BytePath[] = [];
  let copies = 0;
  let looked = 0;
  const look = async (name: BytePath): Promise<void> => {
    if (carried.has(name)) return;
    if (isRebuilt(name)) {
      if (rebuilt.length < NAMED) rebuilt.push(name);
      return;
    }
    const found = await lstat(absolutePath(root, name)).catch(() => null);
    if (found === null) return;
    if (found.isDirectory()) {
      for (const entry of await readdir(absolutePath(root, name), { encoding: 'buffer' })) await look(childPath(name, entry));
      return;
    }
    // A FIFO or a socket has no content, and where a link leads stays there.
    if (!found.isFile()) return;
    if (++looked <= LOOKED_AT && (await sameFile(absolutePath(root, name), absolutePath(checkout, name), found.size))) {
      copies++;
      return;
    }
    own.count++;
    own.bytes += found.size;
    names.push(name);
  };
  for (const entry of entries) await look(entry.replace(/\/$/, ''));
  names.sort();
  return { rebuilt, copies, own: { ...own, names: names.slice(0, NAMED), digest: digestOf(names) } };
}

/**
 * Repositories anywhere in a worktree besides its own and those of its submodules, ignored ones above all: a clone below `vendor` or
 * `build` may have commits that are nowhere else. Walks everything, which takes about as long as to delete it; links are not followed.
 *
 * @returns the directories that have a `.git`, and ignored ones that are a Git directory themselves (bare ones; git lists what is in others)
 */
export async function repositoriesBelow(root: string, submodules: ReadonlySet<BytePath>): Promise<BytePath[]> {
  const found: BytePath[] = [];
  const waiting: BytePath[] = [''];
  for (let place = waiting.pop(); place !== undefined; place = waiting.pop()) {
    const entries = await readdir(place === '' ? root : absolutePath(root, place), { encoding: 'buffer', withFileTypes: true }).catch(() => []);
    const names = new Set(entries.map(({ name }) => name.toString('latin1')));
    const isBare = !names.has('.git') && ['HEAD', 'objects', 'refs'].every((name) => names.has(name));
    if (place !== '' && !submodules.has(place) && (names.has('.git') || (isBare && (await isIgnored(root, place, submodules))))) found.push(place);
    for (const entry of entries) if (entry.isDirectory() && entry.name.toString('latin1') !== '.git') waiting.push(childPath(place, entry.name));
  }
  return found.sort();
}

async function isIgnored(root: string, place: BytePath, submodules: ReadonlySet<BytePath>): Promise<boolean> {
  const submodule = parentPaths(place).findLast((parent) => submodules.has(parent));
  const [cwd, name] = submodule === undefined ? [root, place] : [placeIn(root, submodule), place.slice(submodule.length + 1)];
  return (await ignoredAmong([name], { cwd })).has(name);
}

async function sameFile(a: Buffer | string, b: Buffer | string, bytes: number): Promise<boolean> {
  const other = await lstat(b).catch(() => null);
  if (other?.isFile() !== true || other.size !== bytes || bytes > COMPARED_BYTES) return false;
  const handles = await Promise.all([open(a, 'r'), open(b, 'r')]).catch(() => null);
  if (handles === null) return false;
  try {
    const [one, two] = await Promise.all(handles.map((handle) => handle.readFile()));
    return one !== undefined && two !== undefined && one.equals(two);
  } finally {
    await Promise.all(handles.map((handle) => handle.close()));
  }
}

/** Bytes on disk of a directory and all below it; a file with several names counts once. Links are not followed. */
export async function diskUsage(directory: string): Promise<number> {
  const seen = new Set<string>();
  let bytes = 0;
  const waiting: string[] = [directory];
  const next = async (): Promise<void> => {
    for (let place = waiting.pop(); place !== undefined; place = waiting.pop()) {
      const entries = await readdir(place, { withFileTypes: true }).catch(() => []);
      for (let start = 0; start < entries.length; start += 64) {
        await Promise.all(entries.slice(start, start + 64).map(async (entry) => {
          const name = path.join(place, entry.name);
          if (entry.isDirectory()) waiting.push(name);
          const found = await lstat(name).catch(() => null);
          if (found === null) return;
          if (found.nlink > 1 && !found.isDirectory()) {
            if (seen.has(`${found.dev} ${found.ino}`)) return;
            seen.add(`${found.dev} ${found.ino}`);
          }
          // Blocks of 512 bytes, whatever the file system's own are (stat(2)); Windows does not tell them.
          bytes += process.platform === 'win32' ? found.size : found.blocks * 512;
        }));
      }
    }
  };
  await next();
  return bytes;
}
