import type { CommandTable } from './commandTable';
import { inertLine } from './inertText';
import { counted, table } from './layout';

export function addWorktreesCommand({ program, session }: CommandTable): void {
  program
    .command('worktrees')
    .description('list the managed worktrees of this host')
    .action(async () => {
      const { worktrees } = await (await session.host()).call('worktree/list');
      session.result({ worktrees }, () =>
        worktrees.length === 0
          ? 'There is no managed worktree.'
          : table(
              ['ID', 'BRANCH', 'STATE', 'THREADS', 'PATH'],
              worktrees.map((worktree) => [
                inertLine(worktree.id),
                inertLine(worktree.branch ?? '(detached)'),
                [worktree.dirty ? 'dirty' : 'clean', worktree.permanent ? 'permanent' : '', worktree.pinned ? 'pinned' : ''].filter(Boolean).join(', '),
                counted(worktree.threadIds.length, 'thread'),
                inertLine(worktree.path),
              ]),
              // A path that was cut could not be used.
              Infinity,
            ),
      );
    });
}
