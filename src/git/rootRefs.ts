import { gitText } from './git';
import type { ObjectId, Repository } from './repository';

/** How a repository keeps its refs (git-init(1), `--ref-format`). */
export type RefStorage = 'files' | 'reftable';

/**
 * Refs of an operation that stand beside HEAD. Where refs are files, so are they, in the worktree's Git directory; a reftable
 * holds them like any other ref. `MERGE_HEAD`, which may name several commits, is a file everywhere (gitglossary(7), "pseudoref").
 */
const names = ['AUTO_MERGE', 'BISECT_EXPECTED_REV', 'BISECT_HEAD', 'CHERRY_PICK_HEAD', 'MERGE_AUTOSTASH', 'ORIG_HEAD', 'REBASE_HEAD', 'REVERT_HEAD'];

/** Whether an operation's file is a ref in that worktree. */
export function isRootRef(worktree: Pick<Repository, 'refStorage'>, name: string): boolean {
  return worktree.refStorage === 'reftable' && names.includes(name);
}

/** The root refs of a worktree that a reftable holds. Empty where refs are files, to be read as such. */
export async function readRootRefs(worktree: Pick<Repository, 'root' | 'refStorage'>, signal?: AbortSignal): Promise<ReadonlyMap<string, ObjectId>> {
  if (worktree.refStorage === 'files') return new Map();
  const text = await gitText(['for-each-ref', '--include-root-refs', '--format=%(refname) %(objectname)', ...names], { cwd: worktree.root, signal });
  return new Map(text.split('\n').filter((line) => line !== '').map((line): [string, ObjectId] => {
    const [name = '', oid = ''] = line.split(' ', 2);
    return [name, oid];
  }));
}
