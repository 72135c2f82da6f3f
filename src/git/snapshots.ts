import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { shadowOf, type CapturedState } from './capture';
import { captureCheckout, type CapturedCheckout } from './captureCheckout';
import { pathForPeople } from './bytePath';
import { syncRefs } from './durable';
import { gitText, lines, runGit, streamGit } from './git';
import { openRepository } from './gitDirectory';
import { GitError } from './gitError';
import { inRepository, isGitDirectory } from './inRepository';
import { hashFile, lfsFile } from './lfsStore';
import { fingerprintOf, zeroId, type Manifest } from './manifest';
import { packCapture, publishPacks, withdrawPacks } from './publish';
import { readRepository, type ObjectId, type Repository } from './repository';
import { readState } from './restoredState';
import { createShadow, objectDirectory, readSettings } from './shadow';
import { dropLfs, keepLfs } from './snapshotLfs';
import { expectWhole, isOnlyHere } from './snapshotObjects';
import { commitRecord, parentsOfTip, readRecord, type KeptSubmodule, type SnapshotRecord } from './snapshotRecord';
import { planSubmodules } from './submoduleRemoval';
import { readTraces } from './worktreeTraces';

/** A working state that is kept as Git objects in its repository, and those of its submodules in theirs. Plain data. */
export interface Snapshot {
  readonly ref: string;
  /** A commit upon the manifest (snapshotRecord.ts). */
  readonly tip: ObjectId;
  readonly fingerprint: string;
  readonly head: ObjectId | null;
  /** Full name; null when HEAD was detached. */
  readonly branch: string | null;
  /** Parents before what is in them. */
  readonly submodules: readonly KeptSubmodule[];
}

/** What a listing tells of a snapshot without reading it. */
export interface KnownSnapshot {
  readonly ref: string;
  readonly tip: ObjectId;
  /** The managed worktree that it was taken of; null for what an apply replaced. */
  readonly worktreeId: string | null;
  /** The thread whose apply replaced it; null for a worktree's. */
  readonly threadId: string | null;
  readonly takenAt: Date;
}

const PREFIX = 'refs/baton/snapshots/';
const STAMP = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(\d{3})Z$/;
const OF_WORKTREE = /^refs\/baton\/snapshots\/([0-9a-f]{8})\/([^/]+)$/;
/** These hold a working state alone: their tip is its manifest. */
const OF_APPLY = /^refs\/baton\/snapshots\/apply\/([0-9a-f-]{36})\/([^/]+)\/(before|found(?:-[1-9]\d*)?)$/;

/** A time as refs have it: `20260227T100000000Z`. */
export function stampOf(at: Date): string {
  return at.toISOString().replace(/[-:.]/g, '');
}

/** Where a thread's applied states are kept: `before`, which was replaced; `given`; `after`; and what was `found` when it was taken back, the second time `found-2`. */
export function applyRef(threadId: string, stamp: string, what: 'before' | 'given' | 'after' | 'found', nth = 1): string {
  return `${PREFIX}apply/${threadId}/${stamp}/${what}${nth === 1 ? '' : `-${nth}`}`;
}

/** The ref of a snapshot that is taken of a managed worktree now: `refs/baton/snapshots/<worktree id>/<time, UTC>`; those of its submodules end in `-<n>`. */
export function snapshotRef(worktreeId: string, at: Date): string {
  return `${PREFIX}${worktreeId}/${stampOf(at)}`;
}

/** What of a working tree no snapshot holds, by the codes of the findings of a capture. (FIFOs and sockets hold nothing to lose.) */
const UNHELD = new Set(['nested-repository-stays', 'submodule-files-stay', 'submodule-name', 'index-locked']);

/**
 * Keeps the working state of a worktree and of its submodules in their repositories: captured as of one moment, each published as
 * one pack, named by a ref, and then read back from the repository alone: its fingerprint, and every object that it adds,
 * hashed again. Reflogs, the worktree's own refs and config, and Git LFS content are kept with it.
 *
 * @param options.spool directory of Baton's own for the capture; its content is the caller's to remove
 * @throws {GitError} `unsupported-state` where something in the worktree cannot be kept (it says what), and what a capture
 *   throws; no ref is left then
 */
export async function takeSnapshot(options: { readonly root: string; readonly ref: string; readonly spool: string; readonly signal?: AbortSignal | undefined }): Promise<Snapshot> {
  const { root, ref, spool, signal } = options;
  const [repository, parts] = await Promise.all([readRepository(root, signal), captureCheckout({ root, spool, signal })]);
  expectHeld(root, parts);
  const [{ state }, ...others] = parts;
  const fates = await planSubmodules(repository, others, ref, signal);
  const undo: (() => Promise<unknown>)[] = [];
  try {
    const submodules: KeptSubmodule[] = [];
    for (const [position, fate] of fates.entries()) {
      const part = others[position];
      if (part !== undefined) submodules.push({ ...fate, ...(await keepPart(part.state, `${ref}-${position + 1}`, [], path.join(spool, 'stored'), undo, signal)) });
    }
    return { ...(await keepPart(state, ref, submodules, path.join(spool, 'stored'), undo, signal)), submodules };
  } catch (error) {
    for (const step of undo.reverse()) await step().catch(() => undefined);
    throw error;
  }
}

/** @param undo is added to before anything is done that is to be undone where a later step fails */
async function keepPart(capture: CapturedState, ref: string, submodules: KeptSubmodule[], stored: string, undo: (() => Promise<unknown>)[], signal?: AbortSignal): Promise<Omit<Snapshot, 'submodules'>> {
  await expectLfsContent(capture, signal);
  const repository = await readRepository(capture.root, signal);
  const traces = await readTraces(repository, signal);
  undo.push(() => dropLfs(repository, ref));
  const lfs = await keepLfs(repository, capture, ref, signal);
  const tip = await commitRecord(shadowOf(capture), capture.commits.manifest, traces, { lfs, submodules }, signal);
  // One pack of all that HEAD's history and the reflogs' do not have, so that the ref needs nothing but those.
  const base = [...(capture.head === null ? [] : [capture.head]), ...traces.commits];
  const pack = await packCapture(shadowOf(capture), tip, base, signal);
  undo.push(() => withdrawPacks(repository, [pack]), () => runGit(['update-ref', '-d', ref, tip], inRepository(repository.commonDir)));
  await publishPacks(shadowOf(capture), repository, [pack]);
  await runGit(['update-ref', ref, tip, zeroId(repository.objectFormat)], inRepository(repository.commonDir, signal));
  await syncRefs(repository, [ref]);
  const { submodules: named, ...read } = await readSnapshot(repository, { ref, tip }, stored, signal);
  if (read.fingerprint !== capture.fingerprint || named.length !== submodules.length) throw new GitError('failed', `The snapshot of ${capture.root} is not what was captured. Nothing was removed.`);
  await expectWhole(repository, tip, base, signal);
  return read;
}

/** Refuses what a snapshot would not hold. */
function expectHeld(root: string, parts: CapturedCheckout): void {
  for (const { place, state } of parts) {
    const unheld = state.findings.find(({ code }) => UNHELD.has(code));
    const where = place === '' ? '' : `the submodule ${pathForPeople(place)}: `;
    if (unheld !== undefined) throw new GitError('unsupported-state', `No snapshot can keep all of ${root}: ${where}${unheld.message}`);
    if (state.operation !== null) throw new GitError('unsupported-state', `No snapshot can keep all of ${root}: ${where}a ${state.operation} is in progress.`);
  }
}

/** A state has pointers in place of Git LFS content; that must then be in the repository's LFS storage, which stays. */
async function expectLfsContent({ root, lfs }: CapturedState, signal?: AbortSignal): Promise<void> {
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
  const parts = await captureCheckout({ root, spool, signal });
  expectHeld(root, parts);
  return parts[0].state.fingerprint;
}

/** Reads a snapshot from the repository alone. `directory` is Baton's own, and made anew. */
export async function readSnapshot(repository: Repository, { ref, tip }: Pick<Snapshot, 'ref' | 'tip'>, directory: string, signal?: AbortSignal): Promise<Snapshot> {
  const { manifest, trees } = await readKept(repository, tip, directory, signal);
  const { submodules } = await readRecord(repository.commonDir, tip, signal);
  return { ref, tip, head: manifest.head, branch: manifest.branch, fingerprint: fingerprintOf(manifest, trees), submodules };
}

/** The state that a snapshot holds, through a shadow in `directory`, which is made anew. */
export async function readKept(repository: Repository, tip: ObjectId, directory: string, signal?: AbortSignal): Promise<{ manifest: Manifest; trees: Parameters<typeof fingerprintOf>[1] }> {
  await rm(directory, { recursive: true, force: true });
  const shadow = await createShadow(directory, {
    worktree: repository.root, objectFormat: repository.objectFormat, objects: [objectDirectory(repository)],
    settings: await readSettings(repository.root, signal), shallow: repository.shallow,
  });
  const [manifest] = await parentsOfTip(repository.commonDir, tip, signal);
  return readState(shadow, manifest, signal);
}

/** The snapshots of managed worktrees, and of what applies replaced, in a repository, oldest first. Other refs below `refs/baton/snapshots/` are not among them. */
export async function listSnapshots(commonDir: string, signal?: AbortSignal): Promise<KnownSnapshot[]> {
  const found: KnownSnapshot[] = [];
  for await (const line of lines(streamGit(['for-each-ref', '--format=%(objectname) %(refname)', PREFIX], inRepository(commonDir, signal)))) {
    const [tip = '', ref = ''] = line.split(' ');
    const [worktree, apply] = [OF_WORKTREE.exec(ref), OF_APPLY.exec(ref)];
    const stamp = STAMP.exec(worktree?.[2] ?? apply?.[2] ?? '');
    if (stamp === null) continue;
    const [, year, month, day, hour, minute, second, millisecond] = stamp;
    found.push({ ref, tip, worktreeId: worktree?.[1] ?? null, threadId: apply?.[1] ?? null, takenAt: new Date(`${year}-${month}-${day}T${hour}:${minute}:${second}.${millisecond}Z`) });
  }
  return found.sort((a, b) => a.takenAt.getTime() - b.takenAt.getTime());
}

/** The ids of the worktrees of which a repository has snapshots, whosever they are. */
export async function snapshotOwners(root: string, signal?: AbortSignal): Promise<string[]> {
  const refs = (await gitText(['for-each-ref', '--format=%(refname)', PREFIX], inRepository(root, signal))).split('\n');
  return refs.flatMap((ref) => OF_WORKTREE.exec(ref)?.[1] ?? []);
}

/**
 * Whether a snapshot is the only copy of something: of a commit, or of the content of a file, that nothing else in its repository
 * has. What only reflogs named does not count: git itself lets that go in time. In doubt it is.
 */
export async function isOnlyCopy(repository: Pick<Repository, 'commonDir'>, { ref, tip }: Pick<KnownSnapshot, 'ref' | 'tip'>, signal?: AbortSignal): Promise<boolean> {
  const { commonDir } = repository;
  if (OF_APPLY.test(ref)) return isOnlyHere(commonDir, { ref, manifest: tip }, [], signal);
  const isPartOnlyHere = async (at: string, part: { readonly ref: string; readonly tip: ObjectId }, record: SnapshotRecord) => {
    const [manifest] = await parentsOfTip(at, part.tip, signal);
    return isOnlyHere(at, { ref: part.ref, manifest }, ownCommits(record), signal);
  };
  const record = await readRecord(commonDir, tip, signal);
  if (await isPartOnlyHere(commonDir, { ref, tip }, record)) return true;
  for (const submodule of record.submodules) {
    for (const at of repositoriesOf(submodule)) if (await isPartOnlyHere(at, submodule, await readRecord(at, submodule.tip, signal))) return true;
  }
  return false;
}

function ownCommits({ refs }: SnapshotRecord): ObjectId[] {
  return refs.flatMap(([name, oid]) => (name.startsWith('refs/worktree/') ? [oid] : []));
}

/** Where a submodule's snapshot is: where its worktree was removed, and where it was not. */
function repositoriesOf({ repository, gitDir }: KeptSubmodule): string[] {
  return [...new Set([repository, gitDir])].filter((directory) => existsSync(directory) && isGitDirectory(directory));
}

/** Lets go of a snapshot, and with what an apply replaced of what came then; git's own garbage collection takes its objects later. */
export async function dropSnapshot(repository: Pick<Repository, 'commonDir'>, { ref, tip }: Pick<KnownSnapshot, 'ref' | 'tip'>): Promise<void> {
  const [, threadId, stamp, what] = OF_APPLY.exec(ref) ?? [];
  if (threadId !== undefined && stamp !== undefined) {
    const options = inRepository(repository.commonDir);
    await runGit(['update-ref', '-d', ref, tip], options);
    if (what === 'before') for (const passing of ['given', 'after'] as const) await runGit(['update-ref', '-d', applyRef(threadId, stamp, passing)], options);
    return;
  }
  // One that cannot be read any more has only itself to let go of.
  const { submodules } = await readRecord(repository.commonDir, tip).catch((): Pick<SnapshotRecord, 'submodules'> => ({ submodules: [] }));
  for (const submodule of submodules) for (const commonDir of repositoriesOf(submodule)) await dropPart(await openRepository(commonDir), submodule);
  await dropPart(repository, { ref, tip });
}

async function dropPart(repository: Pick<Repository, 'commonDir'>, { ref, tip }: Pick<KnownSnapshot, 'ref' | 'tip'>): Promise<void> {
  await runGit(['update-ref', '-d', ref, tip], inRepository(repository.commonDir));
  // Only now: a snapshot that could not be dropped still needs it.
  await dropLfs(repository, ref);
}
