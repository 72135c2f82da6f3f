import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { build } from 'esbuild';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { applyState, mendApply, planApply, undoApply, type ApplyOptions } from '../../src/git/apply';
import type { ApplyPlan } from '../../src/git/applyPlan';
import { captureWorkingState } from '../../src/git/capture';
import { captureCheckout } from '../../src/git/captureCheckout';
import { GitError } from '../../src/git/gitError';
import { listSnapshots } from '../../src/git/snapshots';
import { git, gitThatMayFail, link, makePair, observe, photograph, remove, removeTemporaryDirectories, temporaryDirectory, THREAD, write } from './laboratory';
import { statesOfFiles } from './statesOfFiles';
import { statesOfOperations } from './statesOfOperations';
import { statesOfRepositories } from './statesOfRepositories';

/** The user's checkout, and a worktree of the same repository that is a thread's. */
interface Place {
  readonly directory: string;
  readonly checkout: string;
  readonly worktree: string;
  readonly own: string;
}

let clock = 0;

function makePlace(options: { format?: 'sha1' | 'sha256'; worktreeBranch?: string; checkoutDetached?: true } = {}): Place {
  const { directory, laptop: checkout } = makePair(options.format === undefined ? {} : { format: options.format });
  const worktree = path.join(directory, 'worktrees', '1', 'app');
  mkdirSync(path.dirname(worktree), { recursive: true });
  if (options.checkoutDetached === true) {
    git(checkout, 'checkout', '-q', '--detach');
    git(checkout, 'worktree', 'add', '-q', worktree, 'main');
  } else git(checkout, 'worktree', 'add', '-q', '-b', options.worktreeBranch ?? `baton/${THREAD.slice(0, 13)}/main`, worktree);
  return { directory, checkout, worktree, own: path.join(directory, 'applies', THREAD) };
}

const toCheckout = ({ checkout, worktree, own }: Place, more: Partial<ApplyOptions> = {}): ApplyOptions => ({
  threadId: THREAD, source: worktree, target: checkout, directory: own, known: [], merge: false, markers: false, fastForward: false, expected: null,
  names: { source: 'the worktree', target: 'your checkout' }, now: new Date(Date.UTC(2026, 0, 1) + ++clock * 1000), ...more,
});
const toWorktree = (place: Place, more: Partial<ApplyOptions> = {}) => toCheckout(place, { source: place.checkout, target: place.worktree, names: { source: 'your checkout', target: 'the worktree' }, ...more });

function filesOf(root: string, below = ''): string[] {
  return readdirSync(Buffer.concat([Buffer.from(`${root}/`), Buffer.from(below, 'latin1')]), { withFileTypes: true, encoding: 'buffer' }).flatMap((entry) => {
    const name = below + entry.name.toString('latin1');
    return name === '.git' ? [] : [name, ...(entry.isDirectory() ? filesOf(root, `${name}/`) : [])];
  }).sort();
}

/** All of a checkout that its user can see: what git says, every file, the branch and every other ref. */
function look(root: string): Record<string, unknown> {
  return {
    ...observe(root),
    head: readFileSync(path.join(git(root, 'rev-parse', '--absolute-git-dir'), 'HEAD'), 'utf8'),
    refs: git(root, 'for-each-ref').split('\n').filter((line) => !line.includes('refs/baton/')),
    // Node's own recursion would follow links to directories.
    files: filesOf(root),
    operation: readdirSync(git(root, 'rev-parse', '--absolute-git-dir')).filter((name) => /HEAD|MSG|MODE|BISECT|sequencer|rebase|index\.|carried/.test(name) && name !== 'baton-carried').sort(),
  };
}
/** Nothing where git finds nothing. */
const gitSays = (root: string, ...args: string[]): string => { try { return git(root, ...args); } catch { return ''; } };
const bytesOf = (root: string, name: string) => readFileSync(path.join(root, name), 'utf8');
const refused = async (attempt: Promise<unknown>): Promise<GitError> => attempt.then(() => { throw new Error('It was not refused.'); }, (error: unknown) => { if (GitError.is(error)) return error; throw error; });
const named = (plan: ApplyPlan) => plan.changes.map((change) => change.path);
const commitAll = (root: string, message: string) => { git(root, 'add', '-A'); git(root, 'commit', '-qm', message); };

afterEach(removeTemporaryDirectories);

/** What a checkout would refuse of a worktree, by what plain git and its files say; null where nothing stands in the way. */
function obstacle(worktree: string, checkout: string): string | null {
  const gitDir = git(worktree, 'rev-parse', '--absolute-git-dir');
  const content = (name: string) => (existsSync(path.join(gitDir, name)) ? readFileSync(path.join(gitDir, name), 'utf8').trim() : '');
  const start = content('BISECT_START');
  if ([content('rebase-merge/head-name'), content('rebase-apply/head-name')].some((name) => name.startsWith('refs/heads/')) || (start !== '' && git(worktree, 'for-each-ref', `refs/heads/${start}`) !== '')) return 'operation-in-progress';
  if (gitSays(worktree, 'config', '--type=bool', 'core.sparseCheckout') === 'true') return 'sparse-differs';
  const heads = [worktree, checkout].map((root) => gitSays(root, 'rev-parse', '-q', '--verify', 'HEAD'));
  return heads[0] !== heads[1] && gitSays(worktree, '--no-replace-objects', 'merge-base', ...heads) === '' ? 'unrelated' : null;
}

describe('over the states of a checkout, applying to one that is clean', () => {
  // Those that are no state of a linked worktree's, or that need a repository of another kind on the other side.
  const elsewhere = ['no index file', 'index.lock held by another git', 'a linked worktree', 'a linked worktree of a bare repository, in a rebase', 'a Git directory elsewhere', 'core.worktree', 'a repository without a commit', 'a repository without a commit or an index', 'objects borrowed from another repository', 'a grafted history'];
  const states = [...statesOfFiles, ...statesOfOperations, ...statesOfRepositories].filter(({ name, there }) => there === undefined && !elsewhere.includes(name));
  it.each(states.map((state) => [state.name, state] as const))('%s', async (_name, state) => {
    const place = makePlace({ checkoutDetached: true, ...(state.format === undefined ? {} : { format: state.format }) });
    const { checkout, worktree } = place;
    state.make(worktree, { directory: place.directory, laptop: worktree, server: checkout });
    const before = look(checkout);
    const photo = photograph(worktree);
    const planned = await planApply(toCheckout(place));
    expect(look(checkout), 'a plan changes nothing').toEqual(before);
    const reason = obstacle(worktree, checkout);
    expect(planned.refused?.reason ?? null).toBe(reason);
    if (reason !== null) {
      expect((await refused(applyState(toCheckout(place)))).reason).toBe('apply-refused');
      expect(look(checkout)).toEqual(before);
      expect(git(checkout, 'for-each-ref', 'refs/baton')).toBe('');
      return;
    }

    const done = await applyState(toCheckout(place, { expected: planned.digest }));

    // The branch stays the checkout's own, and empty directories alone are no other state.
    const own = { branch: '', ...(done.how === 'same' ? { empty: [] } : {}) };
    expect({ ...observe(checkout), ...own, untouched: photograph(worktree) }).toEqual({ ...observe(worktree), ...own, untouched: photo });
    expect(git(checkout, 'fsck', '--connectivity-only')).not.toMatch(/missing|broken/);
    expect(existsSync(path.join(checkout, '.git/index.lock'))).toBe(false);
    if (done.how === 'same') return;
    expect(planned.changes).toEqual(done.changes);
    const { changes } = await undoApply(place.own, { dryRun: false });
    expect(changes.map((change) => change.path)).toEqual(named(done));
    expect(look(checkout)).toEqual(before);
    expect((await refused(undoApply(place.own, { dryRun: false }))).reason).toBe('nothing-to-undo');
  });
});

describe('over the states of a checkout that is replaced', () => {
  // What only the worktree's own repository could have; where git itself is at work; and where what git says depends on when it looked last.
  const elsewhere = ['dirty attributes that end a conversion', 'no index file', 'index.lock held by another git', 'a repository without a commit', 'a repository without a commit or an index', 'a Git directory elsewhere', 'core.worktree', 'a linked worktree', 'a linked worktree of a bare repository, in a rebase'];
  const states = [...statesOfFiles, ...statesOfOperations, ...statesOfRepositories].filter(({ name, there }) => there === undefined && !elsewhere.includes(name));
  it.each(states.map((state) => [state.name, state] as const))('%s: it is kept, and undoing brings all of it back', async (_name, state) => {
    const place = makePlace(state.format === undefined ? {} : { format: state.format });
    const { checkout, worktree } = place;
    state.make(checkout, { directory: place.directory, laptop: checkout, server: worktree });
    const head = gitSays(checkout, 'rev-parse', '-q', '--verify', 'HEAD');
    if (head !== '') git(worktree, 'reset', '-q', '--hard', head);
    write(worktree, 'by the thread', 'x\n');
    const [{ state: left }] = await captureCheckout({ root: checkout, spool: path.join(place.directory, 'left') });
    const before = look(checkout);
    const options = toCheckout(place, { known: [left.fingerprint] });
    const plan = await planApply(options);
    if (plan.refused !== null) {
      expect(plan.refused.message).toMatch(/^[A-Z"].*\.$/s);
      await refused(applyState(options));
    } else {
      await applyState(options);
      expect(bytesOf(checkout, 'by the thread')).toBe('x\n');
      await undoApply(place.own, { dryRun: false });
      expect(gitSays(checkout, 'for-each-ref', 'refs/baton')).toBe('');
    }
    expect(look(checkout)).toEqual(before);
  });
});

describe('the branch of the checkout', () => {
  let place: Place;
  beforeEach(() => { place = makePlace(); });

  it('follows where the worktree is the same branch with new commits, and goes back when it is undone', async () => {
    const { checkout, worktree } = place;
    write(worktree, 'new.txt', 'new\n');
    commitAll(worktree, 'one');
    write(worktree, 'a.txt', 'staged\n');
    git(worktree, 'add', 'a.txt');
    const before = look(checkout);
    const plan = await planApply(toCheckout(place));
    expect(plan.head).toEqual({ branch: 'refs/heads/main', before: git(checkout, 'rev-parse', 'main'), after: git(worktree, 'rev-parse', 'HEAD'), commits: 1 });
    await applyState(toCheckout(place));
    expect(git(checkout, 'symbolic-ref', 'HEAD')).toBe('refs/heads/main');
    expect(observe(checkout)).toEqual(observe(worktree));
    await undoApply(place.own, { dryRun: false });
    expect(look(checkout)).toEqual(before);
  });

  it('is not moved when it is another one, unless that is asked for', async () => {
    const { checkout, worktree } = place;
    git(checkout, 'checkout', '-q', '-b', 'release');
    write(worktree, 'new.txt', 'new\n');
    commitAll(worktree, 'one');
    const before = look(checkout);
    expect((await refused(applyState(toCheckout(place)))).message).toMatch(/Your checkout is on release, and the 1 new commit is on main/);
    expect(look(checkout)).toEqual(before);
    await applyState(toCheckout(place, { merge: true }));
    expect(git(checkout, 'rev-parse', 'release')).toBe(git(checkout, 'rev-parse', 'main'));
    expect(git(checkout, 'status', '--porcelain')).toBe('?? new.txt');
    await undoApply(place.own, { dryRun: false });
    expect(look(checkout)).toEqual(before);
    await applyState(toCheckout(place, { fastForward: true }));
    expect(git(checkout, 'rev-parse', 'release')).toBe(git(worktree, 'rev-parse', 'HEAD'));
  });

  it('that is ahead is not thrown back; a merge brings the files', async () => {
    const { checkout, worktree } = place;
    write(checkout, 'mine.txt', 'mine\n');
    commitAll(checkout, 'mine');
    write(worktree, 'b.txt', 'theirs\n');
    expect((await planApply(toCheckout(place))).refused?.reason).toBe('target-ahead');
    const head = git(checkout, 'rev-parse', 'HEAD');
    await applyState(toCheckout(place, { merge: true }));
    expect(git(checkout, 'rev-parse', 'HEAD')).toBe(head);
    expect(git(checkout, 'status', '--porcelain')).toBe(' M b.txt');
    write(worktree, 'c.txt', 'c\n');
    commitAll(worktree, 'theirs');
    await undoApply(place.own, { dryRun: false });
    expect((await planApply(toCheckout(place))).refused?.reason).toBe('diverged');
    const merged = await applyState(toCheckout(place, { merge: true }));
    expect(merged.notes.join()).toMatch(/commits of the worktree stay on main there; what they change arrives uncommitted/);
    expect(git(checkout, 'status', '--porcelain')).toBe(' M b.txt\n?? c.txt');
  });
});

describe('a checkout that has changes of its own', () => {
  let place: Place;
  beforeEach(() => { place = makePlace(); });

  it('is refused naming them, in other files too, and keeps every byte, time and inode', async () => {
    const { checkout, worktree } = place;
    write(worktree, 'a.txt', 'of the thread\n');
    write(checkout, 'a.txt', 'mine\n');
    write(checkout, 'dir/c.txt', 'mine\n');
    git(checkout, 'add', 'dir/c.txt');
    write(checkout, 'untracked.txt', 'mine\n');
    const photo = photograph(checkout).filter((line) => !/\.git(\/| )/.test(line));
    const plan = await planApply(toCheckout(place));
    expect(plan).toMatchObject({ refused: { reason: 'target-changed' }, conflicts: ['a.txt', 'dir/c.txt', 'untracked.txt'] });
    expect((await refused(applyState(toCheckout(place)))).message).toBe('Your checkout has changes of its own in "a.txt", "dir/c.txt", "untracked.txt". Commit or put them away there. Or try again with --merge to merge the files, or go on in the worktree itself.');
    expect(photograph(checkout).filter((line) => !/\.git(\/| )/.test(line))).toEqual(photo);
    expect(git(checkout, 'for-each-ref', 'refs/baton')).toBe('');
  });

  it('that the thread has just the same is no reason to refuse', async () => {
    const { checkout, worktree } = place;
    for (const root of [checkout, worktree]) {
      write(root, 'a.txt', 'the same\n');
      write(root, 'untracked.txt', 'the same\n');
      git(root, 'rm', '-q', '--cached', 'b.txt');
    }
    git(checkout, 'add', 'a.txt');
    write(worktree, 'dir/c.txt', 'more\n');
    await applyState(toCheckout(place));
    expect(observe(checkout)).toEqual(observe(worktree));
  });

  it('is replaced where it is still as the thread left it', async () => {
    const { checkout, worktree, directory } = place;
    write(checkout, 'a.txt', 'begun here\n');
    write(checkout, 'notes', 'begun here\n');
    const { fingerprint } = await captureWorkingState({ root: checkout, spool: path.join(directory, 'left') });
    write(worktree, 'a.txt', 'gone on there\n');
    expect((await planApply(toCheckout(place))).refused?.reason).toBe('target-changed');
    const before = look(checkout);
    await applyState(toCheckout(place, { known: [fingerprint] }));
    expect(observe(checkout)).toEqual(observe(worktree));
    expect(existsSync(path.join(checkout, 'notes'))).toBe(false);
    await undoApply(place.own, { dryRun: false });
    expect(look(checkout)).toEqual(before);
  });

  it('is merged, when that is asked for and comes out clean; what is staged stays staged', async () => {
    const { checkout, worktree } = place;
    write(worktree, 'a.txt', 'ONE\ntwo\nthree\nfour\nfive\n');
    write(worktree, 'run.sh', '#!/bin/sh\n', 0o644);
    write(worktree, 'theirs.txt', 'theirs\n');
    remove(worktree, 'b.txt');
    write(checkout, 'a.txt', 'one\ntwo\nthree\nfour\nFIVE\n');
    write(checkout, 'run.sh', '#!/bin/sh\necho mine\n', 0o755);
    write(checkout, 'mine.txt', 'mine\n');
    git(checkout, 'add', 'mine.txt');
    const before = look(checkout);
    const plan = await applyState(toCheckout(place, { merge: true }));
    expect(plan).toMatchObject({ how: 'merge', conflicts: [], head: null });
    expect(bytesOf(checkout, 'a.txt')).toBe('ONE\ntwo\nthree\nfour\nFIVE\n');
    expect(git(checkout, 'status', '--porcelain')).toBe(' M a.txt\n D b.txt\nA  mine.txt\n M run.sh\n?? theirs.txt');
    expect(git(checkout, 'diff', '--', 'run.sh')).toMatch(/new mode 100644[^]*\+echo mine/);
    await undoApply(place.own, { dryRun: false });
    expect(look(checkout)).toEqual(before);
  });

  it('takes the commits along in a merge where nothing is staged', async () => {
    const { checkout, worktree } = place;
    write(worktree, 'b.txt', 'committed\n');
    commitAll(worktree, 'theirs');
    write(worktree, 'dir/d.txt', 'staged\n');
    git(worktree, 'add', '-A');
    write(checkout, 'a.txt', 'mine\n');
    const before = look(checkout);
    const plan = await applyState(toCheckout(place, { merge: true }));
    expect(plan.head).toMatchObject({ branch: 'refs/heads/main', commits: 1 });
    expect(git(checkout, 'rev-parse', 'main')).toBe(git(worktree, 'rev-parse', 'HEAD'));
    expect(git(checkout, 'status', '--porcelain')).toBe(' M a.txt\nM  dir/d.txt');
    await undoApply(place.own, { dryRun: false });
    expect(look(checkout)).toEqual(before);
  });

  it('is not written where a merge is in conflict, unless conflict markers are asked for', async () => {
    const { checkout, worktree } = place;
    write(worktree, 'a.txt', 'one\nTHEIRS\nthree\nfour\nfive\n');
    write(worktree, 'both', 'theirs\n');
    write(worktree, 'bin', Buffer.from([0, 1]));
    remove(worktree, 'dir');
    write(worktree, 'dir', 'a file\n');
    link(worktree, 'elsewhere', 'a.txt');
    write(checkout, 'a.txt', 'one\nMINE\nthree\nfour\nfive\n');
    write(checkout, 'both', 'mine\n');
    write(checkout, 'bin', Buffer.from([0, 2]));
    write(checkout, 'dir/new', 'mine\n');
    link(checkout, 'elsewhere', 'b.txt');
    write(checkout, 'fine', 'mine\n');
    const before = look(checkout);
    const conflicts = ['a.txt', 'bin', 'both', 'dir', 'elsewhere'];
    expect(await planApply(toCheckout(place, { merge: true }))).toMatchObject({ refused: { reason: 'merge-conflict' }, conflicts });
    await refused(applyState(toCheckout(place, { merge: true })));
    expect(look(checkout)).toEqual(before);
    const plan = await applyState(toCheckout(place, { merge: true, markers: true }));
    expect(plan.conflicts).toEqual(conflicts);
    expect(bytesOf(checkout, 'a.txt')).toBe('one\n<<<<<<< your checkout\nMINE\n=======\nTHEIRS\n>>>>>>> the worktree\nthree\nfour\nfive\n');
    expect(bytesOf(checkout, 'both')).toBe('<<<<<<< your checkout\nmine\n=======\ntheirs\n>>>>>>> the worktree\n');
    expect(readFileSync(path.join(checkout, 'bin'))).toEqual(Buffer.from([0, 2]));
    expect(bytesOf(checkout, 'dir/new')).toBe('mine\n');
    await undoApply(place.own, { dryRun: false });
    expect(look(checkout)).toEqual(before);
  });

  it('with an operation in progress is refused', async () => {
    const { checkout, worktree } = place;
    git(checkout, 'checkout', '-q', '-b', 'topic');
    write(checkout, 'a.txt', 'topic\n');
    commitAll(checkout, 'topic');
    git(checkout, 'checkout', '-q', 'main');
    write(checkout, 'a.txt', 'main\n');
    commitAll(checkout, 'main');
    gitThatMayFail(checkout, 'merge', 'topic');
    write(worktree, 'b.txt', 'x\n');
    const before = look(checkout);
    for (const merge of [false, true]) expect((await planApply(toCheckout(place, { merge }))).refused).toMatchObject({ reason: 'operation-in-progress' });
    expect(look(checkout)).toEqual(before);
  });

  it('and an ignored file in the way is refused, and the file stays', async () => {
    const { checkout, worktree } = place;
    write(checkout, 'x.log', 'mine, ignored\n');
    write(checkout, 'ignored/deep', 'mine, ignored\n');
    write(worktree, '.gitignore', '');
    write(worktree, 'x.log', 'no longer ignored\n');
    const before = look(checkout);
    expect((await planApply(toCheckout(place))).refused).toMatchObject({ reason: 'in-the-way', message: expect.stringContaining('"x.log"') as string });
    await refused(applyState(toCheckout(place)));
    expect(look(checkout)).toEqual(before);
    remove(checkout, 'x.log');
    await applyState(toCheckout(place));
    expect(bytesOf(checkout, 'ignored/deep')).toBe('mine, ignored\n');
    await undoApply(place.own, { dryRun: false });
    expect(bytesOf(checkout, 'ignored/deep')).toBe('mine, ignored\n');
  });

  it('and submodules that differ are refused', async () => {
    const { checkout, worktree, directory } = place;
    const inner = path.join(directory, 'inner');
    git(directory, 'init', '-q', inner);
    git(inner, 'commit', '-q', '--allow-empty', '-m', 'x');
    git(checkout, 'submodule', '--quiet', 'add', inner, 'sub');
    git(checkout, 'commit', '-qm', 'with a submodule');
    git(worktree, 'merge', '-q', '--ff-only', 'main');
    write(worktree, 'a.txt', 'x\n');
    await applyState(toCheckout(place));
    expect(bytesOf(checkout, 'a.txt')).toBe('x\n');
    git(inner, 'commit', '-q', '--allow-empty', '-m', 'y');
    git(worktree, 'update-index', '--cacheinfo', `160000,${git(inner, 'rev-parse', 'HEAD')},sub`);
    const before = look(checkout);
    expect((await planApply(toCheckout(place, { merge: true }))).refused).toMatchObject({ reason: 'submodules-differ' });
    expect(look(checkout)).toEqual(before);
  });
});

describe('back and forth', () => {
  it('each side takes what the other has made of the state that both had', async () => {
    const place = makePlace();
    const { checkout, worktree } = place;
    write(worktree, 'a.txt', 'by the thread\n');
    write(worktree, 'u', 'u\n');
    await applyState(toCheckout(place));
    write(checkout, 'u', 'by the user\n');
    git(checkout, 'add', 'a.txt');
    // The worktree is dirty, but only with what the checkout was made from.
    await applyState(toWorktree(place));
    expect(observe(worktree)).toEqual(observe(checkout));
    git(checkout, 'commit', '-qam', 'by the user');
    write(worktree, 'b.txt', 'more by the thread\n');
    // Both went on: the checkout has a commit that the worktree lacks.
    expect((await planApply(toCheckout(place))).refused?.reason).toBe('target-ahead');
    await applyState(toCheckout(place, { merge: true }));
    expect(git(checkout, 'status', '--porcelain')).toBe(' M b.txt\n?? u');
    expect((await planApply(toWorktree(place))).refused).toBeNull();
    await applyState(toWorktree(place));
    expect(observe(worktree)).toEqual(observe(checkout));
    expect(git(worktree, 'symbolic-ref', 'HEAD')).toContain('refs/heads/baton/');
    expect((await applyState(toCheckout(place))).how).toBe('same');
    await undoApply(place.own, { dryRun: false });
    expect(git(worktree, 'log', '--format=%s', '-1')).toBe('first');
  });

  it('a merge starts from the state that both had last', async () => {
    const place = makePlace();
    const { checkout, worktree } = place;
    write(worktree, 'a.txt', 'one\ntwo\nthree\n');
    await applyState(toCheckout(place));
    // Without that state, the whole file would be a conflict.
    write(checkout, 'a.txt', 'ONE\ntwo\nthree\n');
    write(worktree, 'a.txt', 'one\ntwo\nTHREE\n');
    await applyState(toCheckout(place, { merge: true }));
    expect(bytesOf(checkout, 'a.txt')).toBe('ONE\ntwo\nTHREE\n');
  });
});

describe('undoing', () => {
  let place: Place;
  beforeEach(async () => {
    place = makePlace();
    write(place.checkout, 'other.txt', 'tracked\n');
    commitAll(place.checkout, 'other');
    git(place.worktree, 'merge', '-q', '--ff-only', 'main');
    write(place.worktree, 'a.txt', 'by the thread\n');
    await applyState(toCheckout(place));
  });

  it('leaves alone what was changed since in other files', async () => {
    write(place.checkout, 'other.txt', 'since\n');
    write(place.checkout, 'fresh', 'since\n');
    expect((await undoApply(place.own, { dryRun: true })).changes.map((change) => change.path)).toEqual(['a.txt']);
    expect(bytesOf(place.checkout, 'a.txt')).toBe('by the thread\n');
    await undoApply(place.own, { dryRun: false });
    expect(git(place.checkout, 'status', '--porcelain')).toBe(' M other.txt\n?? fresh');
  });

  it('is refused where what was applied was changed again, staged or committed', async () => {
    write(place.checkout, 'a.txt', 'and then by me\n');
    expect((await refused(undoApply(place.own, { dryRun: false }))).message).toMatch(/changed since in "a\.txt"/);
    write(place.checkout, 'a.txt', 'by the thread\n');
    git(place.checkout, 'add', 'a.txt');
    expect((await refused(undoApply(place.own, { dryRun: false }))).message).toMatch(/staged, committed or switched/);
    git(place.checkout, 'commit', '-qm', 'kept');
    expect((await refused(undoApply(place.own, { dryRun: false }))).reason).toBe('apply-refused');
    expect(bytesOf(place.checkout, 'a.txt')).toBe('by the thread\n');
    expect(existsSync(path.join(place.checkout, '.git/index.lock'))).toBe(false);
  });
});

describe('when something goes wrong', () => {
  const dirty = (place: Place) => {
    write(place.checkout, 'a.txt', 'begun here\n');
    write(place.checkout, 'u/deep', 'begun here\n');
    git(place.checkout, 'add', 'a.txt');
    write(place.worktree, 'a.txt', 'gone on\n');
    write(place.worktree, 'new/file', 'new\n');
    commitAll(place.worktree, 'a commit');
    write(place.worktree, 'b.txt', 'b staged\n');
    git(place.worktree, 'add', 'b.txt');
    remove(place.worktree, 'dir/c.txt');
    write(place.worktree, 'dir/c.txt/now a directory', 'x\n');
  };

  it('a plan that is not the one that was agreed to is not carried out', async () => {
    const place = makePlace();
    write(place.worktree, 'a.txt', 'x\n');
    const { digest } = await planApply(toCheckout(place));
    write(place.worktree, 'a.txt', 'y\n');
    const before = look(place.checkout);
    expect((await refused(applyState(toCheckout(place, { expected: digest })))).reason).toBe('apply-outdated');
    expect(look(place.checkout)).toEqual(before);
  });

  it('a git that is at work in the checkout is not disturbed', async () => {
    const place = makePlace();
    write(place.worktree, 'a.txt', 'x\n');
    const lock = path.join(place.checkout, '.git/index.lock');
    writeFileSync(lock, '');
    expect((await refused(applyState(toCheckout(place)))).reason).toBe('index-locked');
    expect(existsSync(lock)).toBe(true);
    rmSync(lock);
    await applyState(toCheckout(place));
  });

  it('a file that cannot be written puts everything back', async (context) => {
    if (process.platform !== 'linux' || process.getuid?.() !== 0) return context.skip('a small file system can only be mounted by root on Linux');
    const directory = temporaryDirectory();
    const checkout = path.join(directory, 'small');
    mkdirSync(checkout);
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=6m', 'tmpfs', checkout], { stdio: 'pipe' });
    } catch {
      return context.skip('mount was refused here');
    }
    try {
      // The objects are elsewhere, so that it is the files for which there is no room.
      git(checkout, 'init', '-q', '--separate-git-dir', path.join(directory, 'git'));
      write(checkout, 'a.txt', 'a\n');
      write(checkout, 'z.bin', Buffer.alloc(2_000_000, 1));
      commitAll(checkout, 'first');
      const worktree = path.join(directory, 'worktree');
      git(checkout, 'worktree', 'add', '-q', '-b', 'baton/x/main', worktree);
      write(worktree, 'a.txt', 'changed\n');
      for (let n = 0; n < 8; n++) write(worktree, `m${n}.bin`, createHash('sha512').update(`${n}`).digest('hex').repeat(8000));
      remove(worktree, 'z.bin');
      const place: Place = { directory, checkout, worktree, own: path.join(directory, 'own') };
      const before = look(checkout);
      expect((await refused(applyState(toCheckout(place)))).message).toMatch(/No space left|unable to write|checkout-index/i);
      expect(look(checkout)).toEqual(before);
      // A file of which there was room for a part could have been somebody else's.
      expect(git(checkout, 'for-each-ref', '--format=%(refname)', 'refs/baton')).toMatch(/^(refs\/baton\/snapshots\/apply\/.*\/found)?$/);
    } finally {
      execFileSync('umount', [checkout]);
    }
  });

  it('a directory that cannot be written puts everything back', async (context) => {
    const place = makePlace();
    dirty(place);
    const { fingerprint } = await captureWorkingState({ root: place.checkout, spool: path.join(place.directory, 'left') });
    const before = look(place.checkout);
    const directory = path.join(place.checkout, 'dir');
    // No mode keeps root from writing.
    const asRoot = process.getuid?.() === 0;
    if (process.platform === 'win32') return context.skip('directories cannot be made read-only by mode here');
    try {
      if (asRoot) execFileSync('mount', ['--bind', directory, directory], { stdio: 'pipe' });
      if (asRoot) execFileSync('mount', ['-o', 'remount,ro,bind', directory], { stdio: 'pipe' });
      else chmodSync(directory, 0o555);
    } catch {
      return context.skip('mount was refused here');
    }
    try {
      expect((await refused(applyState(toCheckout(place, { known: [fingerprint] })).catch((error: unknown) => { throw GitError.is(error) ? error : new GitError('failed', String(error)); }))).message).toMatch(/read-only|EROFS|EACCES|Permission denied/i);
      expect(look(place.checkout)).toEqual(before);
      expect(existsSync(path.join(place.checkout, '.git/index.lock'))).toBe(false);
    } finally {
      if (asRoot) execFileSync('umount', [directory]);
      else chmodSync(directory, 0o755);
    }
    await applyState(toCheckout(place, { known: [fingerprint] }));
    expect(observe(place.checkout)).toEqual(observe(place.worktree));
  });

  describe('a process that is killed', () => {
    let program: Buffer;
    // What is written down, and the index that takes its place, are steps too: it can die right after each.
    const renamesAreSteps = `import { appendFileSync, readFileSync } from 'node:fs'; import files from 'node:fs/promises';
      const { rename } = files;
      files.rename = async (from, to) => {
        await rename(from, to);
        if (!/(apply\\.json|index)$/.test(String(to))) return;
        appendFileSync(process.env.STEPS, 'x\\n');
        if (readFileSync(process.env.STEPS, 'utf8').length / 2 === Number(process.env.LAST_STEP)) process.kill(process.pid, 'SIGKILL');
      };`;
    beforeAll(async () => {
      const outfile = path.join(temporaryDirectory(), 'apply.cjs');
      await build({
        stdin: { contents: `${renamesAreSteps} import { applyState, undoApply } from './src/git/apply'; const given = JSON.parse(process.argv[2]); void (given.undo ? undoApply(given.undo, { dryRun: false }) : applyState({ ...given, now: new Date(given.now) })).then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });`, resolveDir: path.resolve(import.meta.dirname, '../..'), loader: 'ts' },
        bundle: true, platform: 'node', format: 'cjs', outfile, logLevel: 'error',
      });
      program = readFileSync(outfile);
    });
    afterAll(removeTemporaryDirectories);

    /** Runs it in a process that dies at its `nth` step: when its git begins a command that changes something, or right after a rename. */
    const dieAt = async (options: unknown, nth: number): Promise<NodeJS.Signals | null> => {
      const directory = temporaryDirectory();
      const file = path.join(directory, 'apply.cjs');
      writeFileSync(file, program);
      const real = execFileSync('sh', ['-c', 'command -v git'], { encoding: 'utf8' }).trim();
      writeFileSync(path.join(directory, 'git'), `#!/bin/sh
case "$*" in *update-ref*|*update-index*|*checkout-index*|*read-tree*|*fast-import*|*pack-objects*|*commit-tree*) echo x >>"${directory}/log"; [ "$(wc -l <"${directory}/log")" -ne ${nth} ] || { kill -9 $PPID; exit 1; };; esac
exec "${real}" "$@"
`);
      chmodSync(path.join(directory, 'git'), 0o755);
      const child = spawn(process.execPath, [file, JSON.stringify(options)], { env: { ...process.env, PATH: `${directory}:${process.env['PATH'] ?? ''}`, STEPS: path.join(directory, 'log'), LAST_STEP: String(nth) }, stdio: ['ignore', 'ignore', 'inherit'] });
      return new Promise((resolve) => { child.once('exit', (_code, signal) => { resolve(signal); }); });
    };

    it('at any of its steps leaves a checkout that is mended: as it was', async () => {
      const place = makePlace();
      dirty(place);
      const { fingerprint } = await captureWorkingState({ root: place.checkout, spool: path.join(place.directory, 'left') });
      const before = look(place.checkout);
      let [killed, done] = [0, 0];
      for (let nth = 1; ; nth++) {
        const signal = await dieAt(toCheckout(place, { known: [fingerprint] }), nth);
        if (signal !== 'SIGKILL') break;
        killed++;
        await mendApply(place.own);
        expect(existsSync(path.join(place.checkout, '.git/index.lock'))).toBe(false);
        expect(await mendApply(place.own)).toBe(false);
        if (existsSync(path.join(place.checkout, 'new/file'))) {
          // It had written down that all is done.
          expect(observe(place.checkout), `killed at step ${nth}`).toEqual(observe(place.worktree));
          await undoApply(place.own, { dryRun: false });
          done++;
        }
        expect(look(place.checkout), `killed at step ${nth}`).toEqual(before);
      }
      expect(killed).toBeGreaterThan(10);
      expect(done).toBeGreaterThan(0);
      expect(observe(place.checkout)).toEqual(observe(place.worktree));
      expect(git(place.checkout, 'fsck', '--connectivity-only')).not.toMatch(/missing|broken/);

      // The same for undoing it.
      for (let nth = 1; ; nth++) {
        const signal = await dieAt({ undo: place.own }, nth);
        if (signal !== 'SIGKILL') break;
        await mendApply(place.own);
        if (nth > 4) expect(look(place.checkout), `killed at step ${nth} of undoing`).toEqual(before);
        if (JSON.stringify(look(place.checkout)) === JSON.stringify(before)) await applyState(toCheckout(place, { known: [fingerprint] }));
      }
      expect(look(place.checkout)).toEqual(before);
    }, 240_000);

    it('keeps what was written into a half changed checkout before it is mended', async () => {
      const place = makePlace();
      dirty(place);
      const { fingerprint } = await captureWorkingState({ root: place.checkout, spool: path.join(place.directory, 'left') });
      const before = look(place.checkout);
      let nth = 1;
      while (!existsSync(path.join(place.checkout, 'new/file'))) {
        await mendApply(place.own);
        expect(await dieAt(toCheckout(place, { known: [fingerprint] }), nth++)).toBe('SIGKILL');
      }
      write(place.checkout, 'new/file', 'written by the user meanwhile\n');
      write(place.checkout, 'elsewhere', 'written by the user meanwhile\n');
      await mendApply(place.own);
      expect(look(place.checkout)).toEqual({ ...before, ...((now) => ({ status: now['status'], bytes: now['bytes'], files: now['files'] }))(look(place.checkout)) });
      expect(git(place.checkout, 'status', '--porcelain')).toBe('M  a.txt\n?? elsewhere\n?? u/');
      const found = git(place.checkout, 'for-each-ref', '--format=%(refname)', `refs/baton/snapshots/apply/${THREAD}`);
      expect(found).toMatch(/\/found$/);
      expect(git(place.checkout, 'show', `${found}^1:new/file`)).toBe('written by the user meanwhile');
    }, 120_000);
  });

  describe('a record that says an apply was cut off', () => {
    const recorded = (place: Place) => JSON.parse(readFileSync(path.join(place.own, 'apply.json'), 'utf8')) as { change: { stamp: string; phase: string; after: unknown } };
    /** As if the process had died just before it wrote that all is done, or in the middle of undoing it. */
    const cutOff = (place: Place, phase: 'changing' | 'undoing', record = recorded(place)) => {
      const { change } = record;
      writeFileSync(path.join(place.own, 'apply.json'), JSON.stringify({ ...record, change: { ...change, phase, after: phase === 'changing' ? null : change.after } }));
    };
    const foundOf = (place: Place) => git(place.checkout, 'for-each-ref', '--format=%(refname)', `refs/baton/snapshots/apply/${THREAD}`).split('\n').filter((name) => name.includes('/found'));
    let place: Place;
    beforeEach(async () => {
      place = makePlace();
      write(place.worktree, 'a.txt', 'by the thread\n');
      await applyState(toCheckout(place));
    });

    it('twice, with another file each time: what was found first stays beside what was found next', async () => {
      const record = recorded(place);
      for (const content of ['written by the user after the crash\n', 'ha']) {
        cutOff(place, 'undoing', record);
        write(place.checkout, 'a.txt', content);
        await mendApply(place.own);
      }
      const found = foundOf(place);
      expect(found.map((ref) => path.basename(ref))).toEqual(['found', 'found-2']);
      expect(found.map((ref) => git(place.checkout, 'show', `${ref}^1:a.txt`))).toEqual(['written by the user after the crash', 'ha']);
      expect((await listSnapshots(path.join(place.checkout, '.git'))).map(({ ref }) => ref)).toEqual(expect.arrayContaining(found));
    });

    it('alone is no reason to keep anything', async () => {
      cutOff(place, 'changing');
      await mendApply(place.own);
      expect(git(place.checkout, 'status', '--porcelain')).toBe('');
      expect(foundOf(place)).toEqual([]);
    });

    it('and what was staged meanwhile, in whatever file, is kept', async () => {
      cutOff(place, 'changing');
      write(place.checkout, 'b.txt', 'staged with care\n');
      git(place.checkout, 'add', 'b.txt');
      git(place.checkout, 'restore', '--worktree', '--source=HEAD', 'b.txt');
      await mendApply(place.own);
      expect(git(place.checkout, 'show', `${foundOf(place)[0] ?? ''}^1^1:b.txt`)).toBe('staged with care');
    });

    it('and an operation that was begun meanwhile is kept', async () => {
      cutOff(place, 'changing');
      const head = git(place.checkout, 'rev-parse', 'HEAD');
      writeFileSync(path.join(place.checkout, '.git/CHERRY_PICK_HEAD'), `${head}\n`);
      await mendApply(place.own);
      expect(git(place.checkout, 'cat-file', 'commit', foundOf(place)[0] ?? '')).toContain('tree');
    });

    it('and a commit that was made meanwhile is kept, as all that was there', async () => {
      cutOff(place, 'changing');
      git(place.checkout, 'commit', '-q', '--allow-empty', '-m', 'meanwhile');
      const commit = git(place.checkout, 'rev-parse', 'HEAD');
      await mendApply(place.own);
      expect(git(place.checkout, 'for-each-ref', '--contains', commit)).toMatch(/\/found$/m);
    });
  });

  it('a link that takes the place of a directory of the checkout leads nobody out', async () => {
    const place = makePlace();
    const outside = path.join(place.directory, 'outside');
    mkdirSync(outside);
    write(place.worktree, '.gitignore', '');
    write(place.worktree, 'linked.log/new', 'x\n');
    symlinkSync(outside, path.join(place.checkout, 'linked.log'));
    expect((await refused(applyState(toCheckout(place)))).reason).toBe('apply-refused');
    expect(readdirSync(outside)).toEqual([]);
  });
});
