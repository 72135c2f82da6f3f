import { mkdir, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { pathsForPeople, type BytePath } from './bytePath';
import { findingsOf } from './captureFindings';
import type { GitFinding } from './finding';
import { runGit } from './git';
import { GitError } from './gitError';
import { knownHaves } from './haves';
import type { IndexFile } from './indexFile';
import { listIndex, pathList, type IndexListing } from './indexListing';
import type { LfsFile } from './lfsFiles';
import { distinctObjects, type LfsObject } from './lfsPointer';
import { lfsStorage } from './lfsStore';
import { fingerprintOf, type Manifest } from './manifest';
import { readOperation } from './operation';
import { readHead, readRepository, type ObjectFormat, type ObjectId, type Operation, type Repository } from './repository';
import { adoptIndex, createShadow, inShadow, objectDirectory, trustTimes, type Shadow } from './shadow';
import { sideBySide } from './sideBySide';
import { readSparse } from './sparse';
import { commitState } from './stateCommits';
import { forkEntries, updateIndex, writeStagedTree, writeTree } from './stateObjects';
import { changed, changesSince, expectUnchanged, readWorktree, type WorktreeReading } from './worktreeReading';
import { readSubmodules, type PopulatedSubmodule } from './submodules';
import { listUnstorable, settle } from './worktreeScan';

export interface CaptureOptions {
  /** Top level of the worktree. */
  readonly root: string;
  /** Directory of Baton's own that holds the capture; made when missing. It is the caller's to remove. */
  readonly spool: string;
  readonly signal?: AbortSignal | undefined;
  /**
   * Reads back what a restore has made, to compare it with the fingerprint that was announced. One look is enough for that:
   * what changes meanwhile makes the two differ. `justWritten` where all files were written a moment ago together with the
   * index that lists them: then times and sizes tell whether a file is still what was written, as young as it is, and only
   * what they do not vouch for is read.
   */
  readonly receipt?: { readonly justWritten: boolean };
  /** Times to begin again when something changes meanwhile; 3 unless given. */
  readonly attempts?: number;
}

/** What makes a capture one of a checkout with submodules (captureCheckout.ts). */
export interface CaptureAmongParts {
  /** Begins the captures of the populated submodules, and gives what the manifest says of them. */
  readonly submodules?: (populated: readonly PopulatedSubmodule[]) => Promise<Manifest['submodules']>;
  /** Commits that travel too, where the repository has them. */
  readonly commits?: readonly ObjectId[];
}

/** A working state of which all is stored, and which has yet to be looked at once more. */
export interface BegunCapture {
  readonly fingerprint: string;
  /** @throws {GitError} `changed-while-capturing` when something did not stand still since the capture was begun */
  complete(): Promise<CapturedState>;
  /** Once it is complete: what is not any more as it was captured, for people. Who only looks, as `git status` does, changes nothing. */
  changes(): Promise<string[]>;
}

/** A working state as Git objects in the spool. Plain data: it can be journalled and read again. */
export interface CapturedState {
  readonly root: string;
  /** The shadow Git directory in the spool: the new objects, with the repository's own as alternate. */
  readonly shadow: string;
  readonly objectFormat: ObjectFormat;
  readonly head: ObjectId | null;
  /** Full name; null when detached. */
  readonly branch: string | null;
  /** `HEAD ← index ← worktree ← manifest`; the manifest is the tip. */
  readonly commits: { readonly index: ObjectId; readonly worktree: ObjectId; readonly manifest: ObjectId };
  /** SHA-256, hex, of a description that is the same on every host; branch names are no part of it. */
  readonly fingerprint: string;
  /** Bytes of all files of the working tree, as far as the index or a look at them tells. */
  readonly worktreeBytes: number;
  /** Paths that differ from HEAD in the index or the working tree, untracked ones included. */
  readonly files: number;
  readonly operation: Operation | null;
  /** The repository is a partial clone: objects may be missing. */
  readonly partial: boolean;
  /** Git LFS: where the repository keeps its objects, the files that hold content of such, and all objects that the index names. */
  readonly lfs: { readonly storage: string; readonly files: readonly LfsFile[]; readonly named: readonly LfsObject[] };
  readonly findings: readonly GitFinding[];
}

/** The shadow that a captured state lies in. */
export function shadowOf(capture: CapturedState): Shadow {
  return { gitDir: capture.shadow, worktree: capture.root, objectFormat: capture.objectFormat };
}

/**
 * Takes the working state of a checkout as three commits on top of HEAD, in a shadow Git directory in `spool`. Nothing in
 * the repository or the working tree is written, and no hook, filter or file system monitor runs. What changes while it
 * is being read is noticed, and the capture begins again. Method: README.md, "Capture".
 *
 * @throws {GitError} `changed-while-capturing` when it never stood still, `unsupported-state`, `not-a-repository`,
 *   `disk-full`, `cancelled`
 */
export async function captureWorkingState(options: CaptureOptions): Promise<CapturedState> {
  return untilStill(options, async () => (await beginCapture(options)).complete());
}

/** Repeats a capture while things change under it; each time in a spool without what was stored there before. */
export async function untilStill<T>({ spool, attempts = 3 }: CaptureOptions, capture: () => Promise<T>): Promise<T> {
  const clear = async () => { for (const name of [SHADOW, SUBMODULES]) await rm(path.join(spool, name), { recursive: true, force: true }); };
  let moved: GitError | null = null;
  for (let attempt = 1; ; attempt++) {
    await clear();
    try {
      return await capture();
    } catch (error) {
      if (GitError.is(error, 'changed-while-capturing')) moved = error;
      // A file or an object that vanishes between listing and reading fails in git, with many messages: the next attempt tells.
      const hopeless = GitError.is(error) && !['changed-while-capturing', 'failed', 'missing-objects'].includes(error.reason);
      if (hopeless || attempt >= attempts) {
        await clear();
        throw hopeless ? error : (moved ?? error);
      }
    }
  }
}

/** In a spool: the shadow of a capture, and the spools of its submodules. */
const SHADOW = 'shadow';
export const SUBMODULES = 'submodules';

/** Reads and stores a working state. Nothing of it counts before {@link BegunCapture.complete} has looked once more. */
export async function beginCapture(options: CaptureOptions & CaptureAmongParts): Promise<BegunCapture> {
  const { signal } = options;
  const shadowDirectory = path.join(options.spool, SHADOW);
  await mkdir(shadowDirectory, { recursive: true, mode: 0o700 });
  const repository = await readRepository(options.root, signal);
  const { settings } = repository;
  const shadow = await createShadow(shadowDirectory, {
    worktree: repository.root, objectFormat: repository.objectFormat, objects: [objectDirectory(repository)],
    settings, shallow: repository.shallow, excludes: path.join(repository.commonDir, 'info', 'exclude'),
  });
  const storage = lfsStorage(repository, settings);
  const before = await standing(repository, signal);
  // An index that is not there yet is an empty one.
  if (!(await adoptIndex(shadow, repository.gitDir))) await runGit(['read-tree', '--empty'], inShadow(shadow, { signal }));
  if (options.receipt?.justWritten === true) await trustTimes(path.join(shadow.gitDir, 'index'));
  const listing = await listIndex(shadow, signal);
  const places = await readSubmodules(repository, listing.gitlinks, signal);
  const [{ index, head }, stages, resolved, read, operation, submodules, asked] = await sideBySide(
    writeIndexTree(shadow, repository.head, listing, signal),
    writeStagedTree(shadow, 'stages', listing.unmerged, signal),
    present(shadow, listing.resolved, signal).then((entries) => writeStagedTree(shadow, 'resolved', entries, signal)),
    readWorktree(repository, settings, shadow, listing, signal),
    readOperation(repository, signal),
    options.submodules === undefined ? Promise.resolve([]) : options.submodules(places.populated),
    knownHaves(shadow, options.commits ?? [], signal),
  );
  if (options.receipt === undefined) await settle(read.store.map(({ sighting }) => sighting));
  const left = await listUnstorable(shadow, [...read.listed.untracked.directories, ...read.listed.hidden], read.nestedRepositories, signal);
  const manifest: Manifest = {
    version: 1, objectFormat: repository.objectFormat, head: repository.head, branch: repository.branch,
    intentToAdd: listing.intentToAdd.map((entry): [BytePath, '100644'] => [entry.path, entry.mode as '100644']),
    flags: listing.flagged.map((flag) => ({ ...flag, present: !read.absent.has(flag.path) })),
    emptyDirectories: [...left.emptyDirectories],
    lfsFiles: read.lfs.files.map(({ path: name, oid, size }) => [name, oid, size]),
    autoMerge: operation.autoMerge !== null,
    operation: { kind: operation.kind, files: operation.files.map(([name, content]) => [name, content]), refs: operation.refs.map(([name, oid]) => [name, oid]), branch: operation.branch },
    conversion: { autocrlf: settings.values.get('core.autocrlf') ?? 'false', eol: settings.values.get('core.eol') ?? 'native' },
    submodules, sparse: await readSparse(repository),
  };
  const trees = ([['auto-merge', operation.autoMerge], ['resolved', resolved], ['stages', stages]] as const).flatMap(([name, tree]): [string, ObjectId][] => (tree === null ? [] : [[name, tree]]));
  const { tree, ...commits } = await commitState(shadow, { head: repository.head, seconds: head.seconds, index, worktree: read, manifest: `${JSON.stringify(manifest, null, 1)}\n`, trees, commits: [...operation.commits, ...asked] }, signal);
  const fingerprint = fingerprintOf(manifest, { index, worktree: tree, stages, resolved });

  const complete = async (): Promise<CapturedState> => {
    const [, after, placesAfter, files] = await sideBySide(
      options.receipt === undefined ? expectUnchanged(shadow, read, signal) : Promise.resolve(),
      standing(repository, signal),
      readSubmodules(repository, listing.gitlinks, signal),
      countFiles(shadow, head.tree, listing, read, index, signal),
    );
    if (after.index !== before.index || after.operation !== before.operation) throw changed(repository.root, 'The index or the operation in progress');
    if (JSON.stringify(placesAfter) !== JSON.stringify(places)) throw changed(repository.root, 'A submodule');
    return {
      root: repository.root, shadow: shadow.gitDir, objectFormat: repository.objectFormat, head: repository.head, branch: repository.branch,
      commits, operation: operation.kind, files, fingerprint,
      findings: await findingsOf({ repository, places, operation, read, left, storage, sparse: manifest.sparse !== null }),
      partial: repository.partial,
      lfs: { storage, files: read.lfs.files, named: distinctObjects(read.lfs.named) },
      worktreeBytes: listing.bytes + read.store.reduce((sum, { sighting }) => sum + (sighting.kind === 'file' ? sighting.bytes : 0), 0),
    };
  };
  const changes = async (): Promise<string[]> => {
    const [paths, head, { kind }] = await sideBySide(changesSince(shadow, read, signal), readHead(repository, signal), readOperation(repository, signal));
    return [...(hasMoved(repository, head) ? ['HEAD'] : []), ...(kind === operation.kind ? [] : [`the ${kind ?? operation.kind ?? ''}`]), ...(paths.length === 0 ? [] : [pathsForPeople(paths)])];
  };
  return { fingerprint, complete, changes };
}

const hasMoved = (repository: Repository, head: Pick<Repository, 'head' | 'branch'>) => head.head !== repository.head || head.branch !== repository.branch;

/**
 * Everything besides HEAD and the working tree's files that a capture rests on, as strings to compare.
 *
 * @throws {GitError} `changed-while-capturing` when HEAD is no longer where the repository was read
 */
async function standing(repository: Repository, signal?: AbortSignal): Promise<{ operation: string; index: string | null }> {
  const [head, { kind, files, refs }, index] = await sideBySide(
    readHead(repository, signal), readOperation(repository, signal),
    // Git replaces an index as a whole, so a file of the same number and time is the same index.
    stat(path.join(repository.gitDir, 'index'), { bigint: true }).then(({ ino, size, mtimeNs, ctimeNs }) => [ino, size, mtimeNs, ctimeNs].join(' '), () => null),
  );
  if (hasMoved(repository, head)) throw changed(repository.root, 'HEAD');
  return { operation: JSON.stringify([kind, files, refs]), index };
}

interface HeadCommit {
  /** When it was made, Unix time. */
  readonly seconds: number;
  readonly tree: ObjectId | null;
}

/** The tree of the index without unmerged entries, and what of HEAD one has to know. */
async function writeIndexTree(shadow: Shadow, head: ObjectId | null, listing: IndexFile, signal?: AbortSignal): Promise<{ index: ObjectId; head: HeadCommit }> {
  const asked = [...(head === null ? [] : [head]), ...(listing.tree === null ? [] : [listing.tree])];
  const { stdout } = await runGit(['cat-file', '--batch'], { ...inShadow(shadow, { signal }), input: asked.map((oid) => `${oid}\n`).join('') });
  const answers = stdout.toString('latin1');
  const commit = head === null ? null : /^[0-9a-f]+ commit \d+\ntree ([0-9a-f]+)\n(?:[^\n]+\n)*?committer [^\n]* (\d+) [+-]\d+\n/.exec(answers);
  if (head !== null && commit === null) throw new GitError('missing-objects', `The commit ${head}, which HEAD is at, is not in ${shadow.worktree}'s repository. Look at it with "git fsck" first.`);
  const facts = { seconds: Number(commit?.[2] ?? 0), tree: commit?.[1] ?? null };
  // What git has noted in the index is true as long as the tree is still there.
  if (listing.tree !== null && listing.unmerged.length === 0 && answers.includes(`${listing.tree} tree `)) return { index: listing.tree, head: facts };
  // Entries that are only intended to be added are left out by write-tree itself.
  await forkEntries(shadow, 'index', 'tree.index');
  await updateIndex(shadow, 'tree.index', ['--force-remove'], new Set(listing.unmerged.map((entry) => entry.path)), signal);
  return { index: await writeTree(shadow, 'tree.index', signal), head: facts };
}

/** The entries whose objects still exist: git may have pruned what only a resolve-undo record names. */
async function present(shadow: Shadow, entries: IndexListing['resolved'], signal?: AbortSignal): Promise<IndexListing['resolved']> {
  if (entries.length === 0) return entries;
  const { stdout } = await runGit(['cat-file', '--batch-check=%(objecttype)'], { ...inShadow(shadow, { signal }), input: entries.map((entry) => `${entry.oid}\n`).join('') });
  const types = stdout.toString('latin1').split('\n');
  return entries.filter((entry, position) => entry.mode === '160000' || types[position] === 'blob');
}

async function countFiles(shadow: Shadow, from: ObjectId | null, listing: IndexListing, read: WorktreeReading, index: ObjectId, signal?: AbortSignal): Promise<number> {
  const empty = shadow.objectFormat === 'sha1' ? '4b825dc642cb6eb9a060e54bf8d69288fbee4904' : '6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321';
  const staged = from === index ? [] : await pathList(['diff-tree', '-r', '-z', '--no-renames', '--name-only', from ?? empty, index], inShadow(shadow, { signal }));
  return new Set([...staged, ...read.dirty, ...read.untracked, ...listing.unmerged.map((entry) => entry.path)]).size;
}
