import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { lstat, open, readdir, readlink, rename } from 'node:fs/promises';
import path from 'node:path';
import { absolutePath, childPath, type BytePath } from './bytePath';
import { gitText, nulRecords, runGit, streamGit } from './git';
import { openRepository } from './gitDirectory';
import { inRepository } from './inRepository';
import { placeBeside } from './keptBeside';
import type { ObjectId, Repository } from './repository';
import { readState, type StateToRestore } from './restoredState';
import { createShadow, objectDirectory } from './shadow';
import { readUndoRecord, type UndoRecord } from './undoRecord';
import { pointerOf, redirectEntry } from './worktreeEntry';

type Making = UndoRecord & { readonly directory: string };

/**
 * Before worktrees that were being made are taken back: one that holds anything that was not written for it, in it or a submodule, be
 * it a file, a change or a commit, is moved out of the way whole, and git knows it there.
 *
 * @param directories where undo records may lie
 * @returns where such are now
 */
export async function keepUnfinished(directories: readonly string[]): Promise<string[]> {
  const making: Making[] = [];
  for (const directory of directories) {
    const record = await readUndoRecord(directory);
    if (record !== null && record.previous === null && !record.goes && existsSync(record.worktree)) making.push({ ...record, directory });
  }
  const isIn = (inner: UndoRecord, outer: UndoRecord) => inner.worktree.startsWith(outer.worktree + path.sep);
  const kept: string[] = [];
  for (const outermost of making.filter((each) => !making.some((other) => isIn(each, other)))) {
    const parts = [outermost, ...making.filter((each) => isIn(each, outermost))];
    let foreign = false;
    for (const part of parts) foreign ||= await holdsMore(part, new Set(parts.map(({ worktree }) => worktree)));
    if (!foreign) continue;
    const place = placeBeside(outermost.worktree);
    for (const { worktree } of parts) await follow(worktree, path.join(place, path.relative(outermost.worktree, worktree)));
    await rename(outermost.worktree, place);
    kept.push(place);
  }
  return kept;
}

/** Lets git know that a worktree is about to be elsewhere; no branch is held up there. */
async function follow(worktree: string, to: string): Promise<void> {
  const gitDir = await pointerOf(worktree);
  const head = await headOf(worktree);
  if (gitDir === null || head === null) return;
  await runGit(['update-ref', '--no-deref', 'HEAD', head], { cwd: worktree });
  await redirectEntry(gitDir, to);
}

/** Whether a worktree holds anything that does not come from the state that it was made for. `others` are looked at by themselves. */
async function holdsMore({ repository: { root }, worktree, refs: [arrived], directory }: Making, others: ReadonlySet<string>): Promise<boolean> {
  const tip = arrived?.after ?? '';
  const repository = existsSync(root) ? await openRepository(root) : null;
  // Without its objects nothing was begun.
  const began = repository !== null && (await gitText(['rev-parse', '-q', '--verify', `${tip}^{commit}`], { ...inRepository(root), answers: [1, 128] })) !== '';
  const state = began ? await readState(await createShadow(path.join(directory, 'reading'), { worktree, objectFormat: repository.objectFormat, objects: [objectDirectory(repository)], settings: repository.settings, shallow: repository.shallow }), tip) : null;
  const head = await headOf(worktree);
  // What is on a branch stays with it.
  if (head !== null && head !== tip && head !== state?.manifest.head && (await gitText(['symbolic-ref', '-q', 'HEAD'], { cwd: worktree, answers: [1] })) === '') return true;
  const expected = await filesOf(repository, state);
  for await (const name of filesIn(worktree, others)) {
    const file = absolutePath(worktree, name);
    const wanted = expected.get(name);
    if (repository === null) return true;
    if (wanted !== undefined ? !(await isOf(file, wanted, repository)) : !(await isCopyOf(file, absolutePath(root, name)))) return true;
  }
  return false;
}

interface Wanted {
  readonly oid: ObjectId;
  /** SHA-256 of the content of a Git LFS object that may be in its place. */
  readonly content: string | undefined;
}

async function filesOf(repository: Repository | null, state: StateToRestore | null): Promise<Map<BytePath, Wanted>> {
  const files = new Map<BytePath, Wanted>();
  if (repository === null || state === null) return files;
  const content = new Map(state.manifest.lfsFiles.map(([name, oid]) => [name, oid]));
  for await (const record of nulRecords(streamGit(['ls-tree', '-r', '-z', '--full-tree', state.trees.worktree], inRepository(repository.commonDir)))) {
    const text = record.toString('latin1');
    const name = text.slice(text.indexOf('\t') + 1);
    const [, , oid = ''] = text.split(/[ \t]/, 3);
    files.set(name, { oid, content: content.get(name) });
  }
  return files;
}

async function* filesIn(worktree: string, others: ReadonlySet<string>): AsyncGenerator<BytePath, void, undefined> {
  const waiting: BytePath[] = [''];
  for (let place = waiting.pop(); place !== undefined; place = waiting.pop()) {
    const at = place === '' ? worktree : absolutePath(worktree, place);
    if (place !== '' && others.has(String(at))) continue;
    for (const entry of await readdir(at, { encoding: 'buffer', withFileTypes: true })) {
      const name = childPath(place, entry.name);
      if (name === '.git') continue;
      if (entry.isDirectory()) waiting.push(name);
      else yield name;
    }
  }
}

/** Whether a file has the content that is wanted, or, where git was stopped while it wrote it, the beginning of that. */
async function isOf(file: Buffer | string, { oid, content }: Wanted, { commonDir, objectFormat }: Repository): Promise<boolean> {
  const found = await lstat(file);
  const named = createHash(objectFormat).update(`blob ${found.size}\0`);
  if (found.isSymbolicLink()) return named.update(await readlink(file, { encoding: 'buffer' })).digest('hex') === oid;
  if (!found.isFile()) return false;
  const bytes = createHash('sha256');
  const handle = await open(file, 'r');
  for await (const chunk of handle.createReadStream({ highWaterMark: 1024 * 1024 })) for (const hash of [named, bytes]) hash.update(chunk as Buffer);
  if (named.digest('hex') === oid) return true;
  const hash = bytes.digest('hex');
  if (hash === content) return true;
  const beginning = createHash('sha256');
  let left = found.size;
  for await (const chunk of streamGit(['cat-file', 'blob', oid], inRepository(commonDir))) {
    beginning.update(chunk.subarray(0, left));
    left -= Math.min(left, chunk.length);
  }
  return left === 0 && beginning.digest('hex') === hash;
}

/** Whether a file is one that `.worktreeinclude` had copied from the user's checkout, which keeps size and times. */
async function isCopyOf(file: Buffer | string, original: Buffer | string): Promise<boolean> {
  const [copy, there] = await Promise.all([lstat(file), lstat(original).catch(() => null)]);
  return copy.isFile() && there?.isFile() === true && copy.size === there.size && Math.abs(copy.mtimeMs - there.mtimeMs) < 1;
}

/** Null where HEAD is at no commit, or git cannot read the worktree: it was stopped while it made it. */
async function headOf(worktree: string): Promise<ObjectId | null> {
  return (await gitText(['rev-parse', '-q', '--verify', 'HEAD^{commit}'], { cwd: worktree, answers: [1, 128] })) || null;
}
