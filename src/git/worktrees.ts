import { createHash } from 'node:crypto';
import { existsSync, realpathSync } from 'node:fs';
import { mkdir, rename, rm, rmdir } from 'node:fs/promises';
import path from 'node:path';
import { gitText, runGit } from './git';
import { GitError } from './gitError';
import { pathList, type IndexEntry } from './indexListing';
import { inRepository } from './inRepository';
import { readRepository, type ObjectId, type Repository } from './repository';
import { readSubmodules } from './submodules';
import { locateWorktree, worktreesBelow } from './worktreeEntry';

export interface ManagedWorktreeState {
  readonly id: string;
  readonly path: string;
  /** Short name; null when detached. */
  readonly branch: string | null;
  readonly head: ObjectId | null;
  readonly dirty: boolean;
}

/** Managed worktrees lie at `<base>/<id>/<repository directory name>`. Directories that are no linked worktree are passed over. */
export async function listManagedWorktrees(base: string): Promise<ManagedWorktreeState[]> {
  const found: ManagedWorktreeState[] = [];
  for (const directory of await worktreesBelow(base)) {
    if (await isLinkedWorktree(directory, base)) found.push(await inspectWorktree(directory, path.basename(path.dirname(directory))));
  }
  return found;
}

async function inspectWorktree(directory: string, id: string): Promise<ManagedWorktreeState> {
  const repository = await readRepository(directory);
  const { stdout } = await runGit(['status', '--porcelain', '-z', '--untracked-files=normal', '--ignore-submodules=none'], { cwd: directory });
  return { id, path: directory, branch: repository.branch?.replace('refs/heads/', '') ?? null, head: repository.head, dirty: stdout.length > 0 };
}

/**
 * Removes a managed worktree with all that is in it, and its entry in the repository. Branches and refs stay, and so do the
 * repositories of its submodules, with all commits.
 *
 * @throws {GitError} `not-managed` when the path is not a linked worktree two levels below `base`
 */
export async function removeManagedWorktree(options: { readonly base: string; readonly path: string }): Promise<void> {
  const base = realpathSync(options.base);
  const directory = existsSync(options.path) ? realpathSync(options.path) : path.resolve(options.path);
  const parts = path.relative(base, directory).split(path.sep);
  if (parts.length !== 2 || parts.includes('..') || path.isAbsolute(parts[0] ?? '') || !(await isLinkedWorktree(directory, base))) {
    throw new GitError('not-managed', `${options.path} is not a managed worktree of ${options.base}. Baton removes no other directory.`);
  }
  const repository = await readRepository(directory);
  const { commonDir } = repository;
  await releaseSubmodules(repository, parts[0] ?? '');
  await runGit(['--git-dir', commonDir, 'worktree', 'remove', '--force', '--force', directory], { cwd: commonDir });
  await rm(directory, { recursive: true, force: true });
  await rmdir(path.dirname(directory)).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== 'ENOTEMPTY') throw error;
  });
}

/**
 * Takes the submodules out of a worktree that goes. The worktree of one that is linked to a repository elsewhere is removed; a commit
 * that only it was at gets a ref there. A repository that lies in what goes (git puts it there for who runs "git submodule update" in
 * a linked worktree) is moved to where Baton's own are.
 */
async function releaseSubmodules(superproject: Repository, id: string): Promise<void> {
  const gitlinks: IndexEntry[] = [];
  for (const record of await pathList(['ls-files', '-s', '-z'], { cwd: superproject.root })) {
    const [, oid, name] = /^160000 ([0-9a-f]+) \d\t([^]+)$/.exec(record) ?? [];
    if (oid !== undefined && name !== undefined) gitlinks.push({ path: name, mode: '160000', oid, stage: 0 });
  }
  for (const { directory, path: place } of (await readSubmodules(superproject, gitlinks)).populated) {
    const submodule = await readRepository(directory);
    await releaseSubmodules(submodule, id);
    const options = inRepository(submodule.commonDir);
    if (submodule.gitDir !== submodule.commonDir) {
      const kept = submodule.head === null ? 'nothing to keep' : await gitText(['for-each-ref', '--count=1', '--contains', submodule.head, '--format=x'], options);
      if (kept === '') await runGit(['update-ref', `refs/baton/removed/${id}/${(submodule.head ?? '').slice(0, 12)}`, submodule.head ?? ''], options);
      await runGit(['worktree', 'remove', '--force', '--force', directory], options);
    } else if ([superproject.gitDir, superproject.root].some((goes) => submodule.commonDir.startsWith(goes + path.sep))) {
      const target = path.join(superproject.commonDir, 'baton', 'modules', createHash('sha256').update(JSON.stringify([id, place, submodule.head])).digest('hex').slice(0, 16));
      await mkdir(path.dirname(target), { recursive: true });
      await rename(submodule.commonDir, target);
    }
  }
}

async function isLinkedWorktree(directory: string, base: string): Promise<boolean> {
  return (await locateWorktree(directory, null, base)).is === 'here';
}
