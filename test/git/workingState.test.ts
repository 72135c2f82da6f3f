import { existsSync } from 'node:fs';
import path from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { carry, git, makePair, observe, ownCheckout, photograph, removeTemporaryDirectories, write } from './laboratory';
import { states } from './states';

afterEach(removeTemporaryDirectories);

describe('a working state travels exactly', () => {
  it.each(states.map((state) => [state.name, state] as const))('%s', async (_name, state) => {
    const pair = makePair(state.format === undefined ? {} : { format: state.format });
    state.make(pair.laptop);
    const source = photograph(pair.laptop);
    const own = ownCheckout(pair.server);
    const worktree = path.join(pair.directory, 'server', 'worktrees', '1', 'app');

    const there = await carry(pair, pair.laptop, pair.server, worktree);

    expect(photograph(pair.laptop), 'the source is untouched').toEqual(source);
    expect(ownCheckout(pair.server), 'the destination\'s own checkout is untouched').toEqual(own);
    expect(observe(worktree)).toEqual(observe(pair.laptop));
    expect(there.restored.fingerprint).toBe(there.capture.fingerprint);
    expect(there.quarantine.fingerprint).toBe(there.capture.fingerprint);
    expect(git(pair.server, 'fsck', '--connectivity-only')).not.toMatch(/missing|broken/);

    if (state.thereAndBack !== true) return;
    // Git takes note of times and sizes when it looks; what comes next must not be fooled by that.
    git(worktree, 'status');
    // And back, into a worktree that the laptop makes, then there again into the one that exists.
    const back = path.join(pair.directory, 'laptop', 'worktrees', '1', 'app');
    write(worktree, 'made there.txt', 'made there\n');
    const home = await carry(pair, worktree, pair.laptop, back);
    expect(observe(back)).toEqual(observe(worktree));
    expect(home.restored.fingerprint).toBe(home.capture.fingerprint);
    write(back, 'made here.txt', 'made here\n');
    const again = await carry(pair, back, pair.server, worktree, home.restored.fingerprint);
    expect(observe(worktree)).toEqual(observe(back));
    expect(again.restored.fingerprint).toBe(again.capture.fingerprint);
    expect(existsSync(path.join(worktree, 'made here.txt'))).toBe(true);
    expect(ownCheckout(pair.server), 'still untouched').toEqual(own);
  });
});
