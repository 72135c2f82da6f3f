import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm, rmdir, stat, utimes } from 'node:fs/promises';
import path from 'node:path';
import { chooseBranch, chooseOperationBranch, updateRefs, type RefUpdate } from './branchChoice';
import { captureWorkingState, shadowOf, type CapturedState } from './capture';
import { gitText, quoteForPeople, runGit } from './git';
import { GitError } from './gitError';
import { zeroId } from './manifest';
import { packCapture, packsToPublish, publishPacks, withdrawPacks } from './publish';
import { quarantineShadow, withQuarantine, type QuarantinedState } from './quarantine';
import { readRepository, type ObjectId, type Repository } from './repository';
import { changeFiles, writeFiles } from './restoreFiles';
import { finishIndex } from './restoreIndex';
import { clearOperation, writeOperation } from './restoreOperation';
import { readState, type StateToRestore } from './restoredState';
import { applySettings, recordCarried } from './restoreSettings';
import { copyIndex, createShadow, inShadow, objectDirectory, type Shadow } from './shadow';
import { noteBoundary, withdrawBoundary } from './shallow';
import { sideBySide } from './sideBySide';
import { readUndoRecord, writeUndoRecord, type UndoRecord } from './undoRecord';
import { WORKTREE_INDEX } from './worktreeReading';

export interface RestoreOptions {
  /** The destination's checkout of the repository (its user's own; it is left alone). */
  readonly root: string;
  readonly quarantine: QuarantinedState;
  /** Absolute path of the managed worktree; must not exist, or be empty, unless `existing`. */
  readonly worktree: string;
  readonly threadId: string;
  /** Full or short name of the branch that the thread was on; null when detached. */
  readonly carriedBranch: string | null;
  /** The thread began on this host, and now comes back: its branch may be fast-forwarded where nobody else uses it. */
  readonly handedBack?: boolean;
  /** The thread's worktree of an earlier stay is used again, if it is still as it was left. */
  readonly existing?: { readonly expectedFingerprint: string } | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface RestoredState {
  readonly head: ObjectId | null;
  /** Short name; null when detached. */
  readonly branch: string | null;
  /** Computed by capturing what is really there: the receipt. */
  readonly fingerprint: string;
  readonly notes: readonly string[];
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
 * Publishes quarantined objects and builds, or changes, a managed worktree so that it holds the working state that
 * arrived. No hook, filter or program of the repository runs; other checkouts keep every byte, their index and branch.
 * What will be done is first written to `undo.json` in the quarantine directory: `rollbackRestore` takes it back until
 * `finishRestore` lets go. When this throws, the caller rolls back.
 *
 * @throws {GitError} `worktree-exists`; `worktree-diverged` when an existing worktree is not as it was left, and then
 *   nothing has been changed; `disk-full`; `cancelled`
 */
export async function restoreWorkingState(options: RestoreOptions): Promise<RestoredState> {
  const { quarantine, worktree, threadId, signal } = options;
  if (!/^[0-9A-Za-z][0-9A-Za-z-]{7,63}$/.test(threadId)) throw new GitError('failed', `${JSON.stringify(threadId)} is no thread id.`);
  const arrived = quarantineShadow(quarantine);
  const [repository, state] = await sideBySide(readRepository(options.root, signal), readState(arrived, quarantine.commits.manifest, signal));
  const previous = options.existing === undefined ? null : await capturePrevious(options, options.existing.expectedFingerprint);
  if (previous === null && existsSync(worktree) && (await readdir(worktree)).length > 0) throw new GitError('worktree-exists', `${worktree} already exists. Choose another directory, or remove the worktree first.`);

  const valueOf = async (name: string) => (await gitText(['rev-parse', '-q', '--verify', name], { cwd: repository.root, signal, answers: [1, 128] })) || null;
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
    shallow: [...quarantine.shallow], worktree, createdDirectories: previous === null ? missingDirectories(path.dirname(worktree)) : [], refs,
    packs: [...(await packsToPublish(arrived, repository)), ...(previous === null ? [] : await packsToPublish(shadowOf(previous), repository))],
    previous: previous === null ? null : {
      tip: previous.commits.manifest, head: previous.head, branch: previous.branch,
      snapshot: { name: beforeRef(threadId), before: snapshotBefore, after: previous.commits.manifest },
    },
  };
  await writeUndoRecord(quarantine.directory, record);

  const zero = zeroId(repository.objectFormat);
  if (previous !== null && record.previous !== null) {
    await publishPacks(shadowOf(previous), repository, await packsToPublish(shadowOf(previous), repository));
    await updateRefs(repository.root, [record.previous.snapshot], zero);
  }
  await publishPacks(arrived, repository, await packsToPublish(arrived, repository));
  await noteBoundary(repository, quarantine.shallow);
  await updateRefs(repository.root, refs, zero);

  const built = previous === null ? await addWorktree(repository, worktree, state, signal) : await readRepository(worktree, signal);
  const shadow = previous === null ? await restoreShadow(repository, built, quarantine.directory) : shadowOf(previous);
  const untracked = await buildState(shadow, built, state, previous, quarantine.directory, signal);
  const autoMerge = state.manifest.autoMerge ? await gitText(['rev-parse', `${state.tip}:auto-merge`], { cwd: repository.root, signal }) : null;
  const [settingNotes, operationNotes] = await sideBySide(
    applySettings(repository, built, state.manifest),
    setHead(built, choice.branch, quarantine.head).then(() => writeOperation(built, state.manifest, autoMerge, operationBranch?.name ?? null)),
  );
  // Which files are ignored is a matter of settings too.
  await recordCarried(built, untracked, signal);

  const receipt = await captureWorkingState({ root: worktree, spool: path.join(quarantine.directory, 'receipt'), receipt: { justWritten: previous === null }, signal });
  await rm(path.join(quarantine.directory, 'receipt'), { recursive: true, force: true });
  return { head: receipt.head, branch: receipt.branch?.replace('refs/heads/', '') ?? null, fingerprint: receipt.fingerprint, notes: [...(choice.note === null ? [] : [choice.note]), ...boundaryNote(quarantine.shallow), ...settingNotes, ...operationNotes] };
}

function boundaryNote({ length }: readonly ObjectId[]): string[] {
  return length === 0 ? [] : [`The history ends at ${length} commit${length === 1 ? '' : 's'} here, because the source is a shallow clone; run "git fetch --unshallow" if you need what came before.`];
}

async function capturePrevious(options: RestoreOptions, expected: string): Promise<CapturedState> {
  const previous = await captureWorkingState({ root: options.worktree, spool: path.join(options.quarantine.directory, 'previous'), signal: options.signal });
  if (previous.fingerprint !== expected) {
    throw new GitError('worktree-diverged', `${options.worktree} has changed since the thread left it. Nothing was overwritten: choose a second worktree, fork the thread, or stop.`);
  }
  await packCapture(shadowOf(previous), previous.commits.manifest, previous.head, options.signal);
  return previous;
}

/** The directories above that are missing, outermost first. */
function missingDirectories(directory: string): string[] {
  return existsSync(directory) ? [] : [...missingDirectories(path.dirname(directory)), directory];
}

async function addWorktree(repository: Repository, worktree: string, state: StateToRestore, signal?: AbortSignal): Promise<Repository> {
  await mkdir(path.dirname(worktree), { recursive: true, mode: 0o700 });
  // An unborn HEAD has no commit to start from; it is set afterwards.
  await runGit(['worktree', 'add', '--no-checkout', '--detach', '--quiet', worktree, state.manifest.head ?? state.tip], { cwd: repository.root, signal });
  return readRepository(worktree, signal);
}

async function restoreShadow(repository: Repository, built: Repository, directory: string): Promise<Shadow> {
  await rm(path.join(directory, 'restore'), { recursive: true, force: true });
  return createShadow(path.join(directory, 'restore'), {
    worktree: built.root, objectFormat: repository.objectFormat, objects: [objectDirectory(repository)], settings: repository.settings, shallow: built.shallow,
  });
}

/** Files first, then the index, which takes its place in one step. @returns untracked files of the state */
async function buildState(shadow: Shadow, built: Repository, state: StateToRestore, previous: CapturedState | null, temporary: string, signal?: AbortSignal): Promise<string[]> {
  // Made beside the index, so that the rename keeps its time: git trusts files by comparing theirs with it.
  const index = path.join(built.gitDir, 'index.baton');
  await rm(index, { force: true });
  if (previous === null) await writeFiles(shadow, index, state, signal);
  else {
    const from = await readState(shadow, previous.commits.manifest, signal);
    await listWorktree(shadow, index, from, signal);
    await changeFiles(shadow, index, from, state, signal);
  }
  const { mtimeMs } = await stat(index);
  const untracked = await finishIndex(shadow, index, state, { temporary, justWritten: previous === null }, signal);
  // Git itself knows the empty file that such entries name, but the fsck of newer ones (2.47 does) misses the object.
  if (state.manifest.intentToAdd.length > 0) await runGit(['hash-object', '-w', '--stdin'], { cwd: built.root, signal });
  // The time at which git noted those of the files: what is not older stays suspect to it.
  if (previous === null) await utimes(index, Math.floor(mtimeMs / 1000), Math.floor(mtimeMs / 1000));
  await rename(index, path.join(built.gitDir, 'index'));
  return untracked;
}

/**
 * Makes an index of the working tree as it was captured: git takes over what it knows about unchanged files and reads the
 * others, so a file that is no longer the captured one shows.
 */
async function listWorktree(shadow: Shadow, index: string, captured: StateToRestore, signal?: AbortSignal): Promise<void> {
  await copyIndex(path.join(shadow.gitDir, WORKTREE_INDEX), index);
  const options = inShadow(shadow, { index, signal });
  await runGit(['read-tree', '--reset', captured.trees.worktree], options);
  await runGit(['update-index', '--clear-resolve-undo'], options);
  const { exitCode, stdout } = await runGit(['update-index', '--refresh'], { ...options, answers: [1] });
  if (exitCode !== 0) throw new GitError('worktree-diverged', `${shadow.worktree} changed while it was being restored (${quoteForPeople(stdout.toString('utf8').split('\n', 1)[0] ?? '')}). Let other programs finish there, then try again.`);
}

async function setHead(worktree: Repository, branch: string | null, head: ObjectId | null): Promise<void> {
  const options = { cwd: worktree.root };
  if (branch !== null) await runGit(['symbolic-ref', '-m', 'baton: handoff', 'HEAD', branch], options);
  else if (head !== null) await runGit(['update-ref', '--no-deref', '-m', 'baton: handoff', 'HEAD', head], options);
}

/**
 * Puts back what was before `restoreWorkingState`, also after a crash in the middle of it, and removes the quarantine.
 * Idempotent. Objects that something in the repository has come to need stay.
 */
export async function rollbackRestore(options: { readonly root: string; readonly quarantineDirectory: string }): Promise<void> {
  const record = await readUndoRecord(options.quarantineDirectory);
  if (record !== null) {
    const repository = await readRepository(options.root);
    if (record.previous === null) await removeWorktree(repository, record);
    else await putBack(repository, record, record.previous, options.quarantineDirectory);
    await takeBackRefs(repository, [...record.refs, ...(record.previous === null ? [] : [record.previous.snapshot])]);
    await withdrawPacks(repository, record.packs);
    await withdrawBoundary(repository, record.shallow);
  }
  await rm(options.quarantineDirectory, { recursive: true, force: true });
}

async function removeWorktree(repository: Repository, record: UndoRecord): Promise<void> {
  await runGit(['worktree', 'remove', '--force', '--force', record.worktree], { cwd: repository.root, answers: [128] });
  await rm(record.worktree, { recursive: true, force: true });
  await runGit(['worktree', 'prune'], { cwd: repository.root });
  for (const directory of [...record.createdDirectories].reverse()) await rmdir(directory).catch(() => undefined);
}

async function putBack(repository: Repository, record: UndoRecord, previous: NonNullable<UndoRecord['previous']>, directory: string): Promise<void> {
  const snapshot = await gitText(['rev-parse', '-q', '--verify', `${previous.tip}^{commit}`], { cwd: repository.root, answers: [1, 128] });
  // Without the snapshot's objects nothing after them was begun.
  if (snapshot === '') return;
  const worktree = await readRepository(record.worktree);
  await clearOperation(worktree);
  const present = await captureWorkingState({ root: record.worktree, spool: path.join(directory, 'present') });
  const shadow = shadowOf(present);
  const state = await readState(shadow, previous.tip);
  await buildState(shadow, worktree, state, present, directory);
  await takeBackRefs(repository, record.refs);
  await setHead(worktree, previous.branch, previous.head);
  const autoMerge = state.manifest.autoMerge ? await gitText(['rev-parse', `${state.tip}:auto-merge`], { cwd: repository.root }) : null;
  await writeOperation(worktree, state.manifest, autoMerge, null);
}

/** Refs that have been moved again since then are left where they are. */
async function takeBackRefs(repository: Repository, refs: readonly RefUpdate[]): Promise<void> {
  const undone: RefUpdate[] = [];
  for (const { name, before, after } of refs) {
    const value = (await gitText(['rev-parse', '-q', '--verify', name], { cwd: repository.root, answers: [1, 128] })) || null;
    if (value === after && before !== after) undone.push({ name, before: after, after: before });
  }
  await updateRefs(repository.root, undone, zeroId(repository.objectFormat));
}

/** Lets go of what a rollback would need, once the handoff is final. Idempotent. */
export async function finishRestore(options: { readonly root: string; readonly quarantineDirectory: string }): Promise<void> {
  const record = await readUndoRecord(options.quarantineDirectory);
  if (record?.previous !== null && record?.previous !== undefined) {
    const { name } = record.previous.snapshot;
    await runGit(['update-ref', '-d', name], { cwd: options.root });
  }
  await rm(options.quarantineDirectory, { recursive: true, force: true });
}
