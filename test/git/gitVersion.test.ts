import { chmodSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { isGitSupported, requireGit } from '../../src/git/git';
import { removeTemporaryDirectories, temporaryDirectory } from './laboratory';

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

  it('is compared by numbers', () => {
    expect(isGitSupported({ major: 2, minor: 100 })).toBe(true);
    expect(isGitSupported({ major: 10, minor: 0 })).toBe(true);
  });
});
