import { HandoffError } from '../../src/handoff/handoffError';
import type { DestinationEvent, DestinationState } from '../../src/handoff/destinationTransaction';
import { reduceDestination } from '../../src/handoff/destinationTransaction';
import { receiptHash, type Holdings, type Receipt } from '../../src/handoff/receipt';
import { reduceSource, type SourceEvent, type SourceState } from '../../src/handoff/sourceTransaction';

/** One handoff, laptop to server, as every test of this folder that needs one knows it. */
export const identity = {
  handoffId: 'a'.repeat(32),
  threadId: '0199c0de-0000-7000-8000-000000000001',
  source: 'laptopId',
  destination: 'serverId',
  destinationName: 'server',
  epoch: 1,
} as const;

export const offeredIdentity = { handoffId: identity.handoffId, threadId: identity.threadId, source: identity.source, sourceName: 'laptop', epoch: identity.epoch } as const;

export const holdings: Holdings = {
  workingState: '1'.repeat(64),
  head: '2'.repeat(40),
  rollouts: [
    { name: 'rollout-a.jsonl', bodyBytes: 10, bodySha256: '3'.repeat(64) },
    { name: 'rollout-b.jsonl', bodyBytes: 20, bodySha256: '4'.repeat(64) },
  ],
  thread: '5'.repeat(64),
};

export const channel = '6'.repeat(64);

export const receipt: Receipt = {
  version: 1,
  handoffId: identity.handoffId,
  threadId: identity.threadId,
  epoch: identity.epoch,
  source: identity.source,
  destination: identity.destination,
  channel,
  holdings,
};

export const placement = { threadId: identity.threadId, worktree: '/worktrees/1/repo', branch: 'main', notes: [] };

/** Each source event as it would come in the handoff above. */
export const sourceEvents = {
  begun: { type: 'begun', ...identity },
  quiesced: { type: 'quiesced' },
  captured: { type: 'captured', holdings },
  transferred: { type: 'transferred' },
  receipt: { type: 'receipt', receipt, channel },
  committed: { type: 'committed' },
  failed: { type: 'failed', reason: 'disk-full', message: 'The disk is full.' },
  undone: { type: 'undone' },
  delivered: { type: 'delivered' },
  letGo: { type: 'letGo' },
  revoked: { type: 'revoked', message: 'The thread was taken back.' },
} as const satisfies { [T in SourceEvent['type']]: Extract<SourceEvent, { type: T }> };

/** Each destination event as it would come in the handoff above. */
export const destinationEvents = {
  offered: { type: 'offered', ...offeredIdentity },
  prepared: { type: 'prepared', receipt, complete: true },
  committed: { type: 'committed', receiptHash: receiptHash(receipt) },
  activated: { type: 'activated', placement },
  withdrawn: { type: 'withdrawn', reason: 'cancelled' },
  discarded: { type: 'discarded' },
} as const satisfies { [T in DestinationEvent['type']]: Extract<DestinationEvent, { type: T }> };

export const sourceAfter = (...types: readonly SourceEvent['type'][]): SourceState => types.reduce<SourceState>((state, type) => reduceSource(state, sourceEvents[type]), { is: 'none' });

export const destinationAfter = (...types: readonly DestinationEvent['type'][]): DestinationState =>
  types.reduce<DestinationState>((state, type) => reduceDestination(state, destinationEvents[type]), { is: 'none' });

/** The reason with which a reducer refuses; null where it does not. */
export function refusal(act: () => unknown): string | null {
  try {
    act();
    return null;
  } catch (error) {
    return HandoffError.is(error) ? error.reason : String(error);
  }
}
