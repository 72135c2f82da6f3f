import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { recorded } from '../../src/host/worktreeSurvey';
import { someOf } from '../git/states';
import { statesOfFiles } from '../git/statesOfFiles';
import { statesOfRepositories } from '../git/statesOfRepositories';
import { git, gitThatMayFail, makePair, observe, ownCheckout, removeTemporaryDirectories, write, type Pair } from '../git/laboratory';
import { contentOf, DAY, HOUR, openKept, work, type Kept } from './keptWorktrees';

const THREAD = '019a1b2c-3d4e-7f00-8000-0123456789ab';
let pair: Pair;
let kept: Kept;
beforeEach(async () => {
  pair = makePair();
  kept = await openKept(path.join(pair.directory, 'home'), pair.server);
});
afterEach(removeTemporaryDirectories);

const refs = (root: string) => git(root, 'for-each-ref', '--format=%(refname)', 'refs/baton/snapshots').split('\n').filter((name) => name !== '');
const whyKept = async (id: string) => (await kept.sweep.preview()).kept.find((entry) => entry.id === id)?.reason;

/** What names the ignored files of a worktree in the inventory. */
const shownIgnored = async (id: string) => (await kept.list()).find((entry) => entry.id === id)?.ignored?.digest ?? '';
/** The code in the command that a refused removal gives. */
const refusedIgnored = async (id: string) => /--discard-ignored ([0-9a-f]{12})"/.exec(await kept.keeper.remove(id, 'local').then(() => '', (error: unknown) => (error as Error).message))?.[1] ?? '';

describe('a worktree that is removed and restored', () => {
  it('has the same commits, index, files and branch at the same place, and the user\'s checkout is as it was', async () => {
    const { id, path: place } = await kept.make({ threads: [THREAD] });
    work(place);
    const before = contentOf(place);
    const own = ownCheckout(pair.server);
    const { ref } = await kept.keeper.remove(id, 'local');
    expect(existsSync(place)).toBe(false);
    expect(git(pair.server, 'worktree', 'list')).not.toContain(id);
    expect(readdirSync(kept.base)).toEqual([]);
    expect(refs(pair.server)).toEqual([ref]);
    expect(await kept.list()).toMatchObject([{ id, state: 'removed', snapshot: ref, threadIds: [THREAD] }]);
    expect(ownCheckout(pair.server)).toEqual(own);

    await kept.keeper.wake(THREAD);
    expect(contentOf(place)).toEqual(before);
    expect(await kept.list()).toMatchObject([{ id, state: 'here', dirty: true }]);
    expect(ownCheckout(pair.server)).toEqual(own);
    expect(git(pair.server, 'worktree', 'list')).toContain(id);
    expect(readdirSync(path.join(kept.home, 'snapshots'))).toEqual([]);
  });

  const repositories = ['a SHA-256 repository', 'a sparse checkout (cone)', 'a split index'];
  it.each([...someOf(statesOfFiles.filter(({ there }) => there === undefined), 3), ...statesOfRepositories.filter(({ name }) => repositories.includes(name))])('is exact: $name', async ({ make, format }) => {
    if (format !== undefined) {
      pair = makePair({ format });
      kept = await openKept(path.join(pair.directory, 'home'), pair.server);
    }
    const { id, path: place } = await kept.make();
    make(place, pair);
    const before = observe(place);
    await kept.keeper.remove(id, 'local', { discardIgnored: await shownIgnored(id) });
    expect(existsSync(place)).toBe(false);
    await kept.keeper.restore(id, 'local');
    expect(observe(place)).toEqual(before);
  });

  it('has its Git LFS content again, or stays where the repository does not have that', async () => {
    const { id, path: place } = await kept.make();
    const content = 'content that only this worktree has\n';
    const oid = createHash('sha256').update(content).digest('hex');
    write(place, '.gitattributes', '*.bin filter=lfs\n');
    write(place, 'large.bin', `version https://git-lfs.github.com/spec/v1\noid sha256:${oid}\nsize ${content.length}\n`);
    git(place, 'add', '.');
    git(place, 'commit', '-qm', 'a pointer');
    write(place, 'large.bin', content);
    await expect(kept.keeper.remove(id, 'local')).rejects.toMatchObject({ reason: 'unsupported-state' });
    expect(readFileSync(path.join(place, 'large.bin'), 'utf8')).toBe(content);
    write(pair.server, `.git/lfs/objects/${oid.slice(0, 2)}/${oid.slice(2, 4)}/${oid}`, content);
    await kept.keeper.remove(id, 'local');
    await kept.keeper.restore(id, 'local');
    expect(readFileSync(path.join(place, 'large.bin'), 'utf8')).toBe(content);
  });

  it('goes on beside its branch where the user has moved that meanwhile', async () => {
    const { id, path: place } = await kept.make();
    work(place);
    const head = git(place, 'rev-parse', 'HEAD');
    await kept.keeper.remove(id, 'local');
    git(pair.server, 'branch', '-f', `work-${id}`, 'HEAD');
    const notes = await kept.keeper.restore(id, 'local');
    expect(git(place, 'rev-parse', 'HEAD')).toBe(head);
    expect(git(pair.server, 'rev-parse', `work-${id}`)).toBe(git(pair.server, 'rev-parse', 'HEAD'));
    expect(notes?.join()).toMatch(/is at another commit here/);
  });

  it('has its branch again where the user deleted that', async () => {
    const { id, path: place } = await kept.make();
    work(place);
    const before = contentOf(place);
    await kept.keeper.remove(id, 'local');
    git(pair.server, 'branch', '-D', `work-${id}`);
    await kept.keeper.restore(id, 'local');
    expect(contentOf(place)).toEqual(before);
  });

  it('survives the repository\'s garbage collection', async () => {
    const { id, path: place } = await kept.make({ branch: null });
    work(place);
    const before = observe(place);
    await kept.keeper.remove(id, 'local');
    git(pair.server, 'reflog', 'expire', '--expire=now', '--all');
    git(pair.server, 'gc', '-q', '--prune=now');
    await kept.keeper.restore(id, 'local');
    expect(observe(place)).toEqual(before);
  });
});

describe('a sweep', () => {
  it('keeps the newest, and those that are pinned or permanent, which do not count', async () => {
    const made = [];
    for (let n = 0; n < 5; n++) {
      made.push(await kept.make());
      kept.later(HOUR);
    }
    kept.later(DAY);
    const [oldest, second, third, fourth, newest] = made.map(({ id }) => id);
    if (oldest === undefined || second === undefined) throw new Error('Five were made.');
    await kept.worktrees.save({ id: oldest, pinned: true });
    await kept.worktrees.save({ id: second, permanent: true });
    kept.retention.keep = 2;
    const preview = await kept.sweep.preview();
    expect(preview.removed.map(({ id }) => id)).toEqual([third]);
    expect(refs(pair.server)).toEqual([]);
    const swept = await kept.sweep.sweep();
    expect(swept.removed).toEqual(preview.removed);
    const left = (await kept.list()).filter(({ state }) => state === 'here').map(({ id }) => id);
    expect(left.sort()).toEqual([oldest, second, fourth, newest].sort());
    expect(swept.kept.find(({ id }) => id === oldest)?.reason).toBe('It is pinned.');
    expect(swept.kept.find(({ id }) => id === second)?.reason).toBe('It is permanent.');
    expect(swept.kept.find(({ id }) => id === newest)?.reason).toBe('It is one of the newest 2.');
  });

  it('leaves what was used within the hour, by Baton or by anybody who wrote a file', async () => {
    const { id, path: place } = await kept.make();
    expect(await whyKept(id)).toBe('It was used within the last hour.');
    kept.later(2 * HOUR);
    expect(await whyKept(id)).toBeUndefined();
    await kept.worktrees.touch(id);
    expect(await whyKept(id)).toBe('It was used within the last hour.');
    expect(existsSync(place)).toBe(true);
  });

  it('leaves one in whose untracked directory a file was changed in place within the hour', async () => {
    const { id, path: place } = await kept.make();
    write(place, 'notes/today/a.md', 'a\n');
    kept.later(2 * HOUR);
    expect(await whyKept(id)).toBeUndefined();
    const soon = new Date(Date.now() + 2 * HOUR);
    utimesSync(path.join(place, 'notes/today/a.md'), soon, soon);
    expect(await whyKept(id)).toBe('It was used within the last hour.');
  });

  it('leaves one that somebody wrote to after the sweep had decided', async () => {
    const { id, path: place } = await kept.make();
    kept.later(2 * HOUR);
    const soon = new Date(Date.now() + 2 * HOUR);
    const remove = kept.keeper.remove.bind(kept.keeper);
    kept.keeper.remove = (...args) => {
      write(place, 'notes.md', 'begun\n');
      utimesSync(path.join(place, 'notes.md'), soon, soon);
      return remove(...args);
    };
    expect(await kept.sweep.sweep()).toMatchObject({ removed: [], kept: [{ id, reason: `${place} was used meanwhile.` }] });
    expect(refs(pair.server)).toEqual([]);
  });

  it('leaves one whose thread Codex is just loading, also when it is to be removed by hand', async () => {
    const { id, path: place } = await kept.make({ threads: [THREAD] });
    kept.later(DAY);
    await kept.keeper.atWork(id, async () => {
      kept.later(DAY);
      expect((await kept.sweep.sweep()).kept).toMatchObject([{ id, reason: 'A thread works in it: it is just being loaded.' }]);
      await expect(kept.keeper.remove(id, 'local')).rejects.toMatchObject({ reason: 'worktree-kept' });
    });
    expect(await whyKept(id)).toBe('It was used within the last hour.');
    kept.later(DAY);
    await kept.keeper.remove(id, 'local');
    expect(await kept.keeper.atWork(id, () => Promise.resolve(existsSync(place)))).toBe(true);
  });

  it('leaves one for an hour after a turn that ran for longer', async () => {
    const { id } = await kept.make({ threads: [THREAD] });
    kept.later(DAY);
    kept.running.set(THREAD, 'its turn runs');
    await kept.sweep.sweep();
    kept.running.clear();
    expect(await whyKept(id)).toBe('It was used within the last hour.');
  });

  it.each<[string, RegExp, (worktree: { id: string; path: string; gitDir: string | null }) => unknown]>([
    ['a running turn', /A thread works in it: its turn runs/, () => kept.running.set(THREAD, 'its turn runs')],
    ['a handoff under way', /A handoff of its thread is under way/, () => kept.underWay.set(THREAD, 'A handoff of its thread is under way.')],
    ['git\'s lock', /It is locked: "for the demo"/, ({ path: place }) => git(pair.server, 'worktree', 'lock', '--reason', 'for the demo', place)],
    ['a merge in progress', /A merge is in progress/, ({ path: place }) => { git(place, 'checkout', '-q', '-b', 'side'); write(place, 'a.txt', 'x\n'); git(place, 'commit', '-qam', 'x'); git(place, 'checkout', '-q', '-'); write(place, 'a.txt', 'y\n'); git(place, 'commit', '-qam', 'y'); gitThatMayFail(place, 'merge', 'side'); }],
    ['an ignored file that nothing else has', /an ignored file that nothing else has: "ignored\/\.env"/, ({ path: place }) => { write(place, 'ignored/.env', 'TOKEN=1\n'); }],
    ['a repository within', /repositories of their own, which no snapshot keeps: "nested\/"/, ({ path: place }) => { mkdirSync(path.join(place, 'nested')); git(path.join(place, 'nested'), 'init', '-q'); write(place, 'nested/f', 'f'); git(path.join(place, 'nested'), 'add', 'f'); git(path.join(place, 'nested'), 'commit', '-qm', 'f'); }],
    ['a broken index', /Git cannot read it/, ({ gitDir }) => { writeFileSync(path.join(gitDir ?? '', 'index'), 'no index'); }],
  ])('leaves one with %s, and says why', async (_, reason, make) => {
    const record = await kept.make({ threads: [THREAD] });
    make(record);
    const files = readdirSync(record.path).sort();
    kept.later(DAY);
    expect(await whyKept(record.id)).toMatch(reason);
    expect((await kept.sweep.sweep()).removed).toEqual([]);
    await expect(kept.keeper.remove(record.id, 'local')).rejects.toMatchObject({ reason: 'worktree-kept' });
    expect(readdirSync(record.path).sort()).toEqual(files);
    expect(refs(pair.server)).toEqual([]);
  });

  it('leaves one with a clone among its dependencies, unless the user lets its ignored files go', async () => {
    const { id, path: place } = await kept.make();
    const clone = path.join(place, 'ignored', 'vendor', 'lib');
    mkdirSync(clone, { recursive: true });
    git(clone, 'init', '-q');
    write(place, 'ignored/vendor/lib/f', 'f');
    git(clone, 'add', 'f');
    git(clone, 'commit', '-qm', 'nowhere else');
    kept.later(DAY);
    const { removed, kept: left } = await kept.sweep.sweep();
    expect(removed).toEqual([]);
    expect(left.find((entry) => entry.id === id)?.reason).toMatch(/repositories that git ignores there and no snapshot keeps: "?ignored\/vendor\/lib/);
    expect(git(clone, 'log', '--format=%s')).toContain('nowhere else');
    expect(refs(pair.server)).toEqual([]);
    // The inventory does not look for clones.
    await expect(kept.keeper.remove(id, 'local', { discardIgnored: await shownIgnored(id) })).rejects.toMatchObject({ reason: 'worktree-kept' });
    await kept.keeper.remove(id, 'local', { discardIgnored: await refusedIgnored(id) });
    expect(existsSync(place)).toBe(false);
  });

  it('leaves one with an ignored bare repository, and not for a bare one that is tracked or untracked', async () => {
    const { id, path: place } = await kept.make();
    const bare = (name: string) => { git(place, 'clone', '-q', '--bare', pair.laptop, name); };
    bare('untracked.git');
    bare('tracked.git');
    git(place, 'add', 'tracked.git');
    git(place, 'commit', '-qm', 'with a repository for tests');
    const before = contentOf(place);
    await kept.keeper.remove(id, 'local');
    await kept.keeper.restore(id, 'local');
    expect(contentOf(place)).toEqual(before);
    bare('ignored/vendor/mirror.git');
    await expect(kept.keeper.remove(id, 'local')).rejects.toThrow(/repositories that git ignores there and no snapshot keeps: "ignored\/vendor\/mirror\.git"/);
    await kept.keeper.remove(id, 'local', { discardIgnored: await refusedIgnored(id) });
    expect(existsSync(place)).toBe(false);
  });

  it('removes dependencies, build output, and ignored files that the user\'s checkout has as well', async () => {
    const { id, path: place } = await kept.make();
    write(pair.server, '.gitignore', 'ignored/\n*.log\n.env\nnode_modules/\n');
    for (const root of [pair.server, place]) write(root, '.env', 'TOKEN=1\n');
    write(place, '.gitignore', 'ignored/\n*.log\n.env\nnode_modules/\n');
    write(place, 'node_modules/left-pad/index.js', 'x');
    kept.later(DAY);
    expect((await kept.sweep.sweep()).removed.map((entry) => entry.id)).toEqual([id]);
    await kept.keeper.restore(id, 'local');
    expect(existsSync(path.join(place, 'node_modules'))).toBe(false);
  });

  it.each(['.f0.swp', 'run.log', 'model.obj'])('keeps one with an ignored %s that nothing else has', async (name) => {
    const { id, path: place } = await kept.make();
    write(place, '.gitignore', `${name}\n`);
    write(place, name, 'text that was never saved\n');
    kept.later(DAY);
    expect((await kept.sweep.sweep()).removed).toEqual([]);
    expect(await whyKept(id)).toContain(name);
  });

  it('lets ignored files go only where the user said so, and only those that he saw', async () => {
    const { id, path: place } = await kept.make();
    write(place, 'ignored/.env', 'TOKEN=1\n');
    const [shown, refused] = [await shownIgnored(id), await refusedIgnored(id)];
    expect(shown.startsWith(refused)).toBe(true);
    write(place, 'ignored/notes.txt', 'written since\n');
    await expect(kept.keeper.remove(id, 'local', { discardIgnored: shown })).rejects.toThrow(/not, or no longer, what you let go.*"ignored\/\.env", "ignored\/notes\.txt"/);
    expect(readFileSync(path.join(place, 'ignored/notes.txt'), 'utf8')).toBe('written since\n');
    rmSync(path.join(place, 'ignored/notes.txt'));
    await kept.keeper.remove(id, 'local', { discardIgnored: refused });
    expect(existsSync(place)).toBe(false);
  });

  it('leaves directories that are not Baton\'s, and shows them', async () => {
    const strange = path.join(kept.base, 'theirs', 'app');
    git(pair.directory, 'clone', '-q', pair.laptop, strange);
    mkdirSync(path.join(kept.base, '0badcafe', 'notes'), { recursive: true });
    const linked = path.join(kept.base, 'linked', 'app');
    git(pair.server, 'worktree', 'add', '-q', '--detach', linked);
    kept.later(DAY);
    await kept.sweep.sweep();
    expect(await kept.list()).toMatchObject([{ id: '0badcafe', state: 'foreign' }, { id: 'linked', state: 'foreign' }, { id: 'theirs', state: 'foreign' }]);
    expect([strange, linked, path.join(kept.base, '0badcafe', 'notes')].map((place) => existsSync(place))).toEqual([true, true, true]);
  });

  it('leaves a worktree of the user\'s whose directory is not there now, as on a disk that is unplugged', async () => {
    const away = path.join(pair.directory, 'usb', 'app');
    git(pair.server, 'worktree', 'add', '-q', '--detach', away);
    write(away, 'a.txt', 'staged\n');
    git(away, 'add', 'a.txt');
    renameSync(path.join(pair.directory, 'usb'), path.join(pair.directory, 'unplugged'));
    const { id } = await kept.make();
    kept.later(DAY);
    expect((await kept.sweep.sweep()).removed.map((entry) => entry.id)).toEqual([id]);
    await kept.keeper.restore(id, 'local');
    renameSync(path.join(pair.directory, 'unplugged'), path.join(pair.directory, 'usb'));
    expect(git(away, 'diff', '--cached', '--name-only')).toBe('a.txt');
  });

  it('refuses submodules that no .gitmodules names', async () => {
    const { id, path: place } = await kept.make();
    git(place, 'clone', '-q', pair.laptop, 'sub');
    git(place, '-c', 'advice.addEmbeddedRepo=false', 'add', 'sub');
    kept.later(DAY);
    const { removed, kept: left } = await kept.sweep.sweep();
    expect(removed).toEqual([]);
    expect(left.find((entry) => entry.id === id)?.reason).toMatch(/It tracks "sub", a repository of its own that no \.gitmodules names/);
    expect(existsSync(path.join(place, 'sub', '.git'))).toBe(true);
    expect(refs(pair.server)).toEqual([]);
  });

  it('stops where the worktree changes while it is removed, and puts it back', async () => {
    const { id, path: place } = await kept.make();
    const others = path.join(kept.base, id, '.removing-app');
    mkdirSync(others);
    await expect(kept.keeper.remove(id, 'local')).rejects.toMatchObject({ reason: 'worktree-kept' });
    expect(existsSync(place)).toBe(true);
    expect(existsSync(others)).toBe(true);
  });
});

describe('a worktree that somebody moved or deleted', () => {
  it('within Baton\'s folder is found, and followed when asked', async () => {
    const { id, path: place } = await kept.make();
    work(place);
    const before = contentOf(place);
    const to = path.join(kept.base, id, 'elsewhere');
    renameSync(place, to);
    expect(await kept.list()).toMatchObject([{ id, state: 'moved', safeToRemove: false }]);
    expect(await kept.keeper.repair(id)).toContain(to);
    expect(contentOf(to)).toEqual(before);
    expect(await kept.list()).toMatchObject([{ id, state: 'here', path: to }]);
    expect(git(pair.server, 'worktree', 'list')).toContain(to);
  });

  it('out of it is followed where the user says it is, and is not removed from there', async () => {
    const { id, path: place } = await kept.make();
    const to = path.join(pair.directory, 'mine');
    renameSync(place, to);
    await expect(kept.keeper.repair(id)).rejects.toMatchObject({ reason: 'worktree-kept' });
    await expect(kept.keeper.repair(id, { directory: pair.laptop })).rejects.toMatchObject({ reason: 'worktree-kept' });
    await kept.keeper.repair(id, { directory: to });
    kept.later(DAY);
    expect(await whyKept(id)).toMatch(/outside the folder/);
    expect((await kept.sweep.sweep()).removed).toEqual([]);
    expect(existsSync(to)).toBe(true);
  });

  it.each([true, false])('and of which a copy lies at its place stays the original\'s, and is followed where git knows it (the copy has a .git file: %s)', async (linked) => {
    const { id, path: place } = await kept.make();
    work(place);
    const to = path.join(pair.directory, 'original');
    git(pair.server, 'worktree', 'move', place, to);
    cpSync(to, place, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true });
    git(to, 'status');
    if (!linked) rmSync(path.join(place, '.git'));
    const before = contentOf(to);
    if (linked) {
      await expect(kept.keeper.repair(id)).rejects.toThrow(/original is that worktree too, and the one that git knows/);
      await expect(kept.keeper.repair(id, { directory: place })).rejects.toMatchObject({ reason: 'worktree-kept' });
      rmSync(path.join(place, '.git'));
    } else await expect(kept.keeper.repair(id, { directory: place })).rejects.toThrow(/original is the worktree/);
    expect(contentOf(to)).toEqual(before);
    expect(await kept.keeper.repair(id)).toContain(to);
    expect(contentOf(to)).toEqual(before);
    expect(await kept.list()).toContainEqual(expect.objectContaining({ id, state: 'here', path: to }));
  });

  it('by git itself is found', async () => {
    const { id, path: place } = await kept.make();
    const to = path.join(pair.directory, 'by-git');
    git(pair.server, 'worktree', 'move', place, to);
    expect(await kept.list()).toMatchObject([{ id, state: 'moved' }]);
    await kept.keeper.repair(id);
    expect(await kept.list()).toMatchObject([{ id, state: 'here', path: to }]);
  });

  it('is made again from what git still has', async () => {
    const { id, path: place } = await kept.make();
    write(place, 'n', 'committed\n');
    git(place, 'add', 'n');
    git(place, 'commit', '-qm', 'made here');
    write(place, 'a.txt', 'staged\n');
    git(place, 'add', 'a.txt');
    const before = contentOf(place);
    rmSync(place, { recursive: true });
    expect(await kept.list()).toMatchObject([{ id, state: 'gone', safeToRemove: false }]);
    kept.later(DAY);
    expect((await kept.sweep.sweep()).removed).toEqual([]);
    await expect(kept.keeper.restore(id, 'local')).rejects.toMatchObject({ reason: 'worktree-kept' });
    await expect(kept.keeper.repair(id)).rejects.toMatchObject({ reason: 'worktree-kept' });
    await kept.keeper.repair(id, { anew: true });
    expect(contentOf(place)).toEqual(before);
  });

  it('half is one with deleted files, which a snapshot keeps like any change', async () => {
    const { id, path: place } = await kept.make();
    rmSync(path.join(place, 'dir'), { recursive: true });
    rmSync(path.join(place, 'a.txt'));
    const before = contentOf(place);
    kept.later(DAY);
    expect((await kept.sweep.sweep()).removed.map((entry) => entry.id)).toEqual([id]);
    await kept.keeper.restore(id, 'local');
    expect(contentOf(place)).toEqual(before);
  });

  it('without its .git file is no worktree any more, and becomes one again', async () => {
    const { id, path: place } = await kept.make();
    work(place);
    const before = contentOf(place);
    rmSync(path.join(place, '.git'));
    kept.later(DAY);
    expect(await whyKept(id)).toMatch(/its \.git file is gone/);
    await kept.keeper.repair(id);
    expect(contentOf(place)).toEqual(before);
  });

  it('whose place another repository took is left alone', async () => {
    const { id, path: place } = await kept.make();
    rmSync(place, { recursive: true });
    git(pair.directory, 'clone', '-q', pair.laptop, place);
    write(place, 'mine', 'mine');
    kept.later(DAY);
    expect(await whyKept(id)).toMatch(/another repository lies in its place/);
    await expect(kept.keeper.repair(id)).rejects.toMatchObject({ reason: 'worktree-kept' });
    expect(readFileSync(path.join(place, 'mine'), 'utf8')).toBe('mine');
  });
});

describe('snapshots', () => {
  it('that are the only copy of something stay beyond their time, unless the user says so', async () => {
    const { id, path: place } = await kept.make();
    write(place, 'only here', 'content that nothing else has\n');
    const { ref } = await kept.keeper.remove(id, 'local');
    kept.later(31 * DAY);
    expect(await kept.sweep.snapshots()).toMatchObject([{ ref, onlyCopy: true, expiresAt: null, path: place }]);
    expect((await kept.sweep.sweep()).expired).toEqual([]);
    expect(await kept.sweep.expire([ref], false, 'local')).toMatchObject({ expired: [], kept: [{ ref }] });
    expect(refs(pair.server)).toEqual([ref]);
    expect((await kept.sweep.expire([ref], true, 'local')).expired).toEqual([ref]);
    expect(refs(pair.server)).toEqual([]);
    await expect(kept.keeper.restore(id, 'local')).rejects.toMatchObject({ reason: 'no-such-worktree' });
  });

  it('that hold the same in one repository are not both dropped by two hosts that sweep at once', async () => {
    const other = await openKept(path.join(pair.directory, 'other home'), pair.server);
    for (const host of [kept, other]) {
      const { id, path: place } = await host.make({ branch: null });
      write(place, 'only here', 'content that the two have, and nothing else\n');
      await host.keeper.remove(id, 'local');
      host.later(31 * DAY);
    }
    const swept = await Promise.all([kept, other].map((host) => host.sweep.sweep()));
    expect(swept.flatMap(({ expired }) => expired)).toHaveLength(1);
    const [left, ...more] = refs(pair.server);
    expect(more).toEqual([]);
    expect(git(pair.server, 'rev-list', '--objects', left ?? '')).toContain('only here');
  });

  it.each([
    ['moves', (place: string) => { git(place, 'mv', 'a.txt', 'moved.txt'); }],
    ['deletions', (place: string) => { rmSync(path.join(place, 'a.txt')); }],
    ['modes', (place: string) => { git(place, 'update-index', '--chmod=+x', 'a.txt'); }],
  ])('of work that is only %s stay too', async (_, change) => {
    const { id, path: place } = await kept.make();
    change(place);
    const { ref } = await kept.keeper.remove(id, 'local');
    kept.later(31 * DAY);
    expect((await kept.sweep.sweep()).expired).toEqual([]);
    expect(refs(pair.server)).toEqual([ref]);
  });

  it('stay where only what a handoff under way would put back has the same', async () => {
    const { id, path: place } = await kept.make();
    write(place, 'only here', 'content that goes when the handoff ends\n');
    const { ref } = await kept.keeper.remove(id, 'local');
    git(pair.server, 'update-ref', `refs/baton/snapshots/${THREAD}/before-handoff`, `${ref}^1`);
    kept.later(31 * DAY);
    expect((await kept.sweep.sweep()).expired).toEqual([]);
  });

  it('of commits that no branch has stay too', async () => {
    const { id, path: place } = await kept.make({ branch: null });
    write(place, 'a.txt', 'b\n');
    git(place, 'commit', '-qam', 'on no branch');
    await kept.keeper.remove(id, 'local');
    kept.later(31 * DAY);
    expect((await kept.sweep.sweep()).expired).toEqual([]);
    git(pair.server, 'branch', 'now-on-one', `${refs(pair.server)[0] ?? ''}~3`);
    expect((await kept.sweep.sweep()).expired).toHaveLength(1);
  });

  it('of what git has elsewhere expire after their time, and a thread of theirs is told so', async () => {
    const { id } = await kept.make({ threads: [THREAD] });
    const { ref } = await kept.keeper.remove(id, 'local');
    kept.later(29 * DAY);
    expect((await kept.sweep.sweep()).expired).toEqual([]);
    kept.later(2 * DAY);
    expect((await kept.sweep.sweep()).expired).toEqual([ref]);
    await expect(kept.keeper.wake(THREAD)).rejects.toMatchObject({ reason: 'snapshot-expired' });
  });

  it('from which a worktree was restored expire: what they held lives on in it', async () => {
    const { id, path: place } = await kept.make();
    work(place);
    const { ref } = await kept.keeper.remove(id, 'local');
    await kept.keeper.restore(id, 'local');
    await kept.worktrees.save({ id, pinned: true });
    kept.later(31 * DAY);
    const before = contentOf(place);
    expect((await kept.sweep.sweep()).expired).toEqual([ref]);
    expect(contentOf(place)).toEqual(before);
  });

  it('that cannot be read stop neither the list nor a sweep: they are listed, kept, and it is said why', async () => {
    const [older, damaged, absent, whole] = [await kept.make(), await kept.make(), await kept.make(), await kept.make()];
    const tips = new Map<string, string>();
    for (const { id } of [older, damaged, absent, whole]) tips.set(id, (await kept.keeper.remove(id, 'local')).ref);
    const ref = ({ id }: { id: string }) => tips.get(id) ?? '';
    // Such as a Baton took that knew no records; one whose record is torn; one of which nothing is left.
    git(pair.server, 'update-ref', ref(older), `${ref(older)}^1`);
    write(pair.directory, 'torn', '{"version": 1, "refs": [');
    const blob = git(pair.server, 'hash-object', '-w', path.join(pair.directory, 'torn'));
    write(pair.directory, 'tree', `100644 blob ${blob}\tsnapshot.json\n`);
    const tree = execFileSync('git', ['mktree'], { cwd: pair.server, input: readFileSync(path.join(pair.directory, 'tree')), encoding: 'utf8' }).trim();
    git(pair.server, 'update-ref', ref(damaged), git(pair.server, 'commit-tree', '-m', 'torn', '-p', `${ref(damaged)}^1`, tree));
    writeFileSync(path.join(pair.server, '.git', ref(absent)), `${'1'.repeat(40)}\n`);
    const { id, path: place } = await kept.make();
    work(place);
    const before = contentOf(place);
    kept.later(31 * DAY);

    const listed = await kept.sweep.snapshots();
    expect(listed.map((each) => each.ref).sort()).toEqual([...tips.values()].sort());
    for (const each of [older, damaged, absent]) {
      expect(listed.find(({ worktreeId }) => worktreeId === each.id)).toMatchObject({ path: each.path, onlyCopy: true, expiresAt: null, unreadable: expect.stringMatching(/cannot be read: another version of Baton took it, or it is damaged/) as string });
    }
    expect((await kept.sweep.preview()).removed.map((entry) => entry.id)).toEqual([id]);
    const swept = await kept.sweep.sweep();
    expect(swept.removed.map((entry) => entry.id)).toEqual([id]);
    for (const each of [older, damaged, absent]) expect(swept.expired).not.toContain(ref(each));
    expect(readFileSync(path.join(pair.server, '.git', ref(absent)), 'utf8')).toBe(`${'1'.repeat(40)}\n`);
    await kept.keeper.restore(id, 'local');
    expect(contentOf(place)).toEqual(before);
    expect((await kept.sweep.expire([ref(damaged)], false, 'local')).kept).toMatchObject([{ reason: expect.stringContaining('cannot be read') as string }]);
    expect((await kept.sweep.expire([ref(damaged), ref(absent)], true, 'local')).expired.sort()).toEqual([ref(damaged), ref(absent)].sort());
  });

  it('of a worktree that was given up stay this host\'s: it can be restored from them until they expire, and then nothing is left', async () => {
    const { id, path: place } = await kept.make();
    const before = contentOf(place);
    const { ref } = await kept.keeper.remove(id, 'local');
    await kept.keeper.restore(id, 'local');
    rmSync(path.dirname(place), { recursive: true });
    git(pair.server, 'worktree', 'prune', '--expire=now');
    expect(await kept.keeper.forget(id)).toBe(ref);
    expect(recorded(kept.worktrees)).toMatchObject([{ id, path: place, state: 'removed', snapshot: ref }]);
    expect(await kept.sweep.snapshots()).toMatchObject([{ ref, path: place, onlyCopy: false, expiresAt: expect.any(String) as string }]);
    await kept.keeper.restore(id, 'local');
    expect(contentOf(place)).toEqual(before);
    rmSync(path.dirname(place), { recursive: true });
    git(pair.server, 'worktree', 'prune', '--expire=now');
    await kept.keeper.forget(id);
    kept.later(31 * DAY);
    expect((await kept.sweep.sweep()).expired).toEqual([ref]);
    expect(kept.worktrees.all()).toEqual([]);
    const { id: another, path: gone } = await kept.make();
    rmSync(path.dirname(gone), { recursive: true });
    git(pair.server, 'worktree', 'prune', '--expire=now');
    expect(await kept.keeper.forget(another)).toBeNull();
    expect(kept.worktrees.all()).toEqual([]);
  });

  it('of another host\'s worktrees in the same repository are left to it', async () => {
    const other = await openKept(path.join(pair.directory, 'other-home'), pair.server);
    const { id } = await other.make();
    const { ref } = await other.keeper.remove(id, 'local');
    kept.later(400 * DAY);
    expect((await kept.sweep.sweep()).expired).toEqual([]);
    expect(refs(pair.server)).toEqual([ref]);
  });
});

it('the id of a worktree is none that another has: not by its record, its directory, or its snapshots in the repository', async () => {
  const other = await openKept(path.join(pair.directory, 'other-home'), pair.server, { ids: ['aaaaaaaa'] });
  await other.keeper.remove((await other.make()).id, 'local');
  kept = await openKept(kept.home, pair.server, { ids: ['bbbbbbbb', 'bbbbbbbb', 'aaaaaaaa', 'cccccccc', 'dddddddd'] });
  mkdirSync(path.join(kept.base, 'cccccccc'), { recursive: true });
  expect([(await kept.make()).id, (await kept.make()).id]).toEqual(['bbbbbbbb', 'dddddddd']);
});

describe('two hosts that sweep one repository at once', () => {
  it('remove each their own, and lose nothing', async () => {
    const other = await openKept(path.join(pair.directory, 'other-home'), pair.server);
    const mine = [await kept.make(), await kept.make()];
    const theirs = [await other.make(), await other.make()];
    const before = new Map([...mine, ...theirs].map(({ id, path: place }) => {
      work(place);
      return [id, contentOf(place)];
    }));
    kept.later(DAY);
    other.later(DAY);
    const [one, two] = await Promise.all([kept.sweep.sweep(), other.sweep.sweep()]);
    expect(one.removed.map(({ id }) => id).sort()).toEqual(mine.map(({ id }) => id).sort());
    expect(two.removed.map(({ id }) => id).sort()).toEqual(theirs.map(({ id }) => id).sort());
    await Promise.all([...mine.map(({ id }) => kept.keeper.restore(id, 'local')), ...theirs.map(({ id }) => other.keeper.restore(id, 'local'))]);
    for (const { id, path: place } of [...mine, ...theirs]) expect(contentOf(place)).toEqual(before.get(id));
  });

  it('and two sweeps of one host are one', async () => {
    const { id } = await kept.make();
    kept.later(DAY);
    const [one, two] = await Promise.all([kept.sweep.sweep(), kept.sweep.sweep()]);
    expect(one).toBe(two);
    expect(one.removed.map((entry) => entry.id)).toEqual([id]);
  });
});
