import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { plainBranchName } from '../git/branchChoice';
import { hasCommitsBeyond } from '../git/branches';
import { captureCheckout } from '../git/captureCheckout';
import { GitError } from '../git/gitError';
import type { Divergence } from '../handoff/divergence';
import type { RolloutHash } from '../handoff/receipt';
import type { HandoffSide } from './handoffSide';
import { PREFLIGHT_SPOOL } from './handoffSpools';
import type { Offer } from './peerProtocol';

export interface DivergencePorts extends HandoffSide {
  /** Whether Codex on this host has a thread of that id. */
  hasThread(threadId: string): Promise<boolean>;
  /** Whether a rollout of the thread on this host has more in it than when the thread left. */
  hasGrown(threadId: string, left: readonly RolloutHash[]): Promise<boolean>;
  /** Whether a controller of this host asked `source` for the thread, with whatever is here to be kept as a fork. */
  askedFor(threadId: string, source: string): boolean;
}

/** A thread that is offered to this host, which may have had it before. */
export interface OfferedThread {
  readonly threadId: string;
  readonly offer: Offer;
  readonly source: string;
  /** The checkout that the thread would belong to; null where there is none. */
  readonly projectRoot: string | null;
}

/** What changed on this host about a thread since it left, so that what arrives cannot just take its place. Reads only. */
export async function findDivergences(ports: DivergencePorts, offered: OfferedThread): Promise<Divergence[]> {
  const { threadId, source } = offered;
  const ledger = ports.ledger.get(threadId);
  if (ledger.epoch === 0) return (await ports.hasThread(threadId)) ? [{ kind: 'copy', consented: ports.askedFor(threadId, source) }] : [];
  if (ledger.movedTo === null) return [];
  return (await Promise.all([worktreeOf(ports, threadId), branchOf(ports, offered), conversationOf(ports, threadId)])).flat();
}

async function worktreeOf(ports: DivergencePorts, threadId: string): Promise<Divergence[]> {
  const worktree = ports.worktrees.ofThread(threadId);
  if (worktree?.leftWith == null) return [];
  const { life, path, leftWith } = worktree;
  if (life.is === 'removed') return life.snapshot.fingerprint === leftWith ? [] : [{ kind: 'worktree', path }];
  if (!existsSync(path)) return [];
  // Named as a preflight's, so that one that a crash left is gone after the next start.
  const spool = await mkdtemp(join(ports.directory, PREFLIGHT_SPOOL));
  try {
    const [{ state }] = await captureCheckout({ root: path, spool: join(spool, 'capture') });
    return state.fingerprint === leftWith ? [] : [{ kind: 'worktree', path }];
  } catch (error) {
    // Somebody writes there just now, or it is no worktree any more: in no case is it as the thread left it.
    if (GitError.is(error)) return [{ kind: 'worktree', path }];
    throw error;
  } finally {
    await rm(spool, { recursive: true, force: true });
  }
}

/** The thread left with all that its branch had; commits that came to the branch since are somebody else's, unless the thread has them too. */
async function branchOf(ports: DivergencePorts, { threadId, offer, projectRoot }: OfferedThread): Promise<Divergence[]> {
  const { source } = ports.ledger.get(threadId);
  if (projectRoot === null || offer.branch === null || !('receipt' in source)) return [];
  const branch = plainBranchName(offer.branch);
  const known = [source.receipt.holdings.head, offer.head ?? null].filter((commit) => commit !== null);
  return (await hasCommitsBeyond(projectRoot, `refs/heads/${branch}`, known)) ? [{ kind: 'branch', branch, root: projectRoot }] : [];
}

async function conversationOf(ports: DivergencePorts, threadId: string): Promise<Divergence[]> {
  const { source } = ports.ledger.get(threadId);
  return 'receipt' in source && (await ports.hasGrown(threadId, source.receipt.holdings.rollouts)) ? [{ kind: 'conversation' }] : [];
}
