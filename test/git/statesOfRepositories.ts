import { chmodSync, cpSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { git, gitThatMayFail, remove, write } from './laboratory';
import { change, commit, diverge, type State } from './states';

const configured = (...settings: string[]) => (root: string) => { for (const setting of settings) git(root, 'config', ...setting.split('=', 2)); };
const perWorktree = configured('extensions.worktreeConfig=true');
const dirty = (root: string) => { write(root, 'a.txt', 'staged\n'); git(root, 'add', 'a.txt'); write(root, 'a.txt', 'and more\n'); write(root, 'b.txt', 'x\n'); write(root, 'u', 'u'); };
/** A setting that both users have, on a checkout with changes. */
const under = (name: string, ...settings: string[]): State => ({ name, there: configured(...settings), make: (root) => { change(root, 'n', 'n\n'); configured(...settings)(root); dirty(root); git(root, 'status'); } });
const excluding = (root: string) => { write(root, '.git/info/exclude', '*.mine\n'); write(root, '.git/info/ours', '*.ours\n'); git(root, 'config', 'core.excludesFile', path.join(root, '.git/info/ours')); };
/** In steps, since `set` takes such options only from git 2.35 on, and git did not always write down that there is no cone. */
const sparse = (root: string, options: string[], ...patterns: string[]) => { if (options.includes('--no-cone')) git(root, 'config', 'core.sparseCheckoutCone', 'false'); git(root, 'sparse-checkout', 'init', ...options); git(root, 'sparse-checkout', 'set', ...patterns); };
const outside = (root: string) => { write(root, 'other/deep/o', 'o\n'); write(root, 'other/p', 'p\n'); commit(root, 'other'); };

/** Kinds of repositories, of indexes, and the settings that their users may have. */
export const statesOfRepositories: readonly State[] = [
  { name: 'a split index', typical: true, make: (root) => { git(root, 'update-index', '--split-index'); dirty(root); } },
  { name: 'an untracked cache and index version 4', typical: true, make: (root) => { git(root, 'update-index', '--index-version', '4', '--force-untracked-cache'); git(root, 'status'); dirty(root); } },
  { name: 'no index file', make: (root) => { remove(root, '.git/index'); } },
  { name: 'index.lock held by another git', make: (root) => { dirty(root); write(root, '.git/index.lock', ''); } },
  { name: 'a sparse checkout (cone)', typical: true, there: perWorktree, make: (root) => { outside(root); sparse(root, ['--cone'], 'dir'); write(root, 'dir/c.txt', 'x\n'); write(root, 'dir/new', 'n\n'); } },
  { name: 'a sparse checkout (patterns)', typical: true, there: perWorktree, make: (root) => { outside(root); sparse(root, ['--no-cone'], '/a.txt', '/b.txt', '!/run.sh'); write(root, 'a.txt', 'x\n'); } },
  { name: 'a sparse index', typical: true, there: perWorktree, make: (root) => { outside(root); sparse(root, ['--cone', '--sparse-index'], 'dir'); write(root, 'dir/c.txt', 'x\n'); git(root, 'add', 'dir/c.txt'); } },
  { name: 'a sparse checkout with a file outside of it', there: perWorktree, make: (root) => { outside(root); sparse(root, ['--cone'], 'dir'); write(root, 'other/p', 'written anyway\n'); write(root, 'other/untracked', 'u\n'); } },
  { name: 'a sparse checkout with a staged file outside of it', there: perWorktree, make: (root) => { outside(root); sparse(root, ['--cone'], 'dir'); write(root, 'other/q', 'q\n'); git(root, 'add', '--sparse', 'other/q'); remove(root, 'other'); } },
  { name: 'a sparse checkout with a conflict outside of it', there: perWorktree, make: (root) => { outside(root); git(root, 'checkout', '-q', '-b', 'topic'); change(root, 'other/p', 'theirs\n'); git(root, 'checkout', '-q', 'main'); change(root, 'other/p', 'ours\n'); sparse(root, ['--cone'], 'dir'); gitThatMayFail(root, 'merge', 'topic'); } },
  { name: 'a SHA-256 repository', typical: true, format: 'sha256', make: (root) => { change(root, 'n', 'n\n'); dirty(root); } },
  { name: 'a SHA-256 repository with a merge in conflict', format: 'sha256', make: (root) => { diverge(root); gitThatMayFail(root, 'merge', 'topic'); } },
  { name: 'a linked worktree', typical: true, make: (root, pair) => { const linked = path.join(pair.directory, 'laptop', 'linked'); git(root, 'worktree', 'add', '-q', '-b', 'side', linked); dirty(linked); return linked; } },
  { name: 'a linked worktree of a bare repository, in a rebase', make: (root, pair) => { const bare = path.join(pair.directory, 'laptop', 'bare.git'); git(pair.directory, 'clone', '-q', '--bare', root, bare); const linked = path.join(pair.directory, 'laptop', 'linked'); git(bare, 'worktree', 'add', '-q', linked, 'main'); diverge(linked); git(linked, 'checkout', '-q', 'topic'); gitThatMayFail(linked, 'rebase', 'main'); return linked; } },
  { name: 'a Git directory elsewhere', make: (root, pair) => { git(root, 'init', '-q', '--separate-git-dir', path.join(pair.directory, 'laptop', 'elsewhere.git')); dirty(root); } },
  { name: 'core.worktree', make: (root, pair) => { const files = path.join(pair.directory, 'laptop', 'files'); renameSync(path.join(root, '.git'), path.join(pair.directory, 'laptop', 'app.git')); renameSync(root, files); writeFileSync(path.join(files, '.git'), `gitdir: ${path.join(pair.directory, 'laptop', 'app.git')}\n`); git(files, 'config', 'core.worktree', files); dirty(files); mkdirSync(root); git(root, 'clone', '-q', path.join(pair.directory, 'laptop', 'app.git'), '.'); return files; } },
  { name: 'core.worktree at the destination', there: (server) => git(server, 'config', 'core.worktree', server), make: dirty },
  { name: 'objects borrowed from another repository', make: (root, pair) => { const lender = path.join(pair.directory, 'laptop', 'lender'); cpSync(root, lender, { recursive: true }); change(lender, 'lent', 'l\n'); remove(root, '.git/objects'); mkdirSync(path.join(root, '.git/objects/info'), { recursive: true }); mkdirSync(path.join(root, '.git/objects/pack')); writeFileSync(path.join(root, '.git/objects/info/alternates'), '../../../lender/.git/objects\n'); git(root, 'reset', '-q', '--hard', git(lender, 'rev-parse', 'HEAD')); dirty(root); } },
  { name: 'a replaced commit', make: (root) => { change(root, 'n', '1\n'); change(root, 'n', '2\n'); git(root, 'replace', 'HEAD', git(root, 'commit-tree', '-m', 'another', 'HEAD~1^{tree}')); dirty(root); } },
  { name: 'a grafted history', make: (root) => { change(root, 'n', '1\n'); change(root, 'n', '2\n'); writeFileSync(path.join(root, '.git/info/grafts'), `${git(root, 'rev-parse', 'HEAD')}\n`); dirty(root); } },
  { name: 'a grafted history at the destination', there: (server) => { writeFileSync(path.join(server, '.git/info/grafts'), `${git(server, 'rev-parse', 'main')}\n`); }, make: (root) => { change(root, 'n', '1\n'); dirty(root); } },
  { name: 'file modes that are not looked at', typical: true, there: configured('core.fileMode=false'), make: (root) => { git(root, 'config', 'core.fileMode', 'false'); git(root, 'update-index', '--chmod=+x', 'b.txt'); chmodSync(path.join(root, 'b.txt'), 0o755); dirty(root); chmodSync(path.join(root, 'run.sh'), 0o755); } },
  { name: 'links that are files', there: configured('core.symlinks=false'), make: (root) => { git(root, 'config', 'core.symlinks', 'false'); remove(root, 'link'); git(root, 'checkout', '--', 'link'); change(root, 'n', 'n\n'); write(root, 'link', 'b.txt'); } },
  under('names that are not told apart by case', 'core.ignoreCase=true'),
  under('modification times only', 'core.checkStat=minimal', 'core.trustctime=false'),
  under('what git does for many files', 'feature.manyFiles=true', 'core.untrackedCache=true', 'index.threads=2', 'index.version=4'),
  under('an index that is always split', 'core.splitIndex=true'),
  under('a status and a diff after somebody\'s taste', 'status.showUntrackedFiles=no', 'status.short=true', 'status.branch=true', 'status.renames=copies', 'diff.noprefix=true', 'diff.renames=copies', 'diff.external=false', 'core.quotePath=false', 'diff.ignoreSubmodules=all', 'core.pager=false', 'color.ui=always', 'log.showSignature=true'),
  under('strictness', 'core.safecrlf=true', 'user.useConfigOnly=true', 'transfer.fsckObjects=true', 'fetch.fsckObjects=true', 'core.logAllRefUpdates=always', 'submodule.recurse=true', 'add.ignoreErrors=true', 'core.commentChar=;', 'commit.gpgSign=true', 'i18n.commitEncoding=latin1', 'rerere.enabled=true', 'core.protectNTFS=true', 'core.protectHFS=true'),
  { name: 'ignored by info/exclude and by a file of the user\'s', there: excluding, make: (root) => { excluding(root); for (const name of ['x.mine', 'x.ours', 'x']) write(root, name, name); } },
  { name: 'attributes in info/attributes', there: (server) => write(server, '.git/info/attributes', '*.crlf text eol=crlf\n'), make: (root) => { write(root, '.git/info/attributes', '*.crlf text eol=crlf\n'); write(root, 'w.crlf', 'a\r\nb\r\n'); commit(root, 'eol'); dirty(root); } },
];
