import { existsSync } from 'node:fs';

/** Where what is left of a worktree can go, out of everybody's way: `<worktree>.kept`, or `.kept-2` and so on. */
export function placeBeside(worktree: string): string {
  for (let nth = 1; ; nth++) {
    const place = `${worktree}.kept${nth === 1 ? '' : `-${nth}`}`;
    if (!existsSync(place)) return place;
  }
}

/** Whether a directory is what is left of a worktree. */
export function isKeptOf(directory: string, worktree: string): boolean {
  return directory.startsWith(worktree) && /^\.kept(-\d+)?$/.test(directory.slice(worktree.length));
}
