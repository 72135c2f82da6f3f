import { constants, createReadStream } from 'node:fs';
import { access, chmod, copyFile, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { syncDirectory } from './durable';
import { lines, runGit, streamGit } from './git';
import { GitError } from './gitError';
import { inRepository } from './inRepository';
import { revisions } from './haves';
import type { ObjectId, Repository } from './repository';
import { inShadow, objectDirectory, type Shadow } from './shadow';

/** The files of a pack, in the order in which they are published. */
const ENDINGS = ['.pack', '.rev', '.idx'];
/** As git names what it has not finished, so that `git gc` takes it away in time. */
const unfinished = (directory: string, pack: string, ending: string) => path.join(directory, `tmp_baton_${pack}${ending}`);

/** Packs of a shadow that the repository does not have yet; names without ending. */
export async function packsToPublish(shadow: Shadow, repository: Repository): Promise<string[]> {
  const names = (await readdir(path.join(shadow.gitDir, 'objects', 'pack'))).filter((name) => /^pack-[0-9a-f]+\.idx$/.test(name)).map((name) => name.slice(0, -'.idx'.length));
  const missing: string[] = [];
  for (const name of names) if (!(await exists(path.join(objectDirectory(repository), 'pack', `${name}.idx`)))) missing.push(name);
  return missing;
}

/**
 * Makes packs part of the repository. Git looks for `.idx` files, so a pack counts from the moment its index is there,
 * complete; doing it twice, or again after a crash in the middle, does no harm.
 *
 * @throws {GitError} `disk-full`
 */
export async function publishPacks(shadow: Shadow, repository: Repository, packs: readonly string[]): Promise<void> {
  const from = path.join(shadow.gitDir, 'objects', 'pack');
  const to = path.join(objectDirectory(repository), 'pack');
  await mkdir(to, { recursive: true });
  for (const pack of packs) {
    for (const ending of ENDINGS) {
      const source = path.join(from, pack + ending);
      const target = path.join(to, pack + ending);
      if (!(await exists(source)) || (await exists(target))) continue;
      // A copy, not a move: the quarantine stays whole until the handoff is over, and may be on another file system.
      const temporary = unfinished(to, pack, ending);
      try {
        // One that a crash left is read-only by now.
        await rm(temporary, { force: true });
        await copyFile(source, temporary, constants.COPYFILE_FICLONE);
        await chmod(temporary, 0o444);
        const handle = await open(temporary, 'r');
        await handle.sync().finally(() => handle.close());
        await rename(temporary, target);
      } catch (error) {
        await rm(temporary, { force: true });
        const code = (error as NodeJS.ErrnoException).code;
        throw new GitError(code === 'ENOSPC' || code === 'EDQUOT' ? 'disk-full' : 'failed', `Objects could not be put into ${to}: ${(error as Error).message}`, { cause: error });
      }
    }
  }
  await syncDirectory(to);
}

/** Packs what a tip in a capture's shadow has and none of `base` has, so that it can be published. @returns the pack's name */
export async function packCapture(shadow: Shadow, tip: ObjectId, base: readonly ObjectId[], signal?: AbortSignal): Promise<string> {
  const { stdout } = await runGit(['pack-objects', '--revs', '--delta-base-offset', '-q', path.join(shadow.gitDir, 'objects', 'pack', 'pack')], { ...inShadow(shadow, { signal }), input: revisions([tip], base) });
  return `pack-${stdout.toString('latin1').trim()}`;
}

/** Removes published packs again, except those that alone hold an object which the repository has come to need. One that was published in part holds nothing yet, and goes. */
export async function withdrawPacks(repository: Repository, packs: readonly string[]): Promise<void> {
  const directory = path.join(objectDirectory(repository), 'pack');
  for (const pack of packs) {
    for (const ending of ENDINGS) await rm(unfinished(directory, pack, ending), { force: true });
    if (!(await exists(path.join(directory, `${pack}.idx`)))) await removePack(directory, pack);
  }
  const owners = new Map<ObjectId, string>();
  for (const pack of packs) for await (const oid of packedObjects(repository, pack)) owners.set(oid, pack);
  if (owners.size === 0) return;
  const needed = new Map<ObjectId, string>();
  // What a partial clone did without before, since it is promised, it can do without again.
  for await (const oid of lines(streamGit(['rev-list', '--objects', '--no-object-names', ...(repository.partial ? ['--exclude-promisor-objects'] : []), '--all', '--reflog', '--indexed-objects'], inRepository(repository.root)))) {
    const pack = owners.get(oid);
    if (pack !== undefined) needed.set(oid, pack);
  }
  // A thin pack is completed with copies of objects that were here before it.
  for (const oid of [...needed.keys()]) if (await exists(path.join(objectDirectory(repository), oid.slice(0, 2), oid.slice(2)))) needed.delete(oid);
  for (const file of needed.size === 0 ? [] : await readdir(directory)) {
    const other = /^(pack-[0-9a-f]+)\.idx$/.exec(file)?.[1];
    if (other !== undefined && !packs.includes(other)) for await (const oid of packedObjects(repository, other)) needed.delete(oid);
  }
  const kept = new Set(needed.values());
  for (const pack of packs.filter((name) => !kept.has(name))) await removePack(directory, pack);
}

/** The index first: without it git takes the rest for nothing. */
async function removePack(directory: string, pack: string): Promise<void> {
  for (const ending of ENDINGS.toReversed()) await rm(path.join(directory, pack + ending), { force: true });
}

async function* packedObjects(repository: Repository, pack: string): AsyncGenerator<ObjectId, void, undefined> {
  const index = path.join(objectDirectory(repository), 'pack', `${pack}.idx`);
  if (!(await exists(index))) return;
  for await (const line of lines(streamGit(['show-index'], { cwd: repository.root, input: createReadStream(index) as AsyncIterable<Buffer> }))) yield line.split(' ')[1] ?? '';
}

async function exists(file: string): Promise<boolean> {
  return access(file).then(() => true, () => false);
}
