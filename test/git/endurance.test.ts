import { createHash } from 'node:crypto';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { deflateSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { formatBundleHeader } from '../../src/git/bundleHeader';
import { receiveBundle } from '../../src/git/quarantine';
import { restoreWorkingState, rollbackRestore } from '../../src/git/restore';
import { bundleScript } from '../fixtures/bundledScript';
import { runUntilKilled } from '../fixtures/meddlingGit';
import { carry, git, makePair, observe, ownCheckout, photograph, removeTemporaryDirectories, send, temporaryDirectory, THREAD, write } from './laboratory';

afterEach(removeTemporaryDirectories);

/** Fifty for a whole proof. */
const trips = Number(process.env['BATON_TRIPS'] ?? 6);

describe('many round trips', () => {
  it('are exact each time, and leave no more behind than one does', async () => {
    const pair = makePair();
    const there = path.join(pair.directory, 'server', 'worktrees', '1', 'app');
    const here = path.join(pair.directory, 'laptop', 'worktrees', '1', 'app');
    const count = (root: string) => [git(root, 'for-each-ref').split('\n').length, git(root, 'worktree', 'list').split('\n').length];
    let from = pair.laptop;
    const left: Partial<Record<'there' | 'here', string>> = {};
    let early: unknown = null;
    for (let trip = 0; trip < trips; trip++) {
      const side = trip % 2 === 0 ? 'there' : 'here';
      const [root, to] = side === 'there' ? [pair.server, there] : [pair.laptop, here];
      write(from, `trips/${trip % 3}.txt`, `trip ${trip}\n`);
      if (trip % 3 === 0) { git(from, 'add', '-A'); git(from, 'commit', '-qm', `trip ${trip}`); }
      write(from, 'a.txt', `staged ${trip}\n`);
      git(from, 'add', 'a.txt');
      write(from, 'a.txt', `unstaged ${trip}\n`);
      const { capture, restored, bytes } = await carry(pair, from, root, to, existsSync(to) ? left[side] : undefined);
      expect(restored.fingerprint).toBe(capture.fingerprint);
      expect(observe(to)).toEqual(observe(from));
      expect(bytes).toBeLessThan(6000);
      // What it is left with, as a host notes it: the edits since it arrived are known to have travelled.
      left[side === 'there' ? 'here' : 'there'] = capture.fingerprint;
      from = to;
      if (trip === 3) early = [count(pair.laptop), count(pair.server)];
    }
    expect([count(pair.laptop), count(pair.server)]).toEqual(early);
  }, 30_000 * trips);
});

describe('a host that dies in the middle of a restore', () => {
  let program: string;
  beforeEach(async () => {
    program = await bundleScript(`import { restoreWorkingState } from './src/git/restore'; await restoreWorkingState(JSON.parse(process.argv[2]));`, path.join(temporaryDirectory(), 'restore.mjs'));
  });

  /** Restores in a process whose git kills it when it is about to run a command with `word` for the `nth` time. */
  const dieAt = (options: unknown, word: string, nth: number) => runUntilKilled(temporaryDirectory(), program, [JSON.stringify(options)], [word], nth);
  const moments = [['worktree add', 1], ['read-tree', 1], ['update-index', 1], ['symbolic-ref -m', 1], ['fast-import', 1]] as const;

  it('leaves nothing of it once it is rolled back', async () => {
    for (const [word, nth] of moments) {
      const pair = makePair();
      git(pair.laptop, 'checkout', '-q', '-b', 'side');
      write(pair.laptop, 'a.txt', 'changed\n');
      write(pair.laptop, 'u', 'u\n');
      const worktree = path.join(pair.directory, 'server', 'worktrees', '1', 'app');
      const sent = await send(pair, pair.laptop, pair.server);
      const belongings = () => ({ own: ownCheckout(pair.server), refs: git(pair.server, 'for-each-ref'), worktrees: git(pair.server, 'worktree', 'list'), packs: readdirSync(path.join(pair.server, '.git/objects/pack')).sort() });
      const before = belongings();
      expect(await dieAt({ root: pair.server, quarantine: sent.quarantine, worktree, threadId: THREAD, carriedBranch: sent.capture.branch }, word, nth), word).toBe('SIGKILL');
      await rollbackRestore(sent.quarantine.directory);
      expect(belongings(), word).toEqual(before);
      expect(existsSync(path.join(pair.directory, 'server/worktrees')), word).toBe(false);
    }
  }, 120_000);

  it('leaves the worktree that the thread had as it was, once it is rolled back', async () => {
    for (const [word, nth] of [['update-ref', 1], ['update-index', 3], ['checkout-index', 1], ['symbolic-ref -m', 1], ['fast-import', 2]] as const) {
      const pair = makePair();
      write(pair.laptop, 'a.txt', 'staged\n');
      git(pair.laptop, 'add', 'a.txt');
      write(pair.laptop, 'a.txt', 'and more\n');
      const worktree = path.join(pair.directory, 'server', 'worktrees', '1', 'app');
      const there = await carry(pair, pair.laptop, pair.server, worktree);
      const before = { state: observe(worktree), branch: git(worktree, 'symbolic-ref', 'HEAD'), own: ownCheckout(pair.server) };
      write(pair.laptop, 'b.txt', 'second\n');
      write(pair.laptop, 'a.txt', 'third\n');
      git(pair.laptop, 'commit', '-qam', 'more');
      write(pair.laptop, 'dir/c.txt', 'c\n\n');
      const sent = await send(pair, pair.laptop, pair.server);
      expect(await dieAt({ root: pair.server, quarantine: sent.quarantine, worktree, threadId: THREAD, carriedBranch: sent.capture.branch, existing: { expectedFingerprint: there.restored.fingerprint } }, word, nth), word).toBe('SIGKILL');
      await rollbackRestore(sent.quarantine.directory);
      expect({ state: observe(worktree), branch: git(worktree, 'symbolic-ref', 'HEAD'), own: ownCheckout(pair.server) }, word).toEqual(before);
      // The handoff is tried again, and goes through.
      const again = await send(pair, pair.laptop, pair.server);
      const restored = await restoreWorkingState({ root: pair.server, quarantine: again.quarantine, worktree, threadId: THREAD, carriedBranch: again.capture.branch, existing: { expectedFingerprint: there.restored.fingerprint } });
      expect(restored.fingerprint, word).toBe(again.capture.fingerprint);
      expect(observe(worktree), word).toEqual(observe(pair.laptop));
    }
  }, 120_000);
});

describe('a pack whose deltas unfold to far more than they are', () => {
  const varint = (value: number, first = 7): number[] => (value < 2 ** first ? [value] : [(value % 2 ** first) + 2 ** first, ...varint(Math.floor(value / 2 ** first))]);
  /** Type and size of a pack entry (gitformat-pack(5)). */
  const entryHeader = (type: number, size: number): Buffer => {
    const rest = Math.floor(size / 16);
    return Buffer.from(rest === 0 ? [(type << 4) | size] : [0x80 | (type << 4) | (size % 16), ...varint(rest)]);
  };
  const offset = (distance: number): Buffer => {
    const bytes = [distance & 0x7f];
    for (let left = distance >> 7; left > 0; left >>= 7) bytes.unshift(0x80 | (--left & 0x7f));
    return Buffer.from(bytes);
  };

  it('is refused before it does', async () => {
    const pair = makePair();
    const parts: Buffer[] = [Buffer.from('PACK\0\0\0\x02\0\0\0\x04', 'latin1')];
    const length = () => parts.reduce((sum, part) => sum + part.length, 0);
    let size = 0xffff;
    let at = length();
    parts.push(entryHeader(3, size), deflateSync(Buffer.alloc(size, 'x')));
    for (let level = 0; level < 3; level++) {
      // Sixteen copies of all of the base: up to 0xffffff bytes in one instruction.
      const taken = Math.min(size, 0xffffff);
      const copy = Buffer.from([0x80 | 0x70, taken & 0xff, (taken >> 8) & 0xff, (taken >> 16) & 0xff]);
      const delta = Buffer.concat([Buffer.from(varint(size)), Buffer.from(varint(taken * 16)), ...Array.from({ length: 16 }, () => copy)]);
      const base = at;
      at = length();
      parts.push(entryHeader(6, delta.length), offset(at - base), deflateSync(delta));
      size = taken * 16;
    }
    expect(size).toBeGreaterThan(256 * 1024 * 1024 - 4096 * 16);
    const pack = Buffer.concat(parts);
    const tip = git(pair.laptop, 'rev-parse', 'HEAD');
    const content = Buffer.concat([formatBundleHeader({ objectFormat: 'sha1', prerequisites: [tip], tip }), pack, createHash('sha1').update(pack).digest()]);
    expect(content.length).toBeLessThan(4096);
    const file = path.join(pair.directory, 'bomb');
    writeFileSync(file, content);
    const before = photograph(pair.server);
    const begun = process.cpuUsage();
    await expect(receiveBundle({ root: pair.server, file, tip, bytes: content.length, sha256: createHash('sha256').update(content).digest('hex'), quarantine: path.join(pair.directory, 'quarantine') })).rejects.toMatchObject({ reason: 'too-large' });
    expect(process.cpuUsage(begun).user).toBeLessThan(5_000_000);
    expect(photograph(pair.server)).toEqual(before);
    expect(existsSync(path.join(pair.directory, 'quarantine'))).toBe(false);
  });
});
