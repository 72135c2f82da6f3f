/** Why the relay, a channel or an invite failed. Stable words: callers branch on them. */
export type RelayErrorReason =
  | 'relay-unreachable' | 'relay-refused' | 'not-admitted' | 'host-offline' | 'timeout' | 'cancelled' | 'setting-invalid'
  | 'invite-invalid'
  | 'handshake-failed' | 'channel-corrupt' | 'channel-truncated' | 'channel-closed' | 'channel-dead'
  | 'key-invalid' | 'pattern-unsupported' | 'decrypt-failed' | 'message-too-long' | 'nonce-exhausted' | 'handshake-misused' | 'cipher-unavailable';

/** An error with a reason that callers branch on, and a message for the local log or user. It is never sent to a peer. */
export class RelayError extends Error {
  override readonly name = 'RelayError';
  constructor(
    readonly reason: RelayErrorReason,
    message: string,
    details: { readonly cause?: unknown } = {},
  ) {
    super(message, details);
  }
  static is(error: unknown, reason?: RelayErrorReason): error is RelayError {
    return error instanceof RelayError && (reason === undefined || error.reason === reason);
  }
}
