import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { Branches } from './branches';
import { gitText, runGit } from './git';
import { GitError } from './gitError';
import { inRepository } from './inRepository';
import { fingerprintOf } from './manifest';
import { readRepository, type ObjectId, type Repository } from './repository';
import { finishRestore, restoreWorkingState, type RestoredState } from './restore';
import { arrivedRef } from './restorePart';
import { expectWhole, readKept, type Snapshot } from './snapshots';

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

/**
 * Builds the worktree that a snapshot was taken of, at the same place, and compares what is there then with the snapshot.
 * `rollbackRestore` takes it back until {@link finishSnapshot} lets go; when this throws, the caller rolls back.
 *
 * @throws {GitError} `missing-objects` when the snapshot is not whole any more, `worktree-exists`, `disk-full`, `failed`
 */
export async function restoreSnapshot(options: SnapshotRestoreOptions): Promise<RestoredState> {
  const { root, snapshot, worktree, directory, signal } = options;
  await mkdir(directory, { mode: 0o700 });
  const repository = await readRepository(root, signal);
  // The shadow at the place where `restoreWorkingState` looks for what arrived.
  const { manifest, trees } = await readKept(repository, snapshot.tip, path.join(directory, 'shadow'), signal);
  if (fingerprintOf(manifest, trees) !== snapshot.fingerprint) throw new GitError('missing-objects', `The snapshot ${snapshot.ref} is not what was kept. Nothing was changed; look at "git fsck" in ${root}.`);
  await expectWhole(repository, snapshot.tip, manifest.head, signal);
  const exact = await branchIsFree(repository, snapshot, worktree);
  // Without a commit there is nothing but a branch that HEAD could be at.
  const carriedBranch = exact && snapshot.head !== null ? null : snapshot.branch;
  const restored = await restoreWorkingState({
    root, worktree, threadId: options.name, carriedBranch, signal,
    quarantine: {
      root, directory, shallow: [], submodules: [], size: { objects: 0, paths: 0 }, lfs: [], objectFormat: repository.objectFormat, head: snapshot.head, branch: snapshot.branch, trees, fingerprint: snapshot.fingerprint,
      commits: { manifest: snapshot.tip, worktree: await parentOf(repository, snapshot.tip, 1), index: await parentOf(repository, snapshot.tip, 2) },
    },
  });
  if (restored.fingerprint !== snapshot.fingerprint) throw new GitError('failed', `${worktree} could not be made again exactly as its snapshot ${snapshot.ref} has it. What was made was removed, and the snapshot kept.`);
  if (exact && snapshot.branch !== null) {
    if (snapshot.head !== null) await runGit(['update-ref', snapshot.branch, snapshot.head], { cwd: worktree });
    await runGit(['symbolic-ref', '-m', 'baton: restored', 'HEAD', snapshot.branch], { cwd: worktree });
    return { ...restored, branch: snapshot.branch.replace('refs/heads/', '') };
  }
  return restored;
}

/** Lets go of what a rollback would need. Idempotent. */
export async function finishSnapshot(options: { readonly root: string; readonly directory: string; readonly name: string }): Promise<void> {
  await finishRestore(options.directory);
  // What arrived last is noted for threads; a worktree that was nobody's keeps no such note.
  if (/^[0-9a-f]{8}$/.test(options.name)) await runGit(['update-ref', '-d', arrivedRef(options.name)], { cwd: options.root });
}

async function parentOf(repository: Repository, tip: ObjectId, generation: number): Promise<ObjectId> {
  return gitText(['rev-parse', '-q', '--verify', `${tip}~${generation}^{commit}`], inRepository(repository.commonDir));
}

/** Whether HEAD can be put on the branch that it was on: nobody moved it meanwhile, and nobody else uses it. */
async function branchIsFree(repository: Repository, { branch, head }: Snapshot, worktree: string): Promise<boolean> {
  if (branch === null) return false;
  const branches = await Branches.of(repository, worktree, {});
  if (branches.useElsewhere(branch) !== null) return false;
  const value = await branches.valueOf(branch);
  // One that was deleted can be made again where no other is in its way.
  return value === head || (value === null && (await branches.hasRoomFor(branch)));
}
