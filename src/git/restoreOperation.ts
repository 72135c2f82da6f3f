import { mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { updateRefs, type RefUpdate } from './branchChoice';
import { gitText, quoteForPeople } from './git';
import type { Manifest } from './manifest';
import { neutralise, operationDirectories, operationTopLevel } from './operationFiles';
import { zeroId } from './manifest';
import type { ObjectId, Repository } from './repository';
import { isRootRef, readRootRefs } from './rootRefs';

/** Removes every trace of an operation from a worktree's own Git directory. */
export async function clearOperation(worktree: Repository): Promise<void> {
  for (const name of [...operationTopLevel, 'AUTO_MERGE', ...operationDirectories]) await rm(path.join(worktree.gitDir, name), { recursive: true, force: true });
  const refs = [...(await operationRefs(worktree)), ...(await readRootRefs(worktree))];
  await updateRefs(worktree.root, refs.map(([name, oid]): RefUpdate => ({ name, before: oid, after: null })), zeroId(worktree.objectFormat));
}

/**
 * Puts an operation in progress into a worktree's own Git directory, without the lines that would run programs or move
 * other branches, and with the branch that it returns to replaced by the thread's own.
 *
 * @returns one note per thing that is not as it was
 */
export async function writeOperation(worktree: Repository, manifest: Manifest, autoMerge: ObjectId | null, branchRef: string | null): Promise<string[]> {
  const { operation } = manifest;
  const notes: string[] = [];
  const refs = [...operation.refs];
  await clearOperation(worktree);
  for (const [name, carried] of operation.files) {
    const { content, removed } = neutralise(name, carried);
    if (!name.endsWith('.backup')) {
      for (const line of removed) notes.push(`The ${operation.kind ?? 'operation'} in progress does not go on with this line, which would have run a program or moved another branch: ${quoteForPeople(line.trim().slice(0, 500))}`);
    }
    if (content === null) continue;
    if (isRootRef(worktree, name)) {
      refs.push([name, content.trim()]);
      continue;
    }
    const file = path.join(worktree.gitDir, ...name.split('/'));
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, withBranch(name, content, branchRef, manifest.head), 'latin1');
  }
  if (autoMerge !== null && isRootRef(worktree, 'AUTO_MERGE')) refs.push(['AUTO_MERGE', autoMerge]);
  else if (autoMerge !== null) await writeFile(path.join(worktree.gitDir, 'AUTO_MERGE'), `${autoMerge}\n`);
  await updateRefs(worktree.root, refs.map(([name, oid]): RefUpdate => ({ name, before: null, after: oid })), zeroId(manifest.objectFormat));
  if (branchRef !== null) notes.push(`The ${operation.kind ?? 'operation'} in progress ends on the branch ${quoteForPeople(branchRef.replace('refs/heads/', ''))}.`);
  return notes;
}

/** No branch that a file of an operation names is one of this repository: the thread's own takes its place, or none. */
function withBranch(name: string, content: string, branchRef: string | null, head: ObjectId | null): string {
  const bytes = branchRef === null ? null : Buffer.from(branchRef, 'utf8').toString('latin1');
  if (name.endsWith('/head-name')) return content.trim() === 'detached HEAD' ? content : `${bytes ?? 'detached HEAD'}\n`;
  if (name === 'BISECT_START' && !/^[0-9a-f]{40,64}\n?$/.test(content)) return `${bytes?.replace('refs/heads/', '') ?? head ?? 'HEAD'}\n`;
  return content;
}

async function operationRefs(worktree: Repository): Promise<[string, ObjectId][]> {
  const text = await gitText(['for-each-ref', '--format=%(objectname) %(refname)', 'refs/bisect', 'refs/rewritten'], { cwd: worktree.root });
  return text.split('\n').filter((line) => line !== '').map((line) => [line.slice(line.indexOf(' ') + 1), line.slice(0, line.indexOf(' '))]);
}
