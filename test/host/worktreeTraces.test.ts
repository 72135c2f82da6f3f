import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { git, isAtLeast, makePair, observe, removeTemporaryDirectories, write, type Pair } from '../git/laboratory';
import { lfsInstalled } from '../git/lfsLaboratory';
import { DAY, openKept, work, type Kept } from './keptWorktrees';

let pair: Pair;
let kept: Kept;
beforeEach(async () => {
  pair = makePair();
  kept = await openKept(path.join(pair.directory, 'home'), pair.server);
});
afterEach(removeTemporaryDirectories);

/** What a person does who wants room: nothing is left that no ref leads to. */
function collect(root: string): void {
  git(root, 'reflog', 'expire', '--expire=now', '--expire-unreachable=now', '--all');
  git(root, 'worktree', 'prune', '--expire=now');
  git(root, 'gc', '-q', '--prune=now');
}

/** Commits, and takes the commit back, so that only the reflog knows it. */
function commitAndUndo(place: string, message: string): string {
  write(place, 'undone', message);
  git(place, 'add', 'undone');
  git(place, 'commit', '-qm', message);
  const commit = git(place, 'rev-parse', 'HEAD');
  git(place, 'reset', '-q', '--hard', 'HEAD~1');
  return commit;
}

describe('what git keeps for one worktree beside its working state', () => {
  it('comes back with it: the reflog of HEAD with commits that nothing else names, refs, config, ORIG_HEAD', async () => {
    git(pair.server, 'config', 'extensions.worktreeConfig', 'true');
    const { id, path: place } = await kept.make({ branch: null });
    work(place);
    write(place, 'a.txt', 'one\n');
    git(place, 'add', '-A');
    git(place, 'commit', '-qm', 'all of it');
    const undone = [commitAndUndo(place, 'first'), commitAndUndo(place, 'second')];
    const noted = commitAndUndo(place, 'noted');
    git(place, 'update-ref', 'refs/worktree/noted', noted);
    git(place, 'config', '--worktree', 'user.email', 'only@here.example');
    const told = () => [git(place, 'reflog', '--format=%H %gd %gn %gs', '--date=raw', 'HEAD'), git(place, 'rev-parse', 'ORIG_HEAD', 'refs/worktree/noted'), git(place, 'config', 'user.email'), observe(place)];
    const before = told();
    await kept.keeper.remove(id, 'local');
    collect(pair.server);
    await kept.keeper.restore(id, 'local');
    expect(told()).toEqual(before);
    for (const commit of undone) expect(git(place, 'show', '--stat', '--format=%s', commit)).toContain('undone');
    expect(git(pair.server, 'fsck', '--connectivity-only')).toBe('');
  });

  it('is no reason to keep a snapshot for ever, unless it is a ref', async () => {
    const [logged, named] = [await kept.make({ branch: null }), await kept.make({ branch: null })];
    commitAndUndo(logged.path, 'in the reflog');
    git(named.path, 'update-ref', 'refs/worktree/named', commitAndUndo(named.path, 'with a name'));
    for (const { id } of [logged, named]) await kept.keeper.remove(id, 'local');
    const snapshots = await kept.sweep.snapshots();
    expect(snapshots.map(({ worktreeId, onlyCopy }) => [worktreeId, onlyCopy]).sort()).toEqual([[logged.id, false], [named.id, true]].sort());
  });

  it('does without a commit of the reflog whose history the repository has lost, and leaves its own checks whole', async () => {
    const { id, path: place } = await kept.make({ branch: null });
    const [lost, whole] = [commitAndUndo(place, 'lost'), commitAndUndo(place, 'whole')];
    const blob = git(place, 'rev-parse', `${lost}:undone`);
    rmSync(path.join(pair.server, '.git/objects', blob.slice(0, 2), blob.slice(2)));
    const before = observe(place);
    await kept.keeper.remove(id, 'local');
    collect(pair.server);
    await kept.keeper.restore(id, 'local');
    expect(observe(place)).toEqual(before);
    expect(git(place, 'show', '-s', '--format=%s', whole)).toBe('whole');
    // Fails where a ref leads to what is missing.
    git(pair.server, 'rev-list', '--objects', '--quiet', '--all');
    git(pair.server, 'gc', '-q');
  });

  it('keeps the worktree where a ref of its own is at something that no snapshot holds', async () => {
    const { id, path: place } = await kept.make();
    git(place, 'update-ref', 'refs/worktree/blob', git(place, 'rev-parse', 'HEAD:a.txt'));
    kept.later(DAY);
    expect((await kept.sweep.sweep()).kept).toMatchObject([{ id, reason: expect.stringMatching(/refs\/worktree\/blob is at a blob/) as string }]);
    expect(existsSync(place)).toBe(true);
  });

  it.skipIf(!isAtLeast(2, 45))('keeps the commits of a reflog that a reftable holds, and says that the log itself begins anew', async () => {
    pair = makePair({ serverRefs: 'reftable' });
    kept = await openKept(path.join(pair.directory, 'other home'), pair.server);
    const { id, path: place } = await kept.make({ branch: null });
    const commit = commitAndUndo(place, 'undone');
    const before = [observe(place), git(place, 'rev-parse', 'ORIG_HEAD')];
    await kept.keeper.remove(id, 'local');
    collect(pair.server);
    expect((await kept.keeper.restore(id, 'local'))?.join()).toMatch(/The reflog of HEAD begins anew/);
    expect([observe(place), git(place, 'rev-parse', 'ORIG_HEAD')]).toEqual(before);
    expect(git(place, 'show', '-s', '--format=%s', commit)).toBe('undone');
  });
});

it.skipIf(!lfsInstalled)('Git LFS content that only a snapshot needs is there when "git lfs prune" has taken it, and goes when the snapshot does', async () => {
  const { id, path: place } = await kept.make({ branch: null });
  const contents = ['committed and pushed nowhere\n', 'staged\n'].map((content) => ({ content, oid: createHash('sha256').update(content).digest('hex') }));
  const objects = path.join(pair.server, '.git/lfs/objects');
  write(place, '.gitattributes', '*.bin filter=lfs\n');
  for (const { content, oid } of contents) {
    write(objects, `${oid.slice(0, 2)}/${oid.slice(2, 4)}/${oid}`, content);
    write(place, 'large.bin', `version https://git-lfs.github.com/spec/v1\noid sha256:${oid}\nsize ${content.length}\n`);
    git(place, 'add', '-A');
    if (content.startsWith('committed')) git(place, 'commit', '-qm', 'a pointer');
    write(place, 'large.bin', content);
  }
  const { ref } = await kept.keeper.remove(id, 'local');
  git(pair.server, 'lfs', 'prune');
  for (const { oid } of contents) expect(existsSync(path.join(objects, oid.slice(0, 2), oid.slice(2, 4), oid))).toBe(false);
  await kept.keeper.restore(id, 'local');
  expect(readFileSync(path.join(place, 'large.bin'), 'utf8')).toBe('staged\n');
  for (const { content, oid } of contents) expect(readFileSync(path.join(objects, oid.slice(0, 2), oid.slice(2, 4), oid), 'utf8')).toBe(content);
  await kept.sweep.expire([ref], true, 'local');
  expect(readdirSync(path.join(pair.server, '.git/baton'))).toEqual([]);
});
