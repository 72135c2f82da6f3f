import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { pathForPeople } from '../git/bytePath';
import { isKeptOf } from '../git/keptBeside';
import { worktreesBelow } from '../git/worktreeEntry';
import type { WorktreeFacts } from '../git/worktreeInventory';
import { planSweep, type Verdict } from '../git/worktreeSafety';
import type { ManagedWorktrees, WorktreeRecord } from './managedWorktrees';
import { workplaces, type Workplaces } from './processesIn';
import type { ManagedWorktree } from './protocol';
import type { WorktreeKeeper } from './worktreeKeeper';

/** A worktree as the inventory shows it, and what a sweep has to know. */
interface Surveyed {
  readonly record: WorktreeRecord;
  readonly facts: WorktreeFacts;
  readonly verdict: Verdict;
  readonly lastUsedAt: Date;
}

/** So many are looked at at once: each takes a few processes. */
const AT_ONCE = 4;

/** Looks at all managed worktrees of a host, those that are there. */
export async function survey(worktrees: ManagedWorktrees, keeper: WorktreeKeeper, sizes: boolean): Promise<Surveyed[]> {
  const waiting = worktrees.all().filter(({ life }) => life.is === 'here');
  const seen: Surveyed[] = [];
  const processes = await workplaces(false);
  const next = async (): Promise<void> => {
    for (let record = waiting.shift(); record !== undefined; record = waiting.shift()) seen.push(await look(record, keeper, sizes, processes));
  };
  await Promise.all(Array.from({ length: AT_ONCE }, next));
  return seen.sort((a, b) => b.lastUsedAt.getTime() - a.lastUsedAt.getTime());
}

async function look(record: WorktreeRecord, keeper: WorktreeKeeper, sizes: boolean, processes?: Workplaces): Promise<Surveyed> {
  const facts = await keeper.facts(record, sizes);
  const verdict = await keeper.verdict(record, facts, processes);
  return { record, facts, verdict, lastUsedAt: usedAt(record, facts) };
}

/** When a worktree was used last, by Baton or by anybody who wrote to it. */
export function usedAt({ lastUsedAt }: Pick<WorktreeRecord, 'lastUsedAt'>, { standing }: WorktreeFacts): Date {
  return new Date(Math.max(Date.parse(lastUsedAt), standing?.touchedAt.getTime() ?? 0));
}

/** What a sweep would do with each worktree that is there. */
export function plan(surveyed: readonly Surveyed[], keep: number, now: Date): ReturnType<typeof planSweep> {
  return planSweep(surveyed.map(({ record: { id, pinned, permanent }, verdict, lastUsedAt }) => ({ id, pinned, permanent, verdict, lastUsedAt })), keep, now);
}

/** The inventory: all that Baton has a record of, newest first, and the directories beside them that are not Baton's. */
export async function inventory(worktrees: ManagedWorktrees, keeper: WorktreeKeeper, sizes: boolean): Promise<ManagedWorktree[]> {
  const surveyed = await survey(worktrees, keeper, sizes);
  const others = worktrees.all().filter(({ life }) => life.is !== 'here').map(absent).sort((a, b) => (a.lastUsedAt < b.lastUsedAt ? 1 : -1));
  const moved = surveyed.flatMap(({ facts: { whereabouts } }) => (whereabouts.is === 'moved' ? [whereabouts.to] : []));
  return [...surveyed.map(shown), ...others, ...(await foreign(worktrees, moved))];
}

/** What the records say of all managed worktrees; none is looked at. */
export function recorded(worktrees: ManagedWorktrees): ManagedWorktree[] {
  return worktrees.all().map((record) => (record.life.is === 'here' ? { ...common(record), ...unknown, branch: null, state: 'here', reason: 'It was not looked at.', snapshot: null } : absent(record)));
}

/** One worktree of the inventory. */
export async function inspected(record: WorktreeRecord, keeper: WorktreeKeeper): Promise<ManagedWorktree> {
  return record.life.is === 'here' ? shown(await look(record, keeper, false)) : absent(record);
}

function common({ id, path, projectRoot, threadIds, permanent, pinned, lastUsedAt }: WorktreeRecord) {
  return { id, path, project: projectRoot, threadIds, permanent, pinned, lastUsedAt };
}

function shown({ record, facts, verdict, lastUsedAt }: Surveyed): ManagedWorktree {
  const { standing, whereabouts, bytes } = facts;
  const own = standing?.ignored.own ?? null;
  const changes = standing?.changes ?? null;
  return {
    ...common(record), bytes, changes,
    branch: standing?.branch ?? null,
    head: standing?.head ?? null,
    dirty: changes !== null && Object.values(changes).some((number) => number > 0),
    state: whereabouts.is !== 'here' ? whereabouts.is : standing === null ? 'unreadable' : 'here',
    operation: standing?.operation ?? null,
    locked: standing?.locked != null,
    unpushed: standing?.unpushed ?? 0,
    ignored: own === null ? null : { ...own, names: own.names.map(pathForPeople) },
    lastUsedAt: lastUsedAt.toISOString(),
    safeToRemove: verdict.safe, reason: verdict.reason, snapshot: null,
  };
}

const unknown = { head: null, dirty: false, changes: null, operation: null, locked: false, unpushed: 0, ignored: null, bytes: null, safeToRemove: false };

function absent(record: WorktreeRecord): ManagedWorktree {
  const { life } = record;
  if (life.is === 'here') throw new Error('A worktree that is here is looked at.');
  const reasons = {
    removed: record.threadIds.length > 0 ? 'It was removed; a snapshot keeps it, and opening its thread restores it.' : 'It was removed; a snapshot keeps it, and "restore" brings it back.',
    removing: 'Its removal was interrupted; the next sweep ends or undoes it.',
    restoring: 'Its restoration was interrupted; the next sweep takes it back.',
  };
  return { ...common(record), ...unknown, head: life.snapshot.head, branch: life.snapshot.branch?.replace('refs/heads/', '') ?? null, state: life.is, reason: reasons[life.is], snapshot: life.snapshot.ref };
}

/** Directories where Baton makes worktrees of which it has no record. */
async function foreign(worktrees: ManagedWorktrees, moved: readonly string[]): Promise<ManagedWorktree[]> {
  const ours = new Set([...moved, ...worktrees.all().flatMap(({ path, life }) => [path, ...(life.is === 'removing' ? [life.aside] : [])])]);
  const found: ManagedWorktree[] = [];
  for (const path of await worktreesBelow(worktrees.base)) {
    if (ours.has(path) || [...ours].some((known) => path.startsWith(join(known, '/')))) continue;
    const head = await readFile(join(path, '.git'), 'utf8').catch(() => null);
    const reason = worktrees.all().some((record) => isKeptOf(path, record.path)) ? 'It holds what was written into a worktree while Baton removed or restored it, or what could not be deleted. Take what you need, then delete it.' : head === null ? 'Baton did not make it, and leaves it alone.' : 'It is a worktree or a repository that Baton has no record of, and leaves alone.';
    found.push({ ...unknown, id: basename(join(path, '..')), path, project: null, threadIds: [], branch: null, permanent: false, pinned: false, lastUsedAt: new Date(0).toISOString(), state: 'foreign', reason, snapshot: null });
  }
  return found;
}
