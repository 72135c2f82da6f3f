import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { restoreWorkingState, rollbackRestore } from '../../src/git/restore';
import { belongings, carry, git, makePair, observe, ownCheckout, removeTemporaryDirectories, send, THREAD, write, type Pair } from './laboratory';

let pair: Pair;
let worktree: string;
let canary: string;
beforeEach(() => {
  pair = makePair();
  worktree = path.join(pair.directory, 'server', 'worktrees', '1', 'app');
  canary = path.join(pair.directory, 'fetched');
  git(pair.laptop, 'config', 'uploadpack.allowFilter', 'true');
});
afterEach(() => {
  expect(existsSync(canary), 'something was fetched').toBe(false);
  removeTemporaryDirectories();
});

/** A partial clone that would be caught if it fetched, although its config allows the protocol. */
function partialClone(name: string, filter: string, ...options: string[]): string {
  const clone = path.join(pair.directory, name);
  git(pair.directory, 'clone', '-q', `--filter=${filter}`, ...options, `file://${pair.laptop}`, clone);
  const script = path.join(pair.directory, `${name}-upload-pack`);
  writeFileSync(script, `#!/bin/sh\ntouch '${canary}'\nexit 1\n`);
  chmodSync(script, 0o755);
  git(clone, 'config', 'remote.origin.uploadpack', script);
  git(clone, 'config', 'protocol.file.allow', 'always');
  return clone;
}
/** Where it may fetch after all, as its user would. */
function fetchIn(clone: string, ...args: string[]): void {
  git(clone, 'config', '--unset', 'remote.origin.uploadpack');
  git(clone, ...args);
  git(clone, 'config', 'remote.origin.uploadpack', `${clone}-upload-pack`);
}
function commit(root: string, name: string, content: string): void {
  write(root, name, content);
  git(root, 'add', name);
  git(root, 'commit', '-qm', `${name} ${content}`);
}
const missing = (root: string) => git(root, 'rev-list', '--objects', '--all', '--missing=print').split('\n').filter((line) => line.startsWith('?')).length;

describe('a partial clone as the source', () => {
  it.each(['blob:none', 'tree:0'])('with %s and a sparse checkout arrives where the rest is', async (filter) => {
    const source = partialClone('partial', filter, ...(filter === 'tree:0' ? [] : ['--sparse']));
    write(source, 'a.txt', 'x\n');
    const { capture } = await carry(pair, source, pair.server, worktree);
    expect(capture.findings.map((finding) => finding.code)).toContain('partial-clone');
    expect(readFileSync(path.join(worktree, 'a.txt'), 'utf8')).toBe('x\n');
  });
  it('does not send what it lacks and the destination has', async () => {
    commit(pair.laptop, 'a.txt', 'old\n');
    commit(pair.laptop, 'a.txt', 'new\n');
    const source = partialClone('partial', 'blob:none');
    git(pair.server, 'fetch', '-q');
    git(pair.server, 'branch', 'older', 'origin/main^');
    git(pair.server, 'update-ref', '-d', 'refs/remotes/origin/main');
    git(pair.server, 'fetch', '-q', 'origin', 'main:refs/other/main');
    expect(missing(source)).toBeGreaterThan(0);
    write(source, 'b.txt', 'x\n');
    await carry(pair, source, pair.server, worktree);
    expect(observe(worktree)).toEqual(observe(source));
    git(pair.server, 'fsck', '--strict');
  });
  it('says before anything moves what neither side has, and goes once the destination has it', async () => {
    commit(pair.laptop, 'a.txt', 'old\n');
    commit(pair.laptop, 'a.txt', 'new\n');
    const source = partialClone('partial', 'blob:none');
    const before = belongings(pair.server);
    await expect(send(pair, source, pair.server)).rejects.toMatchObject({ reason: 'missing-objects', message: expect.stringMatching(/1 object .* is on neither machine.*git fetch/) as unknown });
    expect(belongings(pair.server)).toEqual(before);
    git(pair.server, 'fetch', '-q');
    await carry(pair, source, pair.server, worktree);
    expect(observe(worktree)).toEqual(observe(source));
  });
});

describe('a partial clone as the destination', () => {
  it.each(['blob:none', 'tree:0'])('with %s and nothing checked out gets all that the state needs', async (filter) => {
    const server = partialClone('partial', filter, '--no-checkout');
    commit(pair.laptop, 'new.txt', 'new\n');
    write(pair.laptop, 'b.txt', 'staged\n');
    git(pair.laptop, 'add', 'b.txt');
    write(pair.laptop, 'b.txt', 'and edited\n');
    const { restored, capture } = await carry(pair, pair.laptop, server, worktree);
    expect(restored.fingerprint).toBe(capture.fingerprint);
    expect(observe(worktree)).toEqual(observe(pair.laptop));
  });
  it('that has nearly everything gets little', async () => {
    write(pair.laptop, 'large', Array.from({ length: 30_000 }, (_, line) => `${(line * 2_654_435_761) % 4_294_967_296}\n`).join(''));
    git(pair.laptop, 'add', 'large');
    git(pair.laptop, 'commit', '-qm', 'large');
    const server = partialClone('partial', 'blob:none');
    write(pair.laptop, 'a.txt', 'x\n');
    const there = await carry(pair, pair.laptop, server, worktree);
    expect(there.bytes).toBeLessThan(4096);
    expect(observe(worktree)).toEqual(observe(pair.laptop));
  });
  it('whose user has another branch checked out gets the files that only this one has', async () => {
    git(pair.laptop, 'checkout', '-q', '-b', 'other');
    commit(pair.laptop, 'a.txt', 'other\n');
    git(pair.laptop, 'checkout', '-q', 'main');
    const server = partialClone('partial', 'blob:none', '--branch=other');
    const own = ownCheckout(server);
    write(pair.laptop, 'u', 'u');
    await carry(pair, pair.laptop, server, worktree);
    expect(observe(worktree)).toEqual(observe(pair.laptop));
    expect(ownCheckout(server)).toEqual(own);
  });
  it('is left as it was when it is rolled back', async () => {
    const server = partialClone('partial', 'blob:none', '--no-checkout');
    const before = belongings(server);
    commit(pair.laptop, 'new.txt', 'new\n');
    const sent = await send(pair, pair.laptop, server);
    await restoreWorkingState({ root: server, quarantine: sent.quarantine, worktree, threadId: THREAD, carriedBranch: sent.capture.branch });
    await rollbackRestore(sent.quarantine.directory);
    expect(belongings(server)).toEqual(before);
  });
});

describe('partial clones on both sides', () => {
  it('hand off there and back, three times, each time exact', async () => {
    commit(pair.laptop, 'dir/e.txt', 'e\n');
    const [laptop, server] = [partialClone('one', 'blob:none'), partialClone('two', 'blob:none', '--no-checkout')];
    const home = path.join(pair.directory, 'home');
    let from = laptop;
    // As each worktree was when the thread left it.
    let [there, here]: (string | undefined)[] = [];
    for (let trip = 1; trip <= 3; trip++) {
      write(from, 'a.txt', `edit ${trip}\n`);
      write(from, `u${trip}`, 'u');
      const out = await carry(pair, from, server, worktree, there);
      if (from === home) here = out.capture.fingerprint;
      expect(observe(worktree)).toEqual(observe(from));
      commit(worktree, 'made.txt', `${trip}\n`);
      there = (await carry(pair, worktree, laptop, home, here)).capture.fingerprint;
      expect(observe(home)).toEqual(observe(worktree));
      from = home;
    }
  });
  it('of which the destination comes to know a commit that neither has whole are told to fetch', async () => {
    const source = partialClone('one', 'blob:none');
    const server = partialClone('two', 'blob:none');
    commit(pair.laptop, 'a.txt', 'old\n');
    commit(pair.laptop, 'a.txt', 'new\n');
    fetchIn(source, 'pull', '-q');
    await expect(send(pair, source, server)).rejects.toMatchObject({ reason: 'missing-objects' });
    fetchIn(server, 'fetch', '-q');
    await carry(pair, source, server, worktree);
    expect(observe(worktree)).toEqual(observe(source));
  });
});
