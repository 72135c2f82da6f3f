import { constants, type BigIntStats } from 'node:fs';
import { link, lstat, open, readlink, rename, symlink, unlink } from 'node:fs/promises';
import { AsideRoom, type Exchange, type ExchangePlan, type Side } from './asideRoom';
import { absolutePath, pathForPeople, pathsForPeople, sortedPaths, type BytePath } from './bytePath';
import { DirectoryTrail, NoDirectory, within, type Place } from './directoryTrail';
import { GitError } from './gitError';
import type { Repository } from './repository';
import { placeInTree } from './sameDirectory';
import { inGroups } from './sideBySide';
import { isAbsent, makeDirectory, removeEmpty, unlessAbsent } from './worktreeDirectories';
import { settle, sightingOf, WorktreeLooker } from './worktreeScan';

type Worktree = Pick<Repository, 'root' | 'gitDir'>;

export interface ExchangeWish {
  /** Identities (`Sighting.identity`, settled) of the files that go, or give way to another. */
  readonly going: ReadonlyMap<BytePath, string>;
  /** Files that come: they lie in the room's `staging`. */
  readonly coming: ReadonlySet<BytePath>;
  /** Directories that are there now, to be there again if all is put back. */
  readonly directories: readonly BytePath[];
  /** Removes and makes what is no file, between the moves out and those in. */
  readonly between: () => Promise<void>;
}

/** Files of one directory that are worked on side by side. */
const AT_ONCE = 16;

/** What keeps an exchange from going on: another program, or, with a cause, the file system. */
class Hindered extends Error {
  constructor(readonly path: BytePath, cause?: unknown) {
    super(`${path} is hindered`, { cause });
  }
}

/**
 * Takes files out of a worktree and puts others in, without ever destroying what another program has written there meanwhile: what
 * goes is moved aside and must then be what was expected; what comes is created where nothing is. What was moved aside stays until
 * {@link letGoOfAside}. A failure puts all back at once, a crash {@link putBackAside}.
 *
 * @param room made, with the files that come in it
 * @returns of each file that came what the file system says of it, where that vouches for its content
 * @throws {GitError} `worktree-diverged` where another program wrote, `disk-full`, `failed`; `details.filesAsBefore` where nothing of the exchange is left
 */
export async function exchangeFiles(worktree: Worktree, room: AsideRoom, wish: ExchangeWish): Promise<ReadonlyMap<BytePath, BigIntStats>> {
  const staged = await new WorktreeLooker(room.staging).lookAll(wish.coming);
  for (const [name, { kind }] of staged) if (kind === 'absent') throw new GitError('failed', `git did not write ${pathForPeople(name)} into ${room.staging}.`, { filesAsBefore: true });
  // Whatever writes into one of them from now on gives it another time.
  await settle(staged.values());
  const exchanges = sortedPaths(new Set([...wish.going.keys(), ...wish.coming])).map((path): Exchange => ({ path, old: wish.going.get(path) ?? null, new: staged.get(path)?.identity ?? null }));
  await room.writePlan({ version: 1, exchanges, directories: [...wish.directories] });
  try {
    await moveOut(worktree.root, room, exchanges);
    await wish.between();
    return await moveIn(worktree.root, room, exchanges);
  } catch (error) {
    throw await afterFailure(worktree, room, error);
  }
}

async function moveOut(root: string, room: AsideRoom, exchanges: readonly Exchange[]): Promise<void> {
  await inEachDirectory(root, exchanges, ({ old }) => old !== null, existing, async ({ exchange, position, name }, parent) => {
    if (parent === null || (await identityOf(within(parent, name))) !== exchange.old) throw new Hindered(exchange.path);
    const aside = await room.take('old', position, exchange.path, within(parent, name));
    // Between the look and the move it can have become another.
    if ((await identityOf(aside)) !== exchange.old) throw new Hindered(exchange.path);
  });
  for (const directory of directoriesOf(exchanges.filter((exchange) => exchange.new === null))) await removeEmpty(root, directory);
}

async function moveIn(root: string, room: AsideRoom, exchanges: readonly Exchange[]): Promise<ReadonlyMap<BytePath, BigIntStats>> {
  const vouched = new Map<BytePath, BigIntStats>();
  await inEachDirectory(root, exchanges, (exchange) => exchange.new !== null, made, async ({ exchange, name }, parent) => {
    if (parent === null) throw new Hindered(exchange.path);
    const [staged, target] = [absolutePath(room.staging, exchange.path), within(parent, name)];
    const identity = await create(staged, target).catch((error: unknown) => { throw codeOf(error) === 'EEXIST' ? new Hindered(exchange.path) : error; });
    if (identity === exchange.new) await unlink(staged);
    const found = await lstat(target, { bigint: true });
    if (identity !== null && sightingOf(found).identity !== identity) throw new Hindered(exchange.path);
    if (identity !== null) vouched.set(exchange.path, found);
  });
  return vouched;
}

/** Makes a file where nothing is. @returns its identity; null of a symbolic link @throws `EEXIST`, the file system's own errors */
async function create(source: Place, target: Place): Promise<string | null> {
  const found = await lstat(source, { bigint: true });
  // Not every system links a symbolic link itself.
  if (found.isSymbolicLink()) {
    await symlink(await readlink(source, { encoding: 'buffer' }), target);
    return null;
  }
  const linked = await link(source, target).then(() => true, (error: unknown) => {
    if (codeOf(error) === 'EEXIST') throw error;
    return false;
  });
  // Another mount, or a file system without links; if there is another reason, the copy meets it too.
  return linked ? sightingOf(found).identity : copy(source, target, found);
}

async function copy(source: Place, target: Place, { mode, mtimeMs }: BigIntStats): Promise<string> {
  const [from, to] = [await open(source), await open(target, 'wx', Number(mode) & 0o777)];
  try {
    for await (const chunk of from.createReadStream({ autoClose: false })) await to.writeFile(chunk as Buffer);
    // Older than whatever is written from now on.
    await to.utimes(Number(mtimeMs) / 1000, Number(mtimeMs) / 1000);
    return sightingOf(await to.stat({ bigint: true })).identity;
  } catch (error) {
    // A part of a file is nobody's, unless another has taken its name by now.
    if ((await lstat(target, { bigint: true })).ino === (await to.stat({ bigint: true })).ino) await unlink(target);
    throw error;
  } finally {
    await Promise.all([from.close(), to.close()]);
  }
}

/** What became of an exchange that was taken back. */
export interface PutBack {
  /** Nothing of it is left: each file is the one that was there before, or what another program has made of it. */
  readonly whole: boolean;
  /** Files that are back, as another program has written them meanwhile. */
  readonly own: readonly BytePath[];
  /** Files that another program wrote and whose place has been taken by another one: they lie beside it, under these names. */
  readonly kept: readonly BytePath[];
}

/** Takes back what {@link exchangeFiles} did, as far as it came and is not let go of yet. Idempotent. */
export async function putBackAside(worktree: Worktree): Promise<PutBack> {
  const { root } = worktree;
  const room = await AsideRoom.of(worktree);
  const plan = await room.readPlan();
  const own: BytePath[] = [];
  const kept: BytePath[] = [];
  let whole = true;
  if (plan === null) {
    await room.remove();
    return { whole, own, kept };
  }
  await inEachDirectory(root, plan.exchanges, (exchange) => exchange.new !== null, existing, async ({ exchange, position, name }, parent) => {
    if (parent === null || (exchange.old !== null && (await room.find('old', position, exchange.path)) === null)) return;
    const target = within(parent, name);
    const identity = await identityOf(target);
    if (!(await isWhatCame(target, room, exchange))) return;
    const taken = await room.take('out', position, exchange.path, target);
    if ((await identityOf(taken)) !== identity && !(await moveBack(taken, target))) kept.push(await keepBeside(root, exchange.path, taken));
  });
  for (const directory of directoriesOf(plan.exchanges.filter((exchange) => exchange.new !== null))) await removeEmpty(root, directory).catch(() => undefined);
  // What stands in the way of a directory stands in the way of the files, too.
  for (const directory of plan.directories) await makeDirectory(root, directory).catch(() => undefined);
  await inEachDirectory(root, plan.exchanges, ({ old }) => old !== null, existing, async ({ exchange, position, name }, before) => {
    const aside = await room.find('old', position, exchange.path);
    if (aside === null) return;
    const isChanged = (await identityOf(aside)) !== exchange.old;
    const directory = placeInTree(exchange.path).directory;
    const target = before === null ? absolutePath(root, exchange.path) : within(before, name);
    const isBack = (before !== null || (await makeDirectory(root, directory).then(() => true, () => false))) && (await moveBack(aside, target));
    if (isBack && isChanged) own.push(exchange.path);
    if (isBack) return;
    // Written over the new content; or somebody's own file in place of the old, as if this had not been.
    if (inodeOf(await identityOf(target)) === inodeOf(exchange.new)) whole = false;
    if (isChanged) kept.push(await keepBeside(root, exchange.path, aside));
  });
  kept.push(...(await keepWritten(root, room, plan, 'out')));
  await room.remove();
  return { whole, own, kept };
}

/**
 * Lets go of the files that were moved aside: nothing puts them back any more.
 *
 * @param how what happens with files that another program, which had them open, has written meanwhile: `refuse`, so that all can be put
 *   back, or `keep` them beside their places
 * @throws {GitError} `worktree-diverged`
 */
export async function letGoOfAside(worktree: Worktree, how: 'refuse' | 'keep'): Promise<void> {
  const room = await AsideRoom.of(worktree);
  const plan = await room.readPlan();
  if (plan === null) return room.remove();
  const written = how === 'keep' ? [] : await writtenAside(room, plan, 'old');
  if (written.length > 0) throw new GitError('worktree-diverged', `Another program wrote ${pathsForPeople(written)} in ${worktree.root} while ${written.length === 1 ? 'it was' : 'they were'} being replaced. Let it finish there, then try again.`);
  await keepWritten(worktree.root, room, plan, 'old');
  await room.remove();
}

/** Files in the room that are not what they were when they came there. */
async function writtenAside(room: AsideRoom, plan: ExchangePlan, side: Side, act: (exchange: Exchange, aside: Place) => Promise<void> = () => Promise.resolve()): Promise<BytePath[]> {
  const written: BytePath[] = [];
  await inGroups(AT_ONCE, [...plan.exchanges.entries()], async ([position, exchange]) => {
    const aside = await room.find(side, position, exchange.path);
    if (aside === null || (side === 'old' ? (await identityOf(aside)) === exchange.old : await isWhatCame(aside, room, exchange))) return;
    written.push(exchange.path);
    await act(exchange, aside);
  });
  return written;
}

async function keepWritten(root: string, room: AsideRoom, plan: ExchangePlan, side: Side): Promise<BytePath[]> {
  const kept: BytePath[] = [];
  await writtenAside(room, plan, side, async (exchange, aside) => { kept.push(await keepBeside(root, exchange.path, aside)); });
  return kept;
}

/** Whether a file is the one that the exchange brought, or the beginning of it that was written before a crash. */
async function isWhatCame(file: Place, room: AsideRoom, exchange: Exchange): Promise<boolean> {
  const found = await lstat(file, { bigint: true }).catch(unlessAbsent);
  if (found === null || found.isDirectory()) return false;
  if (sightingOf(found).identity === exchange.new) return true;
  const staged = absolutePath(room.staging, exchange.path);
  const source = await lstat(staged).catch(unlessAbsent);
  if (source?.isSymbolicLink() !== found.isSymbolicLink()) return false;
  if (found.isSymbolicLink()) return (await readlink(staged, { encoding: 'buffer' })).equals(await readlink(file, { encoding: 'buffer' }));
  return found.isFile() && beginsWith(staged, file).catch(() => false);
}

async function beginsWith(whole: Place, beginning: Place): Promise<boolean> {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW;
  const [a, b] = await Promise.all([open(whole, flags), open(beginning, flags)]);
  try {
    for (let position = 0; ; ) {
      const [has, found] = await Promise.all([a, b].map((handle) => handle.read(Buffer.allocUnsafe(1 << 20), 0, 1 << 20, position)));
      if (has === undefined || found === undefined || found.bytesRead === 0) return true;
      if (!found.buffer.subarray(0, found.bytesRead).equals(has.buffer.subarray(0, found.bytesRead))) return false;
      position += found.bytesRead;
    }
  } finally {
    await Promise.all([a.close(), b.close()]);
  }
}

/** Moves a file to a place where nothing is. False where something is. */
async function moveBack(aside: Place, target: Place): Promise<boolean> {
  try {
    if (!(await lstat(aside)).isFile()) throw new Error('only files are linked');
    await link(aside, target);
    await unlink(aside);
    return true;
  } catch {
    if ((await lstat(target).catch(unlessAbsent)) !== null) return false;
    await rename(aside, target);
    return true;
  }
}

/** Puts a file that somebody wrote beside what has taken its place, or as near as there are directories. @returns its path */
async function keepBeside(root: string, name: BytePath, aside: Place): Promise<BytePath> {
  const { directory, file } = placeInTree(name);
  let above = directory;
  while (above !== '' && !(await makeDirectory(root, above).then(() => true, () => false))) above = placeInTree(above).directory;
  for (let nth = 1; ; nth++) {
    const beside = `${above === '' ? '' : `${above}/`}${file}.kept-by-baton${nth === 1 ? '' : `-${nth}`}`;
    if (await moveBack(aside, absolutePath(root, beside))) return beside;
  }
}

async function afterFailure(worktree: Worktree, room: AsideRoom, error: unknown): Promise<GitError> {
  const said = describe(worktree.root, error);
  try {
    const { whole, kept } = await putBackAside(worktree);
    const beside = kept.length === 0 ? '' : ` What it wrote is in ${pathsForPeople(kept)}.`;
    return new GitError(said.reason, `${said.message}${beside} ${said.wayOut}`.trim(), { cause: error, filesAsBefore: whole });
  } catch (cause) {
    return new GitError('failed', `${said.message} And not all could be put back yet: ${(cause as Error).message}. What is not lies in ${room.directory}. ${said.wayOut}`, { cause });
  }
}

function describe(root: string, error: unknown): { readonly reason: 'worktree-diverged' | 'disk-full' | 'failed'; readonly message: string; readonly wayOut: string } {
  if (error instanceof GitError) return { reason: error.reason === 'worktree-diverged' || error.reason === 'disk-full' ? error.reason : 'failed', message: error.message, wayOut: '' };
  const where = error instanceof Hindered ? `${pathForPeople(error.path)} in ${root}` : root;
  if (error instanceof Hindered && error.cause === undefined) return { reason: 'worktree-diverged', message: `Another program wrote ${where} while it was being replaced, and its file stays.`, wayOut: 'Let it finish there, then try again.' };
  const cause = (error instanceof Hindered ? error.cause : error) as NodeJS.ErrnoException;
  // What follows names places that nobody knows.
  const why = cause.message.replace(/, [a-z]+ '[^]*$/, '');
  const isFull = cause.code === 'ENOSPC' || cause.code === 'EDQUOT';
  return { reason: isFull ? 'disk-full' : 'failed', message: `${where} could not be replaced: ${why}.`, wayOut: isFull ? 'Free some space there, then try again.' : 'Mend that, then try again.' };
}

interface Step {
  readonly exchange: Exchange;
  readonly position: number;
  /** In its directory. */
  readonly name: BytePath;
}

function directoriesOf(exchanges: readonly Exchange[]): Set<BytePath> {
  return new Set(exchanges.map((exchange) => placeInTree(exchange.path).directory));
}

/** Goes through files directory by directory; ends what it has begun before it fails. */
async function inEachDirectory(root: string, exchanges: readonly Exchange[], which: (exchange: Exchange) => boolean, enter: (trail: DirectoryTrail, root: string, directory: BytePath) => Promise<Place | null>, act: (step: Step, parent: Place | null) => Promise<void>): Promise<void> {
  const directories = new Map<BytePath, Step[]>();
  for (const [position, exchange] of exchanges.entries()) {
    if (!which(exchange)) continue;
    const { directory, file } = placeInTree(exchange.path);
    const steps = directories.get(directory) ?? [];
    directories.set(directory, steps);
    steps.push({ exchange, position, name: file });
  }
  const trail = await DirectoryTrail.at(root);
  try {
    for (const [directory, steps] of directories) {
      const hindered = (error: unknown) => { throw error instanceof Hindered ? error : new Hindered(steps[0]?.exchange.path ?? directory, error); };
      const parent = await enter(trail, root, directory).catch(hindered);
      await inGroups(AT_ONCE, steps, async (step) => act(step, parent).catch((error: unknown) => { throw error instanceof Hindered ? error : new Hindered(step.exchange.path, error); }));
    }
  } finally {
    await trail.close();
  }
}

/** A directory; null where there is none, or something else. */
async function existing(trail: DirectoryTrail, _root: string, directory: BytePath): Promise<Place | null> {
  return trail.enter(directory).catch((error: unknown) => {
    if (error instanceof NoDirectory || isAbsent(error)) return null;
    throw error;
  });
}

/** A directory, made where there is none. */
async function made(trail: DirectoryTrail, root: string, directory: BytePath): Promise<Place | null> {
  const there = await existing(trail, root, directory);
  if (there !== null) return there;
  await makeDirectory(root, directory);
  return existing(trail, root, directory);
}

async function identityOf(place: Place): Promise<string> {
  const found = await lstat(place, { bigint: true }).catch(unlessAbsent);
  return found === null ? 'absent' : sightingOf(found).identity;
}

function inodeOf(identity: string | null): string | undefined {
  return identity?.split(' ').at(-1);
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}
