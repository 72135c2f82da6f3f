import { pathForPeople, type BytePath } from './bytePath';

export type SkipReason =
  | 'symbolic-link' | 'special-file' | 'nested-repository' | 'git-directory' | 'git-rules' | 'already-there' | 'in-the-way' | 'not-ignored-there' | 'unfit-name' | 'set-user-id'
  | 'changed' | 'unreadable';

/** One path that the list names and that was not taken, and why. */
export type Skip = (path: BytePath, reason: SkipReason) => void;

/** A path that was not taken, as text for people, quoted. */
export interface NamedSkip {
  readonly path: string;
  readonly reason: SkipReason;
}

const NAMED = 20;
const SAID = 5;

const reasonText: Record<SkipReason, string> = {
  'symbolic-link': 'a symbolic link',
  'special-file': 'a FIFO, socket or device',
  'nested-repository': 'in a repository of its own',
  'git-directory': 'inside a Git directory',
  'git-rules': 'it would change what git ignores',
  'already-there': 'there already',
  'in-the-way': 'something else is in the way',
  'not-ignored-there': 'not ignored in the worktree',
  'unfit-name': 'no name for a file there',
  'set-user-id': 'it runs as another user',
  'changed': 'it changed meanwhile',
  'unreadable': 'it could not be read',
};

/** Counts what was taken of a list of files, and what was not. */
export class IncludeTally {
  files = 0;
  bytes = 0;
  skipped = 0;
  readonly named: NamedSkip[] = [];

  readonly skip: Skip = (name, reason) => {
    this.skipped++;
    if (this.named.length < NAMED) this.named.push({ path: pathForPeople(name), reason });
  };
}

/** The first of the paths that were not taken, each with its reason: `".env" (there already), …`. */
export function skipsText(skipped: number, named: readonly NamedSkip[]): string {
  return `${named.slice(0, SAID).map(({ path, reason }) => `${path} (${reasonText[reason]})`).join(', ')}${skipped > SAID ? ', …' : ''}`;
}
