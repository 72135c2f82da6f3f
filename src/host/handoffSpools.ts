import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { finishRestore } from '../git/restore';
import { openHandoffs } from '../handoff/ownership';
import { IncomingHandoff } from './incomingHandoff';
import type { LedgerStore } from './ledgerStore';
import type { Log } from './log';
import { handoffId } from './protocol';
import { describeError } from './wireError';

/** How the names of the spools of preflights begin. */
export const PREFLIGHT_SPOOL = 'preflight-';

/**
 * Removes from `handoffs/` what a host before this one left there because it ended first: preflights, whose answer nobody waits for
 * any more, and handoffs that are over by the ledgers. (An end is journaled before its spool goes, a withdrawal after.)
 */
export async function sweepSpools({ directory, ledger, log }: { readonly directory: string; readonly ledger: LedgerStore; readonly log: Log }): Promise<void> {
  // What a reclaimed thread waited for is in the spool of the handoff by which it had left.
  const open = new Set([...ledger.entries()].flatMap(([, of]) => [...openHandoffs(of), ...(of.due === 'take' && of.source.is !== 'none' ? [of.source.handoffId] : [])]));
  for (const name of await readdir(directory)) {
    const isHandoff = handoffId.safeParse(name).success;
    if (!name.startsWith(PREFLIGHT_SPOOL) && (!isHandoff || open.has(name))) continue;
    try {
      const incoming = isHandoff ? await IncomingHandoff.load(directory, name) : null;
      // A ledger that was lost says nothing of what may be all that there is of a thread.
      if (incoming !== null && ledger.get(incoming.record.threadId).destination.is === 'none') continue;
      if (incoming !== null) await finishRestore(incoming.quarantine);
      await rm(join(directory, name), { recursive: true, force: true });
    } catch (error) {
      log.warn(`What is left of ${isHandoff ? `handoff ${name}` : 'a preflight'} could not be removed: ${describeError(error).message}`);
    }
  }
}
