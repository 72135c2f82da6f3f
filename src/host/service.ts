import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { resumeGoal, turnOfMessage } from '../codex/besideRollout';
import { isRunning } from '../codex/quiesce';
import { readRepositoryIdentity, sameRepository, type RepositoryIdentity } from '../git/repository';
import { localOperator } from './access';
import { Applies } from './applies';
import { ApprovalBroker, carriedApprovals } from './approvalBroker';
import { ApprovalTrail } from './approvalTrail';
import { isApprovalMethod } from './approvalRequest';
import { AuditLog } from './audit';
import { Claims } from './claims';
import { CodexClients } from './codexClients';
import { CodexHost } from './codexHost';
import { Controllers } from './controllers';
import { DeviceStore } from './devices';
import { FollowedHosts } from './followedHosts';
import { HandoffDestination } from './handoffDestination';
import { Handoffs } from './handoffs';
import { sweepSpools } from './handoffSpools';
import { HeldPolicies, heldPolicies } from './heldPolicies';
import { ensurePrivateDirectory, type Environment } from './home';
import { HostError } from './hostError';
import { hostMethods } from './hostMethods';
import { loadIdentity, type Identity } from './identity';
import { JsonStore, removeTornJson } from './jsonStore';
import { LedgerStore } from './ledgerStore';
import { listenLocal } from './localServer';
import { sortLocal } from './localDoor';
import { localSocketPath } from './localSocket';
import { KeptPlaces, keepSwept } from './keptPlaces';
import { KeptTransfers } from './keptTransfers';
import type { Log } from './log';
import { openDoorOf } from './openDoorOf';
import type { OpenHosts } from './openHosts';
import { ManagedWorktrees, worktreeRecords } from './managedWorktrees';
import { PeerNetwork } from './peerNetwork';
import { otherWriters } from './otherWriters';
import { peerHandlers } from './peerHandlers';
import { PeerStore } from './peers';
import { ProjectStore } from './projects';
import { PROTOCOL_VERSION, type InitializeResult, type NotificationOf, type Role } from './protocol';
import { reachedHosts } from './reachedHosts';
import { RemoteControl } from './remoteControl';
import { remoteControlMethods } from './remoteControlMethods';
import { RelayAccess, type RelayRight } from './relayAccess';
import { SealedBundles } from './sealedBundles';
import { RestingThreads } from './restingThreads';
import { SettingsStore, type Settings } from './settings';
import type { SshHosts } from './ssh/sshHosts';
import { SurroundingsReader } from './surroundings';
import { ThreadArrival } from './threadArrival';
import { ThreadDeparture } from './threadDeparture';
import { ThreadFork } from './threadFork';
import { Threads } from './threads';
import { Trust } from './trust';
import { batonVersion } from './version';
import { describeError } from './wireError';
import { WorktreeKeeper } from './worktreeKeeper';
import { WorktreeSweep } from './worktreeSweep';

export interface HostOptions {
  readonly batonHome: string;
  readonly codexHome: string;
  /** Remembered for later starts; undefined keeps what was remembered. */
  readonly relayUrl?: string;
  readonly name?: string;
  /** What lets this host into its relay; remembered too. */
  readonly relayRight?: RelayRight;
  /** The `baton.js` that this host was started from, which is copied to hosts that ssh finds. */
  readonly entry?: string;
  /** Where other hosts are let in; remembered, null for nowhere. */
  readonly listen?: Settings['listen'];
  /** The variables that hold tokens; they are not in `env`. */
  readonly tokens?: Environment;
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
/** How often a destination asks after handoffs whose source fell silent, and how soon again where it could not be reached. */
const OUTCOME_INTERVAL_MS = 60_000;
const OUTCOME_RETRY_MS = 1_000;

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
    onConnection: (socket) => {
      const once = (act: (service: HostService) => void) => void ready.then(act, () => socket.destroy());
      sortLocal(socket, {
        controller: (stream) => once((service) => {
          service.controllers.serve(stream, localOperator);
          stream.resume();
        }),
        brought: (stream, what) => once((service) => service.network.take(stream, what)),
      });
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
  readonly codex: CodexHost;
  readonly threads: Threads;
  readonly approvals: ApprovalBroker;
  readonly codexClients: CodexClients;
  readonly network: PeerNetwork;
  readonly followed: FollowedHosts;
  readonly sshHosts: SshHosts;
  readonly openHosts: OpenHosts;
  private closeDoor: () => Promise<void> = () => Promise.resolve();
  readonly remoteControl: RemoteControl;
  readonly handoffs: Handoffs;
  readonly destination: HandoffDestination;
  readonly claims: Claims;
  readonly arrival: ThreadArrival;
  readonly departure: ThreadDeparture;
  readonly audit: AuditLog;
  readonly keeper: WorktreeKeeper;
  readonly sweep: WorktreeSweep;
  readonly resting: RestingThreads;
  readonly applies: Applies;
  private outcomeTimer: NodeJS.Timeout | undefined;
  private stopSweeping: () => void = () => undefined;
  private readonly kept: readonly [arrived: KeptPlaces, sealed: KeptPlaces];

  static async open(options: HostOptions, closeLocal: () => Promise<void>): Promise<HostService> {
    const { batonHome } = options;
    const directory = join(batonHome, 'handoffs');
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await removeTornJson(batonHome);
    const trust = new Trust(await PeerStore.open(batonHome), await DeviceStore.open(batonHome));
    const [identity, settings, projects, ledger, worktrees, carried, policies] = await Promise.all([
      loadIdentity({ batonHome, knownBy: trust.list().length }),
      SettingsStore.open(batonHome),
      ProjectStore.open(batonHome),
      LedgerStore.open(join(batonHome, 'ledger')),
      JsonStore.open(join(batonHome, 'worktrees.json'), worktreeRecords, []),
      JsonStore.open(join(batonHome, 'approvals.json'), carriedApprovals, { pending: [], granted: [], untold: [], pausedGoals: [] }),
      JsonStore.open(join(batonHome, 'policies.json'), heldPolicies, {}),
    ]);
    await sweepSpools({ directory, ledger, log: options.log });
    const { relayUrl: wantedRelay, name: wantedName, listen: wantedDoor } = options;
    if (wantedRelay !== undefined || wantedName !== undefined || wantedDoor !== undefined) {
      await settings.change({ ...(wantedRelay === undefined ? {} : { relayUrl: wantedRelay }), ...(wantedName === undefined ? {} : { name: wantedName }), ...(wantedDoor === undefined ? {} : { listen: wantedDoor }) });
    }
    const relays = await RelayAccess.open(batonHome, identity.keyPair);
    if (options.relayRight !== undefined) {
      const { relayUrl } = settings.value;
      if (relayUrl === null) throw new HostError('relay-not-set', 'Say with --relay which relay it is that the file lets this host into.');
      await relays.save(relayUrl, options.relayRight);
    }
    const service = new HostService(options, closeLocal, identity, settings, relays, trust, projects, ledger, new ManagedWorktrees(join(batonHome, 'worktrees'), worktrees), carried, new HeldPolicies(policies), directory);
    await service.begin();
    return service;
  }

  private constructor(
    readonly options: HostOptions,
    private readonly closeLocal: () => Promise<void>,
    private readonly identity: Identity,
    readonly settings: SettingsStore,
    relays: RelayAccess,
    readonly trust: Trust,
    readonly projects: ProjectStore,
    readonly ledger: LedgerStore,
    readonly worktrees: ManagedWorktrees,
    carried: JsonStore<typeof carriedApprovals>,
    held: HeldPolicies,
    /** Spools and quarantines of handoffs. */
    readonly handoffDirectory: string,
  ) {
    const { batonHome, codexHome, env, log } = options;
    this.closed = new Promise((resolve) => {
      this.resolveClosed = resolve;
    });
    this.audit = new AuditLog(join(batonHome, 'audit'));
    this.kept = [new KeptPlaces(join(batonHome, 'arrived')), new KeptPlaces(join(batonHome, 'sealed'))];
    this.codex = new CodexHost({ batonHome, codexHome, socketDirectory: dirname(localSocketPath(batonHome)), env, version: batonVersion, log, held });
    this.threads = new Threads({
      hostId: identity.hostId,
      codex: this.codex,
      ledger,
      worktrees,
      held,
      pendingApprovals: (threadId) => this.approvals.list(threadId).length,
      atWork: (worktreeId, act) => this.keeper.atWork(worktreeId, act),
      settled: (threadId) => this.claims.settled(threadId),
    });
    const keeping = {
      worktrees, log,
      directory: join(batonHome, 'snapshots'),
      audit: this.audit,
      inUse: (threadId: string) => this.threads.inUse(threadId),
      underWay: (threadId: string) => this.threads.underWay(threadId),
      now: () => new Date(),
      onChanged: () => this.changed('worktrees'),
    };
    this.keeper = new WorktreeKeeper(keeping);
    this.sweep = new WorktreeSweep({
      ...keeping,
      retention: () => ({ keep: this.settings.value.worktreesKeep, snapshotDays: this.settings.value.snapshotDays }),
      lastApply: (threadId) => this.applies.last(threadId),
      checkouts: () => [...projects.list().map(({ root }) => root), ...worktrees.all().map(({ projectRoot }) => projectRoot)],
    }, this.keeper);
    this.controllers = new Controllers({
      implementations: hostMethods(this),
      log,
      initialize: (role) => this.initialize(role),
      forward: (method, params) => this.threads.forward(method, params),
      remoteControl: () => this.remoteControl.status(),
    });
    this.approvals = new ApprovalBroker({
      hostId: identity.hostId,
      audit: this.audit,
      store: carried,
      epochOf: (threadId) => ledger.get(threadId).epoch,
      threadRoot: async (threadId) => (await this.codex.settingsOf(threadId)).cwd,
      changesOf: async (threadId, itemId) => this.codex.changesOf(await this.codex.ready(), threadId, itemId),
      tellAgent: async (threadId, text, messageId) => {
        await this.threads.forward('turn/start', { threadId, clientUserMessageId: messageId, input: [{ type: 'text', text }] });
      },
      turnOf: (threadId, messageId) => this.codex.use.during(threadId, async () => {
        await this.codex.settingsOf(threadId);
        return turnOfMessage(await this.codex.ready(), threadId, messageId);
      }),
      resumeGoal: (threadId) => this.codex.use.during(threadId, async () => {
        await this.codex.settingsOf(threadId);
        await resumeGoal(await this.codex.ready(), threadId);
      }),
      movedTo: (threadId) => this.threads.ownership(threadId).movedTo?.name ?? null,
      onRequested: (approval) => {
        this.controllers.notify('approval/requested', { approval });
        for (const request of this.approvals.asked(approval.threadId)) this.codexClients.ask(request);
      },
      onResolved: (id, threadId, decision) => this.controllers.notify('approval/resolved', { id, threadId, decision }),
      requireOwner: (threadId) => this.threads.requireOwner(threadId),
      onLeft: (what, error) => log.warn(`${what}: ${describeError(error).message}`),
      onAuditFailed: (error) => log.error(`The audit log cannot be written: ${describeError(error).message}`),
      now: () => new Date(),
    });

    this.codexClients = new CodexClients({
      log,
      initialize: async (clientName, role) => {
        await this.codex.ready();
        const { baton, codexHome: home } = await this.initialize(role);
        return { userAgent: `${clientName}/${this.codex.version ?? ''} (baton ${batonVersion})`, codexHome: home, platformFamily: process.platform === 'win32' ? 'windows' : 'unix', platformOs: codexNameOf(process.platform), baton };
      },
      forward: (method, params) => this.threads.forward(method, params),
      own: remoteControlMethods(this),
      remoteControl: () => this.remoteControl.status(),
      asked: (threadId) => this.approvals.asked(threadId),
      answer: (id, result, caller) => this.approvals.answer(id, result, caller),
    });
    this.resting = new RestingThreads({ codex: this.codex, log, underWay: (threadId) => this.threads.underWay(threadId), isOpen: (threadId) => this.codexClients.haveOpen(threadId), now: () => performance.now() });
    const trail = new ApprovalTrail(this.audit, identity.hostId, () => this.settings.value.name);
    this.departure = new ThreadDeparture(this.codex, this.approvals, held, log, (threadId) => this.keeper.wake(threadId), trail, (threadId) => this.worktrees.ofThread(threadId)?.path ?? null);
    this.arrival = new ThreadArrival(this.codex, this.approvals, held, log, () => this.settings.value.name, trail);
    this.applies = new Applies({
      directory: join(batonHome, 'applies'),
      audit: this.audit,
      log,
      now: () => new Date(),
      held: this.threads.held,
      requireOwner: (threadId) => this.threads.requireOwner(threadId),
      worktrees,
      keeper: this.keeper,
      underWay: (threadId) => this.threads.underWay(threadId),
      departures: (threadId) => ledger.departures(threadId),
      isRunning: async (threadId) => isRunning(await this.codex.ready(), threadId),
      stop: (threadId) => this.departure.pause(threadId),
      tellAgent: (threadId, note) => this.departure.tell(threadId, note),
      onChanged: () => this.changed('worktrees'),
    });
    const shared = {
      hostId: identity.hostId,
      name: () => this.settings.value.name,
      directory: handoffDirectory,
      ledger,
      worktrees,
      audit: this.audit,
      log,
      peerName: (hostId: string) => this.trust.peers.get(hostId)?.name ?? hostId.slice(0, 8),
      onChanged: () => this.changed('threads', 'worktrees'),
    };
    ({ sshHosts: this.sshHosts, openHosts: this.openHosts } = reachedHosts({
      ...options,
      hostId: identity.hostId,
      peers: trust.peers,
      meet: async (stream, meeting) => {
        const joined = await this.network.pairing.meet(stream, meeting);
        if (meeting.relayUrl !== null) await this.useRelay(meeting.relayUrl);
        return joined;
      },
    }));
    this.network = new PeerNetwork({
      keyPair: identity.keyPair,
      ssh: this.sshHosts,
      open: this.openHosts,
      onRelay: (url) => this.useRelay(url),
      name: shared.name,
      trust,
      relays,
      audit: this.audit,
      log,
      onTransfer: (channel) => void this.destination.transfer(channel),
      onController: (channel, access) => this.controllers.serve(channel, access),
      onTunnel: (channel, access) => this.codexClients.serve(channel, access),
      onProgress: (progress) => this.controllers.notify('handoff/progress', progress),
      onChanged: (what) => {
        // What broke off with the connection to the relay, or to a host that reaches this one, can be settled now.
        if (what === 'hosts' || this.network.relayStatus.status === 'connected') {
          this.recoverDestination(0, OUTCOME_RETRY_MS);
          this.claims.later(0);
          this.followed.retry();
        }
        this.changed(what);
      },
      handlers: peerHandlers(this),
    });
    this.followed = new FollowedHosts({
      connect: (hostId, given) => this.network.openController(hostId, given),
      isKnown: (hostId) => trust.peers.get(hostId) !== undefined,
      notify: (method, params) => this.controllers.notify(method, params),
      now: () => new Date(),
    });
    this.remoteControl = new RemoteControl({
      hostId: identity.hostId,
      settings, trust, log,
      network: this.network,
      audit: this.audit,
      allowed: () => this.codex.allowsRemoteControl(),
      onChanged: (status) => {
        this.controllers.notify('remoteControl/status/changed', status);
        this.codexClients.broadcast('remoteControl/status/changed', status);
      },
    });
    const surroundings = new SurroundingsReader(this.codex, env);
    this.handoffs = new Handoffs({
      ...shared,
      sealed: new SealedBundles(this.kept[1]),
      connect: (hostId, signal) => this.network.connect(hostId, signal),
      openTransfer: (hostId, signal) => this.network.openTransfer(hostId, signal),
      requireOwner: (threadId) => this.threads.requireOwner(threadId),
      describe: async (subject) => {
        if ('threadId' in subject) await this.claims.settled(subject.threadId);
        return this.departure.describe(subject);
      },
      surroundings: (cwd, root, signal) => surroundings.of(cwd, root, signal),
      otherWriters: (root, threadId) => otherWriters(this.codex, root, threadId),
      rolloutSizes: (threadId) => this.departure.rolloutSizes(threadId),
      quiesce: (threadId, record, signal) => this.departure.quiesce(threadId, record, signal),
      rollouts: (threadId) => this.departure.rollouts(threadId),
      unquiesce: (threadId, carriedThread) => this.departure.unquiesce(threadId, carriedThread),
      markMoved: (handoff) => this.departure.markMoved(handoff),
      onProgress: (handoff, phase, message, bytesDone, bytesTotal) => {
        const progress = { handoffId: handoff.handoffId, threadId: handoff.threadId, phase, message, bytesDone, bytesTotal };
        this.controllers.notify('handoff/progress', progress);
        const requester = this.handoffs.requester(handoff.handoffId);
        if (requester !== null) void this.network.connect(requester).then((link) => link.progress(progress), () => undefined);
      },
      now: () => performance.now(),
      yieldTo: (threadId, claim) => this.claims.yieldTo(threadId, claim, 'local'),
      onEnded: (ended) => {
        this.controllers.notify('handoff/ended', ended);
        this.sweep.later();
      },
    });
    const fork = new ThreadFork({
      log,
      directory: handoffDirectory,
      codex: this.codex,
      approvals: this.approvals,
      worktrees,
      held,
      hasThread: (threadId) => this.arrival.hasThread(threadId),
      wake: (threadId) => this.keeper.wake(threadId),
      putBack: (threadId, carriedThread) => this.departure.putBack(threadId, carriedThread),
    });
    this.destination = new HandoffDestination({
      ...shared,
      kept: new KeptTransfers(this.kept[0]),
      projectsOf: (repository) => this.projectsOf(repository),
      surroundings: (theirs, place) => surroundings.own(theirs, place),
      codexHome: () => this.codex.codexHome,
      codexFacts: (modelProvider) => this.codex.facts(modelProvider),
      hasThread: (threadId) => this.arrival.hasThread(threadId),
      hasGrown: (threadId, left) => this.arrival.hasGrown(threadId, left),
      askedFor: (threadId, source) => this.handoffs.askedFor(threadId, source),
      setAside: (threadId, forkId) => fork.setAside(threadId, forkId, null),
      heldRollouts: (offered) => this.arrival.heldRollouts(offered),
      stageRollouts: (incoming, announced, cwd) => this.arrival.stageRollouts(incoming, announced, cwd),
      activate: (arrival) => this.arrival.activate(arrival),
      wake: (threadId) => this.keeper.wake(threadId),
      askOutcome: (source, handoffId, threadId) => this.askOutcome(source, handoffId, threadId),
      claimant: (threadId) => this.claims.claimant(threadId),
      onArrived: (threadId) => {
        this.sweep.later();
        return this.claims.arrived(threadId);
      },
    });

    this.claims = new Claims({
      ...shared,
      isPeer: (hostId) => trust.peer(hostId) !== undefined,
      connect: (hostId, signal) => this.network.connect(hostId, signal),
      isOnline: async (hostId) => (await this.network.probe(hostId, AbortSignal.timeout(PROBE_TIMEOUT_MS))) !== null,
      hasThread: (threadId) => this.arrival.hasThread(threadId),
      alone: (threadId, act) => this.handoffs.alone(threadId, act),
      activate: (threadId) => this.destination.resume(threadId),
      take: (threadId, from, handoffId) => fork.take(threadId, from, handoffId),
      setAside: (threadId, forkId, owner) => fork.setAside(threadId, forkId, owner),
    });

    this.codex.on('notification', (method, params) => {
      // Codex's own remote control is another one, for which a ChatGPT account is needed.
      if (method === 'remoteControl/status/changed') return;
      if (method === 'turn/completed') {
        const { threadId, turn } = params as { threadId: string; turn: { id: string } };
        this.approvals.turnEnded(threadId, turn.id);
        this.approvals.expireGrants(threadId).catch((error: unknown) => log.error(`A grant could not be ended: ${describeError(error).message}`));
      }
      if (method === 'serverRequest/resolved') this.approvals.settled((params as { requestId: string | number }).requestId);
      this.controllers.broadcast(method, params);
      this.codexClients.broadcast(method, params);
    });
    this.codex.on('request', (request, reply, refuse) => {
      if (!isApprovalMethod(request.method)) return;
      this.approvals.request(request.id, request.method, request.params, reply).catch((error: unknown) => {
        log.error(`An approval request could not be shown: ${describeError(error).message}`);
        // A turn that waits for what nobody can see would wait for ever.
        refuse('The request could not be shown to anybody.');
      });
    });
    this.codex.on('changed', () => {
      if (this.codex.version === null) this.codexClients.forget();
      if (this.codex.version === null) this.approvals.serverEnded().catch((error: unknown) => log.error(`Pending approvals could not be kept: ${describeError(error).message}`));
      else void this.remoteControl.look();
      this.changed('hosts', 'threads');
    });
  }

  get hostId(): string {
    return this.identity.hostId;
  }

  get name(): string {
    return this.settings.value.name;
  }

  private async begin(): Promise<void> {
    await this.applies.recover();
    this.remoteControl.apply();
    this.closeDoor = await openDoorOf(this);
    // Without Codex the host still pairs, lists and explains; "baton doctor" says what is missing.
    await this.codex.ready().catch((error: unknown) => this.options.log.error(`Codex is not available: ${describeError(error).message}`));
    await this.remoteControl.look();
    await this.keeper.recover();
    this.sweep.start();
    this.resting.start();
    this.stopSweeping = keepSwept(this.kept, this.options.log);
    this.claims.recover();
    this.handoffs.recover();
    void this.approvals.recover();
    this.recoverDestination(0, OUTCOME_RETRY_MS);
  }

  /** What speaks for and against a handoff of a thread of this host. Afterwards other Codex programs can open the thread, if they could before. */
  preflight(...asked: Parameters<Handoffs['preflight']>): ReturnType<Handoffs['preflight']> {
    const [subject] = asked;
    const look = () => this.handoffs.preflight(...asked);
    return 'threadId' in subject ? this.resting.onlyLooking(subject.threadId, look) : look();
  }

  /** Takes up a relay of a host that was just met, unless this host has one: without it could not be called back. */
  async useRelay(url: string): Promise<void> {
    if (this.settings.value.relayUrl !== null) return;
    await this.settings.change({ relayUrl: url });
    this.remoteControl.apply();
  }

  /** Settles the handoffs to this host that are neither here nor withdrawn, after a delay and then again and again. */
  private recoverDestination(delayMs: number, retryMs: number): void {
    clearTimeout(this.outcomeTimer);
    if (this.closing !== null) return;
    this.outcomeTimer = setTimeout(() => {
      void this.destination.recover().then((again) => {
        if (again) this.recoverDestination(retryMs, Math.min(2 * retryMs, OUTCOME_INTERVAL_MS));
        else this.recoverDestination(OUTCOME_INTERVAL_MS, OUTCOME_RETRY_MS);
      });
    }, delayMs);
    this.outcomeTimer.unref();
  }

  /** What the source of a handoff to this host decided; null where it cannot be asked. */
  private async askOutcome(source: string, handoffId: string, threadId: string) {
    try {
      const link = await this.network.connect(source, AbortSignal.timeout(PROBE_TIMEOUT_MS));
      return (await link.call('handoff/outcome', { handoffId, threadId }, AbortSignal.timeout(PROBE_TIMEOUT_MS))).outcome;
    } catch {
      return null;
    }
  }

  /** Ends the host: the app-server interrupts its turns and stops, channels close. What is journaled goes on at the next start. */
  close(): Promise<void> {
    this.closing ??= (async () => {
      clearTimeout(this.outcomeTimer);
      this.sweep.dispose();
      this.resting.dispose();
      this.stopSweeping();
      this.handoffs.dispose();
      this.claims.dispose();
      this.remoteControl.dispose();
      this.followed.dispose();
      this.network.dispose();
      await this.closeDoor();
      this.sshHosts.dispose();
      await this.approvals.keep().catch((error: unknown) => this.options.log.error(`Pending approvals could not be kept: ${describeError(error).message}`));
      await this.codex.stop();
      await this.closeLocal();
      this.resolveClosed();
    })();
    return this.closing;
  }

  /** Tells controllers what to read again. */
  changed(...what: NotificationOf<'host/changed'>['what']): void {
    this.controllers.notify('host/changed', { what });
    this.remoteControl.apply();
  }

  private async initialize(role: Role): Promise<InitializeResult> {
    await this.codex.ready().catch(() => undefined);
    const { hostId, name } = this;
    const codex = this.codex.version === null ? {} : { userAgent: `baton/${batonVersion} codex/${this.codex.version}`, codexHome: this.codex.codexHome, platformOs: process.platform };
    return { ...codex, baton: { protocolVersion: PROTOCOL_VERSION, hostId, name, role } };
  }

  private async projectsOf(repository: RepositoryIdentity) {
    const list = this.projects.list();
    const saved = list.filter(({ identity }) => sameRepository(identity, repository));
    const unusable: string[] = [];
    // A saved folder may be gone, or another repository by now. Several projects may be folders of one root.
    const present = new Map<string, boolean>();
    for (const root of new Set(saved.map((project) => project.root))) {
      const identity = await readRepositoryIdentity(root).catch((error: unknown) => {
        const { reason, message } = describeError(error);
        if (reason !== 'not-a-repository') unusable.push(message);
        return null;
      });
      present.set(root, identity !== null && sameRepository(identity, repository));
    }
    const { objectFormat } = repository;
    for (const { root, identity } of list) {
      // Commits have other names there, so only the remotes tell.
      if (identity.objectFormat === objectFormat || !sameRepository({ ...identity, objectFormat, rootCommits: [] }, repository)) continue;
      unusable.push(`${root} names its objects by ${identity.objectFormat}, the thread's repository by ${objectFormat}, and nothing can travel between the two; save a clone of the thread's repository there.`);
    }
    return { projects: saved.filter(({ root }) => present.get(root) === true).map(({ root, subdirectory }) => ({ root, subdirectory })), unusable };
  }

}

/** An operating system as Codex spells it. */
const codexNameOf = (platform: NodeJS.Platform): string => (platform === 'darwin' ? 'macos' : platform === 'win32' ? 'windows' : platform);
