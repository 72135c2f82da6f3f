import { lstat, readdir } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { absolutePath, bytePath, childPath, parentPaths, pathForPeople, type BytePath } from './bytePath';
import { runGit, streamGit, nulRecords } from './git';
import { GitError } from './gitError';
import { indexInfo } from './indexListing';
import { treeEntries } from './quarantineChecks';
import type { StateToRestore, TreeChange } from './restoredState';
import { inShadow, type Shadow } from './shadow';
import { makeDirectory, unlessAbsent } from './worktreeDirectories';

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

/** What `update-index --index-info` reads to make of an index of the one tree that of the other. What goes comes first: it may be in the way. */
export function infoOfChanges(changes: readonly TreeChange[]): Buffer {
  const isGone = ({ toMode }: TreeChange) => toMode === '000000';
  return indexInfo([
    ...changes.filter(isGone).map(({ path, fromOid }) => ({ path, mode: '0', oid: '0'.repeat(fromOid.length), stage: 0 as const })),
    ...changes.filter((change) => !isGone(change)).map(({ path, toMode, toOid }) => ({ path, mode: toMode, oid: toOid, stage: 0 as const })),
  ]);
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
  for (const name of state.manifest.emptyDirectories) await makeDirectory(shadow.worktree, name);
}

export function occupied(root: string, by: BytePath): GitError {
  return new GitError('worktree-diverged', `${pathForPeople(by)} in ${root} is no part of what the thread left there, and in the way of what arrives. Move it away, then try again.`);
}

/**
 * Nothing but files that are about to go may lie where a file is to be written.
 *
 * @throws {GitError} `worktree-diverged`
 */
export async function expectFree(root: string, name: BytePath, removed: ReadonlySet<BytePath>): Promise<void> {
  for (const above of parentPaths(name)) {
    const found = await lstat(absolutePath(root, above)).catch(unlessAbsent);
    if (found === null) return;
    if (!found.isDirectory()) {
      if (removed.has(above)) return;
      throw occupied(root, above);
    }
  }
  const look = async (path: BytePath): Promise<void> => {
    const found = await lstat(absolutePath(root, path)).catch(unlessAbsent);
    if (found === null || removed.has(path)) return;
    if (!found.isDirectory()) throw occupied(root, path);
    for (const entry of await readdir(absolutePath(root, path), { encoding: 'buffer' })) await look(childPath(path, entry));
  };
  await look(name);
}
