import { lstat, mkdir, readdir, rmdir, unlink } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { absolutePath, bytePath, childPath, nulTerminated, parentPaths, pathForPeople, sortedPaths, type BytePath } from './bytePath';
import { runGit, streamGit, nulRecords } from './git';
import { GitError } from './gitError';
import { indexInfo, pathList } from './indexListing';
import { lfsFilesToReplace } from './restoreLfs';
import { treeEntries } from './quarantineChecks';
import type { StateToRestore, TreeChange } from './restoredState';
import { inShadow, type Shadow } from './shadow';
import { updateIndex } from './stateObjects';

/** All differences between two trees; files only. */
export async function treeChanges(shadow: Shadow, from: string, to: string, signal?: AbortSignal): Promise<TreeChange[]> {
  const changes: TreeChange[] = [];
  const records = nulRecords(streamGit(['diff-tree', '-r', '-z', '--raw', '--no-renames', '--no-abbrev', from, to], inShadow(shadow, { signal })));
  for await (const record of records) {
    const [fromMode = '', toMode = '', fromOid = '', toOid = ''] = record.toString('latin1').slice(1).split(' ');
    const name = await records.next();
    if (name.done === true) break;
    changes.push({ path: bytePath(name.value), fromMode, toMode, fromOid, toOid });
  }
  return changes;
}

/** Processes that write files; a few more than there are cores keep a disk busy, many more only wait for each other. */
const workers = `checkout.workers=${Math.max(2, Math.min(8, availableParallelism()))}`;

/**
 * Writes the working tree of a state into an empty worktree, raw: no conversion, no filter, no hook. `index` then lists
 * what was written, with times and sizes.
 */
export async function writeFiles(shadow: Shadow, index: string, state: StateToRestore, signal?: AbortSignal): Promise<void> {
  const options = inShadow(shadow, { index, signal });
  if (state.absent.size === 0) await runGit(['-c', workers, 'read-tree', '-m', '-u', state.trees.worktree], options);
  else {
    await runGit(['read-tree', state.trees.worktree], options);
    const listed = (async function* () {
      for await (const entry of treeEntries(state.trees.worktree, options)) if (entry.type !== 'tree' && !state.absent.has(entry.path)) yield Buffer.from(`${entry.path}\0`, 'latin1');
    })();
    await runGit(['checkout-index', '-f', '-u', '-q', '-z', '--stdin'], { ...options, input: listed });
  }
  await makeDirectories(shadow.worktree, state.manifest.emptyDirectories);
}

/** Mode of the place of a submodule. */
const GITLINK = '160000';

/**
 * Turns a worktree from one state into another, touching only what differs. Ignored files stay where they are.
 *
 * @param index describes the working tree as it is, with times and sizes; afterwards as it has become
 * @param keep is given what will be overwritten or removed, before it is
 * @returns what was written
 * @throws {GitError} `worktree-diverged` when an ignored file is in the way; nothing has been changed then
 */
export async function changeFiles(shadow: Shadow, index: string, from: StateToRestore, to: StateToRestore, keep: (isReplaced: (name: BytePath) => boolean) => Promise<void>, signal?: AbortSignal): Promise<{ has(name: BytePath): boolean }> {
  const root = shadow.worktree;
  const changes = await treeChanges(shadow, from.trees.worktree, to.trees.worktree, signal);
  const changed = new Map(changes.map((change) => [change.path, change]));
  const removed = new Set<BytePath>();
  const written = new Map<BytePath, { isNew: boolean; mode: string }>();
  for (const change of changes) {
    const was = change.fromMode !== '000000' && !from.absent.has(change.path);
    const is = change.toMode !== '000000' && !to.absent.has(change.path);
    // Neither is written over the other: a submodule's place may hold what git does not know of.
    const swapped = was && is && (change.fromMode === GITLINK) !== (change.toMode === GITLINK);
    if (is) written.set(change.path, { isNew: !was || swapped, mode: change.toMode });
    if (was && (!is || swapped)) removed.add(change.path);
  }
  // The same entry in both trees, but only one of the two working trees has the file.
  for (const name of to.absent) if (!from.absent.has(name) && !changed.has(name)) removed.add(name);
  for (const name of from.absent) if (!to.absent.has(name) && !changed.has(name)) written.set(name, { isNew: true, mode: '100644' });

  // The pointer is in both trees, but only one of the two working trees has the content.
  for (const { path: name } of lfsFilesToReplace(from, to)) if (!changed.has(name) && !to.absent.has(name)) written.set(name, { isNew: false, mode: '100644' });

  const going = new Set([...removed].filter((name) => changed.get(name)?.fromMode !== GITLINK));
  for (const [name, { isNew }] of written) if (isNew) await expectFree(root, name, going);
  for (const name of await trackedWithoutFile(shadow, index, to, signal)) if (!written.has(name) && !removed.has(name)) await expectNoFile(root, name);
  await keep((name) => written.has(name) || removed.has(name));
  for (const name of removed) await removeFile(root, name);
  for (const name of sortedPaths(from.manifest.emptyDirectories).reverse()) if (!to.manifest.emptyDirectories.includes(name)) await removeEmpty(root, name);

  const options = inShadow(shadow, { index, signal });
  const zero = '0'.repeat(to.trees.index.length);
  const gone = changes.filter((change) => change.toMode === '000000');
  const set = changes.filter((change) => change.toMode !== '000000');
  await runGit(['update-index', '-z', '--index-info'], { ...options, input: Buffer.concat([
    indexInfo(gone.map((change) => ({ path: change.path, mode: '0', oid: zero, stage: 0 }))),
    indexInfo(set.map((change) => ({ path: change.path, mode: change.toMode, oid: change.toOid, stage: 0 }))),
  ]) });
  // Git writes no file of which the index says that it is to be absent.
  await updateIndex(shadow, index, ['--no-skip-worktree'], [...from.absent].filter((name) => written.has(name)), signal);
  const input = nulTerminated([...written].filter(([, { mode }]) => mode !== GITLINK).map(([name]) => name));
  if (input.length > 0) await runGit(['checkout-index', '-f', '-u', '-q', '-z', '--stdin'], { ...options, input });
  await makeDirectories(root, [...[...written].filter(([, { mode }]) => mode === GITLINK).map(([name]) => name), ...to.manifest.emptyDirectories]);
  return written;
}

async function makeDirectories(root: string, names: readonly BytePath[]): Promise<void> {
  for (const name of names) {
    if (await isBelowLink(root, name)) throw new GitError('worktree-diverged', `A directory above ${pathForPeople(name)} in ${root} became a symbolic link while it was being restored. Let other programs finish there, then try again.`);
    await mkdir(absolutePath(root, name), { recursive: true });
  }
}

/** Whether something above a path is no directory, so that what is done there would happen elsewhere. Git looks in the same way before it writes. */
async function isBelowLink(root: string, name: BytePath): Promise<boolean> {
  for (const above of parentPaths(name)) {
    const found = await lstat(absolutePath(root, above)).catch(ignoreAbsent);
    if (found === null) return false;
    if (!found.isDirectory()) return true;
  }
  return false;
}

function occupied(root: string, by: BytePath): GitError {
  return new GitError('worktree-diverged', `${pathForPeople(by)} in ${root} is no part of what the thread left there, and in the way of what arrives. Move it away, then try again.`);
}

/** Paths that the index of a state has and its working tree has not. A file that is ignored as long as nothing tracks it would stand for them. */
async function trackedWithoutFile(shadow: Shadow, index: string, to: StateToRestore, signal?: AbortSignal): Promise<BytePath[]> {
  const deleted = (await treeChanges(shadow, to.trees.worktree, to.trees.index, signal)).filter((change) => change.fromMode === '000000').map((change) => change.path);
  const staged = to.trees.stages === null ? [] : (await pathList(['ls-tree', '-r', '-z', '--name-only', '--full-tree', to.trees.stages], inShadow(shadow, { signal }))).map((name) => name.slice('1/'.length));
  const doubtful = [...staged, ...to.manifest.intentToAdd.map(([name]) => name)];
  // What is in neither tree of the working state stands in the index alone; the files that are there now are listed already.
  const present = doubtful.length === 0 ? new Set<BytePath>() : new Set(await pathList(['ls-files', '-z'], inShadow(shadow, { index, signal })));
  return [...deleted, ...to.absent, ...doubtful.filter((name) => !present.has(name))];
}

async function expectNoFile(root: string, name: BytePath): Promise<void> {
  const found = (await isBelowLink(root, name)) ? null : await lstat(absolutePath(root, name)).catch(ignoreAbsent);
  if (found !== null && !found.isDirectory()) throw occupied(root, name);
}

/**
 * Nothing but files that are about to go may lie where a file is to be written.
 *
 * @throws {GitError} `worktree-diverged`
 */
export async function expectFree(root: string, name: BytePath, removed: ReadonlySet<BytePath>): Promise<void> {
  for (const above of parentPaths(name)) {
    const found = await lstat(absolutePath(root, above)).catch(ignoreAbsent);
    if (found === null) return;
    if (!found.isDirectory()) {
      if (removed.has(above)) return;
      throw occupied(root, above);
    }
  }
  const look = async (path: BytePath): Promise<void> => {
    const found = await lstat(absolutePath(root, path)).catch(ignoreAbsent);
    if (found === null || removed.has(path)) return;
    if (!found.isDirectory()) throw occupied(root, path);
    for (const entry of await readdir(absolutePath(root, path), { encoding: 'buffer' })) await look(childPath(path, entry));
  };
  await look(name);
}

async function removeFile(root: string, name: BytePath): Promise<void> {
  if (await isBelowLink(root, name)) return;
  const found = await lstat(absolutePath(root, name)).catch(ignoreAbsent);
  if (found === null) return;
  // A directory here was a submodule's; what it still holds is not ours to remove.
  if (found.isDirectory()) await rmdir(absolutePath(root, name)).catch(() => { throw occupied(root, name); });
  else await unlink(absolutePath(root, name));
  const parent = parentPaths(name).at(-1);
  if (parent !== undefined) await removeEmpty(root, parent);
}

/** Removes a directory and those above it, as far as they are empty. */
async function removeEmpty(root: string, name: BytePath): Promise<void> {
  if (await isBelowLink(root, name)) return;
  for (const directory of [name, ...parentPaths(name).reverse()]) {
    const emptied = await rmdir(absolutePath(root, directory)).then(() => true, ignoreUnremovable);
    if (emptied !== true) return;
  }
}

function ignoreAbsent(error: unknown): null {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT' || code === 'ENOTDIR') return null;
  throw error;
}

function ignoreUnremovable(error: unknown): null {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ENOTEMPTY' || code === 'EEXIST') return null;
  throw error;
}
