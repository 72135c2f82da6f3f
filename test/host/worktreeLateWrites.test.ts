import { execFileSync, fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, linkSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { withMeddlingGit } from '../fixtures/meddlingGit';
import { git, makePair, observe, removeTemporaryDirectories, temporaryDirectory, write, type Pair } from '../git/laboratory';
import { makeSubmodulePair, observeAll, workEverywhere } from '../git/submoduleClones';
import { contentOf, DAY, openKept, work, type Kept } from './keptWorktrees';

const isRootOnLinux = process.platform === 'linux' && process.getuid?.() === 0;
let pair: Pair;
let kept: Kept;
let id: string;
let place: string;
let before: ReturnType<typeof contentOf>;
const opened: ChildProcess[] = [];
const mounted: string[] = [];
beforeEach(async () => {
  pair = makePair();
  kept = await openKept(path.join(pair.directory, 'home'), pair.server);
  ({ id, path: place } = await kept.make());
  work(place);
  write(place, '.gitignore', 'node_modules/\n');
  write(place, 'node_modules/left-pad/index.js', 'x');
  linkSync(path.join(place, 'node_modules/left-pad/index.js'), path.join(place, 'node_modules/left-pad/same.js'));
  before = contentOf(place);
});
afterEach(() => {
  for (const child of opened.splice(0)) child.kill();
  for (const directory of mounted.splice(0)) execFileSync('umount', [directory]);
  removeTemporaryDirectories();
});

const aside = () => path.join(path.dirname(place), `.removing-${path.basename(place)}`);
/** Does something right after it was written down that the worktree is being removed; `verified`: after the last look at it. */
function when(verified: boolean, act: () => void): void {
  const save = kept.worktrees.save.bind(kept.worktrees);
  kept.worktrees.save = async (record) => {
    const saved = await save(record);
    if (record.life?.is === 'removing' && record.life.verified === verified) act();
    return saved;
  };
}

describe('a program that has a worktree open without its path', () => {
  it.runIf(process.platform === 'linux').each([
    ['a file for writing', "fs.openSync(path.join(place, 'untracked/u.txt'), 'a')", true],
    ['a directory', "fs.openSync(place, 'r')", true],
    ['a file for reading, which can lose nothing,', "fs.openSync(path.join(place, 'a.txt'), 'r')", false],
  ])('as %s keeps it from being removed, or does not', async (_, open, keeps) => {
    const program = path.join(pair.directory, 'program.mjs');
    writeFileSync(program, `import fs from 'node:fs'; import path from 'node:path'; const place = process.argv[2]; ${open}; process.send('open'); process.on('message', () => {});`);
    const child = fork(program, [place], { cwd: pair.directory });
    opened.push(child);
    await once(child, 'message');
    const removal = kept.keeper.remove(id, 'local');
    if (keeps) await expect(removal).rejects.toThrow(`Programs work in it (process ${child.pid})`);
    else await removal;
    expect(existsSync(place)).toBe(keeps);
  });

  it.each<[string, string, (file: (name: string) => string) => void]>([
    ['appends to a file', 'a.txt', (file) => { writeFileSync(file('a.txt'), 'more\n', { flag: 'a' }); }],
    ['makes a file', 'dir/made', (file) => { writeFileSync(file('dir/made'), 'made late\n'); }],
    ['writes to an ignored file', 'node_modules/left-pad/index.js', (file) => { writeFileSync(file('node_modules/left-pad/index.js'), 'y'); }],
    ['moves an old file there', 'old', (file) => { renameSync(path.join(pair.directory, 'old'), file('old')); }],
  ])('and %s after the last look at it loses nothing', async (_, name, act) => {
    write(pair.directory, 'old', 'written long ago\n');
    let late = '';
    when(true, () => {
      act((each) => path.join(aside(), each));
      late = readFileSync(path.join(aside(), name), 'utf8');
    });
    const { notes } = await kept.keeper.remove(id, 'local');
    const left = `${place}.kept`;
    expect(notes).toMatchObject([expect.stringContaining(`"${name}"`) as string]);
    expect(notes[0]).toContain(left);
    expect(readFileSync(path.join(left, name), 'utf8')).toBe(late);
    expect(readdirSync(left, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).map((entry) => path.relative(left, path.join(entry.parentPath, entry.name)))).toEqual(name.endsWith('index.js') ? [name, name.replace('index', 'same')] : [name]);
    expect(await kept.list()).toMatchObject([{ id, state: 'removed' }, { path: left, state: 'foreign', reason: expect.stringContaining('while Baton') as string }]);
    await kept.keeper.restore(id, 'local');
    expect(contentOf(place)).toEqual(before);
    expect(readFileSync(path.join(left, name), 'utf8')).toBe(late);
  });

  it('and writes through a file that it has open, before the last look at what is ignored too, has it back at its place', async () => {
    const file = openSync(path.join(place, 'node_modules/left-pad/index.js'), 'a');
    when(false, () => { writeSync(file, 'y'); });
    await expect(kept.keeper.remove(id, 'local')).rejects.toMatchObject({ reason: 'worktree-changed', message: expect.stringContaining('"node_modules/left-pad/') as string });
    closeSync(file);
    expect(readFileSync(path.join(place, 'node_modules/left-pad/index.js'), 'utf8')).toBe('xy');
    expect(contentOf(place)).toEqual(before);
    expect(await kept.list()).toMatchObject([{ id, state: 'here', locked: false }]);
  });
});

describe('git, while a worktree lies aside,', () => {
  it('does not prune its entry, nor those of its submodules', async () => {
    pair = makeSubmodulePair();
    kept = await openKept(path.join(pair.directory, 'home'), pair.server);
    ({ id, path: place } = await kept.make());
    git(place, 'submodule', '--quiet', 'update', '--init', '--recursive');
    workEverywhere(place);
    // What is restored is linked.
    await kept.keeper.remove(id, 'local');
    await kept.keeper.restore(id, 'local');
    const all = observeAll(place);
    const modules = path.join(pair.server, '.git/baton/modules');
    const prune = [pair.server, ...readdirSync(modules).map((name) => path.join(modules, name))].map((directory) => `git -C "${directory}" worktree prune --expire=now`).join('; ');
    await withMeddlingGit(temporaryDirectory(), { words: ['status --porcelain=v2'], before: prune }, async ({ log }) => {
      await expect(kept.keeper.remove(id, 'local', { still: () => true })).resolves.toMatchObject({ notes: [] });
      expect(readFileSync(log, 'utf8').length).toBeGreaterThan(2);
    });
    await kept.keeper.restore(id, 'local');
    expect(observeAll(place)).toEqual(all);
  }, 240_000);

  /** Leaves a removal in the middle. */
  async function breakOff(verified: boolean): Promise<string> {
    const { gitDir } = kept.worktrees.get(id) ?? {};
    const save = kept.worktrees.save.bind(kept.worktrees);
    when(verified, () => { kept.worktrees.save = () => Promise.reject(new Error('killed')); });
    if (verified) await kept.keeper.remove(id, 'local').catch(() => undefined);
    else await withMeddlingGit(temporaryDirectory(), { words: ['status --porcelain=v2'], nth: [2, 2], before: 'exit 1' }, () => kept.keeper.remove(id, 'local').catch(() => undefined));
    kept.worktrees.save = save;
    return gitDir ?? '';
  }

  it.each([true, false])('gives the name of its entry to another worktree, which stays that one\'s (verified: %s)', async (verified) => {
    const gitDir = await breakOff(verified);
    expect(kept.worktrees.get(id)?.life).toMatchObject({ is: 'removing', verified });
    rmSync(gitDir, { recursive: true, force: true });
    const other = path.join(pair.directory, 'other', path.basename(gitDir));
    git(pair.server, 'worktree', 'add', '-q', '--detach', other);
    expect(git(other, 'rev-parse', '--absolute-git-dir')).toBe(gitDir);
    write(other, 'mine', 'mine\n');
    const theirs = observe(other);
    const next = await openKept(kept.home, pair.server);
    await next.keeper.recover();
    expect(observe(other)).toEqual(theirs);
    if (verified) expect(next.worktrees.get(id)?.life.is).toBe('removed');
    else {
      expect(await next.list()).toMatchObject([{ id, state: 'unlinked' }]);
      expect(next.warned.join()).toMatch(/Git has forgotten the worktree .* All of it is in the snapshot/);
      renameSync(place, path.join(pair.directory, 'moved away'));
    }
    await next.keeper.restore(id, 'local');
    expect(contentOf(place)).toEqual(before);
    expect(observe(other)).toEqual(theirs);
  });
});

describe.runIf(isRootOnLinux)('a worktree with another file system mounted in it', () => {
  const mount = (directory: string) => {
    mkdirSync(directory, { recursive: true });
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', directory]);
    writeFileSync(path.join(directory, 'theirs'), 'of another disk');
  };
  it('is not removed, and says why', async () => {
    const directory = path.join(place, 'node_modules/my disk');
    mount(directory);
    mounted.push(directory);
    kept.later(DAY);
    expect((await kept.sweep.sweep()).kept).toMatchObject([{ id, reason: `Another file system is mounted at ${directory}; "umount" ends that.` }]);
    expect(readFileSync(path.join(directory, 'theirs'), 'utf8')).toBe('of another disk');
  });

  it('only since the last look is removed but for that, comes back all the same, and the rest goes when it can', async () => {
    when(true, () => { mount(path.join(aside(), 'node_modules/disk')); });
    const { notes } = await kept.keeper.remove(id, 'local');
    const left = `${place}.kept`;
    const directory = path.join(left, 'node_modules/disk');
    mounted.push(directory);
    expect(notes).toMatchObject([expect.stringMatching(/^Not all of .* could be deleted: another file system is mounted at .*Baton tries again at each sweep/) as string]);
    expect(readFileSync(path.join(directory, 'theirs'), 'utf8')).toBe('of another disk');
    const next = await openKept(kept.home, pair.server);
    await next.keeper.restore(id, 'local');
    expect(contentOf(place)).toEqual(before);
    await next.keeper.recover();
    expect(existsSync(left)).toBe(true);
    execFileSync('umount', [mounted.pop() ?? '']);
    await next.keeper.recover();
    expect(existsSync(left)).toBe(false);
    expect(contentOf(place)).toEqual(before);
  });
});
