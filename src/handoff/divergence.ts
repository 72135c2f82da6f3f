/**
 * Both sides of a thread changed since its last handoff: somebody resumed the archived copy, worked in the worktree that the thread
 * left, moved its branch, or restored a backup. What was found is told before anything moves, and the user chooses.
 */
import { z } from 'zod';
import type { Finding } from './finding';

/**
 * What becomes of what the destination has. `second-worktree`: it stays, and the thread arrives in another worktree. `fork`: it goes
 * on as a thread of its own, with its worktree. The third choice is to hand nothing off. None of them loses either side.
 */
export const divergenceChoice = z.enum(['second-worktree', 'fork']);
export type DivergenceChoice = z.infer<typeof divergenceChoice>;

export type Divergence =
  /** The thread's worktree of an earlier stay is not as the thread left it. */
  | { readonly kind: 'worktree'; readonly path: string }
  /** The thread's branch has commits there that the thread did not leave with. */
  | { readonly kind: 'branch'; readonly branch: string; readonly root: string }
  /** The archived copy of the conversation went on there. */
  | { readonly kind: 'conversation' }
  /** There is a copy of the thread there that never came by a handoff. `consented`: its host's own user asked for the thread. */
  | { readonly kind: 'copy'; readonly consented: boolean };

/** The choices that settle all of what was found; none where nothing was. */
export function choicesFor(divergences: readonly Divergence[]): DivergenceChoice[] {
  if (divergences.length === 0) return [];
  return divergences.every(({ kind }) => kind === 'worktree' || kind === 'branch') ? ['second-worktree', 'fork'] : ['fork'];
}

/** Whether a choice settles what was found. */
export function isSettled(divergences: readonly Divergence[], choice: DivergenceChoice | null): boolean {
  if (divergences.some((one) => one.kind === 'copy' && !one.consented)) return false;
  return divergences.length === 0 || (choice !== null && choicesFor(divergences).includes(choice));
}

/** What was found, as findings: blockers until a choice settles it, then warnings that say what will be done. */
export function divergenceFindings(divergences: readonly Divergence[], choice: DivergenceChoice | null, names: { readonly source: string; readonly destination: string; readonly threadId: string }): Finding[] {
  const settled = isSettled(divergences, choice);
  return divergences.map((one) => ({
    level: settled ? 'warning' : 'blocker',
    code: one.kind === 'copy' ? 'thread-owned' : `${one.kind}-diverged`,
    message: `${found(one, names)} ${settled ? decided(choice, names) : wayOut(divergences, names)}`,
  }));
}

function found(one: Divergence, { destination }: { readonly destination: string }): string {
  switch (one.kind) {
    case 'worktree':
      return `The thread's worktree ${one.path} on ${destination} was changed since the thread left it.`;
    case 'branch':
      return `The branch ${one.branch} of ${one.root} on ${destination} has commits that the thread does not know.`;
    case 'conversation':
      return `The copy of the thread on ${destination} was resumed there since the thread left.`;
    case 'copy':
      return `${destination} has a copy of this thread that never came by a handoff, and it must not be overwritten.`;
  }
}

function decided(choice: DivergenceChoice | null, { destination }: { readonly destination: string }): string {
  return choice === 'fork' ? `What ${destination} has is kept there as a thread of its own.` : `It stays as it is; the thread goes on in a second worktree.`;
}

function wayOut(divergences: readonly Divergence[], { source, destination, threadId }: { readonly source: string; readonly destination: string; readonly threadId: string }): string {
  // Only its own user may say that a host gives up what it takes for its own.
  if (divergences.some((one) => one.kind === 'copy' && !one.consented)) return `Delete or fork it there first, or run "baton handoff ${threadId} --to here --from ${source} --fork" on ${destination}.`;
  const fork = `--fork keeps what ${destination} has as a thread of its own`;
  return choicesFor(divergences).includes('second-worktree') ? `Choose: --second-worktree leaves that alone and goes on beside it, ${fork}, or hand nothing off.` : `Choose: ${fork}, or hand nothing off.`;
}
