import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mainCheckoutOf } from '../../src/views/checkout';

describe('the main checkout of a directory', () => {
  const root = realpathSync(mkdtempSync(join(tmpdir(), 'baton-checkout-')));
  const checkout = join(root, 'parser');
  const git = (...args: string[]) => execFileSync('git', ['-c', 'user.name=t', '-c', 'user.email=t@example.org', ...args], { cwd: checkout, stdio: 'pipe' });

  beforeAll(() => {
    mkdirSync(join(checkout, 'src', 'deep'), { recursive: true });
    git('init', '-q');
    git('commit', '-q', '--allow-empty', '-m', 'one');
    git('worktree', 'add', '-q', '--detach', join(root, 'worktrees', 'one'));
    git('init', '-q', '--separate-git-dir', join(root, 'separate.git'), join(root, 'separate'));
    mkdirSync(join(root, 'none', '.git'), { recursive: true });
  });
  afterAll(() => rmSync(root, { recursive: true, force: true }));

  it('is the root of its repository', async () => {
    expect(await mainCheckoutOf(join(checkout, 'src', 'deep'))).toBe(checkout);
  });
  it('is, for a linked worktree, the checkout that it was made from', async () => {
    expect(await mainCheckoutOf(join(root, 'worktrees', 'one'))).toBe(checkout);
  });
  it('is the directory itself where only its git directory is elsewhere', async () => {
    expect(await mainCheckoutOf(join(root, 'separate'))).toBe(join(root, 'separate'));
  });
  it('is none outside of a repository, or where there is no directory', async () => {
    expect(await mainCheckoutOf(join(root, 'none'))).toBeUndefined();
    expect(await mainCheckoutOf(join(root, 'not', 'there'))).toBeUndefined();
  });
});
