import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { verifyThread } from './verifyThread';
import type { Implementations } from './controllers';
import { findHandoff, listHandoffs } from './handoffList';
import { PREFLIGHT_SPOOL } from './handoffSpools';
import type { HostService } from './service';

const NEWEST_EVENTS = 200;

type Method = 'handoff/list' | 'handoff/resume' | 'handoff/abort' | 'handoff/reclaim' | 'handoff/verify' | 'audit/list';

/** What a host tells of its handoffs and does about those that are stuck. */
export function ownershipMethods(host: HostService): Pick<Implementations, Method> {
  const { ledger } = host;
  return {
    'handoff/list': (params) => Promise.resolve({ handoffs: listHandoffs(ledger).filter(({ open }) => open || params?.all === true) }),
    'handoff/resume': async ({ handoffId }) => {
      const { threadId, direction } = findHandoff(ledger, handoffId);
      if (direction === 'out') await host.handoffs.resume(threadId);
      else await host.destination.resume(threadId);
      return { handoff: findHandoff(ledger, handoffId) };
    },
    'handoff/abort': async ({ handoffId }) => {
      const before = findHandoff(ledger, handoffId);
      if (before.direction === 'out') await host.handoffs.abort(before.threadId, handoffId);
      else await host.destination.abort(before.threadId, handoffId);
      const handoff = findHandoff(ledger, handoffId);
      return { aborted: before.open && ['undoing', 'aborted', 'withdrawing', 'withdrawn'].includes(handoff.state), handoff };
    },
    'handoff/reclaim': ({ threadId, dryRun, force }, { by }) => host.claims.reclaim(threadId, { dryRun: dryRun ?? false, force: force ?? false }, by),
    'handoff/verify': ({ threadId }) =>
      verifyThread(threadId, ledger.get(threadId), {
        rollouts: (id) => host.departure.rollouts(id),
        directoryOf: (id) => host.threads.directoryOf(id),
        withSpool: async (act) => {
          // Named as a preflight's, so that one that a crash left is gone after the next start.
          const spool = await mkdtemp(join(host.handoffDirectory, PREFLIGHT_SPOOL));
          try {
            return await act(spool);
          } finally {
            await rm(spool, { recursive: true, force: true });
          }
        },
      }),
    'audit/list': (params) => host.audit.read({ threadId: params?.threadId ?? null, limit: params?.limit ?? NEWEST_EVENTS }),
  };
}
