import { readFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { carry, git, makePair, observe, ownCheckout, photograph, remove, removeTemporaryDirectories, write, type Pair } from './laboratory';
import { commit } from './states';

let pair: Pair;
let worktree: string;
let home: string;
beforeEach(() => {
  pair = makePair();
  worktree = path.join(pair.directory, 'server', 'worktrees', '1', 'app');
  home = path.join(pair.directory, 'laptop', 'worktrees', '1', 'app');
});
afterEach(removeTemporaryDirectories);

const there = () => carry(pair, pair.laptop, pair.server, worktree);
const back = () => carry(pair, worktree, pair.laptop, home);
/** What of a checkout no setting decides. */
const substance = (root: string) => { const { head, index, undo, intended, operation, refs } = observe(root); return { head, index, undo, intended, operation, refs }; };
const content = (root: string, ...names: string[]) => names.map((name) => readFileSync(path.join(root, name), 'latin1'));

describe('a checkout whose settings the destination does not share', () => {
  it('is sparse again when it comes home from a repository without config per worktree', async () => {
    write(pair.laptop, 'other/o', 'o\n');
    commit(pair.laptop, 'other');
    git(pair.laptop, 'sparse-checkout', 'set', '--cone', 'dir');
    const { restored } = await there();
    expect(restored.notes.join()).toMatch(/sparse-checkout init --cone/);
    expect(substance(worktree)).toEqual(substance(pair.laptop));
    await back();
    expect(observe(home)).toEqual(observe(pair.laptop));
    git(worktree, 'sparse-checkout', 'init', '--cone');
    expect(observe(worktree)).toEqual(observe(pair.laptop));
  });
  it('keeps the bytes that a filter of one side made', async () => {
    for (const [key, value] of [['filter.loud.clean', 'tr a-z A-Z'], ['filter.loud.smudge', 'tr A-Z a-z'], ['filter.loud.required', 'true']] as const) git(pair.laptop, 'config', key, value);
    write(pair.laptop, '.gitattributes', '*.loud filter=loud\n');
    write(pair.laptop, 'x.loud', 'Mixed\n');
    commit(pair.laptop, 'loud');
    write(pair.laptop, 'y.loud', 'Untracked\n');
    await there();
    expect(substance(worktree)).toEqual(substance(pair.laptop));
    expect(content(worktree, 'x.loud', 'y.loud')).toEqual(['Mixed\n', 'Untracked\n']);
    await back();
    expect(observe(home)).toEqual(observe(pair.laptop));
  });
  it('keeps line ends that the other side\'s core.autocrlf would change, and says so', async () => {
    git(pair.server, 'config', 'core.autocrlf', 'true');
    write(pair.laptop, 'a.txt', 'one\ntwo\r\n');
    const { restored } = await there();
    expect(restored.notes.join()).toMatch(/core\.autocrlf is true here/);
    expect(content(worktree, 'a.txt', 'b.txt')).toEqual(['one\ntwo\r\n', 'b\n']);
    await back();
    expect(observe(home)).toEqual(observe(pair.laptop));
  });
  it('leaves what it ignores, and keeps what only the destination ignores', async () => {
    write(pair.laptop, '.git/info/exclude', '*.mine\n');
    write(pair.server, '.git/info/exclude', '*.txt\n*.theirs\nempty/\n');
    for (const name of ['x.mine', 'x.theirs', 'sub/y.txt']) write(pair.laptop, name, `${name}\n`);
    await there();
    expect(content(worktree, 'x.theirs', 'sub/y.txt')).toEqual(['x.theirs\n', 'sub/y.txt\n']);
    write(worktree, 'sub/y.txt', 'changed there\n');
    remove(worktree, 'x.theirs');
    await back();
    write(pair.laptop, 'sub/y.txt', 'changed there\n');
    remove(pair.laptop, 'x.theirs');
    remove(pair.laptop, 'x.mine');
    expect(observe(home)).toEqual(observe(pair.laptop));
  });
  it('is the same to git that reads every file where attributes have come to convert what is there', async () => {
    // A file that git has not looked at since passes for unchanged, so the answer depends on when it looked.
    const looked = (root: string) => { git(root, 'update-index', '-q', '--really-refresh'); git(root, 'add', '--renormalize', '--dry-run', '.'); return [git(root, 'add', '--renormalize', '--dry-run', '--verbose', '.'), content(root, 'w.crlf', 'v.id'), git(root, 'ls-files', '-s')]; };
    write(pair.laptop, 'w.crlf', 'a\r\nb\r\n');
    write(pair.laptop, 'v.id', '$Id: old $\n');
    commit(pair.laptop, 'raw');
    write(pair.laptop, '.gitattributes', '*.crlf text eol=crlf\n*.id ident\n');
    await there();
    expect(looked(worktree)).toEqual(looked(pair.laptop));
  });
});

describe('what the environment says about git', () => {
  const settings = { GIT_DIR: '/nowhere', GIT_WORK_TREE: '/nowhere', GIT_INDEX_FILE: '/nowhere/index', GIT_OBJECT_DIRECTORY: '/nowhere/objects', GIT_NAMESPACE: 'other', GIT_PREFIX: 'dir/', GIT_CEILING_DIRECTORIES: '/', GIT_LITERAL_PATHSPECS: '0', GIT_ICASE_PATHSPECS: '1', GIT_CONFIG_COUNT: '1', GIT_CONFIG_KEY_0: 'core.bare', GIT_CONFIG_VALUE_0: 'true', GIT_ATTR_SOURCE: 'HEAD', GIT_DEFAULT_HASH: 'sha256', GIT_TRACE: '1', GIT_EXTERNAL_DIFF: '/nowhere/diff', GIT_ASKPASS: '/nowhere/askpass', LANG: 'de_DE.UTF-8', LC_ALL: 'de_DE.UTF-8' };
  const before = Object.fromEntries(Object.keys(settings).map((name) => [name, process.env[name]]));
  afterEach(() => { for (const [name, value] of Object.entries(before)) if (value === undefined) Reflect.deleteProperty(process.env, name); else process.env[name] = value; });

  it('does not reach it', async () => {
    write(pair.laptop, 'a.txt', 'staged\n');
    git(pair.laptop, 'add', 'a.txt');
    write(pair.laptop, 'u', 'u');
    const source = photograph(pair.laptop);
    const own = ownCheckout(pair.server);
    Object.assign(process.env, settings);
    await there();
    expect(photograph(pair.laptop)).toEqual(source);
    expect(ownCheckout(pair.server)).toEqual(own);
    expect(observe(worktree)).toEqual(observe(pair.laptop));
  });
});
