import { gitText, quoteForPeople, runGit } from './git';
import type { ObjectId, Repository } from './repository';
import { sideBySide } from './sideBySide';

export interface BranchChoice {
  /** Full name that HEAD gets; null for a detached HEAD. */
  readonly branch: string | null;
  /** The change of the branch; null where none is needed. */
  readonly update: RefUpdate | null;
  readonly note: string | null;
}

export interface RefUpdate {
  readonly name: string;
  /** Null where the ref does not exist. */
  readonly before: ObjectId | null;
  readonly after: ObjectId | null;
}

const ownNamespace = /^baton\/[0-9A-Za-z-]{8,64}\//;

/** A branch's name without `refs/heads/` and without the namespace that Baton gave it on another host. */
export function plainBranchName(branch: string): string {
  return branch.replace(/^refs\/heads\//, '').replace(ownNamespace, '');
}

/**
 * The part of a thread's id that names its branches. The first eight digits of a UUIDv7 only tell the minute in which it
 * was made, so the next group belongs to it.
 */
export function branchNamespace(threadId: string): string {
  return `baton/${threadId.slice(0, 13).replace(/-$/, '')}`;
}

/**
 * Which branch a thread's worktree is on. Branches of the user's are created where they do not exist, used where they
 * stand at the right commit and are checked out nowhere, and fast-forwarded only where this worktree is their one
 * checkout; in every other case the thread gets `baton/<thread>/<branch>`.
 */
export async function chooseBranch(options: {
  readonly repository: Repository; readonly worktree: string; readonly carried: string | null; readonly head: ObjectId | null; readonly threadId: string;
  /** Environment in which git also knows `head`, which may not be published yet. */
  readonly env: Readonly<Record<string, string>>; readonly signal?: AbortSignal | undefined;
}): Promise<BranchChoice> {
  const { repository, head } = options;
  if (options.carried === null) return { branch: null, update: null, note: null };
  const cwd = { cwd: repository.root, signal: options.signal };
  const name = plainBranchName(options.carried);
  // The name comes from another host. Git itself refuses what is no ref; a leading dash would be one, and an option to whoever types it.
  if (!options.carried.startsWith('refs/heads/') || name.startsWith('-')) {
    return { branch: null, update: null, note: `${quoteForPeople(options.carried)} is not the name of a branch; the thread goes on on a detached HEAD.` };
  }
  const valueOf = async (ref: string) => (await gitText(['rev-parse', '-q', '--verify', `${ref}^{commit}`], { ...cwd, answers: [1, 128] })) || null;
  const plain = `refs/heads/${name}`;
  const [checkouts, value] = await sideBySide(listCheckouts(repository, options.signal), valueOf(plain));
  const elsewhere = (ref: string) => checkouts.find((checkout) => checkout.branch === ref && checkout.path !== options.worktree);
  const here = checkouts.find((checkout) => checkout.path === options.worktree)?.branch ?? null;
  const blocked = async (ref: string) => {
    const above = ref.split('/').slice(0, -1).map((_part, depth, parts) => parts.slice(0, depth + 1).join('/')).slice(2);
    const [below, ...values] = await sideBySide(gitText(['for-each-ref', '--count=1', '--format=x', `${ref}/`], cwd), ...above.map(valueOf));
    return below !== '' || values.some((found) => found !== null);
  };

  const taken = elsewhere(plain);
  if (taken === undefined) {
    if (value === head) return { branch: plain, update: null, note: null };
    if (value === null && !(await blocked(plain))) return { branch: plain, update: { name: plain, before: null, after: head }, note: null };
    if (here === plain && value !== null && head !== null && (await runGit(['merge-base', '--is-ancestor', value, head], { ...cwd, env: options.env, answers: [1] })).exitCode === 0) {
      return { branch: plain, update: { name: plain, before: value, after: head }, note: null };
    }
  }
  const shown = quoteForPeople(name);
  const why = taken !== undefined ? `is checked out in ${taken.path}` : value === null ? 'cannot be created beside the branches that exist here' : 'is at another commit here';
  for (let suffix = 1; suffix <= 99; suffix++) {
    const own = `refs/heads/${branchNamespace(options.threadId)}/${name}${suffix === 1 ? '' : `-${suffix}`}`;
    if (elsewhere(own) !== undefined) continue;
    const [unusable, before] = await sideBySide(blocked(own), valueOf(own));
    if (unusable) continue;
    if (head === null && before !== null) continue;
    return { branch: own, update: before === head ? null : { name: own, before, after: head }, note: `The branch ${shown} ${why}; the thread goes on on ${quoteForPeople(own.replace('refs/heads/', ''))}.` };
  }
  return { branch: null, update: null, note: `The branch ${shown} ${why}, and no branch below ${branchNamespace(options.threadId)} could be made; the thread goes on on a detached HEAD.` };
}

export interface Checkout {
  readonly path: string;
  readonly branch: string | null;
}

/** All worktrees of a repository, its main one first. */
export async function listCheckouts(repository: Pick<Repository, 'root'>, signal?: AbortSignal): Promise<Checkout[]> {
  const { stdout } = await runGit(['worktree', 'list', '--porcelain'], { cwd: repository.root, signal });
  return stdout.toString('utf8').split('\n\n').flatMap((block) => {
    const path = /^worktree (.*)$/m.exec(block)?.[1];
    return path === undefined ? [] : [{ path, branch: /^branch (.*)$/m.exec(block)?.[1] ?? null }];
  });
}

/** Applies ref updates in one transaction; each names what it expects to find. */
export async function updateRefs(directory: string, updates: readonly RefUpdate[], zero: ObjectId): Promise<void> {
  const lines = updates.filter((update) => update.before !== update.after).map((update) => (update.after === null
    ? `delete ${update.name}\0${update.before ?? ''}\0`
    : `update ${update.name}\0${update.after}\0${update.before ?? zero}\0`));
  if (lines.length > 0) await runGit(['update-ref', '-m', 'baton: handoff', '-z', '--stdin'], { cwd: directory, input: lines.join('') });
}
