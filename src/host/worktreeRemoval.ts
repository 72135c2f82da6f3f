import { mkdir, rename } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { pathForPeople, pathsForPeople } from '../git/bytePath';
import { isKeptOf, placeBeside } from '../git/keptBeside';
import { lookAgain, snapshotRef, takeSnapshot, type Snapshot } from '../git/snapshots';
import { followSubmodules, releaseSubmodules, returnSubmodules } from '../git/submoduleRemoval';
import { isThere } from '../git/worktreeDirectories';
import { isEntryOf, linkWorktree, locateWorktree, lockEntry, removeEntry, unlockEntry } from '../git/worktreeEntry';
import { expectHere, readStanding, type WorktreeFacts } from '../git/worktreeInventory';
import { deleteTree, firstChangedSince, momentOn } from './deleteTree';
import { readUnkept, wayOut } from './discardedFiles';
import { HostError } from './hostError';
import { removeIfEmpty, withSpool, type KeeperPorts, type WorktreeActor } from './keeperPorts';
import type { WorktreeRecord } from './managedWorktrees';
import { processesIn, workplaces } from './processesIn';
import { holdRepository } from './repositoryClaim';
import { factsOf, verdictOf } from './worktreeVerdict';

export interface RemovalOptions {
  /** The user lets the files on the list go that has this digest, or one that begins so. */
  readonly discardIgnored?: string | undefined;
  /** Asked under the lock: false leaves the worktree alone. */
  readonly still?: (record: WorktreeRecord, facts: WorktreeFacts) => boolean;
}

/** A snapshot that a removal ended with, and what the user should know of it. */
export interface Removed extends Snapshot {
  readonly notes: readonly string[];
}

/**
 * Removes a worktree, keeping all of its working state in a snapshot. Throws HostError `worktree-kept` with the reason where it may
 * not be removed, `worktree-changed` where somebody wrote to it meanwhile, GitError; the worktree is then as it was.
 */
export async function removeWorktree(ports: KeeperPorts, record: WorktreeRecord, by: WorktreeActor, { discardIgnored, still }: RemovalOptions): Promise<Removed> {
  const { id, path, projectRoot } = record;
  const kept = (why: string) => new HostError('worktree-kept', `${path} is not removed. ${why}`);
  if (record.life.is !== 'here') throw new HostError('worktree-kept', record.life.is === 'removed' ? `${path} is removed already.` : `${path} is being restored or removed.`);
  const facts = await factsOf(ports, record, false);
  if (still?.(record, facts) === false) throw new HostError('worktree-kept', `${path} was used meanwhile.`);
  const overruling = { ignoredFiles: discardIgnored !== undefined };
  const verdict = await verdictOf(ports, record, facts, overruling);
  if (!verdict.safe && verdict.code !== 'ignored-files') throw kept(verdict.reason);
  const standing = expectHere(facts);
  const { gitDir, commonDir } = standing;
  const unkept = await readUnkept(path, standing);
  if (unkept.strange.length > 0) throw kept(`It tracks ${pathsForPeople(unkept.strange)}, a repository of its own that no .gitmodules names.`);
  if (unkept.count > 0 && (discardIgnored === undefined || !unkept.digest.startsWith(discardIgnored))) {
    throw kept(`${discardIgnored === undefined ? '' : 'What would be lost is not, or no longer, what you let go. '}${unkept.sentence} ${wayOut(id, unkept)}`);
  }
  return holdRepository(commonDir, () => withSpool(ports.directory, `removal-${id}`, async (spool) => {
    const since = await momentOn(dirname(path));
    const snapshot = await takeSnapshot({ root: path, ref: snapshotRef(id, ports.now()), spool: join(spool, 'capture') });
    // Beside its place, so that relative paths into it and out of it go on leading where they did.
    const aside = join(dirname(path), `.removing-${basename(path)}`);
    if (await isThere(aside)) throw new HostError('worktree-kept', `${aside} is in the way. Baton has no record of it; move it away.`);
    const removing = { is: 'removing' as const, aside, gitDir, snapshot, verified: false, since: since.toString() };
    await ports.worktrees.save({ id, gitDir, life: removing });
    const changed = (why: string) => new HostError('worktree-changed', `${path} changed while it was being removed, so it is back at its place, and its snapshot stays. ${why}`);
    try {
      await lockEntry(gitDir);
      await rename(path, aside);
      await followSubmodules(snapshot.submodules, path, aside);
      // Nobody finds it by its path any more; what was written until then shows now.
      const again = { ...facts, standing: await readStanding(aside, gitDir, projectRoot) };
      const working = await workplaces(true);
      const verdictAgain = await verdictOf(ports, record, again, overruling, working);
      if (!verdictAgain.safe) throw changed(verdictAgain.reason);
      if (again.standing.ignored.own.digest !== standing.ignored.own.digest) throw changed('Its ignored files are not the same any more.');
      const processes = await processesIn(aside, working);
      if (processes.length > 0) throw changed(`Programs work in it (process ${processes.slice(0, 3).join(', ')}).`);
      if ((await lookAgain(aside, join(spool, 'again'))) !== snapshot.fingerprint) throw changed('');
      const moving = new Set(snapshot.submodules.flatMap(({ place, linked }) => (linked ? [] : [`${place}/.git`])));
      const late = await firstChangedSince(aside, since, (name) => moving.has(name));
      if (late !== null) throw changed(`Somebody wrote to ${pathForPeople(late)}.`);
    } catch (error) {
      await undoRemoval(ports, ports.worktrees.get(id) ?? record);
      throw error;
    }
    const verified = await ports.worktrees.save({ id, life: { ...removing, verified: true } });
    const notes = await finishRemoval(ports, verified, false);
    await ports.audit.append({ type: 'worktree-removed', worktreeId: id, path, snapshot: snapshot.ref, by });
    return { ...snapshot, notes };
  }));
}

/**
 * Ends a removal that was verified. Gives what the user should know.
 *
 * @param again the host that began it has not ended it
 */
export async function finishRemoval(ports: KeeperPorts, { life, path, id, undeleted: before }: WorktreeRecord, again: boolean): Promise<string[]> {
  if (life.is !== 'removing' || !life.verified) throw new HostError('internal', 'Only a verified removal is finished.');
  const { aside, gitDir, since, snapshot } = life;
  await releaseSubmodules(snapshot.submodules, path, aside);
  await removeEntry(gitDir, [path, aside]);
  const { notes, undeleted } = await clearAway(path, { path: aside, since }, again);
  await removeIfEmpty(dirname(path), ports.worktrees.base);
  await ports.worktrees.save({ id, gitDir: null, undeleted: undeleted ?? before, life: { is: 'removed', snapshot, at: ports.now().toISOString() } });
  for (const note of notes) ports.log.warn(note);
  return notes;
}

/** Tries once more to delete what could not be deleted when a worktree was removed. */
export async function retryDeletion({ worktrees, log }: KeeperPorts, { id, path, undeleted: before }: WorktreeRecord): Promise<void> {
  if (before === null) return;
  const { notes, undeleted } = await clearAway(path, before, true);
  await removeIfEmpty(dirname(path), worktrees.base);
  if (undeleted?.why === before.why) return;
  await worktrees.save({ id, undeleted });
  for (const note of notes) log.warn(note);
}

/** Deletes what lies aside of a removed worktree. What is left is put where it is in nobody's way: the worktree may come back meanwhile. */
async function clearAway(worktree: string, { path, since }: { readonly path: string; readonly since: string | null }, again: boolean): Promise<{ notes: string[]; undeleted: WorktreeRecord['undeleted'] }> {
  const left = await deleteTree(path, since === null ? null : BigInt(since), again);
  if (left === null) return { notes: [], undeleted: null };
  // What cannot be moved stays where it is.
  const beside = isKeptOf(path, worktree) ? path : placeBeside(worktree);
  const place = await rename(path, beside).then(() => beside, () => path);
  const { changed: { names, count }, failed } = left;
  const notes = [
    ...(count === 0 ? [] : [`Somebody wrote to ${worktree} while it was being deleted: ${pathsForPeople(names)}${count > names.length ? ', …' : ''}. That is not in its snapshot, and was kept: it is in ${place}. Take what you need, then delete it.`]),
    ...(failed === null ? [] : [`Not all of ${worktree} could be deleted: ${failed.message}. Its snapshot has all of it, and it can be restored all the same. What is left is in ${place}: unmount what is mounted there, or delete it as the user to whom it belongs. Baton tries again at each sweep.`]),
  ];
  return { notes, undeleted: failed === null ? null : { path: place, since, why: failed.message } };
}

/** Undoes a removal that was not verified. */
export async function undoRemoval({ worktrees, log }: KeeperPorts, { life, path, id }: WorktreeRecord): Promise<void> {
  if (life.is !== 'removing' || life.verified) throw new HostError('internal', 'Only a removal that was not verified is undone.');
  const { aside, gitDir, snapshot } = life;
  if (await isThere(aside)) {
    if (await isThere(path)) throw new HostError('worktree-kept', `${path} was made anew while its worktree lay at ${aside}. Move it away; then the worktree goes back to its place.`);
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await rename(aside, path);
  }
  const isKnown = await isEntryOf(gitDir, [path, aside]);
  if (isKnown) {
    await unlockEntry(gitDir);
    // Git may have noted the other place meanwhile, as it does by itself.
    if ((await locateWorktree(path, gitDir, worktrees.base)).is !== 'here') await linkWorktree(path, gitDir);
  } else log.warn(`Git has forgotten the worktree ${path} while Baton was removing it. All of it is in the snapshot ${snapshot.ref}: move ${path} away, and "baton worktree restore ${id}" makes it again.`);
  await returnSubmodules(snapshot.submodules, path);
  await worktrees.save({ id, gitDir: isKnown ? gitDir : null, life: { is: 'here' } });
}
