import { Branches, type BranchUse } from './branches';
import { quoteForPeople, runGit } from './git';
import { inRepository } from './inRepository';
import type { ObjectId, Repository } from './repository';

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

/** For whom a branch is chosen. */
export interface BranchWish {
  readonly repository: Pick<Repository, 'root' | 'commonDir'>;
  /** The thread's worktree, which may not exist yet. */
  readonly worktree: string;
  readonly threadId: string;
  /** Environment in which git also knows the commits that arrived, which may not be published yet. */
  readonly env: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Which branch a thread's worktree is on. A branch of the user's is created where it does not exist and used where it stands
 * at the right commit and nobody else uses it. It is moved only forwards, and only where this worktree is its one checkout or
 * where the thread comes back to the host on which it began. In every other case the thread gets `baton/<thread>/<branch>`,
 * and the note says why, and how the two come together.
 *
 * @param carried full name of the branch that the thread was on; null when detached. It comes from another host
 * @param handedBack the thread began on this host
 */
export async function chooseBranch(wish: BranchWish, carried: string | null, head: ObjectId | null, handedBack: boolean): Promise<BranchChoice> {
  if (carried === null) return { branch: null, update: null, note: null };
  const name = plainBranchName(carried);
  // Git itself refuses what is no ref; a leading dash would be one, and an option to whoever types it.
  if (!carried.startsWith('refs/heads/') || name.startsWith('-')) {
    return { branch: null, update: null, note: `${quoteForPeople(carried)} is not the name of a branch; the thread goes on on a detached HEAD.` };
  }
  const branches = await Branches.of(wish.repository, wish.worktree, wish.env, wish.signal);
  const plain = `refs/heads/${name}`;
  const shown = quoteForPeople(name);
  const [use, value] = [branches.useElsewhere(plain), await branches.valueOf(plain)];
  const behind = value !== head && (await branches.leadsTo(value, head));
  if (use === null) {
    if (value === head) return { branch: plain, update: null, note: null };
    if (value === null && (await branches.hasRoomFor(plain))) return { branch: plain, update: { name: plain, before: null, after: head }, note: null };
    if (behind && (handedBack || branches.here === plain)) {
      const note = branches.here === plain ? null : `The branch ${shown} was fast-forwarded from ${short(value)} to ${short(head)}, where the thread is.`;
      return { branch: plain, update: { name: plain, before: value, after: head }, note };
    }
  }

  const own = await ownBranch(branches, name, head, wish.threadId);
  const where = own === null ? `a detached HEAD, since no branch below ${branchNamespace(wish.threadId)} could be made` : quoteForPeople(own.name.replace('refs/heads/', ''));
  const [why, way] = explain(use, value === null ? 'absent' : behind ? 'behind' : value === head ? 'same' : 'moved', name, own === null ? (head ?? '') : own.name.replace('refs/heads/', ''));
  return { branch: own?.name ?? null, update: own === null || own.before === own.after ? null : own, note: `The branch ${shown} ${why}; the thread goes on on ${where}.${way}` };
}

/** Why the user's branch stays as it is, and what its user may do. */
function explain(use: BranchUse | null, standing: 'absent' | 'behind' | 'same' | 'moved', name: string, ours: string): [why: string, way: string] {
  // The name came from another host: what a shell would take for more than a word is not put into a command.
  const merge = (options: string, place: string) => (isPlainWord(ours) && isPlainWord(name) ? ` To bring ${options === '' ? 'the two together' : 'it up to date'}, ${place} "git merge ${options}${ours}".` : '');
  if (use?.operation === true) return [`is what an operation in progress in ${use.path} comes back to`, ''];
  if (use !== null) return [`is checked out in ${use.path}`, standing === 'behind' ? merge('--ff-only ', 'run there') : standing === 'moved' ? merge('', 'run there') : ''];
  if (standing === 'absent') return ['cannot be created beside the branches that exist here', ''];
  if (standing === 'behind') return ['is at another commit here', merge('--ff-only ', `check ${name} out and run`)];
  return ['has commits here that the thread has not', merge('', `check ${name} out and run`)];
}

function isPlainWord(text: string): boolean {
  return /^[0-9A-Za-z][0-9A-Za-z._/+@-]*$/.test(text);
}

/** The branch of the thread's own that an operation returns to at the end, in place of the one that it came from. */
export async function chooseOperationBranch(wish: BranchWish, branch: { readonly name: string; readonly oid: ObjectId } | null): Promise<RefUpdate | null> {
  if (branch === null) return null;
  return ownBranch(await Branches.of(wish.repository, wish.worktree, wish.env, wish.signal), plainBranchName(branch.name), branch.oid, wish.threadId);
}

/**
 * `baton/<thread>/<name>`, with a number behind it where the user has come to use that one: also these branches only move
 * forwards, except that the one that the thread's own worktree is on follows the thread.
 */
async function ownBranch(branches: Branches, name: string, after: ObjectId | null, threadId: string): Promise<RefUpdate | null> {
  for (let suffix = 1; suffix <= 99; suffix++) {
    const own = `refs/heads/${branchNamespace(threadId)}/${name}${suffix === 1 ? '' : `-${suffix}`}`;
    if (branches.useElsewhere(own) !== null) continue;
    const before = await branches.valueOf(own);
    const usable = before === null ? await branches.hasRoomFor(own) : before === after || (after !== null && branches.here === own) || (await branches.leadsTo(before, after));
    if (usable) return { name: own, before, after };
  }
  return null;
}

function short(commit: ObjectId | null): string {
  return commit?.slice(0, 10) ?? 'nothing';
}

/** Applies ref updates in one transaction; each names what it expects to find. */
export async function updateRefs(directory: string, updates: readonly RefUpdate[], zero: ObjectId): Promise<void> {
  const lines = updates.filter((update) => update.before !== update.after).map((update) => (update.after === null
    ? `delete ${update.name}\0${update.before ?? ''}\0`
    : `update ${update.name}\0${update.after}\0${update.before ?? zero}\0`));
  if (lines.length > 0) await runGit(['update-ref', '-m', 'baton: handoff', '-z', '--stdin'], { ...inRepository(directory), input: lines.join('') });
}
