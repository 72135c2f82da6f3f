import { mkdirSync, renameSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { git, gitOnBytes, link, remove, write } from './laboratory';
import { change, commit, type State } from './states';

const crlf = (root: string) => git(root, 'config', 'core.autocrlf', 'true');
const drivers = (root: string) => { git(root, 'config', 'filter.loud.clean', 'tr a-z A-Z'); git(root, 'config', 'filter.loud.smudge', 'cat'); git(root, 'config', 'filter.loud.required', 'true'); };
const latin = (text: string) => Buffer.from(text, 'latin1');

/** What files and the index can be like. */
export const statesOfFiles: readonly State[] = [
  { name: 'nothing changed', make: () => undefined },
  { name: 'commits that the destination lacks', make: (root) => { change(root, 'new.txt', 'x\n'); change(root, 'new.txt', 'y\n'); } },
  { name: 'staged, unstaged and untracked changes', typical: true, make: (root) => { write(root, 'a.txt', 'staged\n'); git(root, 'add', 'a.txt'); write(root, 'b.txt', 'unstaged\n'); write(root, 'untracked/u.txt', 'u\n'); write(root, 'ignored/i', 'secret\n'); write(root, 'x.log', 'log\n'); } },
  { name: 'a partially staged file', typical: true, make: (root) => { write(root, 'a.txt', 'staged\n'); git(root, 'add', 'a.txt'); write(root, 'a.txt', 'staged and more\n'); } },
  { name: 'staged, then reverted in the working tree', make: (root) => { write(root, 'b.txt', 'staged\n'); git(root, 'add', 'b.txt'); write(root, 'b.txt', 'b\n'); } },
  { name: 'a new file staged, then deleted', make: (root) => { write(root, 'gone.txt', 'g\n'); git(root, 'add', 'gone.txt'); remove(root, 'gone.txt'); } },
  { name: 'deletions: staged, unstaged and from the index only', typical: true, make: (root) => { git(root, 'rm', '-q', 'b.txt'); remove(root, 'dir/c.txt'); git(root, 'rm', '-q', '--cached', 'a.txt'); } },
  { name: 'out of the index, and then changed', make: (root) => { git(root, 'rm', '-rq', '--cached', 'dir'); write(root, 'dir/c.txt', 'changed\n'); } },
  { name: 'everything out of the index', make: (root) => { git(root, 'rm', '-rq', '--cached', '.'); } },
  { name: 'every file deleted', make: (root) => { for (const name of ['a.txt', 'b.txt', 'dir', 'run.sh', 'link', '.gitignore']) remove(root, name); } },
  { name: 'a rename, staged and edited', make: (root) => { git(root, 'mv', 'a.txt', 'renamed.txt'); write(root, 'renamed.txt', 'one\ntwo\nthree\nfour\nsix\n'); } },
  { name: 'a directory renamed, unstaged; a name changed in case only', make: (root) => { renameSync(path.join(root, 'dir'), path.join(root, 'folder')); git(root, 'mv', 'b.txt', 'B.txt'); } },
  { name: 'a file that became a directory, and a directory that became a file', make: (root) => { remove(root, 'b.txt'); write(root, 'b.txt/inner', 'i\n'); remove(root, 'dir'); write(root, 'dir', 'now a file\n'); } },
  { name: 'a staged swap of file and directory', typical: true, make: (root) => { remove(root, 'b.txt'); write(root, 'b.txt/inner', 'i\n'); remove(root, 'dir'); write(root, 'dir', 'now a file\n'); git(root, 'add', '-A'); } },
  { name: 'a swap that is staged, and taken back in the working tree', make: (root) => { remove(root, 'dir'); write(root, 'dir', 'staged as a file\n'); git(root, 'add', '-A'); remove(root, 'dir'); write(root, 'dir/c.txt', 'c\n'); } },
  { name: 'a file whose place is taken by a directory of ignored files', make: (root) => { remove(root, 'b.txt'); write(root, 'b.txt/x.log', 'ignored\n'); } },
  { name: 'file and symbolic link swapped; a directory that became a link', typical: true, make: (root) => { remove(root, 'b.txt'); link(root, 'b.txt', '/nowhere/at all'); remove(root, 'link'); write(root, 'link', 'file\n'); renameSync(path.join(root, 'dir'), path.join(root, 'moved')); link(root, 'dir', 'moved'); } },
  { name: 'links: staged and changed, to a directory, to odd names, untracked', make: (root) => { link(root, 'staged', 'dir'); git(root, 'add', 'staged'); remove(root, 'staged'); link(root, 'staged', '../..'); symlinkSync(latin('caf\u00e9\n'), path.join(root, 'odd')); link(root, 'dir/up', '.'); } },
  { name: 'modes', make: (root) => { write(root, 'b.txt', 'b\n', 0o755); write(root, 'run.sh', '#!/bin/sh\n', 0o644); git(root, 'add', 'run.sh'); write(root, 'tool', 'x', 0o755); write(root, 'secret', 'readable by one\n', 0o400); } },
  { name: 'a mode staged, and taken back in the working tree', make: (root) => { git(root, 'update-index', '--chmod=+x', 'b.txt'); git(root, 'update-index', '--chmod=-x', 'run.sh'); } },
  { name: 'intent to add, edited and deleted again', typical: true, make: (root) => { write(root, 'later.txt', 'later\n'); write(root, 'sub/never.txt', 'never\n', 0o755); write(root, 'empty.txt', ''); git(root, 'add', 'empty.txt'); git(root, 'add', '-N', 'later.txt', 'sub/never.txt'); remove(root, 'sub'); } },
  { name: 'intent to add: a program, a link, an empty file, one that became a directory', make: (root) => { write(root, 'p', 'p', 0o755); link(root, 'l', 'p'); write(root, 'e', ''); write(root, 'd', 'd'); git(root, 'add', '-N', 'p', 'l', 'e', 'd'); remove(root, 'd'); write(root, 'd/inner', 'i'); } },
  { name: 'intent to add, with flags', make: (root) => { write(root, 'l', 'l'); write(root, 'm', 'm'); git(root, 'add', '-N', 'l', 'm'); git(root, 'update-index', '--assume-unchanged', 'l'); git(root, 'update-index', '--skip-worktree', 'm'); } },
  { name: 'assume-unchanged and skip-worktree with hidden edits and absences', typical: true, make: (root) => { git(root, 'update-index', '--assume-unchanged', 'a.txt', 'run.sh'); git(root, 'update-index', '--skip-worktree', 'b.txt', 'dir/c.txt'); write(root, 'a.txt', 'hidden\n'); write(root, 'b.txt', 'hidden too\n'); remove(root, 'dir/c.txt'); remove(root, 'run.sh'); } },
  { name: 'flags on what is staged, on a link, on a program and both on one file', make: (root) => { write(root, 'a.txt', 'staged\n'); git(root, 'add', 'a.txt'); git(root, 'update-index', '--skip-worktree', 'a.txt', 'link'); git(root, 'update-index', '--assume-unchanged', 'a.txt', 'run.sh'); remove(root, 'a.txt'); remove(root, 'link'); write(root, 'run.sh', 'changed\n', 0o644); } },
  { name: 'a skip-worktree file in whose place a directory stands', make: (root) => { git(root, 'update-index', '--skip-worktree', 'b.txt'); remove(root, 'b.txt'); write(root, 'b.txt/inner', 'i\n'); } },
  { name: 'odd names', typical: true, make: (root) => {
    for (const name of ['new\nline', 'tab\there', '-rf', '"quoted"', "it's", ':(top)x', '[a]*?', 'esc\u001b[31m', 'back\\slash', 'CON', 'trailing. ', 'caf\u00e9', 'cafe\u0301', 'Case', 'case', ' ', 'cr\rname', '#hash', '!bang', '@', '~', '$HOME', '{a,b}', '.gitx', 'git~', '\u202egnp.exe']) write(root, `odd/${name}`, `${name}\n`);
    write(root, latin('odd/\u00ff\u00fe\u00e9'), 'latin\n');
    git(root, 'add', 'odd/new\nline', 'odd/Case'); write(root, 'odd/Case', 'changed\n');
    write(root, latin('\u00e9t\u00e9'), 'staged latin\n'); git(root, 'add', '-A', '.'); write(root, latin('\u00e9t\u00e9'), 'changed latin\n');
  } },
  { name: 'odd names, untracked, of directories too', make: (root) => { for (const name of ['new\nline', ':(top)x', '-rf', ' ', '[a]', 'caf\u00e9', 'cafe\u0301', 'back\\slash', '"q"']) { write(root, `${name}/${name}`, name); mkdirSync(path.join(root, `empty ${name}`)); } write(root, latin('\u00ff/\u00fe'), 'latin\n'); } },
  { name: 'odd names, deleted, flagged and renamed', make: (root) => { for (const name of ['new\nline', ':(top)x', '-rf', '"q"', 'tab\t']) write(root, name, name); commit(root, 'odd'); remove(root, 'new\nline'); git(root, '--literal-pathspecs', 'rm', '-q', '--cached', '--', ':(top)x'); git(root, 'update-index', '--assume-unchanged', '--', '-rf'); write(root, '-rf', 'hidden'); git(root, 'update-index', '--skip-worktree', '--', '"q"'); remove(root, '"q"'); git(root, 'mv', '--', 'tab\t', 'feed\n'); } },
  { name: 'very long names', make: (root) => { const long = Array.from({ length: 8 }, (_x, n) => String(n).repeat(250)).join('/'); write(root, `${long}/staged`, 's'); git(root, 'add', '-A'); write(root, `${long}/staged`, 'changed'); write(root, `${long}/untracked`, 'u'); } },
  { name: 'a latin-1 name intended to be added', make: (root) => { write(root, latin('x\u00e9'), 'x'); gitOnBytes(root, latin('x\u00e9\0'), 'add', '-N', '--pathspec-from-file=-', '--pathspec-file-nul'); } },
  { name: 'tracked although ignored', typical: true, make: (root) => { write(root, 'kept.log', 'kept\n'); git(root, 'add', '-f', 'kept.log'); git(root, 'commit', '-qm', 'log'); write(root, 'kept.log', 'changed\n'); write(root, 'other.log', 'not carried\n'); write(root, 'ignored/staged', 's'); git(root, 'add', '-f', 'ignored/staged'); write(root, 'ignored/not', 'n'); } },
  { name: 'a dirty .gitignore', typical: true, make: (root) => { write(root, '.gitignore', '*.tmp\n'); write(root, 'x.log', 'no longer ignored\n'); write(root, 'y.tmp', 'now ignored\n'); } },
  { name: '.gitignore: untracked, in a directory, with exceptions, deleted', make: (root) => { write(root, 'dir/.gitignore', '*\n!kept\n!.gitignore\n'); write(root, 'dir/kept', 'k'); write(root, 'dir/not kept', 'n'); remove(root, '.gitignore'); write(root, 'x.log', 'not ignored any more\n'); } },
  { name: 'an empty directory in the place of a tracked file', make: (root) => { remove(root, 'b.txt'); mkdirSync(path.join(root, 'b.txt/empty'), { recursive: true }); } },
  { name: 'an empty directory, beside tracked files too, and ignored ones', typical: true, make: (root) => { for (const name of ['empty/inner', 'dir/empty', 'ignored/empty', 'caf\u00e9']) mkdirSync(path.join(root, name), { recursive: true }); } },
  { name: 'many untracked files', make: (root) => { for (let n = 0; n < 300; n++) write(root, `many/${n % 7}/${n}`, `${n}\n`); } },
  { name: 'line ends by attribute', typical: true, make: (root) => { write(root, '.gitattributes', '*.crlf text eol=crlf\n*.auto text=auto\n'); write(root, 'w.crlf', 'a\r\nb\r\n'); write(root, 'x.auto', 'a\r\nb\n'); write(root, 'y.crlf', 'a\nb\r\n'); commit(root, 'eol'); write(root, 'dir/c.txt', 'x\n'); } },
  { name: 'core.autocrlf=true, with files of either line end', there: crlf, make: (root) => { crlf(root); write(root, 'w', 'a\r\nb\r\n'); write(root, 'l', 'a\nb\n'); write(root, 'm', 'a\r\nb\n'); commit(root, 'eol'); write(root, 'a.txt', 'x\r\ny\r\n'); write(root, 'u', 'u\r\n'); } },
  { name: 'core.autocrlf=input', there: (root) => git(root, 'config', 'core.autocrlf', 'input'), make: (root) => { git(root, 'config', 'core.autocrlf', 'input'); write(root, 'w', 'a\r\nb\r\n'); commit(root, 'eol'); write(root, 'b.txt', 'x\r\n'); } },
  { name: 'ident and a working-tree encoding', typical: true, make: (root) => { write(root, '.gitattributes', '*.id ident\n*.u16 working-tree-encoding=UTF-16LE\n'); write(root, 'v.id', '$Id$\n'); write(root, 't.u16', Buffer.from('hello\n', 'utf16le')); commit(root, 'ident'); remove(root, 'v.id'); git(root, 'checkout', 'v.id'); } },
  { name: 'dirty attributes that end a conversion', make: (root) => { write(root, '.gitattributes', '*.crlf text eol=crlf\n'); write(root, 'w.crlf', 'a\r\nb\r\n'); commit(root, 'eol'); write(root, '.gitattributes', '# nothing\n'); write(root, 'dir/c.txt', 'x\n'); } },
  { name: 'attributes: staged and taken back, deleted, in a directory', make: (root) => { write(root, '.gitattributes', '*.crlf text eol=crlf\n'); write(root, 'w.crlf', 'a\r\n'); commit(root, 'eol'); write(root, 'sub/.gitattributes', '*.s eol=crlf\n'); write(root, 'sub/x.s', 'x\r\n'); git(root, 'add', '-A'); remove(root, 'sub/.gitattributes'); write(root, '.gitattributes', '*.crlf -text\n'); git(root, 'add', '.gitattributes'); write(root, '.gitattributes', '*.crlf text eol=crlf\n'); } },
  { name: 'a filter that does not reverse', typical: true, there: drivers, make: (root) => { drivers(root); write(root, '.gitattributes', '*.loud filter=loud\n'); write(root, 'x.loud', 'quiet\n'); write(root, 'y.loud', 'quiet\n'); commit(root, 'loud'); write(root, 'y.loud', 'changed\n'); write(root, 'z.loud', 'untracked\n'); } },
];
