import { HostError } from './hostError';
import { awaitClaim } from './kernelClaim';

/** How long an act waits for another Baton that is at work on the same repository. */
const PATIENCE_MS = 30_000;

/**
 * Runs `act` while no other act, of this host or of another of this account, removes or restores worktrees of a repository or drops
 * its snapshots. Not reentrant.
 *
 * @throws {HostError} `worktree-busy` where another keeps it for longer than `patienceMs`
 */
export async function holdRepository<T>(commonDir: string, act: () => Promise<T>, patienceMs = PATIENCE_MS): Promise<T> {
  const release = await awaitClaim(commonDir, 'worktrees', patienceMs);
  if (release === null) throw new HostError('worktree-busy', `Another Baton host is at work on the worktrees of ${commonDir}. Try again in a moment.`);
  try {
    return await act();
  } finally {
    await release();
  }
}
