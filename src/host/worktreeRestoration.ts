import { rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pathForPeople } from '../git/bytePath';
import { writeDurably } from '../git/durable';
import { readRepository } from '../git/repository';
import { rollbackRestore } from '../git/restore';
import { finishSnapshot, restoreSnapshot } from '../git/snapshotRestore';
import { listSnapshots, readSnapshot, type Snapshot } from '../git/snapshots';
import { isThere } from '../git/worktreeDirectories';
import { locateWorktree, pointerOf } from '../git/worktreeEntry';
import { copyIncluded, includeNotes } from '../git/worktreeInclude';
import { HostError } from './hostError';
import { makeKeepersDirectory, removeIfEmpty, withSpool, type KeeperPorts, type WorktreeActor } from './keeperPorts';
import type { WorktreeRecord } from './managedWorktrees';
import { holdRepository } from './repositoryClaim';
import { describeError } from './wireError';

/** Brings a worktree back, exactly, at its place. Gives what the user should know. Throws GitError, HostError `snapshot-expired`. */
export async function restoreWorktree(ports: KeeperPorts, record: WorktreeRecord, by: WorktreeActor): Promise<readonly string[]> {
  const { worktrees, log } = ports;
  const { id, path, projectRoot } = record;
  const repository = await readRepository(projectRoot);
  return holdRepository(repository.commonDir, async () => {
    const directory = join(ports.directory, `restore-${id}`);
    await makeKeepersDirectory(ports.directory);
    await rm(directory, { recursive: true, force: true });
    const { snapshot, at } = await snapshotFor(ports, record);
    const begun = await worktrees.save({ id, life: { is: 'restoring', snapshot, at, directory } });
    let notes: readonly string[];
    try {
      ({ notes } = await restoreSnapshot({ root: projectRoot, snapshot, worktree: path, name: record.threadIds[0] ?? id, directory }));
      await writeDurably(join(directory, BUILT), '');
    } catch (error) {
      const kept = await takeBackRestoration(ports, worktrees.get(id) ?? begun).catch((failure: unknown) => {
        log.warn(`${path} could not be cleared away yet: ${describeError(failure).message}`);
        return [];
      });
      if (kept.length > 0) throw new HostError('worktree-changed', `${path} could not be restored: ${describeError(error).message} ${kept.join(' ')}`, { cause: error });
      throw error;
    }
    return [...notes, ...(await finishRestoration(ports, worktrees.get(id) ?? begun, by))];
  });
}

/** Ends a restoration of which all is there; from then on the worktree is its user's. Gives what the user should know. */
export async function finishRestoration(ports: KeeperPorts, record: WorktreeRecord, by: WorktreeActor): Promise<string[]> {
  const { life, path, id, projectRoot, threadIds } = record;
  if (life.is !== 'restoring') throw new HostError('internal', 'Only a restoration is finished.');
  const { snapshot, directory } = life;
  await ports.worktrees.save({ id, gitDir: await pointerOf(path), lastUsedAt: ports.now().toISOString(), life: { is: 'here' } });
  await finishSnapshot({ root: projectRoot, snapshot, directory, name: threadIds[0] ?? id });
  const notes = await includeListed(projectRoot, path);
  await ports.audit.append({ type: 'worktree-restored', worktreeId: id, path, snapshot: snapshot.ref, by });
  return notes;
}

/** Undoes a restoration of which not all is there. Gives what the user should know. */
export async function takeBackRestoration({ worktrees, log }: KeeperPorts, { life, path, id }: WorktreeRecord): Promise<string[]> {
  if (life.is !== 'restoring') throw new HostError('internal', 'Only a restoration is taken back.');
  const notes = (await rollbackRestore(life.directory)).map((place) => keptNote(path, place));
  for (const note of notes) log.warn(note);
  await removeIfEmpty(dirname(path), worktrees.base);
  await worktrees.save({ id, gitDir: null, life: { is: 'removed', snapshot: life.snapshot, at: life.at } });
  return notes;
}

/** Of a worktree that was being made, in which somebody wrote meanwhile. */
export function keptNote(worktree: string, place: string): string {
  return `Somebody wrote to ${worktree} before all of it was there. It was not completed, and what is there of it is kept: it is in ${place}. Take what you need, then delete it ("git worktree remove --force" there).`;
}

/** In the directory of a restoration: all of the worktree is there, and a host that finds it so goes forward. */
const BUILT = 'built';

/** Whether all of a worktree is there that was being restored. */
export function isBuilt(directory: string): Promise<boolean> {
  return isThere(join(directory, BUILT));
}

/** Copies the ignored files that the user's checkout lists for worktrees. One that cannot be copied is no reason to do without the worktree. */
export async function includeListed(from: string, to: string): Promise<string[]> {
  try {
    return includeNotes(await copyIncluded({ from, to }));
  } catch (error) {
    return [`The files that .worktreeinclude of ${from} lists could not be copied: ${describeError(error).message}`];
  }
}

/** Which snapshot brings a worktree back: that of its removal, or the last one of a worktree that somebody else has deleted. */
export async function snapshotFor(ports: KeeperPorts, record: WorktreeRecord): Promise<{ snapshot: Snapshot; at: string }> {
  const { id, path, life, gitDir, projectRoot } = record;
  const repository = await readRepository(projectRoot);
  const kept = (await listSnapshots(repository.commonDir)).filter(({ worktreeId }) => worktreeId === id);
  if (life.is === 'removed') {
    const { snapshot, at } = life;
    if (!kept.some(({ ref, tip }) => ref === snapshot.ref && tip === snapshot.tip)) {
      throw new HostError('snapshot-expired', `${path} was removed, and its snapshot has expired${snapshot.head === null ? '' : `; it was at the commit ${snapshot.head.slice(0, 12)}${snapshot.branch === null ? '' : ` of ${pathForPeople(Buffer.from(snapshot.branch.replace('refs/heads/', '')).toString('latin1'))}`}`}. "baton worktree create" makes another.`, {});
    }
    return { snapshot, at };
  }
  const where = await locateWorktree(path, gitDir, ports.worktrees.base);
  if (where.is !== 'gone') throw new HostError('worktree-kept', `${path} is not gone; only what is gone is restored.`);
  if (where.gitDir !== null) throw new HostError('worktree-kept', `${path} was deleted by hand, and git still has its commits and what was staged. "baton worktree repair ${id} --anew" puts that back.`);
  const newest = kept.at(-1);
  if (newest === undefined) throw new HostError('snapshot-expired', `${path} was deleted by hand, git has forgotten it, and there is no snapshot of it. "baton worktree remove ${id}" forgets it.`);
  return withSpool(ports.directory, `reading-${id}`, async (spool) => ({ snapshot: await readSnapshot(repository, newest, join(spool, 'shadow')), at: ports.now().toISOString() }));
}
