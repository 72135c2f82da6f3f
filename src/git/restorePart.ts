import { existsSync } from 'node:fs';
import { mkdir, readdir, rm, rmdir } from 'node:fs/promises';
import path from 'node:path';
import { buildState, putBackFiles } from './buildState';
import { chooseBranch, chooseOperationBranch, updateRefs, type RefUpdate } from './branchChoice';
import { captureWorkingState, shadowOf, type CapturedState } from './capture';
import { letGoOfAside } from './fileExchange';
import { gitText, runGit } from './git';
import { createRepository, openRepository } from './gitDirectory';
import { GitError } from './gitError';
import { goBack, isExplained, keepFound, standingOf, wayBack } from './goBack';
import { inRepository, isGitDirectory } from './inRepository';
import { lfsStorage, withdrawLfsObjects } from './lfsStore';
import { zeroId } from './manifest';
import { packsToPublish, publishPacks, withdrawPacks } from './publish';
import { quarantineShadow, withQuarantine, type QuarantinedState } from './quarantine';
import { readRepository, type ObjectId, type Repository } from './repository';
import { keepAllLfs, lfsToPlace, publishLfs, recordLfsFiles } from './restoreLfs';
import { clearOperation, writeOperation } from './restoreOperation';
import { readState, type StateToRestore } from './restoredState';
import { applySettings, recordCarried } from './restoreSettings';
import { createShadow, objectDirectory, type Shadow } from './shadow';
import { noteBoundary, withdrawBoundary } from './shallow';
import { sideBySide } from './sideBySide';
import { stampOf } from './snapshots';
import { readUndoRecord, writeUndoRecord, type UndoRecord } from './undoRecord';
import { removeEntriesOf } from './worktreeEntry';

/** One repository of a checkout that is to be restored: the checkout itself, or a submodule of it. */
export interface PartToRestore {
  /** A worktree of the destination's repository (its user's own; it is left alone), or the repository's Git directory, which is made when missing. */
  readonly root: string;
  readonly quarantine: QuarantinedState;
  /** Absolute path of the worktree; must not exist, or be empty, unless it has a `previous` state. */
  readonly worktree: string;
  readonly threadId: string;
  /** Full or short name of the branch that the thread was on; null when detached. */
  readonly carriedBranch: string | null;
  /** The thread began on this host. */
  readonly handedBack: boolean | undefined;
  /** What the worktree holds, packed; null where it is to be made. */
  readonly previous: CapturedState | null;
  readonly signal?: AbortSignal | undefined;
}

/** The last state of a thread that arrived here: what the way back builds on, and what keeps its objects from gc. */
export function arrivedRef(threadId: string): string {
  return `refs/baton/threads/${threadId}`;
}
/** The state of a thread's worktree before the handoff under way changed it. */
export function beforeRef(threadId: string): string {
  return `refs/baton/snapshots/${threadId}/before-handoff`;
}

/**
 * Publishes quarantined objects and builds, or changes, a worktree so that it holds the working state that arrived. What
 * will be done is first written to `undo.json` in the quarantine directory.
 *
 * @returns notes for the user, and the worktree; what was replaced in it lies aside until `letGoOfAside`
 */
export async function restorePart(options: PartToRestore): Promise<{ readonly notes: readonly string[]; readonly worktree: Repository }> {
  const { quarantine, worktree, threadId, previous, signal } = options;
  const arrived = quarantineShadow(quarantine);
  const made = !existsSync(options.root);
  // Written first, so that a repository that was made does not stay behind; nothing else is done before the second record.
  if (made) await writeUndoRecord(quarantine.directory, { repository: { root: options.root, made }, worktree, place: existsSync(worktree), goes: false, createdDirectories: [], refs: [], shallow: [], lfs: [], packs: [], previous: null });
  if (made) await createRepository(options.root, quarantine.objectFormat);
  const [repository, state] = await sideBySide(openRepository(options.root, signal), readState(arrived, quarantine.commits.manifest, signal));

  const valueOf = refReader(repository, signal);
  const wish = { repository, worktree, threadId, env: withQuarantine(quarantine), signal };
  const [choice, operationBranch, arrivedBefore, snapshotBefore] = await sideBySide(
    chooseBranch(wish, options.carriedBranch, quarantine.head, options.handedBack === true),
    chooseOperationBranch(wish, state.manifest.operation.branch),
    valueOf(arrivedRef(threadId)),
    previous === null ? Promise.resolve(null) : valueOf(beforeRef(threadId)),
  );
  const refs: RefUpdate[] = [{ name: arrivedRef(threadId), before: arrivedBefore, after: state.tip }];
  if (choice.update !== null && choice.update.after !== null) refs.push(choice.update);
  // Between "git bisect start" and its first step HEAD is still on the branch to which it will return.
  if (operationBranch !== null && refs.every(({ name }) => name !== operationBranch.name)) refs.push(operationBranch);
  const record: UndoRecord = {
    repository: { root: repository.root, made }, worktree, place: existsSync(worktree), goes: false,
    createdDirectories: previous === null ? missingDirectories(path.dirname(worktree)) : [], refs, shallow: [...quarantine.shallow], lfs: await lfsToPlace(repository, quarantine.lfs),
    packs: [...(await packsToPublish(arrived, repository)), ...(previous === null ? [] : await packsToPublish(shadowOf(previous), repository))],
    previous: previous === null ? null : recordOf(previous, threadId, snapshotBefore),
  };
  await writeUndoRecord(quarantine.directory, record);
  if (previous !== null && record.previous !== null) await keepSnapshot(repository, previous, [record.previous.snapshot]);
  await publishPacks(arrived, repository, await packsToPublish(arrived, repository));
  await noteBoundary(repository, quarantine.shallow);
  await publishLfs(repository, quarantine.directory, record.lfs);
  await updateRefs(repository.root, refs, zeroId(repository.objectFormat));

  const built = previous === null ? await addWorktree(repository, worktree, state, signal) : await readRepository(worktree, signal);
  const shadow = previous === null ? await restoreShadow(repository, built, quarantine.directory) : shadowOf(previous);
  const mark = async (changing: boolean) => { if (record.previous !== null) await writeUndoRecord(quarantine.directory, { ...record, previous: { ...record.previous, changing } }); };
  const untracked = await buildState(shadow, built, state, previous, { temporary: quarantine.directory, mark, signal });
  const autoMerge = await autoMergeOf(state, built, signal);
  const [settingNotes, operationNotes] = await sideBySide(
    applySettings(built, state.manifest),
    setHead(built, choice.branch, quarantine.head).then(() => writeOperation(built, state.manifest, autoMerge, operationBranch?.name ?? null)),
  );
  // Which files are ignored is a matter of settings too.
  await recordCarried(built, untracked, signal);
  await recordLfsFiles(built, state);
  return { notes: [...(choice.note === null ? [] : [choice.note]), ...boundaryNote(quarantine.shallow), ...settingNotes, ...operationNotes], worktree: built };
}

/**
 * Removes the worktree of a submodule that the arriving state does not have. Its commits and its state stay in its
 * repository, under the thread's refs.
 *
 * @param directory for `undo.json`
 */
export async function removePart(previous: CapturedState, threadId: string, directory: string, signal?: AbortSignal): Promise<void> {
  const repository = await openRepository((await readRepository(previous.root, signal)).commonDir, signal);
  const valueOf = refReader(repository, signal);
  const [snapshotBefore, arrivedBefore] = await sideBySide(valueOf(beforeRef(threadId)), valueOf(arrivedRef(threadId)));
  const before = recordOf(previous, threadId, snapshotBefore);
  const refs = [{ name: arrivedRef(threadId), before: arrivedBefore, after: previous.commits.manifest }];
  const record: UndoRecord = {
    repository: { root: repository.root, made: false }, worktree: previous.root, place: true, goes: true, createdDirectories: [], refs, shallow: [], lfs: [],
    packs: await packsToPublish(shadowOf(previous), repository), previous: before,
  };
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await writeUndoRecord(directory, record);
  await keepSnapshot(repository, previous, [before.snapshot, ...refs]);
  await keepAllLfs(repository, previous, directory, signal);
  await removeWorktree(repository, record);
}

function boundaryNote({ length }: readonly ObjectId[]): string[] {
  return length === 0 ? [] : [`The history ends at ${length} commit${length === 1 ? '' : 's'} here, because the source is a shallow clone; run "git fetch --unshallow" if you need what came before.`];
}

/** The directories above that are missing, outermost first. */
function missingDirectories(directory: string): string[] {
  return existsSync(directory) ? [] : [...missingDirectories(path.dirname(directory)), directory];
}

function refReader(repository: Repository, signal?: AbortSignal): (name: string) => Promise<ObjectId | null> {
  return async (name) => (await gitText(['rev-parse', '-q', '--verify', name], { ...inRepository(repository.root, signal), answers: [1, 128] })) || null;
}

function recordOf(previous: CapturedState, threadId: string, snapshotBefore: ObjectId | null): NonNullable<UndoRecord['previous']> {
  const tip = previous.commits.manifest;
  return { tip, head: previous.head, branch: previous.branch, snapshot: { name: beforeRef(threadId), before: snapshotBefore, after: tip }, changing: false };
}

async function keepSnapshot(repository: Repository, previous: CapturedState, refs: readonly RefUpdate[]): Promise<void> {
  await publishPacks(shadowOf(previous), repository, await packsToPublish(shadowOf(previous), repository));
  await updateRefs(repository.root, refs, zeroId(repository.objectFormat));
}

export async function autoMergeOf(state: StateToRestore, built: Repository, signal?: AbortSignal): Promise<ObjectId | null> {
  if (!state.manifest.autoMerge) return null;
  const carried = await gitText(['rev-parse', '-q', '--verify', `${state.tip}:auto-merge`], { cwd: built.root, signal, answers: [1, 128] });
  // Git's trees hold no empty ones: a merge of which nothing was left.
  return carried === '' ? gitText(['hash-object', '-t', 'tree', '--stdin'], { cwd: built.root, signal }) : carried;
}

async function addWorktree(repository: Repository, worktree: string, state: StateToRestore, signal?: AbortSignal): Promise<Repository> {
  await mkdir(path.dirname(worktree), { recursive: true, mode: 0o700 });
  if (existsSync(worktree) && (await readdir(worktree)).length > 0) throw new GitError('worktree-diverged', `${worktree} holds files that are in the way of what arrives. Move them away, then try again.`);
  // An unborn HEAD has no commit to start from; it is set afterwards.
  // Relative paths would make git note an extension in the repository's config.
  await runGit(['-c', 'worktree.useRelativePaths=false', 'worktree', 'add', '--no-checkout', '--detach', '--quiet', worktree, state.manifest.head ?? state.tip], inRepository(repository.root, signal));
  return readRepository(worktree, signal);
}

/** A shadow that sees all of a repository, made anew in `directory`. */
export async function restoreShadow(repository: Repository, built: Repository, directory: string): Promise<Shadow> {
  await rm(path.join(directory, 'restore'), { recursive: true, force: true });
  return createShadow(path.join(directory, 'restore'), {
    worktree: built.root, objectFormat: repository.objectFormat, objects: [objectDirectory(repository)], settings: repository.settings, shallow: built.shallow,
  });
}

async function setHead(worktree: Repository, branch: string | null, head: ObjectId | null): Promise<void> {
  const options = { cwd: worktree.root };
  if (branch !== null) await runGit(['symbolic-ref', '-m', 'baton: handoff', 'HEAD', branch], options);
  else if (head !== null) await runGit(['update-ref', '--no-deref', '-m', 'baton: handoff', 'HEAD', head], options);
}

/** Takes back what {@link restorePart} or {@link removePart} has done, as far as it came. Idempotent. */
export async function takeBackPart(directory: string): Promise<void> {
  const record = await readUndoRecord(directory);
  // A repository that was to be made and is not there was taken back already.
  if (record === null || (record.repository.made && !existsSync(record.repository.root))) return;
  const { root, made } = record.repository;
  // Git was stopped while it made the repository; nothing had come into it.
  if (made && !isGitDirectory(root)) {
    await rm(root, { recursive: true, force: true });
    return;
  }
  const repository = await openRepository(root);
  if (record.previous === null) await removeWorktree(repository, record);
  else if (record.goes) await bringBack(repository, record, record.previous, directory);
  else await putBack(repository, record, record.previous, directory);
  await takeBackRefs(repository, [...record.refs, ...(record.previous === null ? [] : [record.previous.snapshot])]);
  await withdrawPacks(repository, record.packs);
  await withdrawBoundary(repository, record.shallow);
  await withdrawLfsObjects(repository, lfsStorage(repository, repository.settings), record.lfs);
  if (made) await removeRepository(repository);
}

/** Lets go of what {@link takeBackPart} would need. Idempotent. */
export async function letGoOfPart(directory: string): Promise<void> {
  const record = await readUndoRecord(directory);
  if (record?.previous === null || record?.previous === undefined) return;
  await runGit(['update-ref', '-d', record.previous.snapshot.name], inRepository(record.repository.root));
}

async function removeWorktree(repository: Repository, record: UndoRecord): Promise<void> {
  const options = inRepository(repository.root);
  await runGit(['worktree', 'remove', '--force', '--force', record.worktree], { ...options, answers: [128] });
  await rm(record.worktree, { recursive: true, force: true });
  await removeEntriesOf(repository.commonDir, record.worktree);
  for (const directory of [...record.createdDirectories].reverse()) await rmdir(directory).catch(() => undefined);
  if (record.place) await mkdir(record.worktree, { recursive: true });
}

/** Removes a repository of Baton's own that nothing else has come to use, and the directories that are empty without it. */
async function removeRepository(repository: Repository): Promise<void> {
  const options = inRepository(repository.root);
  const [refs, worktrees] = await sideBySide(gitText(['for-each-ref', '--count=1', '--format=x'], options), readdir(path.join(repository.root, 'worktrees')).catch(() => []));
  if (refs !== '' || worktrees.length > 0) return;
  await rm(repository.root, { recursive: true, force: true });
  for (const directory of [path.dirname(repository.root), path.dirname(path.dirname(repository.root))]) await rmdir(directory).catch(() => undefined);
}

async function putBack(repository: Repository, record: UndoRecord, previous: NonNullable<UndoRecord['previous']>, directory: string): Promise<void> {
  // Without the snapshot's objects nothing after them was begun.
  if ((await refReader(repository)(`${previous.tip}^{commit}`)) === null) return;
  const worktree = await readRepository(record.worktree);
  const { own } = await putBackFiles(worktree);
  if (!previous.changing) return;
  await clearOperation(worktree);
  const present = await captureWorkingState({ root: record.worktree, spool: path.join(directory, 'present') });
  const [, , , threadId = ''] = previous.snapshot.name.split('/');
  const arrived = await readState(shadowOf(present), record.refs.find(({ name }) => name === arrivedRef(threadId))?.after ?? previous.tip);
  const way = await wayBack(present, previous.tip, arrived.trees.worktree, own);
  const isIndexExplained = [way.old, arrived].map((state) => standingOf(state).index).includes(standingOf(way.now).index);
  if (!isIndexExplained || !(await isExplained(way))) await keepFound(worktree, threadId, stampOf(new Date()), present, directory);
  const untracked = await goBack(worktree, way, { temporary: directory });
  await letGoOfAside(worktree, 'keep');
  await takeBackRefs(repository, record.refs);
  await putBackStanding(worktree, way.old, previous, untracked);
}

/** Makes the worktree of a submodule anew, as it was. */
async function bringBack(repository: Repository, record: UndoRecord, previous: NonNullable<UndoRecord['previous']>, directory: string): Promise<void> {
  if ((await refReader(repository)(`${previous.tip}^{commit}`)) === null) return;
  await removeWorktree(repository, record);
  const settings = { worktree: record.worktree, objectFormat: repository.objectFormat, objects: [objectDirectory(repository)], settings: repository.settings, shallow: repository.shallow };
  const state = await readState(await createShadow(path.join(directory, 'reading'), settings), previous.tip);
  const worktree = await addWorktree(repository, record.worktree, state);
  const untracked = await buildState(await restoreShadow(repository, worktree, directory), worktree, state, null, { temporary: directory });
  await letGoOfAside(worktree, 'keep');
  await putBackStanding(worktree, state, previous, untracked);
}

/** What is beside the files and the index: HEAD, the operation with its branch, settings, which carried files are ignored. */
async function putBackStanding(worktree: Repository, state: StateToRestore, { branch, head }: NonNullable<UndoRecord['previous']>, untracked: readonly string[]): Promise<void> {
  await setHead(worktree, branch, head);
  await writeOperation(worktree, state.manifest, await autoMergeOf(state, worktree), state.manifest.operation.branch?.name ?? null);
  await applySettings(worktree, state.manifest);
  await recordCarried(worktree, untracked);
  await recordLfsFiles(worktree, state);
}

/** Refs that have been moved again since then are left where they are. */
async function takeBackRefs(repository: Repository, refs: readonly RefUpdate[]): Promise<void> {
  const undone: RefUpdate[] = [];
  for (const { name, before, after } of refs) {
    const value = await refReader(repository)(name);
    if (value === after && before !== after) undone.push({ name, before: after, after: before });
  }
  await updateRefs(repository.root, undone, zeroId(repository.objectFormat));
}

