import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { chmod, copyFile, link, mkdir, open, rename, rm, rmdir, stat } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { runGit } from './git';
import { GitError } from './gitError';
import { inRepository } from './inRepository';
import { pointerBlob, type LfsObject } from './lfsPointer';
import type { Repository } from './repository';
import type { RepositorySettings } from './shadow';

/** Where a repository keeps its LFS objects: `lfs.storage`, else `lfs` in the Git directory (git-lfs-config(5)). `.lfsconfig` has no say in it. */
export function lfsStorage(repository: Pick<Repository, 'commonDir'>, settings: RepositorySettings): string {
  const named = settings.values.get('lfs.storage') ?? '';
  return path.resolve(repository.commonDir, named === '' ? 'lfs' : named.replace(/^~(?=\/|$)/, os.homedir()));
}

/** The file of an object in a storage. */
export function lfsFile(storage: string, oid: string): string {
  return path.join(storage, 'objects', oid.slice(0, 2), oid.slice(2, 4), oid);
}

/** Whether a file is there and as long as the object; its content is another question. */
export async function hasLength(file: string, { size }: LfsObject): Promise<boolean> {
  return stat(file).then((found) => found.isFile() && found.size === size, () => false);
}

/** SHA-256, hex. */
export async function hashFile(file: string | Buffer, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  // Where a platform lacks one of the flags it is undefined, which counts as no bit.
  const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW);
  for await (const chunk of handle.createReadStream({ highWaterMark: 1024 * 1024, signal })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/**
 * Puts verified objects into a storage; one that is there is never overwritten. Doing it twice, or again after a crash in
 * the middle, does no harm.
 *
 * @throws {GitError} `disk-full`, `failed`
 */
export async function placeLfsObjects(storage: string, objects: readonly (LfsObject & { readonly file: string })[]): Promise<void> {
  for (const { oid, file } of objects) {
    const target = lfsFile(storage, oid);
    const temporary = `${target}${UNFINISHED}`;
    try {
      await mkdir(path.dirname(target), { recursive: true });
      await copyFile(file, temporary, constants.COPYFILE_FICLONE);
      await chmod(temporary, 0o644);
      const handle = await open(temporary, 'r');
      await handle.sync().finally(() => handle.close());
      // Fails where the object is there, unlike a rename; not every file system has links.
      await link(temporary, target).catch(async (error: unknown) => {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') await rename(temporary, target);
      });
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      throw new GitError(code === 'ENOSPC' || code === 'EDQUOT' ? 'disk-full' : 'failed', `A Git LFS object could not be put into ${storage}: ${message}`, { cause: error });
    } finally {
      await rm(temporary, { force: true });
    }
  }
}

const UNFINISHED = '.baton';

/**
 * Removes placed objects again, except those whose pointer the repository holds by now: a commit or an index may name them.
 * To be called when everything else that was published has been taken back.
 */
export async function withdrawLfsObjects(repository: Repository, storage: string, objects: readonly LfsObject[]): Promise<void> {
  if (objects.length === 0) return;
  const { stdout } = await runGit(['cat-file', '--batch-check=%(objecttype)'], { ...inRepository(repository.root), input: objects.map((object) => `${pointerBlob(object, repository.objectFormat)}\n`).join('') });
  const types = stdout.toString('latin1').split('\n');
  for (const [position, { oid }] of objects.entries()) {
    const target = lfsFile(storage, oid);
    await rm(`${target}${UNFINISHED}`, { force: true });
    if (types[position] === 'blob') continue;
    await rm(target, { force: true });
    for (let directory = path.dirname(target); directory !== path.dirname(storage); directory = path.dirname(directory)) {
      if (!(await rmdir(directory).then(() => true, () => false))) break;
    }
  }
}
