import { lstat, readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { pathForPeople, type BytePath } from './bytePath';
import { shadowOf } from './capture';
import { captureCheckout, type CapturedCheckout, type CapturedPart } from './captureCheckout';
import { letGoOfAside } from './fileExchange';
import { GitError } from './gitError';
import { pathList } from './indexListing';
import { packCapture } from './publish';
import type { QuarantinedState } from './quarantine';
import { readRepository, type ObjectId, type Repository } from './repository';
import { letGoOfPart, removePart, restorePart, takeBackPart } from './restorePart';
import { inShadow } from './shadow';
import { placeIn } from './submodules';
import { keepUnfinished } from './unfinishedWorktree';
import { WorktreeLooker } from './worktreeScan';

export interface RestoreOptions {
  /** The destination's checkout of the repository (its user's own; it is left alone). */
  readonly root: string;
  readonly quarantine: QuarantinedState;
  /** The submodules that arrived with it, parents before what is in them. */
  readonly submodules?: readonly SubmoduleToRestore[];
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

export interface SubmoduleToRestore {
  readonly place: BytePath;
  /** Git directory of the repository that its worktree will belong to (submodulePlaces.ts); made when missing. */
  readonly repository: string;
  readonly quarantine: QuarantinedState;
  readonly carriedBranch: string | null;
}

export interface RestoredState {
  readonly head: ObjectId | null;
  /** Short name; null when detached. */
  readonly branch: string | null;
  /** Computed by capturing what is really there: the receipt. */
  readonly fingerprint: string;
  readonly notes: readonly string[];
}

/**
 * Publishes quarantined objects and builds, or changes, a managed worktree and the worktrees of its submodules so that they
 * hold the working state that arrived. No hook, filter or program of a repository runs; other checkouts keep every byte, their
 * index and branch. What is done to each repository is first written to an `undo.json` below the quarantine directory:
 * `rollbackRestore` takes it back until `finishRestore` lets go. When this throws, the caller rolls back.
 *
 * @throws {GitError} `worktree-exists`; `worktree-diverged` when an existing worktree is not as it was left, or holds what is
 *   in the way, and then nothing has been changed; `disk-full`; `cancelled`
 */
export async function restoreWorkingState(options: RestoreOptions): Promise<RestoredState> {
  const { quarantine, worktree, threadId, signal } = options;
  if (!/^[0-9A-Za-z][0-9A-Za-z-]{7,63}$/.test(threadId)) throw new GitError('failed', `${JSON.stringify(threadId)} is no thread id.`);
  const previous = options.existing === undefined ? [] : await capturePrevious(options, options.existing.expectedFingerprint);
  const found = await lstat(worktree).catch(() => null);
  // A symbolic link would lead what arrives to a place that nobody has looked at.
  if (options.existing === undefined && found !== null && (!found.isDirectory() || (await readdir(worktree)).length > 0)) throw new GitError('worktree-exists', `${worktree} already exists. Choose another directory, or remove the worktree first.`);
  try {
    const { notes, worktrees } = await restoreParts(options, previous);
    const spool = path.join(quarantine.directory, 'receipt');
    const [{ state: receipt }] = await captureCheckout({ root: worktree, spool, receipt: { justWritten: previous.length === 0 }, signal });
    await rm(spool, { recursive: true, force: true });
    for (const part of worktrees) await letGoOfAside(part, 'refuse');
    return { head: receipt.head, branch: receipt.branch?.replace('refs/heads/', '') ?? null, fingerprint: receipt.fingerprint, notes };
  } catch (error) {
    if (GitError.is(error, 'worktree-diverged')) await takeBackParts(quarantine.directory);
    throw error;
  }
}

async function restoreParts(options: RestoreOptions, previous: readonly CapturedPart[]): Promise<{ notes: string[]; worktrees: Repository[] }> {
  const { root, quarantine, worktree, threadId, carriedBranch, handedBack, signal } = options;
  const submodules = options.submodules ?? [];
  const kept = await keptPlaces(previous, submodules);
  const gone = previous.filter(({ place }) => place !== '' && !kept.has(place)).reverse();
  for (const part of gone) await expectNothingElse(part, signal);
  for (const [position, { state }] of gone.entries()) await removePart(state, threadId, path.join(quarantine.directory, GONE, String(position)), signal);

  const stateAt = (place: BytePath) => (kept.has(place) ? (previous.find((part) => part.place === place)?.state ?? null) : null);
  const first = await restorePart({ root, quarantine, worktree, threadId, carriedBranch, handedBack, previous: stateAt(''), signal });
  const [notes, worktrees] = [[...first.notes], [first.worktree]];
  for (const { place, repository, ...part } of submodules) {
    // What lies at the place now is what the superproject's state has there: an empty directory.
    if ((await new WorktreeLooker(worktree).kind(place)) !== 'directory') throw new GitError('worktree-diverged', `${placeIn(worktree, place)} is not the empty directory in which a submodule is to be. Let other programs finish there, then try again.`);
    const restored = await restorePart({ ...part, root: repository, worktree: placeIn(worktree, place), threadId, handedBack, previous: stateAt(place), signal });
    notes.push(...restored.notes.map((note) => `Submodule ${pathForPeople(place)}: ${note}`));
    worktrees.push(restored.worktree);
  }
  return { notes, worktrees };
}

/** In a quarantine: the undo records of submodules that go. Those of submodules that arrive lie in their own quarantines. */
const GONE = 'gone';
/** In a quarantine: those of its submodules. */
export const ARRIVED = 'submodules';

/** Places of which the worktree of an earlier stay stays: the checkout, and submodules that belong to the same repository as before. */
async function keptPlaces(previous: readonly CapturedPart[], submodules: readonly SubmoduleToRestore[]): Promise<Set<BytePath>> {
  const kept = new Set<BytePath>();
  for (const { place, state } of previous) {
    const arriving = submodules.find((submodule) => submodule.place === place);
    const withParent = place === '' || previous.every((other) => other.place === '' || !place.startsWith(`${other.place}/`) || kept.has(other.place));
    if (place === '' || (withParent && (await readRepository(state.root)).commonDir === arriving?.repository)) kept.add(place);
  }
  return kept;
}

/** A worktree that goes must hold nothing that is not in its captured state: ignored files, or repositories of their own. */
async function expectNothingElse({ place, state }: CapturedPart, signal?: AbortSignal): Promise<void> {
  const ignored = await pathList(['ls-files', '-o', '-i', '-z', '--exclude-standard', '--directory'], inShadow(shadowOf(state), { signal }));
  if (ignored.length === 0 && !state.findings.some(({ code }) => ['nested-repository-stays', 'special-file-stays', 'submodule-files-stay'].includes(code))) return;
  throw new GitError('worktree-diverged', `The submodule ${pathForPeople(place)} is not part of what arrives, and ${state.root} holds ignored files or others that no handoff carries. Move them away, then try again.`);
}

async function capturePrevious(options: RestoreOptions, expected: string): Promise<CapturedCheckout> {
  const previous = await captureCheckout({ root: options.worktree, spool: path.join(options.quarantine.directory, 'previous'), signal: options.signal });
  if (previous[0].state.fingerprint !== expected) {
    throw new GitError('worktree-diverged', `${options.worktree} has changed since the thread left it. Nothing was overwritten: choose a second worktree, fork the thread, or stop.`);
  }
  for (const { state } of previous) await packCapture(shadowOf(state), state.commits.manifest, state.head === null ? [] : [state.head], options.signal);
  return previous;
}

/**
 * Puts back what was before `restoreWorkingState`, also after a crash in the middle of it, and removes the quarantine.
 * Idempotent. Objects that something in a repository has come to need stay.
 *
 * @returns where a worktree is now that was being made, and in which somebody else has written; it is left alone
 */
export async function rollbackRestore(quarantineDirectory: string): Promise<string[]> {
  const kept = await takeBackParts(quarantineDirectory);
  await rm(quarantineDirectory, { recursive: true, force: true });
  return kept;
}

/** In the order opposite to that in which it was done. The records go last, so that all of it can be done again. */
async function takeBackParts(quarantine: string): Promise<string[]> {
  const directories = await partDirectories(quarantine);
  const kept = await keepUnfinished(directories);
  for (const directory of [...directories].reverse()) await takeBackPart(directory);
  for (const directory of directories) await rm(path.join(directory, 'undo.json'), { force: true });
  return kept;
}

/** Lets go of what a rollback would need, once the handoff is final. Idempotent. */
export async function finishRestore(quarantineDirectory: string): Promise<void> {
  for (const directory of await partDirectories(quarantineDirectory)) await letGoOfPart(directory);
  await rm(quarantineDirectory, { recursive: true, force: true });
}

/** Where undo records may lie, in the order in which they were written. */
async function partDirectories(quarantine: string): Promise<string[]> {
  const numbered = async (name: string) => {
    const names = await readdir(path.join(quarantine, name)).catch(() => []);
    return names.map(Number).sort((a, b) => a - b).map((number) => path.join(quarantine, name, String(number)));
  };
  return [...(await numbered(GONE)), quarantine, ...(await numbered(ARRIVED))];
}
