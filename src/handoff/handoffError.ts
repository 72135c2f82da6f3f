/** Why a handoff was refused or undone. Before the commit point the thread is always at its source and usable. */
export type HandoffErrorReason =
  /** An event that the present state does not allow; the state is unchanged. */
  | 'unexpected-event'
  | 'receipt-mismatch'
  | 'thread-moving'
  | 'thread-moved'
  | 'stale-epoch'
  /** An offer to a host that owns the thread: the two copies have diverged. */
  | 'thread-owned'
  /** The thread is this host's own already, so there is nothing to take back. */
  | 'thread-here'
  | 'cancelled';

export class HandoffError extends Error {
  override readonly name = 'HandoffError';
  constructor(
    readonly reason: HandoffErrorReason,
    message: string,
  ) {
    super(message);
  }
  static is(error: unknown, reason?: HandoffErrorReason): error is HandoffError {
    return error instanceof HandoffError && (reason === undefined || error.reason === reason);
  }
}
