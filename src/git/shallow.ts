import { open, rename, rm, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { gitText, lines, runGit, streamGit } from './git';
import { GitError } from './gitError';
import { inRepository } from './inRepository';
import { revisions } from './haves';
import { readShallow, type ObjectId, type Repository } from './repository';
import { inShadow, type Shadow } from './shadow';

/** The most commits at which one history may end. */
export const MOST_BOUNDARIES = 65_536;
/** Another git holds the lock only while it writes a small file. */
const LOCK_TRIES = 50;
const LOCK_PAUSE_MS = 100;

/** The commits among those that travel at which the history of a shallow repository ends. */
export async function travellingBoundary(shadow: Shadow, tip: ObjectId, prerequisites: readonly ObjectId[], signal?: AbortSignal): Promise<ObjectId[]> {
  const boundary = new Set(await readShallow(shadow.gitDir));
  if (boundary.size === 0) return [];
  const found: ObjectId[] = [];
  for await (const oid of lines(streamGit(['rev-list', '--stdin'], { ...inShadow(shadow, { signal }), input: revisions([tip], prerequisites) }))) if (boundary.has(oid)) found.push(oid);
  return found;
}

/**
 * Which of the announced boundary commits the repository must note as such: those that are new to it and whose parents it
 * lacks. No history that is already here can end earlier by it.
 *
 * @param shadow the quarantine, in which the commits have arrived
 */
export async function boundaryToNote(shadow: Shadow, announced: readonly ObjectId[], known: readonly ObjectId[], signal?: AbortSignal): Promise<ObjectId[]> {
  const candidates = new Set(announced.filter((oid) => !known.includes(oid)));
  if (candidates.size === 0) return [];
  const options = inShadow(shadow, { signal });
  // An empty name stands for no boundary at all: git then tells the parents that the commits really have.
  const listed = await gitText(['rev-list', '--no-walk=unsorted', '--parents', '--stdin'], { ...options, env: { ...options.env, GIT_SHALLOW_FILE: '' }, input: revisions([...candidates], []) });
  const parents = new Map(listed.split('\n').map((line) => line.split(' ')).map(([commit = '', ...above]) => [commit, above]));
  const asked = [...new Set([...parents.values()].flat())];
  const { stdout } = await runGit(['cat-file', '--batch-check=%(objecttype)'], { ...options, input: asked.map((oid) => `${oid}\n`).join('') });
  const types = stdout.toString('latin1').split('\n');
  const missing = new Set(asked.filter((_oid, position) => types[position] !== 'commit'));
  return [...candidates].filter((oid) => parents.get(oid)?.some((parent) => missing.has(parent)) === true);
}

/** Notes boundary commits in a repository, as `git fetch --update-shallow` does. @throws {GitError} `failed` while another git holds `shallow.lock` */
export async function noteBoundary(repository: Pick<Repository, 'commonDir'>, commits: readonly ObjectId[]): Promise<void> {
  if (commits.length > 0) await changeShallow(repository.commonDir, (present) => Promise.resolve([...new Set([...present, ...commits])]));
}

/** Takes noted boundary commits back, except those that are still here: something has come to need them. */
export async function withdrawBoundary(repository: Pick<Repository, 'commonDir' | 'root'>, commits: readonly ObjectId[]): Promise<void> {
  if (commits.length === 0) return;
  await changeShallow(repository.commonDir, async (present) => {
    const { stdout } = await runGit(['cat-file', '--batch-check=%(objecttype)'], { ...inRepository(repository.root), input: commits.map((oid) => `${oid}\n`).join('') });
    const types = stdout.toString('latin1').split('\n');
    const gone = new Set(commits.filter((_oid, position) => types[position] !== 'commit'));
    return present.filter((oid) => !gone.has(oid));
  });
}

/** Under git's own lock, and in one step, as git changes it (shallow.c). */
async function changeShallow(commonDir: string, change: (present: readonly ObjectId[]) => Promise<readonly ObjectId[]>): Promise<void> {
  const file = path.join(commonDir, 'shallow');
  const handle = await lock(`${file}.lock`);
  try {
    const present = await readShallow(commonDir);
    const next = await change(present);
    if (next.length === 0) {
      await rm(file, { force: true });
      await rm(`${file}.lock`);
      return;
    }
    await handle.writeFile(next.map((oid) => `${oid}\n`).join(''));
    await handle.sync();
    await handle.close();
    await rename(`${file}.lock`, file);
  } catch (error) {
    await rm(`${file}.lock`, { force: true });
    throw error;
  } finally {
    await handle.close();
  }
}

async function lock(file: string): Promise<FileHandle> {
  for (let left = LOCK_TRIES; ; left--) {
    try {
      return await open(file, 'wx');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      if (left === 0) throw new GitError('failed', `Another git holds ${file}. Wait for it to end, or remove that file if none runs, then try again.`, { cause: error });
      await delay(LOCK_PAUSE_MS);
    }
  }
}
