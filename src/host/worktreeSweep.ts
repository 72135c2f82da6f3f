import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { ApplyChange } from '../git/applyRecord';
import { readRepository, type Repository } from '../git/repository';
import { readRecord } from '../git/snapshotRecord';
import { dropSnapshot, isOnlyCopy, listSnapshots, type KnownSnapshot } from '../git/snapshots';
import { locateWorktree } from '../git/worktreeEntry';
import { removeUnneededModules } from '../git/unneededModules';
import { REST_MS } from '../git/worktreeSafety';
import type { Snapshot, SweepReport, WorktreeRetention } from './protocol';
import type { KeeperPorts, WorktreeActor } from './keeperPorts';
import type { WorktreeKeeper } from './worktreeKeeper';
import { holdRepository } from './repositoryClaim';
import { plan, survey, usedAt } from './worktreeSurvey';
import type { WorktreeRecord } from './managedWorktrees';
import { describeError } from './wireError';

const DAY_MS = 24 * 60 * 60 * 1000;
const EVERY_MS = 60 * 60 * 1000;
/** After the start of the host: its first minutes belong to its user. */
const FIRST_MS = 10 * 60 * 1000;

export interface SweepPorts extends KeeperPorts {
  retention(): WorktreeRetention;
  /** Checkouts whose repositories may hold snapshots. */
  checkouts(): readonly string[];
  /** The last apply of a thread; null where this host has applied nothing of it. */
  lastApply(threadId: string): Promise<ApplyChange | null>;
}

/** Bounds what worktrees and snapshots take: every hour, after each handoff, and when asked. */
export class WorktreeSweep {
  private running: Promise<SweepReport> | null = null;
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly ports: SweepPorts,
    private readonly keeper: WorktreeKeeper,
  ) {}

  /** Begins to sweep by itself. */
  start(): void {
    const again = (delayMs: number) => {
      this.timer = setTimeout(() => {
        this.later();
        again(EVERY_MS);
      }, delayMs);
      this.timer.unref();
    };
    again(FIRST_MS);
  }

  dispose(): void {
    clearTimeout(this.timer);
  }

  /** Sweeps without anybody waiting for it. */
  later(): void {
    this.sweep().catch((error: unknown) => this.ports.log.warn(`The worktrees could not be swept: ${describeError(error).message}`));
  }

  /** One sweep at a time; who asks while one runs gets what that one finds. */
  sweep(): Promise<SweepReport> {
    this.running ??= this.sweepNow().finally(() => {
      this.running = null;
    });
    return this.running;
  }

  /** What a sweep would do now. Nothing is changed. */
  async preview(): Promise<SweepReport> {
    const { removed, kept } = this.decide(await survey(this.ports.worktrees, this.keeper, false));
    return { removed, kept, expired: (await this.snapshots()).filter(({ expiresAt }) => expiresAt !== null && Date.parse(expiresAt) <= this.ports.now().getTime()).map(({ ref }) => ref) };
  }

  private decide(surveyed: Awaited<ReturnType<typeof survey>>): Pick<SweepReport, 'removed' | 'kept'> {
    const planned = plan(surveyed, this.ports.retention().keep, this.ports.now());
    const report = (remove: boolean) => planned.filter((entry) => entry.remove === remove).map(({ id, reason }) => ({ id, path: this.keeper.known(id).path, reason }));
    return { removed: report(true), kept: report(false) };
  }

  private async sweepNow(): Promise<SweepReport> {
    await this.keeper.recover();
    const surveyed = await survey(this.ports.worktrees, this.keeper, false);
    // A turn may have run for hours, and have ended just before the next sweep.
    for (const { record, verdict: { code } } of surveyed) if (code === 'in-use' || code === 'busy') await this.ports.worktrees.touch(record.id);
    const decided = this.decide(surveyed);
    const removed: SweepReport['removed'] = [];
    const kept = [...decided.kept];
    for (const entry of decided.removed) {
      try {
        await this.keeper.remove(entry.id, 'sweep', { still: ({ pinned, permanent, ...record }, facts) => !pinned && !permanent && this.ports.now().getTime() - usedAt(record, facts).getTime() >= REST_MS });
        removed.push(entry);
      } catch (error) {
        const { message } = describeError(error);
        this.ports.log.warn(`The worktree ${entry.id} was not swept: ${message}`);
        kept.push({ ...entry, reason: message });
      }
    }
    const { expired } = await this.expire(undefined, false, 'sweep');
    for (const { commonDir } of await this.repositories()) await this.tidyModules(commonDir).catch((error: unknown) => this.ports.log.warn(`The repositories of removed submodules in ${commonDir} stay: ${describeError(error).message}`));
    return { removed, kept, expired };
  }

  private async tidyModules(commonDir: string): Promise<void> {
    if (!existsSync(join(commonDir, 'baton', 'modules'))) return;
    for (const repository of await holdRepository(commonDir, () => removeUnneededModules(commonDir, this.ports.now()))) this.ports.log.info(`${repository} was removed: nothing needs it any more, and all that it had is in the repositories of the submodules.`);
  }

  /** Every snapshot in the repositories that this host knows, oldest first, also those that cannot be read. */
  async snapshots(): Promise<Snapshot[]> {
    const found: Snapshot[] = [];
    for (const repository of await this.repositories()) {
      for (const snapshot of await listSnapshots(repository.commonDir)) {
        const { ref, worktreeId, threadId, takenAt } = snapshot;
        let unreadable: string | null = null;
        const onlyCopy = await this.isNeeded(repository, snapshot).catch((error: unknown) => {
          unreadable = describeError(error).message;
          return true;
        });
        const origin = await this.originOf(snapshot);
        found.push({
          ref, worktreeId, threadId, path: origin?.path ?? null, takenAt: takenAt.toISOString(), onlyCopy, unreadable,
          expiresAt: !onlyCopy && origin !== null ? new Date(takenAt.getTime() + this.ports.retention().snapshotDays * DAY_MS).toISOString() : null,
        });
      }
    }
    return found.sort((a, b) => (a.takenAt < b.takenAt ? -1 : 1));
  }

  /**
   * Drops snapshots: those named, or else all that are past their time. Those that hold what nothing else has stay, unless
   * `evenOnlyCopies`; those of worktrees and applies that this host knows nothing of belong to another, and go only by name.
   */
  async expire(refs: readonly string[] | undefined, evenOnlyCopies: boolean, by: WorktreeActor): Promise<{ expired: string[]; kept: { ref: string; reason: string }[] }> {
    const expired: string[] = [];
    const kept: { ref: string; reason: string }[] = [];
    const missing = new Set(refs);
    const before = this.ports.now().getTime() - this.ports.retention().snapshotDays * DAY_MS;
    for (const repository of await this.repositories()) {
      for (const snapshot of await listSnapshots(repository.commonDir)) {
        missing.delete(snapshot.ref);
        if (refs === undefined ? snapshot.takenAt.getTime() > before || (await this.originOf(snapshot)) === null : !refs.includes(snapshot.ref)) continue;
        try {
          // Two hosts that each took the other's snapshot for a copy would drop both.
          const reason = await holdRepository(repository.commonDir, () => this.drop(repository, snapshot, evenOnlyCopies, by));
          if (reason === null) expired.push(snapshot.ref);
          else kept.push({ ref: snapshot.ref, reason });
        } catch (error) {
          const { message } = describeError(error);
          this.ports.log.warn(`The snapshot ${snapshot.ref} stays: ${message}`);
          kept.push({ ref: snapshot.ref, reason: message });
        }
      }
    }
    for (const ref of missing) kept.push({ ref, reason: 'There is no such snapshot.' });
    if (expired.length > 0) this.ports.onChanged();
    return { expired, kept };
  }

  /** Drops one snapshot, or gives why it stays. Under the repository's claim, so that what it is compared with stays until it is gone. */
  private async drop(repository: Repository, snapshot: KnownSnapshot, evenOnlyCopies: boolean, by: WorktreeActor): Promise<string | null> {
    const origin = await this.originOf(snapshot);
    if (origin?.busy != null) return origin.busy;
    if (!evenOnlyCopies && (await this.isNeeded(repository, snapshot))) return 'It holds what nothing else has.';
    await dropSnapshot(repository, snapshot);
    await this.ports.audit.append({ type: 'snapshot-expired', ref: snapshot.ref, tip: snapshot.tip, by });
    // Nothing is left of a worktree that was nobody's and can no longer be restored.
    const record = this.recordOf(snapshot);
    if (record?.life.is !== 'removed' || record.threadIds.length > 0 || record.undeleted !== null) return null;
    const isLast = (await listSnapshots(repository.commonDir)).every(({ worktreeId }) => worktreeId !== record.id);
    if (isLast) await this.ports.worktrees.forget(record.id);
    return null;
  }

  /** What a worktree that is there was restored from, or was not removed after, lives on in it; a snapshot of one that is gone may be the last of it. */
  private async isNeeded(repository: Repository, snapshot: KnownSnapshot): Promise<boolean> {
    const record = this.recordOf(snapshot);
    if (record?.life.is === 'here' && (await locateWorktree(record.path, record.gitDir, this.ports.worktrees.base)).is === 'here') {
      // One that cannot be read does not say which submodules' snapshots would go with it.
      await readRecord(repository.commonDir, snapshot.tip);
      return false;
    }
    return isOnlyCopy(repository, snapshot);
  }

  private recordOf({ worktreeId }: KnownSnapshot): WorktreeRecord | undefined {
    return worktreeId === null ? undefined : this.ports.worktrees.get(worktreeId);
  }

  /** Whose state a snapshot is, and what is under way that needs it; null where it is another host's. */
  private async originOf(snapshot: KnownSnapshot): Promise<{ readonly path: string | null; readonly busy: string | null } | null> {
    const record = this.recordOf(snapshot);
    if (record !== undefined) return { path: record.path, busy: record.life.is === 'removing' || record.life.is === 'restoring' ? 'Its worktree is being removed or restored.' : null };
    const apply = snapshot.threadId === null ? null : await this.ports.lastApply(snapshot.threadId);
    if (apply === null) return null;
    const isLast = snapshot.ref.includes(`/${apply.stamp}/`);
    const rests = apply.phase === 'done' || apply.phase === 'undone';
    return { path: isLast ? apply.target : null, busy: isLast && !rests ? 'An apply is under way, or was cut off and is yet to be taken back with it.' : null };
  }

  private async repositories(): Promise<Repository[]> {
    const found = new Map<string, Repository>();
    for (const checkout of new Set(this.ports.checkouts())) {
      // One that is gone, or on a disk that is not there now, is looked at when it is back.
      const repository = await readRepository(checkout).catch(() => null);
      if (repository !== null) found.set(repository.commonDir, repository);
    }
    return [...found.values()];
  }
}
