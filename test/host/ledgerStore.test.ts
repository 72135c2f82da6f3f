import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import type * as files from 'node:fs/promises';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { SourceEvent } from '../../src/handoff/sourceTransaction';
import { LedgerStore } from '../../src/host/ledgerStore';
import { identity, sourceEvents } from '../handoff/examples';

/** The calls that are done, by call and name, and those that are to fail from now on, each as often as it stands there. */
const disk = vi.hoisted(() => ({ done: [] as string[], failing: [] as string[] }));
vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof files>();
  const attempt = async <T>(call: string, path: unknown, act: () => Promise<T>): Promise<T> => {
    const what = `${call} ${String(path).replace(/.*\//, '')}`;
    const at = disk.failing.indexOf(what);
    // What fails has been done all the same: a write that only the page cache has, a file that is closed.
    const result = await act();
    if (at >= 0) {
      disk.failing.splice(at, 1);
      throw Object.assign(new Error(`EIO: ${what}`), { code: 'EIO' });
    }
    disk.done.push(what);
    return result;
  };
  const open: typeof real.open = async (path, ...rest) => {
    const handle = await real.open(path, ...rest);
    const [sync, close] = [handle.sync.bind(handle), handle.close.bind(handle)];
    handle.sync = () => attempt('sync', path, sync);
    handle.close = () => attempt('close', path, close);
    return handle;
  };
  return { ...real, open, rename: (from: string, to: string) => attempt('rename', to, () => real.rename(from, to)) };
});

const threadId = '0199abcd-0000-7000-8000-000000000000';
const file = `${threadId}.jsonl`;
let home: string;
let directory: string;
let ledger: LedgerStore;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'baton-ledger-'));
  directory = join(home, 'ledger');
  ledger = await LedgerStore.open(directory);
});
afterEach(async () => {
  disk.failing = [];
  await rm(home, { recursive: true });
});

const append = (event: SourceEvent, to = ledger) => to.append(threadId, { side: 'source', event });
const { begun, quiesced, captured, transferred, receipt, committed, failed, undone } = sourceEvents;
/** What is written anew is on disk in this order. */
const anew = [`sync ${file}.tmp`, `rename ${file}`, 'sync ledger'];
const withoutCloses = () => disk.done.filter((what) => !what.startsWith('close'));
const another = { ...begun, handoffId: 'c'.repeat(32) };

describe('an event of which it is not known whether it is on disk', () => {
  it.each([`sync ${file}`, `close ${file}`, 'sync ledger'])('is found before the next is written, so that none is written twice and the next host starts: %s', async (call) => {
    disk.failing = [call];
    await expect(append(begun)).rejects.toThrow('EIO');
    await expect(append(another)).rejects.toMatchObject({ reason: 'thread-moving' });
    expect(ledger.get(threadId).source).toMatchObject({ is: 'quiescing', handoffId: identity.handoffId });
    expect((await LedgerStore.open(directory)).get(threadId)).toEqual(ledger.get(threadId));
  });

  it('is written anew, in a file of its own, before it is believed: what can be read may never reach the disk', async () => {
    for (const event of [begun, quiesced, captured, transferred, receipt]) await append(event);
    disk.failing = [`sync ${file}`];
    await expect(append(committed)).rejects.toThrow('EIO');
    expect(ledger.get(threadId).source.is).toBe('prepared');
    disk.done = [];
    expect((await ledger.durable(threadId)).source.is).toBe('committed');
    expect(withoutCloses()).toEqual(anew);
    expect(await readdir(directory)).toEqual([file]);
  });

  it.each(anew)('stays doubtful while it cannot be written anew: %s', async (call) => {
    for (const event of [begun, quiesced, captured, transferred, receipt]) await append(event);
    disk.failing = [`sync ${file}`, call, call];
    await expect(append(committed)).rejects.toThrow('EIO');
    for (const attempt of [ledger.durable(threadId), append({ type: 'delivered' })]) await expect(attempt).rejects.toThrow('EIO');
    expect(ledger.get(threadId).source.is).toBe('prepared');
    disk.done = [];
    await append({ type: 'delivered' });
    expect(withoutCloses()).toEqual([...anew, `sync ${file}`]);
    expect(ledger.get(threadId).source).toMatchObject({ is: 'committed', delivered: true });
  });

  it('has its name synced too where that failed for the first of a ledger', async () => {
    disk.failing = [`sync ${file}`];
    await expect(append(begun)).rejects.toThrow('EIO');
    disk.done = [];
    await append(quiesced);
    expect(withoutCloses()).toEqual([...anew, `sync ${file}`]);
    // Where nothing failed, the first event is followed by its name, once.
    disk.done = [];
    const other = await LedgerStore.open(join(home, 'other'));
    for (const event of [begun, quiesced]) await append(event, other);
    expect(withoutCloses()).toEqual([`sync ${file}`, 'sync other', `sync ${file}`]);
  });
});

describe('a ledger that a host before this one left', () => {
  it('is written anew before anything is done on it that is left to do: that host may have failed to', async () => {
    for (const event of [begun, quiesced, captured, transferred, receipt, committed]) await append(event);
    const next = await LedgerStore.open(directory);
    disk.done = [];
    expect((await next.durable(threadId)).source.is).toBe('committed');
    expect(withoutCloses()).toEqual(anew);
    await next.durable(threadId);
    expect(withoutCloses()).toEqual(anew);
  });

  it('is left as it is where nothing is left to do', async () => {
    for (const event of [begun, failed, undone]) await append(event);
    disk.done = [];
    const next = await LedgerStore.open(directory);
    expect((await next.durable(threadId)).source.is).toBe('aborted');
    expect(disk.done).toEqual([]);
  });

  it('has its name synced with the next event, where that host may have been killed before it was', async () => {
    writeFileSync(join(directory, file), '{"version":1,"at":"20');
    const next = await LedgerStore.open(directory);
    disk.done = [];
    await append(begun, next);
    expect(withoutCloses()).toEqual([`sync ${file}`, 'sync ledger']);
  });

  it('is read without a torn last line, and nothing of a host that was killed while it wrote one anew stays', async () => {
    await append(begun);
    const whole = readFileSync(join(directory, file), 'utf8');
    appendFileSync(join(directory, file), '{"version":1,"at":"20');
    writeFileSync(join(directory, `${file}.tmp`), whole.slice(0, 20));
    expect((await LedgerStore.open(directory)).get(threadId).source.is).toBe('quiescing');
    expect(await readdir(directory)).toEqual([file]);
    expect(readFileSync(join(directory, file), 'utf8')).toBe(whole);
  });
});
