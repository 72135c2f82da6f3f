/** One thing that happened, for the log: ids, sizes and times, and nothing of what passes. */
export interface RelayEvent {
  readonly event:
    | 'listening' | 'draining' | 'closed' | 'settings-read' | 'settings-refused'
    | 'registered' | 'unregistered' | 'replaced' | 'claim-refused' | 'proof-refused' | 'permit-given' | 'permit-refused' | 'not-admitted'
    | 'presence-lost' | 'presence-found'
    | 'proxy-refused' | 'dial-refused' | 'dial-redirected' | 'paired' | 'pair-ended';
  readonly hostId?: string;
  /** Whom `hostId` asked to be let in. */
  readonly forHostId?: string;
  readonly status?: number;
  readonly bytes?: number;
  readonly milliseconds?: number;
  /** For a person: what is wrong with the relay's own settings. */
  readonly message?: string;
}
/** What anybody can bring about without a right. The first in a minute is logged, with its reason; all are counted. */
export const refusals: ReadonlySet<RelayEvent['event']> = new Set(['claim-refused', 'proof-refused', 'permit-refused', 'not-admitted', 'proxy-refused', 'dial-refused']);
export type RelayLog = (event: RelayEvent) => void;
