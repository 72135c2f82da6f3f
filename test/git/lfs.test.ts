import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { captureWorkingState } from '../../src/git/capture';
import { listLfsObjects, sealLfsObject } from '../../src/git/lfsTransfer';
import { receiveBundle } from '../../src/git/quarantine';
import { restoreWorkingState, rollbackRestore } from '../../src/git/restore';
import { isWhole } from '../fixtures/whole';
import { belongings, carry, git, observe, ownCheckout, photograph, remove, removeTemporaryDirectories, send, THREAD, write, type Pair } from './laboratory';
import { age, lfsInstalled, listenForLfs, makeLfsPair, skipSmudge, type SilentServer } from './lfsLaboratory';

let server: SilentServer;
beforeAll(async () => { server = await listenForLfs(); });
afterAll(() => server.close());

let pair: Pair;
let worktree: string;
const content = (word: string) => Buffer.from(`${word}\n`.repeat(400));
const oidOf = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
const stored = (root: string, bytes: Buffer) => path.join(root, '.git/lfs/objects', oidOf(bytes).slice(0, 2), oidOf(bytes).slice(2, 4), oidOf(bytes));
const objects = (root: string) => (existsSync(path.join(root, '.git/lfs')) ? (readdirSync(path.join(root, '.git/lfs'), { recursive: true }) as string[]).filter((name) => /[0-9a-f]{64}/.test(name)).map((name) => path.basename(name)).sort() : []);
const bytesOf = (root: string, name: string) => readFileSync(path.join(root, name));
const isPointer = (bytes: Buffer) => bytes.toString('latin1').startsWith('version https://git-lfs');
const withContent = (root: string) => git(root, 'lfs', 'ls-files', '-l').split('\n').filter((line) => line !== '').map((line) => line.replace(/^(\w{64}) (\S) /, '$2 $1 ')).sort();

beforeEach(() => {
  if (lfsInstalled) pair = makeLfsPair(server.url, { 'one.bin': content('one'), 'dir/two.bin': content('two') });
  worktree = lfsInstalled ? path.join(pair.directory, 'server', 'worktrees', '1', 'app') : '';
});
afterEach(() => {
  removeTemporaryDirectories();
  expect(server.knocks(), 'the LFS server was contacted').toBe(0);
});

const restore = async (from: string, expectedFingerprint?: string) => {
  const sent = await send(pair, from, pair.server);
  const restored = await restoreWorkingState({ root: pair.server, quarantine: sent.quarantine, worktree, threadId: THREAD, carriedBranch: sent.capture.branch, existing: expectedFingerprint === undefined ? undefined : { expectedFingerprint } });
  return { ...sent, restored, rollback: () => rollbackRestore(sent.quarantine.directory) };
};

describe.skipIf(!lfsInstalled)('files in Git LFS', () => {
  it('arrive with their content, which travels beside the bundle and only once', async () => {
    const before = photograph(pair.laptop);
    const own = ownCheckout(pair.server);
    const there = await carry(pair, pair.laptop, pair.server, worktree);
    expect(photograph(pair.laptop)).toEqual(before);
    expect(ownCheckout(pair.server)).toEqual(own);
    expect(there.restored.fingerprint).toBe(there.capture.fingerprint);
    expect([...there.lfs].sort()).toEqual([oidOf(content('one')), oidOf(content('two'))].sort());
    expect(bytesOf(worktree, 'one.bin')).toEqual(content('one'));
    expect(statSync(path.join(worktree, 'dir/two.bin')).mode & 0o111).not.toBe(0);
    expect(observe(worktree)).toEqual(observe(pair.laptop));
    expect(withContent(worktree)).toEqual(withContent(pair.laptop));
    expect(git(worktree, 'ls-tree', '-r', `refs/baton/threads/${THREAD}^1`, '--', 'one.bin'), 'a pointer in the worktree tree').toContain(git(pair.laptop, 'rev-parse', 'HEAD:one.bin'));
    expect(objects(pair.server)).toEqual(objects(pair.laptop));
    git(pair.server, 'lfs', 'fsck', 'refs/heads/main');

    write(worktree, 'a.txt', 'x\n');
    const back = path.join(pair.directory, 'back');
    const home = await carry(pair, worktree, pair.laptop, back);
    expect(home.lfs, 'nothing of what is there').toEqual([]);
    expect(observe(back)).toEqual(observe(worktree));
    expect(bytesOf(back, 'one.bin')).toEqual(content('one'));
  });
  it('of a clone that has just been made, which git is not sure about, arrive the same', async () => {
    write(pair.laptop, 'three.bin', content('three'));
    git(pair.laptop, 'add', 'three.bin');
    write(pair.laptop, 'one.bin', content('one'));
    const { capture, restored } = await carry(pair, pair.laptop, pair.server, worktree);
    expect(capture.lfs.files.map((file) => file.path).sort()).toEqual(['dir/two.bin', 'one.bin', 'three.bin']);
    expect(restored.fingerprint).toBe(capture.fingerprint);
    expect(observe(worktree)).toEqual(observe(pair.laptop));
  });
  it('that are dirty or untracked travel byte by byte', async () => {
    write(pair.laptop, 'one.bin', content('edited'));
    write(pair.laptop, 'new.bin', content('new'));
    write(pair.laptop, 'staged.bin', content('staged'));
    git(pair.laptop, 'add', 'staged.bin');
    write(pair.laptop, 'staged.bin', content('staged, then edited'));
    chmodSync(path.join(pair.laptop, 'dir/two.bin'), 0o644);
    const { capture, restored, lfs } = await carry(pair, pair.laptop, pair.server, worktree);
    expect(restored.fingerprint).toBe(capture.fingerprint);
    for (const name of ['one.bin', 'new.bin', 'staged.bin', 'dir/two.bin']) expect(bytesOf(worktree, name), name).toEqual(bytesOf(pair.laptop, name));
    expect(observe(worktree)).toEqual(observe(pair.laptop));
    expect(lfs, 'what the index names travels too').toContain(oidOf(content('staged')));
    expect(capture.lfs.files.map((file) => file.path)).toEqual(['dir/two.bin']);
  });
  it('of which only the pointer is there stay pointers, and that is said', async () => {
    const clone = path.join(pair.directory, 'pointers');
    execFileSync('git', ['clone', '-q', '--no-checkout', pair.laptop, clone]);
    skipSmudge(clone);
    git(clone, 'checkout', '-q', 'main');
    const { capture, restored, lfs } = await carry(pair, clone, pair.server, worktree);
    expect(isPointer(bytesOf(worktree, 'one.bin'))).toBe(true);
    expect(observe(worktree)).toEqual(observe(clone));
    expect(restored.fingerprint).toBe(capture.fingerprint);
    expect(lfs).toEqual([]);
    expect(capture.findings.find((finding) => finding.code === 'lfs-object-missing')?.message).toMatch(/"dir\/two.bin", "one.bin".*git lfs fetch/);
  });
  it('whose object was pruned here are taken from the file itself', async () => {
    rmSync(path.join(pair.laptop, '.git/lfs'), { recursive: true });
    const { restored, capture, lfs } = await carry(pair, pair.laptop, pair.server, worktree);
    expect(lfs).toHaveLength(2);
    expect(restored.fingerprint).toBe(capture.fingerprint);
    expect(bytesOf(worktree, 'one.bin')).toEqual(content('one'));
    expect(existsSync(path.join(pair.laptop, '.git/lfs'))).toBe(false);
  });
  it('of commits that travel come along, also where the working tree no longer has them', async () => {
    git(pair.server, 'fetch', '-q');
    write(pair.laptop, 'one.bin', content('second'));
    git(pair.laptop, 'commit', '-qam', 'second');
    write(pair.laptop, 'one.bin', content('third'));
    git(pair.laptop, 'commit', '-qam', 'third');
    const { lfs } = await carry(pair, pair.laptop, pair.server, worktree);
    expect([...lfs].sort()).toEqual(['second', 'third', 'two'].map((word) => oidOf(content(word))).sort());
    git(worktree, 'checkout', '-q', 'HEAD^');
    git(worktree, 'lfs', 'checkout');
    expect(bytesOf(worktree, 'one.bin')).toEqual(content('second'));
  });
  it('are found where lfs.storage says', async () => {
    for (const root of [pair.laptop, pair.server]) git(root, 'config', 'lfs.storage', path.join(path.dirname(root), 'elsewhere'));
    mkdirSync(path.join(path.dirname(pair.laptop), 'elsewhere'));
    git(pair.laptop, 'lfs', 'checkout');
    write(pair.laptop, 'four.bin', content('four'));
    git(pair.laptop, 'add', 'four.bin');
    await carry(pair, pair.laptop, pair.server, worktree);
    expect(objects(pair.server)).toEqual([]);
    expect(readdirSync(path.join(path.dirname(pair.server), 'elsewhere'), { recursive: true })).toContain(path.join('objects', oidOf(content('four')).slice(0, 2), oidOf(content('four')).slice(2, 4), oidOf(content('four'))));
    expect(observe(worktree)).toEqual(observe(pair.laptop));
  });
  it('that only this machine\'s own attributes name arrive with their content, and come back', async () => {
    write(pair.laptop, '.git/info/attributes', '*.dat filter=lfs -text\n');
    write(pair.laptop, 'x.dat', content('dat'));
    git(pair.laptop, 'add', 'x.dat');
    git(pair.laptop, 'commit', '-qm', 'dat');
    age(pair.laptop);
    const there = await carry(pair, pair.laptop, pair.server, worktree);
    expect(there.restored.fingerprint).toBe(there.capture.fingerprint);
    expect(bytesOf(worktree, 'x.dat')).toEqual(content('dat'));
    const back = path.join(pair.directory, 'back');
    const home = await carry(pair, worktree, pair.laptop, back);
    expect(home.restored.fingerprint).toBe(there.capture.fingerprint);
    expect(bytesOf(back, 'x.dat')).toEqual(content('dat'));
  });
});

describe.skipIf(!lfsInstalled)('files in Git LFS, there and back into worktrees that exist', () => {
  it('change into content, other content, pointers and plain files, each time exact', async () => {
    const home = path.join(pair.directory, 'home');
    let from = pair.laptop;
    let [there, here]: (string | undefined)[] = [];
    const edits: ((root: string) => void)[] = [
      (root) => { write(root, 'one.bin', content('committed')); git(root, 'commit', '-qam', 'lfs'); },
      (root) => { write(root, 'one.bin', content('dirty')); chmodSync(path.join(root, 'dir/two.bin'), 0o644); },
      (root) => { git(root, 'add', 'one.bin'); remove(root, 'dir/two.bin'); write(root, 'a.bin', content('untracked')); },
      (root) => { git(root, 'checkout', '-q', '--', 'dir/two.bin'); git(root, 'rm', '-q', '-f', '--cached', 'one.bin'); git(root, 'add', 'a.bin'); },
      (root) => { write(root, 'dir/two.bin', git(root, 'cat-file', 'blob', 'HEAD:dir/two.bin') + '\n'); git(root, 'add', '-A'); git(root, 'commit', '-qm', 'all'); },
      (root) => { git(root, 'lfs', 'checkout'); },
    ];
    for (const [trip, edit] of edits.slice(0, isWhole ? edits.length : 3).entries()) {
      edit(from);
      const out = await carry(pair, from, pair.server, worktree, there);
      expect(out.restored.fingerprint, `trip ${trip}`).toBe(out.capture.fingerprint);
      if (from === home) here = out.capture.fingerprint;
      for (const name of ['one.bin', 'dir/two.bin', 'a.bin']) expect(existsSync(path.join(worktree, name)) && bytesOf(worktree, name), `${name}, trip ${trip}`).toEqual(existsSync(path.join(from, name)) && bytesOf(from, name));
      expect(observe(worktree), `trip ${trip}`).toEqual(observe(from));
      write(worktree, 'b.txt', `${trip}\n`);
      const back = await carry(pair, worktree, pair.laptop, home, here);
      expect(back.restored.fingerprint).toBe(back.capture.fingerprint);
      there = back.capture.fingerprint;
      expect(observe(home), `back from trip ${trip}`).toEqual(observe(worktree));
      from = home;
    }
  });
  it('leave a worktree as it was when the way there is taken back, even if its object was pruned', async () => {
    const first = await carry(pair, pair.laptop, pair.server, worktree);
    const before = { state: observe(worktree), one: bytesOf(worktree, 'one.bin') };
    write(pair.laptop, 'one.bin', content('next'));
    git(pair.laptop, 'commit', '-qam', 'next');
    rmSync(stored(pair.server, content('one')));
    const { rollback } = await restore(pair.laptop, first.capture.fingerprint);
    expect(bytesOf(worktree, 'one.bin')).toEqual(content('next'));
    await rollback();
    expect({ state: observe(worktree), one: bytesOf(worktree, 'one.bin') }).toEqual(before);
    expect(objects(pair.server), 'the reflog of that worktree names it').toContain(oidOf(content('next')));
  });
});

describe.skipIf(!lfsInstalled)('LFS objects at the destination', () => {
  it('go again with a rollback, unless something there names them by then', async () => {
    const before = { ...belongings(pair.server), own: ownCheckout(pair.server), lfs: existsSync(path.join(pair.server, '.git/lfs')) };
    const first = await restore(pair.laptop);
    expect(objects(pair.server)).toHaveLength(2);
    await first.rollback();
    await first.rollback();
    expect({ ...belongings(pair.server), own: ownCheckout(pair.server), lfs: existsSync(path.join(pair.server, '.git/lfs')) }).toEqual(before);
    const second = await restore(pair.laptop);
    git(pair.server, 'branch', 'kept', git(worktree, 'rev-parse', 'HEAD'));
    await second.rollback();
    expect(objects(pair.server)).toHaveLength(2);
  });
  it('that are there are never overwritten; a damaged one is refused by name', async () => {
    const file = stored(pair.server, content('one'));
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, content('bad'));
    await expect(restore(pair.laptop)).rejects.toMatchObject({ reason: 'missing-objects', message: expect.stringContaining(oidOf(content('one'))) as unknown });
    expect(readFileSync(file)).toEqual(content('bad'));
  });
  it('whose content is another than their name says, or that are not sent, are refused and leave nothing', async () => {
    const spool = path.join(pair.directory, 'spool');
    const sent = await send(pair, pair.laptop, pair.server);
    const file = path.join(path.dirname(sent.quarantine.directory), 'bundle-0');
    const bundle = { root: pair.server, file, bytes: statSync(file).size, sha256: oidOf(readFileSync(file)), tip: sent.capture.commits.manifest };
    mkdirSync(spool);
    const forged = [content('one'), content('two')].map((bytes) => ({ oid: oidOf(bytes), size: bytes.length, file: path.join(spool, oidOf(bytes)) }));
    for (const { file: name } of forged) writeFileSync(name, content('bad'));
    await expect(receiveBundle({ ...bundle, lfs: forged, quarantine: path.join(spool, 'q1') })).rejects.toMatchObject({ reason: 'corrupt-bundle' });
    await expect(receiveBundle({ ...bundle, quarantine: path.join(spool, 'q2') })).rejects.toMatchObject({ reason: 'missing-objects' });
    await expect(receiveBundle({ ...bundle, lfs: [{ oid: '../../../evil', size: 4, file: path.join(spool, 'x') }], quarantine: path.join(spool, 'q3') })).rejects.toMatchObject({ reason: 'corrupt-bundle' });
    expect(readdirSync(spool).filter((name) => name.startsWith('q'))).toEqual([]);
    expect(objects(pair.server)).toEqual([]);
  });
  it('are not made of a file that is no longer that content when it is to be sent', async () => {
    rmSync(path.join(pair.laptop, '.git/lfs'), { recursive: true });
    const spool = path.join(pair.directory, 'spool');
    const capture = await captureWorkingState({ root: pair.laptop, spool });
    const named = await listLfsObjects({ capture, prerequisites: [] });
    expect(named.map((object) => object.inWorktree).sort()).toEqual(['dir/two.bin', 'one.bin']);
    for (const name of ['one.bin', 'dir/two.bin']) writeFileSync(path.join(pair.laptop, name), content('eno'));
    for (const object of named) await expect(sealLfsObject(object, capture, spool)).rejects.toMatchObject({ reason: 'changed-while-capturing' });
  });
});
