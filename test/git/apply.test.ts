import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { applyState, planApply, undoApply } from '../../src/git/apply';
import type { ApplyPlan } from '../../src/git/applyPlan';
import { captureWorkingState } from '../../src/git/capture';
import { captureCheckout } from '../../src/git/captureCheckout';
import { bytesOf, commitAll, look, makePlace, refused, toCheckout, toWorktree, type Place } from './applyPlaces';
import { git, gitThatMayFail, link, observe, photograph, remove, removeTemporaryDirectories, write } from './laboratory';
import { someOf } from './states';
import { statesOfFiles } from './statesOfFiles';
import { statesOfOperations } from './statesOfOperations';
import { statesOfRepositories } from './statesOfRepositories';

/** Nothing where git finds nothing. */
const gitSays = (root: string, ...args: string[]): string => { try { return git(root, ...args); } catch { return ''; } };

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

/**
 * That every state is captured and restored exactly is proved elsewhere (workingState.test.ts). Here some are taken of those that differ most from
 * each other.
 */
const allStates = [...statesOfFiles, ...statesOfOperations, ...statesOfRepositories].filter(({ there }) => there === undefined);
const named = (plan: ApplyPlan) => plan.changes.map((change) => change.path);

describe('over the states of a checkout, applying to one that is clean', () => {
  // Those that are no state of a linked worktree's, or that need a repository of another kind on the other side.
  const elsewhere = ['no index file', 'index.lock held by another git', 'a linked worktree', 'a linked worktree of a bare repository, in a rebase', 'a Git directory elsewhere', 'core.worktree', 'a repository without a commit', 'a repository without a commit or an index', 'objects borrowed from another repository', 'a grafted history'];
  const states = someOf(allStates.filter(({ name }) => !elsewhere.includes(name)), 3);
  it.each(states.map((state) => [state.name, state] as const))('%s', async (_name, state) => {
    const place = makePlace({ checkoutDetached: true, ...(state.format === undefined ? {} : { format: state.format }) });
    const { checkout, worktree } = place;
    state.make(worktree, { directory: place.directory, laptop: worktree, server: checkout });
    const before = look(checkout);
    const photo = photograph(worktree);
    const planned = await planApply(toCheckout(place));
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
    if (done.how === 'same') return;
    expect(planned.changes).toEqual(done.changes);
    const { changes } = await undoApply(place.own, { dryRun: false });
    expect(changes.map((change) => change.path)).toEqual(named(done));
    expect(look(checkout)).toEqual(before);
  });
});

describe('over the states of a checkout that is replaced', () => {
  // What only the worktree's own repository could have; where git itself is at work; and where what git says depends on when it looked last.
  const elsewhere = ['dirty attributes that end a conversion', 'no index file', 'index.lock held by another git', 'a repository without a commit', 'a repository without a commit or an index', 'a Git directory elsewhere', 'core.worktree', 'a linked worktree', 'a linked worktree of a bare repository, in a rebase'];
  const states = someOf(allStates.filter(({ name }) => !elsewhere.includes(name)), 4);
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
    expect(look(checkout), 'a plan changes nothing').toEqual(before);
    expect(plan.head).toEqual({ branch: 'refs/heads/main', before: git(checkout, 'rev-parse', 'main'), after: git(worktree, 'rev-parse', 'HEAD'), commits: 1 });
    await applyState(toCheckout(place));
    expect(git(checkout, 'symbolic-ref', 'HEAD')).toBe('refs/heads/main');
    expect(observe(checkout)).toEqual(observe(worktree));
    expect(existsSync(path.join(checkout, '.git/index.lock'))).toBe(false);
    expect(git(checkout, 'fsck', '--connectivity-only')).not.toMatch(/missing|broken/);
    await undoApply(place.own, { dryRun: false });
    expect(look(checkout)).toEqual(before);
    expect((await refused(undoApply(place.own, { dryRun: false }))).reason).toBe('nothing-to-undo');
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
