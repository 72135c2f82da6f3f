import { newThreadId } from '../codex/rolloutCopy';
import type { Claim, Owner } from '../handoff/claim';
import { HandoffError } from '../handoff/handoffError';
import { claimOf, describeLedger, nextReclaim, reduceLedgerOwner, weigh, type Ledger } from '../handoff/ownership';
import type { Actor, AuditLog } from './audit';
import { HostError } from './hostError';
import { InTurn } from './inTurn';
import type { LedgerStore } from './ledgerStore';
import type { Log } from './log';
import type { PeerLink } from './peerLink';
import { CLAIMS_AT_ONCE, type PeerParams, type PeerResult } from './peerProtocol';
import type { ReclaimReport } from './protocol';
import { describeError } from './wireError';

/** How long a host that starts waits for the word of others before it lets threads that came to it run. */
const ASK_TIMEOUT_MS = 4_000;
const RETRY_FIRST_MS = 2_000;
const RETRY_LAST_MS = 60_000;

export interface ClaimPorts {
  readonly hostId: string;
  readonly name: () => string;
  readonly ledger: LedgerStore;
  readonly audit: Pick<AuditLog, 'append'>;
  readonly log: Log;
  isPeer(hostId: string): boolean;
  peerName(hostId: string): string;
  connect(hostId: string, signal?: AbortSignal): Promise<PeerLink>;
  /** Whether a peer answers now. */
  isOnline(hostId: string): Promise<boolean>;
  hasThread(threadId: string): Promise<boolean>;
  /** Runs `act` while nothing is done about the thread's outgoing handoff. */
  alone<T>(threadId: string, act: () => Promise<T>): Promise<T>;
  /** Goes on with what a handoff to this host has prepared. */
  activate(threadId: string): Promise<unknown>;
  /** `handoffId`: of the handoff by which the thread left and that was never acknowledged. */
  take(threadId: string, from: string, handoffId: string | null): Promise<void>;
  setAside(threadId: string, fork: string, owner: Owner & { readonly epoch: number }): Promise<unknown>;
  onChanged(): void;
}

/** Who owns a thread, beyond the handoffs that this host takes part in: reclaims, and what other hosts say of theirs. */
export class Claims {
  private readonly turns = new InTurn();
  /** What several hosts say of a thread at once is considered one after the other. */
  private readonly hearing = new InTurn();
  private timer: NodeJS.Timeout | undefined;
  private disposed = false;
  /** Settles once every host that could be reached has been asked, after a start, whether this one still owns what came to it. */
  private asked: Promise<void> = Promise.resolve();
  /** Claims that hold, and wait for the end of a handoff to this host, with who told of them. */
  private readonly waiting = new Map<string, { readonly claim: Claim; readonly teller: string }>();

  constructor(private readonly ports: ClaimPorts) {}

  private get self(): Owner {
    return { hostId: this.ports.hostId, name: this.ports.name() };
  }

  /**
   * Takes a thread back from a host that will not return, or says what that would mean. Throws HandoffError where there is
   * nothing to take back or a handoff is under way; HostError `owner-online` where the owner could hand it back, unless `force`.
   */
  async reclaim(threadId: string, { dryRun, force }: { readonly dryRun: boolean; readonly force: boolean }, by: Actor): Promise<ReclaimReport> {
    const before = this.ports.ledger.get(threadId);
    const event = { type: 'reclaimed', epoch: nextReclaim(before) } as const;
    reduceLedgerOwner(before, event);
    const { destination } = before;
    const adopts = destination.is === 'prepared';
    if (!adopts && !(await this.ports.hasThread(threadId))) throw new HostError('no-such-thread', `This host has no copy of the thread ${threadId}, so it cannot take it back.`);
    const from = adopts ? { hostId: destination.source, name: destination.sourceName } : present(before.movedTo);
    const online = await this.ports.isOnline(from.hostId);
    const report: ReclaimReport = { threadId, from, since: this.ports.ledger.since(threadId, adopts ? 'destination' : before.source.is === 'none' ? 'owner' : 'source'), online, epoch: event.epoch, losses: lossesOf(before, from.name), done: false };
    if (dryRun) return report;
    if (online && !force) {
      throw new HostError('owner-online', adopts
        ? `${from.name} is online and decides about this handoff. "baton handoff resume ${destination.handoffId}" asks it; a forced reclaim takes the thread without its word.`
        : `${from.name} is online, so nothing need be lost: "baton handoff ${threadId} --to here --from ${from.name}" brings the thread back with all of it. A forced reclaim leaves behind what happened there.`);
    }
    await this.ports.alone(threadId, async () => {
      await this.ports.audit.append({ type: 'thread-reclaimed', threadId, peer: from.hostId, by, epoch: event.epoch });
      await this.ports.ledger.append(threadId, { side: 'owner', event });
    });
    this.ports.onChanged();
    if (adopts) await this.ports.activate(threadId);
    else await this.carryOut(threadId);
    this.later(0);
    return { ...report, done: true };
  }

  /**
   * Accepts, at the word of this host's own user, that another host owns a thread that this one took for its own: a backup was restored.
   * Gives the thread as which this host keeps what it has. Throws HandoffError while a handoff of it is under way.
   */
  async yieldTo(threadId: string, { owner, epoch }: Claim, by: Actor): Promise<string> {
    const fork = newThreadId();
    await this.ports.ledger.append(threadId, { side: 'owner', event: { type: 'superseded', owner, epoch, fork } });
    await this.ports.audit.append({ type: 'thread-superseded', threadId, peer: owner.hostId, by, epoch });
    await this.carryOut(threadId);
    if (this.ports.ledger.get(threadId).due !== null) throw new HostError('thread-moving', `What this host has of the thread is being kept as the thread ${fork}, which this host goes on trying. Hand that one off once it is there.`);
    return fork;
  }

  /** What a peer says of who owns some threads. */
  async hear({ claims }: PeerParams<'handoff/claims'>, { hostId: teller }: PeerLink): Promise<PeerResult<'handoff/claims'>> {
    const answers = [];
    for (const claim of claims) {
      const verdict = await this.consider(claim, teller);
      const { epoch, owner } = claimOf(this.ports.ledger.get(claim.threadId), this.self);
      answers.push(verdict === 'unknown' ? { ...claim, known: false } : { threadId: claim.threadId, epoch, owner, known: true });
    }
    return { claims: answers };
  }

  /** Lets a thread run that came here from elsewhere only after those who could have reclaimed it were asked. Throws HostError `thread-moved` where one did. */
  async settled(threadId: string): Promise<void> {
    const owner = await this.claimant(threadId);
    if (owner !== null) throw new HostError('thread-moved', `${owner.name} took the thread back; what this host has of it is being kept as a fork.`);
  }

  /** Who has reclaimed a thread that came here, though this host is yet to note it; null where nobody has. Those who could have are asked first. */
  async claimant(threadId: string): Promise<Owner | null> {
    if (this.ports.ledger.get(threadId).epoch > 0) await this.asked;
    return this.waiting.get(threadId)?.claim.owner ?? null;
  }

  /** A handoff to this host has ended, for which a claim may have waited. */
  async arrived(threadId: string): Promise<void> {
    const waiting = this.waiting.get(threadId);
    if (waiting !== undefined) await this.consider({ threadId, ...waiting.claim }, waiting.teller);
  }

  /** Goes on with what a host before this one left undone, and asks the others about what this one owns. */
  recover(): void {
    for (const [threadId, { due }] of this.ports.ledger.entries()) if (due !== null) void this.carryOut(threadId);
    this.asked = this.tell(true).then(() => undefined);
    void this.asked.then(() => this.later(RETRY_FIRST_MS));
  }

  /** Tells soon, and again and again, what was not heard yet. */
  later(delayMs: number): void {
    clearTimeout(this.timer);
    if (this.disposed) return;
    this.timer = setTimeout(() => {
      void this.tell(false).then((again) => {
        if (again) this.later(Math.min(RETRY_LAST_MS, Math.max(RETRY_FIRST_MS, 2 * delayMs)));
      });
    }, delayMs);
    this.timer.unref();
  }

  dispose(): void {
    this.disposed = true;
    clearTimeout(this.timer);
  }

  /** Tells each host what it has not heard yet; with `all`, also the hosts that could know better what this one owns. Gives whether anything is left to tell. */
  private async tell(all: boolean): Promise<boolean> {
    const byHost = new Map<string, string[]>();
    for (const [threadId, ledger] of this.ports.ledger.entries()) {
      const asks = all && ledger.epoch > 0 && ledger.movedTo === null;
      for (const hostId of asks ? ledger.trail : ledger.untold) {
        // A host that is trusted no more is not told; nor does anything here depend on it.
        if (hostId !== this.ports.hostId && this.ports.isPeer(hostId)) byHost.set(hostId, [...(byHost.get(hostId) ?? []), threadId]);
      }
    }
    const left = await Promise.all([...byHost].map(([hostId, threadIds]) => this.tellHost(hostId, threadIds)));
    for (const [threadId, { due }] of this.ports.ledger.entries()) if (due !== null && !this.turns.has(threadId)) void this.carryOut(threadId);
    return left.includes(true) || [...this.ports.ledger.entries()].some(([, { due }]) => due !== null);
  }

  private async tellHost(hostId: string, threadIds: readonly string[]): Promise<boolean> {
    let left = false;
    for (let first = 0; first < threadIds.length; first += CLAIMS_AT_ONCE) {
      const claims = threadIds.slice(first, first + CLAIMS_AT_ONCE).map((threadId) => ({ threadId, ...claimOf(this.ports.ledger.get(threadId), this.self) }));
      try {
        const link = await this.ports.connect(hostId, AbortSignal.timeout(ASK_TIMEOUT_MS));
        const answered = await link.call('handoff/claims', { claims }, AbortSignal.timeout(ASK_TIMEOUT_MS));
        for (const { known, ...claim } of answered.claims) {
          const { threadId } = claim;
          // Only about what it was asked.
          if (!claims.some((asked) => asked.threadId === threadId)) continue;
          const verdict = known ? await this.consider(claim, hostId) : 'unknown';
          if (verdict === 'worse') left = true;
          else if (this.ports.ledger.get(threadId).untold.includes(hostId)) await this.ports.ledger.append(threadId, { side: 'owner', event: { type: 'told', hostId } });
        }
      } catch (error) {
        left = threadIds.some((threadId) => this.ports.ledger.get(threadId).untold.includes(hostId));
        this.ports.log.info(`${this.ports.peerName(hostId)} could not be told who owns ${claims.length} threads: ${describeError(error).message}`);
        break;
      }
    }
    return left;
  }

  /** Takes another host's word, where it holds. Gives what became of it; `worse` also where a handoff has to end first. */
  private consider({ threadId, ...claim }: PeerParams<'handoff/claims'>['claims'][number], teller: string): Promise<ReturnType<typeof weigh>> {
    return this.hearing.take(threadId, () => this.considerNow(threadId, claim, teller));
  }

  private async considerNow(threadId: string, claim: Claim, teller: string): Promise<ReturnType<typeof weigh>> {
    const ledger = this.ports.ledger.get(threadId);
    const verdict = weigh(ledger, this.self, teller, claim);
    this.waiting.delete(threadId);
    if (verdict !== 'better') return verdict;
    try {
      await this.ports.ledger.append(threadId, { side: 'owner', event: { type: 'superseded', ...claim, fork: newThreadId() } });
    } catch (error) {
      if (!HandoffError.is(error)) throw error;
      if (ledger.destination.is === 'committed') this.waiting.set(threadId, { claim, teller });
      return 'worse';
    }
    await this.ports.audit.append({ type: 'thread-superseded', threadId, peer: claim.owner.hostId, by: `host:${teller}`, epoch: claim.epoch }).catch((error: unknown) => this.ports.log.error(`The audit log cannot be written: ${describeError(error).message}`));
    this.ports.log.warn(`${claim.owner.name} owns the thread ${threadId} at epoch ${claim.epoch}, as ${this.ports.peerName(teller)} says. ${describeLedger(this.ports.ledger.get(threadId))}`);
    this.ports.onChanged();
    if (this.ports.ledger.get(threadId).due !== null) void this.carryOut(threadId);
    this.later(0);
    return 'same';
  }

  /** Does what a claim asks of Codex here; what fails is tried again. */
  private async carryOut(threadId: string): Promise<void> {
    try {
      await this.turns.take(threadId, async () => {
        const { due, movedTo, fork, epoch, source, destination } = this.ports.ledger.get(threadId);
        if (due === 'take') {
          const from = 'destinationName' in source ? source.destinationName : 'sourceName' in destination ? destination.sourceName : 'another host';
          await this.ports.take(threadId, from, source.is === 'revoked' ? source.handoffId : null);
          await this.ports.ledger.append(threadId, { side: 'owner', event: { type: 'taken' } });
        }
        if (due === 'keep' && movedTo !== null && fork !== null) {
          await this.ports.setAside(threadId, fork, { ...movedTo, epoch });
          await this.ports.ledger.append(threadId, { side: 'owner', event: { type: 'kept' } });
        }
      });
      this.ports.onChanged();
    } catch (error) {
      this.ports.log.warn(`What follows from a claim on ${threadId} could not be done yet: ${describeError(error).message}`);
      this.later(RETRY_FIRST_MS);
    }
  }
}

/** What a reclaim leaves behind, in sentences. */
function lossesOf({ source, destination }: Ledger, name: string): string[] {
  if (destination.is === 'prepared') return [`Nothing that is known here: all that ${name} sent was restored. Only if ${name} kept the thread and went on with it is there more, and it keeps that as a fork.`];
  if (source.is === 'committed' && !source.delivered) return [`Nothing that is known here: ${name} never acknowledged that it has the thread. If it went on with it all the same, it keeps that as a fork.`];
  return [
    `Everything that happened since the thread was handed to ${name}: its turns, commits, changes and decisions there are not here.`,
    `The conversation goes on as it was when the thread left, in the files as they are here now. Approvals that were pending then, and what waited in its queue, went along and are not here; a goal that it had is here, and paused.`,
    `If ${name} comes back, it learns that it no longer owns the thread, runs nothing on it, and keeps what it has as a fork with its worktree. Until it has heard of it, it may go on.`,
  ];
}

function present<T>(value: T | null): T {
  if (value === null) throw new HostError('internal', 'A thread that is here cannot be reclaimed.');
  return value;
}
