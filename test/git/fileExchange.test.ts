import { execFileSync, spawn } from 'node:child_process';
import { appendFileSync, closeSync, existsSync, lstatSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, readlinkSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync, writeSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, type TestContext } from 'vitest';
import { letGoOfAside, putBackAside } from '../../src/git/fileExchange';
import { GitError } from '../../src/git/gitError';
import { bundleScript } from '../fixtures/bundledScript';
import { withMeddlingFiles, type FileMeddling } from '../fixtures/meddlingFiles';
import { after, before, exchange, exchangeAndLetGo, put, type Files, type Ground } from './exchanges';
import { removeTemporaryDirectories, temporaryDirectory } from './laboratory';

let ground: Ground;
beforeEach(() => {
  const root = path.join(temporaryDirectory(), 'files');
  ground = { root, gitDir: path.join(root, '.git') };
  mkdirSync(ground.gitDir, { recursive: true });
  put(root, before);
});
afterEach(removeTemporaryDirectories);

const at = (name: string) => path.join(ground.root, name);
/** Every file, with nothing left out but the Git directory. */
function there(root = ground.root, below = ''): Files {
  return Object.fromEntries(readdirSync(path.join(root, below), { withFileTypes: true }).flatMap((entry): [string, string | null][] => {
    const name = path.join(below, entry.name);
    if (name === '.git') return [];
    if (entry.isDirectory()) return Object.entries(there(root, name));
    return [[name, entry.isSymbolicLink() ? `-> ${readlinkSync(path.join(root, name))}` : readFileSync(path.join(root, name), 'utf8')]];
  }));
}
const nothingIsLeft = () => { expect(readdirSync(ground.gitDir)).toEqual([]); };
const failure = async (attempt: Promise<unknown>): Promise<GitError> => attempt.then(() => { throw new Error('It did not fail.'); }, (error: unknown) => { if (GitError.is(error)) return error; throw error; });
const inode = (name: string) => lstatSync(at(name)).ino;

const saves: Record<string, (name: string) => void> = {
  'in place': (name) => { writeFileSync(at(name), 'by an editor\n'); },
  'by a rename': (name) => { writeFileSync(at(`${name}~`), 'by an editor\n'); renameSync(at(`${name}~`), at(name)); },
};
/** Where the kernel has names of open directories, a path is one of those and a name. */
const call = (operation: FileMeddling['operation'], ...paths: (RegExp | null)[]) => ({ operation, paths });

it('makes one set of files of another, and leaves nothing but that', async () => {
  await exchangeAndLetGo(ground);
  expect(there()).toEqual(after);
  expect(existsSync(at('deep'))).toBe(false);
  expect(lstatSync(at('a.txt')).nlink).toBe(1);
  nothingIsLeft();
});

describe('an editor that saves a file', () => {
  it.each(Object.keys(saves))('%s, right before it is moved aside: its file stays, and all others are as before', async (how) => {
    const others = inode('b.txt');
    const error = await failure(withMeddlingFiles({ ...call('rename', /\/a\.txt$/), before: () => saves[how]?.('a.txt') }, () => exchange(ground)));
    expect(error).toMatchObject({ reason: 'worktree-diverged', details: { filesAsBefore: true }, message: expect.stringMatching(/"a\.txt".*its file stays/) as string });
    expect(there()).toEqual({ ...before, 'a.txt': 'by an editor\n' });
    expect(inode('b.txt')).toBe(others);
    nothingIsLeft();
  });

  it.each(Object.keys(saves))('%s, where it was just moved aside: its file stays, and all others are as before', async (how) => {
    const error = await failure(withMeddlingFiles({ ...call('rename', /\/a\.txt$/), after: () => saves[how]?.('a.txt') }, () => exchange(ground)));
    expect(error.details.filesAsBefore).toBe(true);
    expect(there()).toEqual({ ...before, 'a.txt': 'by an editor\n' });
    nothingIsLeft();
  });

  it.each(Object.keys(saves))('%s, where a new one is about to come: its file stays, and all others are as before', async (how) => {
    const saved = () => { mkdirSync(at('new'), { recursive: true }); saves[how]?.('new/file'); };
    await failure(withMeddlingFiles({ ...call('link', null, /\/file$/), before: saved }, () => exchange(ground)));
    expect(there()).toEqual({ ...before, 'new/file': 'by an editor\n' });
    nothingIsLeft();
  });

  it.each(Object.keys(saves))('%s, where the new one has just come: its file stays', async (how) => {
    const error = await failure(withMeddlingFiles({ ...call('link', null, /\/a\.txt$/), after: () => saves[how]?.('a.txt') }, () => exchange(ground)));
    expect(there()).toEqual({ ...before, 'a.txt': 'by an editor\n' });
    // What is written into the new one may rest on it: then the old one is to be brought from elsewhere.
    expect(error.details.filesAsBefore).toBe(how === 'by a rename');
    nothingIsLeft();
  });

  it('that it has had open since before: it is put back with what was written', async () => {
    const editor = openSync(at('a.txt'), 'a');
    await exchange(ground);
    writeSync(editor, 'written late\n');
    closeSync(editor);
    expect((await failure(letGoOfAside(ground, 'refuse'))).message).toMatch(/"a\.txt"/);
    expect(await putBackAside(ground)).toEqual({ whole: true, own: ['a.txt'], kept: [] });
    expect(there()).toEqual({ ...before, 'a.txt': 'old a\nwritten late\n' });
    nothingIsLeft();
  });

  it('that it has had open since before, and then by a rename: both are kept, one beside the other', async () => {
    for (const end of [() => putBackAside(ground), () => letGoOfAside(ground, 'keep')]) {
      const editor = openSync(at('a.txt'), 'a');
      await exchange(ground);
      writeSync(editor, 'written late\n');
      closeSync(editor);
      saves['by a rename']?.('a.txt');
      await end();
      expect(there()).toMatchObject({ 'a.txt': 'by an editor\n', 'a.txt.kept-by-baton': 'old a\nwritten late\n' });
      nothingIsLeft();
      rmSync(ground.root, { recursive: true });
      mkdirSync(ground.gitDir, { recursive: true });
      put(ground.root, before);
    }
  });

  it('in a directory that takes the place of a file: it stays, and what was there is kept beside it where it is not known elsewhere', async () => {
    const error = await failure(withMeddlingFiles({ ...call('rename', /\/b\.txt$/), after: () => { appendFileSync(path.join(ground.gitDir, 'baton-aside/old/1'), 'late\n'); mkdirSync(at('b.txt')); writeFileSync(at('b.txt/own'), 'own\n'); } }, () => withMeddlingFiles({ ...call('link', null, /\/a\.txt$/), before: () => { saves['by a rename']?.('a.txt'); } }, () => exchange(ground))));
    expect(error.message).toContain('"b.txt.kept-by-baton"');
    const { 'b.txt': _gone, ...others } = before;
    expect(there()).toEqual({ ...others, 'a.txt': 'by an editor\n', 'b.txt/own': 'own\n', 'b.txt.kept-by-baton': 'old b\nlate\n' });
  });
});

it('a link that takes the place of a directory leads nobody out', async () => {
  const outside = path.join(ground.root, '..', 'outside');
  mkdirSync(outside);
  writeFileSync(path.join(outside, 'd.txt'), 'elsewhere\n');
  await failure(withMeddlingFiles({ ...call('rename', /\/b\.txt$/), after: () => { renameSync(at('deep/er'), at('deep/moved')); symlinkSync(outside, at('deep/er')); } }, () => exchange(ground)));
  expect(readFileSync(path.join(outside, 'd.txt'), 'utf8')).toBe('elsewhere\n');
  expect(readdirSync(outside)).toEqual(['d.txt']);
  expect(readFileSync(at('deep/moved/d.txt'), 'utf8')).toBe('old d\n');
});

describe('a process that is killed', () => {
  const own = mkdtempSync(path.join(os.tmpdir(), 'baton-exchange-'));
  let program: string;
  beforeAll(async () => {
    program = await bundleScript('import \'./test/git/exchangeProgram\';', path.join(own, 'exchange.mjs'));
  });
  afterAll(() => { rmSync(own, { recursive: true }); });
  const diesAt = (nth: number) => new Promise<boolean>((resolve) => {
    const child = spawn(process.execPath, [program, JSON.stringify(ground)], { env: { ...process.env, KILLED_AT: String(nth) }, stdio: ['ignore', 'ignore', 'inherit'] });
    child.once('exit', (_code, signal) => { resolve(signal === 'SIGKILL'); });
  });
  const asideOf = () => { const room = path.join(ground.gitDir, 'baton-aside'); return existsSync(path.join(room, 'plan.json')) ? readdirSync(path.join(room, 'old')).map((name) => path.join(room, 'old', name)) : []; };

  it.each(['nothing else happens', 'an editor writes what it had open'])('at any of its steps leaves files that are put back, or all that came; %s', async (meanwhile) => {
    let deaths = 0;
    for (let nth = 1; await diesAt(nth); nth++) {
      deaths++;
      const written = meanwhile === 'nothing else happens' ? [] : asideOf().filter((file) => lstatSync(file).isFile());
      const expected = new Set(written.map((file) => `${readFileSync(file, 'utf8')}late\n`));
      for (const file of written) appendFileSync(file, 'late\n');
      await putBackAside(ground);
      const now = there();
      const isAfter = now['a.txt'] === after['a.txt'];
      const undone = Object.fromEntries(Object.entries(before).map(([name, content]) => [name, content !== null && expected.has(`${content}late\n`) ? `${content}late\n` : content]));
      expect(now, `killed at step ${nth}`).toEqual(isAfter ? after : undone);
      nothingIsLeft();
      rmSync(ground.root, { recursive: true });
      mkdirSync(ground.gitDir, { recursive: true });
      put(ground.root, before);
    }
    expect(deaths).toBeGreaterThan(20);
    expect(there()).toEqual(after);
  }, 240_000);
});

describe('on more than one file system', () => {
  let mounted: string[] = [];
  afterEach(() => { for (const place of mounted.splice(0).reverse()) execFileSync('umount', ['-l', place]); });
  const mount = (context: TestContext, place: string, ...args: string[]) => {
    if (process.platform !== 'linux' || process.getuid?.() !== 0) return context.skip('only root on Linux can mount');
    mkdirSync(place, { recursive: true });
    try {
      execFileSync('mount', [...args, place], { stdio: 'pipe' });
    } catch {
      return context.skip('mount was refused here');
    }
    mounted = [...mounted, place];
  };

  it('a directory on another mount is exchanged like any other', async (context) => {
    for (const place of ['dir', 'new']) mount(context, at(place), '-t', 'tmpfs', 'tmpfs');
    put(at('dir'), { 'c.txt': 'old c\n' });
    await exchangeAndLetGo(ground);
    expect(there()).toEqual(after);
    nothingIsLeft();
  });

  it('and put back; with what was saved there meanwhile', async (context) => {
    for (const place of ['dir', 'new']) mount(context, at(place), '-t', 'tmpfs', 'tmpfs');
    put(at('dir'), { 'c.txt': 'old c\n' });
    await failure(withMeddlingFiles({ ...call('rename', /\/c\.txt$/), nth: 2, before: () => { saves['in place']?.('dir/c.txt'); } }, () => exchange(ground)));
    expect(there()).toEqual({ ...before, 'dir/c.txt': 'by an editor\n' });
    saves['by a rename']?.('dir/c.txt');
    await exchange(ground);
    await putBackAside(ground);
    expect(there()).toEqual({ ...before, 'dir/c.txt': 'by an editor\n' });
    nothingIsLeft();
  });

  it('a Git directory elsewhere: the room is among the files, where git does not see it', async (context) => {
    const elsewhere = path.join(ground.root, '..', 'git');
    mount(context, elsewhere, '-t', 'tmpfs', 'tmpfs');
    ground = { ...ground, gitDir: elsewhere };
    await exchange(ground);
    expect(readFileSync(at('.baton-aside/.gitignore'), 'utf8')).toBe('*\n');
    await letGoOfAside(ground, 'refuse');
    expect(there()).toEqual(after);
  });

  it('a directory that is read-only says so, and all is as before', async (context) => {
    mount(context, at('dir'), '--bind', at('dir'));
    execFileSync('mount', ['-o', 'remount,ro,bind', at('dir')]);
    expect(await failure(exchange(ground))).toMatchObject({ reason: 'failed', message: expect.stringMatching(/"dir\/c\.txt".*EROFS: read-only file system/) as string, details: { filesAsBefore: true } });
    expect(there()).toEqual(before);
    nothingIsLeft();
  });

  it('one that is full says so, and all is as before: no part of a file is left', async (context) => {
    mount(context, at('new'), '-t', 'tmpfs', '-o', 'size=8k', 'tmpfs');
    writeFileSync(at('new/filler'), Buffer.alloc(8192));
    const { size } = statSync(at('new/filler'));
    expect(await failure(exchange(ground))).toMatchObject({ reason: 'disk-full', message: expect.stringMatching(/"new\/file".*ENOSPC/) as string, details: { filesAsBefore: true } });
    expect(readdirSync(at('new'))).toEqual(['filler']);
    expect(statSync(at('new/filler')).size).toBe(size);
    expect(there()).toMatchObject(before);
    nothingIsLeft();
  });
});
