import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { safeLength, safeNote, type ArrivingFile } from '../../src/host/arrivingFiles';
import { IncomingHandoff, type IncomingRecord } from '../../src/host/incomingHandoff';
import { KeptPlaces } from '../../src/host/keptPlaces';
import { KeptTransfers } from '../../src/host/keptTransfers';
import { SealedBundles } from '../../src/host/sealedBundles';

const peer = 'A'.repeat(43);
const stranger = 'B'.repeat(43);
const thread = (number: number) => `0199abcd-0000-7000-8000-${String(number).padStart(12, '0')}`;
const limits = { ageMs: 1000, bytes: 50_000, threads: 3, leastBytes: 100 };

let directory: string;
let home: string;
let now: number;
let kept: KeptTransfers;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'baton-kept-'));
  home = join(directory, 'arrived');
  now = Date.now();
  kept = new KeptTransfers(new KeptPlaces(home, limits, () => now));
});
afterEach(() => rm(directory, { recursive: true }));

/** A file of a handoff's spool of which `there` bytes have come. */
async function arrived(name: string, content: Buffer, there: number): Promise<ArrivingFile> {
  const file = { path: join(directory, name), bytes: content.length, sha256: createHash('sha256').update(content).digest('hex') };
  await writeFile(file.path, content.subarray(0, there));
  if (there < content.length) await writeFile(safeNote(file.path), String(there));
  return file;
}

const again = (file: ArrivingFile): ArrivingFile => ({ ...file, path: `${file.path}-again` });

it('a later handoff of the same goes on where the one before ended, whatever its files are called', async () => {
  const [one, two] = [randomBytes(1000), randomBytes(1000)];
  const files = [await arrived('one', one, 1000), await arrived('two', two, 400)];
  await kept.keep(peer, thread(1), files);
  expect(files.some(({ path }) => existsSync(path))).toBe(false);
  const taken = files.map(again);
  await kept.take(peer, taken);
  expect(await Promise.all(taken.map(safeLength))).toEqual([1000, 400]);
  expect(await readFile(taken[1]?.path ?? '')).toEqual(two.subarray(0, 400));
});

it('names are hashes and lengths only', async () => {
  await kept.keep(peer, thread(1), [await arrived('one', randomBytes(1000), 400)]);
  const names = await readdir(join(home, peer, thread(1)));
  expect(names).toHaveLength(2);
  for (const name of names) expect(name).toMatch(/^[0-9a-f]{64}-1000(\.safe)?$/);
});

it('ignored files that were let across for one handoff are kept for no other', async () => {
  const [bundle, archive] = [randomBytes(1000), randomBytes(1000)];
  const sha256 = (content: Buffer) => createHash('sha256').update(content).digest('hex');
  const record = {
    version: 1, handoffId: '0'.repeat(32), threadId: thread(1), source: peer, submodules: [], heldLfs: [[]],
    manifest: { parts: [{ place: '', bundle: { bytes: 1000, sha256: sha256(bundle), tip: '0'.repeat(40), shallow: [] }, lfs: [], branch: null }], rollouts: [], included: { bytes: 1000, files: 1, contentBytes: 900, sha256: sha256(archive) } },
  } as unknown as IncomingRecord;
  const incoming = await IncomingHandoff.create(directory, record);
  await writeFile(incoming.bundle(0), bundle);
  await writeFile(incoming.included.archive, archive);
  await incoming.keep(kept);
  expect(await readdir(join(home, peer, thread(1)))).toEqual([`${sha256(bundle)}-1000`]);
  expect(existsSync(incoming.included.archive)).toBe(false);
});

it('what another peer left, or other content, is not taken', async () => {
  const content = randomBytes(1000);
  const file = await arrived('one', content, 400);
  await kept.keep(peer, thread(1), [file]);
  await kept.take(stranger, [again(file)]);
  await kept.take(peer, [{ ...again(file), sha256: '0'.repeat(64) }, { ...again(file), bytes: 999 }]);
  expect(existsSync(again(file).path)).toBe(false);
});

it('nothing is taken in place of more', async () => {
  const content = randomBytes(1000);
  const file = await arrived('one', content, 400);
  await kept.keep(peer, thread(1), [file]);
  const better = await arrived('one', content, 700);
  await kept.take(peer, [better]);
  expect(await safeLength(better)).toBe(700);
});

it('little is not worth keeping', async () => {
  await kept.keep(peer, thread(1), [await arrived('one', randomBytes(1000), 99)]);
  expect(existsSync(home)).toBe(false);
});

it('a peer has a share of the disk and no more: the oldest goes first, and too much is not kept at all', async () => {
  for (const number of [1, 2, 3]) {
    await kept.keep(peer, thread(number), [await arrived('one', randomBytes(30_000), 20_000)]);
    await utimes(join(home, peer, thread(number)), now / 1000 - 0.5 + number / 10, now / 1000 - 0.5 + number / 10);
  }
  expect(await readdir(join(home, peer))).toEqual([thread(2), thread(3)]);
  await kept.keep(peer, thread(4), [await arrived('one', randomBytes(60_000), 60_000)]);
  expect(await readdir(join(home, peer))).toEqual([thread(2), thread(3)]);
  expect(await kept.places.bytesOf(peer, thread(2))).toBe(20_005);
});

it('a peer has so many threads and no more', async () => {
  for (const number of [1, 2, 3, 4, 5]) await kept.keep(peer, thread(number), [await arrived('one', randomBytes(1000), 400)]);
  expect(await readdir(join(home, peer))).toHaveLength(3);
});

it.each([['old', 1500], ['from the future', -5000]])('what is %s is swept, and nothing is left of it', async (_, later) => {
  await kept.keep(peer, thread(1), [await arrived('one', randomBytes(1000), 400)]);
  await kept.places.sweep();
  expect(existsSync(home)).toBe(true);
  now += later;
  await kept.places.sweep();
  expect(existsSync(home)).toBe(false);
});

it('a thread is forgotten alone', async () => {
  for (const number of [1, 2]) await kept.keep(peer, thread(number), [await arrived('one', randomBytes(1000), 400)]);
  await kept.places.forget(peer, thread(1));
  expect(await readdir(join(home, peer))).toEqual([thread(2)]);
  await kept.places.forget(peer, thread(2));
  expect(existsSync(home)).toBe(false);
});

it.each(['..', '../../escape', '', 'x'])('%j is no peer and no thread', async (name) => {
  const file = await arrived('one', randomBytes(1000), 400);
  await expect(kept.keep(name, thread(1), [file])).rejects.toThrow();
  await expect(kept.keep(peer, name, [file])).rejects.toThrow();
  expect(await readdir(directory)).toEqual(['one', 'one.safe']);
});

it('a bundle is found again by what it holds, after a crash too, and taken once', async () => {
  const sealed = new SealedBundles(new KeptPlaces(home, limits, () => now));
  const spool = join(directory, 'spool');
  await mkdir(spool);
  const [tip, prerequisite] = ['a'.repeat(40), 'b'.repeat(40)];
  const made = { bytes: 500, sha256: 'c'.repeat(64), commits: 2, prerequisites: [prerequisite], shallow: [], repeatable: true };
  for (const [name, bytes] of [['bundle-0', 500], ['bundle-1', 400], ['tail-0-0', 10]] as const) await writeFile(join(spool, name), Buffer.alloc(bytes));
  await sealed.note(join(spool, 'bundle-0'), tip, made);
  // One that was being written when the host was killed.
  await sealed.note(join(spool, 'bundle-1'), 'd'.repeat(40), made);
  await sealed.keep(peer, thread(1), spool);

  expect(await sealed.find(peer, 'd'.repeat(40))).toBeNull();
  expect(await sealed.find(stranger, tip)).toBeNull();
  const earlier = await sealed.find(peer, tip);
  expect(earlier?.made).toMatchObject(made);
  await earlier?.take(join(directory, 'taken'));
  expect(await readFile(join(directory, 'taken'))).toHaveLength(500);
  expect(await sealed.find(peer, tip)).toBeNull();
});

it('a bundle that either side had gaps for is not used again', async () => {
  const sealed = new SealedBundles(new KeptPlaces(home, limits, () => now));
  await sealed.note(join(directory, 'bundle-0'), 'a'.repeat(40), { bytes: 500, sha256: 'c'.repeat(64), commits: 2, prerequisites: [], shallow: [], repeatable: false });
  expect(await readdir(directory)).toEqual([]);
});
