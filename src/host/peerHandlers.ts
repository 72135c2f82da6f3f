import { HostError } from './hostError';
import type { PeerHandlers } from './peerLink';
import { PROTOCOL_VERSION } from './protocol';
import type { HostService } from './service';
import { batonVersion } from './version';
import { answerPeer } from './worktreeMethods';

/** What a host answers to its peers, method by method (peerProtocol.ts says what each is for). */
export function peerHandlers(host: HostService): PeerHandlers {
  return {
    'host/hello': async (params, link) => {
      await host.trust.peers.rename(link.hostId, params.name);
      await host.codex.ready().catch(() => undefined);
      return { protocolVersion: PROTOCOL_VERSION, name: host.name, batonVersion, codexVersion: host.codex.version };
    },
    'host/callBack': async ({ ticket }, link) => {
      await host.network.callBack(link.hostId, ticket);
      return {};
    },
    'handoff/offer': (params, link) => host.destination.answers.offer(params, link.hostId),
    'handoff/divergence': (params, link) => host.destination.answers.divergence(params, link.hostId),
    'handoff/negotiate': (params) => host.destination.answers.negotiate(params),
    'handoff/lfs': (params) => host.destination.answers.heldLfs(params),
    'handoff/lacking': (params) => host.destination.answers.lacking(params),
    'handoff/begin': (params, link) => host.destination.begin(params, link),
    'handoff/receive': (params, link) => host.destination.receive(params, link),
    'handoff/prepare': (params, link) => host.destination.prepare(params, link),
    'handoff/commit': (params, link) => host.destination.commit(params, link),
    'handoff/withdraw': (params, link) => host.destination.withdraw(params, link),
    'handoff/outcome': ({ handoffId, threadId }, link) => Promise.resolve({ outcome: host.handoffs.outcome(handoffId, threadId, link.hostId) }),
    'handoff/claims': (params, link) => host.claims.hear(params, link),
    'handoff/preview': ({ threadId, included, choice }, link) => {
      requireFetchable(host, threadId, link.hostId);
      return host.preflight({ threadId }, link.hostId, { included: included === true ? 'show' : null, choice: choice ?? null });
    },
    'handoff/request': async ({ threadId, included, choice }, link) => {
      await host.audit.append({ type: 'handoff-requested', threadId, peer: link.hostId, by: `host:${link.hostId}` });
      requireFetchable(host, threadId, link.hostId);
      return { handoffId: await host.handoffs.start({ threadId }, link.hostId, { by: `host:${link.hostId}`, requestedBy: link.hostId, included: included ?? null, choice: choice ?? null }) };
    },
    'handoff/wait': ({ handoffId }, link) => host.handoffs.wait(handoffId, link.hostId),
    'handoff/cancel': ({ handoffId }, link) => host.handoffs.cancel(handoffId, link.hostId),
    'host/ask': async ({ method, params }, link) => {
      const access = host.trust.peer(link.hostId)?.role === 'operator' ? host.trust.access(link.hostId) : undefined;
      if (access === undefined) throw new HostError('not-permitted', `${host.name} does not let your host steer it. Pair the hosts with "baton invite --role operator" made there.`);
      return { result: await answerPeer(host, method, params, access) };
    },
  };
}

/** A peer may take back what came from it; only an operator may take any thread of this host. */
function requireFetchable(host: HostService, threadId: string, by: string): void {
  if (host.ledger.cameFrom(threadId) === by || host.trust.peer(by)?.role === 'operator') return;
  throw new HostError('not-permitted', `That thread did not come from your host, so it cannot be taken from there. Hand it off on ${host.name}, or pair the hosts with "baton invite --role operator" made there.`);
}
