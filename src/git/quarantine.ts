import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { HEADER_LIMIT, parseBundleHeader } from './bundleHeader';
import { gitText, runGit, type GitOptions } from './git';
import { openRepository } from './gitDirectory';
import { GitError } from './gitError';
import { inRepository } from './inRepository';
import { revisions } from './haves';
import { distinctObjects, type LfsObject } from './lfsPointer';
import { expectLfsContent, receiveLfsObjects, type LfsSource } from './lfsTransfer';
import { fingerprintOf, type Manifest, type StateTrees } from './manifest';
import { objectsNamed } from './objectsNamed';
import { expectNoGaps } from './partialClone';
import { readState } from './restoredState';
import { checkEntries, checkObjectSizes, checkTree, differingEntries, expectBounded, probeNameRules, readManifest } from './quarantineChecks';
import type { ObjectFormat, ObjectId, Repository } from './repository';
import { sideBySide } from './sideBySide';
import { createShadow, inShadow, objectDirectory, writeShallow, type Shadow } from './shadow';
import { boundaryToNote, MOST_BOUNDARIES } from './shallow';

export interface QuarantineLimits {
  /** In the pack. */
  readonly objects: number;
  /** Of one file, unpacked. */
  readonly objectBytes: number;
  /** Of one tree, directories included. */
  readonly paths: number;
  readonly manifestBytes: number;
  /** Most memory that git may take at once; larger objects must be streamed (README.md, "Large files"). */
  readonly allocationBytes: number;
}

export const defaultLimits: QuarantineLimits = {
  objects: 20_000_000,
  objectBytes: 64 * 1024 ** 3,
  paths: 3_000_000,
  manifestBytes: 256 * 1024 ** 2,
  allocationBytes: 192 * 1024 ** 2,
};

export interface ReceiveOptions {
  /** A worktree of the destination's repository, or the repository's Git directory. */
  readonly root: string;
  readonly file: string;
  readonly sha256: string;
  readonly bytes: number;
  /** The tip that the source announced: the manifest commit. */
  readonly tip: ObjectId;
  /** Where the history in the bundle ends although it goes on (`CreatedBundle.shallow`). */
  readonly shallow?: readonly ObjectId[];
  /** Git LFS objects that came beside the bundle. Their files are taken into the quarantine. */
  readonly lfs?: readonly LfsSource[];
  /** Directory that must not exist; removed again when the bundle is refused. */
  readonly quarantine: string;
  readonly limits?: Partial<QuarantineLimits>;
  readonly signal?: AbortSignal | undefined;
}

/** A checked bundle whose objects are not yet part of the repository. Plain data. */
export interface QuarantinedState {
  readonly root: string;
  readonly directory: string;
  readonly objectFormat: ObjectFormat;
  readonly head: ObjectId | null;
  readonly branch: string | null;
  readonly commits: { readonly index: ObjectId; readonly worktree: ObjectId; readonly manifest: ObjectId };
  readonly trees: StateTrees;
  /** Boundary commits that the repository must note before it has a ref to this state (see shallow.ts). */
  readonly shallow: readonly ObjectId[];
  /** Git LFS objects in the quarantine, checked. */
  readonly lfs: readonly LfsObject[];
  /** What a faithful restore will have. A receipt is computed from what was restored, never from this. */
  readonly fingerprint: string;
  /** The submodules that belong to it. */
  readonly submodules: Manifest['submodules'];
  /** What counts against the limits. */
  readonly size: { readonly objects: number; readonly paths: number };
}

/** The shadow Git directory of a quarantine: the arrived objects, with the repository's own as alternate. */
export function quarantineShadow(state: Pick<QuarantinedState, 'directory' | 'objectFormat'>): Shadow {
  return { gitDir: path.join(state.directory, 'shadow'), worktree: state.directory, objectFormat: state.objectFormat };
}

/** For git in the repository itself, with its refs: the arrived objects come first, and history ends where theirs does. */
export function withQuarantine(state: Pick<QuarantinedState, 'directory' | 'objectFormat'>): Record<string, string> {
  const { gitDir } = quarantineShadow(state);
  return { GIT_OBJECT_DIRECTORY: path.join(gitDir, 'objects'), GIT_SHALLOW_FILE: path.join(gitDir, 'shallow') };
}

/**
 * Unpacks a bundle beside the repository and checks all of it: length and hash, header, pack (strict fsck, limits),
 * closure, the shape of the commits, every name, the manifest. The repository is not written.
 *
 * @throws {GitError} `corrupt-bundle`, `missing-objects`, `hostile-content`, `too-large`, `unsupported-state`,
 *   `disk-full`, `cancelled`; the quarantine is then gone
 */
export async function receiveBundle(options: ReceiveOptions): Promise<QuarantinedState> {
  const repository = await openRepository(options.root, options.signal);
  await mkdir(options.quarantine, { mode: 0o700 }).catch((error: unknown) => {
    throw new GitError((error as NodeJS.ErrnoException).code === 'ENOSPC' ? 'disk-full' : 'failed', `The quarantine ${options.quarantine} could not be made: ${(error as Error).message}`, { cause: error });
  });
  try {
    return await receive(options, repository, { ...defaultLimits, ...options.limits });
  } catch (error) {
    await rm(options.quarantine, { recursive: true, force: true });
    throw error;
  }
}

async function receive(options: ReceiveOptions, repository: Repository, limits: QuarantineLimits): Promise<QuarantinedState> {
  const { tip, signal } = options;
  const { header, packOffset, objects } = await checkFile(options, repository.objectFormat, limits);
  const announced = options.shallow ?? [];
  if (announced.length > MOST_BOUNDARIES) throw new GitError('too-large', `The history that arrived ends at more than ${MOST_BOUNDARIES} commits. Nothing of it was used.`);
  const shadow = await createShadow(path.join(options.quarantine, 'shadow'), {
    worktree: options.quarantine, objectFormat: repository.objectFormat, objects: [objectDirectory(repository)], settings: repository.settings,
    // Else the parents that are left out would count as missing from the pack.
    shallow: [...repository.shallow, ...announced],
  });
  const plain = inShadow(shadow, { signal });
  const guarded: GitOptions = { ...plain, env: { ...plain.env, GIT_ALLOC_LIMIT: String(limits.allocationBytes) } };
  const known = await runGit(['cat-file', '--batch-check=%(objecttype)'], { ...guarded, input: header.prerequisites.map((oid) => `${oid}\n`).join('') });
  if (header.prerequisites.length > 0 && known.stdout.toString('latin1').trimEnd().split('\n').some((type) => type !== 'commit')) {
    throw new GitError('missing-objects', `${repository.root} lacks commits that the bundle stands on. Hand off again: what is there is then asked anew.`);
  }
  // What old trees name is missing by agreement in a partial clone; all that is new, and all that is restored, is looked at below.
  await runGit(['-c', 'pack.threads=1', 'index-pack', '--stdin', '--fix-thin', repository.partial ? '--fsck-objects' : '--strict'], { ...guarded, input: createReadStream(options.file, { start: packOffset }) as AsyncIterable<Buffer> });
  await checkObjectSizes(path.join(shadow.gitDir, 'objects'), guarded, limits);

  const shallow = await boundaryToNote(shadow, announced, repository.shallow, signal);
  await writeShallow(shadow, [...repository.shallow, ...shallow]);
  const rules = await probeNameRules(options.quarantine);
  const commits = await readChain(tip, guarded);
  const manifest = await readManifest(tip, guarded, limits, rules);
  const [head, trees] = await sideBySide(expectShape(manifest, commits, repository.objectFormat, guarded), stateTrees(commits, guarded));
  // What both trees have is looked at once, except where two names of one tree could be the same file. Git gathers all that
  // differs before it writes the first of it, so both trees must be known to be bounded by then.
  const [paths] = await sideBySide(
    checkTree(trees.worktree, guarded, limits, rules),
    rules.caseInsensitive ? checkTree(trees.index, guarded, limits, rules) : expectBounded(trees.index, guarded, limits),
  );
  if (!rules.caseInsensitive) await checkEntries(differingEntries(trees.worktree, trees.index, guarded), guarded, limits, rules);
  await receiveLfsObjects(options.quarantine, options.lfs ?? [], limits, signal);
  await expectLfsContent(manifest, trees.worktree, repository, options.quarantine, guarded);
  for (const tree of [trees.stages, trees.resolved]) if (tree !== null) await checkTree(tree, guarded, limits, rules, 1);
  // Runs in the repository itself, to know its refs; the quarantine is where its objects are looked for first.
  const beside: GitOptions = {
    ...inRepository(repository.root, signal),
    env: { ...inRepository(repository.root).env, ...withQuarantine({ directory: options.quarantine, objectFormat: repository.objectFormat }), GIT_ALLOC_LIMIT: String(limits.allocationBytes) },
  };
  if (repository.partial) await expectNoGaps(await readState(shadow, tip, signal), guarded, beside);
  else await runGit(['rev-list', '--objects', '--quiet', '--stdin', '--not', '--all'], { ...beside, input: revisions([tip], []) });
  return {
    root: repository.root, directory: options.quarantine, objectFormat: repository.objectFormat,
    head, branch: manifest.branch, commits, trees, shallow, lfs: distinctObjects(options.lfs ?? []), fingerprint: fingerprintOf(manifest, trees),
    submodules: manifest.submodules, size: { objects, paths },
  };
}

/** Length, hash and header, and that nothing follows the pack: its last bytes must be the hash of all before them. */
async function checkFile(options: ReceiveOptions, objectFormat: ObjectFormat, limits: QuarantineLimits): Promise<ReturnType<typeof parseBundleHeader> & { objects: number }> {
  const corrupt = (what: string) => new GitError('corrupt-bundle', `The bundle that arrived ${what}. Nothing of it was used; hand off again.`);
  const { size } = await stat(options.file);
  if (size !== options.bytes) throw corrupt(`has ${size} bytes where ${options.bytes} were announced`);
  const handle = await open(options.file, 'r');
  const start = Buffer.alloc(Math.min(size, HEADER_LIMIT + 2));
  const trailerBytes = objectFormat === 'sha1' ? 20 : 32;
  const trailer = Buffer.alloc(trailerBytes);
  try {
    await handle.read(start, 0, start.length, 0);
    await handle.read(trailer, 0, trailerBytes, Math.max(0, size - trailerBytes));
  } finally {
    await handle.close();
  }
  const whole = createHash('sha256');
  for await (const chunk of createReadStream(options.file)) {
    if (options.signal?.aborted === true) throw new GitError('cancelled', 'Checking the bundle that arrived was cancelled.');
    whole.update(chunk as Buffer);
  }
  if (whole.digest('hex') !== options.sha256) throw corrupt('does not have the hash that was announced');
  const parsed = parseBundleHeader(start, objectFormat);
  if (parsed.header.tip !== options.tip) throw corrupt('names another tip than was announced');
  const packHeader = start.subarray(parsed.packOffset, parsed.packOffset + 12);
  if (packHeader.length < 12 || packHeader.toString('latin1', 0, 4) !== 'PACK' || size - parsed.packOffset < 12 + trailerBytes) throw corrupt('holds no pack');
  if (packHeader.readUInt32BE(8) > limits.objects) throw new GitError('too-large', `The bundle that arrived holds more than ${limits.objects} objects. Nothing of it was used.`);
  const pack = createHash(objectFormat);
  for await (const chunk of createReadStream(options.file, { start: parsed.packOffset, end: size - trailerBytes - 1 })) pack.update(chunk as Buffer);
  if (!pack.digest().equals(trailer)) throw corrupt('does not end with its pack');
  return { ...parsed, objects: packHeader.readUInt32BE(8) };
}

interface Chain {
  readonly index: ObjectId;
  readonly worktree: ObjectId;
  readonly manifest: ObjectId;
}

async function readChain(tip: ObjectId, options: GitOptions): Promise<Chain> {
  const [worktree, index] = await objectsNamed([`${tip}^1^{commit}`, `${tip}^1^1^{commit}`] as const, options);
  if (worktree === null || index === null) throw new GitError('hostile-content', 'The commits of the bundle that arrived are not those of a captured state. Nothing of it was used.');
  return { manifest: tip, worktree, index };
}

/** The manifest and the commits must tell one story, and every object that the manifest names must come with the tip. */
async function expectShape(manifest: Manifest, commits: Chain, objectFormat: ObjectFormat, options: GitOptions): Promise<ObjectId | null> {
  const refuse = (what: string) => new GitError('hostile-content', `The manifest of the bundle that arrived ${what}. Nothing of it was used.`);
  if (manifest.objectFormat !== objectFormat) throw refuse('is of another object format');
  const listed = await gitText(['rev-list', '--parents', '--no-walk=unsorted', commits.index, commits.worktree, commits.manifest], options);
  const [below = [], belowWorktree = [], belowManifest = []] = listed.split('\n').map((line) => line.split(' ').slice(1));
  if (below.length > 1 || (below[0] ?? null) !== manifest.head) throw refuse('names another HEAD than its commits');
  if (belowWorktree.length !== 1) throw refuse('stands on commits that have too many parents');
  const reachable = new Set(belowManifest);
  const named = [...manifest.operation.refs.map(([, oid]) => oid), ...(manifest.operation.branch === null ? [] : [manifest.operation.branch.oid])];
  if (named.some((oid) => !reachable.has(oid))) throw refuse('names commits that are not part of it');
  if (manifest.branch !== null) await gitText(['check-ref-format', manifest.branch], options).catch(() => { throw refuse('names a branch that git does not allow'); });
  if (manifest.operation.branch !== null) await gitText(['check-ref-format', manifest.operation.branch.name], options).catch(() => { throw refuse('names a branch that git does not allow'); });
  return manifest.head;
}

async function stateTrees(commits: Chain, options: GitOptions): Promise<StateTrees> {
  const [index, worktree, stages, resolved] = await objectsNamed([`${commits.index}^{tree}`, `${commits.worktree}^{tree}`, `${commits.manifest}:stages`, `${commits.manifest}:resolved`] as const, options);
  if (index === null || worktree === null) throw new GitError('missing-objects', 'The bundle that arrived lacks the trees of its own commits. Nothing of it was used.');
  return { index, worktree, stages, resolved };
}
