import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { gitText, lines, runGit, streamGit } from './git';
import { GitError } from './gitError';
import { commitsAmong, revisions } from './haves';
import { inRepository } from './inRepository';
import type { ObjectId, Repository } from './repository';
import { readRootRefs } from './rootRefs';

/**
 * What git keeps for one worktree beside its working state, and removes with it: reflogs, config and refs of its own
 * (git-worktree(1), "REFS", "CONFIGURATION FILE"), where HEAD was before (`ORIG_HEAD`), and the message of a commit that failed.
 */
export interface WorktreeTraces {
  /** Names below the worktree's Git directory, and their bytes. */
  readonly files: readonly { readonly name: string; readonly content: Buffer }[];
  /** Refs that only this worktree has. */
  readonly refs: readonly (readonly [name: string, oid: ObjectId])[];
  /** Commits that these name and HEAD does not lead to; none of them leads to another. */
  readonly commits: readonly ObjectId[];
}

const OWN_REFS = ['refs/bisect', 'refs/rewritten', 'refs/worktree'];
const OWN_FILES = ['logs/HEAD', 'config.worktree', 'COMMIT_EDITMSG', 'ORIG_HEAD'];
/** A file that {@link writeTraces} writes. */
const OWN_FILE = /^(logs\/HEAD|config\.worktree|COMMIT_EDITMSG|ORIG_HEAD|logs\/refs\/(bisect|rewritten|worktree)(\/(?!\.)[^/\0]+)+)$/;

/** @throws {GitError} `unsupported-state` for a ref of the worktree's own that is no commit: what it names could not be kept */
export async function readTraces(worktree: Repository, signal?: AbortSignal): Promise<WorktreeTraces> {
  const { root, gitDir, head } = worktree;
  const names = [...OWN_FILES, ...(await Promise.all(OWN_REFS.map((name) => filesBelow(gitDir, `logs/${name}`)))).flat()];
  const read = await Promise.all(names.map(async (name) => ({ name, content: await readFile(path.join(gitDir, name)).catch(missing) })));
  const files = read.flatMap(({ name, content }) => (content === null ? [] : [{ name, content }]));
  const listed = await gitText(['for-each-ref', '--format=%(objecttype) %(objectname) %(refname)', ...OWN_REFS], { cwd: root, signal });
  const refs = listed.split('\n').filter((line) => line !== '').map((line): [string, ObjectId] => {
    const [type = '', oid = '', name = ''] = line.split(' ');
    if (type !== 'commit') throw new GitError('unsupported-state', `No snapshot can keep all of ${root}: its own ref ${name} is at a ${type}, not at a commit. "git update-ref -d ${name}" there lets it go.`);
    return [name, oid];
  });
  const before = (await readRootRefs(worktree, signal)).get('ORIG_HEAD');
  if (before !== undefined) refs.push(['ORIG_HEAD', before]);
  const logged = worktree.refStorage === 'files'
    ? files.filter(({ name }) => /^(logs\/|ORIG_HEAD$)/.test(name)).flatMap(({ content }) => [...content.toString('latin1').matchAll(/^([0-9a-f]{40,64})(?:\n| ([0-9a-f]{40,64}) )/gm)].flatMap(([, from = '', to = '']) => [from, to]))
    : (await gitText(['log', '-g', '--format=%H', 'HEAD', '--'], { cwd: root, signal, answers: [128] })).split('\n');
  return { files, refs, commits: await outermost(worktree, await commitsAmong([...logged, ...refs.map(([, oid]) => oid)], { cwd: root, signal }), head, signal) };
}

/** Puts traces back into a worktree that was made anew. @returns what could not be put back, for the user */
export async function writeTraces(worktree: Repository, { files, refs }: Pick<WorktreeTraces, 'files' | 'refs'>): Promise<string[]> {
  if (refs.length > 0) await runGit(['update-ref', '--no-deref', '--stdin'], { cwd: worktree.root, input: refs.map(([name, oid]) => `update ${name} ${oid}\n`).join('') });
  for (const { name, content } of files) {
    if (!OWN_FILE.test(name)) throw new GitError('failed', `${JSON.stringify(name)} is no file that a snapshot keeps of a worktree's Git directory.`);
    await mkdir(path.dirname(path.join(worktree.gitDir, name)), { recursive: true });
    await writeFile(path.join(worktree.gitDir, name), content);
  }
  // Git has no command that writes into a reflog of that kind.
  return worktree.refStorage === 'reftable' ? ['The reflog of HEAD begins anew, since this repository keeps its refs as a reftable. The commits that it named are there until the snapshot expires.'] : [];
}

/**
 * Of some commits those that no other leads to, HEAD included. One whose history has gaps is left out: a ref that led there
 * would have every "git gc" of the user's fail.
 */
async function outermost(worktree: Repository, commits: readonly ObjectId[], head: ObjectId | null, signal?: AbortSignal): Promise<ObjectId[]> {
  const found: ObjectId[] = [];
  if (commits.length === 0) return found;
  const options = inRepository(worktree.root, signal);
  const not = head === null ? [] : [head];
  const led = new Set<ObjectId>();
  const listed: ObjectId[] = [];
  const whole = async (some: readonly ObjectId[]) => {
    const { exitCode } = await runGit(['rev-list', '--objects', '--quiet', ...(worktree.partial ? ['--exclude-promisor-objects'] : []), '--stdin', '--not', '--all'], { ...options, input: revisions(some, not), answers: [1, 128] });
    return exitCode === 0;
  };
  const sound = (await whole(commits)) ? commits : [];
  if (sound.length === 0) for (const commit of commits) if (await whole([commit])) found.push(commit);
  for await (const line of lines(streamGit(['rev-list', '--parents', '--stdin'], { ...options, input: revisions(sound.length > 0 ? sound : found.splice(0), not) }))) {
    const [commit = '', ...parents] = line.split(' ');
    listed.push(commit);
    for (const parent of parents) led.add(parent);
  }
  return listed.filter((commit) => !led.has(commit));
}

async function filesBelow(gitDir: string, name: string): Promise<string[]> {
  const found: string[] = [];
  for (const entry of (await readdir(path.join(gitDir, name), { withFileTypes: true }).catch(missing)) ?? []) {
    const below = `${name}/${entry.name}`;
    found.push(...(entry.isDirectory() ? await filesBelow(gitDir, below) : [below]));
  }
  return found;
}

function missing(error: unknown): null {
  if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return null;
  throw error;
}
