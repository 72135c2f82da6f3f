import { pathForPeople } from './bytePath';
import { quoteForPeople } from './git';
import { UNPUSHED_LIMIT, type WorktreeFacts } from './worktreeInventory';

/** What Baton knows of a worktree besides what git and the file system say. */
export interface WorktreeUse {
  readonly pinned: boolean;
  readonly permanent: boolean;
  /** Why a thread of it is not at rest; null where all are. */
  readonly running: string | null;
  /** A handoff or another act of Baton's is under way in it. */
  readonly busy: string | null;
  /** Processes that work in it, as far as the system tells. */
  readonly processes: readonly number[];
  /** Where other file systems are mounted in it, as far as the system tells. */
  readonly mounts: readonly string[];
  /** It lies where Baton makes worktrees. */
  readonly below: boolean;
}

/** Whether a worktree may be removed, and one sentence of why, or why not. */
export interface Verdict {
  readonly safe: boolean;
  /** Stable, kebab-case. */
  readonly code: string;
  readonly reason: string;
}

/**
 * Decides whether a worktree may be removed. What a snapshot keeps (changes, untracked files, commits) is no reason against it:
 * removal begins with one, and ends there when it cannot be taken.
 */
export function safeToRemove(facts: WorktreeFacts, use: WorktreeUse): Verdict {
  const no = (code: string, reason: string): Verdict => ({ safe: false, code, reason });
  const { whereabouts, standing } = facts;
  if (use.busy !== null) return no('busy', use.busy);
  switch (whereabouts.is) {
    case 'moved': return no('moved', `It was moved to ${whereabouts.to}; "repair" notes that.`);
    case 'gone': return no('gone', whereabouts.gitDir === null ? 'Its directory was deleted, and git has forgotten it.' : 'Its directory was moved away or deleted; "repair" tells what can be done.');
    case 'unlinked': return no('unlinked', `Git does not know it as a worktree: ${whereabouts.why}.${whereabouts.gitDir === null ? '' : ' "repair" mends that.'}`);
    case 'here': break;
  }
  if (standing === null) return no('unreadable', `Git cannot read it: ${facts.unreadable ?? 'no reason was given'}`);
  if (!use.below) return no('elsewhere', 'It lies outside the folder in which Baton makes worktrees.');
  if (use.permanent) return no('permanent', 'It is permanent.');
  if (use.pinned) return no('pinned', 'It is pinned.');
  if (use.running !== null) return no('in-use', `A thread works in it: ${use.running}.`);
  if (standing.locked !== null) return no('locked', `It is locked${standing.locked === '' ? '' : `: ${pathForPeople(Buffer.from(standing.locked.slice(0, 200)).toString('latin1'))}`}; "git worktree unlock" ends that.`);
  if (standing.operation !== null) return no('operation', `A ${standing.operation} is in progress in it.`);
  if (use.processes.length > 0) return no('in-use', `Programs work in it (process ${use.processes.slice(0, 3).join(', ')}).`);
  const [mount] = use.mounts;
  if (mount !== undefined) return no('mounted', `Another file system is mounted at ${quoteForPeople(mount)}; "umount" ends that.`);
  if (standing.repositoriesWithin.length > 0) return no('repositories', `It holds repositories of their own, which no snapshot keeps: ${standing.repositoriesWithin.join(', ')}.`);
  const { own } = standing.ignored;
  if (own.count > 0) return no('ignored-files', `It has ${own.count === 1 ? 'an ignored file' : `${own.count} ignored files`} that nothing else has: ${own.names.slice(0, 3).map(pathForPeople).join(', ')}${own.count > 3 ? ', …' : ''}.`);
  return { safe: true, code: 'safe', reason: whatIsKept(facts) };
}

function whatIsKept({ standing }: WorktreeFacts): string {
  if (standing === null) return '';
  const { staged, unstaged, untracked, unmerged } = standing.changes;
  const changes = staged + unstaged + untracked + unmerged;
  const unpushed = standing.unpushed === 0 ? '' : `${standing.unpushed >= UNPUSHED_LIMIT ? `${UNPUSHED_LIMIT} or more` : standing.unpushed} commit${standing.unpushed === 1 ? '' : 's'}`;
  const kept = [...(changes === 0 ? [] : ['its changes']), ...(unpushed === '' ? [] : [standing.branch === null ? unpushed : `${unpushed} on ${standing.branch}`])];
  return kept.length === 0 ? 'It is clean, and its commits are elsewhere too.' : `A snapshot keeps ${kept.join(' and ')}.`;
}

export interface SweepCandidate {
  readonly id: string;
  readonly lastUsedAt: Date;
  readonly pinned: boolean;
  readonly permanent: boolean;
  readonly verdict: Verdict;
}

/** Nobody's work ends while he fetches a coffee: what was used within this time is not swept. */
export const REST_MS = 60 * 60 * 1000;

/**
 * Which worktrees a sweep removes: those beyond the newest `keep` that are safe to remove and at rest. Pinned and permanent ones are
 * kept, and do not count.
 *
 * @param now the clock
 */
export function planSweep(candidates: readonly SweepCandidate[], keep: number, now: Date): { readonly id: string; readonly remove: boolean; readonly reason: string }[] {
  const newest = candidates.filter(({ pinned, permanent }) => !pinned && !permanent).sort((a, b) => b.lastUsedAt.getTime() - a.lastUsedAt.getTime() || (a.id < b.id ? -1 : 1));
  const rank = new Map(newest.map(({ id }, position) => [id, position + 1]));
  return candidates.map(({ id, verdict, lastUsedAt }) => {
    if (!verdict.safe) return { id, remove: false, reason: verdict.reason };
    if ((rank.get(id) ?? 0) <= keep) return { id, remove: false, reason: `It is one of the newest ${keep}.` };
    if (now.getTime() - lastUsedAt.getTime() < REST_MS) return { id, remove: false, reason: 'It was used within the last hour.' };
    return { id, remove: true, reason: verdict.reason };
  });
}
