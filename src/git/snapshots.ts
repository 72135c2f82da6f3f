import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import path from 'node:path';
import type { CapturedState } from './capture';
import { captureCheckout, type CapturedCheckout } from './captureCheckout';
import { pathForPeople } from './bytePath';
import { gitText, lines, runGit, streamGit } from './git';
import { GitError } from './gitError';
import { revisions } from './haves';
import { inRepository } from './inRepository';
import { hashFile, lfsFile } from './lfsStore';
import { fingerprintOf, zeroId, type Manifest } from './manifest';
import { publishPacks, withdrawPacks } from './publish';
import { readRepository, type ObjectFormat, type ObjectId, type Repository } from './repository';
import { readState } from './restoredState';
import { createShadow, inShadow, objectDirectory, readSettings, type Shadow } from './shadow';

/** A working state that is kept as Git objects in its repository. Plain data. */
export interface Snapshot {
  readonly ref: string;
  readonly tip: ObjectId;
  readonly fingerprint: string;
  readonly head: ObjectId | null;
  /** Full name; null when HEAD was detached. */
  readonly branch: string | null;
}

/** What a listing tells of a snapshot without reading it. */
export interface KnownSnapshot {
  readonly ref: string;
  readonly tip: ObjectId;
  readonly worktreeId: string;
  readonly takenAt: Date;
}

const PREFIX = 'refs/baton/snapshots/';
const NAMED = /^refs\/baton\/snapshots\/([0-9a-f]{8})\/(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(\d{3})Z$/;

/** The ref of a snapshot that is taken of a managed worktree now: `refs/baton/snapshots/<worktree id>/<time, UTC>`. */
export function snapshotRef(worktreeId: string, at: Date): string {
  return `${PREFIX}${worktreeId}/${at.toISOString().replace(/[-:.]/g, '')}`;
}

/** What of a working tree no snapshot holds, by the codes of the findings of a capture. (FIFOs and sockets hold nothing to lose.) */
const UNHELD = new Set(['nested-repository-stays', 'submodule-files-stay', 'submodule-name', 'index-locked']);

/**
 * Keeps the working state of a worktree in its repository: captured, published as one pack, named by a ref, and then read
 * back from the repository alone: its fingerprint, and every object that it adds, hashed again.
 *
 * @param options.spool directory of Baton's own for the capture; its content is the caller's to remove
 * @throws {GitError} `unsupported-state` where something in the worktree cannot be kept (it says what), and what a capture
 *   throws; no ref is left then
 */
export async function takeSnapshot(options: { readonly root: string; readonly ref: string; readonly spool: string; readonly signal?: AbortSignal | undefined }): Promise<Snapshot> {
  const { root, ref, signal } = options;
  const [repository, parts] = await Promise.all([readRepository(root, signal), captureCheckout({ root, spool: options.spool, signal })]);
  const capture = expectHeld(root, parts);
  await expectLfsContent(root, capture, signal);
  const shadow: Shadow = { gitDir: capture.shadow, worktree: root, objectFormat: capture.objectFormat };
  const tip = capture.commits.manifest;
  // One pack of all that HEAD's history does not have, so that the ref needs nothing but that history.
  const name = path.join(shadow.gitDir, 'objects', 'pack', 'pack');
  const { stdout } = await runGit(['pack-objects', '--revs', '--delta-base-offset', '-q', name], { ...inShadow(shadow, { signal }), input: revisions([tip], capture.head === null ? [] : [capture.head]) });
  const pack = `pack-${stdout.toString('latin1').trim()}`;
  try {
    await publishPacks(shadow, repository, [pack]);
    await runGit(['update-ref', ref, tip, zeroId(repository.objectFormat)], inRepository(repository.commonDir, signal));
    const stored = await readSnapshot(repository, { ref, tip }, path.join(options.spool, 'stored'), signal);
    if (stored.fingerprint !== capture.fingerprint) throw new GitError('failed', `The snapshot of ${root} is not what was captured. Nothing was removed.`);
    await expectWhole(repository, tip, capture.head, signal);
    return stored;
  } catch (error) {
    await dropSnapshot(repository, { ref, tip }).catch(() => undefined);
    await withdrawPacks(repository, [pack]).catch(() => undefined);
    throw error;
  }
}

/** Refuses what a snapshot would not hold. Submodules have repositories of their own, some of which are removed with the worktree. */
function expectHeld(root: string, [{ state }, ...submodules]: CapturedCheckout): CapturedState {
  const unheld = state.findings.find(({ code }) => UNHELD.has(code));
  if (unheld !== undefined) throw new GitError('unsupported-state', `No snapshot can keep all of ${root}: ${unheld.message}`);
  if (submodules.length > 0) throw new GitError('unsupported-state', `No snapshot can keep all of ${root}: it holds submodules, ${submodules.slice(0, 3).map(({ place }) => pathForPeople(place)).join(', ')} among them.`);
  return state;
}

/** A state has pointers in place of Git LFS content; that must then be in the repository's LFS storage, which stays. */
async function expectLfsContent(root: string, { lfs }: CapturedState, signal?: AbortSignal): Promise<void> {
  for (const { path: name, oid } of lfs.files) {
    if ((await hashFile(lfsFile(lfs.storage, oid), signal).catch(() => '')) === oid) continue;
    throw new GitError('unsupported-state', `No snapshot can keep all of ${root}: the content of ${pathForPeople(name)} is not in ${lfs.storage}. "git lfs fetch" or "git add" puts it there.`);
  }
}

/**
 * The fingerprint of a worktree as it is now, captured anew.
 *
 * @throws {GitError} as {@link takeSnapshot}
 */
export async function lookAgain(root: string, spool: string, signal?: AbortSignal): Promise<string> {
  await rm(spool, { recursive: true, force: true });
  return expectHeld(root, await captureCheckout({ root, spool, signal })).fingerprint;
}

/** Reads a snapshot from the repository alone. `directory` is Baton's own, and made anew. */
export async function readSnapshot(repository: Repository, { ref, tip }: Pick<Snapshot, 'ref' | 'tip'>, directory: string, signal?: AbortSignal): Promise<Snapshot> {
  const { manifest, trees } = await readKept(repository, tip, directory, signal);
  return { ref, tip, head: manifest.head, branch: manifest.branch, fingerprint: fingerprintOf(manifest, trees) };
}

/** The state that a snapshot holds, through a shadow in `directory`, which is made anew. */
export async function readKept(repository: Repository, tip: ObjectId, directory: string, signal?: AbortSignal): Promise<{ manifest: Manifest; trees: Parameters<typeof fingerprintOf>[1] }> {
  await rm(directory, { recursive: true, force: true });
  const shadow = await createShadow(directory, {
    worktree: repository.root, objectFormat: repository.objectFormat, objects: [objectDirectory(repository)],
    settings: await readSettings(repository.root, signal), shallow: repository.shallow,
  });
  return readState(shadow, tip, signal);
}

/**
 * Everything that a tip has and `base` has not is in the repository, and is what its name says.
 *
 * @throws {GitError} `missing-objects`, or `failed` for an object with other content than its name says
 */
export async function expectWhole(repository: Pick<Repository, 'commonDir' | 'objectFormat'>, tip: ObjectId, base: ObjectId | null, signal?: AbortSignal): Promise<void> {
  const options = inRepository(repository.commonDir, signal);
  const names = streamGit(['rev-list', '--objects', '--no-object-names', '--stdin'], { ...options, input: revisions([tip], base === null ? [] : [base]) });
  for await (const { oid, actual } of hashed(streamGit(['cat-file', '--batch', '--buffer'], { ...options, input: names }), repository.objectFormat)) {
    if (oid !== actual) throw new GitError('failed', `The object ${oid} of a snapshot in ${repository.commonDir} is damaged. Nothing was removed; look at the disk, and at "git fsck".`);
  }
}

/** The objects of a `cat-file --batch`, each with the name that its content has (gitformat: `type size NUL content`). */
async function* hashed(chunks: AsyncIterable<Buffer>, format: ObjectFormat): AsyncGenerator<{ oid: string; actual: string }, void, undefined> {
  let header = Buffer.alloc(0);
  let current: { oid: string; hash: ReturnType<typeof createHash>; left: number } | null = null;
  for await (const chunk of chunks) {
    for (let rest = chunk; rest.length > 0;) {
      if (current === null) {
        const end = rest.indexOf(0x0a);
        header = Buffer.concat([header, end === -1 ? rest : rest.subarray(0, end)]);
        if (end === -1) break;
        rest = rest.subarray(end + 1);
        const [oid = '', type = '', size] = header.toString('latin1').split(' ');
        if (size === undefined) throw new GitError('missing-objects', `The object ${oid} of a snapshot is not in the repository.`);
        header = Buffer.alloc(0);
        current = { oid, hash: createHash(format).update(`${type} ${size}\0`), left: Number(size) };
      } else {
        // The line feed after the content ends the object.
        const taken = rest.subarray(0, current.left);
        current.hash.update(taken);
        current.left -= taken.length;
        rest = rest.subarray(taken.length);
        if (current.left > 0 || rest.length === 0) continue;
        rest = rest.subarray(1);
        yield { oid: current.oid, actual: current.hash.digest('hex') };
        current = null;
      }
    }
  }
  if (current !== null || header.length > 0) throw new GitError('failed', 'git ended in the middle of an object.');
}

/** The snapshots of managed worktrees in a repository, oldest first. Other refs below `refs/baton/snapshots/` are not among them. */
export async function listSnapshots(commonDir: string, signal?: AbortSignal): Promise<KnownSnapshot[]> {
  const found: KnownSnapshot[] = [];
  for await (const line of lines(streamGit(['for-each-ref', '--format=%(objectname) %(refname)', PREFIX], inRepository(commonDir, signal)))) {
    const [tip = '', ref = ''] = line.split(' ');
    const match = NAMED.exec(ref);
    if (match?.[1] === undefined) continue;
    const [, worktreeId, year, month, day, hour, minute, second, millisecond] = match;
    found.push({ ref, tip, worktreeId, takenAt: new Date(`${year}-${month}-${day}T${hour}:${minute}:${second}.${millisecond}Z`) });
  }
  return found.sort((a, b) => a.takenAt.getTime() - b.takenAt.getTime());
}

/**
 * Whether a snapshot is the only copy of something: of a commit, or of the content of a file, that nothing else in the
 * repository has. In doubt it is.
 */
export async function isOnlyCopy(repository: Pick<Repository, 'commonDir'>, snapshot: Pick<KnownSnapshot, 'ref' | 'tip'>, signal?: AbortSignal): Promise<boolean> {
  const options = inRepository(repository.commonDir, signal);
  const others = (await gitText(['for-each-ref', '--format=%(refname) %(objectname)'], options)).split('\n').flatMap((line) => {
    const [ref, oid] = line.split(' ');
    return oid === undefined || ref === snapshot.ref ? [] : [oid];
  });
  // Baton's own three commits and the manifest are there for the snapshot's sake.
  const own = new Set((await gitText(['rev-parse', snapshot.tip, `${snapshot.tip}^1`, `${snapshot.tip}^1^1`, `${snapshot.tip}:manifest.json`], options)).split('\n'));
  const names = streamGit(['rev-list', '--objects', '--no-object-names', '--ignore-missing', '--stdin'], { ...options, input: revisions([snapshot.tip], others) });
  for await (const line of lines(streamGit(['cat-file', '--batch-check=%(objectname) %(objecttype)'], { ...options, input: names }))) {
    const [oid = '', type = ''] = line.split(' ');
    if (type !== 'tree' && !own.has(oid)) return true;
  }
  return false;
}

/** Lets go of a snapshot; git's own garbage collection takes its objects later. */
export async function dropSnapshot(repository: Pick<Repository, 'commonDir'>, { ref, tip }: Pick<KnownSnapshot, 'ref' | 'tip'>): Promise<void> {
  await runGit(['update-ref', '-d', ref, tip], inRepository(repository.commonDir));
}
