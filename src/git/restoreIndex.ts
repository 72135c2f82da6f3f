import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { absolutePath, nulTerminated, type BytePath } from './bytePath';
import { runGit } from './git';
import { GitError } from './gitError';
import { indexInfo, listIndex, type IndexEntry } from './indexListing';
import type { StateToRestore } from './restoredState';
import { treeEntries } from './quarantineChecks';
import { infoOfChanges, treeChanges } from './restoreFiles';
import { inShadow, trustTimes, type Shadow } from './shadow';
import { sideBySide } from './sideBySide';
import { updateIndex } from './stateObjects';

/**
 * Makes an index that describes the working tree into the index of the state: staged content, conflict stages,
 * resolve-undo records, intent-to-add and flags. Entries whose content is the working tree's keep their times and sizes,
 * so that git need not read the files again.
 *
 * @param justWritten the files were written a moment ago, together with this index (see `trustTimes`)
 * @returns untracked files of the state: in its working tree and not in its index
 * @throws {GitError} `failed` when git did not take all entries over
 */
export async function finishIndex(shadow: Shadow, index: string, state: StateToRestore, { temporary, justWritten }: { readonly temporary: string; readonly justWritten: boolean }, signal?: AbortSignal): Promise<BytePath[]> {
  const options = inShadow(shadow, { index, signal });
  const { trees, manifest } = state;
  const zero = '0'.repeat(trees.index.length);
  // Whenever git writes an index, it reads each file that is as young as the index.
  const trusted = async () => { if (justWritten) await trustTimes(index); };
  const [changes, stages, resolved] = await sideBySide(
    treeChanges(shadow, trees.worktree, trees.index, signal),
    trees.stages === null ? Promise.resolve([]) : stagedEntries(shadow, trees.stages, signal),
    trees.resolved === null ? Promise.resolve([]) : stagedEntries(shadow, trees.resolved, signal),
  );
  const unmerged = [...new Set(stages.map((entry) => entry.path))];
  const inIndex = resolved.length === 0 ? new Map<BytePath, IndexEntry>() : await entriesOf(shadow, trees.index, new Set(resolved.map((entry) => entry.path)), signal);
  const removal = (name: BytePath) => ({ path: name, mode: '0', oid: zero, stage: 0 as const });

  // Git records how a conflict was resolved when a whole entry takes the place of stages: so that is what happens here.
  const resolvedPaths = [...new Set(resolved.map((entry) => entry.path))];
  await trusted();
  await runGit(['update-index', '-z', '--index-info'], { ...options, input: Buffer.concat([
    infoOfChanges(changes),
    indexInfo([...unmerged, ...manifest.intentToAdd.map(([name]) => name)].map(removal)),
    indexInfo(stages),
    indexInfo(resolvedPaths.flatMap((name) => [removal(name), ...resolved.filter((entry) => entry.path === name), ...finalEntry(inIndex.get(name), removal(name))])),
  ]) });
  await trusted();
  await intendToAdd(shadow, index, manifest.intentToAdd, temporary, signal);
  await trusted();
  await updateIndex(shadow, index, ['--assume-unchanged'], manifest.flags.filter((flag) => flag.assumeUnchanged).map((flag) => flag.path), signal);
  await trusted();
  await updateIndex(shadow, index, ['--skip-worktree'], manifest.flags.filter((flag) => flag.skipWorktree).map((flag) => flag.path), signal);
  await expectComplete(shadow, index, state, stages, signal);
  const tracked = new Set([...unmerged, ...manifest.intentToAdd.map(([name]) => name)]);
  return changes.filter((change) => change.toMode === '000000' && !tracked.has(change.path)).map((change) => change.path);
}

function finalEntry(entry: IndexEntry | undefined, removal: IndexEntry): IndexEntry[] {
  return [entry ?? removal];
}

/** Entries of a tree whose top level is the stage. */
async function stagedEntries(shadow: Shadow, tree: string, signal?: AbortSignal): Promise<IndexEntry[]> {
  const entries: IndexEntry[] = [];
  for await (const entry of treeEntries(tree, inShadow(shadow, { signal }))) {
    const match = /^([123])\/([^]+)$/.exec(entry.path);
    if (entry.type === 'tree') continue;
    if (match?.[2] === undefined) throw new GitError('hostile-content', 'The conflict stages of the state that arrived are not in git\'s three stages.');
    entries.push({ path: match[2], mode: entry.mode, oid: entry.oid, stage: Number(match[1]) as 1 | 2 | 3 });
  }
  return entries;
}

async function entriesOf(shadow: Shadow, tree: string, names: ReadonlySet<BytePath>, signal?: AbortSignal): Promise<Map<BytePath, IndexEntry>> {
  const found = new Map<BytePath, IndexEntry>();
  for await (const entry of treeEntries(tree, inShadow(shadow, { signal }))) {
    if (entry.type !== 'tree' && names.has(entry.path)) found.set(entry.path, { path: entry.path, mode: entry.mode, oid: entry.oid, stage: 0 });
  }
  return found;
}

/** Only `git add -N` makes such entries, and only for files that are there: it gets files of their kind elsewhere. */
async function intendToAdd(shadow: Shadow, index: string, intended: StateToRestore['manifest']['intentToAdd'], temporary: string, signal?: AbortSignal): Promise<void> {
  if (intended.length === 0) return;
  const worktree = await mkdtemp(path.join(temporary, 'intended-'));
  try {
    for (const [name, mode] of intended) {
      const file = absolutePath(worktree, name);
      const slash = name.lastIndexOf('/');
      if (slash !== -1) await mkdir(absolutePath(worktree, name.slice(0, slash)), { recursive: true });
      if (mode === '120000') await symlink('baton', file);
      else await writeFile(file, '', { mode: mode === '100755' ? 0o755 : 0o644 });
    }
    await runGit(['add', '-f', '-N', '--sparse', '--pathspec-from-file=-', '--pathspec-file-nul'], { ...inShadow(shadow, { index, worktree, signal }), input: nulTerminated(intended.map(([name]) => name)) });
  } finally {
    await rm(worktree, { recursive: true, force: true });
  }
}

/** `update-index` passes over a path that it does not like and says nothing: what it made is read back. */
async function expectComplete(shadow: Shadow, index: string, state: StateToRestore, stages: readonly IndexEntry[], signal?: AbortSignal): Promise<void> {
  const options = inShadow(shadow, { index, signal });
  const [{ stdout }, listing] = await sideBySide(
    runGit(['diff-index', '--cached', '--name-only', '-z', '--ita-invisible-in-index', state.trees.index], options),
    listIndex(shadow, signal, index),
  );
  const unexpected = stdout.toString('latin1').split('\0').filter((name) => name !== '' && !stages.some((entry) => entry.path === name));
  const complete = listing.unmerged.length === stages.length && listing.intentToAdd.length === state.manifest.intentToAdd.length && listing.flagged.length === state.manifest.flags.length;
  if (unexpected.length > 0 || !complete) throw new GitError('failed', `git did not take over all index entries of the state that arrived (${unexpected.length} differ).`);
}
