import { execFileSync } from 'node:child_process';
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { git, gitThatMayFail, gitWithEnvironment, link, remove, write } from './laboratory';

/** A state that a checkout can be in, and how it gets there from a clean clone. */
export interface State {
  readonly name: string;
  readonly make: (root: string) => void;
  readonly format?: 'sha256';
  /** Also carried back, and there again into the worktree that exists by then. */
  readonly thereAndBack?: true;
}

function commit(root: string, message: string): void {
  git(root, 'add', '-A');
  git(root, 'commit', '-qm', message);
}

/** Two branches that change the same lines, and `main` checked out. */
function diverge(root: string): void {
  git(root, 'checkout', '-q', '-b', 'topic');
  write(root, 'a.txt', 'one\nTOPIC\nthree\nfour\nfive\n');
  write(root, 'topic.txt', 'topic\n');
  commit(root, 'topic one');
  write(root, 'b.txt', 'topic b\n');
  commit(root, 'topic two');
  git(root, 'checkout', '-q', 'main');
  write(root, 'a.txt', 'one\nMAIN\nthree\nfour\nfive\n');
  commit(root, 'main one');
}

export const states: readonly State[] = [
  { name: 'nothing changed', make: () => undefined },
  { name: 'commits that the destination lacks', make: (root) => { write(root, 'new.txt', 'x\n'); commit(root, 'two'); write(root, 'new.txt', 'y\n'); commit(root, 'three'); } },
  { name: 'staged, unstaged and untracked changes', thereAndBack: true, make: (root) => { write(root, 'a.txt', 'staged\n'); git(root, 'add', 'a.txt'); write(root, 'b.txt', 'unstaged\n'); write(root, 'untracked/u.txt', 'u\n'); write(root, 'ignored/i', 'secret\n'); write(root, 'x.log', 'log\n'); } },
  { name: 'a partially staged file', make: (root) => { write(root, 'a.txt', 'staged\n'); git(root, 'add', 'a.txt'); write(root, 'a.txt', 'staged and more\n'); } },
  { name: 'staged, then reverted in the working tree', make: (root) => { write(root, 'b.txt', 'staged\n'); git(root, 'add', 'b.txt'); write(root, 'b.txt', 'b\n'); } },
  { name: 'a new file staged, then deleted', make: (root) => { write(root, 'gone.txt', 'g\n'); git(root, 'add', 'gone.txt'); remove(root, 'gone.txt'); } },
  { name: 'deletions: staged, unstaged and from the index only', make: (root) => { git(root, 'rm', '-q', 'b.txt'); remove(root, 'dir/c.txt'); git(root, 'rm', '-q', '--cached', 'a.txt'); } },
  { name: 'a rename, staged and edited', make: (root) => { git(root, 'mv', 'a.txt', 'renamed.txt'); write(root, 'renamed.txt', 'one\ntwo\nthree\nfour\nsix\n'); } },
  { name: 'a file that became a directory, and a directory that became a file', make: (root) => { remove(root, 'b.txt'); write(root, 'b.txt/inner', 'i\n'); remove(root, 'dir'); write(root, 'dir', 'now a file\n'); } },
  { name: 'a staged swap of file and directory', thereAndBack: true, make: (root) => { remove(root, 'b.txt'); write(root, 'b.txt/inner', 'i\n'); remove(root, 'dir'); write(root, 'dir', 'now a file\n'); git(root, 'add', '-A'); } },
  { name: 'file and symbolic link swapped; a directory that became a link', thereAndBack: true, make: (root) => { remove(root, 'b.txt'); link(root, 'b.txt', '/nowhere/at all'); remove(root, 'link'); write(root, 'link', 'file\n'); renameSync(path.join(root, 'dir'), path.join(root, 'moved')); link(root, 'dir', 'moved'); } },
  { name: 'modes', make: (root) => { write(root, 'b.txt', 'b\n', 0o755); write(root, 'run.sh', '#!/bin/sh\n', 0o644); git(root, 'add', 'run.sh'); write(root, 'tool', 'x', 0o755); } },
  { name: 'intent to add, edited and deleted again', thereAndBack: true, make: (root) => { write(root, 'later.txt', 'later\n'); write(root, 'sub/never.txt', 'never\n', 0o755); write(root, 'empty.txt', ''); git(root, 'add', 'empty.txt'); git(root, 'add', '-N', 'later.txt', 'sub/never.txt'); remove(root, 'sub'); } },
  { name: 'assume-unchanged and skip-worktree with hidden edits and absences', thereAndBack: true, make: (root) => { git(root, 'update-index', '--assume-unchanged', 'a.txt', 'run.sh'); git(root, 'update-index', '--skip-worktree', 'b.txt', 'dir/c.txt'); write(root, 'a.txt', 'hidden\n'); write(root, 'b.txt', 'hidden too\n'); remove(root, 'dir/c.txt'); remove(root, 'run.sh'); } },
  { name: 'a detached HEAD with changes', thereAndBack: true, make: (root) => { write(root, 'n', 'n'); commit(root, 'two'); git(root, 'checkout', '-q', '--detach', 'HEAD'); write(root, 'a.txt', 'x\n'); } },
  { name: 'an orphan branch', thereAndBack: true, make: (root) => { git(root, 'checkout', '-q', '--orphan', 'fresh'); write(root, 'a.txt', 'x\n'); write(root, 'n', 'n'); git(root, 'add', 'n'); } },
  { name: 'a merge in conflict', make: (root) => { diverge(root); gitThatMayFail(root, 'merge', 'topic'); write(root, 'other.txt', 'o\n'); } },
  { name: 'a merge partly resolved', thereAndBack: true, make: (root) => { diverge(root); git(root, 'checkout', '-q', 'topic'); write(root, 'dir/c.txt', 'topic c\n'); commit(root, 'c'); git(root, 'checkout', '-q', 'main'); write(root, 'dir/c.txt', 'main c\n'); commit(root, 'c'); gitThatMayFail(root, 'merge', 'topic'); write(root, 'a.txt', 'resolved\n'); git(root, 'add', 'a.txt'); } },
  { name: 'a merge resolved by deletion, not committed', make: (root) => { diverge(root); gitThatMayFail(root, 'merge', 'topic'); git(root, 'rm', '-q', 'a.txt'); } },
  { name: 'a conflict of deletion and change, and of two additions', make: (root) => { git(root, 'checkout', '-q', '-b', 'topic'); git(root, 'rm', '-q', 'b.txt'); write(root, 'both.txt', 'theirs\n'); commit(root, 't'); git(root, 'checkout', '-q', 'main'); write(root, 'b.txt', 'kept\n'); write(root, 'both.txt', 'ours\n'); commit(root, 'm'); gitThatMayFail(root, 'merge', 'topic'); } },
  { name: 'a merge that waits for its commit', make: (root) => { git(root, 'checkout', '-q', '-b', 'topic'); write(root, 't', 't'); commit(root, 't'); git(root, 'checkout', '-q', 'main'); git(root, 'merge', '--no-commit', '--no-ff', 'topic'); } },
  { name: 'a squash merge that waits for its commit', make: (root) => { git(root, 'checkout', '-q', '-b', 'topic'); write(root, 't', 't'); commit(root, 't'); git(root, 'checkout', '-q', 'main'); git(root, 'merge', '--squash', 'topic'); } },
  { name: 'a cherry-pick in conflict, with more to pick', make: (root) => { diverge(root); gitThatMayFail(root, 'cherry-pick', 'topic~1', 'topic'); } },
  { name: 'a revert in conflict', make: (root) => { diverge(root); write(root, 'a.txt', 'again\n'); commit(root, 'again'); gitThatMayFail(root, 'revert', '--no-edit', 'HEAD~1'); } },
  { name: 'a rebase in conflict', thereAndBack: true, make: (root) => { diverge(root); git(root, 'checkout', '-q', 'topic'); gitThatMayFail(root, 'rebase', 'main'); } },
  { name: 'a rebase in conflict with autostash', make: (root) => { diverge(root); git(root, 'checkout', '-q', 'topic'); write(root, 'dir/d.txt', 'stashed\n'); gitThatMayFail(root, 'rebase', '--autostash', 'main'); } },
  { name: 'a rebase that stopped to edit', make: (root) => { diverge(root); git(root, 'checkout', '-q', 'topic'); gitWithEnvironment(root, { GIT_SEQUENCE_EDITOR: 'sed -i 1s/pick/edit/' }, 'rebase', '-i', 'HEAD~2'); write(root, 'a.txt', 'amended\n'); git(root, 'add', 'a.txt'); } },
  { name: 'a rebase with --apply in conflict', make: (root) => { diverge(root); git(root, 'checkout', '-q', 'topic'); gitThatMayFail(root, 'rebase', '--apply', 'main'); } },
  { name: 'git am in conflict', make: (root) => { diverge(root); const patch = git(root, 'format-patch', '--stdout', 'main..topic'); writeFileSync(path.join(path.dirname(root), 'p.mbox'), `${patch}\n`, 'latin1'); gitThatMayFail(root, 'am', '--3way', '../p.mbox'); } },
  { name: 'a bisect', thereAndBack: true, make: (root) => { for (const n of ['1', '2', '3', '4', '5', '6']) { write(root, 'n', n); commit(root, n); } git(root, 'bisect', 'start'); git(root, 'bisect', 'bad'); git(root, 'bisect', 'good', 'HEAD~6'); } },
  { name: 'odd names', thereAndBack: true, make: (root) => {
    for (const name of ['new\nline', 'tab\there', '-rf', '"quoted"', "it's", ':(top)x', '[a]*?', 'esc\u001b[31m', 'back\\slash', 'CON', 'trailing. ', 'caf\u00e9', 'cafe\u0301', 'Case', 'case', ' ', 'cr\rname']) write(root, `odd/${name}`, `${name}\n`);
    write(root, Buffer.from([0x6f, 0x64, 0x64, 0x2f, 0xff, 0xfe, 0xe9]), 'latin\n');
    git(root, 'add', 'odd/new\nline', 'odd/Case'); write(root, 'odd/Case', 'changed\n');
    write(root, Buffer.from([0xe9, 0x74, 0xe9]), 'staged latin\n'); git(root, 'add', '-A', '.'); write(root, Buffer.from([0xe9, 0x74, 0xe9]), 'changed latin\n');
  } },
  { name: 'a latin-1 name intended to be added', make: (root) => { write(root, Buffer.from([0x78, 0xe9]), 'x'); execFileSync('sh', ['-c', 'git add -N x*'], { cwd: root }); } },
  { name: 'tracked although ignored', thereAndBack: true, make: (root) => { write(root, 'kept.log', 'kept\n'); git(root, 'add', '-f', 'kept.log'); commit(root, 'log'); write(root, 'kept.log', 'changed\n'); write(root, 'other.log', 'not carried\n'); } },
  { name: 'a dirty .gitignore', make: (root) => { write(root, '.gitignore', '*.tmp\n'); write(root, 'x.log', 'no longer ignored\n'); write(root, 'y.tmp', 'now ignored\n'); } },
  { name: 'a split index', make: (root) => { git(root, 'update-index', '--split-index'); write(root, 'a.txt', 'x\n'); git(root, 'add', 'a.txt'); write(root, 'b.txt', 'y\n'); } },
  { name: 'an untracked cache and index version 4', make: (root) => { git(root, 'update-index', '--index-version', '4', '--force-untracked-cache'); git(root, 'status'); write(root, 'u', 'u'); write(root, 'a.txt', 'x\n'); } },
  { name: 'a sparse checkout (cone)', thereAndBack: true, make: (root) => { write(root, 'other/o', 'o\n'); commit(root, 'other'); git(root, 'sparse-checkout', 'set', 'dir'); write(root, 'dir/c.txt', 'x\n'); write(root, 'dir/new', 'n\n'); } },
  { name: 'a sparse checkout (patterns)', make: (root) => { git(root, 'sparse-checkout', 'set', '--no-cone', '/a.txt', '/b.txt'); write(root, 'a.txt', 'x\n'); } },
  { name: 'a sparse index', make: (root) => { write(root, 'other/deep/o', 'o\n'); commit(root, 'other'); git(root, 'sparse-checkout', 'set', '--cone', '--sparse-index', 'dir'); write(root, 'dir/c.txt', 'x\n'); git(root, 'add', 'dir/c.txt'); } },
  { name: 'line ends by attribute', make: (root) => { write(root, '.gitattributes', '*.crlf text eol=crlf\n*.auto text=auto\n'); write(root, 'w.crlf', 'a\r\nb\r\n'); write(root, 'x.auto', 'a\r\nb\n'); commit(root, 'eol'); write(root, 'dir/c.txt', 'x\n'); } },
  { name: 'ident and a working-tree encoding', thereAndBack: true, make: (root) => { write(root, '.gitattributes', '*.id ident\n*.u16 working-tree-encoding=UTF-16LE\n'); write(root, 'v.id', '$Id$\n'); write(root, 't.u16', Buffer.from('hello\n', 'utf16le')); commit(root, 'ident'); remove(root, 'v.id'); git(root, 'checkout', 'v.id'); } },
  { name: 'dirty attributes', make: (root) => { write(root, '.gitattributes', '*.crlf text eol=crlf\n'); write(root, 'w.crlf', 'a\r\nb\r\n'); commit(root, 'eol'); write(root, '.gitattributes', '# nothing\n'); write(root, 'dir/c.txt', 'x\n'); } },
  { name: 'a SHA-256 repository', thereAndBack: true, format: 'sha256', make: (root) => { write(root, 'n', 'n'); commit(root, 'two'); write(root, 'a.txt', 'x\n'); git(root, 'add', 'a.txt'); write(root, 'u', 'u'); } },
  { name: 'index.lock held by another git', make: (root) => { write(root, 'a.txt', 'x\n'); git(root, 'add', 'a.txt'); write(root, '.git/index.lock', ''); } },
  { name: 'empty directories and many untracked files', make: (root) => { mkdirSync(path.join(root, 'empty/inner'), { recursive: true }); for (let n = 0; n < 300; n++) write(root, `many/${n % 7}/${n}`, `${n}\n`); } },
];
