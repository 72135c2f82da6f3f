import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { Branches } from './branches';
import { pathForPeople, type BytePath } from './bytePath';
import { runGit } from './git';
import { openRepository } from './gitDirectory';
import { GitError } from './gitError';
import { inRepository } from './inRepository';
import { fingerprintOf } from './manifest';
import type { QuarantinedState } from './quarantine';
import { readRepository, type ObjectId, type Repository } from './repository';
import { ARRIVED, finishRestore, restoreWorkingState, type RestoredState } from './restore';
import { arrivedRef } from './restorePart';
import { returnLfs } from './snapshotLfs';
import { expectWhole } from './snapshotObjects';
import { parentsOfTip, readKeptFiles, readRecord, type KeptSubmodule, type SnapshotRecord } from './snapshotRecord';
import { readKept, type Snapshot } from './snapshots';
import { placeIn } from './submodules';
import { writeTraces } from './worktreeTraces';

export interface SnapshotRestoreOptions {
  /** A checkout of the repository that has the snapshot; it is left alone. */
  readonly root: string;
  readonly snapshot: Snapshot;
  /** Where the worktree was; must not exist, or be empty. */
  readonly worktree: string;
  /** Names the branches that are made where the worktree's own is taken: the thread's id, or else the worktree's. */
  readonly name: string;
  /** Directory of Baton's own for what a rollback needs; must not exist. */
  readonly directory: string;
  readonly signal?: AbortSignal | undefined;
}

/** A part of a snapshot, checked. */
interface ReadPart {
  readonly place: BytePath;
  readonly repository: Repository;
  readonly kept: Omit<Snapshot, 'submodules'>;
  readonly record: SnapshotRecord;
  readonly quarantine: QuarantinedState;
  /** HEAD goes on to the branch that it was on. */
  readonly exact: boolean;
}

/**
 * Builds the worktree that a snapshot was taken of, submodules included, at the same place, and compares what is there then with the
 * snapshot. `rollbackRestore` takes it back until {@link finishSnapshot} lets go; when this throws, the caller rolls back.
 *
 * @throws {GitError} `missing-objects` when the snapshot is not whole any more, `worktree-exists`, `disk-full`, `failed`
 */
export async function restoreSnapshot(options: SnapshotRestoreOptions): Promise<RestoredState> {
  const { root, snapshot, worktree, directory, signal } = options;
  await mkdir(directory, { mode: 0o700 });
  const top = await readPart(await readRepository(root, signal), snapshot, '', directory, worktree, signal);
  const parts: ReadPart[] = [];
  for (const [position, submodule] of snapshot.submodules.entries()) {
    const place = path.join(directory, ARRIVED, String(position));
    await mkdir(place, { recursive: true, mode: 0o700 });
    parts.push(await readPart(await openSubmodule(submodule, signal), submodule, submodule.place, place, worktree, signal));
  }
  const restored = await restoreWorkingState({
    root, worktree, threadId: options.name, carriedBranch: carried(top), quarantine: top.quarantine, signal,
    submodules: parts.map((part) => ({ place: part.place, repository: part.repository.root, quarantine: part.quarantine, carriedBranch: carried(part) })),
  });
  if (restored.fingerprint !== snapshot.fingerprint) throw new GitError('failed', `${worktree} could not be made again exactly as its snapshot ${snapshot.ref} has it. What was made was removed, and the snapshot kept.`);
  const notes = [...restored.notes];
  for (const part of [top, ...parts]) {
    const said = await completePart(part, part.place === '' ? worktree : placeIn(worktree, part.place), signal);
    notes.push(...said.map((note) => (part.place === '' ? note : `Submodule ${pathForPeople(part.place)}: ${note}`)));
  }
  return { ...restored, notes, branch: top.exact ? (snapshot.branch?.replace('refs/heads/', '') ?? null) : restored.branch };
}

async function openSubmodule({ place, repository }: KeptSubmodule, signal?: AbortSignal): Promise<Repository> {
  return openRepository(repository, signal).catch((cause: unknown) => {
    if (GitError.is(cause, 'cancelled')) throw cause;
    throw new GitError('missing-objects', `The repository ${repository}, which has the snapshot of the submodule ${pathForPeople(place)}, cannot be read. Nothing was changed; put it back, then try again.`, { cause });
  });
}

/** Reads a part's snapshot, and looks at all of it. The shadow lies where `restoreWorkingState` looks for what arrived. */
async function readPart(repository: Repository, kept: Omit<Snapshot, 'submodules'>, place: BytePath, directory: string, worktree: string, signal?: AbortSignal): Promise<ReadPart> {
  const { tip } = kept;
  const [commit, ...logged] = await parentsOfTip(repository.commonDir, tip, signal);
  const { manifest, trees } = await readKept(repository, tip, path.join(directory, 'shadow'), signal);
  if (fingerprintOf(manifest, trees) !== kept.fingerprint) throw new GitError('missing-objects', `The snapshot ${kept.ref} is not what was kept. Nothing was changed; look at "git fsck" in ${repository.root}.`);
  await expectWhole(repository, tip, [...(manifest.head === null ? [] : [manifest.head]), ...logged], signal);
  const record = await readRecord(repository.commonDir, tip, signal);
  await returnLfs(repository, kept.ref, record.lfs, signal);
  return {
    place, repository, kept, record,
    exact: await branchIsFree(repository, kept, place === '' ? worktree : placeIn(worktree, place)),
    quarantine: {
      root: repository.root, directory, shallow: [], submodules: [], size: { objects: 0, paths: 0 }, lfs: [], objectFormat: repository.objectFormat, head: kept.head, branch: kept.branch, trees, fingerprint: kept.fingerprint,
      commits: { manifest: commit, worktree: await firstParent(repository, commit), index: await firstParent(repository, await firstParent(repository, commit)) },
    },
  };
}

/** The branch by the rules of a handoff; none where HEAD goes back to its own afterwards. */
function carried({ exact, kept: { head, branch } }: ReadPart): string | null {
  // Without a commit there is nothing but a branch that HEAD could be at.
  return exact && head !== null ? null : branch;
}

/** What a handoff does not restore: the branch itself, and the traces. @returns notes for the user */
async function completePart({ repository, kept: { tip, head, branch }, record, exact }: ReadPart, worktree: string, signal?: AbortSignal): Promise<string[]> {
  if (exact && branch !== null) {
    if (head !== null) await runGit(['update-ref', branch, head], { cwd: worktree, signal });
    await runGit(['symbolic-ref', '-m', 'baton: restored', 'HEAD', branch], { cwd: worktree, signal });
  }
  return writeTraces(await readRepository(worktree, signal), { refs: record.refs, files: await readKeptFiles(repository.commonDir, tip, record, signal) });
}

/** Lets go of what a rollback would need. Idempotent. */
export async function finishSnapshot(options: { readonly root: string; readonly snapshot: Pick<Snapshot, 'submodules'>; readonly directory: string; readonly name: string }): Promise<void> {
  await finishRestore(options.directory);
  // What arrived last is noted for threads; a worktree that was nobody's keeps no such note.
  if (/^[0-9a-f]{8}$/.test(options.name)) for (const root of [options.root, ...options.snapshot.submodules.map(({ repository }) => repository)]) await runGit(['update-ref', '-d', arrivedRef(options.name)], inRepository(root));
}

async function firstParent(repository: Repository, commit: ObjectId): Promise<ObjectId> {
  const [parent] = await parentsOfTip(repository.commonDir, commit);
  return parent;
}

/** Whether HEAD can be put on the branch that it was on: nobody moved it meanwhile, and nobody else uses it. */
async function branchIsFree(repository: Repository, { branch, head }: Omit<Snapshot, 'submodules'>, worktree: string): Promise<boolean> {
  if (branch === null) return false;
  const branches = await Branches.of(repository, worktree, {});
  if (branches.useElsewhere(branch) !== null) return false;
  const value = await branches.valueOf(branch);
  // One that was deleted can be made again where no other is in its way.
  return value === head || (value === null && (await branches.hasRoomFor(branch)));
}
