import type { Finding } from './protocol';

/** Why a host could not do what it was asked. Stable words: scripts and surfaces branch on them. */
export type HostErrorReason =
  | 'no-such-thread' | 'ambiguous-thread' | 'no-such-host' | 'ambiguous-host' | 'no-such-approval' | 'approval-outdated' | 'no-such-handoff' | 'no-such-project'
  | 'no-such-device' | 'no-such-worktree' | 'worktree-kept' | 'worktree-busy' | 'worktree-changed' | 'snapshot-expired'
  | 'no-worktree' | 'worktree-removed' | 'thread-running' | 'apply-refused' | 'apply-outdated' | 'nothing-to-undo' | 'index-locked'
  | 'not-permitted' | 'invalid-params' | 'unknown-method'
  | 'host-offline' | 'relay-unreachable' | 'relay-not-set' | 'host-unreachable' | 'host-start-failed' | 'host-already-running' | 'protocol-mismatch'
  | 'remote-control-disabled' | 'remote-control-forbidden'
  | 'invite-invalid' | 'invite-expired' | 'invite-used' | 'invite-own' | 'no-such-invite'
  | 'not-a-repository' | 'no-matching-project'
  | 'codex-not-found' | 'codex-too-old' | 'codex-unavailable' | 'codex-refused' | 'policy-refused' | 'provider-missing' | 'thread-in-use'
  | 'thread-moved' | 'thread-moving' | 'preflight-blocked' | 'included-outdated' | 'own-thread' | 'same-host'
  | 'owner-online' | 'too-many-handoffs' | 'cancelled' | 'connection-lost' | 'transfer-incomplete' | 'transfer-corrupt' | 'receipt-mismatch' | 'canary-failed' | 'disk-full' | 'diverged'
  | 'ssh-not-found' | 'ssh-unreachable' | 'ssh-refused' | 'ssh-host-key' | 'ssh-failed' | 'host-not-ready' | 'host-busy' | 'token-missing' | 'token-refused'
  | 'identity-invalid' | 'state-invalid' | 'git-failed' | 'git-not-found' | 'internal';

const away: readonly string[] = ['host-offline', 'relay-unreachable', 'ssh-unreachable'] satisfies HostErrorReason[];

/** Whether a host could not be reached for a reason that may pass by itself, by whichever way to it. */
export const isAway = (reason: string): boolean => away.includes(reason);

/** An error with a reason that callers branch on, and a message for people: what failed, on what, why, and what to do. */
export class HostError extends Error {
  override readonly name = 'HostError';
  constructor(
    readonly reason: HostErrorReason,
    message: string,
    readonly details: { readonly findings?: readonly Finding[]; readonly cause?: unknown } = {},
  ) {
    super(message, { cause: details.cause });
  }
  static is(error: unknown, reason?: HostErrorReason): error is HostError {
    return error instanceof HostError && (reason === undefined || error.reason === reason);
  }
}
