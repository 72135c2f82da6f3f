/**
 * What a host answers the other side of a handoff from its ledger alone. Messages may be lost, repeated and late, so each
 * answer is one that stays true.
 */
import type { Ledger } from './ownership';
import { receiptHash } from './receipt';

/**
 * The source's word on one of its handoffs to the host that asks, be it the last one or one before it. `aborted` only of what
 * this ledger saw given up. `undecided` also of a handoff that it knows nothing of: the ledger was lost, for `begun` is journaled
 * before anything is offered, and the asker may hold the only copy. Nor need who acknowledged an earlier one ask.
 */
export function outcomeFor({ source, givenUp }: Ledger, handoffId: string, asker: string): 'committed' | 'aborted' | 'undecided' {
  if (givenUp.some((earlier) => earlier.handoffId === handoffId && earlier.destination === asker)) return 'aborted';
  if (source.is === 'none' || source.handoffId !== handoffId || source.destination !== asker) return 'undecided';
  switch (source.is) {
    case 'committed':
    case 'closed':
      return 'committed';
    case 'undoing':
    case 'aborted':
    case 'revoked':
      // What was never acknowledged need not be taken any more: who took the thread back has all of it.
      return 'aborted';
    default:
      return 'undecided';
  }
}

/**
 * What a destination does with the word that the source has committed: journal it, acknowledge once more what it did
 * before, or refuse what it knows nothing of. A handoff that is no longer the last one here was taken if this ledger has
 * reached its epoch: a receipt is given up only on the source's word that it did not commit.
 */
export function answerToCommit({ destination, epoch }: Ledger, commit: { readonly handoffId: string; readonly epoch: number; readonly receiptHash: string }): 'commit' | 'acknowledge' | 'refuse' {
  if (destination.is === 'none') return 'refuse';
  if (destination.handoffId !== commit.handoffId) return epoch >= commit.epoch ? 'acknowledge' : 'refuse';
  switch (destination.is) {
    case 'prepared':
    case 'committed':
    case 'active':
      if (receiptHash(destination.receipt) !== commit.receiptHash) return 'refuse';
      return destination.is === 'prepared' ? 'commit' : 'acknowledge';
    default:
      return 'refuse';
  }
}
