import { copyFile, mkdir, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { runGit, type GitOptions } from './git';
import { inRepository } from './inRepository';
import type { ObjectFormat, ObjectId, Repository } from './repository';

/**
 * A Git directory of Baton's own that looks at somebody's working tree: its own index, config and objects, with the
 * repository's objects as alternate, and attributes that switch every conversion off, so that bytes are taken and put
 * as they are. Whatever runs in it leaves the repository alone, and no setting of the repository runs anything.
 */
export interface Shadow {
  readonly gitDir: string;
  readonly worktree: string;
  readonly objectFormat: ObjectFormat;
}

/** Settings of a repository that capture and restore must know. */
export interface RepositorySettings {
  /** Keys in lower case; the last value wins, as in git. */
  readonly values: ReadonlyMap<string, string>;
  readonly excludesFile: string | null;
}

/** Git's highest-ranking attributes: nothing a `.gitattributes` says converts a byte. */
const RAW_ATTRIBUTES = '* -text !eol -ident -filter !working-tree-encoding -crlf\n';

/** How the file system is looked at; taken over from the repository so that the shadow sees what the user's git sees. */
const takenOver = ['core.filemode', 'core.symlinks', 'core.ignorecase', 'core.precomposeunicode', 'core.protecthfs', 'core.protectntfs', 'core.trustctime', 'core.checkstat'];

/** @throws {GitError} when git cannot read the configuration */
export async function readSettings(directory: string, signal?: AbortSignal): Promise<RepositorySettings> {
  const values = await readConfig(directory, [], signal);
  const named = values.get('core.excludesfile');
  const excludesFile = named === undefined ? null : path.resolve(directory, named.replace(/^~(?=\/|$)/, os.homedir()));
  return { values, excludesFile };
}

/** All settings that git reads in a directory, or those of one file (`--file`). Keys in lower case; the last value wins. */
export async function readConfig(directory: string, where: readonly string[], signal?: AbortSignal): Promise<Map<string, string>> {
  const { stdout } = await runGit(['config', '-z', ...where, '--list'], inRepository(directory, signal));
  const values = new Map<string, string>();
  for (const record of stdout.toString('utf8').split('\0')) {
    const feed = record.indexOf('\n');
    if (record !== '') values.set(feed === -1 ? record : record.slice(0, feed), feed === -1 ? 'true' : record.slice(feed + 1));
  }
  return values;
}

/**
 * Makes a shadow in an empty or missing directory.
 *
 * @param objects object directories to read from
 * @param excludes the repository's `info/exclude`, when untracked files are to be told from ignored ones
 */
export async function createShadow(gitDir: string, options: {
  readonly worktree: string;
  readonly objectFormat: ObjectFormat;
  readonly objects: readonly string[];
  readonly settings: RepositorySettings;
  readonly shallow: readonly ObjectId[];
  readonly excludes?: string;
}): Promise<Shadow> {
  await Promise.all(['objects/info', 'objects/pack', 'refs', 'info'].map((name) => mkdir(path.join(gitDir, name), { recursive: true, mode: 0o700 })));
  await writeFile(path.join(gitDir, 'HEAD'), 'ref: refs/heads/baton-shadow\n');
  await writeFile(path.join(gitDir, 'config'), shadowConfig(options.objectFormat, options.settings));
  await writeFile(path.join(gitDir, 'info', 'attributes'), RAW_ATTRIBUTES);
  await writeFile(path.join(gitDir, 'objects', 'info', 'alternates'), options.objects.map((directory) => `${directory}\n`).join(''));
  const excludes = options.excludes === undefined ? null : await readFile(options.excludes).catch(() => null);
  if (excludes !== null) await writeFile(path.join(gitDir, 'info', 'exclude'), excludes);
  const shadow = { gitDir, worktree: options.worktree, objectFormat: options.objectFormat };
  await writeShallow(shadow, options.shallow);
  return shadow;
}

/** Makes history end at these commits for whoever looks through the shadow. */
export async function writeShallow(shadow: Shadow, commits: readonly ObjectId[]): Promise<void> {
  if (commits.length > 0) await writeFile(path.join(shadow.gitDir, 'shallow'), commits.map((oid) => `${oid}\n`).join(''));
  else await rm(path.join(shadow.gitDir, 'shallow'), { force: true });
}

function shadowConfig(objectFormat: ObjectFormat, settings: RepositorySettings): string {
  const lines = ['[core]', '\tbare = false', '\tautocrlf = false', '\tsafecrlf = false', '\tlogallrefupdates = false', '\tlooseCompression = 1', '\tuntrackedCache = false'];
  for (const key of takenOver) {
    const value = settings.values.get(key);
    if (value !== undefined) lines.push(`\t${key.slice('core.'.length)} = ${quoteValue(value)}`);
  }
  if (settings.excludesFile !== null) lines.push(`\texcludesFile = ${quoteValue(settings.excludesFile)}`);
  lines.push(objectFormat === 'sha256' ? '\trepositoryformatversion = 1\n[extensions]\n\tobjectFormat = sha256' : '\trepositoryformatversion = 0');
  return `${lines.join('\n')}\n`;
}

function quoteValue(value: string): string {
  return `"${value.replace(/["\\]/g, (character) => `\\${character}`).replaceAll('\n', '\\n')}"`;
}

/** Options for running git in a shadow, on the index of the given name in it. */
export function inShadow(shadow: Shadow, options: { readonly index?: string; readonly signal?: AbortSignal | undefined; readonly worktree?: string } = {}): GitOptions & { env: Record<string, string> } {
  const worktree = options.worktree ?? shadow.worktree;
  return {
    cwd: worktree,
    signal: options.signal,
    env: {
      GIT_DIR: shadow.gitDir,
      GIT_WORK_TREE: worktree,
      GIT_INDEX_FILE: path.resolve(shadow.gitDir, options.index ?? 'index'),
      GIT_CONFIG_GLOBAL: os.devNull,
      GIT_CONFIG_NOSYSTEM: '1',
      GIT_ATTR_NOSYSTEM: '1',
    },
  };
}

/** The object directory of a repository. */
export function objectDirectory(repository: Pick<Repository, 'commonDir'>): string {
  return path.join(repository.commonDir, 'objects');
}

/**
 * Copies an index. The copy's time is set back to a whole second that is not after the original's: git re-reads every
 * file that is as young as the index (gitformat-index(5), "racy git"), and a copy that looked younger would be believed.
 */
export async function copyIndex(from: string, to: string): Promise<void> {
  const { mtimeMs } = await stat(from);
  await copyFile(from, to);
  const seconds = Math.floor(mtimeMs / 1000);
  await utimes(to, seconds, seconds);
}

/**
 * Makes git believe the times in an index although the files are as young as the index itself, until the index is written
 * again. Only for an index whose files nobody else can have written since git noted their times, and never for one that
 * stays: its own time is its only protection against changes within the same second.
 */
export async function trustTimes(index: string): Promise<void> {
  await utimes(index, FAR_FUTURE, FAR_FUTURE);
}

/** 2100-01-01, in seconds. */
const FAR_FUTURE = 4_102_444_800;

/** Takes the index of a worktree, with the shared part of a split one, into the shadow. False where there is none yet. */
export async function adoptIndex(shadow: Shadow, gitDir: string): Promise<boolean> {
  const shared = (await readdir(gitDir)).filter((name) => /^sharedindex\.[0-9a-f]+$/.test(name));
  for (const name of shared) await copyFile(path.join(gitDir, name), path.join(shadow.gitDir, name));
  try {
    await copyIndex(path.join(gitDir, 'index'), path.join(shadow.gitDir, 'index'));
    // One file from here on, so that copies of it stand for themselves.
    if (shared.length > 0) await runGit(['update-index', '--no-split-index'], inShadow(shadow));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}
