import path from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { finishRestore, restoreWorkingState, rollbackRestore } from '../../src/git/restore';
import { carry, git, gitThatMayFail, gitWithEnvironment, makePair, ownCheckout, removeTemporaryDirectories, send, THREAD, write, type Pair } from './laboratory';

afterEach(removeTemporaryDirectories);

const [major = 0, minor = 0] = git('.', 'version').replace('git version ', '').split('.').map(Number);
const knowsUpdateRefs = major > 2 || minor >= 38;
const OWN = 'baton/019a1b2c-3d4e/feature';

/** A thread on `feature` went from the laptop's own checkout to the server and has a commit more there. */
async function threadOnServer(): Promise<Pair & { readonly there: string; readonly left: string }> {
  const pair = makePair();
  git(pair.laptop, 'checkout', '-q', '-b', 'feature');
  commit(pair.laptop, 'first.txt');
  const there = path.join(pair.directory, 'server', 'worktrees', '1', 'app');
  await carry(pair, pair.laptop, pair.server, there);
  commit(there, 'made there.txt');
  return { ...pair, there, left: git(pair.laptop, 'rev-parse', 'feature') };
}

function commit(root: string, name: string): void {
  write(root, name, `${name}\n`);
  git(root, 'add', '-A');
  git(root, 'commit', '-qm', name);
}

/** Hands back to the laptop, into a worktree of its own. */
async function handBack(pair: Pair & { readonly there: string }, handedBack = true, worktree = path.join(pair.directory, 'laptop', 'worktrees', '1', 'app')) {
  const sent = await send(pair, pair.there, pair.laptop);
  const restored = await restoreWorkingState({ root: pair.laptop, quarantine: sent.quarantine, worktree, threadId: THREAD, carriedBranch: sent.capture.branch, handedBack });
  return { ...sent, restored, worktree, note: restored.notes.join(' ') };
}

interface Row {
  readonly name: string;
  /** What the user does on the laptop meanwhile. */
  readonly meanwhile: (root: string, pair: Pair & { readonly there: string }) => void;
  readonly branch: string;
  /** Where the user's branch is then: where it was, where the thread is, or away. */
  readonly feature: 'stays' | 'moves' | 'none';
  readonly note: RegExp;
}

const rows: readonly Row[] = [
  { name: 'behind the thread and checked out nowhere', meanwhile: (root) => { git(root, 'checkout', '-q', 'main'); }, branch: 'feature', feature: 'moves', note: /^The branch feature was fast-forwarded from [0-9a-f]{10} to [0-9a-f]{10}/ },
  { name: 'checked out in the user\'s own checkout', meanwhile: () => undefined, branch: OWN, feature: 'stays', note: /is checked out in .*laptop\/app; .* run there "git merge --ff-only baton\/019a1b2c-3d4e\/feature"\.$/ },
  { name: 'checked out in another worktree of the user\'s', meanwhile: (root, pair) => { git(root, 'checkout', '-q', 'main'); git(root, 'worktree', 'add', '-q', path.join(pair.directory, 'other'), 'feature'); }, branch: OWN, feature: 'stays', note: /is checked out in .*other; .*--ff-only/ },
  { name: 'moved on both sides and checked out nowhere', meanwhile: (root) => { commit(root, 'made here.txt'); git(root, 'checkout', '-q', 'main'); }, branch: OWN, feature: 'stays', note: /has commits here that the thread has not; .* check feature out and run "git merge baton\/019a1b2c-3d4e\/feature"\.$/ },
  { name: 'moved on both sides and checked out', meanwhile: (root) => { commit(root, 'made here.txt'); }, branch: OWN, feature: 'stays', note: /is checked out in .* run there "git merge baton\// },
  { name: 'rewritten by the user', meanwhile: (root) => { git(root, 'commit', '-q', '--amend', '-m', 'other words'); git(root, 'checkout', '-q', 'main'); }, branch: OWN, feature: 'stays', note: /has commits here that the thread has not/ },
  { name: 'deleted by the user', meanwhile: (root) => { git(root, 'checkout', '-q', 'main'); git(root, 'branch', '-q', '-D', 'feature'); }, branch: 'feature', feature: 'moves', note: /^$/ },
  { name: 'deleted, and a folder of branches by now', meanwhile: (root) => { git(root, 'checkout', '-q', 'main'); git(root, 'branch', '-q', '-D', 'feature'); git(root, 'branch', 'feature/two'); }, branch: OWN, feature: 'none', note: /cannot be created beside the branches that exist here/ },
  { name: 'brought up to date by the user already', meanwhile: (root, pair) => { git(root, 'checkout', '-q', 'main'); git(root, 'fetch', '-q', pair.there, 'HEAD:feature'); }, branch: 'feature', feature: 'moves', note: /^$/ },
  { name: 'in the middle of a rebase, where HEAD is detached', meanwhile: (root) => { gitWithEnvironment(root, { GIT_SEQUENCE_EDITOR: 'sed -i 1s/pick/edit/' }, 'rebase', '-q', '-i', 'HEAD~1'); }, branch: OWN, feature: 'stays', note: /is what an operation in progress in .*laptop\/app comes back to/ },
  ...(knowsUpdateRefs ? [{ name: 'moved along by a rebase of another branch', meanwhile: (root: string) => { git(root, 'checkout', '-q', '-b', 'top'); commit(root, 'top.txt'); gitWithEnvironment(root, { GIT_SEQUENCE_EDITOR: 'sed -i 1s/pick/edit/' }, 'rebase', '-q', '-i', '--update-refs', 'HEAD~2'); }, branch: OWN, feature: 'stays', note: /is what an operation in progress/ } satisfies Row] : []),
  { name: 'under a bisect', meanwhile: (root) => { git(root, 'bisect', 'start'); git(root, 'bisect', 'bad'); git(root, 'bisect', 'good', 'HEAD~1'); git(root, 'checkout', '-q', '--detach'); }, branch: OWN, feature: 'stays', note: /is what an operation in progress/ },
];

describe('a thread that is handed back finds its branch', () => {
  it.each(rows.map((row) => [row.name, row] as const))('%s', async (_name, { meanwhile, branch, feature, note }) => {
    const pair = await threadOnServer();
    meanwhile(pair.laptop, pair);
    const valueOf = () => git(pair.laptop, 'for-each-ref', '--format=%(objectname)', 'refs/heads/feature').split('\n')[0] ?? '';
    const [own, refs, stood] = [ownCheckout(pair.laptop), git(pair.laptop, 'for-each-ref'), git(pair.laptop, 'for-each-ref', '--format=%(refname) %(objectname)')];
    const before = /^refs\/heads\/feature (.*)$/m.exec(stood)?.[1] ?? '';

    const { restored, quarantine, worktree, note: said, capture } = await handBack(pair);

    expect(restored.branch).toBe(branch);
    expect(git(worktree, 'rev-parse', 'HEAD')).toBe(capture.head);
    expect(git(worktree, 'rev-parse', branch)).toBe(capture.head);
    expect(feature === 'none' ? /^refs\/heads\/feature /m.test(git(pair.laptop, 'for-each-ref', '--format=%(refname)')) : valueOf()).toBe(feature === 'none' ? false : feature === 'moves' ? capture.head : before);
    expect(said).toMatch(note);
    expect(ownCheckout(pair.laptop)).toEqual(own);

    await rollbackRestore(quarantine.directory);
    expect(git(pair.laptop, 'for-each-ref')).toBe(refs);
  });

  it('and what its user is told to run brings the two together', async () => {
    const pair = await threadOnServer();
    const { note, capture } = await handBack(pair);
    const command = /"git ([^"]+)"/.exec(note)?.[1]?.split(' ') ?? [];
    git(pair.laptop, ...command);
    expect(git(pair.laptop, 'rev-parse', 'feature')).toBe(capture.head);
  });

  it('and leaves it alone where the thread is only a guest', async () => {
    const pair = await threadOnServer();
    git(pair.laptop, 'checkout', '-q', 'main');
    const { restored, note } = await handBack(pair, false);
    expect(restored.branch).toBe(OWN);
    expect(git(pair.laptop, 'rev-parse', 'feature')).toBe(pair.left);
    expect(note).toMatch(/is at another commit here; .*git merge --ff-only baton/);
  });

  it('and takes a number where the user has come to work on the thread\'s own', async () => {
    const pair = await threadOnServer();
    const first = await handBack(pair);
    await finishRestore(first.quarantine.directory);
    git(pair.laptop, 'worktree', 'remove', '--force', first.worktree);
    git(pair.laptop, 'checkout', '-q', OWN);
    commit(pair.laptop, 'on top of it.txt');
    git(pair.laptop, 'checkout', '-q', 'feature');
    commit(pair.there, 'more.txt');
    const kept = git(pair.laptop, 'rev-parse', OWN);
    expect((await handBack(pair)).restored.branch).toBe(`${OWN}-2`);
    expect(git(pair.laptop, 'rev-parse', OWN)).toBe(kept);
  });

  it('and puts no name into a command that a shell would take for more than a word', async () => {
    const pair = makePair();
    const name = 'feature/$(touch${IFS}owned)';
    git(pair.laptop, 'checkout', '-q', '-b', name);
    const there = path.join(pair.directory, 'server', 'worktrees', '1', 'app');
    await carry(pair, pair.laptop, pair.server, there);
    commit(there, 'made there.txt');
    const { note, restored } = await handBack({ ...pair, there });
    expect(restored.branch).toBe(`baton/019a1b2c-3d4e/${name}`);
    expect(note).toContain('is checked out in');
    expect(note).not.toContain('git merge');
  });

  it('and an operation that comes back to it comes back to the thread\'s own, which nobody else uses', async () => {
    const pair = await threadOnServer();
    git(pair.laptop, 'branch', OWN, 'main');
    git(pair.laptop, 'checkout', '-q', OWN);
    commit(pair.laptop, 'mine.txt');
    git(pair.there, 'bisect', 'start');
    const { worktree } = await handBack(pair);
    gitThatMayFail(worktree, 'bisect', 'reset');
    expect(git(worktree, 'symbolic-ref', 'HEAD')).toBe(`refs/heads/${OWN}-2`);
    expect(git(pair.laptop, 'symbolic-ref', 'HEAD')).toBe(`refs/heads/${OWN}`);
  });
});
