import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { isGitSupported, requireGit } from '../../src/git/git';
import { readRepository } from '../../src/git/repository';
import { readSparse } from '../../src/git/sparse';
import { pointerOf } from '../../src/git/worktreeEntry';
import { openKept } from '../host/keptWorktrees';
import { carry, git, isAtLeast, makePair, observe, ownCheckout, removeTemporaryDirectories, temporaryDirectory, write } from './laboratory';

afterEach(() => {
  vi.unstubAllEnvs();
  removeTemporaryDirectories();
});

/** A git that knows nothing but its version, first on PATH. */
function pretend(version: string): void {
  const directory = temporaryDirectory();
  writeFileSync(path.join(directory, 'git'), `#!/bin/sh\necho "git version ${version}"\n`);
  chmodSync(path.join(directory, 'git'), 0o755);
  vi.stubEnv('PATH', `${directory}${path.delimiter}${process.env['PATH'] ?? ''}`);
}

describe('the git that Baton runs with', () => {
  it.each(['2.34.0', '2.34.1', '2.39.5 (Apple Git-154)', '2.50.1.windows.1', '3.0.0-rc1'])('may be %s', async (version) => {
    pretend(version);
    await requireGit('laptop');
  });

  it.each(['2.33.8', '1.9.5', '2.30.2'])('may not be %s, and host and version are named', async (version) => {
    pretend(version);
    await expect(requireGit('laptop')).rejects.toMatchObject({ reason: 'git-too-old', message: expect.stringMatching(new RegExp(`^git ${version} on laptop is too old: Baton needs 2\\.34 or later`)) as unknown });
  });

  it.skipIf(!isAtLeast(2, 48))('may tie worktrees to their repository by relative paths, which is for the user to choose', async () => {
    const pair = makePair();
    git(pair.server, 'config', 'worktree.useRelativePaths', 'true');
    write(pair.laptop, 'a.txt', 'changed\n');
    const own = ownCheckout(pair.server);
    const kept = await openKept(path.join(pair.directory, 'home'), pair.server);
    const { id, path: worktree } = await kept.worktrees.plan(pair.server);
    await carry(pair, pair.laptop, pair.server, worktree);
    expect(ownCheckout(pair.server), 'its config, too').toEqual(own);

    git(pair.server, 'worktree', 'repair', '--relative-paths', worktree);
    expect(readFileSync(path.join(worktree, '.git'), 'utf8')).toMatch(/^gitdir: \.\./);
    const back = path.join(pair.directory, 'laptop', 'worktrees', '1', 'app');
    await carry(pair, worktree, pair.laptop, back);
    expect(observe(back)).toEqual(observe(worktree));
    await kept.worktrees.save({ id, path: worktree, gitDir: await pointerOf(worktree), projectRoot: pair.server, threadIds: [] });
    await kept.keeper.remove(id, 'local');
    expect(existsSync(worktree)).toBe(false);
    expect(git(pair.server, 'worktree', 'list').split('\n')).toHaveLength(1);
    await kept.keeper.restore(id, 'local');
    expect(observe(worktree)).toEqual(observe(back));
  });

  it('is compared by numbers', () => {
    expect(isGitSupported({ major: 2, minor: 100 })).toBe(true);
    expect(isGitSupported({ major: 10, minor: 0 })).toBe(true);
  });
});

it.each([[undefined, isAtLeast(2, 37)], ['true', true], ['false', false]] as const)('sparse patterns whose kind is set to %s are a cone: %s, as this git takes them', async (cone, expected) => {
  const { laptop } = makePair();
  git(laptop, 'config', 'core.sparseCheckout', 'true');
  if (cone !== undefined) git(laptop, 'config', 'core.sparseCheckoutCone', cone);
  writeFileSync(path.join(laptop, '.git/info/sparse-checkout'), '/*\n!/*/\n');
  expect(await readSparse(await readRepository(laptop))).toEqual({ cone: expected, patterns: '/*\n!/*/\n' });
});
