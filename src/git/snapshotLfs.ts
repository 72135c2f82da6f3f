import { constants } from 'node:fs';
import { copyFile, link, mkdir, rename, rm, rmdir } from 'node:fs/promises';
import path from 'node:path';
import type { CapturedState } from './capture';
import { gitText } from './git';
import { GitError } from './gitError';
import { inRepository } from './inRepository';
import type { LfsObject } from './lfsPointer';
import { hashFile, hasLength, lfsFile, lfsStorage, placeLfsObjects } from './lfsStore';
import { listLfsObjects } from './lfsTransfer';
import type { Repository } from './repository';

/**
 * Keeps the Git LFS content that a snapshot needs: `git lfs prune` takes what no branch and no worktree has for unused, and
 * knows nothing of snapshots. Hard links in the repository's Git directory take no room; where there are none, copies.
 *
 * @returns what is kept
 * @throws {GitError} `disk-full`, `failed`
 */
export async function keepLfs(repository: Pick<Repository, 'commonDir'>, capture: CapturedState, ref: string, signal?: AbortSignal): Promise<LfsObject[]> {
  // What a remote has is there to be fetched again; everything else may be nowhere but here.
  const pushed = (await gitText(['for-each-ref', '--format=%(objectname)', 'refs/remotes'], inRepository(repository.commonDir, signal))).split('\n').filter((oid) => oid !== '');
  const objects = await listLfsObjects({ capture, prerequisites: pushed, signal });
  const directory = directoryOf(repository, ref);
  const kept: LfsObject[] = [];
  for (const { oid, size, file, inWorktree } of objects) {
    // Content that only a file in the worktree has is refused elsewhere.
    if (inWorktree !== undefined) continue;
    await mkdir(directory, { recursive: true });
    const target = path.join(directory, oid);
    try {
      await link(file, target).catch(async (error: unknown) => {
        if ((error as NodeJS.ErrnoException).code === 'EEXIST') return;
        await copyFile(file, `${target}.unfinished`, constants.COPYFILE_FICLONE);
        await rename(`${target}.unfinished`, target);
      });
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      throw new GitError(code === 'ENOSPC' || code === 'EDQUOT' ? 'disk-full' : 'failed', `Git LFS content could not be kept in ${directory}: ${message}`, { cause: error });
    }
    kept.push({ oid, size });
  }
  return kept;
}

/** Puts kept content back into the LFS storage where that has lost it. */
export async function returnLfs(repository: Repository, ref: string, objects: readonly LfsObject[], signal?: AbortSignal): Promise<void> {
  const storage = lfsStorage(repository, repository.settings);
  for (const object of objects) {
    if (await hasLength(lfsFile(storage, object.oid), object)) continue;
    const file = path.join(directoryOf(repository, ref), object.oid);
    // One that is damaged is said to be missing by who needs it.
    if ((await hashFile(file, signal).catch(() => '')) === object.oid) await placeLfsObjects(storage, [{ ...object, file }]);
  }
}

export async function dropLfs(repository: Pick<Repository, 'commonDir'>, ref: string): Promise<void> {
  const directory = directoryOf(repository, ref);
  await rm(directory, { recursive: true, force: true });
  // The worktree's, and that of all, where they are empty now.
  for (const above of [path.dirname(directory), path.dirname(path.dirname(directory))]) if (!(await rmdir(above).then(() => true, () => false))) break;
}

/** `baton/lfs/<worktree id>/<time>` for the snapshot `refs/baton/snapshots/<worktree id>/<time>`. */
function directoryOf({ commonDir }: Pick<Repository, 'commonDir'>, ref: string): string {
  return path.join(commonDir, 'baton', 'lfs', ...ref.split('/').slice(-2));
}
