import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { restoreWorkingState, rollbackRestore } from '../../src/git/restore';
import { withMeddlingGit } from '../fixtures/meddlingGit';
import { carry, git, gitWithEnvironment, link, makePair, observe, ownCheckout, photograph, remove, removeTemporaryDirectories, send, THREAD, write, type Pair } from './laboratory';
import { change, commit } from './states';

let pair: Pair;
let worktree: string;
beforeEach(() => {
  pair = makePair();
  worktree = path.join(pair.directory, 'server', 'worktrees', '1', 'app');
});
afterEach(removeTemporaryDirectories);

const restore = (sent: Awaited<ReturnType<typeof send>>, expectedFingerprint?: string) => restoreWorkingState({
  root: pair.server, quarantine: sent.quarantine, worktree, threadId: THREAD, carriedBranch: sent.capture.branch, existing: expectedFingerprint === undefined ? undefined : { expectedFingerprint },
});

describe('a place for a new worktree that somebody else has made', () => {
  it('is refused where it is a link, to an empty directory or to none, or holds anything', async () => {
    const outside = path.join(pair.directory, 'outside');
    mkdirSync(outside);
    mkdirSync(path.dirname(worktree), { recursive: true });
    const own = ownCheckout(pair.server);
    for (const make of [() => { link(path.dirname(worktree), 'app', outside); }, () => { link(path.dirname(worktree), 'app', path.join(outside, 'none')); }, () => { write(worktree, 'there', 'x'); }, () => { writeFileSync(worktree, 'a file'); }]) {
      make();
      const sent = await send(pair, pair.laptop, pair.server);
      await expect(restore(sent)).rejects.toMatchObject({ reason: 'worktree-exists' });
      await rollbackRestore(sent.quarantine.directory);
      expect(readdirSync(outside)).toEqual([]);
      remove(path.dirname(worktree), 'app');
    }
    expect(ownCheckout(pair.server)).toEqual(own);
  });
});

describe('a link that comes between what was looked at and what is written', () => {
  it('leads nothing out of the worktree: no file written, none removed, no directory made', async () => {
    const outside = path.join(pair.directory, 'outside');
    write(outside, 'c.txt', 'precious\n');
    write(outside, 'new.txt', 'precious too\n');
    const there = await carry(pair, pair.laptop, pair.server, worktree);
    remove(pair.laptop, 'dir/c.txt');
    write(pair.laptop, 'dir/new.txt', 'arrives\n');
    write(pair.laptop, 'dir/d.txt', 'changed\n');
    mkdirSync(path.join(pair.laptop, 'dir/empty/inner'), { recursive: true });
    const before = photograph(outside);
    const sent = await send(pair, pair.laptop, pair.server);
    const exchanged = { words: ['update-index --refresh'], after: `rm -rf "${worktree}/dir"; ln -s "${outside}" "${worktree}/dir"` };
    await withMeddlingGit(path.join(pair.directory, 'meddling'), exchanged, () => restore(sent, there.restored.fingerprint).catch(() => undefined));
    expect(photograph(outside)).toEqual(before);
  });
});

describe('what the source\'s repository holds and says runs nowhere', () => {
  it('neither drivers nor included settings, nor a bare repository that lies among the files', async () => {
    const canary = path.join(pair.directory, 'canary');
    const script = path.join(pair.directory, 'evil.sh');
    writeFileSync(script, `#!/bin/sh\ntouch "${canary}"\ncat\n`, { mode: 0o755 });
    const settings = ['core.fsmonitor', 'core.sshCommand', 'core.pager', 'core.editor', 'core.askPass', 'sequence.editor', 'diff.external', 'diff.evil.textconv', 'diff.evil.command', 'merge.evil.driver', 'filter.evil.clean', 'filter.evil.smudge', 'filter.evil.process', 'gpg.program', 'credential.helper', 'uploadpack.packObjectsHook', 'core.alternateRefsCommand', 'pager.status', 'alias.status'];
    const included = path.join(pair.directory, 'included');
    for (const key of settings) git(pair.directory, 'config', '--file', included, key, script);
    const hooks = path.join(pair.directory, 'hooks');
    for (const hook of ['post-checkout', 'post-index-change', 'reference-transaction', 'pre-commit', 'post-commit', 'pre-auto-gc', 'post-rewrite', 'fsmonitor-watchman', 'update', 'pre-receive']) write(hooks, hook, `#!/bin/sh\ntouch "${canary}"\n`, 0o755);
    git(pair.directory, 'config', '--file', included, 'core.hooksPath', hooks);

    write(pair.laptop, '.gitattributes', '* diff=evil merge=evil\n*.f filter=evil\n');
    write(pair.laptop, 'x.f', 'x\n');
    git(pair.laptop, 'init', '-q', '--bare', 'bare');
    for (const key of settings) git(pair.laptop, 'config', '--file', 'bare/config', key, script);
    write(pair.laptop, 'bare/hooks/post-checkout', `#!/bin/sh\ntouch "${canary}"\n`, 0o755);
    commit(pair.laptop, 'a bare repository as files');
    write(pair.laptop, 'x.f', 'changed\n');
    write(pair.laptop, 'bare/description', 'changed\n');
    for (const root of [pair.laptop, pair.server]) git(root, 'config', 'include.path', included);
    const carried = await carry(pair, pair.laptop, pair.server, worktree);
    write(worktree, 'x.f', 'changed there\n');
    const home = path.join(pair.directory, 'laptop', 'worktrees', '1', 'app');
    await carry(pair, worktree, pair.laptop, home);
    expect(existsSync(canary)).toBe(false);
    for (const root of [pair.laptop, pair.server]) git(root, 'config', '--unset', 'include.path');
    expect(carried.restored.fingerprint).toBe(carried.capture.fingerprint);
    expect(observe(home)).toEqual(observe(worktree));
  });
  it('nor does an operation move a branch that only its files name', async () => {
    const own = git(pair.server, 'rev-parse', 'mine');
    change(pair.laptop, 'n', '1\n');
    // The branch is gone here, so its name is all that there is; at the destination it is somebody's.
    git(pair.laptop, 'checkout', '-q', '-b', 'mine');
    gitWithEnvironment(pair.laptop, { GIT_SEQUENCE_EDITOR: 'sed -i 1s/pick/edit/' }, 'rebase', '-i', 'HEAD~1');
    git(pair.laptop, 'update-ref', '-d', 'refs/heads/mine');
    await carry(pair, pair.laptop, pair.server, worktree);
    git(worktree, 'rebase', '--continue');
    expect(git(pair.server, 'rev-parse', 'mine')).toBe(own);
    expect(git(worktree, 'rev-parse', '--abbrev-ref', 'HEAD')).toBe('HEAD');
  });
});

describe('destinations of every kind', () => {
  it('a linked worktree of a bare repository', async () => {
    const bare = path.join(pair.directory, 'server', 'bare.git');
    git(pair.directory, 'clone', '-q', '--bare', pair.laptop, bare);
    const root = path.join(pair.directory, 'server', 'linked');
    git(bare, 'worktree', 'add', '-q', root, 'main');
    write(pair.laptop, 'a.txt', 'x\n');
    const own = ownCheckout(root);
    const { restored, capture } = await carry(pair, pair.laptop, root, worktree);
    expect(observe(worktree)).toEqual(observe(pair.laptop));
    expect(ownCheckout(root)).toEqual(own);
    expect(restored).toMatchObject({ fingerprint: capture.fingerprint, branch: 'baton/019a1b2c-3d4e/main' });
  });
  it('one of another object format is refused, with that reason', async () => {
    const other = makePair({ format: 'sha256' });
    const before = photograph(other.server);
    await expect(send(pair, pair.laptop, other.server)).rejects.toMatchObject({ name: 'GitError', message: expect.stringMatching(/format|sha256/i) as string });
    expect(photograph(other.server)).toEqual(before);
  });
  it('one that holds links as files', async () => {
    git(pair.server, 'config', 'core.symlinks', 'false');
    write(pair.laptop, 'a.txt', 'x\n');
    const { restored, capture } = await carry(pair, pair.laptop, pair.server, worktree);
    expect(restored.fingerprint).toBe(capture.fingerprint);
    expect(readFileSync(path.join(worktree, 'link'), 'utf8')).toBe('a.txt');
    expect(git(worktree, 'status', '--porcelain')).toBe(' M a.txt');
  });
});
