import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { applyState, mendApply, undoApply } from '../../src/git/apply';
import { captureWorkingState } from '../../src/git/capture';
import { restoreWorkingState, rollbackRestore } from '../../src/git/restore';
import { withMeddlingFiles, type FileMeddling } from '../fixtures/meddlingFiles';
import { bytesOf, commitAll, look, makePlace, refused, toCheckout, toWorktree, type Place } from './applyPlaces';
import { belongings, carry, git, makePair, observe, remove, removeTemporaryDirectories, send, THREAD, write } from './laboratory';
import { openInEditor, SAVED, saves, waysToSave, type Save } from './saves';

afterEach(removeTemporaryDirectories);

/** The moments: right before a file is moved aside, when it is gone, and when the new one is there. */
const moved = (name: RegExp, when: Pick<FileMeddling, 'before' | 'after'>): FileMeddling => ({ operation: 'rename', paths: [name], ...when });
const placed = (name: RegExp, when: Pick<FileMeddling, 'before' | 'after'>): FileMeddling => ({ operation: 'link', paths: [null, name], ...when });
const found = (root: string) => git(root, 'for-each-ref', '--format=%(refname)', 'refs/baton/snapshots/apply').split('\n').filter((name) => name.includes('/found'));
/** Two answers but for what a file that was saved changes in them. */
const withoutBytes = ({ status: _status, bytes: _bytes, diff: _diff, ...others }: Record<string, unknown>) => others;

describe('an editor that saves a file while an apply changes it', () => {
  let place: Place;
  let options: ReturnType<typeof toCheckout>;
  /** The target has work of its own, with which the thread left it; the source changes, adds and removes files, and commits. */
  const prepare = async (direction: typeof toCheckout) => {
    const { source, target } = direction(place);
    write(target, 'a.txt', 'begun here\n');
    git(target, 'add', 'a.txt');
    write(source, 'a.txt', 'gone on\n');
    write(source, 'new/file', 'new\n');
    commitAll(source, 'a commit');
    write(source, 'b.txt', 'gone on\n');
    remove(source, 'dir/c.txt');
    const { fingerprint } = await captureWorkingState({ root: target, spool: path.join(place.directory, 'left') });
    options = direction(place, { known: [fingerprint] });
    return look(target);
  };
  const isRefused = async (meddling: FileMeddling, act: () => Promise<unknown> = () => applyState(options)) => {
    const error = await refused(withMeddlingFiles(meddling, act));
    expect(existsSync(path.join(git(options.target, 'rev-parse', '--absolute-git-dir'), 'index.lock'))).toBe(false);
    expect(existsSync(path.join(git(options.target, 'rev-parse', '--absolute-git-dir'), 'baton-aside'))).toBe(false);
    return error;
  };
  beforeEach(() => { place = makePlace(); });

  const moments: [string, Save, typeof toCheckout, (save: () => void) => FileMeddling][] = [
    ['your checkout, in place, right before the file is moved', 'in place', toCheckout, (save) => moved(/\/b\.txt$/, { before: save })],
    ['your checkout, by a rename, right before the file is moved', 'by a rename', toCheckout, (save) => moved(/\/b\.txt$/, { before: save })],
    ['your checkout, by a rename, before the new file comes', 'by a rename', toCheckout, (save) => placed(/\/b\.txt$/, { before: save })],
    ['the worktree, in place, when the old file is gone', 'in place', toWorktree, (save) => moved(/\/b\.txt$/, { after: save })],
    ['the worktree, by a rename, right after the new file came', 'by a rename', toWorktree, (save) => placed(/\/b\.txt$/, { after: save })],
  ];
  it.each(moments)('in %s: what was saved stays, and nothing else changes', async (_name, save, direction, moment) => {
    const before = await prepare(direction);
    const error = await isRefused(moment(() => { saves[save](options.target, 'b.txt'); }));
    expect(error).toMatchObject({ reason: 'worktree-diverged', message: expect.stringContaining('"b.txt"') as string });
    expect(bytesOf(options.target, 'b.txt')).toBe(SAVED);
    expect(withoutBytes(look(options.target))).toEqual(withoutBytes(before));
    git(options.target, 'checkout', '--', 'b.txt');
    expect(look(options.target)).toEqual(before);
    expect(git(options.target, 'for-each-ref', 'refs/baton')).toBe('');
    await applyState(options);
    expect(bytesOf(options.target, 'b.txt')).toBe('gone on\n');
  });

  it('in place, in what has just come: it is kept, and all is as before', async () => {
    const before = await prepare(toCheckout);
    await isRefused(placed(/\/b\.txt$/, { after: () => { saves['in place'](place.checkout, 'b.txt'); } }));
    expect(look(place.checkout)).toEqual(before);
    expect(found(place.checkout).map((ref) => git(place.checkout, 'show', `${ref}^1:b.txt`))).toEqual([SAVED.trimEnd()]);
  });

  it('that it has had open all the time: all is as before, with what was written', async () => {
    const before = await prepare(toCheckout);
    const editor = openInEditor(place.checkout, 'a.txt');
    // The index that takes its place is the last of the files.
    await isRefused({ operation: 'rename', paths: [/index\.baton$/], after: () => { editor.write('and on\n'); } });
    expect(bytesOf(place.checkout, 'a.txt')).toBe('begun here\nand on\n');
    write(place.checkout, 'a.txt', 'begun here\n');
    expect(look(place.checkout)).toEqual(before);
  });

  it.each(waysToSave)('%s, while it is undone: what was saved stays, and all else is as it was applied', async (save) => {
    await prepare(toCheckout);
    await applyState(options);
    const applied = look(place.checkout);
    const error = await isRefused(moved(/\/b\.txt$/, { before: () => { saves[save](place.checkout, 'b.txt'); } }), () => undoApply(place.own, { dryRun: false }));
    expect(error.reason).toBe('worktree-diverged');
    expect(bytesOf(place.checkout, 'b.txt')).toBe(SAVED);
    expect((await refused(undoApply(place.own, { dryRun: false }))).message).toMatch(/changed since in "b\.txt"/);
    write(place.checkout, 'b.txt', 'gone on\n');
    expect(look(place.checkout)).toEqual(applied);
    await undoApply(place.own, { dryRun: false });
    expect(bytesOf(place.checkout, 'a.txt')).toBe('begun here\n');
  });

  it.each(waysToSave)('%s, while one that was cut off is mended: what was saved is kept', async (save) => {
    const before = await prepare(toCheckout);
    await applyState(options);
    const file = path.join(place.own, 'apply.json');
    const record = JSON.parse(readFileSync(file, 'utf8')) as { change: object };
    writeFileSync(file, JSON.stringify({ ...record, change: { ...record.change, phase: 'changing', after: null } }));
    await isRefused(moved(/\/b\.txt$/, { before: () => { saves[save](place.checkout, 'b.txt'); } }), () => mendApply(place.own));
    expect(bytesOf(place.checkout, 'b.txt')).toBe(SAVED);
    await mendApply(place.own);
    expect(look(place.checkout)).toEqual(before);
    expect(found(place.checkout).map((ref) => git(place.checkout, 'show', `${ref}^1:b.txt`))).toEqual([SAVED.trimEnd()]);
  });
});

describe('an editor that saves a file of a worktree that is there already, while a handoff lands in it', () => {
  const prepare = async () => {
    const pair = makePair();
    const worktree = path.join(pair.directory, 'server', 'worktrees', '1', 'app');
    const there = await carry(pair, pair.laptop, pair.server, worktree);
    write(pair.laptop, 'b.txt', 'arrives\n');
    write(pair.laptop, 'new/file', 'arrives\n');
    remove(pair.laptop, 'dir/c.txt');
    git(pair.laptop, 'commit', '-qam', 'more');
    const sent = await send(pair, pair.laptop, pair.server);
    const restore = () => restoreWorkingState({ root: pair.server, quarantine: sent.quarantine, worktree, threadId: THREAD, carriedBranch: sent.capture.branch, existing: { expectedFingerprint: there.restored.fingerprint } });
    return { ...pair, worktree, restore, rollback: () => rollbackRestore(sent.quarantine.directory), before: { state: observe(worktree), belongings: belongings(pair.server).refs } };
  };
  const now = ({ worktree, server }: { worktree: string; server: string }) => ({ state: observe(worktree), belongings: belongings(server).refs });

  it.each(waysToSave)('%s: what was saved stays, and nothing else changes', async (save) => {
    const trip = await prepare();
    const error = await refused(withMeddlingFiles(moved(/\/b\.txt$/, { before: () => { saves[save](trip.worktree, 'b.txt'); } }), trip.restore));
    expect(error.reason).toBe('worktree-diverged');
    await trip.rollback();
    expect(bytesOf(trip.worktree, 'b.txt')).toBe(SAVED);
    git(trip.worktree, 'checkout', '--', 'b.txt');
    expect(now(trip)).toEqual(trip.before);
  });

  it('that it has had open all the time: what it wrote is in the file that is put back', async () => {
    const trip = await prepare();
    const editor = openInEditor(trip.worktree, 'b.txt');
    await refused(withMeddlingFiles({ operation: 'rename', paths: [/index\.baton$/], after: () => { editor.write('and on\n'); } }, trip.restore));
    await trip.rollback();
    expect(bytesOf(trip.worktree, 'b.txt')).toBe('b\nand on\n');
    git(trip.worktree, 'checkout', '--', 'b.txt');
    expect(now(trip)).toEqual(trip.before);
  });

  it.each(waysToSave)('%s, while it is taken back: what was saved is kept', async (save) => {
    const trip = await prepare();
    await trip.restore();
    await refused(withMeddlingFiles(moved(/\/b\.txt$/, { before: () => { saves[save](trip.worktree, 'b.txt'); } }), trip.rollback));
    expect(bytesOf(trip.worktree, 'b.txt')).toBe(SAVED);
    await trip.rollback();
    expect(now(trip).state).toEqual(trip.before.state);
    expect(found(trip.server).map((ref) => git(trip.server, 'show', `${ref}^1:b.txt`))).toEqual([SAVED.trimEnd()]);
  });
});
