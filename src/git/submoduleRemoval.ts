import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, stat } from 'node:fs/promises';
import path from 'node:path';
import { pathForPeople } from './bytePath';
import type { CapturedPart } from './captureCheckout';
import { gitText, runGit } from './git';
import { GitError } from './gitError';
import { inRepository, isGitDirectory } from './inRepository';
import { readRepository, type Repository } from './repository';
import type { KeptSubmodule } from './snapshotRecord';
import { placeIn } from './submodules';
import { linkWorktree, locateWorktree, lockEntry, removeEntry, unlockEntry } from './worktreeEntry';

/** What happens to a submodule of a worktree that is removed. Its repository never goes. */
export type SubmoduleFate = Pick<KeptSubmodule, 'place' | 'gitDir' | 'repository' | 'linked' | 'workTree'>;

/**
 * Decides for each submodule of a worktree what happens when the worktree is removed. One that is a linked worktree of a repository
 * elsewhere loses its entry there. A repository that lies in what goes, such an entry included (git puts it there for who runs
 * "git submodule update" in a linked worktree), moves to `baton/modules/<hash>` in the superproject's Git directory, with all its branches.
 *
 * @param ref of the snapshot, which makes the new places unique
 * @throws {GitError} `unsupported-state` where a repository could not be kept
 */
export async function planSubmodules(superproject: Repository, parts: readonly CapturedPart[], ref: string, signal?: AbortSignal): Promise<SubmoduleFate[]> {
  const going = [superproject.gitDir, superproject.root];
  const goes = (directory: string) => going.some((gone) => directory.startsWith(gone + path.sep));
  const refuse = (place: string, why: string) => new GitError('unsupported-state', `No snapshot can keep all of ${superproject.root}: the repository of its submodule ${pathForPeople(place)} ${why}.`);
  const fates: SubmoduleFate[] = [];
  const moving = new Map<string, string>();
  for (const { place, state } of parts) {
    const { gitDir, commonDir } = await readRepository(state.root, signal);
    const linked = gitDir !== commonDir;
    if (linked && goes(commonDir)) throw refuse(place, 'lies in the worktree, and the submodule is a worktree of it');
    if (linked) going.push(gitDir);
    let repository = commonDir;
    if (goes(commonDir)) {
      if ((await readdir(path.join(commonDir, 'worktrees')).catch(() => [])).length > 0) throw refuse(place, 'lies in the worktree, and has worktrees elsewhere. Remove those first ("git worktree list" there)');
      if ((await stat(commonDir)).dev !== (await stat(superproject.commonDir)).dev) throw refuse(place, `lies in the worktree, on another file system than ${superproject.commonDir}`);
      const [outer, target] = [...moving].find(([from]) => commonDir.startsWith(from + path.sep)) ?? [];
      repository = outer !== undefined && target !== undefined ? path.join(target, path.relative(outer, commonDir)) : path.join(superproject.commonDir, 'baton', 'modules', createHash('sha256').update(JSON.stringify([ref, place])).digest('hex').slice(0, 16));
      moving.set(commonDir, repository);
    }
    const workTree = linked ? null : (await gitText(['config', '--file', path.join(gitDir, 'config'), 'core.worktree'], { ...inRepository(gitDir), answers: [1] })) || null;
    fates.push({ place, gitDir, repository, linked, workTree });
  }
  for (const directory of [superproject.gitDir, ...fates.filter(({ linked }) => linked).map(({ gitDir }) => gitDir)]) {
    const left = await repositoryIn(path.join(directory, 'modules'), new Set(fates.map(({ gitDir }) => gitDir)));
    if (left !== null) throw new GitError('unsupported-state', `No snapshot can keep all of ${superproject.root}: ${left} is the repository of a submodule that is not checked out. "git submodule update --init" checks it out; delete it if nobody needs it.`);
  }
  return fates;
}

/** The first repository below `modules/` that is not one of those known. */
async function repositoryIn(directory: string, known: ReadonlySet<string>): Promise<string | null> {
  if (known.has(directory)) return null;
  if (isGitDirectory(directory)) return directory;
  for (const entry of await readdir(directory, { withFileTypes: true }).catch(() => [])) {
    const found = entry.isDirectory() ? await repositoryIn(path.join(directory, entry.name), known) : null;
    if (found !== null) return found;
  }
  return null;
}

/** The Git directory of a submodule while its worktree, that was at `from`, is at `to`. */
function gitDirAt({ gitDir }: SubmoduleFate, from: string, to: string): string {
  return gitDir.startsWith(from + path.sep) ? path.join(to, path.relative(from, gitDir)) : gitDir;
}

/** Lets git find the submodules of a worktree that was moved from `from` to `to`, beside it, and not take those that are linked for gone. Idempotent. */
export async function followSubmodules(submodules: readonly SubmoduleFate[], from: string, to: string): Promise<void> {
  for (const submodule of submodules) {
    if (submodule.linked) await lockEntry(submodule.gitDir);
    if (submodule.workTree !== null) await setWorkTree(gitDirAt(submodule, from, to), placeIn(to, submodule.place));
  }
}

/** Undoes {@link followSubmodules}, for a worktree that is at its place again. Idempotent. */
export async function returnSubmodules(submodules: readonly SubmoduleFate[], worktree: string): Promise<void> {
  for (const { place, gitDir, linked, workTree } of submodules) {
    if (workTree !== null) await setWorkTree(gitDir, workTree);
    if (linked) await unlockEntry(gitDir);
    const directory = placeIn(worktree, place);
    if (linked && (await locateWorktree(directory, gitDir, worktree)).is !== 'here') await linkWorktree(directory, gitDir);
  }
}

/** Does what {@link planSubmodules} decided, for a worktree that is at `aside` and about to be deleted there. Idempotent. */
export async function releaseSubmodules(submodules: readonly SubmoduleFate[], worktree: string, aside: string): Promise<void> {
  for (const submodule of submodules.filter(({ linked }) => !linked)) {
    const { repository } = submodule;
    const from = gitDirAt(submodule, worktree, aside);
    if (from !== repository && existsSync(from)) {
      await mkdir(path.dirname(repository), { recursive: true });
      await rename(from, repository);
    }
    if (submodule.gitDir === repository) {
      if (submodule.workTree !== null) await setWorkTree(repository, submodule.workTree);
      continue;
    }
    // Its own working tree is no more; those that are restored are linked.
    await runGit(['config', '--file', path.join(repository, 'config'), '--unset-all', 'core.worktree'], { ...inRepository(repository), answers: [5] });
    await runGit(['config', '--file', path.join(repository, 'config'), 'core.bare', 'true'], inRepository(repository));
  }
  // Only now, since a repository may have lain in one of these.
  for (const { place, gitDir } of submodules.filter(({ linked }) => linked)) await removeEntry(gitDir, [placeIn(worktree, place), placeIn(aside, place)]);
}

async function setWorkTree(gitDir: string, directory: string): Promise<void> {
  await runGit(['config', '--file', path.join(gitDir, 'config'), 'core.worktree', directory], inRepository(gitDir));
}
