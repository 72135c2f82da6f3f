import { access, constants, lstat, readFile, realpath } from 'node:fs/promises';
import path from 'node:path';
import type { Repository } from './repository';

/**
 * What files of a repository say without asking git, since starting a process takes longer than most answers. Only what git
 * reads in the same way from the same bytes; whatever is less plain gives null, and git is asked.
 */

type Layout = Pick<Repository, 'root' | 'gitDir' | 'commonDir'>;
const headForm = /^(?:ref: refs\/[^\n]+|[0-9a-f]{40}(?:[0-9a-f]{24})?)\n*$/;

/**
 * Where the repository of a worktree's top level is: `.git` in it, or what the `.git` file of a linked worktree leads to
 * (gitrepository-layout(5)). Git may still refuse it, which its configuration tells.
 */
export async function findLayout(directory: string): Promise<Layout | null> {
  try {
    const root = await realpath(directory);
    const dotGit = path.join(root, '.git');
    const pointer = (await lstat(dotGit)).isDirectory() ? null : await readFile(dotGit, 'utf8');
    const leadsTo = pointer === null ? dotGit : /^gitdir: ([^\n]+)\n$/.exec(pointer)?.[1];
    if (leadsTo === undefined || !path.isAbsolute(leadsTo) || root.includes('\n')) return null;
    const gitDir = await realpath(leadsTo);
    // Without one the `.git` file belongs to a submodule, or to a checkout whose repository was put elsewhere.
    const commonDir = pointer === null ? gitDir : await realpath(path.resolve(gitDir, (await readFile(path.join(gitDir, 'commondir'), 'utf8')).trimEnd()));
    const [head] = await Promise.all([readFile(path.join(gitDir, 'HEAD'), 'latin1'), access(path.join(commonDir, 'objects'), constants.X_OK), access(path.join(commonDir, 'refs'), constants.X_OK)]);
    return headForm.test(head) && ((await lstat(path.join(gitDir, 'HEAD'))).isFile()) ? { root, gitDir, commonDir } : null;
  } catch {
    return null;
  }
}

/** A branch whose name is a plain path. Others may be spelt otherwise on disk. */
const plainBranch = /^ref: (refs\/heads\/[\w.+@=/-]+)\n$/;
const objectId = /^([0-9a-f]{40}(?:[0-9a-f]{24})?)\n$/;

/** What HEAD is at: the commit, null where the branch is unborn, and the branch, null where it is detached. */
export async function findHead({ gitDir, commonDir }: Pick<Layout, 'gitDir' | 'commonDir'>): Promise<Pick<Repository, 'head' | 'branch'> | null> {
  try {
    const head = path.join(gitDir, 'HEAD');
    // Where HEAD is a symbolic link, reading it gives the branch's commit, and nothing tells that it is one.
    if (!(await lstat(head)).isFile()) return null;
    const content = await readFile(head, 'latin1');
    const detached = objectId.exec(content)?.[1];
    if (detached !== undefined) return { head: detached, branch: null };
    const branch = plainBranch.exec(content)?.[1];
    // Reftable keeps its refs elsewhere, and says so with a name that no branch can have.
    if (branch === undefined || branch === 'refs/heads/.invalid') return null;
    const loose = await readFile(path.join(commonDir, branch), 'latin1').catch(unlessAbsent);
    if (loose !== null) {
      const oid = objectId.exec(loose)?.[1];
      return oid === undefined ? null : { head: oid, branch };
    }
    // Git writes this file before it removes the refs that it has packed, so whoever looks here second finds them.
    const packed = await readFile(path.join(commonDir, 'packed-refs')).catch(unlessAbsent);
    return { head: packed === null ? null : packedValue(packed, branch), branch };
  } catch {
    return null;
  }
}

/** Lines `<object> <name>`, sorted or not. */
function packedValue(packed: Buffer, name: string): string | null {
  const at = packed.indexOf(` ${name}\n`);
  if (at === -1) return null;
  const value = packed.toString('latin1', packed.lastIndexOf(10, at) + 1, at);
  if (!objectId.test(`${value}\n`)) throw new Error(`packed-refs has no object for ${name}.`);
  return value;
}

function unlessAbsent(error: unknown): null {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'EISDIR') return null;
  throw error;
}
