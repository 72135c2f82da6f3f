import { constants, existsSync } from 'node:fs';
import { copyFile, lstat, mkdir, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { absolutePath, pathForPeople, type BytePath } from './bytePath';
import type { CapturedState } from './capture';
import { lines, streamGit, type GitOptions } from './git';
import { openRepository } from './gitDirectory';
import { GitError } from './gitError';
import { revisions } from './haves';
import { distinctObjects, POINTER_BYTES, readPointers, type LfsObject } from './lfsPointer';
import { hashFile, hasLength, lfsFile, lfsStorage } from './lfsStore';
import type { Manifest } from './manifest';
import { treeEntries } from './quarantineChecks';
import type { ObjectId, Repository } from './repository';
import { inShadow } from './shadow';
import { changed } from './worktreeReading';

/** The most LFS objects that one repository hands off. */
export const MOST_LFS_OBJECTS = 100_000;

/** An LFS object and where its content is. */
export interface LfsSource extends LfsObject {
  readonly file: string;
  /** The file lies in the working tree, where it may change (see {@link sealLfsObject}). */
  readonly inWorktree?: BytePath;
}

/**
 * The LFS objects that the destination should have: those that the index names, and those that commits in the bundle
 * name, as far as they are on this machine. No server is asked for others.
 *
 * @param prerequisites of the bundle: what is behind them is at the destination already
 * @throws {GitError} `too-large` for more than {@link MOST_LFS_OBJECTS}
 */
export async function listLfsObjects(options: { readonly capture: CapturedState; readonly prerequisites: readonly ObjectId[]; readonly signal?: AbortSignal | undefined }): Promise<LfsSource[]> {
  const { capture, signal } = options;
  const { storage, files, named } = capture.lfs;
  // A repository in which LFS never stored anything has no pointers to look for in its history.
  const used = named.length > 0 || (await lstat(path.join(storage, 'objects')).then(() => true, () => false));
  const added = used ? await addedPointers(capture, options.prerequisites, signal) : [];
  const inWorktree = new Map(files.map((file) => [file.oid, file.path]));
  const found: LfsSource[] = [];
  for (const { oid, size } of distinctObjects([...named, ...added])) {
    const name = inWorktree.get(oid);
    if (await hasLength(lfsFile(storage, oid), { oid, size })) found.push({ oid, size, file: lfsFile(storage, oid) });
    else if (name !== undefined) found.push({ oid, size, file: absolutePath(capture.root, name).toString(), inWorktree: name });
  }
  if (found.length > MOST_LFS_OBJECTS) throw new GitError('too-large', `The working state of ${capture.root} needs ${found.length} Git LFS objects; at most ${MOST_LFS_OBJECTS} are carried at once. Push the branch with "git lfs push", fetch it at the destination, and try again.`);
  return found;
}

async function addedPointers(capture: CapturedState, prerequisites: readonly ObjectId[], signal?: AbortSignal): Promise<LfsObject[]> {
  const options = inShadow({ gitDir: capture.shadow, worktree: capture.root, objectFormat: capture.objectFormat }, { signal });
  const blobs: ObjectId[] = [];
  const list = ['rev-list', '--objects', '--no-object-names', '--missing=allow-any', `--filter=blob:limit=${POINTER_BYTES + 1}`, '--stdin'];
  for await (const oid of lines(streamGit(list, { ...options, input: revisions([capture.commits.manifest], prerequisites) }))) blobs.push(oid);
  return [...(await readPointers(blobs, options)).values()];
}

/**
 * Content that only a file of the working tree has, copied to where nobody changes it; other objects stay where they are.
 *
 * @returns the file to send
 * @throws {GitError} `changed-while-capturing` where it no longer is that content
 */
export async function sealLfsObject(object: LfsSource, capture: CapturedState, spool: string): Promise<string> {
  if (object.inWorktree === undefined) return object.file;
  const sealed = path.join(spool, `lfs-${object.oid}`);
  await rm(sealed, { force: true });
  await copyFile(absolutePath(capture.root, object.inWorktree), sealed, constants.COPYFILE_FICLONE);
  if ((await hashFile(sealed)) !== object.oid) throw changed(capture.root, `The Git LFS file ${pathForPeople(object.inWorktree)}`);
  return sealed;
}

/** Which of the objects a repository, named as in `openRepository`, has already, one answer for each. */
export async function holdsLfsObjects(root: string, objects: readonly LfsObject[]): Promise<boolean[]> {
  // That of a submodule may be yet to be made.
  if (objects.length === 0 || !existsSync(root)) return objects.map(() => false);
  const repository = await openRepository(root);
  const storage = lfsStorage(repository, repository.settings);
  const held: boolean[] = [];
  for (const object of objects) held.push(await hasLength(lfsFile(storage, object.oid), object));
  return held;
}

/** Where the content of arrived objects waits in a quarantine. */
export function quarantinedLfs(directory: string, oid: string): string {
  return path.join(directory, 'lfs', oid);
}

/** Checks arrived LFS objects against their names, and takes them into the quarantine. @throws {GitError} `corrupt-bundle`, `too-large` */
export async function receiveLfsObjects(directory: string, arrived: readonly LfsSource[], limits: { readonly objectBytes: number }, signal?: AbortSignal): Promise<void> {
  if (arrived.length === 0) return;
  if (arrived.length > MOST_LFS_OBJECTS || arrived.some(({ size }) => size > limits.objectBytes)) throw new GitError('too-large', 'More Git LFS objects arrived, or larger ones, than are taken. Nothing of it was used.');
  await mkdir(path.join(directory, 'lfs'), { mode: 0o700 });
  for (const object of arrived) {
    const intact = /^[0-9a-f]{64}$/.test(object.oid) && (await hasLength(object.file, object)) && (await hashFile(object.file, signal)) === object.oid;
    if (!intact) throw new GitError('corrupt-bundle', 'A Git LFS object that arrived is not the content that its name stands for. Nothing of it was used; hand off again.');
    await rename(object.file, quarantinedLfs(directory, object.oid));
  }
}

/**
 * Each LFS file of the manifest must be a pointer to that very object in the worktree tree, and its content be at hand.
 *
 * @throws {GitError} `hostile-content`; `missing-objects` where the content neither came nor is here
 */
export async function expectLfsContent(manifest: Manifest, tree: ObjectId, repository: Repository, directory: string, options: GitOptions): Promise<void> {
  const files = new Map(manifest.lfsFiles.map(([name, oid, size]) => [name, { oid, size }]));
  if (files.size === 0) return;
  const blobs = new Map<BytePath, ObjectId>();
  for await (const entry of treeEntries(tree, options)) if (files.has(entry.path) && entry.mode.startsWith("100")) blobs.set(entry.path, entry.oid);
  const pointers = await readPointers(blobs.values(), options);
  const storage = lfsStorage(repository, repository.settings);
  for (const [name, object] of files) {
    const pointer = pointers.get(blobs.get(name) ?? '');
    if (pointer?.oid !== object.oid || pointer.size !== object.size) throw new GitError('hostile-content', `The manifest of the bundle that arrived calls ${pathForPeople(name)} a Git LFS file, which it is not. Nothing of it was used.`);
    if (!(await hasLength(quarantinedLfs(directory, object.oid), object)) && !(await hasLength(lfsFile(storage, object.oid), object))) {
      throw new GitError('missing-objects', `The content of the Git LFS file ${pathForPeople(name)} did not arrive and is not in ${storage}. Hand off again.`);
    }
  }
}
