import { lstat, mkdir, open, readdir, rename, rm, rmdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { pathForPeople, pathsForPeople } from '../git/bytePath';
import { repositoriesBelow } from '../git/ignoredFiles';
import { readRepository } from '../git/repository';
import { rollbackRestore } from '../git/restore';
import { finishSnapshot, restoreSnapshot } from '../git/snapshotRestore';
import { dropSnapshot, listSnapshots, lookAgain, readSnapshot, snapshotRef, takeSnapshot, type Snapshot } from '../git/snapshots';
import { followSubmodules, releaseSubmodules, returnSubmodules } from '../git/submoduleRemoval';
import { linkWorktree, locateWorktree, pointerOf, removeEntry } from '../git/worktreeEntry';
import { expectHere, inspectWorktree, readStanding, type WorktreeFacts } from '../git/worktreeInventory';
import { copyIncluded, includeNotes } from '../git/worktreeInclude';
import { safeToRemove, type Verdict, type WorktreeUse } from '../git/worktreeSafety';
import type { AuditEvent, AuditLog } from './audit';
import { deleteTree } from './deleteTree';
import { HostError } from './hostError';
import { InTurn } from './inTurn';
import type { Log } from './log';
import { isWithin, type ManagedWorktrees, type WorktreeRecord } from './managedWorktrees';
import { processesIn } from './processesIn';
import { holdRepository } from './repositoryClaim';
import { repairWorktree } from './worktreeRepair';
import { describeError } from './wireError';

export interface KeeperPorts {
  readonly worktrees: ManagedWorktrees;
  /** Directory of the keeper's own, for captures and for what takes a restore back. */
  readonly directory: string;
  readonly audit: Pick<AuditLog, 'append'>;
  readonly log: Log;
  /** Why a thread keeps its worktree from being removed: its turn runs, an approval waits; null where it is at rest. */
  inUse(threadId: string): Promise<string | null>;
  /** What is under way with a thread, a handoff above all; null where nothing is. */
  underWay(threadId: string): string | null;
  now(): Date;
  onChanged(): void;
}

export type WorktreeActor = Extract<AuditEvent, { worktreeId: string }>['by'];

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
    return inspectWorktree({ path: record.path, gitDir: record.gitDir, base: this.ports.worktrees.base, checkout: record.projectRoot, sizes });
  }

  /** Whether a worktree may be removed. `overruling` leaves out what the user has decided otherwise; `processes` is of a moment ago. */
  async verdict(record: WorktreeRecord, facts: WorktreeFacts, overruling: { readonly ignoredFiles?: boolean | undefined } = {}, processes?: ReadonlyMap<number, string>): Promise<Verdict> {
    const running = (await Promise.all(record.threadIds.map((id) => this.ports.inUse(id)))).find((why) => why !== null) ?? null;
    const use: WorktreeUse = {
      pinned: record.pinned, permanent: record.permanent, running,
      busy: record.threadIds.map((id) => this.ports.underWay(id)).find((why) => why !== null) ?? null,
      processes: facts.whereabouts.is === 'here' ? await processesIn(record.path, processes) : [],
      below: isWithin(record.path, this.ports.worktrees.base),
    };
    return safeToRemove(overruling.ignoredFiles === true ? withoutIgnored(facts) : facts, use);
  }

  /**
   * Removes a worktree, keeping all of its working state in a snapshot. Throws HostError `worktree-kept` with the reason where it may
   * not be removed, `worktree-changed` where somebody wrote to it meanwhile, GitError; the worktree is then as it was.
   *
   * @param still asked last, under the lock: false leaves it alone
   */
  remove(id: string, by: WorktreeActor, options: { readonly discardIgnored?: boolean | undefined; readonly still?: (record: WorktreeRecord) => boolean } = {}): Promise<Snapshot> {
    return this.inTurn(id, async () => {
      const record = this.known(id);
      if (record.life.is !== 'here') throw new HostError('worktree-kept', record.life.is === 'removed' ? `${record.path} is removed already.` : `${record.path} is being restored or removed.`);
      if (options.still?.(record) === false) throw new HostError('worktree-kept', `${record.path} was used meanwhile.`);
      const facts = await this.facts(record, false);
      const overruling = { ignoredFiles: options.discardIgnored };
      const verdict = await this.verdict(record, facts, overruling);
      if (!verdict.safe) {
        const wayOut = verdict.code === 'ignored-files' ? ` "baton worktree remove ${id} --discard-ignored" removes it all the same.` : '';
        throw new HostError('worktree-kept', `${record.path} is not removed. ${verdict.reason}${wayOut}`);
      }
      const { gitDir, commonDir } = expectHere(facts);
      return holdRepository(commonDir, () => this.withSpool(`removal-${id}`, async (spool) => {
        const snapshot = await takeSnapshot({ root: record.path, ref: snapshotRef(id, this.ports.now()), spool: join(spool, 'capture') });
        const left = await leftOut(record, facts, snapshot, options.discardIgnored === true);
        if (left !== null) {
          await dropSnapshot({ commonDir }, snapshot);
          throw new HostError('worktree-kept', `${record.path} is not removed. ${left}`);
        }
        // Beside its place, so that relative paths into it and out of it go on leading where they did.
        const aside = join(dirname(record.path), `.removing-${basename(record.path)}`);
        if (await exists(aside)) throw new HostError('worktree-kept', `${aside} is in the way. Baton has no record of it; move it away.`);
        const removing = { is: 'removing' as const, aside, gitDir, snapshot, verified: false };
        await this.ports.worktrees.save({ id, gitDir, life: removing });
        try {
          await rename(record.path, aside);
          await followSubmodules(snapshot.submodules, record.path, aside);
          // Nobody finds it by its path any more; what was written until then shows now.
          const standing = await readStanding(aside, gitDir, record.projectRoot);
          const again = await this.verdict(record, { ...facts, standing }, overruling);
          if (!again.safe) throw new HostError('worktree-changed', `${record.path} changed while it was being removed, and is back at its place. ${again.reason}`);
          if ((await processesIn(aside)).length > 0 || (await lookAgain(aside, join(spool, 'again'))) !== snapshot.fingerprint) throw new HostError('worktree-changed', `${record.path} changed while it was being removed, so it is back at its place. Its snapshot stays.`);
        } catch (error) {
          await this.putBack(this.known(id));
          throw error;
        }
        await this.ports.worktrees.save({ id, life: { ...removing, verified: true } });
        await this.finishRemoval(this.known(id));
        await this.ports.audit.append({ type: 'worktree-removed', worktreeId: id, path: record.path, snapshot: snapshot.ref, by });
        this.ports.onChanged();
        return snapshot;
      }));
    });
  }

  /** Whether somebody else has deleted a worktree's directory, and git knows nothing of it any more. */
  async isGone(id: string): Promise<boolean> {
    const { path, gitDir } = this.known(id);
    const where = await locateWorktree(path, gitDir, this.ports.worktrees.base);
    return where.is === 'gone' && where.gitDir === null;
  }

  /** Forgets a worktree whose directory somebody else has deleted, where git has all of it elsewhere. Throws HostError `worktree-kept`. */
  async forget(id: string): Promise<void> {
    const record = this.known(id);
    if (!(await this.isGone(id))) throw new HostError('worktree-kept', `${record.path} is not gone.`);
    await this.ports.worktrees.forget(id);
    this.ports.onChanged();
  }

  /** Brings a removed worktree back, exactly, at its place. Gives what the user should know. Throws GitError, HostError `snapshot-expired`. */
  restore(id: string, by: WorktreeActor): Promise<readonly string[]> {
    return this.inTurn(id, async () => {
      const record = this.known(id);
      if (record.life.is === 'here' && (await exists(record.path))) return [];
      return this.restoreNow(record, by);
    });
  }

  private async restoreNow(record: WorktreeRecord, by: WorktreeActor): Promise<readonly string[]> {
    const { id, path, projectRoot } = record;
    const repository = await readRepository(projectRoot);
    return holdRepository(repository.commonDir, async () => {
      const directory = join(this.ports.directory, `restore-${id}`);
      await this.makeDirectory();
      await rm(directory, { recursive: true, force: true });
      const { snapshot, at } = await this.snapshotFor(record);
      const name = record.threadIds[0] ?? id;
      await this.ports.worktrees.save({ id, life: { is: 'restoring', snapshot, at, directory } });
      let notes: readonly string[];
      try {
        ({ notes } = await restoreSnapshot({ root: projectRoot, snapshot, worktree: path, name, directory }));
        await noteBuilt(directory);
      } catch (error) {
        await this.takeBack(this.known(id)).catch((failure: unknown) => this.ports.log.warn(`${path} could not be cleared away yet: ${describeError(failure).message}`));
        throw error;
      }
      notes = [...notes, ...(await this.finishRestoration(this.known(id), by))];
      this.ports.onChanged();
      return notes;
    });
  }

  /** Ends a restoration of which all is there; from then on the worktree is its user's. Gives what the user should know. */
  private async finishRestoration(record: WorktreeRecord, by: WorktreeActor): Promise<string[]> {
    const { life, path, id, projectRoot, threadIds } = record;
    if (life.is !== 'restoring') throw new HostError('internal', 'Only a restoration is finished.');
    const { snapshot, directory } = life;
    await this.ports.worktrees.save({ id, gitDir: await pointerOf(path), lastUsedAt: this.ports.now().toISOString(), life: { is: 'here' } });
    await finishSnapshot({ root: projectRoot, snapshot, directory, name: threadIds[0] ?? id });
    const notes = await this.include(projectRoot, path);
    await this.ports.audit.append({ type: 'worktree-restored', worktreeId: id, path, snapshot: snapshot.ref, by });
    return notes;
  }

  /** Copies the ignored files that the user's checkout lists for worktrees. One that cannot be copied is no reason to do without the worktree. */
  async include(from: string, to: string): Promise<string[]> {
    try {
      return includeNotes(await copyIncluded({ from, to }));
    } catch (error) {
      return [`The files that .worktreeinclude of ${from} lists could not be copied: ${describeError(error).message}`];
    }
  }

  /** Which snapshot brings a worktree back: that of its removal, or the last one of a worktree that somebody else has deleted. */
  private async snapshotFor(record: WorktreeRecord): Promise<{ snapshot: Snapshot; at: string }> {
    const repository = await readRepository(record.projectRoot);
    const kept = (await listSnapshots(repository.commonDir)).filter(({ worktreeId }) => worktreeId === record.id);
    if (record.life.is === 'removed') {
      const { snapshot, at } = record.life;
      if (!kept.some(({ ref, tip }) => ref === snapshot.ref && tip === snapshot.tip)) {
        throw new HostError('snapshot-expired', `${record.path} was removed, and its snapshot has expired${snapshot.head === null ? '' : `; it was at the commit ${snapshot.head.slice(0, 12)}${snapshot.branch === null ? '' : ` of ${pathForPeople(Buffer.from(snapshot.branch.replace('refs/heads/', '')).toString('latin1'))}`}`}. "baton worktree create" makes another.`, {});
      }
      return { snapshot, at };
    }
    const where = await locateWorktree(record.path, record.gitDir, this.ports.worktrees.base);
    if (where.is !== 'gone') throw new HostError('worktree-kept', `${record.path} is not gone; only what is gone is restored.`);
    if (where.gitDir !== null) throw new HostError('worktree-kept', `${record.path} was deleted by hand, and git still has its commits and what was staged. "baton worktree repair ${record.id} --anew" puts that back.`);
    const newest = kept.at(-1);
    if (newest === undefined) throw new HostError('snapshot-expired', `${record.path} was deleted by hand, git has forgotten it, and there is no snapshot of it. "baton worktree remove ${record.id}" forgets it.`);
    return this.withSpool(`reading-${record.id}`, async (spool) => ({ snapshot: await readSnapshot(repository, newest, join(spool, 'shadow')), at: this.ports.now().toISOString() }));
  }

  /** A thread is about to be used: its worktree is brought back where it was removed. */
  async wake(threadId: string): Promise<void> {
    const record = this.ports.worktrees.ofThread(threadId);
    if (record === undefined) return;
    await this.ports.worktrees.touch(record.id);
    // A removal or restore that is under way is waited for.
    if (record.life.is !== 'here' || this.turns.has(record.id)) await this.inTurn(record.id, () => this.bringBack(record.id));
  }

  /** Has a worktree to itself: it is brought back where it was removed, and until `act` ends nothing here removes, restores or mends it. */
  occupy<T>(id: string, act: () => Promise<T>): Promise<T> {
    return this.inTurn(id, async () => {
      await this.bringBack(id);
      await this.ports.worktrees.touch(id);
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
    for (const { id, life: { is } } of this.ports.worktrees.all()) {
      if (is !== 'removing' && is !== 'restoring') continue;
      try {
        await this.inTurn(id, () => Promise.resolve());
        this.ports.onChanged();
      } catch (error) {
        wanted.add(`restore-${id}`);
        this.ports.log.warn(`The worktree ${id} was left in the middle of its ${is === 'removing' ? 'removal' : 'restoration'}, and that cannot be ended yet: ${describeError(error).message}`);
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
      if (life.is === 'removing') return life.verified ? this.finishRemoval(record) : this.putBack(record);
      if (!(await exists(join(life.directory, BUILT)))) return this.takeBack(record);
      // It has been its user's since, who may have worked in it.
      for (const note of await this.finishRestoration(record, 'local')) this.ports.log.info(`${record.path} is restored. ${note}`);
    });
  }

  private async finishRemoval(record: WorktreeRecord): Promise<void> {
    const { life, path, id } = record;
    if (life.is !== 'removing' || !life.verified) throw new HostError('internal', 'Only a verified removal is finished.');
    await releaseSubmodules(life.snapshot.submodules, path, life.aside);
    await removeEntry(life.gitDir, [path, life.aside]);
    await deleteTree(life.aside);
    await removeIfEmpty(dirname(path), this.ports.worktrees.base);
    await this.ports.worktrees.save({ id, gitDir: null, life: { is: 'removed', snapshot: life.snapshot, at: this.ports.now().toISOString() } });
  }

  /** Undoes a removal that was not verified. */
  private async putBack(record: WorktreeRecord): Promise<void> {
    const { life, path, id } = record;
    if (life.is !== 'removing' || life.verified) throw new HostError('internal', 'Only a removal that was not verified is undone.');
    if (await exists(life.aside)) {
      if (await exists(path)) throw new HostError('worktree-kept', `${path} was made anew while its worktree lay at ${life.aside}. Move it away; then the worktree goes back to its place.`);
      await mkdir(dirname(path), { recursive: true, mode: 0o700 });
      await rename(life.aside, path);
      // Git may have noted the other place meanwhile, as it does by itself.
      if ((await locateWorktree(path, life.gitDir, this.ports.worktrees.base)).is !== 'here') await linkWorktree(path, life.gitDir);
    }
    await returnSubmodules(life.snapshot.submodules, path);
    await this.ports.worktrees.save({ id, life: { is: 'here' } });
  }

  /** Undoes a restoration of which not all is there. */
  private async takeBack(record: WorktreeRecord): Promise<void> {
    const { life, path, id } = record;
    if (life.is !== 'restoring') throw new HostError('internal', 'Only a restoration is taken back.');
    await rollbackRestore(life.directory);
    await removeIfEmpty(dirname(path), this.ports.worktrees.base);
    await this.ports.worktrees.save({ id, gitDir: null, life: { is: 'removed', snapshot: life.snapshot, at: life.at } });
  }

  /** A recursive `mkdir` calls a file system that can only be read a missing directory (Node.js), so this is none. */
  private async makeDirectory(): Promise<void> {
    const { directory } = this.ports;
    await mkdir(directory, { mode: 0o700 }).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw new HostError('worktree-kept', `Nothing was changed, since Baton cannot write to ${directory}: ${describeError(error).message}`, { cause: error });
    });
  }

  private async withSpool<T>(name: string, act: (spool: string) => Promise<T>): Promise<T> {
    const spool = join(this.ports.directory, name);
    await this.makeDirectory();
    await rm(spool, { recursive: true, force: true });
    await mkdir(spool, { mode: 0o700 });
    try {
      return await act(spool);
    } finally {
      await rm(spool, { recursive: true, force: true });
    }
  }
}

/** In the directory of a restoration: all of the worktree is there, and a host that finds it so goes forward. */
const BUILT = 'built';

async function noteBuilt(directory: string): Promise<void> {
  const file = await open(join(directory, BUILT), 'w');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Which repositories in a worktree its snapshot does not keep, in a sentence; null where there are none. */
async function leftOut(record: WorktreeRecord, facts: WorktreeFacts, { submodules }: Snapshot, discardIgnored: boolean): Promise<string | null> {
  // Nobody has looked for ignored files in one that no .gitmodules names.
  const strange = submodules.find(({ place }) => !facts.standing?.submodules.includes(place));
  if (strange !== undefined) return `It tracks ${pathForPeople(strange.place)}, a repository of its own that no .gitmodules names.`;
  if (discardIgnored) return null;
  const clones = await repositoriesBelow(record.path, new Set(submodules.map(({ place }) => place)));
  return clones.length === 0 ? null : `It holds repositories that git ignores there and no snapshot keeps: ${pathsForPeople(clones)}. "baton worktree remove ${record.id} --discard-ignored" removes it all the same.`;
}

function withoutIgnored(facts: WorktreeFacts): WorktreeFacts {
  if (facts.standing === null) return facts;
  return { ...facts, standing: { ...facts.standing, ignored: { ...facts.standing.ignored, own: { count: 0, bytes: 0, names: [] } } } };
}

async function exists(path: string): Promise<boolean> {
  return lstat(path).then(() => true, (error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT' || (error as NodeJS.ErrnoException).code === 'ENOTDIR') return false;
    throw error;
  });
}

/** The directory that a worktree had to itself, if nothing else is in it. */
async function removeIfEmpty(directory: string, base: string): Promise<void> {
  if (dirname(directory) === base && /^[0-9a-f]{8}$/.test(basename(directory))) await rmdir(directory).catch(() => undefined);
}
