import type { BigIntStats } from 'node:fs';
import { lstat, readFile, rmdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { AsideRoom } from './asideRoom';
import { absolutePath, nulTerminated, pathForPeople, sortedPaths, type BytePath } from './bytePath';
import { exchangeFiles, type ExchangeWish } from './fileExchange';
import { quoteForPeople, runGit } from './git';
import { GitError } from './gitError';
import { indexEntries, indexInfo, pathList, type IndexEntry } from './indexListing';
import { noteAsUnchanged, statRecord } from './indexStat';
import type { LfsFile } from './lfsFiles';
import { pointerText } from './lfsPointer';
import type { Repository } from './repository';
import { expectFree, infoOfChanges, occupied, treeChanges } from './restoreFiles';
import { keepLfsContent, lfsFilesOf, lfsFilesToReplace, stageLfsContent } from './restoreLfs';
import type { StateToRestore, TreeChange } from './restoredState';
import { placeInTree } from './sameDirectory';
import { copyIndex, inShadow, type Shadow } from './shadow';
import { updateIndex } from './stateObjects';
import { isAbsent, isBelowLink, makeDirectory, removeEmpty, unlessAbsent } from './worktreeDirectories';
import { WORKTREE_INDEX } from './worktreeReading';
import { settle, WorktreeLooker, type Sighting } from './worktreeScan';

/** Mode of the place of a submodule. */
const GITLINK = '160000';

export interface FileChange {
  readonly shadow: Shadow;
  readonly worktree: Repository;
  /** Describes the working tree afterwards as it has become, with times and sizes. Its absolute path. */
  readonly index: string;
  /** Directory of Baton's own, for Git LFS content. */
  readonly directory: string;
  /** Is told before the first file is changed, and again where all of them are as before. */
  readonly mark: (isChanging: boolean) => Promise<void>;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Turns a worktree from one state into another, touching only what differs. Ignored files stay where they are, and so does
 * what another program writes meanwhile (fileExchange.ts).
 *
 * @returns of the Git LFS files that were written what the file system says of them
 * @throws {GitError} `worktree-diverged` where a file is not that of `from`, or an ignored one is in the way; `disk-full`; nothing has been changed then
 */
export async function changeFiles(change: FileChange, from: StateToRestore, to: StateToRestore): Promise<ReadonlyMap<BytePath, BigIntStats>> {
  const { shadow, worktree, index, directory, signal } = change;
  const { root } = worktree;
  const changes = await treeChanges(shadow, from.trees.worktree, to.trees.worktree, signal);
  const { removed, written } = whatChanges(changes, from, to);
  const places = changes.flatMap((each) => (each.fromMode === GITLINK && removed.has(each.path) ? [each.path] : []));
  const goingAway = new Set(removed);
  for (const name of places) goingAway.delete(name);
  const replaced = [...written].flatMap(([name, { isNew, mode }]) => (isNew || mode === GITLINK ? [] : [name]));
  const going = await sightSettled(root, [...goingAway, ...replaced]);

  await listWorktree(shadow, index, from, signal);
  for (const [name, { isNew }] of written) if (isNew) await expectFree(root, name, goingAway);
  for (const name of await trackedWithoutFile(shadow, index, to, signal)) if (!written.has(name) && !removed.has(name)) await expectNoFile(root, name);
  await keepLfsContent(worktree, directory, lfsFilesOf(from).filter(({ path: name }) => going.has(name)), signal);

  await runGit(['update-index', '-z', '--index-info'], { ...inShadow(shadow, { index, signal }), input: infoOfChanges(changes) });
  // Git writes no file of which the index says that it is to be absent.
  await updateIndex(shadow, index, ['--no-skip-worktree'], [...from.absent].filter((name) => written.has(name)), signal);
  const coming = new Set([...written].filter(([, { mode }]) => mode !== GITLINK).map(([name]) => name));
  const newPlaces = [...written].filter(([, { mode }]) => mode === GITLINK).map(([name]) => name);
  const content = lfsFilesOf(to).filter((file) => coming.has(file.path));
  const vouched = await exchange(change, content, {
    going, coming, directories: [...from.manifest.emptyDirectories, ...places],
    between: async () => {
      for (const name of places) await removePlace(root, name);
      for (const name of sortedPaths(from.manifest.emptyDirectories).reverse()) if (!to.manifest.emptyDirectories.includes(name)) await removeEmpty(root, name);
    },
  });
  const lfs = new Set(content.map((file) => file.path));
  await noteAsUnchanged(index, worktree.objectFormat, new Map([...vouched].filter(([name]) => !lfs.has(name)).map(([name, found]) => [name, statRecord(found)])));
  for (const name of [...newPlaces, ...to.manifest.emptyDirectories]) await makeDirectory(root, name);
  return new Map([...vouched].filter(([name]) => lfs.has(name)));
}

/**
 * Gives Git LFS files of a worktree that was just written their content in place of the pointers.
 *
 * @returns what the file system says of them
 */
export async function bringLfsContent(change: FileChange, files: readonly LfsFile[]): Promise<ReadonlyMap<BytePath, BigIntStats>> {
  const { root } = change.worktree;
  if (files.length === 0) return new Map();
  const going = await sightSettled(root, files.map((file) => file.path));
  for (const file of files) {
    const isPointer = await readFile(absolutePath(root, file.path), 'latin1').then((text) => text === pointerText(file), () => false);
    if (!isPointer) throw changedMeanwhile(root, pathForPeople(file.path));
  }
  return exchange(change, files, { going, coming: new Set(going.keys()), directories: [], between: () => Promise.resolve() });
}

/** What is to happen at each path. A submodule's place is no file, and neither is ever written over the other: the place may hold what git does not know of. */
function whatChanges(changes: readonly TreeChange[], from: StateToRestore, to: StateToRestore): { removed: Set<BytePath>; written: Map<BytePath, { isNew: boolean; mode: string }> } {
  const changed = new Map(changes.map((change) => [change.path, change]));
  const removed = new Set<BytePath>();
  const written = new Map<BytePath, { isNew: boolean; mode: string }>();
  for (const change of changes) {
    const was = change.fromMode !== '000000' && !from.absent.has(change.path);
    const is = change.toMode !== '000000' && !to.absent.has(change.path);
    const swapped = was && is && (change.fromMode === GITLINK) !== (change.toMode === GITLINK);
    if (is) written.set(change.path, { isNew: !was || swapped, mode: change.toMode });
    if (was && (!is || swapped)) removed.add(change.path);
  }
  // The same entry in both trees, but only one of the two working trees has the file.
  for (const name of to.absent) if (!from.absent.has(name) && !changed.has(name)) removed.add(name);
  for (const name of from.absent) if (!to.absent.has(name) && !changed.has(name)) written.set(name, { isNew: true, mode: '100644' });
  // The pointer is in both trees, but only one of the two working trees has the content.
  for (const { path: name } of [...lfsFilesToReplace(from, to), ...lfsFilesToReplace(to, from)]) if (!changed.has(name) && !to.absent.has(name) && !written.has(name)) written.set(name, { isNew: false, mode: '100644' });
  return { removed, written };
}

/** Identities of files that are there; whatever writes one of them from now on changes its identity. @throws {GitError} `worktree-diverged` */
async function sightSettled(root: string, names: readonly BytePath[]): Promise<Map<BytePath, string>> {
  const seen = await new WorktreeLooker(root).lookAll(names);
  const isFile = ({ kind }: Sighting) => kind === 'file' || kind === 'symlink';
  for (const [name, sighting] of seen) if (!isFile(sighting)) throw changedMeanwhile(root, pathForPeople(name));
  await settle(seen.values());
  return new Map([...seen].map(([name, { identity }]) => [name, identity]));
}

/** Puts what is to come into the room first, so that a disk which is too small for it says so before anything is changed. */
async function exchange({ shadow, worktree, index, directory, mark, signal }: FileChange, content: readonly LfsFile[], wish: ExchangeWish): Promise<ReadonlyMap<BytePath, BigIntStats>> {
  const room = await AsideRoom.of(worktree);
  await room.make();
  try {
    const input = nulTerminated(wish.coming);
    // Where Windows counts characters, the room's own path counts too.
    if (input.length > 0) await runGit(['-c', 'core.longPaths=true', 'checkout-index', '-q', '-z', '--stdin'], { ...inShadow(shadow, { index, worktree: room.staging, signal }), input });
    await stageLfsContent(worktree, directory, content, room.staging, Math.floor((await stat(index)).mtimeMs / 1000) - 1, signal);
    signal?.throwIfAborted();
    await mark(true);
  } catch (error) {
    await room.remove();
    throw error;
  }
  return exchangeFiles(worktree, room, wish).catch(async (error: unknown) => {
    if (GitError.is(error) && error.details.filesAsBefore === true) await mark(false);
    throw error;
  });
}

/** What the place of a submodule still holds is not ours to remove. */
async function removePlace(root: string, name: BytePath): Promise<void> {
  if (await isBelowLink(root, name)) return;
  await rmdir(absolutePath(root, name)).catch((error: unknown) => { if (!isAbsent(error)) throw occupied(root, name); });
  await removeEmpty(root, placeInTree(name).directory);
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
  const found = (await isBelowLink(root, name)) ? null : await lstat(absolutePath(root, name)).catch(unlessAbsent);
  if (found !== null && !found.isDirectory()) throw occupied(root, name);
}

/**
 * Makes an index of the working tree as it was captured: git takes over what it knows about unchanged files and reads the
 * others, so a file that is no longer the captured one shows.
 */
async function listWorktree(shadow: Shadow, index: string, captured: StateToRestore, signal?: AbortSignal): Promise<void> {
  await copyIndex(path.join(shadow.gitDir, WORKTREE_INDEX), index);
  const options = inShadow(shadow, { index, signal });
  // An entry that is only intended to be added stays one where the file is empty.
  await updateIndex(shadow, index, ['--force-remove'], captured.manifest.intentToAdd.map(([name]) => name), signal);
  await runGit(['read-tree', '--reset', captured.trees.worktree], options);
  await runGit(['update-index', '--clear-resolve-undo'], options);
  // Git would compare content with pointers.
  const lfs = await indexEntries(shadow, new Set(lfsFilesOf(captured).map((file) => file.path)), signal, index);
  const set = (entries: readonly IndexEntry[]) => (entries.length === 0 ? Promise.resolve(undefined) : runGit(['update-index', '-z', '--index-info'], { ...options, input: indexInfo(entries) }));
  await set([...lfs.values()].map((entry) => ({ ...entry, mode: '0' })));
  const { exitCode, stdout } = await runGit(['update-index', '--refresh'], { ...options, answers: [1] });
  if (exitCode !== 0) throw changedMeanwhile(shadow.worktree, quoteForPeople(stdout.toString('utf8').split('\n', 1)[0] ?? ''));
  await set([...lfs.values()]);
}

function changedMeanwhile(root: string, what: string): GitError {
  return new GitError('worktree-diverged', `${root} changed while it was being restored (${what}). Let other programs finish there, then try again.`);
}
