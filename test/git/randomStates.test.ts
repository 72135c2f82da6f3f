import { execFileSync } from 'node:child_process';
import { appendFileSync, chmodSync, copyFileSync, existsSync, mkdirSync, renameSync, rmSync, symlinkSync, utimesSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { GitError } from '../../src/git/gitError';
import { carry, git, gitOnBytes, makePair, observe, ownCheckout, photograph, removeTemporaryDirectories, write } from './laboratory';

afterEach(removeTemporaryDirectories);

/** A long run: `BATON_PROPERTY_RUNS=200`; one that failed again: `BATON_SEED=…`, which is part of the test's name. */
const numRuns = Number(process.env['BATON_PROPERTY_RUNS'] ?? 5);
const seed = Number(process.env['BATON_SEED'] ?? Date.now() % 2 ** 31);

/** Names are few, so that edits meet. One character per byte. */
const names = ['a.txt', 'b.txt', 'dir', 'dir/c.txt', 'dir/deep/e.txt', 'run.sh', 'link', 'new file', 'neu\u00c3\u00a9', 'latin\u00e9', '-x', ':(top)x', 'li\nne', '"q"', 'x.log', 'x.crlf', 'Case', 'case', 'dir/.gitignore', '.gitignore', '.gitattributes'];
const contents = ['', 'one\n', 'two\nlines\n', 'no line end', 'cr\r\nlf\r\n', 'mixed\r\nends\n', 'bin\0ary', '$Id$\n', 'one\nTWO\nthree\nfour\nfive\n', 'one\ntwo\nthree\nfour\nFIVE\n'];
const rules = ['*.log\n', '*\n!.gitignore\n', 'dir/\n', '# nothing\n', '*.crlf text eol=crlf\n', '* text=auto\n', '*.txt ident -text\n'];
const onPath = ['add', 'add -N', 'add -f', 'rm -q --cached -r', 'checkout -q HEAD', 'reset -q', 'rm -q -f -r'] as const;
const onIndex = ['--assume-unchanged', '--no-assume-unchanged', '--skip-worktree', '--no-skip-worktree', '--chmod=+x', '--force-remove'] as const;
const commands = [
  'add -A', 'add -u', 'commit -qm more', 'commit -qam all', 'commit -q --amend -m amended', 'checkout -q -b side', 'checkout -q main', 'checkout -q -f main', 'checkout -q --detach', 'checkout -q --orphan fresh', 'reset -q --soft HEAD~1', 'reset -q --hard',
  'merge -q side', 'merge -q --no-commit --no-ff side', 'merge --abort', 'cherry-pick side', 'cherry-pick -n side', 'revert --no-edit HEAD', 'revert -n HEAD~1', 'rebase side', 'rebase --apply side', 'rebase --skip', 'rebase --abort', 'bisect start HEAD HEAD~1', 'bisect reset', 'stash', 'stash -u', 'stash pop',
  'update-index --split-index', 'update-index --index-version 4', 'update-index --untracked-cache', 'status', 'gc -q --prune=now', 'branch -f side',
] as const;

type Edit =
  | { readonly do: 'write' | 'stage'; readonly name: string; readonly content: string }
  | { readonly do: 'append' | 'remove' | 'make' | 'program' | 'plain'; readonly name: string }
  | { readonly do: 'link' | 'move'; readonly name: string; readonly to: string }
  | { readonly do: 'git' | 'index'; readonly name: string; readonly command: string }
  | { readonly do: 'run'; readonly command: string };
const name = fc.constantFrom(...names);
const edit: fc.Arbitrary<Edit> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constantFrom('write', 'stage'), name, content: fc.constantFrom(...contents) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('write'), name: fc.constantFrom('.gitignore', '.gitattributes', 'dir/.gitignore'), content: fc.constantFrom(...rules) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom('append', 'remove', 'make', 'program', 'plain'), name }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('link', 'move'), name, to: name }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('git'), name, command: fc.constantFrom(...onPath) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('index'), name, command: fc.constantFrom(...onIndex) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('run'), command: fc.constantFrom(...commands) }) },
);

/** What the file system or git refuses is left undone: a file where a directory is wanted, nothing to commit. */
function perform(root: string, step: Edit): void {
  const at = (file: string) => Buffer.concat([Buffer.from(`${root}/`), Buffer.from(file, 'latin1')]);
  const nul = (file: string) => Buffer.from(`${file}\0`, 'latin1');
  try {
    switch (step.do) {
      case 'write': write(root, Buffer.from(step.name, 'latin1'), step.content); break;
      case 'append': if (existsSync(at(step.name))) appendFileSync(at(step.name), 'more\n'); break;
      // As `git add -p` does: what is staged is neither what was nor what is in the file.
      case 'stage': gitOnBytes(root, Buffer.concat([Buffer.from(`100644 ${execFileSync('git', ['hash-object', '-w', '--stdin'], { cwd: root, input: step.content, encoding: 'latin1' }).trim()}\t`), nul(step.name)]), 'update-index', '--add', '-z', '--index-info'); break;
      case 'remove': rmSync(at(step.name), { recursive: true }); break;
      case 'make': mkdirSync(at(step.name), { recursive: true }); break;
      case 'program': chmodSync(at(step.name), 0o755); break;
      case 'plain': chmodSync(at(step.name), 0o644); break;
      case 'link': symlinkSync(Buffer.from(step.to, 'latin1'), at(step.name)); break;
      case 'move': renameSync(at(step.name), at(step.to)); break;
      case 'git': gitOnBytes(root, nul(step.name), '--literal-pathspecs', ...step.command.split(' '), '--pathspec-from-file=-', '--pathspec-file-nul'); break;
      case 'index': gitOnBytes(root, nul(step.name), 'update-index', step.command, '-z', '--stdin'); break;
      case 'run': git(root, ...step.command.split(' ')); break;
    }
  } catch {
    // See above.
  }
}

/**
 * As plain git says, which reads every file: it goes by an index as old as can be. Where attributes that convert were edited, what
 * git says otherwise depends on when it last looked.
 */
function observed(root: string): unknown {
  const index = `${root}-index`;
  const given = git(root, 'rev-parse', '--absolute-git-dir');
  try {
    if (existsSync(path.join(given, 'index'))) {
      copyFileSync(path.join(given, 'index'), index);
      utimesSync(index, 1, 1);
    }
    return observe(root, { GIT_INDEX_FILE: index });
  } finally {
    rmSync(index, { force: true });
  }
}

const edits = (maxLength: number) => fc.array(edit, { minLength: 2, maxLength });

describe('whatever a person does in a checkout', () => {
  it(`arrives, comes home and goes there again, and leaves the checkout alone (seed ${seed})`, async () => {
    await fc.assert(fc.asyncProperty(edits(16), edits(6), edits(6), async (first, second, third) => {
      const pair = makePair();
      const there = path.join(pair.directory, 'server', 'worktrees', '1', 'app');
      const here = path.join(pair.directory, 'laptop', 'worktrees', '1', 'app');
      const arrive = async (from: string, to: string, worktree: string, expected?: string) => {
        const [source, own] = [photograph(from), ownCheckout(to)];
        const { capture, restored } = await carry(pair, from, to, worktree, expected);
        expect(photograph(from)).toEqual(source);
        expect(ownCheckout(to)).toEqual(own);
        expect(observed(worktree)).toEqual(observed(from));
        expect(restored.fingerprint).toBe(capture.fingerprint);
        return capture.fingerprint;
      };
      try {
        for (const step of first) perform(pair.laptop, step);
        await arrive(pair.laptop, pair.server, there);
        for (const step of second) perform(there, step);
        const left = await arrive(there, pair.laptop, here);
        for (const step of third) perform(here, step);
        // A file that only the destination ignores, in the place of what arrives, stops it before anything is changed.
        const before = photograph(there);
        const stopped = await arrive(here, pair.server, there, left).then(() => false, (error: unknown) => { if (GitError.is(error, 'worktree-diverged')) return true; throw error; });
        if (stopped) expect(photograph(there)).toEqual(before);
      } finally {
        removeTemporaryDirectories();
      }
    }), { numRuns, seed, endOnFailure: process.env['BATON_PROPERTY_RUNS'] === undefined });
  }, 3_600_000);
});
