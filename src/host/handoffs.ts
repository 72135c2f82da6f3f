import { randomBytes } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import { outcomeFor } from '../handoff/answers';
import { describeDestination } from '../handoff/destinationTransaction';
import { HandoffError } from '../handoff/handoffError';
import { isOver, isUndecided } from '../handoff/sourceTransaction';
import type { Claim } from '../handoff/claim';
import type { DivergenceChoice } from '../handoff/divergence';
import { preflight } from './handoffPreflight';
import { HandoffSource } from './handoffSource';
import type { Actor } from './audit';
import { HostError, isAway } from './hostError';
import { InTurn } from './inTurn';
import type { PeerLink } from './peerLink';
import type { HandoffPreflight, HandoffResult, NotificationOf } from './protocol';
import type { HandoffWish, SourceHostPorts, Subject } from './sourcePorts';
import { describeError, wasAnswered } from './wireError';

interface Running {
  readonly threadId: string | null;
  readonly result: Promise<HandoffResult>;
  /** True where it is not too late. */
  readonly cancel: () => Promise<boolean>;
  /** The host that asked for it, where that was not a controller of this one. */
  readonly requestedBy: string | null;
  ended: boolean;
}

interface Start {
  readonly by: Actor;
  /** The host that asked for it. */
  readonly requestedBy?: string | null;
  /** Digest of the list of ignored files that the user agreed to. */
  readonly included: string | null;
  readonly choice: DivergenceChoice | null;
}

interface HandoffsPorts extends SourceHostPorts {
  onEnded(ended: NotificationOf<'handoff/ended'>): void;
  now(): number;
  /** Accepts that another host owns the thread: what is here is the thread of the id that is given, from now on. */
  yieldTo(threadId: string, claim: Claim): Promise<string>;
}

const KEPT_RESULTS = 200;
/** How long a handoff that another host carries out is asked after while that host cannot be reached. */
const FOLLOWED_MS = 60_000;
const RETRY_FIRST_MS = 2_000;
const RETRY_LAST_MS = 60_000;

/** The handoffs that this host started or asked for, while they run and for a while after. */
export class Handoffs {
  private readonly running = new Map<string, Running>();
  private readonly timers = new Set<NodeJS.Timeout>();
  /** What is done about a thread's handoff, one at a time. */
  private readonly turns = new InTurn();
  /** The last handoff of each thread that this host began or took up. */
  private readonly sources = new Map<string, HandoffSource>();
  /** Threads that a controller of this host is asking another one for, with what is here to be kept as a fork. */
  private readonly asked = new Map<string, string>();
  private disposed = false;

  constructor(private readonly ports: HandoffsPorts) {}

  /** What speaks for and against a handoff of a thread of this host. */
  async preflight(subject: Subject, to: string, wish: HandoffWish, signal?: AbortSignal): Promise<HandoffPreflight> {
    return (await preflight(this.ports, subject, to, wish, signal)).preflight;
  }

  /** The same of a thread of another host, which is to come here. */
  async preview({ threadId, included, choice }: { readonly threadId: string; readonly included: boolean | undefined; readonly choice: DivergenceChoice | undefined }, link: PeerLink): Promise<HandoffPreflight> {
    const done = this.asking(threadId, choice, link.hostId);
    return link.call('handoff/preview', { threadId, included, choice }).finally(done);
  }

  /** Until the function that it gives is called, `askedFor` says so. */
  private asking(threadId: string, choice: DivergenceChoice | undefined, hostId: string): () => void {
    if (choice === 'fork') this.asked.set(threadId, hostId);
    return () => this.asked.delete(threadId);
  }

  /** Whether a controller of this host is asking `hostId` for the thread, and wants what is here to be kept as a fork. */
  askedFor(threadId: string, hostId: string): boolean {
    return this.asked.get(threadId) === hostId;
  }

  /** Starts a handoff of a thread of this host. Throws HostError `preflight-blocked` with the findings, HandoffError where another one runs. */
  async start(subject: Subject, to: string, { by, requestedBy = null, included, choice }: Start): Promise<string> {
    const wish = { included: included === null ? null : { digest: included }, choice };
    const { preflight: { findings }, rival } = await preflight(this.ports, subject, to, { ...wish, onlyBlockers: true });
    const blockers = findings.filter((finding) => finding.level === 'blocker');
    if (blockers.length > 0) throw new HostError('preflight-blocked', blockers.map((finding) => finding.message).join(' '), { findings });
    if (rival !== null && 'threadId' in subject) {
      // Only a controller of this host may say that it gives up what it takes for its own.
      if (requestedBy !== null) throw new HostError('not-permitted', `${this.ports.peerName(to)} says that it owns the thread already. Whether what is here becomes a thread of its own is decided here.`);
      return this.start({ threadId: await this.ports.yieldTo(subject.threadId, rival) }, to, { by, included, choice: null });
    }
    const handoffId = randomBytes(16).toString('hex');
    const source = HandoffSource.of(this.ports, subject, handoffId, to, wish);
    await source.begin(by).catch((error: unknown) => {
      if (!HandoffError.is(error)) this.retry(source, RETRY_FIRST_MS);
      throw error;
    });
    const abort = new AbortController();
    // Not before it can be found: the first progress is already told to who asked for it.
    this.sources.set(source.handoff.threadId, source);
    const result = this.turns.take(source.handoff.threadId, () => source.run(abort.signal));
    this.track(handoffId, {
      threadId: source.handoff.threadId,
      result,
      requestedBy,
      ended: false,
      cancel: async () => {
        abort.abort();
        return result.then(
          () => false,
          (error: unknown) => describeError(error).reason === 'cancelled',
        );
      },
    });
    // Also one that moved may have left something to do: its copy here is not archived yet.
    const takeUp = () => this.retry(source, RETRY_FIRST_MS);
    result.then(takeUp, takeUp);
    return handoffId;
  }

  /** Asks another host to hand its thread to this one, and follows that handoff here. */
  async request({ threadId, included, choice }: { readonly threadId: string; readonly included: string | undefined; readonly choice: DivergenceChoice | undefined }, link: PeerLink): Promise<string> {
    const done = this.asking(threadId, choice, link.hostId);
    const { handoffId } = await link.call('handoff/request', { threadId, included, choice }).catch((error: unknown) => {
      done();
      throw error;
    });
    this.track(handoffId, {
      threadId,
      requestedBy: null,
      ended: false,
      result: this.follow(handoffId, threadId, link).finally(done),
      cancel: async () => (await (await this.ports.connect(link.hostId)).call('handoff/cancel', { handoffId })).cancelled,
    });
    return handoffId;
  }

  /** Waits for a handoff that another host carries out. It goes on there when the connection breaks, and so does the wait. */
  private async follow(handoffId: string, threadId: string, first: PeerLink): Promise<HandoffResult> {
    const name = this.ports.peerName(first.hostId);
    let link: PeerLink | null = first;
    const until = this.ports.now() + FOLLOWED_MS;
    for (let delayMs = 250; ; delayMs = Math.min(2 * delayMs, RETRY_FIRST_MS)) {
      try {
        link ??= await this.ports.connect(first.hostId);
        return await link.call('handoff/wait', { handoffId });
      } catch (error) {
        link = null;
        const { reason } = describeError(error);
        // A host that was restarted tells of its handoffs no more; this one knows from its ledger what came of it.
        const forgotten = reason === 'no-such-handoff';
        if (!forgotten && (wasAnswered(error) || !(reason === 'connection-lost' || isAway(reason)))) throw error;
        const ledger = this.ports.ledger.get(threadId);
        const arrived = ledger.destination.is !== 'none' && ledger.destination.handoffId === handoffId;
        if (forgotten || this.disposed || this.ports.now() >= until) {
          const state = arrived ? describeDestination(ledger.destination) : `${name} had not begun to send the thread, which is there.`;
          throw new HostError('connection-lost', `${name} could not be followed any more. ${state} "baton handoffs" on either host shows what becomes of it.`, { cause: error });
        }
        await setTimeout(delayMs, undefined, { ref: false });
      }
    }
  }

  /** The result of a handoff once it has ended, or what ended it. `by`: a host may only ask after what it requested. */
  wait(handoffId: string, by: string | null = null): Promise<HandoffResult> {
    return this.find(handoffId, by).result;
  }

  async cancel(handoffId: string, by: string | null = null): Promise<{ cancelled: boolean }> {
    const handoff = this.find(handoffId, by);
    return { cancelled: !handoff.ended && (await handoff.cancel()) };
  }

  /** Who asked for a handoff, so that its progress can be told there. */
  requester(handoffId: string): string | null {
    return this.running.get(handoffId)?.requestedBy ?? null;
  }

  /** What this host decided on a handoff, for the destination that asks. */
  outcome(handoffId: string, threadId: string, destination: string): ReturnType<typeof outcomeFor> {
    return outcomeFor(this.ports.ledger.get(threadId), handoffId, destination);
  }

  /** Takes up what a host before this one left unfinished. */
  recover(): void {
    for (const [, { source }] of this.ports.ledger.entries()) {
      if (source.is === 'none' || isOver(source)) continue;
      const resumed = HandoffSource.resume(this.ports, source);
      this.sources.set(source.threadId, resumed);
      this.retry(resumed, 0);
    }
  }

  /** Tries at once what is left to be done about a thread's handoff. */
  async resume(threadId: string): Promise<void> {
    const state = this.ports.ledger.get(threadId).source;
    if (state.is === 'none' || isOver(state)) return;
    // One that has not come to its commit point goes on by itself.
    if (isUndecided(state) && this.running.get(state.handoffId)?.ended === false) return;
    const known = this.sources.get(threadId);
    const source = known?.handoff.handoffId === state.handoffId ? known : HandoffSource.resume(this.ports, state);
    this.sources.set(threadId, source);
    await this.turns.take(threadId, () => source.recover());
  }

  /** Gives up a thread's handoff where it has not committed yet. */
  async abort(threadId: string, handoffId: string): Promise<void> {
    const running = this.running.get(handoffId);
    if (running?.ended === false) await running.cancel();
    else if (isUndecided(this.ports.ledger.get(threadId).source)) await this.resume(threadId);
  }

  /** Runs `act` while nothing is done about the thread's handoff. An attempt to reach the destination is ended for it. */
  alone<T>(threadId: string, act: () => Promise<T>): Promise<T> {
    this.sources.get(threadId)?.stopDelivering();
    return this.turns.take(threadId, act);
  }

  dispose(): void {
    this.disposed = true;
    for (const timer of this.timers) clearTimeout(timer);
  }

  /** Undoes or delivers until it is done. */
  private retry(source: HandoffSource, delayMs: number): void {
    const { threadId, handoffId } = source.handoff;
    if (this.disposed) return;
    const timer = globalThis.setTimeout(() => {
      this.timers.delete(timer);
      this.turns.take(threadId, () => source.recover()).then(
        (done) => {
          if (!done) this.retry(source, Math.min(RETRY_LAST_MS, Math.max(RETRY_FIRST_MS, delayMs * 2)));
        },
        (error: unknown) => {
          this.ports.log.warn(`Handoff ${handoffId} could not be taken up: ${describeError(error).message}`);
          this.retry(source, Math.min(RETRY_LAST_MS, Math.max(RETRY_FIRST_MS, delayMs * 2)));
        },
      );
    }, delayMs);
    this.timers.add(timer);
  }

  private track(handoffId: string, running: Running): void {
    this.running.set(handoffId, running);
    const end = (result: HandoffResult | null, error: unknown) => {
      running.ended = true;
      this.ports.onEnded({ handoffId, threadId: result?.threadId ?? running.threadId, result, error: error === null ? null : describeError(error) });
      for (const [old, { ended }] of this.running) {
        if (this.running.size <= KEPT_RESULTS) break;
        if (ended) this.running.delete(old);
      }
    };
    running.result.then(
      (result) => end(result, null),
      (error: unknown) => end(null, error),
    );
  }

  private find(handoffId: string, by: string | null): Running {
    const handoff = this.running.get(handoffId);
    if (handoff === undefined || (by !== null && handoff.requestedBy !== by)) throw new HostError('no-such-handoff', `There is no handoff ${handoffId} on this host.`);
    return handoff;
  }
}
