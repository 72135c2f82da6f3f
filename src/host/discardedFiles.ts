import { pathForPeople, type BytePath } from '../git/bytePath';
import { digestOf, repositoriesBelow } from '../git/ignoredFiles';
import { pathList } from '../git/indexListing';
import type { WorktreeStanding } from '../git/worktreeInventory';

/** What of a worktree neither a snapshot nor anything else keeps: it goes for good when the worktree does, if the user lets it go. */
export interface Unkept {
  /** How many files and repositories. */
  readonly count: number;
  /** Names the list: only what is on it may go. */
  readonly digest: string;
  /** The list as the user sees it. */
  readonly sentence: string;
  /** Repositories that are tracked, and that no `.gitmodules` names: nobody has looked for ignored files in them, and none of them may go. */
  readonly strange: readonly BytePath[];
}

/** Ignored files that nothing else has, and repositories among the ignored files. Walks the whole worktree. */
export async function readUnkept(root: string, { ignored: { own }, submodules }: WorktreeStanding): Promise<Unkept> {
  const found = await repositoriesBelow(root, new Set(submodules));
  const strange = found.length === 0 ? [] : await trackedAmong(root, found);
  const clones = found.filter((place) => !strange.includes(place));
  return {
    strange,
    count: own.count + clones.length,
    digest: clones.length === 0 ? own.digest : digestOf([own.digest, ...clones]),
    sentence: [
      ...(own.count === 0 ? [] : [`It has ${own.count === 1 ? 'an ignored file' : `${own.count} ignored files`} that nothing else has: ${listed(own.names, own.count)}.`]),
      ...(clones.length === 0 ? [] : [`It holds repositories that git ignores there and no snapshot keeps: ${listed(clones.slice(0, 20), clones.length)}.`]),
    ].join(' '),
  };
}

async function trackedAmong(root: string, places: readonly BytePath[]): Promise<BytePath[]> {
  const tracked = new Set(await pathList(['ls-files', '-z'], { cwd: root }));
  return places.filter((place) => tracked.has(place));
}

/** How much of a digest a command has: enough that no other list of this worktree has the same. */
const CODE_LENGTH = 12;

export function wayOut(id: string, { digest }: Unkept): string {
  return `"baton worktree remove ${id} --discard-ignored ${digest.slice(0, CODE_LENGTH)}" removes it all the same, and loses just those.`;
}

function listed(names: readonly BytePath[], count: number): string {
  return `${names.map(pathForPeople).join(', ')}${count > names.length ? `, and ${count - names.length} more` : ''}`;
}
