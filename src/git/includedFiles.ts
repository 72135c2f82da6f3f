import { constants, type Dirent } from 'node:fs';
import { lstat, mkdir, open, readdir, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { absolutePath, bytePath, childPath, parentPaths, type BytePath } from './bytePath';
import { nulRecords, streamGit } from './git';
import { ignoredAmong, tellIgnored } from './ignored';
import type { Skip, SkipReason } from './includeTally';
import { checkPath } from './pathNames';
import { createShadow, inShadow } from './shadow';

/** The user's list of ignored files that a worktree gets a copy of: gitignore syntax, at the root of the repository. */
export const INCLUDE_FILE = '.worktreeinclude';
/** Longer lists are not read. */
const LIST_BYTES = 1024 * 1024;

/**
 * Reads the list of a checkout. Null where there is none.
 *
 * @throws {Error} with a sentence, for one that is no plain file or is too long
 */
export async function readIncludeList(root: string): Promise<Buffer | null> {
  const handle = await open(path.join(root, INCLUDE_FILE), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch((error: unknown) => {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return null;
    throw code === 'ELOOP' ? new Error(`${INCLUDE_FILE} in ${root} is a symbolic link, which is not followed. Put a plain file in its place.`) : error;
  });
  if (handle === null) return null;
  try {
    const found = await handle.stat();
    if (!found.isFile()) throw new Error(`${INCLUDE_FILE} in ${root} is no plain file.`);
    if (found.size > LIST_BYTES) throw new Error(`${INCLUDE_FILE} in ${root} is longer than ${LIST_BYTES} bytes. Shorten it with patterns for whole directories.`);
    return await handle.readFile();
  } finally {
    await handle.close();
  }
}

/**
 * The files of a checkout that are ignored there, untracked, and match the patterns; git itself decides on both. They come one
 * by one, sorted by git, and are not looked at yet. What lies in a repository of its own is no part of them.
 *
 * @param temporary directory of the caller's, for the patterns
 */
export async function* includedFiles(root: string, patterns: Buffer, temporary: string, skip: Skip, signal?: AbortSignal): AsyncGenerator<BytePath, void, undefined> {
  const file = path.join(temporary, 'patterns');
  await writeFile(file, patterns, { mode: 0o600 });
  const matching = (async function* () {
    for await (const record of nulRecords(streamGit(['ls-files', '-o', '-i', '-z', `--exclude-from=${file}`], { cwd: root, signal }))) {
      const name = bytePath(record);
      // Git names a repository inside the working tree with a slash, and does not look into it.
      if (name.endsWith('/')) skip(name.slice(0, -1), 'nested-repository');
      else if (isGitName(name)) skip(name, 'git-directory');
      else yield name;
    }
  })();
  for await (const { path: name, ignored } of tellIgnored(matching, { cwd: root, signal })) if (ignored) yield name;
}

/** Whether a part of the path is `.git`, in any spelling that some file system takes for it. */
function isGitName(name: BytePath): boolean {
  try {
    checkPath(name, '100644', { caseInsensitive: false, windows: false });
    return false;
  } catch {
    return true;
  }
}

/**
 * Of `names`, those that a worktree can take: ignored and untracked there too, in real directories or new ones, and in no
 * other repository. A file that is no ignored one there would change the worktree's state, and so would rules of git's in a directory
 * that is not ignored itself.
 */
export async function* takenBy(worktree: string, names: AsyncIterable<BytePath>, skip: Skip, signal?: AbortSignal): AsyncGenerator<BytePath, void, undefined> {
  const submodules = new Set<BytePath>();
  for await (const record of nulRecords(streamGit(['ls-files', '-s', '-z'], { cwd: worktree, signal }))) {
    const entry = bytePath(record);
    if (entry.startsWith('160000 ')) submodules.add(entry.slice(entry.indexOf('\t') + 1));
  }
  const directories = new Map<BytePath, SkipReason | null>();
  const obstacle = async (directory: BytePath): Promise<SkipReason | null> => {
    const known = directories.get(directory);
    if (known !== undefined) return known;
    const found = await lstat(absolutePath(worktree, directory)).catch(() => null);
    let why: SkipReason | null = null;
    if (submodules.has(directory) || (found?.isDirectory() === true && (await lstat(absolutePath(worktree, `${directory}/.git`)).catch(() => null)) !== null)) why = 'nested-repository';
    else if (found !== null && !found.isDirectory()) why = 'in-the-way';
    directories.set(directory, why);
    return why;
  };
  // Git gives up altogether where a path leads through a link or into a submodule, so these are kept from it.
  const possible = (async function* () {
    for await (const name of names) {
      const above = parentPaths(name);
      const why = submodules.has(name) ? 'nested-repository' : await firstOf(above, obstacle);
      if (why !== null) skip(name, why);
      else if (!isRules(name)) yield name;
      else if (above.length === 0) skip(name, 'git-rules');
      else yield* [`${above.at(-1) ?? ''}/`, name];
    }
  })();
  let aboveIgnored = false;
  for await (const { path: name, ignored } of tellIgnored(possible, { cwd: worktree, signal })) {
    if (name.endsWith('/')) aboveIgnored = ignored;
    else if (!ignored) skip(name, 'not-ignored-there');
    else if (isRules(name) && !aboveIgnored) skip(name, 'git-rules');
    else yield name;
  }
}

/** Files in which git looks for rules, except where their directory is ignored. */
function isRules(name: BytePath): boolean {
  return /(^|\/)\.git(ignore|attributes)$/i.test(name);
}

async function firstOf(names: readonly BytePath[], find: (name: BytePath) => Promise<SkipReason | null>): Promise<SkipReason | null> {
  for (const name of names) {
    const found = await find(name);
    if (found !== null) return found;
  }
  return null;
}

/** As many special files as are looked at; nobody has more that are worth a name. */
const SPECIAL_LIMIT = 1000;

/** FIFOs, sockets and devices that the patterns name; git passes over them in silence. */
export async function reportSpecialFiles(root: string, patterns: Buffer, temporary: string, skip: Skip, signal?: AbortSignal): Promise<void> {
  const found: BytePath[] = [];
  const walk = async (directory: BytePath): Promise<void> => {
    signal?.throwIfAborted();
    const entries: Dirent<Buffer>[] = await readdir(absolutePath(root, directory), { withFileTypes: true, encoding: 'buffer' }).catch(() => []);
    if (directory !== '' && entries.some((entry) => entry.name.toString('latin1') === '.git')) return;
    for (const entry of entries) {
      if (found.length >= SPECIAL_LIMIT) return;
      if (entry.isDirectory()) {
        if (entry.name.toString('latin1') !== '.git') await walk(childPath(directory, entry.name));
      } else if (!entry.isFile() && !entry.isSymbolicLink()) found.push(childPath(directory, entry.name));
    }
  };
  await walk('');
  if (found.length === 0) return;
  const ignored = await ignoredAmong(found, { cwd: root, signal });
  for (const name of await matchedBy(patterns, [...ignored], temporary, signal)) skip(name, 'special-file');
}

/** Which names the patterns match by themselves: asked in an empty working tree, where no other rules are. */
async function matchedBy(patterns: Buffer, names: readonly BytePath[], temporary: string, signal?: AbortSignal): Promise<Set<BytePath>> {
  const worktree = path.join(temporary, 'empty');
  await mkdir(worktree, { recursive: true });
  const excludes = path.join(temporary, 'patterns');
  await writeFile(excludes, patterns, { mode: 0o600 });
  const shadow = await createShadow(path.join(temporary, 'shadow'), { worktree, objectFormat: 'sha1', objects: [], settings: { values: new Map(), excludesFile: os.devNull }, shallow: [], excludes });
  return ignoredAmong(names, inShadow(shadow, { signal }));
}
