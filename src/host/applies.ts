import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { applyState, mendApply, planApply, undoApply, type ApplyOptions } from '../git/apply';
import type { ApplyPlan } from '../git/applyPlan';
import { readApplyRecord, type ApplyChange } from '../git/applyRecord';
import { pathBytes } from '../git/bytePath';
import type { TreeChange } from '../git/restoredState';
import type { AuditLog } from './audit';
import { HostError } from './hostError';
import { InTurn } from './inTurn';
import type { Log } from './log';
import type { ManagedWorktrees, WorktreeRecord } from './managedWorktrees';
import { threadId as threadIdSchema, type ApplyResult, type ResultOf } from './protocol';
import { describeError } from './wireError';
import type { WorktreeKeeper } from './worktreeKeeper';

export interface AppliesPorts {
  /** `applies/` of the Baton home. */
  readonly directory: string;
  readonly audit: Pick<AuditLog, 'append'>;
  readonly log: Log;
  readonly now: () => Date;
  /** Threads whose files are being moved: no turn or handoff of them may begin meanwhile. */
  readonly held: Set<string>;
  /** Throws HostError `thread-moved` or `thread-moving` where this host may not act on the thread. */
  readonly requireOwner: (threadId: string) => void;
  readonly worktrees: Pick<ManagedWorktrees, 'ofThread'>;
  readonly keeper: Pick<WorktreeKeeper, 'known' | 'occupy'>;
  /** What is under way with a thread, a handoff above all; null where nothing is. */
  readonly underWay: (threadId: string) => string | null;
  /** Fingerprints of the states with which the thread has left checkouts of this host. */
  departures(threadId: string): Promise<readonly string[]>;
  isRunning(threadId: string): Promise<boolean>;
  /** Stops a turn as a handoff does; gives what makes the thread usable again. */
  stop(threadId: string): Promise<() => Promise<void>>;
  /** The model sees it with the thread's next turn. */
  tellAgent(threadId: string, text: string): Promise<void>;
  /** Worktrees are to be read again. */
  onChanged(): void;
}

export interface ApplyWish {
  readonly threadId: string;
  readonly to: 'checkout' | 'worktree';
  readonly dryRun: boolean;
  /** With `dryRun`: a worktree that was removed is restored, instead of nothing being written. */
  readonly restore: boolean;
  readonly merge: boolean;
  readonly markers: boolean;
  readonly fastForward: boolean;
  /** Stop a turn that runs. */
  readonly stop: boolean;
  /** Digest of the plan that was shown. */
  readonly plan: string | null;
}

/** More paths are counted and not named. */
const NAMED_PATHS = 1000;

/** Moves working states between the user's checkout and a thread's managed worktree, both on this host: one at a time in either. */
export class Applies {
  private readonly checkouts = new InTurn();

  constructor(private readonly ports: AppliesPorts) {}

  /** Puts right what a host before this one left half done. */
  async recover(): Promise<void> {
    await mkdir(this.ports.directory, { recursive: true, mode: 0o700 });
    for (const name of await readdir(this.ports.directory)) {
      if (!threadIdSchema.safeParse(name).success) continue;
      try {
        if (await mendApply(this.directoryOf(name))) this.ports.log.warn(`An apply of ${name} had been cut off; the checkout is as it was before.`);
      } catch (error) {
        this.ports.log.error(`An apply of ${name} had been cut off and could not be put right: ${describeError(error).message}`);
      }
    }
  }

  /** @throws HostError `no-worktree`, `worktree-removed`, `thread-running`; GitError `apply-refused`, `apply-outdated`, `index-locked` */
  apply(wish: ApplyWish): Promise<ApplyResult> {
    return this.inTurn(wish.threadId, wish, async (worktree) => {
      expectHere(worktree);
      const toCheckout = wish.to === 'checkout';
      const [own, checkout] = ['the worktree', 'your checkout'];
      const options: ApplyOptions = {
        ...wish, expected: wish.plan, directory: this.directoryOf(wish.threadId), now: this.ports.now(), known: await this.ports.departures(wish.threadId),
        source: toCheckout ? worktree.path : worktree.projectRoot, target: toCheckout ? worktree.projectRoot : worktree.path,
        names: toCheckout ? { source: own, target: checkout } : { source: checkout, target: own },
      };
      const result = (plan: ApplyPlan): ApplyResult => ({
        threadId: wish.threadId, to: wish.to, worktree: worktree.path, checkout: worktree.projectRoot, applied: !wish.dryRun && plan.how !== 'same',
        how: plan.how, ...changesOf(plan.changes), head: plan.head, conflicts: plan.conflicts.slice(0, NAMED_PATHS).map(text), refused: plan.refused, notes: [...plan.notes], plan: plan.digest,
      });
      if (wish.dryRun) return result(await planApply(options));
      const done = await this.atRest(worktree, wish.stop, () => applyState(options));
      if (done.how !== 'same') {
        await this.ports.audit.append({ type: 'apply-done', threadId: wish.threadId, directory: options.target, by: 'local' });
        if (!toCheckout) await this.tellAgent(wish.threadId, `The user has put the working state of their own checkout into ${worktree.path}, in place of what was there. Read files again before you rely on them.`);
        this.ports.onChanged();
      }
      const notes = toCheckout ? [`The thread goes on in its worktree ${worktree.path}; what it changes from now on is not in your checkout until you apply it again.`] : [];
      const { notes: planned, ...rest } = result(done);
      return { ...rest, notes: [...planned, ...(done.how === 'same' ? [] : notes)] };
    });
  }

  /** @throws GitError `nothing-to-undo`, `apply-refused`, `index-locked`; HostError `worktree-removed`, `thread-running` */
  undo({ threadId, dryRun, restore, stop }: Pick<ApplyWish, 'threadId' | 'dryRun' | 'restore' | 'stop'>): Promise<ResultOf<'worktree/undoApply'>> {
    return this.inTurn(threadId, { dryRun, restore }, async (worktree) => {
      if ((await this.last(threadId))?.target === worktree.path) expectHere(worktree);
      const act = () => undoApply(this.directoryOf(threadId), { dryRun });
      const { target, changes } = dryRun ? await act() : await this.atRest(worktree, stop, act);
      if (!dryRun) {
        await this.ports.audit.append({ type: 'apply-undone', threadId, directory: target, by: 'local' });
        if (target !== worktree.projectRoot) await this.tellAgent(threadId, `The user has taken back what they had put into ${target} last. Read files again before you rely on them.`);
        this.ports.onChanged();
      }
      return { threadId, directory: target, undone: !dryRun, ...changesOf(changes) };
    });
  }

  /** The last apply of a thread; null where there was none on this host. */
  async last(threadId: string): Promise<ApplyChange | null> {
    return (await readApplyRecord(this.directoryOf(threadId)))?.change ?? null;
  }

  private directoryOf(threadId: string): string {
    return join(this.ports.directory, threadIdSchema.parse(threadId));
  }

  /** A missing note does not undo what is on disk. */
  private async tellAgent(threadId: string, note: string): Promise<void> {
    await this.ports.tellAgent(threadId, note).catch((error: unknown) => this.ports.log.warn(`The agent of ${threadId} could not be told of an apply: ${describeError(error).message}`));
  }

  private async inTurn<T>(threadId: string, { dryRun, restore }: Pick<ApplyWish, 'dryRun' | 'restore'>, act: (worktree: WorktreeRecord) => Promise<T>): Promise<T> {
    const { held, keeper, requireOwner, underWay, worktrees } = this.ports;
    requireOwner(threadId);
    const known = worktrees.ofThread(threadId);
    if (known === undefined) throw new HostError('no-worktree', 'The thread has no managed worktree on this host: it works in your checkout itself, so there is nothing to apply.');
    return keeper.occupy(known.id, () => this.checkouts.take(known.projectRoot, async () => {
      // Much may have happened while this waited.
      requireOwner(threadId);
      const worktree = keeper.known(known.id);
      const busy = worktree.threadIds.map(underWay).find((why) => why !== null);
      if (busy != null) throw new HostError('thread-moving', `Another thread works in the same worktree. ${busy} Try again in a moment.`);
      if (dryRun) return act(worktree);
      for (const each of worktree.threadIds) held.add(each);
      try {
        return await act(worktree);
      } finally {
        for (const each of worktree.threadIds) held.delete(each);
      }
    }), { asItIs: dryRun && !restore });
  }

  /** Files must not move under a turn that runs, of any thread of the worktree. */
  private async atRest<T>(worktree: WorktreeRecord, stop: boolean, act: () => Promise<T>): Promise<T> {
    const goOn: (() => Promise<void>)[] = [];
    try {
      for (const each of worktree.threadIds) {
        if (!(await this.ports.isRunning(each))) continue;
        if (!stop) throw new HostError('thread-running', 'A turn runs in the thread\'s worktree. Wait until it has ended, or try again with --stop to interrupt it.');
        goOn.push(await this.ports.stop(each));
      }
      return await act();
    } finally {
      for (const again of goOn) await again().catch((error: unknown) => this.ports.log.warn(`A thread that was stopped for an apply could not be made usable again: ${describeError(error).message}`));
    }
  }
}

/** A dry run brings no worktree back. */
function expectHere({ id, path, life }: WorktreeRecord): void {
  if (life.is !== 'here') throw new HostError('worktree-removed', `${path} was removed, and its working state is kept in a snapshot. It would be restored before anything else; nothing was done yet. "baton worktree restore ${id}" brings it back, so that you can see what would change.`);
}

const text = (name: string): string => pathBytes(name).toString('utf8');

function changesOf(changes: readonly TreeChange[]): Pick<ApplyResult, 'changes' | 'changeCount'> {
  const kind = ({ fromMode, toMode }: TreeChange) => (fromMode === '000000' ? 'added' : toMode === '000000' ? 'deleted' : 'changed');
  return { changes: changes.slice(0, NAMED_PATHS).map((change) => ({ path: text(change.path), change: kind(change) })), changeCount: changes.length };
}
