import { lstat, readdir } from 'node:fs/promises';
import path from 'node:path';
import { absolutePath, childPath, pathForPeople, type BytePath } from './bytePath';
import { carriedPaths } from './carriedPaths';
import { gitText, nulRecords, streamGit } from './git';
import { GitError } from './gitError';
import { digestOf, diskUsage, readIgnored, type IgnoredFiles } from './ignoredFiles';
import { operationIn, readRepository, type ObjectId, type Operation, type Repository } from './repository';
import { findHead, findLayout } from './repositoryFiles';
import { isPlace, placeIn } from './submodules';
import { locateWorktree, lockReason, type Whereabouts } from './worktreeEntry';
import { WorktreeLooker } from './worktreeScan';

/** What a worktree is at, as git and the file system say it. */
export interface WorktreeStanding {
  readonly gitDir: string;
  readonly commonDir: string;
  readonly head: ObjectId | null;
  /** Short name; null when detached. */
  readonly branch: string | null;
  /** Paths, by kind of change; an untracked directory counts once. */
  readonly changes: { readonly staged: number; readonly unstaged: number; readonly untracked: number; readonly unmerged: number };
  readonly operation: Operation | null;
  /** Why somebody locked it (`git worktree lock`), empty where none was said; null where nobody did. */
  readonly locked: string | null;
  /** Commits of HEAD that no remote-tracking branch, tag or other branch has; at most {@link UNPUSHED_LIMIT}. */
  readonly unpushed: number;
  readonly ignored: IgnoredFiles;
  /** The populated submodules that `.gitmodules` names, at any depth, parents first. All of the above is of them too. */
  readonly submodules: readonly BytePath[];
  /** Untracked repositories in it, which no snapshot keeps. At most a few. */
  readonly repositoriesWithin: readonly string[];
  /** The latest time that its own files tell of. */
  readonly touchedAt: Date;
}

export interface WorktreeFacts {
  readonly path: string;
  readonly whereabouts: Whereabouts;
  /** Null where it is not at its place, or git cannot read it. */
  readonly standing: WorktreeStanding | null;
  /** Why git cannot read it. */
  readonly unreadable: string | null;
  /** Bytes on disk; null where that was not asked. */
  readonly bytes: number | null;
}

export const UNPUSHED_LIMIT = 1_000;
/** Changed and untracked files whose times are looked at; with more, those of git's own files and of directories tell the rest. */
const TIMES_LOOKED_AT = 5_000;

/** What is known of the worktree that should be at `path`. Reads only; never throws for the state that a worktree is in. */
export async function inspectWorktree(options: {
  readonly path: string;
  /** Its entry, as it was last seen. */
  readonly gitDir: string | null;
  readonly base: string;
  /** The user's own checkout of the repository. */
  readonly checkout: string;
  readonly sizes: boolean;
}): Promise<WorktreeFacts> {
  const whereabouts = await locateWorktree(options.path, options.gitDir, options.base);
  const bytes = options.sizes && whereabouts.is !== 'gone' ? await diskUsage(whereabouts.is === 'moved' ? whereabouts.to : options.path) : null;
  const facts = { path: options.path, whereabouts, bytes };
  if (whereabouts.is !== 'here') return { ...facts, standing: null, unreadable: null };
  try {
    return { ...facts, standing: await readStanding(options.path, whereabouts.gitDir, options.checkout), unreadable: null };
  } catch (error) {
    return { ...facts, standing: null, unreadable: error instanceof Error ? error.message : String(error) };
  }
}

/** @throws {GitError} what git says of a worktree that it cannot read */
export async function readStanding(root: string, gitDir: string, checkout: string): Promise<WorktreeStanding> {
  const standing = { ...(await readPart(root, gitDir, checkout)), submodules: [] as BytePath[] };
  // One after the other: the worktrees of a host are looked at side by side.
  for (const place of await populatedSubmodules(root)) {
    const directory = placeIn(root, place);
    const part = await readStanding(directory, (await readRepository(directory)).gitDir, placeIn(checkout, place));
    const below = (name: BytePath): BytePath => `${place}/${name}`;
    standing.submodules.push(place, ...part.submodules.map(below));
    standing.operation ??= part.operation;
    standing.locked ??= part.locked;
    standing.unpushed += part.unpushed;
    standing.changes = sumOf(standing.changes, part.changes);
    const [mine, its] = [standing.ignored, part.ignored];
    standing.ignored = {
      rebuilt: [...mine.rebuilt, ...its.rebuilt.map(below)], copies: mine.copies + its.copies,
      own: { count: mine.own.count + its.own.count, bytes: mine.own.bytes + its.own.bytes, names: [...mine.own.names, ...its.own.names.map(below)], digest: digestOf([mine.own.digest, place, its.own.digest]) },
    };
    standing.repositoriesWithin = [...standing.repositoriesWithin, ...part.repositoriesWithin];
    if (part.touchedAt > standing.touchedAt) standing.touchedAt = part.touchedAt;
  }
  return standing;
}

function sumOf(a: WorktreeStanding['changes'], b: WorktreeStanding['changes']): WorktreeStanding['changes'] {
  return { staged: a.staged + b.staged, unstaged: a.unstaged + b.unstaged, untracked: a.untracked + b.untracked, unmerged: a.unmerged + b.unmerged };
}

type Part = { -readonly [K in keyof Omit<WorktreeStanding, 'submodules'>]: WorktreeStanding[K] };

/** What {@link readStanding} gives, without submodules. */
async function readPart(root: string, gitDir: string, checkout: string): Promise<Part> {
  const [{ commonDir, operation }, status, locked] = await Promise.all([
    readPlace(root), readStatus(root), lockReason(gitDir),
  ]);
  const [unpushed, carried] = await Promise.all([
    status.head === null ? 0 : countUnpushed(root, status.branch),
    carriedPaths(gitDir, new WorktreeLooker(root)),
  ]);
  const nested: string[] = [];
  for (const name of status.untracked) if (name.endsWith('/') && (await exists(root, `${name}.git`))) nested.push(pathForPeople(name));
  return {
    gitDir, commonDir, locked, unpushed,
    head: status.head, branch: status.branch, changes: { ...status.counts, untracked: status.untracked.length },
    operation,
    ignored: await readIgnored(root, status.ignored, checkout, new Set(carried)),
    repositoriesWithin: nested.slice(0, 5),
    touchedAt: await latestTime([root, ...['index', 'HEAD', 'logs/HEAD'].map((name) => path.join(gitDir, name)), ...(await withFilesBelow(root, [...status.changed, ...status.untracked])).map((name) => absolutePath(root, name.replace(/\/$/, '')))]),
  };
}

/** What of {@link readRepository} an inventory needs, without a process where files tell it: with fifty worktrees that is half of all. */
async function readPlace(root: string): Promise<Pick<Repository, 'commonDir' | 'operation'>> {
  const layout = await findLayout(root);
  // A reftable, which may hold what tells of an operation, is none of what can be found like that.
  return layout === null || (await findHead(layout)) === null ? readRepository(root) : { commonDir: layout.commonDir, operation: operationIn(layout.gitDir, new Map()) };
}

/** Submodules that have a repository here. A worktree without `.gitmodules` is not searched for them; a snapshot would find them all the same. */
async function populatedSubmodules(root: string): Promise<BytePath[]> {
  if (!(await exists(root, '.gitmodules'))) return [];
  const found = new Set<BytePath>();
  for await (const record of nulRecords(streamGit(['ls-files', '-s', '-z'], { cwd: root }))) {
    const entry = record.toString('latin1');
    const name = entry.slice(entry.indexOf('\t') + 1);
    if (entry.startsWith('160000 ') && isPlace(name) && (await exists(root, `${name}/.git`))) found.add(name);
  }
  return [...found];
}

interface Status {
  readonly head: ObjectId | null;
  readonly branch: string | null;
  readonly counts: { staged: number; unstaged: number; unmerged: number };
  readonly changed: readonly BytePath[];
  readonly untracked: readonly BytePath[];
  readonly ignored: readonly BytePath[];
}

/** `git status --porcelain=v2 -z` (git-status(1)). */
async function readStatus(root: string): Promise<Status> {
  const counts = { staged: 0, unstaged: 0, unmerged: 0 };
  const [changed, untracked, ignored]: [BytePath[], BytePath[], BytePath[]] = [[], [], []];
  let head: ObjectId | null = null;
  let branch: string | null = null;
  const args = ['status', '--porcelain=v2', '--branch', '-z', '--no-renames', '--untracked-files=normal', '--ignored=traditional', '--ignore-submodules=dirty'];
  for await (const record of nulRecords(streamGit(args, { cwd: root }))) {
    const text = record.toString('latin1');
    const rest = text.slice(2);
    if (text.startsWith('# branch.oid ')) head = text.endsWith('(initial)') ? null : text.slice('# branch.oid '.length);
    else if (text.startsWith('# branch.head ')) branch = text.endsWith(' (detached)') ? null : record.toString('utf8').slice('# branch.head '.length);
    else if (text.startsWith('? ')) untracked.push(rest);
    else if (text.startsWith('! ')) ignored.push(rest);
    else if (text.startsWith('1 ') || text.startsWith('u ')) {
      // `1 XY sub mH mI mW hH hI path`; an unmerged one has two fields more.
      if (text.startsWith('u ')) counts.unmerged++;
      else {
        if (text[2] !== '.') counts.staged++;
        if (text[3] !== '.') counts.unstaged++;
      }
      changed.push(text.split(' ').slice(text.startsWith('u ') ? 10 : 8).join(' '));
    }
  }
  return { head, branch, counts, changed, untracked, ignored };
}

async function countUnpushed(root: string, branch: string | null): Promise<number> {
  const others = [...(branch === null ? [] : [`--exclude=${branch}`]), '--branches', '--tags', '--remotes'];
  return Number(await gitText(['rev-list', '--count', `--max-count=${UNPUSHED_LIMIT}`, 'HEAD', '--not', ...others], { cwd: root }));
}

/** Some paths, and what is in those that end in a slash; at most {@link TIMES_LOOKED_AT}. */
async function withFilesBelow(root: string, names: readonly BytePath[]): Promise<BytePath[]> {
  const found = [...names];
  for (const name of found) {
    if (found.length >= TIMES_LOOKED_AT) break;
    if (!name.endsWith('/')) continue;
    const directory = name.slice(0, -1);
    for (const entry of await readdir(absolutePath(root, directory), { encoding: 'buffer', withFileTypes: true }).catch(() => [])) found.push(`${childPath(directory, entry.name)}${entry.isDirectory() ? '/' : ''}`);
  }
  return found.slice(0, TIMES_LOOKED_AT);
}

async function latestTime(files: readonly (string | Buffer)[]): Promise<Date> {
  const times = await Promise.all(files.map((file) => lstat(file).then(({ mtimeMs }) => mtimeMs, () => 0)));
  return new Date(Math.max(0, ...times));
}

async function exists(root: string, name: BytePath): Promise<boolean> {
  return lstat(absolutePath(root, name)).then(() => true, () => false);
}

/** Fails where a worktree is not at its place. @throws {GitError} `not-managed` */
export function expectHere(facts: WorktreeFacts): WorktreeStanding {
  if (facts.standing !== null) return facts.standing;
  throw new GitError('not-managed', `${facts.path} is not a worktree that git can read here: ${facts.unreadable ?? facts.whereabouts.is}.`);
}
