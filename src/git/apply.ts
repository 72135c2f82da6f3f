import { existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { prepareApply, type ApplyPlan, type ApplyRequest, type PreparedApply } from './applyPlan';
import { readApplyRecord, writeApplyRecord, type ApplyChange, type ApplyRecord } from './applyRecord';
import { updateRefs, type RefUpdate } from './branchChoice';
import { buildState, putBackFiles, type BuildOptions } from './buildState';
import { pathsForPeople, sortedPaths, type BytePath } from './bytePath';
import { shadowOf, type CapturedState } from './capture';
import { captureCheckout } from './captureCheckout';
import { gitText, runGit } from './git';
import { syncRefs } from './durable';
import { letGoOfAside } from './fileExchange';
import { GitError } from './gitError';
import { applyRefs, goBack, isExplained, keepFound, packStates, standingOf, wayBack } from './goBack';
import { holdsIndex, lockIndex, unlockIndex } from './indexLock';
import { fingerprintOf, zeroId } from './manifest';
import { publishPacks, withdrawPacks } from './publish';
import { readRepository, type ObjectId, type Repository } from './repository';
import { autoMergeOf, restoreShadow } from './restorePart';
import { treeChanges } from './restoreFiles';
import { readState, type StateToRestore, type TreeChange } from './restoredState';
import { writeOperation } from './restoreOperation';
import { recordCarried } from './restoreSettings';
import { inShadow, type Shadow } from './shadow';
import { applyRef, stampOf } from './snapshots';

export interface ApplyOptions extends Omit<ApplyRequest, 'known'> {
  /** Further states with which the thread is known to have left the target. */
  readonly known: readonly string[];
  /** Directory of this thread's own, for the record and the spool. */
  readonly directory: string;
  /** The plan that was agreed to; another one is not carried out. */
  readonly expected: string | null;
  readonly now: Date;
  readonly signal?: AbortSignal | undefined;
}

const spoolOf = (directory: string) => path.join(directory, 'spool');

/** What {@link applyState} would do. Nothing but a spool is written. */
export async function planApply(options: ApplyOptions): Promise<ApplyPlan> {
  const cutOff = await readCutOff(options.directory);
  const notes = cutOff === null ? [] : [`The last apply was cut off in ${cutOff.change.target}. It is taken back before anything else is done; what would be done then may differ from this.`];
  const { plan } = await withSpool(options.directory, (spool) => prepare(options, spool));
  return { ...plan, notes: [...notes, ...plan.notes] };
}

/**
 * Moves the working state of one checkout into another of the same repository. Before anything is changed, the target's state is
 * kept under `refs/baton/snapshots/apply/` and the change noted on disk; whatever fails is taken back, and what a crash left is
 * mended by {@link mendApply}. The target's index is locked meanwhile, as git itself does it.
 *
 * @throws {GitError} `apply-refused`, `apply-outdated` (another plan than was agreed to), `index-locked`, what a capture
 *   throws, `disk-full`; the target is then as it was
 */
export async function applyState(options: ApplyOptions): Promise<ApplyPlan> {
  const { directory, threadId, signal } = options;
  await mendApply(directory);
  const target = await readRepository(options.target, signal);
  const previous = (await readApplyRecord(directory))?.change ?? null;
  const begun: ApplyChange = {
    phase: 'preparing', source: options.source, target: target.root, stamp: stampOf(options.now),
    before: null, tree: null, standing: null, head: null, origHead: null, after: null, packs: [], commonBefore: previous?.common ?? null, common: previous?.common ?? null,
  };
  await writeApplyRecord(directory, { version: 1, threadId, change: begun, previous });
  try {
    return await withSpool(directory, async (spool) => {
      await lockIndex(target.gitDir, target.root, threadId);
      const prepared = await prepare(options, spool);
      const { plan } = prepared;
      if (plan.refused !== null) throw new GitError('apply-refused', plan.refused.message);
      if (options.expected !== null && options.expected !== plan.digest) throw new GitError('apply-outdated', 'One of the two checkouts has changed since this was shown, so nothing was done. Look at what would happen now, and try again.');
      const record: ApplyRecord = { version: 1, threadId, change: begun, previous };
      // The last change can still be undone then.
      if (plan.how === 'same') await finish(directory, record);
      else await carryOut(prepared, target, record, options);
      return plan;
    });
  } catch (error) {
    const mended = await mendApply(directory).catch((cause: unknown) => {
      throw new GitError('failed', `${(error as Error).message} And ${target.root} could not be put back yet: ${(cause as Error).message} "baton apply --undo" tries again; the state before is kept in ${applyRef(threadId, begun.stamp, 'before')}.`, { cause });
    });
    if (mended && GitError.is(error) && error.reason === 'failed') throw new GitError('failed', `${error.message} ${target.root} is as it was before.`, { cause: error });
    throw error;
  } finally {
    await unlockIndex(target.gitDir, threadId);
  }
}

async function prepare(options: ApplyOptions, spool: string): Promise<PreparedApply> {
  const common = (await readApplyRecord(options.directory))?.change.common ?? null;
  if (common === null) return prepareApply(options, null, spool, options.signal);
  // Its objects are no longer sure to be there once its snapshot has expired.
  const kept = await valueOf(options.target, applyRef(options.threadId, common.stamp, 'given'));
  return prepareApply({ ...options, known: [...options.known, common.fingerprint] }, kept, spool, options.signal);
}

async function carryOut(prepared: PreparedApply, target: Repository, begun: ApplyRecord, options: ApplyOptions): Promise<void> {
  const { plan, shadow, source, from, to } = prepared;
  const { directory, threadId, signal } = options;
  const { stamp } = begun.change;
  if (to === null || prepared.expectedFingerprint === null) throw new GitError('failed', 'A plan that was not refused says what the target becomes.');
  const zero = zeroId(target.objectFormat);
  const given = { tip: source.commits.manifest, fingerprint: source.fingerprint };
  const spool = spoolOf(directory);

  // Everything that either state or their merge has is in the repository before a file changes.
  const pack = await packStates(shadow, [from.tip, given.tip, await treeCommit(shadow, to.trees.worktree, from.tip, signal)], [prepared.target.head, source.head], path.join(spool, 'publish'), signal);
  const head = plan.head === null ? null : { branch: plan.head.branch, before: plan.head.before, after: plan.head.after };
  const changing: ApplyChange = {
    ...begun.change, tree: to.trees.worktree, head, origHead: await valueOf(target.root, 'ORIG_HEAD'), packs: [pack],
    before: { tip: from.tip, fingerprint: prepared.target.fingerprint, head: prepared.target.head, branch: prepared.target.branch },
    standing: standingOf(to), common: { ...given, stamp },
  };
  const mark = (isChanging: boolean) => writeApplyRecord(directory, { ...begun, change: { ...changing, phase: isChanging ? 'changing' : 'preparing' } });
  await mark(false);
  await publishPacks({ ...shadow, gitDir: path.join(spool, 'publish') }, target, [pack]);
  await updateRefs(target.root, [
    { name: applyRef(threadId, stamp, 'before'), before: null, after: from.tip },
    { name: applyRef(threadId, stamp, 'given'), before: null, after: given.tip },
  ], zero);
  await syncRefs(target, [applyRef(threadId, stamp, 'before'), applyRef(threadId, stamp, 'given')]);

  const untracked = await buildState(shadow, target, to, prepared.target, { temporary: spool, mark, signal });
  if (head !== null) await moveHead(target, head.branch, head.before, head.after);
  await placeOperation(target, from, to, changing.origHead);
  await recordCarried(target, untracked, signal);
  const [{ state: after }] = await captureCheckout({ root: target.root, spool: path.join(spool, 'after'), receipt: { justWritten: false }, signal });
  if (after.fingerprint !== prepared.expectedFingerprint) await expectOnlyMore(after, to, signal);
  const afterPack = await packStates(shadowOf(after), [after.commits.manifest], [after.head], path.join(spool, 'publish-after'), signal);
  await publishPacks({ ...shadow, gitDir: path.join(spool, 'publish-after') }, target, [afterPack]);
  await updateRefs(target.root, [{ name: applyRef(threadId, stamp, 'after'), before: null, after: after.commits.manifest }], zero);
  await syncRefs(target, [applyRef(threadId, stamp, 'after')]);
  await letGoOfAside(target, 'refuse');
  const done: ApplyChange = { ...changing, phase: 'done', after: { tip: after.commits.manifest, fingerprint: after.fingerprint } };
  await writeApplyRecord(directory, { version: 1, threadId, change: done, previous: null });
  // All is done; what is not dropped now is dropped by the next one.
  await dropRefs(target, threadId, [stamp, done.commonBefore?.stamp ?? '']).catch(() => undefined);
}

/** Files that were ignored may not be any more, when what decides on it was applied; nothing else may differ. */
async function expectOnlyMore(after: CapturedState, to: StateToRestore, signal?: AbortSignal): Promise<void> {
  const shadow = shadowOf(after);
  const there = await readState(shadow, after.commits.manifest, signal);
  const more = await treeChanges(shadow, to.trees.worktree, there.trees.worktree, signal);
  const asIfTheSame: StateToRestore = { ...there, trees: { ...there.trees, worktree: to.trees.worktree } };
  if (more.every(({ fromMode }) => fromMode === '000000') && fingerprintOf(asIfTheSame.manifest, asIfTheSame.trees) === fingerprintOf(to.manifest, to.trees)) return;
  throw new GitError('failed', `${after.root} is not what it was to become: something else wrote there meanwhile.`);
}

/** What a crash or a failure has left in the middle of a change; null where nothing was. Writes nothing. */
async function readCutOff(directory: string): Promise<ApplyRecord | null> {
  const record = await readApplyRecord(directory);
  if (record === null || !['changing', 'undoing'].includes(record.change.phase) || !existsSync(record.change.target)) return null;
  return record;
}

/**
 * Takes back the last apply of a thread: every file that it changed, the index and HEAD are as before. What was changed since in
 * other files stays. One that was cut off is taken back as {@link mendApply} does it, and no other.
 *
 * @param options.dryRun only says what would change; nothing but a spool is written
 * @returns the paths that change
 * @throws {GitError} `nothing-to-undo`; `apply-refused` where what it changed was changed again; `worktree-diverged` where that happens
 *   meanwhile, and nothing is undone; `index-locked`
 */
export async function undoApply(directory: string, options: { readonly dryRun: boolean; readonly signal?: AbortSignal | undefined }): Promise<{ readonly target: string; readonly changes: readonly TreeChange[] }> {
  const cutOff = await readCutOff(directory);
  const left = cutOff === null ? [] : await changesLeft(directory, cutOff.change, options.signal);
  if (!options.dryRun) await mendApply(directory);
  if (cutOff !== null) return { target: cutOff.change.target, changes: left };
  const record = await readApplyRecord(directory);
  // One that was cut off before it changed anything leaves the one before it.
  const change = record?.change.phase === 'preparing' ? record.previous : record?.change;
  if (record === null || change?.phase !== 'done' || change.before === null || change.after === null || change.tree === null) throw new GitError('nothing-to-undo', 'There is no apply of this thread that could be undone.');
  const { after, before } = change;
  const target = await readRepository(change.target, options.signal);
  const kept = applyRef(record.threadId, change.stamp, 'before');
  if ((await valueOf(target.root, kept)) === null) throw new GitError('nothing-to-undo', `What the last apply replaced in ${target.root} is not kept any more: its snapshot has expired, or was dropped. So it cannot be taken back as one; nothing was changed.`);
  return withSpool(directory, async (spool) => {
    if (!options.dryRun) await lockIndex(target.gitDir, target.root, record.threadId);
    try {
      const [{ state: present }] = await captureCheckout({ root: target.root, spool: path.join(spool, 'present'), signal: options.signal });
      const shadow = shadowOf(present);
      const [now, then, old] = [await readState(shadow, present.commits.manifest, options.signal), await readState(shadow, after.tip, options.signal), await readState(shadow, before.tip, options.signal)];
      const changes = await treeChanges(shadow, change.tree ?? then.trees.worktree, old.trees.worktree, options.signal);
      const since = await treeChanges(shadow, then.trees.worktree, now.trees.worktree, options.signal);
      const touched = new Set(changes.map(({ path: name }) => name));
      const again = since.filter(({ path: name }) => touched.has(name)).map(({ path: name }) => name);
      if (again.length > 0) throw new GitError('apply-refused', `What was applied to ${target.root} has been changed since in ${pathsForPeople(sortedPaths(again))}. Put those changes away first; the state before the apply is kept in ${kept}.`);
      const describe = (state: StateToRestore) => JSON.stringify([state.trees.index, state.trees.stages, state.manifest.head, state.manifest.branch, state.manifest.intentToAdd, state.manifest.flags, state.manifest.operation]);
      if (describe(now) !== describe(then)) throw new GitError('apply-refused', `Something was staged, committed or switched in ${target.root} since the apply, so it cannot be undone as one. The state before it is kept in ${kept}.`);
      if (!options.dryRun) {
        const undoing: ApplyRecord = { ...record, change: { ...change, phase: 'undoing' } };
        await putBack(target, undoing, present, spool, [], (isChanging) => writeApplyRecord(directory, isChanging ? undoing : record));
        const [{ state: back }] = await captureCheckout({ root: target.root, spool: path.join(spool, 'back'), signal: options.signal });
        // All of it is there again, so nothing else has to keep it.
        if (back.fingerprint === before.fingerprint) await withdraw(target, undoing);
      }
      return { target: target.root, changes };
    } finally {
      if (!options.dryRun) await unlockIndex(target.gitDir, record.threadId);
    }
  });
}

/** The paths that a change which was cut off touches, from what it makes to what was before. */
async function changesLeft(directory: string, { target, before, tree }: ApplyChange, signal?: AbortSignal): Promise<TreeChange[]> {
  if (before === null || tree === null) return [];
  const repository = await readRepository(target, signal);
  return withSpool(directory, async (spool) => {
    const shadow = await restoreShadow(repository, repository, spool);
    return treeChanges(shadow, tree, (await readState(shadow, before.tip, signal)).trees.worktree, signal);
  });
}

/** Puts right what a crash or a failure left of an apply or of its undoing: the target is as before it. Idempotent. */
export async function mendApply(directory: string): Promise<boolean> {
  const record = await readApplyRecord(directory);
  if (record === null) return false;
  const { change, threadId } = record;
  // A checkout that is gone has nothing to put back.
  const target = existsSync(change.target) ? await readRepository(change.target) : null;
  if (change.phase === 'done' || change.phase === 'undone') {
    // All was done but to let go of the lock; or an undoing had changed nothing yet.
    if (target !== null && (await holdsIndex(target.gitDir, threadId))) {
      await putBackFiles(target);
      await unlockIndex(target.gitDir, threadId);
    }
    return false;
  }
  await withSpool(directory, async (spool) => {
    if (target === null) return finish(directory, record);
    if (change.phase !== 'preparing') await lockIndex(target.gitDir, target.root, threadId);
    try {
      // Without the kept state nothing after it was begun.
      const isKept = (await valueOf(target.root, applyRef(threadId, change.stamp, 'before'))) !== null;
      const { own } = await putBackFiles(target);
      if (change.phase === 'preparing' || !isKept) {
        await withdraw(target, record);
        await finish(directory, record); return;
      }
      const [{ state: present }] = await captureCheckout({ root: target.root, spool: path.join(spool, 'present') });
      await putBack(target, record, present, spool, own);
    } finally {
      await unlockIndex(target.gitDir, threadId);
    }
  });
  return true;
}

async function finish(directory: string, record: ApplyRecord): Promise<void> {
  const undone: ApplyChange = { ...record.change, phase: 'undone', common: record.change.commonBefore, packs: [] };
  await writeApplyRecord(directory, { version: 1, threadId: record.threadId, change: record.previous ?? undone, previous: null });
}

/**
 * Makes of what is there what was before, in all that the change touched. What else is there stays.
 *
 * @param own paths that are back already, as another program has written them
 */
async function putBack(target: Repository, record: ApplyRecord, present: CapturedState, spool: string, own: readonly BytePath[] = [], mark?: BuildOptions['mark']): Promise<void> {
  const { change } = record;
  if (change.before === null || change.tree === null) throw new GitError('failed', 'A change that was begun names what was before.');
  const way = await wayBack(present, change.before.tip, change.tree, own);
  const { shadow, now, old } = way;
  if (!(await isExplained(way)) || !standsExplained(change, now, old)) await keepFound(target, record.threadId, change.stamp, present, spool);
  const untracked = await goBack(target, way, { temporary: spool, mark });
  if (change.head !== null) await moveHead(target, change.head.branch, change.head.after, change.head.before);
  await placeOperation(target, now, old, change.origHead);
  // Files that were ignored before the change belong to nobody's state.
  const ofState = new Set((await treeChanges(shadow, old.trees.index, old.trees.worktree)).map(({ path: name }) => name));
  await recordCarried(target, untracked.filter((name) => ofState.has(name)));
  await letGoOfAside(target, 'keep');
  await finish(path.dirname(spool), record);
  // What could not be done leaves nothing; what was undone leaves the states that it speaks of.
  if (change.phase === 'changing') await withdraw(target, record);
}

/** What neither the change nor its opposite explains was staged, begun or committed by somebody else. */
function standsExplained(change: ApplyChange, now: StateToRestore, old: StateToRestore): boolean {
  const [is, was] = [standingOf(now), standingOf(old)];
  return [was.index, change.standing?.index].includes(is.index) && [was.operation, change.standing?.operation].includes(is.operation)
    && now.manifest.branch === old.manifest.branch && [old.manifest.head, change.head?.after].includes(now.manifest.head);
}

/** Lets go of the states of an apply. */
async function withdraw(target: Repository, { change, threadId }: ApplyRecord): Promise<void> {
  const refs = await applyRefs(target, threadId);
  await updateRefs(target.root, refs.filter(({ name }) => name.includes(`/${change.stamp}/`) && !/\/found(-\d+)?$/.test(name)).map(({ name, oid }): RefUpdate => ({ name, before: oid, after: null })), zeroId(target.objectFormat));
  await withdrawPacks(target, change.packs);
}

async function valueOf(root: string, ref: string): Promise<ObjectId | null> {
  return (await gitText(['rev-parse', '-q', '--verify', ref], { cwd: root, answers: [1, 128] })) || null;
}

/** Of earlier applies only the states stay that they replaced. */
async function dropRefs(target: Repository, threadId: string, stamps: readonly string[]): Promise<void> {
  const old = (await applyRefs(target, threadId)).filter(({ name }) => /\/(given|after)$/.test(name) && !stamps.includes(name.split('/').at(-2) ?? ''));
  await updateRefs(target.root, old.map(({ name, oid }): RefUpdate => ({ name, before: oid, after: null })), zeroId(target.objectFormat));
}

/** HEAD follows where it is still where the change expects it. */
async function moveHead(target: Repository, branch: string | null, before: ObjectId, after: ObjectId): Promise<void> {
  const name = branch ?? 'HEAD';
  const value = await gitText(['rev-parse', '-q', '--verify', `${name}^{commit}`], { cwd: target.root, answers: [1, 128] });
  if (value !== before) return;
  await runGit(['update-ref', '--no-deref', '-m', 'baton: apply', name, after, before], { cwd: target.root });
}

/** Brings an operation in progress, and takes away the one that was; where neither side has any, nothing is touched. */
async function placeOperation(target: Repository, from: StateToRestore, to: StateToRestore, origHead: ObjectId | null): Promise<void> {
  const has = ({ manifest }: StateToRestore) => manifest.operation.kind !== null || manifest.operation.files.length > 0 || manifest.operation.refs.length > 0 || manifest.autoMerge;
  if (!has(from) && !has(to)) return;
  await writeOperation(target, to.manifest, await autoMergeOf(to, target), null);
  const brings = to.manifest.operation.files.some(([name]) => name === 'ORIG_HEAD');
  // Git may have collected the commit meanwhile.
  if (!brings && origHead !== null) await runGit(['update-ref', '--no-deref', 'ORIG_HEAD', origHead], { cwd: target.root, answers: [1, 128] });
}

/** A commit that names a tree, so that the tree can be packed. */
async function treeCommit(shadow: Shadow, tree: ObjectId, parent: ObjectId, signal?: AbortSignal): Promise<ObjectId> {
  const options = inShadow(shadow, { signal });
  const who = { NAME: 'Baton', EMAIL: 'baton@localhost', DATE: '@0 +0000' };
  const env = Object.fromEntries(['AUTHOR', 'COMMITTER'].flatMap((role) => Object.entries(who).map(([key, value]) => [`GIT_${role}_${key}`, value])));
  return gitText(['commit-tree', tree, '-p', parent, '-m', 'baton: apply'], { ...options, env: { ...options.env, ...env } });
}

async function withSpool<T>(directory: string, act: (spool: string) => Promise<T>): Promise<T> {
  const spool = spoolOf(directory);
  // A git that was begun by a host which was killed may be at work there for a moment longer.
  const clear = () => rm(spool, { recursive: true, force: true, maxRetries: 10 });
  await clear();
  await mkdir(spool, { recursive: true, mode: 0o700 });
  try {
    return await act(spool);
  } finally {
    await clear();
  }
}
