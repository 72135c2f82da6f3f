import path from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { carry, git, gitThatMayFail, isAtLeast, makePair, observe, ownCheckout, photograph, removeTemporaryDirectories, write } from './laboratory';
import { statesOfOperations } from './statesOfOperations';

afterEach(removeTemporaryDirectories);

const hasReftable = isAtLeast(2, 45);

const pseudorefs = ['MERGE_HEAD', 'CHERRY_PICK_HEAD', 'REVERT_HEAD', 'REBASE_HEAD', 'ORIG_HEAD', 'AUTO_MERGE', 'MERGE_AUTOSTASH', 'BISECT_EXPECTED_REV'];

/** What git says of the operation under way, but for the names of branches. */
function operationOf(root: string): unknown {
  const value = (name: string) => {
    try {
      return git(root, 'rev-parse', '-q', '--verify', name);
    } catch {
      return null;
    }
  };
  const told = git(root, 'status').split('\n').filter((line) => line !== '' && !/^(On branch|Your branch|HEAD detached|Not currently|No commands remaining|\s+\(see more in file )/.test(line)).join('\n').replace(/branch '[^']*'|from branch .*$/gm, 'branch');
  // Without an operation these are memories of the user's own, which do not travel.
  const named = /in progress|You are currently|You have unmerged|All conflicts fixed|still merging/.test(told) ? pseudorefs.map((name) => [name, value(name)]) : [];
  return { told, named, refs: git(root, 'for-each-ref', 'refs/bisect', 'refs/rewritten') };
}

const operations = statesOfOperations.filter((state) => state.typical === true);

describe.skipIf(!hasReftable)('a repository that keeps its refs in a reftable', () => {
  it.each(operations.map((state) => [state.name, state] as const))('as source and as destination: %s', async (_name, state) => {
    const pair = makePair({ laptopRefs: 'reftable', serverRefs: 'files' });
    state.make(pair.laptop, pair);
    const source = photograph(pair.laptop);
    const own = ownCheckout(pair.server);
    const worktree = path.join(pair.directory, 'server', 'worktrees', '1', 'app');
    const there = await carry(pair, pair.laptop, pair.server, worktree);
    expect(photograph(pair.laptop), 'the source is untouched').toEqual(source);
    expect(ownCheckout(pair.server)).toEqual(own);
    expect(there.restored.fingerprint).toBe(there.capture.fingerprint);
    expect(observe(worktree)).toEqual(observe(pair.laptop));
    expect(operationOf(worktree)).toEqual(operationOf(pair.laptop));

    const back = path.join(pair.directory, 'laptop', 'worktrees', '1', 'app');
    const home = await carry(pair, worktree, pair.laptop, back);
    expect(home.restored.fingerprint).toBe(there.capture.fingerprint);
    expect(observe(back)).toEqual(observe(pair.laptop));
    expect(operationOf(back)).toEqual(operationOf(pair.laptop));

    // Once more, into the worktree that still holds the operation, without it.
    gitThatMayFail(worktree, 'bisect', 'reset');
    for (const operation of ['merge', 'cherry-pick', 'revert', 'rebase', 'am']) gitThatMayFail(worktree, operation, '--abort');
    write(worktree, 'made there.txt', 'made there\n');
    const again = await carry(pair, worktree, pair.laptop, back, home.restored.fingerprint);
    expect(again.restored.fingerprint).toBe(again.capture.fingerprint);
    expect(observe(back)).toEqual(observe(worktree));
    expect(operationOf(back)).toEqual(operationOf(worktree));
  });

  it('goes on with a rebase and a cherry-pick as one that keeps them in files', async () => {
    const finished = await Promise.all((['files', 'reftable'] as const).map(async (refs) => {
      const pair = makePair({ laptopRefs: refs, serverRefs: refs, format: 'sha256' });
      const results: string[] = [];
      for (const [name, command] of [['a rebase in conflict', 'rebase'], ['a cherry-pick in conflict, with more to pick', 'cherry-pick']] as const) {
        const root = path.join(pair.directory, command);
        git(pair.directory, 'clone', '-q', `--ref-format=${refs}`, pair.laptop, root);
        statesOfOperations.find((state) => state.name === name)?.make(root, pair);
        const worktree = path.join(pair.directory, 'server', 'worktrees', command, 'app');
        await carry(pair, root, pair.server, worktree);
        write(worktree, 'a.txt', 'resolved\n');
        git(worktree, 'add', 'a.txt');
        git(worktree, command, '--continue');
        results.push(git(worktree, 'log', '--format=%T %s'), git(worktree, 'status', '--porcelain=v2'));
      }
      return results;
    }));
    expect(finished[1]).toEqual(finished[0]);
  });
});

it.skipIf(hasReftable)('a repository kept in a way that this git does not know is refused with what is missing', async () => {
  const pair = makePair();
  git(pair.laptop, 'config', 'core.repositoryFormatVersion', '1');
  git(pair.laptop, 'config', 'extensions.refStorage', 'reftable');
  await expect(carry(pair, pair.laptop, pair.server, path.join(pair.directory, 'w'))).rejects.toThrow(/uses extensions.refstorage, which git .* does not know/);
});
