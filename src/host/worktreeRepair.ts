import { runGit } from '../git/git';
import { linkWorktree, locateWorktree, pointerOf } from '../git/worktreeEntry';
import { HostError } from './hostError';
import type { ManagedWorktrees, WorktreeRecord } from './managedWorktrees';

/**
 * Mends what somebody moved or deleted by hand, where git has what that takes. Gives what was done, in words. Throws HostError
 * `worktree-kept`.
 *
 * @param how where it is now, or that it was deleted and is to be made anew from what git still has; `include` copies the ignored
 *   files that one which is made anew gets, and says what the user should know of that
 */
export async function repairWorktree(record: WorktreeRecord, worktrees: ManagedWorktrees, how: { readonly directory?: string | undefined; readonly anew?: boolean | undefined; readonly include: () => Promise<string[]> }): Promise<string> {
  const { directory, anew } = how;
  const { id } = record;
  const relink = async (path: string, gitDir: string, done: string): Promise<string> => {
    await linkWorktree(path, gitDir);
    await worktrees.save({ id, path, gitDir });
    return done;
  };
  const where = await locateWorktree(record.path, record.gitDir, worktrees.base);
  switch (where.is) {
    case 'here':
      await worktrees.save({ id, gitDir: where.gitDir });
      return 'Nothing was wrong with it.';
    case 'moved':
      if (directory !== undefined && directory !== where.to) throw new HostError('worktree-kept', `${where.to} is the worktree ${id}, and git knows it there. Nothing was changed. If that is a copy, delete its .git file and try again.`);
      return relink(where.to, where.gitDir, `Baton and git know now that it is at ${where.to}.`);
    case 'unlinked':
      if (where.gitDir === null) throw new HostError('worktree-kept', `${record.path} cannot be mended: ${where.why}. Nothing was changed.`);
      return relink(record.path, where.gitDir, 'Git knows it again.');
    case 'gone':
      break;
  }
  const { gitDir } = where;
  if (gitDir === null) throw new HostError('worktree-kept', `The directory ${record.path} was deleted, and git has forgotten it. "baton worktree restore ${id}" brings back its last snapshot, if there is one; "baton worktree remove ${id}" forgets it.`);
  if (directory !== undefined) {
    // Only a directory that says itself that it is this worktree.
    if ((await pointerOf(directory)) !== gitDir) throw new HostError('worktree-kept', `${directory} is not the worktree ${id}: its .git file does not say so. Nothing was changed.`);
    return relink(directory, gitDir, `Baton and git know now that it is at ${directory}.`);
  }
  if (anew !== true) {
    throw new HostError('worktree-kept', `There is no directory ${record.path} any more. If you moved it, say where to: "baton worktree repair ${id} --at DIR". If you deleted it, "baton worktree repair ${id} --anew" makes it again from what git still has: its commits, and what was staged.`);
  }
  await linkWorktree(record.path, gitDir);
  // Unmerged files have no one content, and those outside of a sparse checkout are not wanted.
  await runGit(['checkout-index', '--all', '--quiet'], { cwd: record.path, answers: [1] });
  await worktrees.save({ id, gitDir });
  return ['It is there again as git had it: its commits, and what was staged. Changes that were not staged are gone.', ...(await how.include())].join(' ');
}
