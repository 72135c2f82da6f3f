import { realpath } from 'node:fs/promises';
import { resolveCodex } from '../codex/executable';
import { readRepository, readRepositoryIdentity } from '../git/repository';
import type { Implementations } from './controllers';
import { deviceMethods } from './deviceMethods';
import { machineProbes, runDoctor } from './doctor';
import { HostError } from './hostError';
import { ownershipMethods } from './ownershipMethods';
import { sshMethods } from './sshMethods';
import { PROTOCOL_VERSION, type HostDetails, type HostSummary } from './protocol';
import type { HostService } from './service';
import type { Subject } from './sourcePorts';
import { remoteControlMethods } from './remoteControlMethods';
import { tunnelMethods } from './tunnelMethods';
import { batonVersion } from './version';
import { answerPeer, worktreeMethods } from './worktreeMethods';

/** How long a peer may take to say that it is there. */
const PROBE_TIMEOUT_MS = 4_000;

/** What a host does for its controllers, method by method (protocol.ts says what each is for). */
export function hostMethods(host: HostService): Implementations {
  return {
    'host/read': () => Promise.resolve(details(host)),
    'host/list': async () => ({ hosts: await hosts(host) }),
    'host/rename': async ({ name }) => {
      await host.settings.change({ name });
      host.changed('hosts');
      return details(host);
    },
    'host/setRelay': async ({ url }) => {
      await host.settings.change({ relayUrl: url });
      host.remoteControl.apply();
      return details(host);
    },
    'host/invite': async (wish, { by }) => {
      await host.remoteControl.requireInvitable(wish.role);
      return host.network.pairing.invite({ ...wish, by });
    },
    'host/join': async ({ invite, relayUrl: at }) => {
      const { relayUrl, ...joined } = await host.network.pairing.join(invite, at ?? null);
      await host.useRelay(relayUrl);
      return joined;
    },
    'host/stop': () => {
      setImmediate(() => void host.close());
      return Promise.resolve({ stopped: true as const });
    },
    'host/doctor': async () => {
      await host.remoteControl.look();
      const { relayUrl } = host.settings.value;
      const { closedBecause } = host.remoteControl;
      const otherWays = host.trust.peers.list().some(({ ssh, address, comes }) => comes || ssh.length > 0 || address !== null);
      return { checks: await runDoctor({ ...host.options, relayUrl, otherWays, closedBecause }, machineProbes(host.options.env, () => resolveCodex({ env: host.options.env }))) };
    },
    'host/thread': async ({ threadId }) => ({
      thread: (await host.threads.read(threadId)) as never,
      plan: host.codex.planOf(threadId) ?? (await host.arrival.plan(threadId)),
      approvals: host.approvals.list(threadId),
    }),
    'project/add': async ({ directory }) => {
      const repository = await readRepository(directory);
      const identity = await readRepositoryIdentity(repository.root);
      if (identity.rootCommits.length === 0 && identity.remotes.length === 0) throw new HostError('not-a-repository', `${directory} has no commit and no remote yet, so other clones of it cannot be recognised. Commit something first.`);
      const project = await host.projects.add({ root: await realpath(repository.root), subdirectory: repository.subdirectory, identity });
      host.changed('projects');
      return { project };
    },
    'project/list': () => Promise.resolve({ projects: [...host.projects.list()] }),
    'project/remove': async ({ id }) => {
      const removed = await host.projects.remove(id);
      host.changed('projects');
      return { removed };
    },
    ...deviceMethods(host),
    ...remoteControlMethods(host),
    ...tunnelMethods(host),
    ...sshMethods(host),
    ...worktreeMethods(host),
    ...ownershipMethods(host),
    'host/follow': ({ host: hostId }, { ended }) => Promise.resolve(host.followed.follow(hostId, ended)),
    'host/unfollow': ({ host: hostId }, { ended }) => Promise.resolve({ followed: host.followed.unfollow(hostId, ended) }),
    'host/ask': async ({ host: hostId, method, params }, caller) =>
      hostId === host.hostId ? { result: await answerPeer(host, method, params, caller) } : (await host.network.connect(hostId)).call('host/ask', { method, params }),
    'worktree/apply': ({ plan, ...wish }) => host.applies.apply({ ...wish, plan: plan ?? null }),
    'worktree/undoApply': (wish) => host.applies.undo(wish),
    'handoff/preflight': async ({ to, from, included, choice, ...given }) => {
      const subject = subjectOf(given);
      if (from === undefined || from === host.hostId) return host.preflight(subject, destinationId(host, to), { included: included === true ? 'show' : null, choice: choice ?? null });
      const threadId = fetched(host, subject, to);
      return host.handoffs.preview({ threadId, included, choice }, await host.network.connect(from));
    },
    'handoff/start': async ({ to, from, askedBy, included, choice, ...given }, { by }) => {
      const subject = subjectOf(given);
      if (from !== undefined && from !== host.hostId) {
        const threadId = fetched(host, subject, to);
        return { handoffId: await host.handoffs.request({ threadId, included, choice }, await host.network.connect(from)) };
      }
      if ('threadId' in subject && askedBy === subject.threadId) {
        throw new HostError('own-thread', 'A thread cannot hand itself off: its own turn would be interrupted before the handoff is done. Run the command outside the thread.');
      }
      await host.audit.append({ type: 'handoff-requested', threadId: 'threadId' in subject ? subject.threadId : null, peer: to, by });
      return { handoffId: await host.handoffs.start(subject, destinationId(host, to), { by, included: included ?? null, choice: choice ?? null }) };
    },
    'handoff/wait': ({ handoffId }) => host.handoffs.wait(handoffId),
    'handoff/cancel': ({ handoffId }) => host.handoffs.cancel(handoffId),
    'approval/list': (params) => Promise.resolve({ approvals: host.approvals.list(params?.threadId) }),
    'approval/decide': async ({ id, digest, decision, answers }, { by, threadId }) => {
      if (threadId !== null && !host.approvals.list(threadId).some((approval) => approval.id === id)) throw new HostError('no-such-approval', `The thread ${threadId} waits for no approval ${id}.`);
      await host.approvals.decide(id, digest, decision, answers ?? {}, by);
      return { decided: true as const };
    },
  };
}

function details(host: HostService): HostDetails {
  const { hostId, name, codex, network, settings, remoteControl } = host;
  const relay = network.relayStatus;
  return {
    hostId,
    name,
    batonVersion,
    protocolVersion: PROTOCOL_VERSION,
    codexVersion: codex.version,
    codexHome: codex.codexHome,
    platform: process.platform,
    pid: process.pid,
    // Away from its relay by an administrator's word, and not for want of one.
    relay: relay.url === null && settings.value.relayUrl !== null ? { ...relay, url: settings.value.relayUrl, message: remoteControl.closedBecause } : relay,
  };
}

async function hosts({ hostId, name, codex, trust: { peers }, network, sshHosts }: HostService): Promise<HostSummary[]> {
  const others = await Promise.all(
    peers.list().map(async (peer) => {
      const answer = await network.probe(peer.hostId, AbortSignal.timeout(PROBE_TIMEOUT_MS));
      return { hostId: peer.hostId, name: answer?.name ?? peer.name, online: answer !== null, self: false, codexVersion: answer?.codexVersion ?? null, note: answer === null ? null : sshHosts.note(peer.hostId) };
    }),
  );
  return [{ hostId, name, online: true, self: true, codexVersion: codex.version }, ...others];
}

function subjectOf({ threadId, directory, prompt }: { threadId?: string | undefined; directory?: string | undefined; prompt?: string | undefined }): Subject {
  if (threadId !== undefined) return { threadId };
  if (directory !== undefined) return { directory, prompt: prompt ?? '' };
  throw new HostError('invalid-params', 'A handoff needs a threadId, or the directory in which a thread is to begin.');
}

/** The thread that is to be fetched from another host. */
function fetched(host: HostService, subject: Subject, to: string): string {
  if (to !== host.hostId || !('threadId' in subject)) throw new HostError('invalid-params', 'Only a thread can be fetched from another host, and only to this one.');
  return subject.threadId;
}

function destinationId(host: HostService, to: string): string {
  if (to === host.hostId) throw new HostError('same-host', 'The thread is on this host already. To fetch one from another host, name it with "from".');
  return to;
}
