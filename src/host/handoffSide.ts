import type { AuditLog } from './audit';
import type { LedgerStore } from './ledgerStore';
import type { Log } from './log';
import type { ManagedWorktrees } from './managedWorktrees';

/** What either side of a handoff needs of its host. */
export interface HandoffSide {
  readonly hostId: string;
  readonly name: () => string;
  /** `handoffs/` of the Baton home. */
  readonly directory: string;
  readonly ledger: LedgerStore;
  readonly worktrees: ManagedWorktrees;
  readonly audit: Pick<AuditLog, 'append'>;
  readonly log: Log;
  peerName(hostId: string): string;
  /** Threads or worktrees are to be read again. */
  onChanged(): void;
}
