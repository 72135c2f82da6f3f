import path from 'node:path';
import { absolutePath, pathsForPeople, type BytePath } from './bytePath';
import { carriedLfsPaths, carriedPaths } from './carriedPaths';
import { convertedPaths } from './conversion';
import { gitText, nulRecords, runGit, streamGit } from './git';
import { GitError } from './gitError';
import type { IndexFile } from './indexFile';
import type { IndexEntry } from './indexListing';
import { readLfsFiles, type LfsReading } from './lfsFiles';
import type { ObjectId, Repository } from './repository';
import { inShadow, type RepositorySettings, type Shadow } from './shadow';
import { sideBySide } from './sideBySide';
import { forkIndex, updateIndex } from './stateObjects';
import { listSpecial, listUntracked, settle, WorktreeLooker, type Sighting, type Untracked } from './worktreeScan';

/** The index of the shadow through which git looks at the working tree: as the user's, without the flags that hide changes. */
export const WORKTREE_INDEX = 'worktree.index';

/** A path whose content in the working tree is to be stored. */
export interface PathToStore {
  readonly path: BytePath;
  readonly mode: string;
  readonly sighting: Sighting;
  /** What the tree gets in the place of its bytes: the commit that a submodule is at, the pointer of an LFS file. Null for other files and links. */
  readonly object: ObjectId | null;
}

/** What of the working tree differs from the index, or may. */
export interface WorktreeReading {
  /** Tracked paths that differ from the index (or may, being unmerged), without those read for their conversion only. */
  readonly dirty: ReadonlySet<BytePath>;
  readonly untracked: readonly BytePath[];
  readonly nestedRepositories: readonly BytePath[];
  /** Files that the index lists, whose absence its `skip-worktree` flag explains. */
  readonly absent: ReadonlySet<BytePath>;
  readonly lfs: LfsReading;
  readonly special: readonly BytePath[];
  readonly store: readonly PathToStore[];
  readonly remove: readonly BytePath[];
  /** As git listed it, to be listed once more. `hidden` are directories that stand where the index has a file. */
  readonly listed: { readonly differing: readonly (readonly [BytePath, string])[]; readonly untracked: Untracked; readonly hidden: readonly BytePath[] };
}

/** So many entries of which git is not sure mean that the files were copied, touched or just written: it reads them once, here, and notes what it found. */
const STALE_LIMIT = 500;

/** Finds out what of the working tree has to be stored. Nothing is stored yet. */
export async function readWorktree(repository: Repository, settings: RepositorySettings, shadow: Shadow, listing: IndexFile, signal?: AbortSignal): Promise<WorktreeReading> {
  const looker = new WorktreeLooker(repository.root);
  const [atFirst, { absent, differing }, special] = await sideBySide(listUntracked(shadow, signal), compareTracked(shadow, listing, looker, signal), listSpecial(shadow, listing.directories, signal));
  const dirty = new Set([...differing.keys(), ...listing.unmerged.map((entry) => entry.path), ...listing.intentToAdd.map((entry) => entry.path)]);
  // Git does not name a directory that stands where the index has a file, only what is in it.
  const gitlinks = new Map<BytePath, IndexEntry>(listing.gitlinks.map((entry) => [entry.path, entry]));
  const seen = await looker.lookAll(dirty);
  const hidden = [...seen].flatMap(([name, { kind }]) => (kind === 'directory' && !gitlinks.has(name) ? [name] : []));
  const untracked = hidden.length > 0 ? await listUntracked(shadow, signal, 'everywhere') : atFirst;
  const files = [...new Set([...untracked.files, ...(await carriedPaths(repository.gitDir, looker))])];
  const converted = await convertedPaths(repository, settings, shadow, listing, dirty, files, signal);

  const lfsPaths = new Set([...converted.lfs, ...(await carriedLfsPaths(repository.gitDir))].filter((name) => !absent.has(name)));
  const lfsSeen = new Map([...seen, ...(await looker.lookAll([...lfsPaths].filter((name) => !seen.has(name))))]);
  // These are read here already.
  if (lfsPaths.size > 0) await settle([...lfsPaths].flatMap((name) => lfsSeen.get(name) ?? []));
  const lfs = await readLfsFiles(shadow, lfsPaths, listing.unmerged, dirty, lfsSeen, signal);
  const modes = await trustedModes(shadow, settings, signal);
  const store: PathToStore[] = [];
  const remove: BytePath[] = [];
  const others = await looker.lookAll(new Set([...converted.paths.filter((name) => !absent.has(name) && !lfsPaths.has(name)), ...lfs.raw, ...lfs.read.keys(), ...files].filter((name) => !seen.has(name))));
  for (const [name, sighting] of [...seen, ...others]) {
    const gitlink = gitlinks.get(name);
    if (sighting.kind === 'special') special.push(name);
    if (sighting.kind === 'directory' && gitlink !== undefined) store.push({ path: name, mode: '160000', sighting, object: (await submoduleHead(repository.root, name, signal)) ?? gitlink.oid });
    else if (sighting.kind === 'symlink') store.push({ path: name, mode: '120000', sighting, object: null });
    else if (sighting.kind === 'file') store.push({ path: name, mode: modes(name) ?? (sighting.executable ? '100755' : '100644'), sighting, object: lfs.read.get(name) ?? null });
    else remove.push(name);
  }
  return {
    dirty: new Set([...dirty].filter((name) => !lfs.read.has(name))), untracked: files, nestedRepositories: untracked.nestedRepositories, absent, lfs, special, store, remove,
    listed: { differing: [...differing], untracked, hidden },
  };
}

async function compareTracked(shadow: Shadow, listing: IndexFile, looker: WorktreeLooker, signal?: AbortSignal): Promise<{ absent: Set<BytePath>; differing: Map<BytePath, string> }> {
  await forkIndex(shadow, 'index', WORKTREE_INDEX);
  const absent = new Set<BytePath>();
  for (const flag of listing.flagged) if (flag.skipWorktree && (await looker.kind(flag.path)) === 'absent') absent.add(flag.path);
  const seen = listing.flagged.filter((flag) => !absent.has(flag.path)).map((flag) => flag.path);
  await updateIndex(shadow, WORKTREE_INDEX, ['--no-assume-unchanged'], listing.flagged.map((flag) => flag.path), signal);
  await updateIndex(shadow, WORKTREE_INDEX, ['--no-skip-worktree'], seen, signal);
  const refresh = () => runGit(['update-index', '-q', '--refresh'], { ...inShadow(shadow, { index: WORKTREE_INDEX, signal }), answers: [1] });
  if (listing.young >= STALE_LIMIT) await refresh();
  const differing = await differingFiles(shadow, signal);
  if (differing.size < STALE_LIMIT || listing.young >= STALE_LIMIT) return { absent, differing };
  await refresh();
  return { absent, differing: await differingFiles(shadow, signal) };
}

/** Tracked paths whose files are not those that the index knows, with the kind of difference. */
async function differingFiles(shadow: Shadow, signal?: AbortSignal): Promise<Map<BytePath, string>> {
  const found = new Map<BytePath, string>();
  const records = nulRecords(streamGit(['diff-files', '--name-status', '-z', '--no-renames', '--ignore-submodules=dirty'], inShadow(shadow, { index: WORKTREE_INDEX, signal })));
  for (;;) {
    const status = await records.next();
    const name = await records.next();
    if (status.done === true || name.done === true) return found;
    const file = name.value.toString('latin1');
    found.set(file, (found.get(file) ?? '') + status.value.toString('latin1'));
  }
}

/** Where the file system knows no executable bit, or no symbolic links, the index says what a file is. */
async function trustedModes(shadow: Shadow, settings: RepositorySettings, signal?: AbortSignal): Promise<(name: BytePath) => string | undefined> {
  const off = (key: string) => /^(false|no|off|0)$/i.test(settings.values.get(key) ?? 'true');
  const [noModes, noLinks] = [off('core.filemode'), off('core.symlinks')];
  if (!noModes && !noLinks) return () => undefined;
  const modes = new Map<BytePath, string>();
  for await (const record of nulRecords(streamGit(['ls-files', '-s', '-z'], inShadow(shadow, { signal })))) {
    const text = record.toString('latin1');
    modes.set(text.slice(text.indexOf('\t') + 1), text.slice(0, 6));
  }
  return (name) => {
    const mode = modes.get(name);
    if (noLinks && mode === '120000') return mode;
    return noModes ? (mode === '100755' ? mode : '100644') : undefined;
  };
}

/** Null where the directory holds no repository, or one without a commit. */
async function submoduleHead(root: string, name: BytePath, signal?: AbortSignal): Promise<ObjectId | null> {
  const directory = absolutePath(root, name).toString();
  const head = await gitText(['rev-parse', '-q', '--verify', 'HEAD^{commit}'], { cwd: directory, signal, env: { GIT_CEILING_DIRECTORIES: path.dirname(directory) }, answers: [1, 128] });
  return head === '' ? null : head;
}

/**
 * Looks at everything once more: git lists what it listed before, and each stored file is still the one that was read. Gives the paths that
 * are not as they were read. Where there is none, what was true both times was true in between, all of it at once.
 */
export async function changesSince(shadow: Shadow, read: WorktreeReading, signal?: AbortSignal): Promise<BytePath[]> {
  const [differing, untracked, sightings] = await sideBySide(
    differingFiles(shadow, signal), listUntracked(shadow, signal, read.listed.hidden.length > 0 ? 'everywhere' : 'below'),
    new WorktreeLooker(shadow.worktree).lookAll([...read.store.map((entry) => entry.path), ...read.remove]),
  );
  const moved = read.store.filter((entry) => sightings.get(entry.path)?.signature !== entry.sighting.signature).map((entry) => entry.path);
  const returned = read.remove.filter((name) => ['file', 'symlink'].includes(sightings.get(name)?.kind ?? ''));
  const tracked = [...differing].map(([name, how]) => `${how} ${name}`);
  const lists = (of: Untracked) => [...of.files, ...of.nestedRepositories, ...of.directories];
  return [...new Set([
    ...moved, ...returned,
    ...unlike(tracked, read.listed.differing.map(([name, how]) => `${how} ${name}`)).map((entry) => entry.slice(entry.indexOf(' ') + 1)),
    ...unlike(lists(untracked), lists(read.listed.untracked)),
  ])];
}

/** What only one of two lists has. */
function unlike(some: readonly string[], others: readonly string[]): string[] {
  const [one, other] = [new Set(some), new Set(others)];
  return [...some.filter((entry) => !other.has(entry)), ...others.filter((entry) => !one.has(entry))];
}

/** @throws {GitError} `changed-while-capturing` */
export async function expectUnchanged(shadow: Shadow, read: WorktreeReading, signal?: AbortSignal): Promise<void> {
  const changes = await changesSince(shadow, read, signal);
  if (changes.length > 0) throw changed(shadow.worktree, pathsForPeople(changes));
}

export function changed(root: string, what: string): GitError {
  return new GitError('changed-while-capturing', `${what} in ${root} changed while the working state was being read. Let other programs finish there, then try again.`);
}
