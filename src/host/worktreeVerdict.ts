import { inspectWorktree, type WorktreeFacts } from '../git/worktreeInventory';
import { safeToRemove, type Verdict, type WorktreeUse } from '../git/worktreeSafety';
import type { KeeperPorts } from './keeperPorts';
import { isWithin, type WorktreeRecord } from './managedWorktrees';
import { mountsBelow } from './mountsBelow';
import { processesIn, type Workplaces } from './processesIn';

export function factsOf({ worktrees }: Pick<KeeperPorts, 'worktrees'>, record: WorktreeRecord, sizes: boolean): Promise<WorktreeFacts> {
  return inspectWorktree({ path: record.path, gitDir: record.gitDir, base: worktrees.base, checkout: record.projectRoot, sizes });
}

/** Whether a worktree may be removed. `overruling` leaves out what the user has decided otherwise; `workplaces` are of a moment ago. */
export async function verdictOf(ports: Pick<KeeperPorts, 'worktrees' | 'inUse' | 'underWay'>, record: WorktreeRecord, facts: WorktreeFacts, overruling: { readonly ignoredFiles?: boolean } = {}, workplaces?: Workplaces): Promise<Verdict> {
  const running = (await Promise.all(record.threadIds.map((id) => ports.inUse(id)))).find((why) => why !== null) ?? (ports.worktrees.isAwaited(record.id) ? 'it is just being loaded' : null);
  const isHere = facts.whereabouts.is === 'here';
  const use: WorktreeUse = {
    pinned: record.pinned, permanent: record.permanent, running,
    busy: record.threadIds.map((id) => ports.underWay(id)).find((why) => why !== null) ?? null,
    processes: isHere ? await processesIn(record.path, workplaces) : [],
    mounts: isHere ? await mountsBelow(record.path) : [],
    below: isWithin(record.path, ports.worktrees.base),
  };
  return safeToRemove(overruling.ignoredFiles === true ? withoutIgnored(facts) : facts, use);
}

function withoutIgnored(facts: WorktreeFacts): WorktreeFacts {
  if (facts.standing === null) return facts;
  return { ...facts, standing: { ...facts.standing, ignored: { ...facts.standing.ignored, own: { ...facts.standing.ignored.own, count: 0 } } } };
}
