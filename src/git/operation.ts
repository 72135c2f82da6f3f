import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { gitText, runGit } from './git';
import { GitError } from './gitError';
import { branchFiles, hasOperationForm, isOperationFile, isOperationRef, messageFiles, neutralise, operationDirectories, operationTopLevel, scratchFiles } from './operationFiles';
import { operationIn, type ObjectId, type Operation, type Repository } from './repository';
import { readRootRefs } from './rootRefs';

/** An operation in progress as it lies in a worktree's Git directory. Contents have one character per byte. */
export interface OperationState {
  readonly kind: Operation | null;
  readonly files: readonly (readonly [name: string, content: string])[];
  readonly refs: readonly (readonly [name: string, oid: ObjectId])[];
  /** The branch that the operation returns to, full name, and where it stands; null when it is detached. */
  readonly branch: { readonly name: string; readonly oid: ObjectId } | null;
  /** Commits that the operation names; they must travel. */
  readonly commits: readonly ObjectId[];
  /** Tree of the last merge's automatic result. */
  readonly autoMerge: ObjectId | null;
  /** Files in its directories that are not carried. */
  readonly unknown: readonly string[];
  /** Lines that will not run at the destination. */
  readonly removed: readonly string[];
}

const FILE_LIMIT = 32 * 1024 * 1024;

/**
 * Reads the operation in progress, and the prepared messages that git keeps without one. Reads only.
 *
 * @throws {GitError} `unsupported-state` when its files are larger than 32 MiB or not of git's form
 */
export async function readOperation(repository: Repository, signal?: AbortSignal): Promise<OperationState> {
  const rootRefs = await readRootRefs(repository, signal);
  const kind = operationIn(repository.gitDir, rootRefs);
  const unknown: string[] = [];
  const files = new Map<string, string>();
  let bytes = 0;
  const take = async (name: string) => {
    const oid = rootRefs.get(name);
    const content = oid !== undefined ? `${oid}\n` : await readFile(path.join(repository.gitDir, name), 'latin1').catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw error;
    });
    if (content === null) return;
    bytes += content.length;
    if (bytes > FILE_LIMIT) throw new GitError('unsupported-state', `The ${kind ?? 'operation'} in progress in ${repository.root} keeps more than 32 MiB of files. Finish or abort it first.`);
    if (neutralise(name, content).content !== null && !hasOperationForm(name, content)) {
      throw new GitError('unsupported-state', `${path.join(repository.gitDir, name)} is not as git writes it. Finish or abort the ${kind ?? 'operation'} first.`);
    }
    files.set(name, content);
  };
  for (const name of kind === null ? messageFiles : operationTopLevel) await take(name);
  if (kind !== null) {
    for (const directory of operationDirectories) {
      for (const entry of await readdir(path.join(repository.gitDir, directory), { withFileTypes: true }).catch(() => [])) {
        const name = `${directory}/${entry.name}`;
        if (entry.isFile() && isOperationFile(name)) await take(name);
        else if (!scratchFiles.includes(name)) unknown.push(name);
      }
    }
  }
  // A bisect goes on beneath a merge or a rebase.
  const refs = kind === 'bisect' || kind === 'rebase' || files.has('BISECT_START') ? await operationRefs(repository, signal) : [];
  const branch = kind === null ? null : await operationBranch(repository, files, signal);
  const named = await namedObjects(repository, files, signal);
  const autoMerge = await readAutoMerge(repository, rootRefs.get('AUTO_MERGE'), signal);
  return {
    kind, refs, branch, unknown,
    files: [...files].sort(([a], [b]) => (a < b ? -1 : 1)),
    commits: [...new Set([...named, ...refs.map(([, oid]) => oid), ...(branch === null ? [] : [branch.oid])])].sort(),
    autoMerge,
    removed: [...files].flatMap(([name, content]) => (name.endsWith('.backup') ? [] : neutralise(name, content).removed)),
  };
}

/** Git protects neither this name nor its tree, so the tree may be gone. A stash that did not apply leaves one too. */
async function readAutoMerge(repository: Repository, rootRef: ObjectId | undefined, signal?: AbortSignal): Promise<ObjectId | null> {
  const oid = rootRef ?? (await readFile(path.join(repository.gitDir, 'AUTO_MERGE'), 'latin1').catch(() => '')).trim();
  if (!/^[0-9a-f]{40,64}$/.test(oid)) return null;
  const { stdout } = await runGit(['cat-file', '--batch-check=%(objecttype)'], { cwd: repository.root, signal, input: `${oid}\n` });
  return stdout.toString('latin1') === 'tree\n' ? oid : null;
}

async function operationRefs(repository: Repository, signal?: AbortSignal): Promise<[string, ObjectId][]> {
  const text = await gitText(['for-each-ref', '--format=%(objectname) %(refname)', 'refs/bisect', 'refs/rewritten'], { cwd: repository.root, signal });
  return text.split('\n').filter((line) => line !== '').map((line): [string, ObjectId] => {
    const [oid = '', name = ''] = line.split(' ', 2);
    if (!isOperationRef(name)) throw new GitError('unsupported-state', `The ref ${JSON.stringify(name)} of the operation in ${repository.root} has a name that Baton does not carry. Finish or abort the operation first.`);
    return [name, oid];
  });
}

/** The first branch that one of the operations under way returns to. */
async function operationBranch(repository: Repository, files: ReadonlyMap<string, string>, signal?: AbortSignal): Promise<OperationState['branch']> {
  for (const file of branchFiles) {
    const named = Buffer.from((files.get(file) ?? '').trim(), 'latin1').toString('utf8');
    if (named === '' || /^[0-9a-f]{40,64}$/.test(named) || named === 'detached HEAD') continue;
    const name = named.startsWith('refs/heads/') ? named : `refs/heads/${named}`;
    const oid = await gitText(['rev-parse', '-q', '--verify', `${name}^{commit}`], { cwd: repository.root, signal, answers: [1, 128] });
    return oid === '' ? null : { name, oid };
  }
  return null;
}

/** The commits that the files speak of, as far as they still exist. */
async function namedObjects(repository: Repository, files: ReadonlyMap<string, string>, signal?: AbortSignal): Promise<ObjectId[]> {
  const words = new Set<string>();
  for (const [name, content] of files) {
    if (/(todo|todo\.backup|\/done)$/.test(name)) {
      for (const match of content.matchAll(/^[ \t]*[a-z]+[ \t]+(?:-[cC][ \t]+)?([0-9a-f]{7,64})\b/gm)) words.add(match[1] ?? '');
    } else if (/_HEAD$|_REV$|_AUTOSTASH$|\/(onto|orig-head|squash-onto|amend|stopped-sha|autostash|original-commit|abort-safety|head|rewritten-list|rewritten-pending|rewritten)$/.test(name)) {
      for (const word of content.split(/\s+/)) if (/^[0-9a-f]{7,64}$/.test(word)) words.add(word);
    } else if (name === 'BISECT_START' && /^[0-9a-f]{40,64}\n?$/.test(content)) words.add(content.trim());
  }
  if (words.size === 0) return [];
  const { stdout } = await runGit(['cat-file', '--batch-check=%(objecttype) %(objectname)'], { cwd: repository.root, signal, input: [...words].map((word) => `${word}\n`).join('') });
  return stdout.toString('latin1').split('\n').flatMap((line) => (line.startsWith('commit ') ? [line.slice('commit '.length)] : []));
}
