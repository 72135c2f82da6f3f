import { realpathSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { gitText, runGit, type GitOptions } from './git';
import { inRepository, isGitDirectory } from './inRepository';
import { objectsNamed } from './objectsNamed';
import type { ObjectId, Repository } from './repository';
import { sideBySide } from './sideBySide';

/** The branches of a repository as somebody sees them who must not disturb any other worktree. */
export class Branches {
  private constructor(
    private readonly options: GitOptions,
    private readonly uses: readonly BranchUse[],
    private readonly worktree: string,
  ) {}

  /**
   * @param worktree the worktree for which a branch is looked for; its own use of a branch is in nobody's way
   * @param env in which git also knows commits that are not published yet
   */
  static async of(repository: Pick<Repository, 'root' | 'commonDir'>, worktree: string, env: Readonly<Record<string, string>>, signal?: AbortSignal): Promise<Branches> {
    const options = inRepository(repository.root, signal);
    const checkouts = await listCheckouts(repository, signal);
    const checkedOut = checkouts.flatMap(({ path: place, branch }) => (branch === null ? [] : [{ path: place, branch, operation: false }]));
    const busy = await branchesOfOperations(repository.commonDir, checkouts[0]?.path ?? repository.root);
    return new Branches({ ...options, env: { ...options.env, ...env } }, [...checkedOut, ...busy], real(worktree));
  }

  /** The branch that the worktree itself has checked out. */
  get here(): string | null {
    return this.uses.find((use) => !use.operation && real(use.path) === this.worktree)?.branch ?? null;
  }

  /** How another worktree uses a branch; null where none does. */
  useElsewhere(ref: string): BranchUse | null {
    return this.uses.find((use) => use.branch === ref && real(use.path) !== this.worktree) ?? null;
  }

  async valueOf(ref: string): Promise<ObjectId | null> {
    return (await objectsNamed([`${ref}^{commit}`] as const, this.options))[0];
  }

  /** Whether a ref of that name can stand beside those that exist: a name is a ref or a directory of refs, not both. */
  async hasRoomFor(ref: string): Promise<boolean> {
    const above = ref.split('/').slice(0, -1).map((_part, depth, parts) => parts.slice(0, depth + 1).join('/')).slice(2);
    const [below, values] = await sideBySide(gitText(['for-each-ref', '--count=1', '--format=x', `${ref}/`], this.options), objectsNamed(above.map((name) => `${name}^{commit}`), this.options));
    return below === '' && values.every((found) => found === null);
  }

  /** Whether the older commit is an ancestor of the newer one, or the same. */
  async leadsTo(older: ObjectId | null, newer: ObjectId | null): Promise<boolean> {
    if (older === null || newer === null) return false;
    return (await runGit(['merge-base', '--is-ancestor', older, newer], { ...this.options, answers: [1] })).exitCode === 0;
  }
}

/** Whether a ref has commits that none of some commits leads back to; not where there is no such ref. Commits that are not here lead to nothing. */
export async function hasCommitsBeyond(root: string, ref: string, known: readonly ObjectId[]): Promise<boolean> {
  const options = inRepository(root);
  const value = await gitText(['rev-parse', '-q', '--verify', `${ref}^{commit}`], { ...options, answers: [1, 128] });
  if (value === '' || known.includes(value)) return false;
  for (const commit of known) if ((await runGit(['merge-base', '--is-ancestor', value, commit], { ...options, answers: [1, 128] })).exitCode === 0) return false;
  return true;
}

/** A worktree that has a branch checked out, or an operation in progress there that will move it. */
export interface BranchUse {
  readonly path: string;
  readonly branch: string;
  readonly operation: boolean;
}

/** All worktrees of a repository, its main one first; branch by its full name, null when detached. */
async function listCheckouts(repository: Pick<Repository, 'root'>, signal?: AbortSignal): Promise<{ readonly path: string; readonly branch: string | null }[]> {
  const { stdout } = await runGit(['worktree', 'list', '--porcelain'], inRepository(repository.root, signal));
  const checkouts = stdout.toString('utf8').split('\n\n').flatMap((block) => {
    const place = /^worktree (.*)$/m.exec(block)?.[1];
    return place === undefined ? [] : [{ path: place, branch: /^branch (.*)$/m.exec(block)?.[1] ?? null }];
  });
  if (!isGitDirectory(repository.root)) return checkouts;
  // Git takes a submodule's Git directory for its main worktree; where that really is, the config says.
  const main = await gitText(['config', 'core.worktree'], { ...inRepository(repository.root, signal), answers: [1] });
  return checkouts.map((checkout, position) => (position === 0 && main !== '' ? { ...checkout, path: path.resolve(repository.root, main) } : checkout));
}

/**
 * Branches that a rebase or a bisect in progress comes back to, or moves along. HEAD is detached meanwhile, so
 * `git worktree list` does not name them, but git refuses to check them out elsewhere (branch.c, `prepare_checked_out_branches`).
 */
async function branchesOfOperations(commonDir: string, main: string): Promise<BranchUse[]> {
  const read = (...parts: string[]) => readFile(path.join(...parts), 'utf8').catch(() => '');
  const linked = await readdir(path.join(commonDir, 'worktrees')).catch(() => []);
  const places = [{ gitDir: commonDir, worktree: main }];
  for (const name of linked) {
    const gitDir = path.join(commonDir, 'worktrees', name);
    places.push({ gitDir, worktree: path.dirname((await read(gitDir, 'gitdir')).trim()) });
  }
  const uses: BranchUse[] = [];
  for (const { gitDir, worktree } of places) {
    const files = await Promise.all([read(gitDir, 'rebase-merge', 'head-name'), read(gitDir, 'rebase-apply', 'head-name'), read(gitDir, 'BISECT_START'), read(gitDir, 'rebase-merge', 'update-refs')]);
    const bisected = files[2].trim();
    const names = [files[0].trim(), files[1].trim(), bisected === '' ? '' : `refs/heads/${bisected.replace(/^refs\/heads\//, '')}`, ...files[3].split('\n')];
    for (const branch of names) if (branch.startsWith('refs/heads/')) uses.push({ path: worktree, branch, operation: true });
  }
  return uses;
}

function real(place: string): string {
  try {
    return realpathSync(place);
  } catch {
    return path.resolve(place);
  }
}
