import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { git, gitThatMayFail, gitWithEnvironment, link, remove, write } from './laboratory';
import { change, commit, diverge, type State } from './states';

/** `git rebase -i` whose list is edited by `sed`. */
const interactive = (root: string, edit: string, ...args: string[]) => {
  try {
    gitWithEnvironment(root, { GIT_SEQUENCE_EDITOR: `sed -i -e '${edit}'` }, 'rebase', '-i', ...args);
  } catch {
    // It stopped, as it should.
  }
};
const numbered = (root: string, count: number) => { for (let n = 1; n <= count; n++) change(root, 'n', `${n}\n`); };
const patches = (root: string, range: string) => { const file = path.join(path.dirname(root), 'p.mbox'); writeFileSync(file, `${git(root, 'format-patch', '--stdout', range)}\n`, 'latin1'); return file; };
/** `topic` is a merge of two branches, and `main` has gone another way. */
const mergedTopic = (root: string) => {
  git(root, 'checkout', '-q', '-b', 'side'); change(root, 'side.txt', 's\n');
  git(root, 'checkout', '-q', '-b', 'topic', 'main'); change(root, 'a.txt', 'one\nTOPIC\nthree\nfour\nfive\n'); git(root, 'merge', '-q', '--no-ff', '-m', 'side in', 'side'); change(root, 'after.txt', 'after\n');
  git(root, 'checkout', '-q', 'main'); change(root, 'a.txt', 'one\nMAIN\nthree\nfour\nfive\n'); git(root, 'checkout', '-q', 'topic');
};

/** Operations in progress, and HEAD. */
export const statesOfOperations: readonly State[] = [
  { name: 'a merge in conflict', typical: true, make: (root) => { diverge(root); gitThatMayFail(root, 'merge', 'topic'); write(root, 'other.txt', 'o\n'); } },
  { name: 'a merge partly resolved', typical: true, make: (root) => { diverge(root); git(root, 'checkout', '-q', 'topic'); change(root, 'dir/c.txt', 'topic c\n'); git(root, 'checkout', '-q', 'main'); change(root, 'dir/c.txt', 'main c\n'); gitThatMayFail(root, 'merge', 'topic'); write(root, 'a.txt', 'resolved\n'); git(root, 'add', 'a.txt'); } },
  { name: 'a merge resolved, not committed', typical: true, make: (root) => { diverge(root); gitThatMayFail(root, 'merge', 'topic'); write(root, 'a.txt', 'resolved\n'); git(root, 'add', 'a.txt'); } },
  { name: 'a merge resolved by deletion, not committed', make: (root) => { diverge(root); gitThatMayFail(root, 'merge', 'topic'); git(root, 'rm', '-q', 'a.txt'); } },
  { name: 'a resolution that was committed, and its undo kept', make: (root) => { diverge(root); gitThatMayFail(root, 'merge', 'topic'); write(root, 'a.txt', 'resolved\n'); git(root, 'add', 'a.txt'); git(root, 'commit', '-qm', 'merged'); write(root, 'b.txt', 'x\n'); } },
  { name: 'a conflict of deletion and change, and of two additions', make: (root) => { git(root, 'checkout', '-q', '-b', 'topic'); git(root, 'rm', '-q', 'b.txt'); write(root, 'both.txt', 'theirs\n'); commit(root, 't'); git(root, 'checkout', '-q', 'main'); write(root, 'b.txt', 'kept\n'); write(root, 'both.txt', 'ours\n'); commit(root, 'm'); gitThatMayFail(root, 'merge', 'topic'); } },
  { name: 'a conflict of two renames', make: (root) => { git(root, 'checkout', '-q', '-b', 'topic'); git(root, 'mv', 'a.txt', 'theirs.txt'); commit(root, 't'); git(root, 'checkout', '-q', 'main'); git(root, 'mv', 'a.txt', 'ours.txt'); commit(root, 'm'); gitThatMayFail(root, 'merge', 'topic'); } },
  { name: 'a conflict of file and directory', make: (root) => { git(root, 'checkout', '-q', '-b', 'topic'); remove(root, 'b.txt'); write(root, 'b.txt/inner', 'i\n'); commit(root, 't'); git(root, 'checkout', '-q', 'main'); change(root, 'b.txt', 'changed\n'); gitThatMayFail(root, 'merge', 'topic'); } },
  { name: 'conflicts of links, modes and bytes that are no text', make: (root) => { const side = (target: string, mode: number, byte: number) => { remove(root, 'link'); link(root, 'link', target); write(root, 'run.sh', `#!/bin/sh\n${target}\n`, mode); write(root, 'bin', Buffer.from([0, byte, 0])); commit(root, target); }; git(root, 'checkout', '-q', '-b', 'topic'); side('b.txt', 0o644, 1); git(root, 'checkout', '-q', 'main'); side('dir/c.txt', 0o755, 2); gitThatMayFail(root, 'merge', 'topic'); } },
  { name: 'an octopus that waits for its commit', make: (root) => { for (const name of ['x', 'y']) { git(root, 'checkout', '-q', '-b', name, 'main'); change(root, name, name); } git(root, 'checkout', '-q', 'main'); git(root, 'merge', '--no-commit', 'x', 'y'); } },
  { name: 'a merge that waits for its commit', typical: true, make: (root) => { git(root, 'checkout', '-q', '-b', 'topic'); change(root, 't', 't'); git(root, 'checkout', '-q', 'main'); git(root, 'merge', '--no-commit', '--no-ff', 'topic'); } },
  { name: 'a squash merge that waits for its commit', make: (root) => { git(root, 'checkout', '-q', '-b', 'topic'); change(root, 't', 't'); git(root, 'checkout', '-q', 'main'); git(root, 'merge', '--squash', 'topic'); } },
  { name: 'a merge with autostash, in conflict', make: (root) => { diverge(root); write(root, 'dir/d.txt', 'stashed\n'); gitThatMayFail(root, 'merge', '--autostash', 'topic'); } },
  { name: 'a stash that did not apply cleanly', make: (root) => { write(root, 'a.txt', 'stashed\n'); git(root, 'stash'); change(root, 'a.txt', 'committed\n'); gitThatMayFail(root, 'stash', 'pop'); } },
  { name: 'a checkout that merged, in conflict', make: (root) => { diverge(root); write(root, 'a.txt', 'one\nmine\nthree\nfour\nfive\n'); gitThatMayFail(root, 'checkout', '-m', 'topic'); } },
  { name: 'a cherry-pick in conflict, with more to pick', typical: true, make: (root) => { diverge(root); gitThatMayFail(root, 'cherry-pick', 'topic~1', 'topic'); } },
  { name: 'a cherry-pick with options, in conflict', make: (root) => { diverge(root); gitThatMayFail(root, 'cherry-pick', '-x', '-s', '-Xpatience', 'topic~1', 'topic'); } },
  { name: 'a cherry-pick between two picks', make: (root) => { diverge(root); gitThatMayFail(root, 'cherry-pick', 'topic~1', 'topic'); write(root, 'a.txt', 'resolved\n'); git(root, 'add', 'a.txt'); git(root, 'commit', '-qm', 'picked'); } },
  { name: 'a cherry-pick that became empty', make: (root) => { diverge(root); git(root, 'checkout', 'topic', '--', 'b.txt'); git(root, 'commit', '-qm', 'same'); gitThatMayFail(root, 'cherry-pick', 'topic'); } },
  { name: 'a cherry-pick that does not commit', make: (root) => { diverge(root); git(root, 'cherry-pick', '-n', 'topic'); } },
  { name: 'a revert in conflict', make: (root) => { diverge(root); change(root, 'a.txt', 'again\n'); gitThatMayFail(root, 'revert', '--no-edit', 'HEAD~1'); } },
  { name: 'a revert that leaves nothing', make: (root) => { git(root, 'checkout', '-q', '--orphan', 'fresh'); git(root, 'rm', '-rfq', '.'); change(root, 'only', 'o\n'); git(root, 'revert', '--no-commit', 'HEAD'); } },
  { name: 'a sequence of reverts in conflict', typical: true, make: (root) => { numbered(root, 4); gitThatMayFail(root, 'revert', '--no-edit', 'HEAD~1', 'HEAD', 'HEAD~2'); } },
  { name: 'a rebase in conflict', typical: true, make: (root) => { diverge(root); git(root, 'checkout', '-q', 'topic'); gitThatMayFail(root, 'rebase', 'main'); } },
  { name: 'a rebase in conflict with autostash', typical: true, make: (root) => { diverge(root); git(root, 'checkout', '-q', 'topic'); write(root, 'dir/d.txt', 'stashed\n'); gitThatMayFail(root, 'rebase', '--autostash', 'main'); } },
  { name: 'a rebase that stopped to edit', typical: true, make: (root) => { diverge(root); git(root, 'checkout', '-q', 'topic'); interactive(root, '1s/pick/edit/', 'HEAD~2'); write(root, 'a.txt', 'amended\n'); git(root, 'add', 'a.txt'); } },
  { name: 'a rebase that stopped in the middle of a squash', make: (root) => { numbered(root, 4); interactive(root, '2s/pick/squash/;3s/pick/fixup -C/;3a break', 'HEAD~4'); write(root, 'n', 'in conflict or not\n'); } },
  { name: 'a rebase whose squash is in conflict', make: (root) => { numbered(root, 3); interactive(root, '2d;3s/pick/squash/', 'HEAD~3'); } },
  { name: 'a rebase that stopped at a line that failed', make: (root) => { numbered(root, 2); interactive(root, '1a exec false', 'HEAD~2'); } },
  { name: 'a rebase from the root', make: (root) => { numbered(root, 2); interactive(root, '2s/pick/edit/', '--root'); } },
  { name: 'a rebase of merges in conflict', typical: true, make: (root) => { mergedTopic(root); gitThatMayFail(root, 'rebase', '-r', 'main'); } },
  { name: 'a rebase of merges that stopped after its labels', make: (root) => { mergedTopic(root); interactive(root, '/^merge/i break', '-r', '--force-rebase', 'main~1'); } },
  { name: 'a rebase that moves other branches', make: (root) => { numbered(root, 3); git(root, 'branch', 'lower', 'HEAD~1'); interactive(root, '1s/pick/edit/', '--update-refs', 'HEAD~3'); } },
  { name: 'a rebase with --apply in conflict', typical: true, make: (root) => { diverge(root); git(root, 'checkout', '-q', 'topic'); gitThatMayFail(root, 'rebase', '--apply', 'main'); } },
  { name: 'a rebase of a detached HEAD in conflict', make: (root) => { diverge(root); git(root, 'checkout', '-q', '--detach', 'topic'); gitThatMayFail(root, 'rebase', 'main'); } },
  { name: 'git am in conflict', typical: true, make: (root) => { diverge(root); gitThatMayFail(root, 'am', '--3way', patches(root, 'main..topic')); } },
  { name: 'git am with a patch that does not apply', make: (root) => { diverge(root); gitThatMayFail(root, 'am', '-s', '--whitespace=fix', patches(root, 'main..topic')); } },
  { name: 'a bisect', typical: true, make: (root) => { numbered(root, 6); git(root, 'bisect', 'start'); git(root, 'bisect', 'bad'); git(root, 'bisect', 'good', 'HEAD~6'); } },
  { name: 'a bisect with other words, skipped commits and a path', make: (root) => { numbered(root, 6); git(root, 'bisect', 'start', '--term-old=fast', '--term-new=slow', '--', 'n'); git(root, 'bisect', 'slow'); git(root, 'bisect', 'fast', 'HEAD~5'); git(root, 'bisect', 'skip'); } },
  { name: 'a bisect that has only begun', make: (root) => { numbered(root, 2); git(root, 'bisect', 'start'); git(root, 'bisect', 'bad'); write(root, 'a.txt', 'x\n'); } },
  { name: 'a merge in conflict during a bisect', make: (root) => { diverge(root); numbered(root, 4); git(root, 'bisect', 'start', 'HEAD', 'HEAD~4'); gitThatMayFail(root, 'merge', 'topic'); } },
  { name: 'a detached HEAD with changes', typical: true, make: (root) => { change(root, 'n', 'n'); git(root, 'checkout', '-q', '--detach', 'HEAD'); write(root, 'a.txt', 'x\n'); } },
  { name: 'an orphan branch', typical: true, make: (root) => { git(root, 'checkout', '-q', '--orphan', 'fresh'); write(root, 'a.txt', 'x\n'); write(root, 'n', 'n'); git(root, 'add', 'n'); } },
  { name: 'an orphan branch with an empty index', make: (root) => { git(root, 'switch', '-q', '--orphan', 'fresh'); write(root, 'u', 'u'); } },
  { name: 'a repository without a commit', make: (root) => { const fresh = path.join(path.dirname(root), 'fresh'); mkdirSync(fresh); git(fresh, 'init', '-q', '-b', 'start'); write(fresh, 'a', 'a'); git(fresh, 'add', 'a'); write(fresh, 'u', 'u'); return fresh; } },
  { name: 'a repository without a commit or an index', make: (root) => { const fresh = path.join(path.dirname(root), 'fresh'); mkdirSync(fresh); git(fresh, 'init', '-q', '-b', 'start'); return fresh; } },
];
