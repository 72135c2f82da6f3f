import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { captureWorkingState } from '../../src/git/capture';
import { estimateTransfer } from '../../src/git/estimate';
import { listTips } from '../../src/git/bundle';
import { readRepositoryIdentity, sameRepository } from '../../src/git/repository';
import { restoreWorkingState, rollbackRestore } from '../../src/git/restore';
import { withMeddlingGit } from '../fixtures/meddlingGit';
import { belongings, carry, git, gitThatMayFail, gitWithEnvironment, makePair, observe, ownCheckout, photograph, remove, removeTemporaryDirectories, send, THREAD, write, type Pair } from './laboratory';

let pair: Pair;
let worktree: string;
beforeEach(() => {
  pair = makePair();
  worktree = path.join(pair.directory, 'server', 'worktrees', '1', 'app');
});
afterEach(removeTemporaryDirectories);

const restore = (sent: Awaited<ReturnType<typeof send>>, root: string, directory: string, expectedFingerprint?: string) => restoreWorkingState({
  root, quarantine: sent.quarantine, worktree: directory, threadId: THREAD, carriedBranch: sent.capture.branch, existing: expectedFingerprint === undefined ? undefined : { expectedFingerprint },
});

describe('which branch a thread is on', () => {
  it('is the carried one where it does not exist yet', async () => {
    git(pair.laptop, 'checkout', '-q', '-b', 'feature/x');
    const { restored } = await carry(pair, pair.laptop, pair.server, worktree);
    expect(restored).toMatchObject({ branch: 'feature/x', notes: [] });
    expect(git(pair.server, 'rev-parse', 'feature/x')).toBe(restored.head);
  });
  it('is the carried one where it stands at the same commit and is checked out nowhere', async () => {
    expect((await carry(pair, pair.laptop, pair.server, worktree)).restored.branch).toBe('main');
  });
  it('is one of the thread\'s own where the branch has moved, and the user\'s stays', async () => {
    write(pair.laptop, 'n', 'n');
    git(pair.laptop, 'add', 'n');
    git(pair.laptop, 'commit', '-qm', 'ahead');
    const before = git(pair.server, 'rev-parse', 'main');
    const { restored } = await carry(pair, pair.laptop, pair.server, worktree);
    expect(restored.branch).toBe('baton/019a1b2c-3d4e/main');
    expect(restored.notes.join()).toMatch(/main is at another commit here/);
    expect(git(pair.server, 'rev-parse', 'main')).toBe(before);
  });
  it('does not nest when it comes home, and fast-forwards its own when it goes there again', async () => {
    git(pair.server, 'checkout', '-q', 'main');
    const there = await carry(pair, pair.laptop, pair.server, worktree);
    expect(there.restored.branch).toBe('baton/019a1b2c-3d4e/main');
    write(worktree, 'n', 'n');
    git(worktree, 'add', 'n');
    git(worktree, 'commit', '-qm', 'made there');
    const back = path.join(pair.directory, 'laptop', 'worktrees', '1', 'app');
    const home = await carry(pair, worktree, pair.laptop, back);
    expect(home.restored.branch).toBe('baton/019a1b2c-3d4e/main');
    write(back, 'm', 'm');
    git(back, 'add', 'm');
    git(back, 'commit', '-qm', 'made here');
    const again = await carry(pair, back, pair.server, worktree, home.restored.fingerprint);
    expect(again.restored.branch).toBe('baton/019a1b2c-3d4e/main');
    expect(git(pair.server, 'rev-parse', 'baton/019a1b2c-3d4e/main')).toBe(git(back, 'rev-parse', 'HEAD'));
  });
});

describe('an existing worktree', () => {
  it('that has changed since is refused, and keeps every byte', async () => {
    const there = await carry(pair, pair.laptop, pair.server, worktree);
    write(worktree, 'made there', 'x');
    const before = photograph(worktree);
    write(pair.laptop, 'more', 'm');
    const sent = await send(pair, pair.laptop, pair.server);
    await expect(restore(sent, pair.server, worktree, there.restored.fingerprint)).rejects.toMatchObject({ reason: 'worktree-diverged' });
    await rollbackRestore(sent.quarantine.directory);
    expect(photograph(worktree)).toEqual(before);
  });
  it('keeps its ignored files, and is refused where one is in the way', async () => {
    const there = await carry(pair, pair.laptop, pair.server, worktree);
    write(worktree, 'ignored/local', 'local\n');
    write(worktree, 'dir/x.log', 'local\n');
    write(pair.laptop, 'new', 'n');
    remove(pair.laptop, 'dir');
    const again = await carry(pair, pair.laptop, pair.server, worktree, there.restored.fingerprint);
    expect(readFileSync(path.join(worktree, 'ignored/local'), 'utf8')).toBe('local\n');
    expect(readdirSync(path.join(worktree, 'dir'))).toEqual(['x.log']);
    write(pair.laptop, 'dir', 'a file now\n');
    const sent = await send(pair, pair.laptop, pair.server);
    await expect(restore(sent, pair.server, worktree, again.restored.fingerprint)).rejects.toMatchObject({ reason: 'worktree-diverged' });
    await rollbackRestore(sent.quarantine.directory);
    expect(readFileSync(path.join(worktree, 'dir/x.log'), 'utf8')).toBe('local\n');
  });
  it('gets a file back that was not to be in it', async () => {
    git(pair.laptop, 'update-index', '--skip-worktree', 'b.txt');
    remove(pair.laptop, 'b.txt');
    const there = await carry(pair, pair.laptop, pair.server, worktree);
    expect(existsSync(path.join(worktree, 'b.txt'))).toBe(false);
    git(pair.laptop, 'update-index', '--no-skip-worktree', 'b.txt');
    git(pair.laptop, 'checkout', '--', 'b.txt');
    await carry(pair, pair.laptop, pair.server, worktree, there.restored.fingerprint);
    expect(observe(worktree)).toEqual(observe(pair.laptop));
  });
  it('is refused too where an ignored file would stand for one that is tracked and deleted', async () => {
    const there = await carry(pair, pair.laptop, pair.server, worktree);
    write(worktree, 'x.log', 'local\n');
    for (const state of [() => { git(pair.laptop, 'add', '-f', 'x.log'); }, () => { git(pair.laptop, 'add', '-f', '-N', 'x.log'); }]) {
      write(pair.laptop, 'x.log', 'tracked\n');
      state();
      remove(pair.laptop, 'x.log');
      const before = photograph(worktree);
      const sent = await send(pair, pair.laptop, pair.server);
      await expect(restore(sent, pair.server, worktree, there.restored.fingerprint)).rejects.toMatchObject({ reason: 'worktree-diverged' });
      await rollbackRestore(sent.quarantine.directory);
      expect(photograph(worktree)).toEqual(before);
      git(pair.laptop, 'reset', '-q');
    }
  });
  it('can be put back as it was, index and branch and operation too', async () => {
    const there = await carry(pair, pair.laptop, pair.server, worktree);
    // Packs that a reflog has come to name stay.
    const refsAndWorktrees = () => ({ refs: git(pair.server, 'for-each-ref'), worktrees: git(pair.server, 'worktree', 'list') });
    const before = { state: observe(worktree), ...refsAndWorktrees(), branch: git(worktree, 'symbolic-ref', 'HEAD') };
    write(pair.laptop, 'a.txt', 'staged\n');
    git(pair.laptop, 'commit', '-qam', 'new');
    write(pair.laptop, 'b.txt', 'x\n');
    write(pair.laptop, 'u', 'u\n');
    remove(pair.laptop, 'dir');
    const sent = await send(pair, pair.laptop, pair.server);
    const changed = await restore(sent, pair.server, worktree, there.restored.fingerprint);
    expect(changed.fingerprint).toBe(sent.capture.fingerprint);
    await rollbackRestore(sent.quarantine.directory);
    expect({ state: observe(worktree), ...refsAndWorktrees(), branch: git(worktree, 'symbolic-ref', 'HEAD') }).toEqual(before);
  });
});

describe('taking a restore back', () => {
  it('leaves nothing: no worktree, ref, pack or directory', async () => {
    write(pair.laptop, 'u', 'u\n');
    git(pair.laptop, 'checkout', '-q', '-b', 'other');
    const before = { belongings: belongings(pair.server), own: ownCheckout(pair.server) };
    const sent = await send(pair, pair.laptop, pair.server);
    await restore(sent, pair.server, worktree);
    expect(belongings(pair.server)).not.toEqual(before.belongings);
    await rollbackRestore(sent.quarantine.directory);
    await rollbackRestore(sent.quarantine.directory);
    expect({ belongings: belongings(pair.server), own: ownCheckout(pair.server) }).toEqual(before);
    expect(existsSync(path.join(pair.directory, 'server/worktrees'))).toBe(false);
    expect(existsSync(sent.quarantine.directory)).toBe(false);
  });
});

describe('nothing of the repositories runs', () => {
  it('neither hooks nor filters nor monitors, at either end', async () => {
    const canary = path.join(pair.directory, 'canary');
    const script = path.join(pair.directory, 'evil.sh');
    writeFileSync(script, `#!/bin/sh\ntouch ${canary}\ncat\n`);
    chmodSync(script, 0o755);
    write(pair.laptop, '.gitattributes', '*.f filter=evil diff=evil\n');
    write(pair.laptop, 'x.f', 'x\n');
    git(pair.laptop, 'add', '-A');
    git(pair.laptop, 'commit', '-qm', 'filtered');
    write(pair.laptop, 'y.f', 'y\n');
    write(pair.laptop, 'x.f', 'xx\n');
    for (const root of [pair.laptop, pair.server]) {
      mkdirSync(path.join(root, '.git/hooks'), { recursive: true });
      for (const hook of ['post-checkout', 'post-index-change', 'reference-transaction', 'pre-commit', 'post-commit']) writeFileSync(path.join(root, '.git/hooks', hook), `#!/bin/sh\ntouch ${canary}\n`, { mode: 0o755 });
      for (const key of ['core.fsmonitor', 'filter.evil.clean', 'filter.evil.smudge', 'filter.evil.process', 'diff.evil.textconv', 'core.sshCommand', 'core.pager']) git(root, 'config', key, script);
    }
    const { restored, capture } = await carry(pair, pair.laptop, pair.server, worktree);
    expect(restored.fingerprint).toBe(capture.fingerprint);
    expect(existsSync(canary)).toBe(false);
  });
  it('not a line of a rebase either, and the user is told', async () => {
    write(pair.laptop, 'n', 'n');
    git(pair.laptop, 'add', 'n');
    git(pair.laptop, 'commit', '-qm', 'two');
    const canary = path.join(pair.directory, 'canary');
    gitWithEnvironment(pair.laptop, { GIT_SEQUENCE_EDITOR: `sh -c 'printf "break\\nexec touch ${canary}\\n" > "$1"' x` }, 'rebase', '-i', 'HEAD~1');
    const { restored, capture } = await carry(pair, pair.laptop, pair.server, worktree);
    expect(capture.findings.map((finding) => finding.code)).toContain('operation-lines-stay');
    expect(restored.notes.join('\n')).toContain(`exec touch ${canary}`);
    expect(restored.fingerprint).toBe(capture.fingerprint);
    gitThatMayFail(worktree, 'rebase', '--continue');
    expect(existsSync(canary)).toBe(false);
    expect(git(worktree, 'symbolic-ref', 'HEAD')).toBe('refs/heads/baton/019a1b2c-3d4e/main');
  });
});

describe('an operation goes on at the destination', () => {
  it('a merge is aborted, a rebase continued, a bisect judged', async () => {
    git(pair.laptop, 'checkout', '-q', '-b', 'topic');
    write(pair.laptop, 'a.txt', 'topic\n');
    git(pair.laptop, 'commit', '-qam', 'topic');
    git(pair.laptop, 'checkout', '-q', 'main');
    write(pair.laptop, 'a.txt', 'main\n');
    git(pair.laptop, 'commit', '-qam', 'main');
    gitThatMayFail(pair.laptop, 'merge', 'topic');
    await carry(pair, pair.laptop, pair.server, worktree);
    git(worktree, 'merge', '--abort');
    expect(git(worktree, 'status', '--porcelain')).toBe('');
    git(pair.laptop, 'merge', '--abort');
    git(pair.laptop, 'checkout', '-q', 'topic');
    gitThatMayFail(pair.laptop, 'rebase', 'main');
    const second = path.join(pair.directory, 'server', 'worktrees', '2', 'app');
    await carry(pair, pair.laptop, pair.server, second);
    write(second, 'a.txt', 'resolved\n');
    git(second, 'add', 'a.txt');
    git(second, '-c', 'core.editor=true', '-c', 'user.name=A', '-c', 'user.email=a@b', 'rebase', '--continue');
    expect(git(second, 'symbolic-ref', 'HEAD')).toBe('refs/heads/baton/019a1b2c-3d4e/topic');
  });
});

describe('a capture', () => {
  /** Runs with a git that has a file change right after the working tree was read, at most `times` times. */
  const whileFilesChange = <T>(times: number, run: () => Promise<T>): Promise<T> => withMeddlingGit(path.join(pair.directory, 'busy-git'), { words: ['fast-import'], nth: [1, times], after: `echo more >>"${pair.laptop}/busy.txt"` }, run);
  it('gives up when files never stand still', async () => {
    write(pair.laptop, 'busy.txt', 'x\n');
    const spool = path.join(pair.directory, 'busy');
    await expect(whileFilesChange(99, () => captureWorkingState({ root: pair.laptop, spool }))).rejects.toMatchObject({ reason: 'changed-while-capturing' });
    expect(readdirSync(spool)).toEqual([]);
  });
  it('begins again when a file changes meanwhile, and takes what is there then', async () => {
    write(pair.laptop, 'busy.txt', 'x\n');
    const capture = await whileFilesChange(1, () => captureWorkingState({ root: pair.laptop, spool: path.join(pair.directory, 'busy') }));
    expect(capture.fingerprint).toBe((await captureWorkingState({ root: pair.laptop, spool: path.join(pair.directory, 'still') })).fingerprint);
    expect(readFileSync(path.join(pair.laptop, 'busy.txt'), 'utf8')).toBe('x\nmore\n');
  });
  it('can be cancelled', async () => {
    await expect(captureWorkingState({ root: pair.laptop, spool: path.join(pair.directory, 'c'), signal: AbortSignal.abort() })).rejects.toMatchObject({ reason: 'cancelled' });
  });
  it('names what it does not carry', async () => {
    git(pair.directory, 'clone', '-q', pair.server, path.join(pair.laptop, 'nested'));
    git(pair.laptop, 'submodule', '--quiet', 'add', pair.server, 'sub');
    git(pair.laptop, 'commit', '-qm', 'sub');
    git(pair.laptop, 'submodule', '--quiet', 'deinit', '-f', 'sub');
    write(pair.laptop, 'sub/file', 'x');
    const { findings } = await captureWorkingState({ root: pair.laptop, spool: path.join(pair.directory, 'spool') });
    expect(findings.map((finding) => `${finding.level} ${finding.code}`).sort()).toEqual(['warning nested-repository-stays', 'warning submodule-files-stay']);
  });
  it('is small to send when little changed, and smaller again on the way back', async () => {
    for (let n = 0; n < 500; n++) write(pair.laptop, `many/${n}.txt`, `${n} ${'content '.repeat(50)}${Math.sin(n)}\n`);
    git(pair.laptop, 'add', '-A');
    git(pair.laptop, 'commit', '-qm', 'many');
    git(pair.server, 'fetch', '-q');
    write(pair.laptop, 'many/1.txt', 'changed\n');
    const capture = await captureWorkingState({ root: pair.laptop, spool: path.join(pair.directory, 'estimate') });
    const estimate = await estimateTransfer({ capture, haves: await listTips(pair.server) });
    expect(estimate).toMatchObject({ commits: 0, files: 1 });
    const there = await carry(pair, pair.laptop, pair.server, worktree);
    expect(there.bytes).toBeLessThan(8000);
    expect(estimate.bytes).toBeLessThan(40_000);
    expect((await estimateTransfer({ capture, haves: [] })).commits).toBe(2);
  });
});

describe('repositories of every kind', () => {
  it('a linked worktree as the source', async () => {
    const linked = path.join(pair.directory, 'linked');
    git(pair.laptop, 'worktree', 'add', '-q', '-b', 'side', linked);
    write(linked, 'a.txt', 'x\n');
    git(linked, 'add', 'a.txt');
    write(linked, 'u', 'u');
    const { restored, capture } = await carry(pair, linked, pair.server, worktree);
    expect(observe(worktree)).toEqual(observe(linked));
    expect(restored).toMatchObject({ branch: 'side', fingerprint: capture.fingerprint });
  });
  it('one without a commit, on both sides', async () => {
    const source = path.join(pair.directory, 'unborn', 'a');
    const destination = path.join(pair.directory, 'unborn', 'b');
    for (const root of [source, destination]) {
      mkdirSync(root, { recursive: true });
      git(root, 'init', '-q');
    }
    git(source, 'symbolic-ref', 'HEAD', 'refs/heads/start');
    write(source, 'a', 'a');
    git(source, 'add', 'a');
    write(source, 'u', 'u');
    const there = path.join(pair.directory, 'unborn', 'worktree');
    const { restored, capture } = await carry(pair, source, destination, there);
    expect(restored).toMatchObject({ head: null, branch: 'start', fingerprint: capture.fingerprint });
    expect(observe(there)).toEqual(observe(source));
  });
  it('one that is swept of what no ref names keeps what arrived', async () => {
    write(pair.laptop, 'a.txt', 'staged\n');
    git(pair.laptop, 'add', 'a.txt');
    write(pair.laptop, 'u', 'u');
    await carry(pair, pair.laptop, pair.server, worktree);
    git(pair.server, 'gc', '-q', '--prune=now');
    expect(observe(worktree)).toEqual(observe(pair.laptop));
    expect(git(pair.server, 'rev-parse', '-q', '--verify', `refs/baton/threads/${THREAD}:manifest.json`)).toMatch(/^[0-9a-f]{40}$/);
  });
});

describe('identity and managed worktrees', () => {
  it('clones are the same repository, strangers are not', async () => {
    const other = makePair();
    write(other.laptop, 'x', 'x');
    git(other.laptop, 'commit', '-q', '--allow-empty', '--amend', '-m', 'another root');
    const [laptop, server, stranger] = await Promise.all([pair.laptop, pair.server, other.laptop].map(readRepositoryIdentity));
    if (laptop === undefined || server === undefined || stranger === undefined) throw new Error('three were asked for');
    expect(sameRepository(laptop, server)).toBe(true);
    expect(sameRepository(laptop, stranger)).toBe(false);
  });
});
