import { rename, rm, stat, utimes } from 'node:fs/promises';
import path from 'node:path';
import type { BytePath } from './bytePath';
import type { CapturedState } from './capture';
import { bringLfsContent, changeFiles, type FileChange } from './changeFiles';
import { putBackAside, type PutBack } from './fileExchange';
import { runGit } from './git';
import { noteAsUnchanged, readStatRecords, statRecord, type StatRecord } from './indexStat';
import type { Repository } from './repository';
import { writeFiles } from './restoreFiles';
import { finishIndex } from './restoreIndex';
import { lfsFilesOf } from './restoreLfs';
import { readState, type StateToRestore } from './restoredState';
import type { Shadow } from './shadow';
import { WORKTREE_INDEX } from './worktreeReading';

export interface BuildOptions {
  /** Directory of Baton's own. */
  readonly temporary: string;
  /** Is told before the first file is changed, and again where all of them are as before. */
  readonly mark?: FileChange['mark'] | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Files first, then the index, which takes its place in one step. What was replaced lies aside until `letGoOfAside`.
 *
 * @returns untracked files of the state
 */
export async function buildState(shadow: Shadow, built: Repository, state: StateToRestore, previous: CapturedState | null, { temporary, mark = () => Promise.resolve(), signal }: BuildOptions): Promise<string[]> {
  // Made beside the index, so that the rename keeps its time: git trusts files by comparing theirs with it.
  const index = unfinishedIndex(built);
  await removeUnfinished(built);
  try {
    return await build({ shadow, worktree: built, index, directory: temporary, mark, signal }, state, previous);
  } catch (error) {
    await removeUnfinished(built);
    throw error;
  }
}

/** Puts back the files that {@link buildState} has moved aside, as far as it came before a crash. Idempotent. */
export async function putBackFiles(worktree: Repository): Promise<PutBack> {
  await removeUnfinished(worktree);
  return putBackAside(worktree);
}

const unfinishedIndex = ({ gitDir }: Repository) => path.join(gitDir, 'index.baton');

async function removeUnfinished(worktree: Repository): Promise<void> {
  for (const ending of ['', '.lock']) await rm(unfinishedIndex(worktree) + ending, { force: true });
}

async function build(change: FileChange, state: StateToRestore, previous: CapturedState | null): Promise<string[]> {
  const { shadow, worktree: built, index, directory: temporary, signal } = change;
  const content = lfsFilesOf(state);
  const records = new Map<BytePath, StatRecord>();
  if (previous === null) await writeFiles(shadow, index, state, signal);
  else for (const [name, record] of await readStatRecords(path.join(shadow.gitDir, WORKTREE_INDEX), built.objectFormat, new Set(content.map((file) => file.path)))) records.set(name, record);
  const written = previous === null ? await stat(index) : null;
  const brought = previous === null ? await bringLfsContent(change, content) : await changeFiles(change, await readState(shadow, previous.commits.manifest, signal), state);
  for (const [name, found] of brought) records.set(name, statRecord(found));
  const untracked = await finishIndex(shadow, index, state, { temporary, justWritten: previous === null }, signal);
  // Git mostly does without the empty file that such entries name, but its fsck (since 2.47) and some of its diffs miss the object.
  if (state.manifest.intentToAdd.length > 0) await runGit(['hash-object', '-w', '--stdin'], { cwd: built.root, signal });
  await noteAsUnchanged(index, built.objectFormat, records);
  // The time at which git noted those of the files: what is not older stays suspect to it.
  if (written !== null) await utimes(index, Math.floor(written.mtimeMs / 1000), Math.floor(written.mtimeMs / 1000));
  await rename(index, path.join(built.gitDir, 'index'));
  return untracked;
}
