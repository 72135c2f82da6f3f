import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { ApplyOptions } from '../../src/git/apply';
import { GitError } from '../../src/git/gitError';
import { git, makePair, observe, THREAD } from './laboratory';

/** The user's checkout, and a worktree of the same repository that is a thread's. */
export interface Place {
  readonly directory: string;
  readonly checkout: string;
  readonly worktree: string;
  readonly own: string;
}

let clock = 0;

export function makePlace(options: { format?: 'sha1' | 'sha256'; worktreeBranch?: string; checkoutDetached?: true } = {}): Place {
  const { directory, laptop: checkout } = makePair(options.format === undefined ? {} : { format: options.format });
  const worktree = path.join(directory, 'worktrees', '1', 'app');
  mkdirSync(path.dirname(worktree), { recursive: true });
  if (options.checkoutDetached === true) {
    git(checkout, 'checkout', '-q', '--detach');
    git(checkout, 'worktree', 'add', '-q', worktree, 'main');
  } else git(checkout, 'worktree', 'add', '-q', '-b', options.worktreeBranch ?? `baton/${THREAD.slice(0, 13)}/main`, worktree);
  return { directory, checkout, worktree, own: path.join(directory, 'applies', THREAD) };
}

export const toCheckout = ({ checkout, worktree, own }: Place, more: Partial<ApplyOptions> = {}): ApplyOptions => ({
  threadId: THREAD, source: worktree, target: checkout, directory: own, known: [], merge: false, markers: false, fastForward: false, expected: null,
  names: { source: 'the worktree', target: 'your checkout' }, now: new Date(Date.UTC(2026, 0, 1) + ++clock * 1000), ...more,
});
export const toWorktree = (place: Place, more: Partial<ApplyOptions> = {}) => toCheckout(place, { source: place.checkout, target: place.worktree, names: { source: 'your checkout', target: 'the worktree' }, ...more });

function filesOf(root: string, below = ''): string[] {
  return readdirSync(Buffer.concat([Buffer.from(`${root}/`), Buffer.from(below, 'latin1')]), { withFileTypes: true, encoding: 'buffer' }).flatMap((entry) => {
    const name = below + entry.name.toString('latin1');
    return name === '.git' ? [] : [name, ...(entry.isDirectory() ? filesOf(root, `${name}/`) : [])];
  }).sort();
}

/** All of a checkout that its user can see: what git says, every file, the branch and every other ref. */
export function look(root: string): Record<string, unknown> {
  return {
    ...observe(root),
    head: readFileSync(path.join(git(root, 'rev-parse', '--absolute-git-dir'), 'HEAD'), 'utf8'),
    refs: git(root, 'for-each-ref').split('\n').filter((line) => !line.includes('refs/baton/')),
    // Node's own recursion would follow links to directories.
    files: filesOf(root),
    operation: readdirSync(git(root, 'rev-parse', '--absolute-git-dir')).filter((name) => /HEAD|MSG|MODE|BISECT|sequencer|rebase|index\.|carried/.test(name) && name !== 'baton-carried').sort(),
  };
}

export const bytesOf = (root: string, name: string) => readFileSync(path.join(root, name), 'utf8');
/** The error of an attempt that must fail. */
export const refused = async (attempt: Promise<unknown>): Promise<GitError> => attempt.then(() => { throw new Error('It was not refused.'); }, (error: unknown) => { if (GitError.is(error)) return error; throw error; });
export const commitAll = (root: string, message: string) => { git(root, 'add', '-A'); git(root, 'commit', '-qm', message); };
