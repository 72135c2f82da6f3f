import { constants } from 'node:fs';
import { chmod, copyFile, lstat, mkdir, rename, utimes } from 'node:fs/promises';
import path from 'node:path';
import { absolutePath, pathForPeople, type BytePath } from './bytePath';
import { writeCarriedLfsPaths } from './carriedPaths';
import type { CapturedState } from './capture';
import { GitError } from './gitError';
import type { LfsFile } from './lfsFiles';
import { distinctObjects, type LfsObject } from './lfsPointer';
import { hashFile, hasLength, lfsFile, lfsStorage, placeLfsObjects } from './lfsStore';
import { quarantinedLfs } from './lfsTransfer';
import { readRepository, type Repository } from './repository';
import type { StateToRestore } from './restoredState';

/** Of the arrived LFS objects those that the repository does not have yet. */
export async function lfsToPlace(repository: Repository, objects: readonly LfsObject[]): Promise<LfsObject[]> {
  const storage = lfsStorage(repository, repository.settings);
  const missing: LfsObject[] = [];
  for (const object of objects) if (!(await hasLength(lfsFile(storage, object.oid), object))) missing.push(object);
  return missing;
}

/** Makes arrived objects part of the repository's LFS storage. @throws {GitError} `disk-full`, `failed` */
export async function publishLfs(repository: Repository, directory: string, objects: readonly LfsObject[]): Promise<void> {
  await placeLfsObjects(lfsStorage(repository, repository.settings), objects.map((object) => ({ ...object, file: quarantinedLfs(directory, object.oid) })));
}

/** The LFS files of a state. */
export function lfsFilesOf(state: StateToRestore): LfsFile[] {
  return state.manifest.lfsFiles.map(([name, oid, size]) => ({ path: name, oid, size }));
}

/** Paths that `from` has as content of an LFS object and `to` has not, or has as another one. */
export function lfsFilesToReplace(from: StateToRestore, to: StateToRestore): LfsFile[] {
  const kept = new Map(lfsFilesOf(to).map((file) => [file.path, file.oid]));
  return lfsFilesOf(from).filter((file) => kept.get(file.path) !== file.oid);
}

/**
 * Keeps the content of files that are about to be overwritten, so that a rollback has it: in the quarantine, unless the
 * repository's LFS storage has it.
 *
 * @throws {GitError} `worktree-diverged` where one is not the content that was captured
 */
export async function keepLfsContent(worktree: Repository, directory: string, files: readonly LfsFile[], signal?: AbortSignal): Promise<void> {
  const storage = lfsStorage(worktree, worktree.settings);
  for (const file of files) {
    const present = absolutePath(worktree.root, file.path);
    if ((await hashFile(present, signal).catch(() => '')) !== file.oid) throw new GitError('worktree-diverged', `${pathForPeople(file.path)} in ${worktree.root} changed while it was being restored. Let other programs finish there, then try again.`);
    if ((await hasLength(quarantinedLfs(directory, file.oid), file)) || (await hasLength(lfsFile(storage, file.oid), file))) continue;
    await mkdir(path.join(directory, 'lfs'), { recursive: true, mode: 0o700 });
    // Whole, or not there: what lies in the quarantine is believed.
    const unfinished = path.join(directory, 'lfs', 'unfinished');
    await copyFile(present, unfinished, constants.COPYFILE_FICLONE);
    await rename(unfinished, quarantinedLfs(directory, file.oid));
  }
}

/** Puts all LFS content of a worktree that is about to be removed into its repository's storage, where its state will need it. */
export async function keepAllLfs(repository: Repository, previous: CapturedState, directory: string, signal?: AbortSignal): Promise<void> {
  if (previous.lfs.files.length === 0) return;
  await keepLfsContent(await readRepository(previous.root, signal), directory, previous.lfs.files, signal);
  await publishLfs(repository, directory, await lfsToPlace(repository, distinctObjects(previous.lfs.files)));
}

/**
 * Puts content in place of pointers, in a private directory. From the LFS storage it is taken only if its hash is right; no filter
 * runs and no server is asked.
 *
 * @param staging has the pointers, as the worktree would
 * @param time of the files, Unix time in seconds: older than the index, or git would read each of them again
 * @throws {GitError} `missing-objects`, `disk-full`, `failed`
 */
export async function stageLfsContent(worktree: Repository, directory: string, files: readonly LfsFile[], staging: string, time: number, signal?: AbortSignal): Promise<void> {
  const storage = lfsStorage(worktree, worktree.settings);
  const sound = new Set<string>();
  for (const file of files) {
    let source = quarantinedLfs(directory, file.oid);
    if (!(await hasLength(source, file))) {
      source = lfsFile(storage, file.oid);
      if (!sound.has(file.oid) && (await hashFile(source, signal).catch(() => '')) !== file.oid) {
        throw new GitError('missing-objects', `The Git LFS object ${file.oid} in ${storage} is damaged or gone. Remove it ("git lfs fsck" names it), then hand off again: it travels then.`);
      }
      sound.add(file.oid);
    }
    const target = absolutePath(staging, file.path);
    const { mode } = await lstat(target);
    await copyFile(source, target, constants.COPYFILE_FICLONE).catch((error: unknown) => {
      const { code, message } = error as NodeJS.ErrnoException;
      throw new GitError(code === 'ENOSPC' || code === 'EDQUOT' ? 'disk-full' : 'failed', `${pathForPeople(file.path)} could not be written: ${message}`, { cause: error });
    });
    await chmod(target, mode & 0o777);
    await utimes(target, time, time);
  }
}

/** Notes the LFS files of a worktree, which attributes may not mark as such on this host. */
export async function recordLfsFiles(worktree: Repository, state: StateToRestore): Promise<void> {
  await writeCarriedLfsPaths(worktree.gitDir, lfsFilesOf(state).map((file): BytePath => file.path));
}
