import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { GitError } from '../git/gitError';
import { readRepository } from '../git/repository';
import { isThere } from '../git/worktreeDirectories';
import { locateWorktree } from '../git/worktreeEntry';
import type { WorktreeFacts } from '../git/worktreeInventory';
import type { Verdict } from '../git/worktreeSafety';
import { HostError } from './hostError';
import { InTurn } from './inTurn';
import type { KeeperPorts, WorktreeActor } from './keeperPorts';
import type { WorktreeRecord } from './managedWorktrees';
import type { Workplaces } from './processesIn';
import { holdRepository } from './repositoryClaim';
import { describeError } from './wireError';
import { finishRemoval, removeWorktree, retryDeletion, undoRemoval, type RemovalOptions, type Removed } from './worktreeRemoval';
import { repairWorktree } from './worktreeRepair';
import { finishRestoration, includeListed, isBuilt, restoreWorktree, snapshotFor, takeBackRestoration } from './worktreeRestoration';
import { factsOf, verdictOf } from './worktreeVerdict';

/**
 * Removes worktrees and brings them back, so that nothing is lost whatever happens in between: each step is written into
 * the worktree's record before it is begun, and `recover` ends or undoes what a host before this one left.
 *
 * Removal: snapshot, verified in the repository · "removing" · the directory is renamed aside · captured again there, which must
 * give the same fingerprint · "verified" · git's entry goes, then the directory · "removed".
 */
export class WorktreeKeeper {
  /** One act at a time in a worktree. */
  private readonly turns = new InTurn();

  constructor(private readonly ports: KeeperPorts) {}

  /** The record of a worktree. Throws HostError `no-such-worktree`. */
  known(id: string): WorktreeRecord {
    const record = this.ports.worktrees.get(id);
    if (record === undefined) throw new HostError('no-such-worktree', `There is no managed worktree ${id} on this host. "baton worktrees" lists those that there are.`);
    return record;
  }

  facts(record: WorktreeRecord, sizes: boolean): Promise<WorktreeFacts> {
    return factsOf(this.ports, record, sizes);
  }

  /** Whether a worktree may be removed; `workplaces` are of a moment ago. */
  verdict(record: WorktreeRecord, facts: WorktreeFacts, workplaces?: Workplaces): Promise<Verdict> {
    return verdictOf(this.ports, record, facts, {}, workplaces);
  }

  /** Removes a worktree, keeping all of its working state in a snapshot. Throws as `removeWorktree`. */
  remove(id: string, by: WorktreeActor, options: RemovalOptions = {}): Promise<Removed> {
    return this.inTurn(id, async () => {
      const removed = await removeWorktree(this.ports, this.known(id), by, options);
      this.ports.onChanged();
      return removed;
    });
  }

  /** Whether somebody else has deleted a worktree's directory, and git knows nothing of it any more. */
  async isGone(id: string): Promise<boolean> {
    const { path, gitDir } = this.known(id);
    const where = await locateWorktree(path, gitDir, this.ports.worktrees.base);
    return where.is === 'gone' && where.gitDir === null;
  }

  /**
   * Gives up a worktree whose directory somebody else has deleted, and which git has forgotten. Where there are snapshots of it, it counts as
   * removed with the last of them, so that they stay this host's and expire like others; else nothing is left of it.
   *
   * @returns the ref of that snapshot
   * @throws {HostError} `worktree-kept`
   */
  forget(id: string): Promise<string | null> {
    return this.inTurn(id, async () => {
      const record = this.known(id);
      if (!(await this.isGone(id))) throw new HostError('worktree-kept', `${record.path} is not gone.`);
      const last = await snapshotFor(this.ports, record).catch((error: unknown) => {
        if (HostError.is(error, 'snapshot-expired') || GitError.is(error, 'missing-objects')) return null;
        throw error;
      });
      if (last === null) await this.ports.worktrees.forget(id);
      else await this.ports.worktrees.save({ id, gitDir: null, life: { is: 'removed', ...last } });
      this.ports.onChanged();
      return last?.snapshot.ref ?? null;
    });
  }

  /** Brings a removed worktree back, exactly, at its place. Gives what the user should know; null where it is there. Throws GitError, HostError `snapshot-expired`. */
  restore(id: string, by: WorktreeActor): Promise<readonly string[] | null> {
    return this.inTurn(id, async () => {
      const record = this.known(id);
      if (record.life.is === 'here' && (await isThere(record.path))) return null;
      return this.restoreNow(record, by);
    });
  }

  private async restoreNow(record: WorktreeRecord, by: WorktreeActor): Promise<readonly string[]> {
    const notes = await restoreWorktree(this.ports, record, by);
    this.ports.onChanged();
    return notes;
  }

  /** Copies the ignored files that the user's checkout lists for worktrees. Gives what the user should know. */
  include(from: string, to: string): Promise<string[]> {
    return includeListed(from, to);
  }

  /** A thread is about to be used: its worktree is brought back where it was removed. */
  async wake(threadId: string): Promise<void> {
    const record = this.ports.worktrees.ofThread(threadId);
    if (record === undefined) return;
    await this.atWork(record.id, () => Promise.resolve());
  }

  /** Codex is about to load or begin a thread in a worktree: it is brought back where it was removed, and stays until `act` ends. */
  atWork<T>(id: string, act: () => Promise<T>): Promise<T> {
    return this.ports.worktrees.whileAwaited(id, async () => {
      // A removal or restoration that is under way is waited for.
      if (this.known(id).life.is !== 'here' || this.turns.has(id)) await this.inTurn(id, () => this.bringBack(id));
      return act();
    });
  }

  /** Has a worktree to itself: it is brought back where it was removed, and until `act` ends nothing here removes, restores or mends it. `asItIs` brings nothing back. */
  occupy<T>(id: string, act: () => Promise<T>, { asItIs = false }: { readonly asItIs?: boolean } = {}): Promise<T> {
    return this.inTurn(id, async () => {
      if (!asItIs) {
        await this.bringBack(id);
        await this.ports.worktrees.touch(id);
      }
      return act();
    });
  }

  private async bringBack(id: string): Promise<void> {
    const record = this.known(id);
    if (record.life.is !== 'removed') return;
    // Whoever brings it back waits for something else, so what is to be known of it is in the log.
    for (const note of await this.restoreNow(record, 'local')) this.ports.log.info(`${record.path} is restored. ${note}`);
  }

  /**
   * Mends what somebody moved or deleted by hand, where git has what that takes. Gives what was done, in words. Throws HostError
   * `worktree-kept`.
   *
   * @param how where it is now, or that it was deleted and is to be made anew from what git still has
   */
  repair(id: string, how: { readonly directory?: string | undefined; readonly anew?: boolean | undefined } = {}): Promise<string> {
    return this.inTurn(id, async () => {
      const record = this.known(id);
      if (record.life.is !== 'here') throw new HostError('worktree-kept', `${record.path} is removed. "baton worktree restore ${id}" brings it back.`);
      const done = await repairWorktree(record, this.ports.worktrees, { ...how, include: () => this.include(record.projectRoot, record.path) });
      this.ports.onChanged();
      return done;
    });
  }

  /** Ends or undoes what a host before this one left in the middle. Never throws: what cannot be done yet is tried at the next sweep. */
  async recover(): Promise<void> {
    const wanted = new Set<string>();
    for (const { id, undeleted, life: { is } } of this.ports.worktrees.all()) {
      const unfinished = is === 'removing' || is === 'restoring';
      if (!unfinished && undeleted === null) continue;
      try {
        await this.inTurn(id, () => retryDeletion(this.ports, this.known(id)));
        this.ports.onChanged();
      } catch (error) {
        wanted.add(`restore-${id}`);
        const what = unfinished ? `was left in the middle of its ${is === 'removing' ? 'removal' : 'restoration'}, and that cannot be ended yet` : 'left something behind that cannot be deleted yet';
        this.ports.log.warn(`The worktree ${id} ${what}: ${describeError(error).message}`);
      }
    }
    for (const name of await readdir(this.ports.directory).catch(() => [])) if (!wanted.has(name) && !this.turns.has(name.slice(-8))) await rm(join(this.ports.directory, name), { recursive: true, force: true }).catch(() => undefined);
  }

  /** Has a worktree to itself, of which nothing is left in the middle. */
  private inTurn<T>(id: string, act: () => Promise<T>): Promise<T> {
    return this.turns.take(id, async () => {
      await this.settle(id);
      return act();
    });
  }

  /** Ends or undoes what was begun with a worktree; nothing where nothing was. */
  private async settle(id: string): Promise<void> {
    const record = this.known(id);
    const { life } = record;
    if (life.is === 'here' || life.is === 'removed') return;
    const { commonDir } = await readRepository(record.projectRoot);
    await holdRepository(commonDir, async () => {
      if (life.is === 'removing') await (life.verified ? finishRemoval(this.ports, record, true) : undoRemoval(this.ports, record));
      else if (!(await isBuilt(life.directory))) await takeBackRestoration(this.ports, record);
      // It has been its user's since, who may have worked in it.
      else for (const note of await finishRestoration(this.ports, record, 'local')) this.ports.log.info(`${record.path} is restored. ${note}`);
    });
  }
}
