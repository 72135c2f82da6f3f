import { randomBytes } from 'node:crypto';
import { outcomeOf } from '../handoff/answers';
import { isOver } from '../handoff/sourceTransaction';
import { HandoffSource, type SourceHostPorts, type Subject } from './handoffSource';
import type { IncludedWish } from './includedTravel';
import type { Actor } from './audit';
import { HostError } from './hostError';
import type { PeerLink } from './peerLink';
import type { HandoffPreflight, HandoffResult, NotificationOf } from './protocol';
import { describeError } from './wireError';

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
}

const KEPT_RESULTS = 200;
const RETRY_FIRST_MS = 2_000;
const RETRY_LAST_MS = 60_000;

/** The handoffs that this host started or asked for, while they run and for a while after. */
export class Handoffs {
  private readonly running = new Map<string, Running>();
  private readonly timers = new Set<NodeJS.Timeout>();
  private disposed = false;

  constructor(
    private readonly ports: SourceHostPorts & { onEnded(ended: NotificationOf<'handoff/ended'>): void },
  ) {}

  /** @param included whether the ignored files that could cross are to be shown, or the digest of the list that the user agreed to */
  preflight(subject: Subject, to: string, included: IncludedWish, signal?: AbortSignal): Promise<HandoffPreflight> {
    return HandoffSource.preflight(this.ports, subject, to, included, signal);
  }

  /** Starts a handoff of a thread of this host. Throws HostError `preflight-blocked` with the findings, HandoffError where another one runs. */
  async start(subject: Subject, to: string, { by, requestedBy = null, included }: Start): Promise<string> {
    const wish = included === null ? null : { digest: included };
    const { findings } = await this.preflight(subject, to, wish);
    const blockers = findings.filter((finding) => finding.level === 'blocker');
    if (blockers.length > 0) throw new HostError('preflight-blocked', blockers.map((finding) => finding.message).join(' '), { findings });
    const handoffId = randomBytes(16).toString('hex');
    const source = await HandoffSource.begin(this.ports, subject, handoffId, to, by, wish);
    const abort = new AbortController();
    // Not before it can be found: the first progress is already told to who asked for it.
    const result = Promise.resolve().then(() => source.run(abort.signal));
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
  async request({ threadId, included }: { readonly threadId: string; readonly included: string | undefined }, link: PeerLink): Promise<string> {
    const { handoffId } = await link.call('handoff/request', { threadId, included });
    this.track(handoffId, {
      threadId,
      requestedBy: null,
      ended: false,
      result: link.call('handoff/wait', { handoffId }),
      cancel: async () => (await link.call('handoff/cancel', { handoffId })).cancelled,
    });
    return handoffId;
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

  /** What this host decided on a handoff, for the destination that asks; `undecided` also for one that it knows nothing of. */
  outcome(handoffId: string, threadId: string, destination: string): 'committed' | 'aborted' | 'undecided' {
    const ledger = this.ports.ledger.get(threadId);
    return ledger.source.is !== 'none' && ledger.source.destination === destination ? outcomeOf(ledger, handoffId) : 'undecided';
  }

  /** Takes up what a host before this one left unfinished. */
  recover(): void {
    for (const [, { source }] of this.ports.ledger.entries()) {
      if (source.is === 'none' || isOver(source)) continue;
      this.retry(HandoffSource.resume(this.ports, source), 0);
    }
  }

  dispose(): void {
    this.disposed = true;
    for (const timer of this.timers) clearTimeout(timer);
  }

  /** Undoes or delivers until it is done. */
  private retry(source: HandoffSource, delayMs: number): void {
    const { threadId, handoffId } = source.handoff;
    const state = this.ports.ledger.get(threadId).source;
    if (this.disposed || state.is === 'none' || state.handoffId !== handoffId || isOver(state)) return;
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      source.recover().then(
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
