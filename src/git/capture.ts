import { createHash } from 'node:crypto';
import { mkdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import type { BytePath } from './bytePath';
import { carriedPaths } from './carriedPaths';
import { findingsOf } from './captureFindings';
import { convertedPaths } from './conversion';
import type { GitFinding } from './finding';
import { gitText, runGit } from './git';
import { GitError } from './gitError';
import { listIndex, pathList, type IndexListing } from './indexListing';
import { fingerprintOf, type Manifest } from './manifest';
import { readOperation, type OperationState } from './operation';
import { readRepository, type ObjectFormat, type ObjectId, type Operation, type Repository } from './repository';
import { adoptIndex, createShadow, inShadow, objectDirectory, readSettings, type RepositorySettings, type Shadow } from './shadow';
import { sideBySide } from './sideBySide';
import { forkIndex, updateIndex, writeCommit, writeManifestTree, writeStagedTree, writeTree } from './stateObjects';
import { listUnstorable, listUntracked, WorktreeLooker } from './worktreeScan';

export interface CaptureOptions {
  /** Top level of the worktree. */
  readonly root: string;
  /** Directory of Baton's own that holds the capture; made when missing. It is the caller's to remove. */
  readonly spool: string;
  readonly signal?: AbortSignal | undefined;
  /** Times to begin again when something changes meanwhile; 3 unless given. */
  readonly attempts?: number;
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
  /** Paths that differ from HEAD in the index or the working tree, untracked ones included. */
  readonly files: number;
  readonly operation: Operation | null;
  readonly findings: readonly GitFinding[];
}

/** The index of the shadow that describes the working tree, with the times and sizes of what was read. */
export const WORKTREE_INDEX = 'worktree.index';

/**
 * Takes the working state of a checkout as three commits on top of HEAD, in a shadow Git directory in `spool`. Nothing in
 * the repository or the working tree is written, and no hook, filter or file system monitor runs. What changes while it
 * is being read is noticed, and the capture begins again. Method: README.md, "Capture".
 *
 * @throws {GitError} `changed-while-capturing` when it never stood still, `unsupported-state`, `not-a-repository`,
 *   `disk-full`, `cancelled`
 */
export async function captureWorkingState(options: CaptureOptions): Promise<CapturedState> {
  const attempts = options.attempts ?? 3;
  const shadowDirectory = path.join(options.spool, 'shadow');
  for (let attempt = 1; ; attempt++) {
    await rm(shadowDirectory, { recursive: true, force: true });
    await mkdir(shadowDirectory, { recursive: true, mode: 0o700 });
    try {
      return await captureOnce(options, shadowDirectory);
    } catch (error) {
      // A file that vanishes between listing and reading fails in git with many messages: the next attempt tells.
      const hopeless = GitError.is(error) && !GitError.is(error, 'changed-while-capturing') && !GitError.is(error, 'failed') && !GitError.is(error, 'missing-objects');
      if (hopeless || attempt >= attempts) {
        await rm(shadowDirectory, { recursive: true, force: true });
        throw error;
      }
    }
  }
}

async function captureOnce(options: CaptureOptions, shadowDirectory: string): Promise<CapturedState> {
  const { signal } = options;
  const [repository, settings] = await sideBySide(readRepository(options.root, signal), readSettings(options.root, signal));
  const shadow = await createShadow(shadowDirectory, {
    worktree: repository.root, objectFormat: repository.objectFormat, objects: [objectDirectory(repository)],
    settings, shallow: repository.shallow, excludes: path.join(repository.commonDir, 'info', 'exclude'),
  });
  const before = await standing(repository);
  // An index that is not there yet is an empty one.
  if (!(await adoptIndex(shadow, repository.gitDir))) await runGit(['read-tree', '--empty'], inShadow(shadow, { signal }));
  const operation = await readOperation(repository, signal);
  const listing = await listIndex(shadow, signal);
  const index = await writeIndexTree(shadow, listing, signal);
  const stages = await writeStagedTree(shadow, listing.unmerged, signal);
  const resolved = await writeStagedTree(shadow, await present(shadow, listing.resolved, signal), signal);

  const read = await readWorktree(repository, settings, shadow, listing, signal);
  const left = await listUnstorable(shadow, read.nestedRepositories, signal);
  const manifest: Manifest = {
    version: 1, objectFormat: repository.objectFormat, head: repository.head, branch: repository.branch,
    intentToAdd: listing.intentToAdd.map((entry): [BytePath, '100644'] => [entry.path, entry.mode as '100644']),
    flags: listing.flagged.map((flag) => ({ ...flag, present: !read.absent.has(flag.path) })),
    emptyDirectories: [...left.emptyDirectories],
    autoMerge: operation.autoMerge !== null,
    operation: { kind: operation.kind, files: operation.files.map(([name, content]) => [name, content]), refs: operation.refs.map(([name, oid]) => [name, oid]), branch: operation.branch },
    conversion: { autocrlf: settings.values.get('core.autocrlf') ?? 'false', eol: settings.values.get('core.eol') ?? 'native' },
    sparse: await readSparse(repository, settings),
  };
  const commits = await writeChain(shadow, repository, operation, { index, worktree: read.tree, manifest: await writeManifestTree(shadow, manifest, { stages, resolved, autoMerge: operation.autoMerge }, signal) }, signal);

  await expectUnchanged(shadow, read, signal);
  if ((await standing(await readRepository(options.root, signal))) !== before) throw changed(repository.root, 'HEAD, the index or the operation in progress');
  return {
    root: repository.root, shadow: shadow.gitDir, objectFormat: repository.objectFormat, head: repository.head, branch: repository.branch,
    commits, operation: operation.kind,
    fingerprint: fingerprintOf(manifest, { index, worktree: read.tree, stages, resolved }),
    files: await countFiles(shadow, repository, listing, read, index, signal),
    findings: await findingsOf({ repository, listing, operation, read, left, sparse: manifest.sparse !== null, signal }),
  };
}

function changed(root: string, what: string): GitError {
  return new GitError('changed-while-capturing', `${what} in ${root} changed while the working state was being read. Let other programs finish there, then try again.`);
}

/** Everything besides the working tree's files that a capture rests on, as one string to compare. */
async function standing(repository: Repository): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify([repository.head, repository.branch, repository.operation]));
  const { files, refs } = await readOperation(repository);
  hash.update(JSON.stringify([files, refs])).update(await readFile(path.join(repository.gitDir, 'index')).catch(() => ''));
  return hash.digest('hex');
}

async function writeIndexTree(shadow: Shadow, listing: IndexListing, signal?: AbortSignal): Promise<ObjectId> {
  // Entries that are only intended to be added are left out by write-tree itself.
  if (listing.unmerged.length === 0) return writeTree(shadow, 'index', signal);
  await forkIndex(shadow, 'index', 'tree.index');
  await updateIndex(shadow, 'tree.index', ['--force-remove'], new Set(listing.unmerged.map((entry) => entry.path)), signal);
  return writeTree(shadow, 'tree.index', signal);
}

/** The entries whose objects still exist: git may have pruned what only a resolve-undo record names. */
async function present(shadow: Shadow, entries: IndexListing['resolved'], signal?: AbortSignal): Promise<IndexListing['resolved']> {
  if (entries.length === 0) return entries;
  const { stdout } = await runGit(['cat-file', '--batch-check=%(objecttype)'], { ...inShadow(shadow, { signal }), input: entries.map((entry) => `${entry.oid}\n`).join('') });
  const types = stdout.toString('latin1').split('\n');
  return entries.filter((entry, position) => entry.mode === '160000' || types[position] === 'blob');
}

/** What reading the working tree found. */
export interface WorktreeReading {
  readonly tree: ObjectId;
  /** Tracked paths that differ from the index (or may, being unmerged), without those read for their conversion only. */
  readonly dirty: ReadonlySet<BytePath>;
  readonly untracked: readonly BytePath[];
  readonly nestedRepositories: readonly BytePath[];
  /** Files that the index lists, whose absence its `skip-worktree` flag explains. */
  readonly absent: ReadonlySet<BytePath>;
  readonly converted: number;
  readonly lfs: readonly BytePath[];
  readonly special: readonly BytePath[];
}

async function readWorktree(repository: Repository, settings: RepositorySettings, shadow: Shadow, listing: IndexListing, signal?: AbortSignal): Promise<WorktreeReading> {
  const options = inShadow(shadow, { index: WORKTREE_INDEX, signal });
  await forkIndex(shadow, 'index', WORKTREE_INDEX);

  const looker = new WorktreeLooker(repository.root);
  const absent = new Set<BytePath>();
  for (const flag of listing.flagged) if (flag.skipWorktree && (await looker.kind(flag.path)) === 'absent') absent.add(flag.path);
  const seen = listing.flagged.filter((flag) => !absent.has(flag.path)).map((flag) => flag.path);
  await updateIndex(shadow, WORKTREE_INDEX, ['--no-assume-unchanged'], listing.flagged.map((flag) => flag.path), signal);
  await updateIndex(shadow, WORKTREE_INDEX, ['--no-skip-worktree'], seen, signal);

  const [differing, { files, nestedRepositories }] = await sideBySide(
    pathList(['diff-files', '--name-only', '-z', '--ignore-submodules=dirty'], options),
    listUntracked(shadow, WORKTREE_INDEX, signal),
  );
  const dirty = new Set([...differing, ...listing.unmerged.map((entry) => entry.path), ...listing.intentToAdd.map((entry) => entry.path)]);
  const untracked = [...new Set([...files, ...(await carriedPaths(repository.gitDir, looker))])];
  const converted = await convertedPaths(repository, settings, shadow, listing, dirty, untracked, signal);

  const gitlinks = new Set(listing.gitlinks.map((entry) => entry.path));
  const removals: BytePath[] = [];
  const additions: BytePath[] = [];
  const special: BytePath[] = [];
  for (const name of new Set([...dirty, ...converted.paths.filter((candidate) => !absent.has(candidate)), ...untracked])) {
    const kind = await looker.kind(name);
    if (kind === 'special') special.push(name);
    if (kind === 'file' || kind === 'symlink' || (kind === 'directory' && gitlinks.has(name))) additions.push(name);
    else removals.push(name);
  }
  // A file whose times are those of its entry is not read again by update-index, unless the entry is gone.
  await updateIndex(shadow, WORKTREE_INDEX, ['--force-remove'], [...removals, ...converted.paths.filter((name) => !absent.has(name))], signal);
  await updateIndex(shadow, WORKTREE_INDEX, ['--add', '--replace'], additions, signal);
  return { tree: await writeTree(shadow, WORKTREE_INDEX, signal), dirty, untracked, nestedRepositories, absent, converted: converted.paths.length, lfs: converted.lfs, special };
}

/** The index that has just been made knows time and size of all that was read: git itself says whether that still holds. */
async function expectUnchanged(shadow: Shadow, read: WorktreeReading, signal?: AbortSignal): Promise<void> {
  const [differing, { files }] = await sideBySide(
    pathList(['diff-files', '--name-only', '-z', '--ignore-submodules=dirty'], inShadow(shadow, { index: WORKTREE_INDEX, signal })),
    listUntracked(shadow, WORKTREE_INDEX, signal),
  );
  if (differing.length > 0) throw changed(shadow.worktree, differing.length === 1 ? 'A file' : `${differing.length} files`);
  if (files.some((name) => !read.special.includes(name))) throw changed(shadow.worktree, 'The set of untracked files');
}

async function writeChain(shadow: Shadow, repository: Repository, operation: OperationState, trees: CapturedState['commits'], signal?: AbortSignal): Promise<CapturedState['commits']> {
  const seconds = repository.head === null ? 0 : Number(await gitText(['show', '-s', '--format=%ct', repository.head], inShadow(shadow, { signal })));
  const index = await writeCommit(shadow, { tree: trees.index, parents: repository.head === null ? [] : [repository.head], seconds, message: 'baton: index' }, signal);
  const worktree = await writeCommit(shadow, { tree: trees.worktree, parents: [index], seconds, message: 'baton: worktree' }, signal);
  const manifest = await writeCommit(shadow, { tree: trees.manifest, parents: [worktree, ...operation.commits], seconds, message: 'baton: manifest' }, signal);
  return { index, worktree, manifest };
}

async function readSparse(repository: Repository, settings: RepositorySettings): Promise<Manifest['sparse']> {
  const on = (key: string) => /^(true|yes|on|1)$/i.test(settings.values.get(key) ?? '');
  if (!on('core.sparsecheckout')) return null;
  const patterns = await readFile(path.join(repository.gitDir, 'info', 'sparse-checkout'), 'latin1').catch(() => '');
  return { cone: on('core.sparsecheckoutcone'), patterns };
}

async function countFiles(shadow: Shadow, repository: Repository, listing: IndexListing, read: WorktreeReading, index: ObjectId, signal?: AbortSignal): Promise<number> {
  const before = repository.head === null ? await gitText(['hash-object', '-t', 'tree', '-w', '--stdin'], inShadow(shadow, { signal })) : `${repository.head}^{tree}`;
  const staged = await pathList(['diff-tree', '-r', '-z', '--no-renames', '--name-only', before, index], inShadow(shadow, { signal }));
  return new Set([...staged, ...read.dirty, ...read.untracked, ...listing.unmerged.map((entry) => entry.path)]).size;
}
