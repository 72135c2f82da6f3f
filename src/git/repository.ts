import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { simpleGit } from 'simple-git';
import { gitText, gitVersion } from './git';
import { GitError } from './gitError';
import { findHead, findLayout } from './repositoryFiles';
import { readRootRefs, type RefStorage } from './rootRefs';
import { readSettings, type RepositorySettings } from './shadow';
import { sideBySide } from './sideBySide';

/** Hexadecimal object name, 40 digits (sha1) or 64 (sha256). */
export type ObjectId = string;
export type ObjectFormat = 'sha1' | 'sha256';
export type Operation = 'merge' | 'rebase' | 'cherry-pick' | 'revert' | 'am' | 'bisect';

export interface Repository {
  /** Top level of the worktree, absolute, with symbolic links resolved. */
  readonly root: string;
  /** From the root to the directory that was asked about, with `/`; empty at the root. */
  readonly subdirectory: string;
  /** Of this worktree: `.git`, or `.git/worktrees/<name>` for a linked one. */
  readonly gitDir: string;
  readonly commonDir: string;
  readonly objectFormat: ObjectFormat;
  readonly refStorage: RefStorage;
  readonly head: ObjectId | null;
  /** Full name (`refs/heads/main`); null when detached. Set also when the branch is unborn. */
  readonly branch: string | null;
  readonly operation: Operation | null;
  readonly shallow: readonly ObjectId[];
  /** Objects may be missing here by agreement with a promisor remote (`--filter=…`). */
  readonly partial: boolean;
  readonly settings: RepositorySettings;
}

export interface RepositoryIdentity {
  readonly objectFormat: ObjectFormat;
  /** At most 64, sorted. Empty in a repository without commits, or a shallow one. */
  readonly rootCommits: ObjectId[];
  /** `host/path`, at most 64, sorted. */
  readonly remotes: string[];
}

const IDENTITY_LIMIT = 64;

/**
 * Where a directory's repository is, and what state HEAD is in. Reads only.
 *
 * @throws {GitError} `not-a-repository`; `unsupported-state` for a bare repository or a path with a line feed; `git-too-old` for
 *   a format that this git does not know
 */
export async function readRepository(directory: string, signal?: AbortSignal): Promise<Repository> {
  if (!existsSync(directory)) throw new GitError('not-a-repository', `There is no directory ${directory}.`);
  const [found, settings] = await sideBySide(findLayout(directory), readSettings(directory, signal));
  // Git gives a repository's own settings only where it takes the directory for one.
  const places = found !== null && isPlain(settings) ? { ...found, objectFormat: settings.values.get('extensions.objectformat') ?? 'sha1', subdirectory: '' } : await askForPlaces(directory, signal);
  const { root, gitDir, commonDir, objectFormat: format } = places;
  if (format !== 'sha1' && format !== 'sha256') throw new GitError('unsupported-state', `${root} uses the object format ${format}, which Baton does not know.`);
  const refStorage = readRefStorage(root, settings);
  if (settings.values.has('extensions.compatobjectformat')) throw new GitError('unsupported-state', `${root} keeps a second name for each object (extensions.compatObjectFormat), which Baton does not carry. Use a clone without it.`);
  return {
    root, gitDir, commonDir, objectFormat: format, refStorage, settings, ...(await readHead(places, signal)),
    subdirectory: places.subdirectory,
    operation: operationIn(gitDir, await readRootRefs({ root, refStorage }, signal)),
    shallow: await readShallow(commonDir),
    partial: isPartial(settings),
  };
}

/** How a repository keeps its refs. @throws {GitError} `unsupported-state` */
export function readRefStorage(root: string, { values }: RepositorySettings): RefStorage {
  const refStorage = values.get('extensions.refstorage') ?? 'files';
  if (refStorage !== 'files' && refStorage !== 'reftable') throw new GitError('unsupported-state', `${root} keeps its refs as ${JSON.stringify(refStorage)}, which Baton does not know.`);
  return refStorage;
}

/** Whether objects may be missing by agreement with a promisor remote. */
export function isPartial({ values }: RepositorySettings): boolean {
  return [...values.keys()].some((key) => /^(extensions\.partialclone|remote\..*\.promisor)$/s.test(key));
}

/** The settings of a repository whose files lie where they always do. */
function isPlain({ values }: RepositorySettings): boolean {
  const extensions = [...values.keys()].filter((key) => key.startsWith('extensions.'));
  return values.has('core.repositoryformatversion') && !values.has('core.worktree') && /^(false|no|off|0)?$/i.test(values.get('core.bare') ?? '')
    && extensions.every((key) => ['extensions.objectformat', 'extensions.worktreeconfig', 'extensions.partialclone', 'extensions.refstorage'].includes(key));
}

type Places = Pick<Repository, 'root' | 'gitDir' | 'commonDir' | 'subdirectory'> & { readonly objectFormat: string };

async function askForPlaces(directory: string, signal?: AbortSignal): Promise<Places> {
  const options = { cwd: directory, signal };
  const text = await gitText(['rev-parse', '--path-format=absolute', '--show-toplevel', '--absolute-git-dir', '--git-common-dir', '--show-object-format', '--show-prefix'], options).catch(async (error: unknown) => {
    if (GitError.is(error, 'git-too-old')) throw await unknownFormat(directory, error);
    if ((await gitText(['rev-parse', '--is-inside-work-tree'], options)) === 'true') throw error;
    throw new GitError('unsupported-state', `${directory} is not inside a working tree (a bare repository, or inside .git). Name a checkout.`);
  });
  const lines = text.split('\n');
  const [root, gitDir, commonDir, objectFormat = 'unknown', prefix = ''] = lines;
  if (root === undefined || gitDir === undefined || commonDir === undefined || lines.length > 5) {
    throw new GitError('unsupported-state', `The path of the repository at ${JSON.stringify(directory)} holds a line feed, which git cannot tell apart. Move it.`);
  }
  return { root, gitDir, commonDir, objectFormat, subdirectory: prefix.replace(/\/$/, '') };
}

/** A repository whose format this git is too old for (gitrepository-layout(5), "git repository format"), in words. */
async function unknownFormat(directory: string, error: GitError): Promise<GitError> {
  const extensions = [...new Set([...(error.details.stderr ?? '').matchAll(/^\t([\w.-]+)$/gm)].map(([, name]) => `extensions.${name ?? ''}`))];
  const what = extensions.length > 0 ? extensions.join(', ') : 'a later version of the repository format';
  return new GitError('git-too-old', `The repository at ${directory} uses ${what}, which git ${(await gitVersion()).text} does not know. Put the git that made it first on PATH, or use a clone without it.`, { cause: error });
}

/** What HEAD is at. */
export async function readHead(repository: Pick<Repository, 'root' | 'gitDir' | 'commonDir'>, signal?: AbortSignal): Promise<Pick<Repository, 'head' | 'branch'>> {
  const found = await findHead(repository);
  if (found !== null) return found;
  const options = { cwd: repository.root, signal };
  const [head, branch] = await sideBySide(
    gitText(['rev-parse', '-q', '--verify', 'HEAD^{commit}'], { ...options, answers: [1, 128] }),
    gitText(['symbolic-ref', '-q', 'HEAD'], { ...options, answers: [1] }),
  );
  return { head: head || null, branch: branch || null };
}

/** The operation that a worktree's Git directory and root refs say is under way, in the order in which `git status` looks. */
export function operationIn(gitDir: string, rootRefs: ReadonlyMap<string, ObjectId>): Operation | null {
  const has = (...parts: string[]) => existsSync(path.join(gitDir, ...parts)) || rootRefs.has(parts.join('/'));
  if (has('rebase-apply')) return has('rebase-apply', 'applying') ? 'am' : 'rebase';
  if (has('rebase-merge')) return 'rebase';
  if (has('MERGE_HEAD')) return 'merge';
  if (has('CHERRY_PICK_HEAD')) return 'cherry-pick';
  if (has('REVERT_HEAD')) return 'revert';
  // Between two picks of a sequence no *_HEAD is there, only the list of what is still to do.
  if (has('sequencer', 'todo')) return 'cherry-pick';
  if (has('BISECT_LOG')) return 'bisect';
  return null;
}

/** The commits at which the history of a shallow repository ends; none where it is complete. */
export async function readShallow(commonDir: string): Promise<ObjectId[]> {
  const text = await readFile(path.join(commonDir, 'shallow'), 'utf8').catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  });
  return text.split('\n').filter((line) => /^[0-9a-f]{40,64}$/.test(line));
}

/**
 * What makes two clones "the same repository": root commits first, remotes second.
 *
 * @throws {GitError} as {@link readRepository}
 */
export async function readRepositoryIdentity(root: string): Promise<RepositoryIdentity> {
  return identityOf(await readRepository(root));
}

/** {@link readRepositoryIdentity} of a repository that has just been read. */
export async function identityOf(repository: Repository): Promise<RepositoryIdentity> {
  const { root } = repository;
  const from = repository.head === null ? ['--branches', '--remotes'] : ['HEAD'];
  const [roots, remotes] = await Promise.all([
    gitText(['rev-list', '--max-parents=0', `--max-count=${IDENTITY_LIMIT}`, ...from], { cwd: root }),
    simpleGit({ baseDir: root }).getRemotes(true),
  ]);
  // At a shallow boundary a commit only looks like a root.
  const boundary = new Set(repository.shallow);
  const urls = remotes.flatMap((remote) => [remote.refs.fetch, remote.refs.push]).filter((url): url is string => typeof url === 'string' && url !== '');
  return {
    objectFormat: repository.objectFormat,
    rootCommits: roots.split('\n').filter((oid) => oid !== '' && !boundary.has(oid)).sort(),
    remotes: [...new Set(urls.map(normaliseRemote))].filter((remote): remote is string => remote !== null).sort().slice(0, IDENTITY_LIMIT),
  };
}

/**
 * `host/path` of a remote's URL, in lower-case host, without scheme, user, secret, port, trailing `/` or `.git`; a path on
 * this machine keeps its path with `localhost` as host. Null for what is no URL. (gitrevisions' spellings: git-clone(1), "GIT URLS")
 */
export function normaliseRemote(url: string): string | null {
  const tidy = (host: string, rest: string) => {
    const trimmed = rest.replace(/^\/+/, '').replace(/\/+$/, '').replace(/\.git$/i, '');
    return trimmed === '' || trimmed.length > 900 ? null : `${host.toLowerCase()}/${trimmed}`;
  };
  const withScheme = /^([a-z][a-z0-9+.-]*):\/\/(?:[^/@]*@)?(\[[^\]]*\]|[^/:]*)(?::\d*)?(\/.*)?$/i.exec(url);
  if (withScheme !== null) return tidy(withScheme[1]?.toLowerCase() === 'file' ? 'localhost' : (withScheme[2] ?? ''), withScheme[3] ?? '');
  if (path.isAbsolute(url)) return tidy('localhost', url.replaceAll('\\', '/'));
  const scpLike = /^(?:[^/@:]*@)?([^/:@]+):(.+)$/.exec(url);
  return scpLike === null ? null : tidy(scpLike[1] ?? '', scpLike[2] ?? '');
}

/** Same object format, and a root commit in common; where either side knows no root (shallow, no commits), a remote in common. */
export function sameRepository(a: RepositoryIdentity, b: RepositoryIdentity): boolean {
  if (a.objectFormat !== b.objectFormat) return false;
  if (a.rootCommits.length > 0 && b.rootCommits.length > 0) return a.rootCommits.some((oid) => b.rootCommits.includes(oid));
  return a.remotes.some((remote) => b.remotes.includes(remote));
}
