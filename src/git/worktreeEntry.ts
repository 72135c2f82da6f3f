import { lstat, mkdir, readdir, readFile, realpath, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';

/**
 * How a linked worktree and its entry in the repository know each other: `<worktree>/.git` is a file that names
 * `<repository>/worktrees/<name>`, whose file `gitdir` names `<worktree>/.git` (gitrepository-layout(5)).
 */
export type Whereabouts =
  /** Both agree. */
  | { readonly is: 'here'; readonly gitDir: string }
  /** The directory lies elsewhere by now. */
  | { readonly is: 'moved'; readonly to: string; readonly gitDir: string }
  /** There is no directory; git may still have the entry. */
  | { readonly is: 'gone'; readonly gitDir: string | null }
  /** There is a directory, and it and the repository do not know each other. `gitDir` where that can be mended. */
  | { readonly is: 'unlinked'; readonly gitDir: string | null; readonly why: string };

/** The Git directory that the `.git` file of a worktree names; null where there is no such file. */
export async function pointerOf(worktree: string): Promise<string | null> {
  const text = await readFile(path.join(worktree, '.git'), 'utf8').catch(() => '');
  const named = /^gitdir: (.+?)\r?\n?$/.exec(text)?.[1];
  return named === undefined ? null : path.resolve(worktree, named);
}

/** The directory of which an entry says that it is its worktree; null where the entry is gone or not git's. */
async function backPointerOf(gitDir: string): Promise<string | null> {
  const text = (await readFile(path.join(gitDir, 'gitdir'), 'utf8').catch(() => '')).trim();
  return text === '' ? null : path.dirname(path.resolve(gitDir, text));
}

/**
 * Where the worktree is that should be at `worktree`.
 *
 * @param known its entry as it was last seen, if it was
 * @param base where else to look for one that was moved
 */
export async function locateWorktree(worktree: string, known: string | null, base: string): Promise<Whereabouts> {
  const entryThere = known !== null && (await isEntry(known));
  if (!(await isDirectory(worktree))) {
    if (!entryThere) return { is: 'gone', gitDir: null };
    const places = [await backPointerOf(known), ...(await worktreesBelow(base))];
    for (const place of places) if (place !== null && place !== worktree && (await same(await pointerOf(place), known))) return { is: 'moved', to: place, gitDir: known };
    return { is: 'gone', gitDir: known };
  }
  const pointer = await pointerOf(worktree);
  if (pointer === null) {
    const own = await lstat(path.join(worktree, '.git')).then(() => true, () => false);
    if (own) return { is: 'unlinked', gitDir: null, why: 'another repository lies in its place' };
    const other = entryThere ? await claimant(known, worktree) : null;
    if (other !== null && known !== null) return { is: 'moved', to: other, gitDir: known };
    return { is: 'unlinked', gitDir: entryThere ? known : null, why: 'its .git file is gone' };
  }
  if (!(await isEntry(pointer))) return { is: 'unlinked', gitDir: null, why: `the repository has no entry ${pointer} for it any more` };
  if (known !== null && !(await same(pointer, known))) return { is: 'unlinked', gitDir: null, why: 'its .git file names another worktree' };
  if (await same(await backPointerOf(pointer), worktree)) return { is: 'here', gitDir: pointer };
  // A copy (cp -a) says the same of itself, and must not get what is the original's.
  const other = await claimant(pointer, worktree);
  if (other !== null) return { is: 'unlinked', gitDir: null, why: `${other} is that worktree too, and the one that git knows. Delete the .git file of the one that is a copy` };
  return { is: 'unlinked', gitDir: pointer, why: 'the repository looks for it elsewhere' };
}

/** The worktree that an entry is of, where that is another directory than `worktree` and says so too. */
async function claimant(gitDir: string, worktree: string): Promise<string | null> {
  const back = await backPointerOf(gitDir);
  return back !== null && !(await same(back, worktree)) && (await same(await pointerOf(back), gitDir)) ? back : null;
}

/** Lets a worktree and its entry know each other again. Only for an entry that was the worktree's. */
export async function linkWorktree(worktree: string, gitDir: string): Promise<void> {
  await mkdir(worktree, { recursive: true, mode: 0o700 });
  await writeWhole(path.join(worktree, '.git'), `gitdir: ${gitDir}\n`);
  await redirectEntry(gitDir, worktree);
}

/** Lets an entry know where its worktree is. */
export async function redirectEntry(gitDir: string, worktree: string): Promise<void> {
  await writeWhole(path.join(gitDir, 'gitdir'), `${path.join(worktree, '.git')}\n`);
}

/** Whether an entry is that of one of some worktrees. Git gives the name of an entry that it has pruned to the next worktree. */
export async function isEntryOf(gitDir: string, worktrees: readonly string[]): Promise<boolean> {
  const back = path.basename(path.dirname(gitDir)) === 'worktrees' ? await backPointerOf(gitDir) : null;
  return back !== null && (await Promise.all(worktrees.map((worktree) => samePlace(back, worktree)))).includes(true);
}

/**
 * Removes a worktree's entry from its repository; one that is another's by now stays. (`git worktree prune` would remove also
 * entries of the user's, whose directories are on a disk that is not there now.)
 */
export async function removeEntry(gitDir: string, worktrees: readonly string[]): Promise<void> {
  if (!(await isEntryOf(gitDir, worktrees))) return;
  // What says whose it is goes last, so that all of this can be done again.
  for (const name of await readdir(gitDir)) if (name !== 'gitdir') await rm(path.join(gitDir, name), { recursive: true, force: true });
  await rm(gitDir, { recursive: true, force: true });
}

/** Why git says that an entry is locked whose worktree Baton has put aside: `git worktree prune` leaves it alone. (git-worktree(1), "lock") */
const LOCK = 'Baton is removing this worktree. It unlocks it, or removes it, when it goes on.';

export async function lockEntry(gitDir: string): Promise<void> {
  // On a full disk there would be a lock without a reason, which looks like somebody else's.
  await writeWhole(path.join(gitDir, 'locked'), `${LOCK}\n`);
}

/** Idempotent; a lock of somebody else's stays. */
export async function unlockEntry(gitDir: string): Promise<void> {
  if ((await lockText(gitDir)) === LOCK) await rm(path.join(gitDir, 'locked'), { force: true });
}

/** Why somebody else than Baton locked a worktree (`git worktree lock`), empty where none was said; null where nobody did. */
export async function lockReason(gitDir: string): Promise<string | null> {
  const reason = await lockText(gitDir);
  return reason === LOCK ? null : reason;
}

function lockText(gitDir: string): Promise<string | null> {
  return readFile(path.join(gitDir, 'locked'), 'utf8').then((text) => text.trim(), () => null);
}

/** Removes whatever entry a repository has of a worktree that is gone, also where `git worktree add` was killed before it was complete. */
export async function removeEntriesOf(commonDir: string, worktree: string): Promise<void> {
  for (const name of await directoriesIn(path.join(commonDir, 'worktrees'))) await removeEntry(path.join(commonDir, 'worktrees', name), [worktree]);
}

/** The worktrees two levels below a directory: `<base>/<id>/<name>`. */
export async function worktreesBelow(base: string): Promise<string[]> {
  const found: string[] = [];
  for (const id of await directoriesIn(base)) for (const name of await directoriesIn(path.join(base, id))) found.push(path.join(base, id, name));
  return found;
}

/** Names of the directories in one; links are none. */
export async function directoriesIn(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true }).catch((error: unknown) => {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return [];
    throw error;
  });
  return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name).sort();
}

async function isEntry(gitDir: string): Promise<boolean> {
  return lstat(path.join(gitDir, 'commondir')).then((found) => found.isFile(), () => false);
}

async function isDirectory(directory: string): Promise<boolean> {
  return lstat(directory).then((found) => found.isDirectory(), () => false);
}

async function same(a: string | null, b: string | null): Promise<boolean> {
  if (a === null || b === null) return false;
  if (a === b) return true;
  const real = (place: string) => realpath(place).catch(() => place);
  return (await real(a)) === (await real(b));
}

/** {@link same}, also where the two are not there any more. */
async function samePlace(a: string, b: string): Promise<boolean> {
  return path.basename(a) === path.basename(b) && same(path.dirname(a), path.dirname(b));
}

async function writeWhole(file: string, content: string): Promise<void> {
  try {
    await writeFile(`${file}.baton`, content);
    await rename(`${file}.baton`, file);
  } catch (error) {
    await rm(`${file}.baton`, { force: true });
    throw error;
  }
}
