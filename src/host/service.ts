import { mkdir, realpath } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { resolveCodex } from '../codex/executable';
import { readRepository, readRepositoryIdentity, sameRepository, type RepositoryIdentity } from '../git/repository';
import { ApprovalBroker, carriedApprovals } from './approvalBroker';
import { isApprovalMethod } from './approvalRequest';
import { AuditLog } from './audit';
import { CodexHost } from './codexHost';
import { Controllers, type Implementations } from './controllers';
import { machineProbes, runDoctor } from './doctor';
import { HandoffDestination } from './handoffDestination';
import { Handoffs } from './handoffs';
import type { Subject } from './handoffSource';
import { ensurePrivateDirectory, type Environment } from './home';
import { HostError } from './hostError';
import { loadIdentity, type Identity } from './identity';
import { JsonStore } from './jsonStore';
import { LedgerStore } from './ledgerStore';
import { listenLocal } from './localServer';
import { localSocketPath } from './localSocket';
import type { Log } from './log';
import { ManagedWorktrees, worktreeRecords } from './managedWorktrees';
import { PeerNetwork } from './peerNetwork';
import { PeerStore } from './peers';
import { ProjectStore } from './projects';
import { PROTOCOL_VERSION, type HostDetails, type HostSummary, type InitializeResult, type NotificationOf, type Role } from './protocol';
import { SettingsStore } from './settings';
import { ThreadHandoff } from './threadHandoff';
import { Threads } from './threads';

declare const BATON_VERSION: string;
/** Version of this build; the bundler puts it in. */
export const batonVersion = typeof BATON_VERSION === 'string' ? BATON_VERSION : '0.0.0-source';

export interface HostOptions {
  readonly batonHome: string;
  readonly codexHome: string;
  /** Remembered for later starts; undefined keeps what was remembered. */
  readonly relayUrl?: string;
  readonly name?: string;
  readonly env: Environment;
  readonly log: Log;
}

export interface RunningHost {
  readonly hostId: string;
  readonly name: string;
  /** Resolves when the host has ended, for whatever reason. */
  readonly closed: Promise<void>;
  close(): Promise<void>;
}

const PROBE_TIMEOUT_MS = 4_000;
/** How often a destination asks after handoffs whose source fell silent. */
const OUTCOME_INTERVAL_MS = 60_000;

/** Runs this account's host until it is closed. Throws HostError `host-already-running`, `state-invalid`, `identity-invalid`. */
export async function runHost(options: HostOptions): Promise<RunningHost> {
  await ensurePrivateDirectory(options.batonHome);
  // Controllers that come while the host is still being put together wait here.
  let open: (service: HostService) => void = () => undefined;
  let fail: (error: unknown) => void = () => undefined;
  const ready = new Promise<HostService>((resolve, reject) => {
    open = resolve;
    fail = reject;
  });
  ready.catch(() => undefined);
  const local = await listenLocal({
    batonHome: options.batonHome,
    log: options.log,
    onConnection: (stream) => {
      ready.then(
        (service) => service.controllers.serve(stream, 'operator'),
        () => stream.destroy(),
      );
    },
  });
  try {
    const service = await HostService.open(options, () => local.close());
    open(service);
    return service;
  } catch (error) {
    fail(error);
    await local.close();
    throw error;
  }
}

/** One host: the app-server, the projects, worktrees, peers, ledger and approvals of one account, behind one protocol. */
export class HostService implements RunningHost {
  readonly controllers: Controllers;
  readonly closed: Promise<void>;
  private resolveClosed: () => void = () => undefined;
  private closing: Promise<void> | null = null;
  private readonly codex: CodexHost;
  private readonly threads: Threads;
  private readonly approvals: ApprovalBroker;
  private readonly network: PeerNetwork;
  private readonly handoffs: Handoffs;
  private readonly destination: HandoffDestination;
  private readonly threadHandoff: ThreadHandoff;
  private readonly audit: AuditLog;
  private readonly outcomeTimer: NodeJS.Timeout;

  static async open(options: HostOptions, closeLocal: () => Promise<void>): Promise<HostService> {
    const { batonHome } = options;
    const directory = join(batonHome, 'handoffs');
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const [identity, settings, peers, projects, ledger, worktrees, carried] = await Promise.all([
      loadIdentity({ batonHome }),
      SettingsStore.open(batonHome),
      PeerStore.open(batonHome),
      ProjectStore.open(batonHome),
      LedgerStore.open(join(batonHome, 'ledger')),
      JsonStore.open(join(batonHome, 'worktrees.json'), worktreeRecords, []),
      JsonStore.open(join(batonHome, 'approvals.json'), carriedApprovals, { pending: [], granted: [] }),
    ]);
    if (options.relayUrl !== undefined || options.name !== undefined) {
      await settings.change({ ...(options.relayUrl === undefined ? {} : { relayUrl: options.relayUrl }), ...(options.name === undefined ? {} : { name: options.name }) });
    }
    const service = new HostService(options, closeLocal, identity, settings, peers, projects, ledger, new ManagedWorktrees(join(batonHome, 'worktrees'), worktrees), carried, directory);
    await service.begin();
    return service;
  }

  private constructor(
    private readonly options: HostOptions,
    private readonly closeLocal: () => Promise<void>,
    private readonly identity: Identity,
    private readonly settings: SettingsStore,
    private readonly peers: PeerStore,
    private readonly projects: ProjectStore,
    ledger: LedgerStore,
    private readonly worktrees: ManagedWorktrees,
    carried: JsonStore<typeof carriedApprovals>,
    directory: string,
  ) {
    const { batonHome, codexHome, env, log } = options;
    this.closed = new Promise((resolve) => {
      this.resolveClosed = resolve;
    });
    this.audit = new AuditLog(join(batonHome, 'audit'));
    this.codex = new CodexHost({ batonHome, codexHome, socketDirectory: dirname(localSocketPath(batonHome)), env, version: batonVersion, log });
    this.threads = new Threads(identity.hostId, this.codex, ledger, worktrees, (threadId) => this.approvals.list(threadId).length);
    this.controllers = new Controllers({
      implementations: this.implementations(),
      log,
      initialize: (role) => this.initialize(role),
      forward: (method, params) => this.threads.forward(method, params),
    });
    this.approvals = new ApprovalBroker({
      hostId: identity.hostId,
      audit: this.audit,
      store: carried,
      epochOf: (threadId) => ledger.get(threadId).epoch,
      threadRoot: async (threadId) => (await this.codex.settingsOf(threadId)).cwd,
      changesOf: (itemId) => this.codex.changesOf(itemId),
      tellAgent: async (threadId, text) => {
        await this.threads.forward('turn/start', { threadId, input: [{ type: 'text', text }] });
      },
      onRequested: (approval) => this.controllers.notify('approval/requested', { approval }),
      onResolved: (id, threadId, decision) => this.controllers.notify('approval/resolved', { id, threadId, decision }),
      now: () => new Date(),
    });

    this.threadHandoff = new ThreadHandoff(this.codex, this.approvals, worktrees, log, () => this.settings.value.name);
    const shared = {
      hostId: identity.hostId,
      name: () => this.settings.value.name,
      directory,
      ledger,
      worktrees,
      audit: this.audit,
      log,
      peerName: (hostId: string) => this.peers.get(hostId)?.name ?? hostId.slice(0, 8),
      onChanged: () => this.changed('threads', 'worktrees'),
    };
    this.network = new PeerNetwork({
      keyPair: identity.keyPair,
      name: shared.name,
      peers,
      log,
      onTransfer: (channel) => void this.destination.transfer(channel),
      onProgress: (progress) => this.controllers.notify('handoff/progress', progress),
      onChanged: (what) => this.changed(what),
      handlers: {
        'host/hello': async (params, link) => {
          await this.peers.rename(link.hostId, params.name);
          await this.codex.ready().catch(() => undefined);
          return { protocolVersion: PROTOCOL_VERSION, name: this.settings.value.name, batonVersion, codexVersion: this.codex.version };
        },
        'handoff/offer': (params) => this.destination.offer(params),
        'handoff/begin': (params, link) => this.destination.begin(params, link),
        'handoff/receive': (params, link) => this.destination.receive(params, link),
        'handoff/prepare': (params, link) => this.destination.prepare(params, link),
        'handoff/commit': (params, link) => this.destination.commit(params, link),
        'handoff/withdraw': (params, link) => this.destination.withdraw(params, link),
        'handoff/outcome': ({ handoffId, threadId }, link) => Promise.resolve({ outcome: this.handoffs.outcome(handoffId, threadId, link.hostId) }),
        'handoff/preview': ({ threadId }, link) => {
          this.requireFetchable(ledger.get(threadId).cameFrom, link.hostId);
          return this.handoffs.preflight({ threadId }, link.hostId);
        },
        'handoff/request': async ({ threadId }, link) => {
          await this.audit.append({ type: 'handoff-requested', threadId, by: `host:${link.hostId}` });
          this.requireFetchable(ledger.get(threadId).cameFrom, link.hostId);
          return { handoffId: await this.handoffs.start({ threadId }, link.hostId, `host:${link.hostId}`, link.hostId) };
        },
        'handoff/wait': ({ handoffId }, link) => this.handoffs.wait(handoffId, link.hostId),
        'handoff/cancel': ({ handoffId }, link) => this.handoffs.cancel(handoffId, link.hostId),
      },
    });
    this.handoffs = new Handoffs({
      ...shared,
      connect: (hostId, signal) => this.network.connect(hostId, signal),
      openTransfer: (hostId, signal) => this.network.openTransfer(hostId, signal),
      requireOwner: (threadId) => this.threads.requireOwner(threadId),
      describe: (subject) => this.threadHandoff.describe(subject),
      rolloutSizes: (threadId) => this.threadHandoff.rolloutSizes(threadId),
      quiesce: (threadId, signal) => this.threadHandoff.quiesce(threadId, signal),
      rollouts: (threadId) => this.threadHandoff.rollouts(threadId),
      unquiesce: (threadId, carriedThread) => this.threadHandoff.unquiesce(threadId, carriedThread),
      markMoved: (handoff) => this.threadHandoff.markMoved(handoff),
      onProgress: (handoff, phase, message, bytesDone, bytesTotal) => {
        const progress = { handoffId: handoff.handoffId, threadId: handoff.threadId, phase, message, bytesDone, bytesTotal };
        this.controllers.notify('handoff/progress', progress);
        const requester = this.handoffs.requester(handoff.handoffId);
        if (requester !== null) void this.network.connect(requester).then((link) => link.progress(progress), () => undefined);
      },
      onEnded: (ended) => this.controllers.notify('handoff/ended', ended),
    });
    this.destination = new HandoffDestination({
      ...shared,
      projectsOf: (repository) => this.projectsOf(repository),
      codexFacts: () => this.codex.facts(),
      hasThread: (threadId) => this.threadHandoff.hasThread(threadId),
      heldRollouts: (names) => this.threadHandoff.heldRollouts(names),
      stageRollouts: (incoming, announced, cwd) => this.threadHandoff.stageRollouts(incoming, announced, cwd),
      activate: (arrival) => this.threadHandoff.activate(arrival),
    });

    this.codex.on('notification', (method, params) => {
      if (method === 'serverRequest/resolved') this.approvals.settled((params as { requestId: string | number }).requestId);
      this.controllers.broadcast(method, params);
    });
    this.codex.on('request', (request) => {
      if (!isApprovalMethod(request.method)) return;
      const answer = (result: unknown) => void this.codex.ready().then((server) => server.reply(request, result as never));
      this.approvals.request(request.id, request.method, request.params, answer).catch((error: unknown) => log.error(`An approval request could not be shown: ${error instanceof Error ? error.message : String(error)}`));
    });
    this.codex.on('changed', () => this.changed('hosts', 'threads'));
    this.outcomeTimer = setInterval(() => void this.recoverDestination(), OUTCOME_INTERVAL_MS);
    this.outcomeTimer.unref();
  }

  get hostId(): string {
    return this.identity.hostId;
  }

  get name(): string {
    return this.settings.value.name;
  }

  private async begin(): Promise<void> {
    this.network.setRelay(this.settings.value.relayUrl);
    // Without Codex the host still pairs, lists and explains; "baton doctor" says what is missing.
    await this.codex.ready().catch((error: unknown) => this.options.log.error(`Codex is not available: ${error instanceof Error ? error.message : String(error)}`));
    this.handoffs.recover();
    void this.recoverDestination();
  }

  private async recoverDestination(): Promise<void> {
    await this.destination.recover(async (source, handoffId, threadId) => {
      try {
        const link = await this.network.connect(source, AbortSignal.timeout(PROBE_TIMEOUT_MS));
        return (await link.call('handoff/outcome', { handoffId, threadId }, AbortSignal.timeout(PROBE_TIMEOUT_MS))).outcome;
      } catch {
        return null;
      }
    });
  }

  /** Ends the host: the app-server interrupts its turns and stops, channels close. What is journaled goes on at the next start. */
  close(): Promise<void> {
    this.closing ??= (async () => {
      clearInterval(this.outcomeTimer);
      this.handoffs.dispose();
      this.network.dispose();
      await this.codex.stop();
      await this.closeLocal();
      this.resolveClosed();
    })();
    return this.closing;
  }

  private changed(...what: NotificationOf<'host/changed'>['what']): void {
    this.controllers.notify('host/changed', { what });
  }

  private async initialize(role: Role): Promise<InitializeResult> {
    await this.codex.ready().catch(() => undefined);
    const { hostId, name } = this;
    const codex = this.codex.version === null ? {} : { userAgent: `baton/${batonVersion} codex/${this.codex.version}`, codexHome: this.codex.codexHome, platformOs: process.platform };
    return { ...codex, baton: { protocolVersion: PROTOCOL_VERSION, hostId, name, role } };
  }

  private details(): HostDetails {
    return {
      hostId: this.hostId,
      name: this.name,
      batonVersion,
      protocolVersion: PROTOCOL_VERSION,
      codexVersion: this.codex.version,
      codexHome: this.codex.codexHome,
      platform: process.platform,
      pid: process.pid,
      relay: this.network.relayStatus,
    };
  }

  private async hosts(): Promise<HostSummary[]> {
    const { hostId, name } = this;
    const others = await Promise.all(
      this.peers.list().map(async (peer) => {
        const answer = await this.network.probe(peer.hostId, AbortSignal.timeout(PROBE_TIMEOUT_MS));
        return { hostId: peer.hostId, name: answer?.name ?? peer.name, online: answer !== null, self: false, codexVersion: answer?.codexVersion ?? null };
      }),
    );
    return [{ hostId, name, online: true, self: true, codexVersion: this.codex.version }, ...others];
  }

  private async projectsOf(repository: RepositoryIdentity) {
    const matching = [];
    for (const { root, subdirectory, identity } of this.projects.list()) {
      if (!sameRepository(identity, repository)) continue;
      // A saved folder may be gone, or another repository by now.
      const present = await readRepositoryIdentity(root).catch(() => null);
      if (present !== null && sameRepository(present, repository)) matching.push({ root, subdirectory });
    }
    return matching;
  }

  private subject({ threadId, directory, prompt }: { threadId?: string | undefined; directory?: string | undefined; prompt?: string | undefined }): Subject {
    if (threadId !== undefined) return { threadId };
    if (directory !== undefined) return { directory, prompt: prompt ?? '' };
    throw new HostError('invalid-params', 'A handoff needs a threadId, or the directory in which a thread is to begin.');
  }

  private implementations(): Implementations {
    return {
      'host/read': () => Promise.resolve(this.details()),
      'host/list': async () => ({ hosts: await this.hosts() }),
      'host/rename': async ({ name }) => {
        await this.settings.change({ name });
        this.changed('hosts');
        return this.details();
      },
      'host/setRelay': async ({ url }) => {
        await this.settings.change({ relayUrl: url });
        this.network.setRelay(url);
        return this.details();
      },
      'host/invite': ({ role }) => Promise.resolve(this.network.invite(role)),
      'host/join': async ({ invite }) => {
        const joined = await this.network.join(invite);
        // Without a relay of its own this host could not be called back.
        if (this.settings.value.relayUrl === null) {
          await this.settings.change({ relayUrl: joined.relayUrl });
          this.network.setRelay(joined.relayUrl);
        }
        await this.audit.append({ type: 'host-paired', hostId: joined.hostId, role: 'peer' });
        return { hostId: joined.hostId, name: joined.name };
      },
      'host/stop': () => {
        setImmediate(() => void this.close());
        return Promise.resolve({ stopped: true as const });
      },
      'host/doctor': async () => ({
        checks: await runDoctor({ ...this.options, relayUrl: this.settings.value.relayUrl }, machineProbes(this.options.env, () => resolveCodex({ env: this.options.env }))),
      }),
      'host/thread': async ({ threadId }) => ({
        thread: (await this.threads.read(threadId)) as never,
        plan: this.codex.planOf(threadId) ?? (await this.threadHandoff.plan(threadId)),
        approvals: this.approvals.list(threadId),
      }),
      'project/add': async ({ directory }) => {
        const repository = await readRepository(directory);
        const identity = await readRepositoryIdentity(repository.root);
        if (identity.rootCommits.length === 0 && identity.remotes.length === 0) throw new HostError('not-a-repository', `${directory} has no commit and no remote yet, so other clones of it cannot be recognised. Commit something first.`);
        const project = await this.projects.add({ root: await realpath(repository.root), subdirectory: repository.subdirectory, identity });
        this.changed('projects');
        return { project };
      },
      'project/list': () => Promise.resolve({ projects: [...this.projects.list()] }),
      'project/remove': async ({ id }) => {
        const removed = await this.projects.remove(id);
        this.changed('projects');
        return { removed };
      },
      'worktree/list': async () => ({ worktrees: await this.worktrees.list() }),
      'handoff/preflight': async ({ to, from, ...given }) => {
        const subject = this.subject(given);
        if (from === undefined || from === this.hostId) return this.handoffs.preflight(subject, this.destinationId(to));
        const threadId = this.fetched(subject, to);
        return (await this.network.connect(from)).call('handoff/preview', { threadId });
      },
      'handoff/start': async ({ to, from, askedBy, ...given }) => {
        const subject = this.subject(given);
        if (from !== undefined && from !== this.hostId) {
          const threadId = this.fetched(subject, to);
          return { handoffId: await this.handoffs.request(threadId, await this.network.connect(from)) };
        }
        if ('threadId' in subject && askedBy === subject.threadId) {
          throw new HostError('own-thread', 'A thread cannot hand itself off: its own turn would be interrupted before the handoff is done. Run the command outside the thread.');
        }
        return { handoffId: await this.handoffs.start(subject, this.destinationId(to), 'local') };
      },
      'handoff/wait': ({ handoffId }) => this.handoffs.wait(handoffId),
      'handoff/cancel': ({ handoffId }) => this.handoffs.cancel(handoffId),
      'approval/list': (params) => Promise.resolve({ approvals: this.approvals.list(params?.threadId) }),
      'approval/decide': async ({ id, digest, decision, answers }) => {
        await this.approvals.decide(id, digest, decision, answers ?? {}, 'local');
        return { decided: true as const };
      },
    };
  }

  /** The thread that is to be fetched from another host. */
  private fetched(subject: Subject, to: string): string {
    if (to !== this.hostId || !('threadId' in subject)) throw new HostError('invalid-params', 'Only a thread can be fetched from another host, and only to this one.');
    return subject.threadId;
  }

  /** A peer may take back what came from it; only an operator may take any thread of this host. */
  private requireFetchable(cameFrom: string | null, by: string): void {
    if (cameFrom === by || this.peers.get(by)?.role === 'operator') return;
    throw new HostError('not-permitted', `That thread did not come from your host, so it cannot be taken from there. Hand it off on ${this.name}, or pair the hosts with "baton invite --role operator" made there.`);
  }

  private destinationId(to: string): string {
    if (to === this.hostId) throw new HostError('same-host', 'The thread is on this host already. To fetch one from another host, name it with "from".');
    return to;
  }
}
