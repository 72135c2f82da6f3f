import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, copyFileSync, existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createBundle } from '../../src/git/bundle';
import type { CapturedState } from '../../src/git/capture';
import { captureCheckout } from '../../src/git/captureCheckout';
import { agreeOnHaves, reachableAmong } from '../../src/git/haves';
import { openRepository } from '../../src/git/gitDirectory';
import { lackingAmong } from '../../src/git/partialClone';
import { holdsLfsObjects, listLfsObjects, sealLfsObject } from '../../src/git/lfsTransfer';
import type { QuarantinedState } from '../../src/git/quarantine';
import { receiveCheckout } from '../../src/git/receiveCheckout';
import { finishRestore, restoreWorkingState, type RestoredState, type SubmoduleToRestore } from '../../src/git/restore';
import { announceSubmodule, findSubmodulePlaces, holdingsOf } from '../../src/git/submodulePlaces';
import { observeGitDirectory } from './gitDirectory';

export const THREAD = '019a1b2c-3d4e-7f00-8000-0123456789ab';

/** What git runs with here, whoever runs these tests. */
export const gitEnvironment = {
  PATH: process.env['PATH'], HOME: os.tmpdir(), LC_ALL: 'C', GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1', GIT_TERMINAL_PROMPT: '0', GIT_EDITOR: ':',
  GIT_AUTHOR_NAME: 'A', GIT_AUTHOR_EMAIL: 'a@example.org', GIT_COMMITTER_NAME: 'A', GIT_COMMITTER_EMAIL: 'a@example.org',
};

/** Plain git, as a person would run it. `LAX` commands may fail (a merge that conflicts). */
export function git(cwd: string, ...args: string[]): string {
  return execFileSync('git', ['-c', 'protocol.file.allow=always', '-c', 'init.defaultBranch=main', ...args], { cwd, env: gitEnvironment, encoding: 'latin1', stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 1 << 28 }).replace(/\n$/, '');
}
export function gitThatMayFail(cwd: string, ...args: string[]): void {
  try {
    git(cwd, ...args);
  } catch {
    // A conflict is what such a command is run for.
  }
}
export function gitWithEnvironment(cwd: string, extra: Record<string, string>, ...args: string[]): void {
  execFileSync('git', args, { cwd, env: { ...gitEnvironment, ...extra }, stdio: 'pipe' });
}

/** With standard input; for paths that are not UTF-8, which an argument cannot be. */
export function gitOnBytes(cwd: string, input: Buffer, ...args: string[]): void {
  execFileSync('git', args, { cwd, env: gitEnvironment, stdio: ['pipe', 'pipe', 'pipe'], input });
}

const made: string[] = [];
export function temporaryDirectory(): string {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'baton-git-'));
  made.push(directory);
  return directory;
}
export function removeTemporaryDirectories(): void {
  for (const directory of made.splice(0)) rmSync(directory, { recursive: true, force: true });
}

export function write(root: string, name: string | Buffer, content: string | Buffer, mode?: number): void {
  const file = Buffer.concat([Buffer.from(`${root}/`), Buffer.from(name)]);
  const slash = file.lastIndexOf('/');
  mkdirSync(file.subarray(0, slash), { recursive: true });
  writeFileSync(file, content);
  if (mode !== undefined) chmodSync(file, mode);
}
export function remove(root: string, name: string): void {
  rmSync(path.join(root, name), { recursive: true, force: true });
}
export function link(root: string, name: string, target: string): void {
  symlinkSync(target, path.join(root, name));
}

export interface Pair {
  readonly directory: string;
  readonly laptop: string;
  readonly server: string;
}

const [major = 0, minor = 0] = execFileSync('git', ['version'], { encoding: 'utf8' }).replace(/^git version /, '').split('.').map(Number);
/** Whether the git that the tests run with is of this version or a later one. `BATON_TEST_GIT` names another than the machine's. */
export function isAtLeast(leastMajor: number, leastMinor: number): boolean {
  return major > leastMajor || (major === leastMajor && minor >= leastMinor);
}

/** How a repository keeps its refs (git-init(1), `--ref-format`); git knows `reftable` from 2.45 on. */
export type RefStorage = 'files' | 'reftable';

/** A repository with a few files and two clones of it, the server's with changes of its own. */
export function makePair(options: { readonly format?: 'sha1' | 'sha256'; readonly laptopRefs?: RefStorage; readonly serverRefs?: RefStorage } = {}): Pair {
  const directory = temporaryDirectory();
  const laptop = path.join(directory, 'laptop', 'app');
  const server = path.join(directory, 'server', 'app');
  mkdirSync(laptop, { recursive: true });
  const refFormat = (refs: RefStorage | undefined) => (refs === undefined ? [] : [`--ref-format=${refs}`]);
  git(laptop, 'init', '-q', `--object-format=${options.format ?? 'sha1'}`, ...refFormat(options.laptopRefs));
  write(laptop, 'a.txt', 'one\ntwo\nthree\nfour\nfive\n');
  write(laptop, 'b.txt', 'b\n');
  write(laptop, 'dir/c.txt', 'c\n');
  write(laptop, 'dir/d.txt', 'd\n');
  write(laptop, 'run.sh', '#!/bin/sh\n', 0o755);
  write(laptop, '.gitignore', 'ignored/\n*.log\n');
  link(laptop, 'link', 'a.txt');
  git(laptop, 'add', '-A');
  git(laptop, 'commit', '-qm', 'first');
  git(directory, 'clone', '-q', ...refFormat(options.serverRefs), laptop, server);
  git(server, 'checkout', '-q', '-b', 'mine');
  write(server, 'b.txt', 'the server user\'s own change\n');
  write(server, 'own.txt', 'untracked here\n');
  return { directory, laptop, server };
}

/** What plain git and the file system say of a checkout; two equal answers are the same working state. */
export function observe(root: string, extra: Record<string, string> = {}): Record<string, unknown> {
  const quiet = (...args: string[]) => execFileSync('git', args, { cwd: root, env: { ...gitEnvironment, GIT_OPTIONAL_LOCKS: '0', GIT_NO_REPLACE_OBJECTS: '1', ...extra }, encoding: 'latin1', maxBuffer: 1 << 28, stdio: ['ignore', 'pipe', 'ignore'] });
  const orNothing = (...args: string[]) => {
    try {
      return quiet(...args).trim();
    } catch {
      return '';
    }
  };
  const records = quiet('status', '--porcelain=v2', '--branch', '-z', '--untracked-files=all', '--no-renames', '--no-show-stash').split('\0');
  const header = (name: string) => records.find((record) => record.startsWith(`# branch.${name} `))?.slice(`# branch.${name} `.length) ?? '';
  const files = [...new Set(quiet('ls-files', '-co', '--exclude-standard', '-z').split('\0'))].filter((name) => name !== '' && !name.endsWith('/')).sort();
  // Each entry, and the flags that git keeps for it.
  const entries = quiet('ls-files', '-s', '-v', '--debug', '-z').split(/\0 {2}ctime: [^\0]*?\tflags: ([0-9a-f]+)\n/);
  const index = entries.filter((_entry, position) => position % 2 === 0).join('\0');
  const empty = emptyDirectories(root, index);
  return {
    head: header('oid').replace('(initial)', ''),
    status: records.filter((record) => !record.startsWith('# ')).join('\0'),
    index,
    undo: quiet('ls-files', '--resolve-undo', '-z'),
    intended: entries.filter((_entry, position) => (Number.parseInt(entries[position + 1] ?? '0', 16) & 0x2000_0000) !== 0 && position % 2 === 0),
    // A directory in the place of a file: the file is deleted, and what is in the directory is listed or ignored.
    bytes: files.map((name) => [name, describe(Buffer.concat([Buffer.from(`${root}/`), Buffer.from(name, 'latin1')]))]).map(([name, found]) => [name, found === 'directory' && !isGitlink(index, name) ? 'absent' : found]),
    // Git cannot compare an entry that is intended to be added and assumed to be unchanged.
    diff: orNothing('-c', 'diff.autoRefreshIndex=false', 'diff', '--no-ext-diff', '--no-textconv', 'HEAD', '--'),
    empty: empty.length === 0 ? [] : empty.filter((name) => orNothing('check-ignore', `./${name}`) === ''),
    ...observeGitDirectory(gitDirectoryOf(root) ?? orNothing('rev-parse', '--absolute-git-dir'), header('head').replace('(detached)', ''), orNothing),
  };
}

/** Null where it takes git to know. */
function gitDirectoryOf(root: string): string | null {
  const entry = lstatSync(path.join(root, '.git'), { throwIfNoEntry: false });
  if (entry?.isDirectory() === true) return path.join(root, '.git');
  return entry?.isFile() === true ? path.resolve(root, readFileSync(path.join(root, '.git'), 'utf8').replace(/^gitdir: /, '').trimEnd()) : null;
}

function isGitlink(index: string, name: string | undefined): boolean {
  return index.split('\0').some((line) => line.endsWith(`\t${name ?? ''}`) && line.includes(' 160000 '));
}

/** Directories with nothing in them, in the file system's order of bytes; not those where a submodule belongs. */
function emptyDirectories(root: string, index: string): string[] {
  const found: string[] = [];
  const walk = (directory: string) => {
    const entries = readdirSync(Buffer.from(path.join(root, directory), 'latin1'), { withFileTypes: true, encoding: 'buffer' });
    if (entries.length === 0 && !index.includes(`\t${directory}\0`)) found.push(directory);
    for (const entry of entries) if (entry.isDirectory() && entry.name.toString() !== '.git') walk(path.join(directory, entry.name.toString('latin1')));
  };
  walk('');
  return found.sort();
}

function describe(file: Buffer): string {
  let found;
  try {
    found = lstatSync(file);
  } catch {
    return 'absent';
  }
  if (found.isSymbolicLink()) return `link ${readlinkSync(file, 'latin1')}`;
  if (found.isDirectory()) return 'directory';
  return `${(found.mode & 0o111) === 0 ? 'file' : 'program'} ${createHash('sha256').update(readFileSync(file)).digest('hex')}`;
}

/**
 * Everything of a checkout down to times and inode numbers, its Git directory included. Of object files and packs only the time is
 * left out: git sets it anew when somebody else stores the same object beside them.
 */
export function photograph(root: string): string[] {
  const lines: string[] = [];
  const walk = (directory: Buffer) => {
    for (const entry of readdirSync(directory, { encoding: 'buffer' }).sort((a, b) => Buffer.compare(a, b))) {
      const file = Buffer.concat([directory, Buffer.from('/'), entry]);
      const found = lstatSync(file, { bigint: true });
      const times = /\.git\/objects\/(?:[0-9a-f]{2}\/[0-9a-f]+|pack\/pack-[0-9a-f]+\.pack)$/.test(file.toString('latin1')) ? [] : [found.mtimeNs, found.ctimeNs];
      lines.push([file.toString('latin1'), found.mode, found.size, ...times, found.ino, found.isFile() ? createHash('sha1').update(readFileSync(file)).digest('hex') : ''].join(' '));
      if (found.isDirectory()) walk(file);
    }
  };
  walk(Buffer.from(root));
  return lines;
}

/**
 * A user's own checkout: its files, index, branch, stash and settings; not the objects that arrive beside them.
 *
 * @param growing files of the Git directory that may change
 */
export function ownCheckout(root: string, growing: readonly string[] = []): unknown {
  const gitDir = git(root, 'rev-parse', '--absolute-git-dir');
  const read = (name: string) => (existsSync(path.join(gitDir, name)) ? createHash('sha1').update(readFileSync(path.join(gitDir, name))).digest('hex') : null);
  return {
    state: observe(root),
    directory: ['index', 'HEAD', 'config', 'config.worktree', 'info/exclude', 'info/attributes', 'info/sparse-checkout', 'shallow'].filter((name) => !growing.includes(name)).map(read),
    refs: git(root, 'for-each-ref', 'refs/stash', 'refs/tags', 'refs/remotes', 'refs/replace', 'refs/notes'),
    files: photograph(root).filter((line) => !line.startsWith(`${root}/.git`)),
  };
}

/** Refs, worktrees and packs of a repository. */
export function belongings(root: string): { readonly refs: string; readonly worktrees: string; readonly packs: readonly string[] } {
  return { refs: git(root, 'for-each-ref'), worktrees: git(root, 'worktree', 'list'), packs: readdirSync(path.join(root, '.git/objects/pack')).sort() };
}

/** What both sides agree on that the repository at `to` has of a captured state's history. */
export async function agreedHaves(capture: CapturedState, to: string): Promise<string[]> {
  return agreeOnHaves(capture, await holdingsOf(to), (asked) => (existsSync(to) ? reachableAmong(to, asked) : Promise.resolve([])));
}

let trips = 0;

export interface Trip {
  /** Of the checkout itself, and what of it was sent. */
  readonly capture: CapturedState;
  readonly bytes: number;
  /** Git LFS objects that travelled. */
  readonly lfs: readonly string[];
  readonly quarantine: QuarantinedState;
  readonly submodules: readonly SubmoduleToRestore[];
  readonly restored: RestoredState;
}

/** Captures at `from`, bundles against what `to` has, and checks the bundles into quarantine there. */
export async function send(pair: Pick<Pair, 'directory'>, from: string, to: string, existing: string | null = null): Promise<Omit<Trip, 'restored'>> {
  const spool = path.join(pair.directory, `trip-${++trips}`);
  const checkout = await captureCheckout({ root: from, spool });
  const places = await findSubmodulePlaces({ root: to, worktree: existing, submodules: await Promise.all(checkout.slice(1).map(announceSubmodule)) });
  const parts = await Promise.all(checkout.map(async ({ state }, index) => {
    const file = path.join(spool, `bundle-${index}`);
    const repository = places[index - 1]?.repository ?? to;
    const bundle = await createBundle({ capture: state, haves: await agreedHaves(state, repository), gaps: { partial: existsSync(repository) && (await openRepository(repository)).partial, lacking: (question) => lackingAmong(repository, question) }, file });
    return { ...bundle, lfs: await sendLfs(state, bundle.prerequisites, repository, spool), file, tip: state.commits.manifest, branch: state.branch };
  }));
  const [top, ...others] = parts as [typeof parts[0], ...typeof parts];
  const submodules = places.flatMap((place, index) => { const part = others[index]; return part === undefined ? [] : [{ ...part, ...place }]; });
  const arrived = await receiveCheckout({ root: to, top, submodules, quarantine: path.join(spool, 'quarantine') });
  return { capture: checkout[0].state, bytes: parts.reduce((sum, { bytes }) => sum + bytes, 0), lfs: parts.flatMap(({ lfs }) => lfs.map(({ oid }) => oid)), quarantine: arrived.top, submodules: arrived.submodules };
}

async function sendLfs(capture: CapturedState, prerequisites: readonly string[], to: string, spool: string): Promise<{ oid: string; size: number; file: string }[]> {
  const named = await listLfsObjects({ capture, prerequisites });
  const held = await holdsLfsObjects(to, named);
  const arrived = [];
  for (const object of named.filter((_object, position) => held[position] !== true)) {
    const file = path.join(spool, `arrived-${object.oid}`);
    copyFileSync(await sealLfsObject(object, capture, spool), file);
    arrived.push({ oid: object.oid, size: object.size, file });
  }
  return arrived;
}

/** The whole way of a working state, into a worktree that may exist. */
export async function carry(pair: Pick<Pair, 'directory'>, from: string, to: string, worktree: string, expectedFingerprint?: string): Promise<Trip> {
  const sent = await send(pair, from, to, expectedFingerprint === undefined ? null : worktree);
  const restored = await restoreWorkingState({
    root: to, quarantine: sent.quarantine, submodules: sent.submodules, worktree, threadId: THREAD, carriedBranch: sent.capture.branch,
    existing: expectedFingerprint === undefined ? undefined : { expectedFingerprint },
  });
  await finishRestore(sent.quarantine.directory);
  return { ...sent, restored };
}
