import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';

/** What lies in a worktree's Git directory, or the repository's, whether or not an operation is in progress. */
const everyday = /^(HEAD|ORIG_HEAD|FETCH_HEAD|COMMIT_EDITMSG|index(\.lock)?|sharedindex\..*|config(\.worktree)?|commondir|gitdir|locked|description|packed-refs|shallow|logs|objects|refs|reftable|hooks|info|branches|worktrees|modules|lfs|rr-cache|MERGE_RR|baton.*|gc\.log)$/;
/** Scratch files that git makes anew, and the branches that `rebase --update-refs` would move, which is a documented rewrite. */
const scratch = /^(rebase-apply\/patch-merge-index|rebase-merge\/update-refs)$/;

/** Files where refs are files, and otherwise in the reftable. */
const rootRefs = ['AUTO_MERGE', 'BISECT_EXPECTED_REV', 'BISECT_HEAD', 'CHERRY_PICK_HEAD', 'MERGE_AUTOSTASH', 'REBASE_HEAD', 'REVERT_HEAD'];

/**
 * What a Git directory says about where a checkout is: its branch, the operation in progress with all that git keeps for it, and
 * its sparse patterns. Two documented rewrites are undone first: the thread's own namespace of a branch, and lines of an
 * operation that do not go on elsewhere.
 */
export function observeGitDirectory(gitDir: string, branch: string, git: (...args: string[]) => string): Record<string, unknown> {
  const plain = (text: string) => text.replaceAll(/baton\/[0-9a-f]{8}-[0-9a-f]{4}\//g, '');
  const files: Record<string, string> = {};
  const take = (name: string) => {
    const file = path.join(gitDir, name);
    if (statSync(file).isDirectory()) for (const entry of readdirSync(file)) take(`${name}/${entry}`);
    else if (!scratch.test(name)) files[name] = plain(readFileSync(file, 'latin1')).replaceAll(/^(exec|x|update-ref|u) .*\n/gm, '');
  };
  for (const name of readdirSync(gitDir).sort()) if (!everyday.test(name)) take(name);
  for (const name of existsSync(path.join(gitDir, 'reftable')) ? rootRefs : []) {
    const oid = git('rev-parse', '-q', '--verify', name);
    if (oid !== '') files[name] = `${oid}\n`;
  }
  const settings = git('config', '-z', '--get-regexp', '^core\\.sparsecheckout').split('\0');
  const setting = (name: string) => settings.findLast((line) => line.startsWith(`core.${name}\n`))?.split('\n')[1] ?? '';
  return {
    branch: plain(branch),
    operation: files,
    origin: Object.keys(files).some((name) => !/^(AUTO_MERGE|MERGE_MSG|SQUASH_MSG)$/.test(name)) ? git('rev-parse', '-q', '--verify', 'ORIG_HEAD') : '',
    refs: git('for-each-ref', '--format=%(objectname) %(refname)', 'refs/bisect', 'refs/rewritten'),
    sparse: setting('sparsecheckout') === 'true' ? git('sparse-checkout', 'list') : '',
    cone: setting('sparsecheckoutcone'),
  };
}
