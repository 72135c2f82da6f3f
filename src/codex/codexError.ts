/** Why something with Codex failed. Stable words: callers branch on them. */
export type CodexErrorReason =
  /** No Codex on this machine, or what BATON_CODEX names cannot be run. */
  | 'codex-not-found'
  | 'codex-too-old'
  /** The app-server did not come up, or answers for another Codex home. */
  | 'codex-unavailable'
  /** The thread's model provider is not configured on this machine. */
  | 'provider-missing'
  /** Another process holds the thread's writer lock. */
  | 'thread-in-use'
  | 'thread-not-found'
  | 'thread-archived'
  /** The app-server went on saying that it is overloaded. */
  | 'overloaded'
  /** The app-server or the connection to it went away before the answer came. */
  | 'connection-lost'
  | 'timed-out'
  /** The app-server said no for some other reason, which the message quotes. */
  | 'refused'
  /** The app-server answered in a shape that this version of Baton does not know. */
  | 'protocol-unknown'
  | 'rollout-invalid'
  /** Kept as .jsonl.zst, which Node cannot read everywhere. */
  | 'rollout-compressed'
  | 'rollout-missing'
  /** The rollout here is not a prefix of the one that would replace it. */
  | 'rollout-diverged';

/** An error of `src/codex`. Its message says what failed, on what, why, and what to do. */
export class CodexError extends Error {
  override readonly name = 'CodexError';
  constructor(
    readonly reason: CodexErrorReason,
    message: string,
    options: { readonly cause?: unknown } = {},
  ) {
    super(message, options);
  }
  static is(error: unknown, reason?: CodexErrorReason): error is CodexError {
    return error instanceof CodexError && (reason === undefined || error.reason === reason);
  }
}
