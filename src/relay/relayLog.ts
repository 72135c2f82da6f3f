/** One thing that happened, for the log: ids, sizes and times, and nothing of what passes. */
export interface RelayEvent {
  readonly event:
    | 'listening' | 'draining' | 'closed' | 'settings-read' | 'settings-refused'
    | 'registered' | 'unregistered' | 'replaced' | 'claim-refused' | 'proof-refused' | 'permit-given' | 'permit-refused' | 'not-admitted'
    | 'presence-lost' | 'presence-found'
    | 'dial-refused' | 'dial-redirected' | 'paired' | 'pair-ended';
  readonly hostId?: string;
  readonly status?: number;
  readonly bytes?: number;
  readonly milliseconds?: number;
  /** For a person: what is wrong with the relay's own settings. */
  readonly message?: string;
}
export type RelayLog = (event: RelayEvent) => void;
