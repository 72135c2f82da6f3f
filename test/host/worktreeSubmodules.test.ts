import { existsSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { pointerOf } from '../../src/git/worktreeEntry';
import { carry, git, gitThatMayFail, observe, ownCheckout, removeTemporaryDirectories, write, type Pair } from '../git/laboratory';
import { makeSubmodulePair, observeAll, places, workEverywhere, workIn } from '../git/submoduleClones';
import { DAY, openKept, type Kept } from './keptWorktrees';

let pair: Pair;
let kept: Kept;
let id: string;
let place: string;
beforeEach(async () => {
  pair = makeSubmodulePair();
  kept = await openKept(path.join(pair.directory, 'home'), pair.server);
  ({ id, path: place } = await kept.make());
  // As a person or an agent does it: git then puts the repositories into what is removed with the worktree.
  git(place, 'submodule', '--quiet', 'update', '--init', '--recursive');
});
afterEach(removeTemporaryDirectories);

const within = (name: string) => path.join(place, name);
const branches = () => places.map((name) => git(within(name), 'branch', '--show-current'));

describe('a worktree with submodules', () => {
  it('is removed and restored exactly at any depth, again and again, wherever their repositories lie', async () => {
    git(within('vendor/lib'), 'checkout', '-q', '-b', 'topic');
    workEverywhere(place);
    const own = ownCheckout(pair.server);
    for (let time = 0; time < 2; time++) {
      const [before, on] = [observeAll(place), branches()];
      await kept.keeper.remove(id, 'local');
      expect(existsSync(place)).toBe(false);
      expect(readdirSync(kept.base)).toEqual([]);
      git(pair.server, 'gc', '-q', '--prune=now');
      for (const repository of readdirSync(path.join(pair.server, '.git/baton/modules'))) git(path.join(pair.server, '.git/baton/modules', repository), 'gc', '-q', '--prune=now');
      await kept.keeper.restore(id, 'local');
      expect(observeAll(place)).toEqual(before);
      expect(branches()).toEqual(on);
      // What is linked now is changed once more.
      write(within('vendor/lib/deep'), `later ${time}`, 'x');
    }
    expect(ownCheckout(pair.server)).toEqual(own);
    expect(git(place, 'submodule', 'status', '--recursive')).not.toMatch(/^-/m);
  });

  it('loses no branch, stash or reflog of its submodules', async () => {
    const lib = within('vendor/lib');
    write(lib, 'lib.txt', 'stashed\n');
    git(lib, 'stash', '-q');
    git(lib, 'checkout', '-q', '-b', 'elsewhere');
    write(lib, 'n', 'n');
    git(lib, 'add', 'n');
    git(lib, 'commit', '-qm', 'on a branch');
    git(lib, 'checkout', '-q', '--detach', 'HEAD~1');
    const told = () => [git(lib, 'stash', 'list'), git(lib, 'rev-parse', 'stash@{0}', 'elsewhere'), git(lib, 'reflog', '--format=%H %gs', 'HEAD')];
    const before = told();
    await kept.keeper.remove(id, 'local');
    await kept.keeper.restore(id, 'local');
    expect(told()).toEqual(before);
  });

  it('that came with a handoff loses no commit that only it is at, and the user\'s repositories know no more of it', async () => {
    const { id: came, path: worktree } = await kept.worktrees.plan(pair.server);
    await carry(pair, pair.laptop, pair.server, worktree);
    await kept.worktrees.save({ id: came, path: worktree, gitDir: await pointerOf(worktree), projectRoot: pair.server, threadIds: [] });
    const lib = path.join(worktree, 'vendor/lib');
    const repository = git(lib, 'rev-parse', '--path-format=absolute', '--git-common-dir');
    workEverywhere(worktree);
    git(worktree, 'submodule', '--quiet', 'add', '--name', 'late', path.join(pair.directory, 'origin', 'deep'), 'late');
    workIn(path.join(worktree, 'late'));
    const told = () => [observeAll(worktree), observe(path.join(worktree, 'late'))];
    const before = told();
    await kept.keeper.remove(came, 'local');
    expect(existsSync(worktree)).toBe(false);
    expect(git(repository, 'worktree', 'list').split('\n')).toHaveLength(1);
    git(repository, 'gc', '-q', '--prune=now');
    await kept.keeper.restore(came, 'local');
    expect(told()).toEqual(before);
  });

  it('goes with its snapshots when they expire, and its repositories stay', async () => {
    const { ref, submodules } = await kept.keeper.remove(id, 'local');
    expect(submodules.map((each) => each.place)).toEqual(places.slice(1));
    for (const each of submodules) expect(git(each.repository, 'rev-parse', each.ref)).toBe(each.tip);
    expect((await kept.sweep.expire([ref], true, 'local')).expired).toEqual([ref]);
    for (const each of submodules) expect(git(each.repository, 'for-each-ref', 'refs/baton/snapshots')).toBe('');
  });

  it('leaves no repository of Baton\'s for long that nothing needs: only what is nowhere else stays', async () => {
    workEverywhere(place);
    const { ref, submodules } = await kept.keeper.remove(id, 'local');
    const [lib, deep] = submodules.map(({ repository }) => repository) as [string, string];
    expect(deep.startsWith(lib)).toBe(true);
    kept.later(2 * DAY);
    await kept.sweep.sweep();
    await kept.sweep.expire([ref], true, 'local');
    await kept.sweep.sweep();
    // The submodules' commits are on no branch, and in no other repository.
    expect(existsSync(lib)).toBe(true);
    git(pair.server, 'submodule', '--quiet', 'update', '--init', '--recursive');
    const modules = path.join(pair.server, '.git/modules/lib');
    git(modules, 'fetch', '-q', '--no-recurse-submodules', lib, '+HEAD:refs/heads/saved');
    await kept.sweep.sweep();
    expect(existsSync(lib)).toBe(true);
    git(path.join(modules, 'modules/the deep'), 'fetch', '-q', deep, '+HEAD:refs/heads/saved');
    await kept.sweep.sweep();
    expect(existsSync(path.join(pair.server, '.git/baton/modules'))).toBe(false);
  }, 240_000);

  it.each<[string, RegExp, () => unknown]>([
    ['an ignored file in one', /an ignored file that nothing else has: "vendor\/lib\/deep\/\.env"/, () => { const deep = within('vendor/lib/deep'); writeFileSync(git(deep, 'rev-parse', '--path-format=absolute', '--git-path', 'info/exclude'), '.env\n'); write(deep, '.env', 'TOKEN=1\n'); }],
    ['a merge in progress in one', /A merge is in progress/, () => {
      const lib = within('vendor/lib');
      for (const side of ['a', 'b']) { git(lib, 'checkout', '-q', '-B', side, 'origin/HEAD'); write(lib, 'lib.txt', `${side}\n`); git(lib, 'commit', '-qam', side); }
      gitThatMayFail(lib, 'merge', 'a');
    }],
    ['an untracked repository in one', /repositories of their own, which no snapshot keeps: "nested\/"/, () => { git(within('vendor/lib'), 'clone', '-q', pair.laptop, 'nested'); }],
    ['a submodule whose repository is there and which is not checked out', /is the repository of a submodule that is not checked out/, () => { git(place, 'submodule', '--quiet', 'deinit', '-f', 'vendor/lib'); }],
    ['one that has worktrees of its own elsewhere', /"vendor\/lib" lies in the worktree, and has worktrees elsewhere/, () => { git(within('vendor/lib'), 'worktree', 'add', '-q', '--detach', path.join(pair.directory, 'elsewhere')); }],
  ])('is left with %s, and says why', async (_, reason, make) => {
    make();
    const before = observeAll(place);
    kept.later(DAY);
    const swept = await kept.sweep.sweep();
    expect(swept).toMatchObject({ removed: [], kept: [{ id, reason: expect.stringMatching(reason) as string }] });
    expect(observeAll(place)).toEqual(before);
    expect(git(pair.server, 'for-each-ref', 'refs/baton/snapshots')).toBe('');
  });

  it('is back whole where it changes while it is removed', async () => {
    workEverywhere(place);
    const before = observeAll(place);
    const setAside = `.removing-${path.basename(place)}`;
    const save = kept.worktrees.save.bind(kept.worktrees);
    kept.worktrees.save = async (record) => {
      // Somebody who still has the directory open writes into it.
      if (record.life?.is === 'removing' && existsSync(place)) write(within('vendor/lib/deep'), 'at the last moment', 'x');
      return save(record);
    };
    await expect(kept.keeper.remove(id, 'local')).rejects.toMatchObject({ reason: 'worktree-changed' });
    expect(existsSync(path.join(path.dirname(place), setAside))).toBe(false);
    git(within('vendor/lib/deep'), 'clean', '-fq', 'at the last moment');
    expect(observeAll(place)).toEqual(before);
    expect(await kept.list()).toMatchObject([{ id, state: 'here', dirty: true }]);
  });

  it('says so where the repository of a submodule is gone, and changes nothing', async () => {
    const { submodules } = await kept.keeper.remove(id, 'local');
    const repository = submodules[0]?.repository ?? '';
    renameSync(repository, `${repository}.away`);
    await expect(kept.keeper.restore(id, 'local')).rejects.toMatchObject({ reason: 'missing-objects', message: expect.stringContaining('"vendor/lib"') as string });
    expect(await kept.list()).toMatchObject([{ id, state: 'removed' }]);
    renameSync(`${repository}.away`, repository);
    await kept.keeper.restore(id, 'local');
    expect(git(place, 'submodule', 'status', '--recursive')).not.toMatch(/^[-+]/m);
  });
});
