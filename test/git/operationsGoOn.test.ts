import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { isWhole } from '../fixtures/whole';
import { carry, git, gitEnvironment, isAtLeast, makePair, observe, removeTemporaryDirectories, write } from './laboratory';
import { statesOfOperations } from './statesOfOperations';

afterEach(removeTemporaryDirectories);

/** A file written and staged, or a git command that is given as a person types it. */
type Step = string | ((root: string) => void);
const settled = (name: string, content = 'resolved\n') => (root: string) => { write(root, name, content); git(root, 'add', '--', name); };
const a = settled('a.txt');
const n = settled('n');

/** How each operation may go on. The last command of a way must succeed. */
const ways: Readonly<Record<string, readonly (readonly Step[])[]>> = {
  'a merge in conflict': [[a, 'merge --continue'], ['merge --abort'], ['checkout --theirs a.txt', 'commit -aqm theirs']],
  'a merge partly resolved': [['checkout -m a.txt', 'ls-files -u'], [settled('dir/c.txt'), 'merge --continue']],
  'a merge resolved, not committed': [['checkout -m a.txt', 'diff'], ['commit --no-edit']],
  'a merge with autostash, in conflict': [[a, 'merge --continue'], ['merge --abort']],
  'a merge that waits for its commit': [['commit --no-edit'], ['merge --abort']],
  'an octopus that waits for its commit': [['commit --no-edit']],
  'a squash merge that waits for its commit': [['commit --no-edit']],
  'a conflict of two renames': [['rm a.txt', 'add ours.txt theirs.txt', 'merge --continue']],
  'a cherry-pick in conflict, with more to pick': [[a, 'cherry-pick --continue'], ['cherry-pick --skip'], ['cherry-pick --abort'], ['cherry-pick --quit']],
  'a cherry-pick with options, in conflict': [[a, 'cherry-pick --continue']],
  'a cherry-pick between two picks': [['cherry-pick --continue'], ['cherry-pick --abort']],
  'a cherry-pick that became empty': [['cherry-pick --skip'], ['commit --allow-empty --no-edit']],
  'a revert in conflict': [[a, 'revert --continue'], ['revert --abort']],
  'a revert that leaves nothing': [['revert --continue'], ['revert --abort']],
  'a sequence of reverts in conflict': [[n, 'revert --continue', settled('n', 'again\n'), 'revert --continue', 'status'], ['revert --skip', 'revert --abort']],
  'a rebase in conflict': [[a, 'rebase --continue'], ['rebase --skip'], ['rebase --abort'], ['rebase --show-current-patch']],
  'a rebase in conflict with autostash': [[a, 'rebase --continue'], ['rebase --abort']],
  'a rebase that stopped to edit': [['commit --amend --no-edit', 'rebase --continue'], ['rebase --abort']],
  'a rebase that stopped in the middle of a squash': [['checkout -f', 'rebase --continue']],
  'a rebase whose squash is in conflict': [[n, 'rebase --continue']],
  'a rebase that stopped at a line that failed': [['rebase --continue']],
  'a rebase from the root': [['rebase --continue'], ['rebase --abort']],
  'a rebase of merges in conflict': [[a, 'rebase --continue'], ['rebase --abort']],
  'a rebase of merges that stopped after its labels': [['rebase --continue'], ['rebase --abort']],
  'a rebase that moves other branches': [['rebase --continue']],
  'a rebase with --apply in conflict': [[a, 'rebase --continue'], ['rebase --skip'], ['rebase --abort']],
  'a rebase of a detached HEAD in conflict': [[a, 'rebase --continue'], ['rebase --abort']],
  'git am in conflict': [[a, 'am --continue'], ['am --skip'], ['am --abort']],
  'git am with a patch that does not apply': [['am --skip'], ['am --abort']],
  'a bisect': [['bisect good', 'bisect bad'], ['bisect reset'], ['bisect log']],
  'a bisect with other words, skipped commits and a path': [['bisect fast', 'bisect slow'], ['bisect reset']],
  'a bisect that has only begun': [['bisect good HEAD~2', 'bisect reset']],
  'a merge in conflict during a bisect': [['merge --abort', 'bisect good', 'bisect reset'], [a, settled('b.txt'), 'merge --continue']],
};

/** Author and committer write the same date at both ends, so the same commits are the same objects. */
const dated = { ...gitEnvironment, GIT_AUTHOR_DATE: '1700000000 +0000', GIT_COMMITTER_DATE: '1700000000 +0000' };
function go(root: string, steps: readonly Step[]): (number | null)[] {
  return steps.map((step) => {
    if (typeof step === 'string') return spawnSync('git', step.split(' '), { cwd: root, env: dated, stdio: 'ignore' }).status;
    step(root);
    return 0;
  });
}

/** `rebase --update-refs` came with git 2.38. */
const isKnown = (state: string) => state !== 'a rebase that moves other branches' || isAtLeast(2, 38);

describe('an operation goes on at the destination as it would have at the source', () => {
  it.each(Object.entries(ways).filter(([state]) => isKnown(state)).flatMap(([state, list]) => (isWhole ? list : list.slice(0, 1)).map((steps) => [state, steps.filter((step) => typeof step === 'string').join(', '), steps] as const)))('%s: %s', async (name, _shown, steps) => {
    const state = statesOfOperations.find((candidate) => candidate.name === name);
    if (state === undefined) throw new Error(`There is no state "${name}".`);
    const pair = makePair();
    state.make(pair.laptop, pair);
    const worktree = path.join(pair.directory, 'server', 'worktrees', '1', 'app');
    await carry(pair, pair.laptop, pair.server, worktree);
    const branches = () => git(pair.server, 'for-each-ref', 'refs/heads').split('\n').filter((line) => !line.includes('refs/heads/baton/'));
    const before = branches();

    const ended = go(worktree, steps);

    expect(ended.at(-1)).toBe(0);
    expect(ended).toEqual(go(pair.laptop, steps));
    expect(observe(worktree)).toEqual(observe(pair.laptop));
    const on = git(worktree, 'rev-parse', '--symbolic-full-name', 'HEAD');
    expect(branches().filter((line) => !line.endsWith(`\t${on}`)), 'no other branch has moved').toEqual(before.filter((line) => !line.endsWith(`\t${on}`)));
  });
  it('for every operation of the table', () => {
    const without = ['HEAD', 'orphan', 'repository without', 'does not commit', 'committed, and its undo', 'stash that', 'checkout that', 'by deletion', 'a conflict of', 'conflicts of'];
    expect(statesOfOperations.map(({ name }) => name).filter((name) => !Object.hasOwn(ways, name) && !without.some((part) => name.includes(part)))).toEqual([]);
  });
});
