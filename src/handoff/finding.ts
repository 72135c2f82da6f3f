/** What speaks for a handoff (`ok`), what its user should know before it (`warning`), or why it cannot be (`blocker`). The message is one sentence and, but for `ok`, a way out. */
export interface Finding {
  readonly level: 'ok' | 'warning' | 'blocker';
  readonly code: string;
  readonly message: string;
}
