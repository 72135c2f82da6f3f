import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, linkSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, unlinkSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DirectoryTrail, NoDirectory } from '../../src/git/directoryTrail';
import { takenBy } from '../../src/git/includedFiles';
import { copyIncluded, includeNotes, type IncludeReport } from '../../src/git/worktreeInclude';
import { git, observe, photograph, removeTemporaryDirectories, temporaryDirectory, write } from './laboratory';

let directory: string;
let checkout: string;
let worktree: string;
let outside: string;

beforeEach(() => {
  directory = temporaryDirectory();
  checkout = path.join(directory, 'app');
  worktree = path.join(directory, 'worktree');
  outside = path.join(directory, 'outside');
  mkdirSync(checkout);
  mkdirSync(outside);
  write(outside, 'secret', 'somebody else\'s\n');
  git(checkout, 'init', '-q');
  write(checkout, '.gitignore', '.env*\nbuild/\n*.log\n');
  write(checkout, 'tracked.txt', 't\n');
  git(checkout, 'add', '-A');
  git(checkout, 'commit', '-qm', 'first');
  git(checkout, 'worktree', 'add', '-q', '--detach', worktree);
});
afterEach(removeTemporaryDirectories);

const list = (...patterns: string[]) => write(checkout, '.worktreeinclude', `${patterns.join('\n')}\n`);
const copy = async (limits: { files?: number; freeBytes?: number } = {}): Promise<IncludeReport> => {
  const report = await copyIncluded({ from: checkout, to: worktree, limits });
  if (report === null) throw new Error('There is a list.');
  return report;
};
const reasons = (report: IncludeReport) => Object.fromEntries(report.named.map(({ path: name, reason }) => [JSON.parse(name) as string, reason]));
const text = (name: string) => readFileSync(path.join(worktree, name), 'utf8');

describe('the ignored files that a checkout lists', () => {
  it('come into the worktree with their bytes, modes and times, and change nothing that git sees', async () => {
    write(checkout, '.env', 'KEY=1\n', 0o600);
    write(checkout, 'build/out/tool', 'program', 0o755);
    write(checkout, 'build/unlisted.log', 'log\n');
    chmodSync(path.join(checkout, 'build/out'), 0o750);
    utimesSync(path.join(checkout, '.env'), 1_600_000_000, 1_500_000_000);
    list('.env', 'build/', '!build/unlisted.log', '/build/*.log');
    const before = { worktree: observe(worktree), checkout: photograph(checkout) };
    const report = await copy();
    expect(report).toMatchObject({ files: 3, bytes: 6 + 7 + 4, skipped: 0, stopped: null });
    expect(text('.env')).toBe('KEY=1\n');
    expect(statSync(path.join(worktree, '.env'))).toMatchObject({ mode: 0o100600, mtimeMs: 1_500_000_000_000 });
    expect(statSync(path.join(worktree, 'build/out/tool')).mode & 0o777).toBe(0o755);
    expect(statSync(path.join(worktree, 'build/out')).mode & 0o777).toBe(0o750);
    expect({ worktree: observe(worktree), checkout: photograph(checkout) }).toEqual(before);
    expect(includeNotes(report)).toEqual([`3 ignored files (17 bytes) listed in .worktreeinclude were copied from ${checkout}.`]);
  });

  it('are none where there is no list', async () => {
    write(checkout, '.env', 'KEY=1\n');
    expect(await copyIncluded({ from: checkout, to: worktree })).toBeNull();
    expect(existsSync(path.join(worktree, '.env'))).toBe(false);
  });

  it('are those of the checkout\'s own list; one that is only in the worktree counts for nothing', async () => {
    write(checkout, '.env', 'KEY=1\n');
    write(worktree, '.worktreeinclude', '.env\n');
    expect(await copyIncluded({ from: checkout, to: worktree })).toBeNull();
    expect(existsSync(path.join(worktree, '.env'))).toBe(false);
  });

  it('are ignored ones only: what is tracked or merely untracked stays where it is', async () => {
    write(checkout, 'notes.txt', 'untracked\n');
    write(checkout, 'tracked.txt', 'changed here\n');
    write(checkout, 'forced.log', 'tracked although ignored\n');
    git(checkout, 'add', '-f', 'forced.log');
    list('*');
    expect(await copy()).toMatchObject({ files: 0, stopped: null });
    expect(readdirSync(worktree).sort()).toEqual(['.git', '.gitignore', 'tracked.txt']);
    expect(text('tracked.txt')).toBe('t\n');
  });

  it('never take the place of something', async () => {
    write(checkout, '.env', 'theirs\n');
    write(checkout, 'build/x', 'theirs\n');
    write(worktree, '.env', 'mine\n');
    list('.env', 'build/');
    const report = await copy();
    expect(text('.env')).toBe('mine\n');
    expect(text('build/x')).toBe('theirs\n');
    expect(reasons(report)).toEqual({ '.env': 'already-there' });
  });

  it('are not copied where they would be no ignored files, or come back where they were deleted as tracked ones', async () => {
    write(checkout, '.env', 'KEY\n');
    write(checkout, 'a.log', 'log\n');
    write(worktree, 'a.log', 'tracked there\n');
    git(worktree, 'add', '-f', 'a.log');
    rmSync(path.join(worktree, 'a.log'));
    write(worktree, '.gitignore', '*.log\n');
    list('.env', '*.log');
    const before = observe(worktree);
    const report = await copy();
    expect(observe(worktree)).toEqual(before);
    expect(reasons(report)).toEqual({ '.env': 'not-ignored-there', 'a.log': 'not-ignored-there' });
  });

  it('may have any name', async () => {
    const names = ['.env\nfeed', '.env\ttab', '.env "quoted"', '.env\u001b[2J', '.env:(top)x', '.env*', '.env[a]', '.env\\'];
    for (const name of [...names.map((name) => Buffer.from(name)), Buffer.from([0x2e, 0x65, 0x6e, 0x76, 0xff, 0xfe])]) write(checkout, name, 'x');
    write(checkout, 'build/:(exclude)-x', 'x');
    write(checkout, 'build/-dash', 'x');
    list('.env*', 'build/');
    expect(await copy()).toMatchObject({ files: names.length + 3, skipped: 0 });
    expect(readdirSync(worktree, { encoding: 'latin1' }).filter((name) => name.startsWith('.env')).sort()).toEqual(readdirSync(checkout, { encoding: 'latin1' }).filter((name) => name.startsWith('.env')).sort());
  });
});

describe('a hostile list, tree or worktree (H9)', () => {
  it('patterns that lead elsewhere match nothing', async () => {
    write(checkout, '.env', 'KEY\n');
    list('../outside/secret', '/../outside', path.join(outside, 'secret'), '..', '.git/config', '.git', '!.env', '**/../..');
    expect(await copy()).toMatchObject({ files: 0, skipped: 0, stopped: null });
    expect(readdirSync(directory).sort()).toEqual(['app', 'outside', 'worktree']);
  });

  it('symbolic links, FIFOs, sockets and repositories inside are named and stay; a hard link comes as a file of its own', async () => {
    mkdirSync(path.join(checkout, 'build'));
    symlinkSync(path.join(outside, 'secret'), path.join(checkout, 'build/link'));
    symlinkSync(outside, path.join(checkout, 'build/linked'));
    symlinkSync(outside, path.join(checkout, '.env-directory'));
    linkSync(path.join(outside, 'secret'), path.join(checkout, 'build/hard'));
    execFileSync('mkfifo', [path.join(checkout, 'build/fifo'), path.join(checkout, '.env.fifo'), path.join(checkout, 'unlisted')]);
    git(directory, 'init', '-q', path.join(checkout, 'build/inner'));
    write(checkout, 'build/inner/file', 'x\n');
    write(checkout, 'build/sub/.GIT/config', 'x\n');
    write(checkout, 'build/git~1/config', 'x\n');
    write(checkout, 'build/setuid', 'x\n', 0o4755);
    list('build/', '.env*');
    const report = await copy();
    expect(reasons(report)).toEqual({
      'build/link': 'symbolic-link', 'build/linked': 'symbolic-link', '.env-directory': 'symbolic-link', 'build/fifo': 'special-file', '.env.fifo': 'special-file',
      'build/inner': 'nested-repository', 'build/sub/.GIT/config': 'git-directory', 'build/git~1/config': 'git-directory', 'build/setuid': 'set-user-id',
    });
    expect(report).toMatchObject({ files: 1, skipped: 9 });
    expect(readdirSync(path.join(worktree, 'build'), { recursive: true })).toEqual(['hard']);
    expect(lstatSync(path.join(worktree, 'build/hard'))).toMatchObject({ nlink: 1 });
    expect(includeNotes(report)[1]).toMatch(/^9 listed in \.worktreeinclude were not copied: .*\(a symbolic link\).*, …\.$/);
  });

  it('a device is named and stays', async (context) => {
    mkdirSync(path.join(checkout, 'build'));
    try {
      execFileSync('mknod', [path.join(checkout, 'build/zero'), 'c', '1', '5'], { stdio: 'pipe' });
    } catch {
      context.skip('only root makes devices, and not everywhere');
    }
    write(checkout, 'build/a', 'a\n');
    list('build/');
    const report = await copy();
    expect(reasons(report)).toEqual({ 'build/zero': 'special-file' });
    expect(readdirSync(path.join(worktree, 'build'))).toEqual(['a']);
  });

  it('a million matches take no memory to speak of: none is held but what is being asked about', async () => {
    const million = (async function* () {
      for (let n = 0; n < 1_000_000; n++) yield await Promise.resolve(`build/${n % 100}/file-${n}`);
    })();
    const before = process.memoryUsage().heapUsed;
    let [taken, most] = [0, 0];
    for await (const _ of takenBy(worktree, million, () => undefined)) if (++taken % 10_000 === 0) most = Math.max(most, process.memoryUsage().heapUsed - before);
    expect(taken).toBe(1_000_000);
    expect(most).toBeLessThan(150 * 1024 ** 2);
  }, 120_000);

  it('git\'s own rules come only into directories that are ignored themselves', async () => {
    write(checkout, '.git/info/exclude', '.gitignore\n.gitattributes\n!/.gitignore\n');
    write(checkout, 'src/.gitignore', '*\n');
    write(checkout, '.gitattributes', '* -text\n');
    write(checkout, 'build/.gitignore', '*\n');
    list('.gitignore', '.gitattributes', 'build/');
    const before = observe(worktree);
    const report = await copy();
    expect(reasons(report)).toEqual({ '.gitattributes': 'git-rules', 'src/.gitignore': 'git-rules' });
    expect([text('build/.gitignore'), existsSync(path.join(worktree, 'src'))]).toEqual(['*\n', false]);
    expect(observe(worktree)).toEqual(before);
  });

  it('a repository in the worktree that its own git does not track is not written into', async () => {
    git(directory, 'init', '-q', path.join(worktree, 'build/inner'));
    write(checkout, 'build/inner/x', 'x\n');
    list('build/');
    expect(reasons(await copy())).toEqual({ 'build/inner/x': 'nested-repository' });
    expect(readdirSync(path.join(worktree, 'build/inner'))).toEqual(['.git']);
  });

  it('a link in the worktree where a directory should be leads nobody out', async () => {
    write(checkout, 'build/deep/x', 'x\n');
    write(checkout, 'build/y', 'y\n');
    mkdirSync(path.join(worktree, 'build'));
    symlinkSync(outside, path.join(worktree, 'build/deep'));
    list('build/');
    const report = await copy();
    expect(reasons(report)).toEqual({ 'build/deep/x': 'in-the-way' });
    expect(readdirSync(outside)).toEqual(['secret']);
    expect(text('build/y')).toBe('y\n');
  });

  it('a file in the worktree where a directory should be is in the way', async () => {
    write(checkout, 'build/deep/x', 'x\n');
    write(worktree, 'build', 'not a directory\n');
    list('build/');
    expect(reasons(await copy())).toEqual({ 'build/deep/x': 'in-the-way' });
    expect(text('build')).toBe('not a directory\n');
  });

  it('nothing is copied into a submodule of the worktree', async () => {
    git(directory, 'init', '-q', path.join(directory, 'other'));
    git(path.join(directory, 'other'), 'commit', '-q', '--allow-empty', '-m', 'x');
    git(worktree, '-c', 'protocol.file.allow=always', 'submodule', '--quiet', 'add', '-f', path.join(directory, 'other'), 'build');
    write(checkout, 'build/x', 'x\n');
    list('build/');
    expect(reasons(await copy())).toEqual({ 'build/x': 'nested-repository' });
    expect(readdirSync(path.join(worktree, 'build'))).toEqual(['.git']);
  });

  it('a list that is a link, a FIFO or endless is not read', async () => {
    write(checkout, '.env', 'KEY\n');
    const file = path.join(checkout, '.worktreeinclude');
    symlinkSync(path.join(outside, 'secret'), file);
    expect((await copy()).stopped).toMatch(/is a symbolic link, which is not followed/);
    unlinkSync(file);
    execFileSync('mkfifo', [file]);
    expect((await copy()).stopped).toMatch(/is no plain file/);
    unlinkSync(file);
    writeFileSync(file, '*\n'.repeat(600_000));
    expect((await copy()).stopped).toMatch(/longer than 1048576 bytes/);
    expect(existsSync(path.join(worktree, '.env'))).toBe(false);
  });

  it('more files than there may be are not begun, and what would fill the disk is not', async () => {
    for (let n = 0; n < 30; n++) write(checkout, `build/${n}`, 'x');
    list('build/');
    expect(await copy({ files: 29 })).toMatchObject({ files: 0, stopped: '.worktreeinclude lists more than 29 files, so none was copied. Make its patterns narrower.' });
    expect(existsSync(path.join(worktree, 'build'))).toBe(false);
    expect((await copy({ freeBytes: Number.MAX_SAFE_INTEGER })).stopped).toMatch(/less than \d+ bytes free/);
    expect(await copy({ files: 30 })).toMatchObject({ files: 30, stopped: null });
  });

  it('a file that cannot be read or written is named, and the others come', async (context) => {
    write(checkout, 'build/a', 'a\n');
    write(checkout, 'build/b', 'b\n', 0o000);
    list('build/');
    if (process.getuid?.() === 0) context.skip('root reads everything');
    expect(reasons(await copy())).toEqual({ 'build/b': 'unreadable' });
    expect(text('build/a')).toBe('a\n');
  });

  it('a directory that is exchanged for a link while it is in use stays the one that was entered', async (context) => {
    if (process.platform !== 'linux') context.skip('only Linux has paths that begin at an open directory');
    mkdirSync(path.join(worktree, 'build'));
    const trail = await DirectoryTrail.at(worktree);
    try {
      const place = await trail.enter('build');
      rmSync(path.join(worktree, 'build'), { recursive: true });
      symlinkSync(outside, path.join(worktree, 'build'));
      expect(() => writeFileSync(`${place.toString()}/x`, 'x')).toThrow('ENOENT');
      await trail.enter('');
      await expect(trail.enter('build')).rejects.toBeInstanceOf(NoDirectory);
    } finally {
      await trail.close();
    }
    expect(readdirSync(outside)).toEqual(['secret']);
  });
});

describe('the rules are git\'s', () => {
  const part = fc.constantFrom('a', 'b', 'A', '.env', 'x.log', 'build', '[a]', 'a b', '#c', '!d', 'ä');
  const file = fc.array(part, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/'));
  const pattern = fc.oneof(
    file,
    fc.tuple(fc.constantFrom('', '!', '/', '**/', '!/', '\\'), fc.oneof(part, fc.constantFrom('*', '*.log', '?', '[ab]', 'b*d', '**')), fc.constantFrom('', '/', '/*', '/**', '/a', ' ')).map((parts) => parts.join('')),
  );
  const patterns = fc.array(pattern, { maxLength: 6 }).map((lines) => `${lines.join('\n')}\n`);

  /** Which of the files plain git ignores in a repository whose only rules are these. */
  const ignoredBy = (root: string, names: readonly string[]) => {
    if (names.length === 0) return new Set<string>();
    try {
      return new Set(execFileSync('git', ['-c', 'core.excludesFile=/dev/null', 'check-ignore', '-z', '--stdin'], { cwd: root, input: names.map((name) => `./${name}\0`).join(''), encoding: 'utf8', stdio: ['pipe', 'pipe', 'pipe'] }).split('\0').filter((name) => name !== '').map((name) => name.slice(2)));
    } catch (error) {
      if ((error as { status?: number }).status === 1) return new Set<string>();
      throw error;
    }
  };

  it('for any patterns and trees: what git check-ignore says of both lists, and nothing else', async () => {
    let round = 0;
    await fc.assert(fc.asyncProperty(fc.uniqueArray(file, { maxLength: 12 }), patterns, patterns, async (files, ignore, include) => {
      const base = path.join(directory, `round-${++round}`);
      const [from, to, pure] = ['from', 'to', 'pure'].map((name) => path.join(base, name)) as [string, string, string];
      mkdirSync(from, { recursive: true });
      git(from, 'init', '-q');
      writeFileSync(path.join(from, '.git/info/exclude'), ignore);
      git(from, 'commit', '-q', '--allow-empty', '-m', 'x');
      git(from, 'worktree', 'add', '-q', '--detach', to);
      const there: string[] = [];
      for (const name of files) {
        try {
          write(from, name, name);
          there.push(name);
        } catch {
          // A file is where a directory would have to be.
        }
      }
      cpSync(from, pure, { recursive: true, filter: (source) => path.basename(source) !== '.git' });
      git(pure, 'init', '-q');
      writeFileSync(path.join(pure, '.git/info/exclude'), include);
      const both = ignoredBy(from, there);
      const listed = ignoredBy(pure, there);
      writeFileSync(path.join(from, '.worktreeinclude'), include);

      const report = await copyIncluded({ from, to });

      const copied = (readdirSync(to, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile() && entry.name !== '.git').map((entry) => path.relative(to, path.join(entry.parentPath, entry.name)));
      const expected = there.filter((name) => both.has(name) && listed.has(name));
      expect(copied.filter((name) => name !== '.worktreeinclude').sort()).toEqual(expected.sort());
      expect(report?.stopped).toBeNull();
      expect(git(to, 'status', '--porcelain')).toBe('');
      rmSync(base, { recursive: true });
    }), { numRuns: 60 });
  }, 120_000);
});
