import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { readRepository } from '../../src/git/repository';
import { git, makePair, removeTemporaryDirectories, write } from './laboratory';

afterEach(removeTemporaryDirectories);

/** Each gets a repository ready, and gives the directory to ask about. */
const layouts: readonly (readonly [name: string, make: (root: string) => string])[] = [
  ['a checkout', (root) => root],
  ['a directory in one', (root) => path.join(root, 'dir')],
  ['a linked worktree', (root) => { git(root, 'worktree', 'add', '-q', '-b', 'side', '../side'); return path.join(root, '../side'); }],
  ['a worktree of a bare repository', (root) => { git(root, 'clone', '-q', '--bare', root, '../bare'); git(path.join(root, '../bare'), 'worktree', 'add', '-q', '-b', 'side', '../side'); return path.join(root, '../side'); }],
  ['packed refs', (root) => { git(root, 'branch', 'main2'); git(root, 'pack-refs', '--all'); return root; }],
  ['packed refs, and a newer loose one', (root) => { git(root, 'pack-refs', '--all'); git(root, 'commit', '-q', '--allow-empty', '-m', 'newer'); return root; }],
  ['a detached HEAD', (root) => { git(root, 'checkout', '-q', '--detach'); return root; }],
  ['an unborn branch', (root) => { git(root, 'checkout', '-q', '--orphan', 'fresh'); return root; }],
  ['a branch whose name has odd signs', (root) => { git(root, 'checkout', '-q', '-b', 'feat/ü#1'); return root; }],
  ['a branch that stands for another', (root) => { git(root, 'symbolic-ref', 'refs/heads/alias', 'refs/heads/main'); git(root, 'symbolic-ref', 'HEAD', 'refs/heads/alias'); return root; }],
  ['HEAD as a symbolic link', (root) => { rmSync(path.join(root, '.git/HEAD')); symlinkSync('refs/heads/main', path.join(root, '.git/HEAD')); return root; }],
  ['a repository that was put elsewhere', (root) => { git(root, 'init', '-q', '--separate-git-dir', '../elsewhere.git'); return root; }],
  ['a submodule', (root) => { git(root, 'submodule', '--quiet', 'add', root, 'sub'); return path.join(root, 'sub'); }],
  ['a checkout whose configuration names its working tree', (root) => { git(root, 'config', 'core.worktree', '../dir'); return path.join(root, 'dir'); }],
  ['a directory with something of the name .git that is no repository', (root) => { write(root, 'dir/.git/HEAD', 'ref: refs/heads/nothing\n'); mkdirSync(path.join(root, 'dir/.git/objects')); return path.join(root, 'dir'); }],
  ['a symbolic link to a checkout', (root) => { symlinkSync('app', path.join(root, '../link')); return path.join(root, '../link'); }],
];

describe('a repository is read as git reads it', () => {
  it.each(layouts)('%s', async (_name, make) => {
    const { laptop } = makePair();
    const directory = make(laptop);
    const quiet = (...args: string[]) => {
      try {
        return git(directory, ...args);
      } catch {
        return '';
      }
    };
    const [root, gitDir, commonDir, objectFormat, prefix = ''] = git(directory, 'rev-parse', '--path-format=absolute', '--show-toplevel', '--absolute-git-dir', '--git-common-dir', '--show-object-format', '--show-prefix').split('\n');
    expect(await readRepository(directory)).toMatchObject({
      root, gitDir, commonDir, objectFormat, subdirectory: prefix.replace(/\/$/, ''),
      head: quiet('rev-parse', '-q', '--verify', 'HEAD^{commit}') || null,
      branch: Buffer.from(quiet('symbolic-ref', '-q', 'HEAD'), 'latin1').toString('utf8') || null,
    });
  });

  it('and is refused where git refuses it', async () => {
    const { laptop } = makePair();
    writeFileSync(path.join(laptop, '.git/config'), '[core]\n\trepositoryformatversion = 7\n');
    await expect(readRepository(laptop)).rejects.toMatchObject({ name: 'GitError' });
    await expect(readRepository(path.join(laptop, '.git'))).rejects.toMatchObject({ name: 'GitError' });
    rmSync(path.join(laptop, '.git'), { recursive: true });
    await expect(readRepository(laptop)).rejects.toMatchObject({ reason: 'not-a-repository' });
  });
});
