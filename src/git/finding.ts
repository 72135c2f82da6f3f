/** What a person should know before a handoff; the host passes it on as the host protocol's `finding`. */
export interface GitFinding {
  readonly level: 'ok' | 'warning' | 'blocker';
  /** Stable, kebab-case. */
  readonly code: string;
  /** One sentence, with a way out where there is one. Paths in it are quoted and hold no control characters. */
  readonly message: string;
}
