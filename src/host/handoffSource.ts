import { randomUUID } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { watchCheckout, type CapturedCheckout } from '../git/captureCheckout';
import { SECRETS_TRAVEL } from '../git/captureFindings';
import { GitError } from '../git/gitError';
import { sealFiles, type SealedFiles } from '../git/sealFiles';
import { sideBySide } from '../git/sideBySide';
import { digestOf } from '../handoff/canonicalJson';
import type { CarriedThread } from '../handoff/carriedThread';
import { receiptHash, type Holdings, type Receipt } from '../handoff/receipt';
import { runSource, type SourcePorts } from '../handoff/runSource';
import { isOver, sourceRecovery, type HandoffIdentity, type SourceState } from '../handoff/sourceTransaction';
import type { Actor, AuditEvent } from './audit';
import { readCarried, writeCarried } from './carriedFile';
import { announceSubmodules, makeOffer, repositoryOf } from './handoffPreflight';
import { agreedNames } from './includedTravel';
import { HostError } from './hostError';
import { writersText } from './otherWriters';
import type { Offer, PeerResult } from './peerProtocol';
import type { HandoffResult } from './protocol';
import { mayBeTakenUp, overBreaks } from './overBreaks';
import { sendSealed, waiting, type Announce } from './sendSealed';
import { sealTransfer, type OutgoingTransfer, type SealedTransfer, type SourceRollout } from './sendTransfer';
import type { HandoffWish, SourceHostPorts, SourceThread, Subject } from './sourcePorts';
import { describeError } from './wireError';

/** What the source of a running handoff knows beyond its journal. Lost with the process; then the handoff is undone. */
interface Progress {
  thread: SourceThread | null;
  carried: CarriedThread | null;
  checkout: CapturedCheckout | null;
  /** What of the checkout is not any more as it was captured. */
  changes: () => Promise<string[]>;
  /** What is to be said of that. */
  stayed: string[];
  rollouts: readonly SourceRollout[];
  offer: Offer | null;
  included: SealedFiles | null;
  sealed: SealedTransfer | null;
  /** Bytes that went over transfer channels, encrypted. */
  bytesSent: number;
  placed: PeerResult<'handoff/commit'> | null;
  /** Why the last effect that is tried again failed. */
  retried: string;
}

/** When the destination is told again that it owns the thread, before that is left to the background. */
const REDELIVERY_DELAYS_MS = [500, 1000, 2000, 4000];
/** So long is waited for a destination that may hang; one that was not told asks. */
const WITHDRAW_TIMEOUT_MS = 10_000;

/** The source's side of one handoff. */
export class HandoffSource {
  private readonly progress: Progress = { thread: null, carried: null, checkout: null, changes: () => Promise.resolve([]), stayed: [], rollouts: [], offer: null, included: null, sealed: null, bytesSent: 0, placed: null, retried: '' };
  private readonly startedAt = performance.now();
  private delivering = new AbortController();
  private readonly spool: string;

  private constructor(
    private readonly ports: SourceHostPorts,
    private readonly subject: Subject | null,
    readonly handoff: HandoffIdentity,
    private readonly wish: HandoffWish = { included: null, choice: null },
  ) {
    this.spool = join(ports.directory, handoff.handoffId);
  }

  /** A handoff that is yet to begin. */
  static of(ports: SourceHostPorts, subject: Subject, handoffId: string, to: string, wish: HandoffWish): HandoffSource {
    const threadId = 'threadId' in subject ? subject.threadId : randomUUID();
    const handoff = { handoffId, threadId, source: ports.hostId, destination: to, destinationName: ports.peerName(to), epoch: ports.ledger.get(threadId).epoch + 1 };
    return new HandoffSource(ports, subject, handoff, wish);
  }

  /**
   * Journals the beginning, so that no other handoff of the thread begins. Throws HandoffError `thread-moving` or `thread-moved`. With
   * any other error it may be in the ledger all the same, and `recover` gives it up.
   */
  async begin(by: Actor): Promise<void> {
    const { handoffId, threadId, destination, epoch } = this.handoff;
    await this.ports.ledger.append(threadId, { side: 'source', event: { type: 'begun', ...this.handoff } });
    await this.audit({ type: 'handoff-begun', threadId, handoffId, peer: destination, by, epoch });
  }

  /** What is in the ledger has happened; an audit log that cannot be written does not undo it. */
  private async audit(event: AuditEvent): Promise<void> {
    await this.ports.audit.append(event).catch((error: unknown) => this.ports.log.error(`The audit log cannot be written: ${describeError(error).message}`));
  }

  /** Takes up a handoff that the ledger says is unfinished and that nobody drives. */
  static resume(ports: SourceHostPorts, state: Exclude<SourceState, { is: 'none' }>): HandoffSource {
    return new HandoffSource(ports, null, state);
  }

  /** What the ledger says of this handoff; `none` where it says nothing of it, or of a later one. */
  private get state(): SourceState {
    const { source } = this.ports.ledger.get(this.handoff.threadId);
    return source.is !== 'none' && source.handoffId === this.handoff.handoffId ? source : { is: 'none' };
  }

  /** Runs the handoff. Resolves with the result once the destination has acknowledged; throws what ended it otherwise. */
  async run(signal: AbortSignal): Promise<HandoffResult> {
    const { signal: stop } = this.delivering;
    let ended = await runSource(this.state, this.transaction(), signal);
    // A connection that breaks just then is mostly back at once, and who waits for the handoff need not hear of it.
    for (const delayMs of REDELIVERY_DELAYS_MS) {
      if (ended.is !== 'committed' || ended.delivered) break;
      const stopped = await setTimeout(delayMs, false, { ref: false, signal: stop }).catch(() => true);
      if (stopped) break;
      // It may have been taken back meanwhile.
      ended = await runSource(this.state, this.transaction(), signal);
    }
    if (ended.is === 'closed') await this.clear();
    this.ports.onChanged();
    if (ended.is === 'aborted') throw new HostError(ended.reason as HostError['reason'], ended.message);
    if (ended.is === 'undoing') throw new HostError(ended.reason as HostError['reason'], `${ended.message} It cannot be used yet: ${this.progress.retried} This host goes on trying to make it usable.`);
    const { placed, sealed, bytesSent, included, retried, stayed } = this.progress;
    if (placed === null || !('receipt' in ended)) {
      const { state } = this;
      if (state.is === 'revoked') throw new HostError(this.ports.ledger.get(this.handoff.threadId).movedTo === null ? 'cancelled' : 'thread-moved', state.message);
      // Who takes it back here waits for the end of this, and journals it then.
      if (stop.aborted) throw new HostError('cancelled', `${this.handoff.destinationName} has not acknowledged the handoff, and the thread is being taken back here. "baton handoffs" shows what becomes of it.`);
      throw new HostError('connection-lost', `The thread belongs to ${this.handoff.destinationName} now, which has everything but has not taken it up yet: ${retried} This host goes on telling it; nothing is lost.`);
    }
    const notes = ended.is === 'committed' ? [`The copy of the thread here could not be archived yet: ${retried} This host goes on trying.`] : [];
    const { handoffId, source, destination, epoch } = this.handoff;
    return {
      handoffId,
      threadId: placed.threadId,
      from: source,
      to: destination,
      epoch,
      worktree: placed.worktree,
      branch: placed.branch,
      commits: sealed?.manifest.counts.commits ?? 0,
      files: sealed?.manifest.counts.files ?? 0,
      bytesSent,
      rolloutBytesSent: sealed?.rolloutBytes ?? 0,
      milliseconds: Math.round(performance.now() - this.startedAt),
      receipt: receiptHash(ended.receipt),
      notes: [...notes, ...stayed, ...(included?.notes ?? []), ...placed.notes],
    };
  }

  /** Goes on where nobody drives the handoff any more: undoes what was not committed, delivers what was. True once the books are closed. */
  async recover(): Promise<boolean> {
    const { threadId } = this.handoff;
    // A commit that was read and is not on disk must not be told: after a power loss this host would take the thread for its own.
    await this.ports.ledger.durable(threadId);
    let { state } = this;
    if (isOver(state)) return true;
    const event = sourceRecovery(state);
    if (event !== null) state = (await this.ports.ledger.append(threadId, { side: 'source', event })).source;
    const ended = await runSource(state, this.transaction(), new AbortController().signal);
    const over = isOver(ended);
    if (ended.is === 'closed') await this.clear();
    // Of one that was reclaimed, what the thread waited for is still to be put back.
    else if (over && this.ports.ledger.get(threadId).due !== 'take') await rm(this.spool, { recursive: true, force: true });
    this.ports.onChanged();
    return over;
  }

  /** The thread has moved: nothing of what was made for that is of use any more. */
  private async clear(): Promise<void> {
    await rm(this.spool, { recursive: true, force: true });
    await this.ports.sealed.places.forget(this.handoff.destination, this.handoff.threadId);
  }

  /** Ends an attempt to tell the destination that it owns the thread; there are others. */
  stopDelivering(): void {
    this.delivering.abort();
    this.delivering = new AbortController();
  }

  private async captured(root: string, signal: AbortSignal): ReturnType<typeof watchCheckout> {
    try {
      return await watchCheckout({ root, spool: join(this.spool, 'capture'), signal });
    } catch (error) {
      if (!GitError.is(error, 'changed-while-capturing')) throw error;
      const who = writersText(await this.ports.otherWriters(root, this.handoff.threadId).catch(() => []));
      throw who === null ? error : new GitError('changed-while-capturing', `${error.message} ${who}`, { cause: error });
    }
  }

  private transaction(): SourcePorts {
    const { ports, handoff, progress } = this;
    const { threadId, handoffId } = handoff;
    const announce: Announce = (phase, message, bytesDone, bytesTotal) => ports.onProgress(handoff, phase, message, bytesDone ?? null, bytesTotal ?? null);
    const send = (signal: AbortSignal) => sendSealed({ ports, handoff, announce }, present(progress.sealed), (bytes) => (progress.bytesSent += bytes), signal);
    return {
      journal: async (event) => {
        const { source } = await ports.ledger.append(threadId, { side: 'source', event });
        const type = ({ committed: 'handoff-committed', undone: 'handoff-aborted' } as const)[event.type as 'committed'] as 'handoff-committed' | 'handoff-aborted' | undefined;
        if (type !== undefined) await this.audit({ type, threadId, handoffId, peer: handoff.destination, epoch: handoff.epoch });
        return source;
      },
      quiesce: async (_, signal) => {
        announce('quiesce', 'Stopping the running turn');
        const subject = this.subjectOrThrow();
        // Reading a thread's settings may load it, so that is done before it is unloaded.
        const thread = await ports.describe(subject);
        progress.thread = thread;
        if ('threadId' in subject) await ports.quiesce(threadId, (carried) => this.record(carried), signal);
        else progress.carried = beginning(thread);
      },
      capture: async (_, signal) => {
        announce('capture', 'Capturing the working state');
        const subject = this.subjectOrThrow();
        const thread = present(progress.thread);
        const repository = await repositoryOf(thread, ports.name());
        await mkdir(this.spool, { recursive: true, mode: 0o700 });
        const [{ parts: checkout, changes }, rollouts, offer] = await sideBySide(
          this.captured(repository.root, signal),
          'threadId' in subject ? ports.rollouts(threadId) : Promise.resolve([]),
          // The thread is at rest, so its rollouts have the sizes that will travel.
          makeOffer(ports, subject, thread, repository),
        );
        progress.checkout = checkout;
        progress.changes = changes;
        progress.rollouts = rollouts;
        progress.offer = { ...offer, submodules: await announceSubmodules(checkout) };
        const agreed = await agreedNames(ports.directory, { root: repository.root, to: handoff.destination, wish: this.wish.included });
        progress.included = agreed === null ? null : await sealFiles({ root: repository.root, agreed, path: join(this.spool, 'included-files'), signal });
        const carried = present(progress.carried);
        progress.carried = { ...carried, leftBehind: [...new Set([...carried.leftBehind, ...checkout.flatMap(({ state }) => state.findings).filter(({ level, code }) => level === 'warning' && code !== SECRETS_TRAVEL).map((finding) => finding.message)])].slice(0, 64) };
        const holdings: Holdings = {
          workingState: checkout[0].state.fingerprint,
          head: checkout[0].state.head,
          rollouts: progress.rollouts.map(({ name, bodyBytes, bodySha256 }) => ({ name, bodyBytes, bodySha256 })),
          thread: digestOf(progress.carried),
          ...(progress.included === null ? {} : { included: progress.included.sha256 }),
        };
        return holdings;
      },
      transfer: async (_, signal) => {
        const subject = this.subjectOrThrow();
        const transfer: OutgoingTransfer = {
          ports, handoff, spool: this.spool, announce,
          offer: present(progress.offer),
          checkout: present(progress.checkout),
          rollouts: progress.rollouts,
          thread: present(progress.carried),
          prompt: 'prompt' in subject ? subject.prompt : null,
          included: progress.included,
          trail: ports.ledger.get(threadId).trail,
          choice: this.wish.choice,
        };
        progress.sealed = await sealTransfer(transfer, signal);
        await send(signal);
      },
      stage: async (_, signal) => {
        announce('stage', `Restoring the working state on ${handoff.destinationName}`);
        const source = ports.ledger.get(threadId).source;
        if (!('holdings' in source)) throw new HostError('internal', 'The handoff is not at the step of staging.');
        const { holdings } = source;
        // The answer may be lost and come over another channel than the one that it names: it may be any that this host opened for it.
        const bindings = new Set<string>();
        const prepare = async () => {
          const link = await ports.connect(handoff.destination, signal);
          bindings.add(link.binding);
          const ask = () => link.call('handoff/prepare', { handoffId, threadId, holdings }, signal);
          return ask().catch(async (error: unknown) => {
            if (!HostError.is(error, 'transfer-incomplete')) throw error;
            await send(signal);
            return ask();
          });
        };
        // Meanwhile it is seen whether somebody worked on here: they should know that it did not go along.
        const [{ receipt }] = await sideBySide(overBreaks(prepare, { signal, onBreak: () => announce('stage', waiting(handoff)) }), this.lookAgain());
        announce('receipt', 'Comparing the receipt');
        return { receipt, channel: bindings.has(receipt.channel) ? receipt.channel : '' };
      },
      deliver: async (_, receipt: Receipt) => {
        announce('commit', `${handoff.destinationName} owns the thread`);
        const { signal } = this.delivering;
        const link = await ports.connect(handoff.destination, signal);
        announce('activate', `Resuming the thread on ${handoff.destinationName}`);
        progress.placed = await link.call('handoff/commit', { handoffId, threadId, epoch: handoff.epoch, receiptHash: receiptHash(receipt) }, signal);
      },
      letGo: async () => {
        const { source } = ports.ledger.get(threadId);
        if (!('receipt' in source)) throw new HostError('internal', 'A thread can only be let go of on a receipt.');
        // Without a rollout there was no thread yet: it began at the destination.
        if (source.receipt.holdings.rollouts.length > 0) await ports.markMoved(handoff);
        await ports.worktrees.left(threadId, source.receipt.holdings.workingState);
      },
      undo: async (_, reason) => {
        // The thread first: it must be usable here whether or not the destination can be told.
        await ports.unquiesce(threadId, progress.carried ?? (await readCarried(this.spool, ports.log)));
        await ports
          .connect(handoff.destination, AbortSignal.timeout(5000))
          .then((link) => link.call('handoff/withdraw', { handoffId, threadId, reason }, AbortSignal.timeout(WITHDRAW_TIMEOUT_MS)))
          .catch((error: unknown) => ports.log.info(`${handoff.destinationName} could not be told that handoff ${handoffId} was given up; it asks when it starts again: ${describeError(error).message}`));
        if (mayBeTakenUp(reason)) await ports.sealed.keep(handoff.destination, threadId, this.spool).catch((error: unknown) => ports.log.warn(`What was sealed for handoff ${handoffId} could not be kept: ${describeError(error).message}`));
        await rm(this.spool, { recursive: true, force: true });
      },
      describe: describeError,
      onRetry: (effect, error) => {
        progress.retried = describeError(error).message;
        ports.log.warn(`Handoff ${handoffId}: ${effect} failed and is tried again: ${progress.retried}`);
      },
    };
  }

  private async lookAgain(): Promise<void> {
    const { progress, ports, handoff } = this;
    const changes = await progress.changes().catch((error: unknown) => {
      ports.log.info(`Whether the checkout of handoff ${handoff.handoffId} is as it was captured cannot be told: ${describeError(error).message}`);
      return [];
    });
    const root = progress.checkout?.[0].state.root ?? '';
    progress.stayed = changes.length === 0 ? [] : [`Something changed in ${root} after it had been captured: ${changes.slice(0, 5).join('; ')}. That stayed there; ${handoff.destinationName} has what was there before.`];
  }

  private async record(carried: CarriedThread): Promise<void> {
    await writeCarried(this.spool, carried);
    this.progress.carried = carried;
  }

  private subjectOrThrow(): Subject {
    if (this.subject === null) throw new HostError('internal', 'A handoff that was taken up after a restart can only be undone or delivered.');
    return this.subject;
  }
}

function present<T>(value: T | null): T {
  if (value === null) throw new HostError('internal', 'A step of the handoff was performed out of order.');
  return value;
}

/** What travels with a checkout in which a thread is yet to begin. */
function beginning({ policy, requirements, modelProvider }: SourceThread): CarriedThread {
  return { name: null, model: null, modelProvider: modelProvider ?? '', policy, approvalsReviewer: 'user', requirements, goal: null, approvals: [], trail: [], subAgents: [], queue: { flowing: false, waiting: [] }, attachments: [], leftBehind: [] };
}
