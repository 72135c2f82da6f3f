import { existsSync } from 'node:fs';
import { readdir, rm, rmdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { gitText } from './git';
import { revisions } from './haves';
import { inRepository, isGitDirectory } from './inRepository';
import type { ObjectId } from './repository';
import { directoriesIn } from './worktreeEntry';

/** A handoff under way makes such a repository before it has anything that shows. */
const YOUNG_MS = 24 * 60 * 60 * 1000;

/**
 * Removes those of Baton's own repositories of submodules (`baton/modules/<hash>`) that nothing needs: no worktree is linked to one, no
 * snapshot or thread of Baton's has a ref there, and all commits that its HEAD, branches, tags and stashes name are in one of the
 * repositories that git keeps for the submodules of the same checkout (`modules/`). In doubt one stays. For who holds the repository.
 *
 * @returns those that were removed
 */
export async function removeUnneededModules(commonDir: string, now: Date): Promise<string[]> {
  const directory = path.join(commonDir, 'baton', 'modules');
  const removed: string[] = [];
  for (const name of await directoriesIn(directory)) {
    const repository = path.join(directory, name);
    if (!isGitDirectory(repository) || now.getTime() - (await stat(repository)).mtimeMs < YOUNG_MS || !(await isUnneeded(repository, commonDir))) continue;
    await rm(repository, { recursive: true, force: true });
    removed.push(repository);
  }
  await rmdir(directory).catch(() => undefined);
  return removed;
}

async function isUnneeded(repository: string, commonDir: string): Promise<boolean> {
  for (const each of [repository, ...(await modulesBelow(path.join(repository, 'modules')))]) if (!(await isElsewhere(each, commonDir))) return false;
  return true;
}

async function isElsewhere(repository: string, commonDir: string): Promise<boolean> {
  for (const part of ['worktrees', 'lfs/objects']) if ((await readdir(path.join(repository, part)).catch(() => [])).length > 0) return false;
  const options = inRepository(repository);
  const refs = (await gitText(['for-each-ref', '--format=%(refname) %(objectname)'], options)).split('\n').filter((line) => line !== '').map((line) => line.split(' '));
  if (refs.some(([name = '']) => name.startsWith('refs/baton/'))) return false;
  // Of stashes a ref names the last only.
  const stashes = (await gitText(['log', '-g', '--format=%H', 'refs/stash', '--'], { ...options, answers: [128] })).split('\n').filter((oid) => oid !== '');
  const head = await gitText(['rev-parse', '-q', '--verify', 'HEAD^{commit}'], { ...options, answers: [1, 128] });
  const needed = [...refs.flatMap(([, oid]) => oid ?? []), ...stashes, ...(head === '' ? [] : [head])];
  if (needed.length === 0) return true;
  for (const other of await modulesBelow(path.join(commonDir, 'modules'))) if (await hasAll(other, needed)) return true;
  return false;
}

/** Whether refs of a repository lead to all of some commits. */
async function hasAll(repository: string, commits: readonly ObjectId[]): Promise<boolean> {
  const options = inRepository(repository);
  const has = await gitText(['cat-file', '--batch-check=%(objecttype)'], { ...options, input: commits.map((oid) => `${oid}\n`).join('') });
  if (has.split('\n').some((type) => type.endsWith('missing'))) return false;
  return (await gitText(['rev-list', '--max-count=1', '--stdin', '--not', '--all'], { ...options, input: revisions(commits, []) })) === '';
}

/** Repositories of submodules, those of submodules in them too. */
async function modulesBelow(directory: string): Promise<string[]> {
  const found: string[] = [];
  for (const name of await directoriesIn(directory)) {
    const place = path.join(directory, name);
    const isOne = isGitDirectory(place);
    if (isOne) found.push(place);
    const below = isOne ? path.join(place, 'modules') : place;
    if (existsSync(below)) found.push(...(await modulesBelow(below)));
  }
  return found;
}
