import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { newThreadId } from '../codex/rolloutCopy';
import { answerToCommit } from '../handoff/answers';
import { digestOf } from '../handoff/canonicalJson';
import { destinationEffects, mayGiveUp } from '../handoff/destinationTransaction';
import { holdingsDifference, type Holdings, type Receipt, type RolloutHash } from '../handoff/receipt';
import { GitError } from '../git/gitError';
import { receiveCheckout, type QuarantinedCheckout, type ReceivePart } from '../git/receiveCheckout';
import { holdsLfsObjects } from '../git/lfsTransfer';
import { finishRestore, restoreWorkingState, rollbackRestore, type RestoredState } from '../git/restore';
import { placeFiles, takeBackFiles, type PlacedFiles } from '../git/placeFiles';
import { travelLimits } from '../git/travellingFiles';
import { pointerOf } from '../git/worktreeEntry';
import { copyIncluded, includeNotes } from '../git/worktreeInclude';
import type { Channel } from '../relay/channel';
import type { Actor } from './audit';
import { HostError } from './hostError';
import { freeBytes, IncomingHandoff, type IncomingRecord } from './incomingHandoff';
import { InTurn } from './inTurn';
import type { Log } from './log';
import { OfferAnswers, partsOf, type OfferPorts } from './offerAnswers';
import { mayBeTakenUp } from './overBreaks';
import type { PeerLink } from './peerLink';
import type { Manifest, Offer, PeerMethodName, PeerParams, PeerResult } from './peerProtocol';
import { following, readHeader } from './transferChannel';
import { describeError } from './wireError';
import { keptNote } from './worktreeRestoration';

/** What a destination needs of Codex and of the host's stores. */
export interface DestinationPorts extends OfferPorts {
  /** Of the offered rollout files, what is on this host already, from an earlier stay. */
  heldRollouts(offered: Offer['rollouts']): Promise<readonly RolloutHash[]>;
  /** Completes the received rollouts in `staging`, rewritten for `cwd`; gives the hashes of what is on disk (`path` is null where this host's own copy serves), and notes for the user. */
  stageRollouts(incoming: IncomingHandoff, announced: Manifest, cwd: string): Promise<{ readonly rollouts: readonly { readonly name: string; readonly path: string | null; readonly hash: RolloutHash }[]; readonly notes: readonly string[] }>;
  /** Installs the rollouts and resumes the thread in its worktree (or starts one). May be repeated. Gives the thread's id and notes for the user. */
  activate(arrival: Arrival): Promise<{ readonly threadId: string; readonly notes: readonly string[] }>;
  /** Keeps what this host has of the thread as another thread, with its worktree. Gives where that is, in words; null where there was nothing. May be repeated until the thread itself is here. */
  setAside(threadId: string, fork: string): Promise<string | null>;
  /** Brings the thread's worktree of an earlier stay back where it was removed. */
  wake(threadId: string): Promise<void>;
  /** Learns from a source what it decided; null where it cannot be reached. */
  askOutcome(source: string, handoffId: string, threadId: string): Promise<PeerResult<'handoff/outcome'>['outcome'] | null>;
  /** Who has reclaimed a thread that was handed to this host, before it could go on here; null where nobody has. */
  claimant(threadId: string): Promise<{ readonly name: string } | null>;
  /** A thread has arrived, and its worktree with it. */
  onArrived(threadId: string): Promise<void>;
}

/** A thread whose handoff is committed and which is to go on here. */
export interface Arrival {
  readonly record: IncomingRecord;
  readonly manifest: Manifest;
  readonly rollouts: readonly { readonly name: string; readonly path: string }[];
  /** The thread's working directory in its worktree. */
  readonly cwd: string;
  /** Nothing of it goes on: it was reclaimed meanwhile, and is only to be kept. */
  readonly atRest: boolean;
}

type Answer<M extends PeerMethodName> = Promise<PeerResult<M>>;

/** Handoffs of one peer that may be unfinished here at a time; each may hold a copy of a repository's changes. */
const MOST_UNFINISHED = 16;
/** With less than this a file system counts as full. */
const LEAST_FREE_BYTES = 1024 * 1024;

/** The destination's side of handoffs: answers the source, step by step, and recovers after a restart. */
export class HandoffDestination {
  /** The steps of a handoff wait for each other: a withdrawal must not pull the quarantine from under a restore. */
  private readonly turns = new InTurn();
  private readonly activations = new Map<string, Promise<PeerResult<'handoff/commit'>>>();
  /** Of each handoff that is being received: which transfer channel is listened to, and the one that is open. */
  private readonly transfers = new Map<string, { readonly ticket: string; channel: Channel | null }>();

  /** What it answers before anything moves. */
  readonly answers: OfferAnswers;

  constructor(private readonly ports: DestinationPorts) {
    this.answers = new OfferAnswers(ports);
  }

  /** A withdrawal that follows waits for this: it must find what it is to undo. */
  begin(params: PeerParams<'handoff/begin'>, link: PeerLink): Answer<'handoff/begin'> {
    return this.turns.take(params.handoffId, () => this.beginNow(params, link));
  }

  private async beginNow({ handoffId, threadId, epoch, offer, trail, choice }: PeerParams<'handoff/begin'>, link: PeerLink): Answer<'handoff/begin'> {
    await this.ports.wake(threadId).catch((error: unknown) => this.ports.log.warn(`The worktree of ${threadId} could not be brought back, so another is made: ${describeError(error).message}`));
    const { findings: found, place: usual } = await this.answers.consider({ threadId, epoch, offer, source: link.hostId });
    const diverged = await this.answers.diverged({ threadId, offer, source: link.hostId, projectRoot: usual?.projectRoot ?? null, choice: choice ?? null });
    const findings = [...found, ...diverged.findings];
    const place = usual !== null && diverged.any ? await this.answers.anotherPlace(usual) : usual;
    if (place === null || findings.some((finding) => finding.level === 'blocker')) {
      throw new HostError('preflight-blocked', findings.filter((finding) => finding.level === 'blocker').map((finding) => finding.message).join(' '), { findings });
    }
    const earlier = this.ports.ledger.get(threadId).destination;
    const undecided = earlier.is === 'receiving' || earlier.is === 'prepared';
    if (undecided && earlier.handoffId !== handoffId) {
      // Its source's word that it gave that one up may have been lost. This request may be late too, so only that source's present word counts.
      const asked = { handoffId: earlier.handoffId, threadId };
      const outcome = earlier.source === link.hostId ? (await link.call('handoff/outcome', asked)).outcome : await this.ports.askOutcome(earlier.source, earlier.handoffId, threadId);
      if (outcome === 'aborted') await this.turns.take(earlier.handoffId, () => this.withdrawNow(threadId, earlier.handoffId, 'superseded'));
    }
    const sourceName = this.ports.peerName(link.hostId);
    // The answer to the same request may have been lost, or this host have been killed before it gave one.
    const repeated = undecided && earlier.is === 'receiving' && earlier.handoffId === handoffId && earlier.epoch === epoch && earlier.source === link.hostId;
    // One after the other, so that no two of one peer are counted without each other.
    if (!repeated) await this.turns.take(link.hostId, async () => {
      const unfinished = [...this.ports.ledger.entries()].filter(([, { destination }]) => 'source' in destination && destination.source === link.hostId && !['active', 'withdrawn'].includes(destination.is));
      if (unfinished.length >= MOST_UNFINISHED) throw new HostError('too-many-handoffs', `${unfinished.length} handoffs from your host to ${this.ports.name()} are not finished. "baton handoffs" there lists them; finish or abort some first.`);
      await this.ports.ledger.append(threadId, { side: 'destination', event: { type: 'offered', handoffId, threadId, source: link.hostId, sourceName, epoch, trail } });
    });
    const begun = repeated ? await IncomingHandoff.load(this.ports.directory, handoffId) : null;
    const { submodules, parts } = await partsOf(begun?.record ?? place, offer);
    const base = { version: 1, handoffId, threadId, source: link.hostId, sourceName, epoch, manifest: null, prepared: null } as const;
    const fork = diverged.any && choice === 'fork' ? newThreadId() : null;
    if (begun === null) await IncomingHandoff.create(this.ports.directory, { ...base, ...place, submodules, heldLfs: [], fork, aside: false, apart: choice !== undefined });
    const held = await this.ports.heldRollouts(offer.rollouts);
    return { findings, parts, rollouts: held.map(({ name, bodyBytes, bodySha256 }) => ({ name, bodyBytes, bodySha256 })) };
  }

  async receive({ handoffId, threadId, manifest }: PeerParams<'handoff/receive'>, link: PeerLink): Answer<'handoff/receive'> {
    this.cut(handoffId, link.hostId);
    return this.turns.take(handoffId, async () => {
      const incoming = await this.incoming(handoffId, threadId, link.hostId);
      const holds = ({ lfs }: Manifest['parts'][number], index: number) => holdsLfsObjects(index === 0 ? incoming.record.projectRoot : present(incoming.record.submodules[index - 1]).repository, lfs);
      const offsets = await incoming.offsets(manifest, this.ports.kept, holds);
      const ticket = randomBytes(16).toString('hex');
      this.transfers.set(handoffId, { ticket, channel: null });
      return { offsets, ticket };
    });
  }

  /** Ends the transfer channel of a handoff: its source sends over another one, or no more. Nobody else may end it. */
  private cut(handoffId: string, source: string): void {
    const channel = this.transfers.get(handoffId)?.channel;
    if (channel?.remoteHostId === source) channel.destroy();
  }

  /** Takes a transfer channel: a header line, then the files' bytes. Answers with one line: `{"received":true}` or the error. */
  async transfer(channel: Channel): Promise<void> {
    let answer: unknown;
    // One reader for header and files: a small transfer has ended before its header is understood.
    const chunks = channel.iterator({ destroyOnReturn: false }) as AsyncIterableIterator<Buffer>;
    try {
      const { header, rest } = await readHeader(chunks);
      const { handoffId, threadId, ticket } = header;
      await this.turns.take(handoffId, async () => {
        const incoming = await this.incoming(handoffId, threadId, channel.remoteHostId);
        const announced = incoming.record.manifest;
        if (announced === null) throw new HostError('transfer-corrupt', 'The transfer was not announced.');
        const transfer = this.transfers.get(handoffId);
        if (transfer?.ticket !== ticket) throw new HostError('transfer-incomplete', 'The transfer was announced again since; this one is out of date.');
        this.transfers.set(handoffId, { ticket: '', channel });
        await incoming.receive(following(rest, chunks), announced).finally(() => this.transfers.delete(handoffId));
      });
      answer = { received: true };
    } catch (error) {
      this.ports.log.warn(`A transfer failed: ${describeError(error).message}`);
      answer = { error: describeError(error) };
    }
    if (!channel.destroyed) channel.end(`${JSON.stringify(answer)}\n`);
    await chunks.return?.();
    // What the source still sends is read and dropped, so that it gets to read the answer.
    channel.resume();
  }

  /** Checks and restores everything, and states in a receipt what is here now, as read back from this disk. */
  async prepare({ handoffId, threadId, holdings }: PeerParams<'handoff/prepare'>, link: PeerLink): Answer<'handoff/prepare'> {
    return this.turns.take(handoffId, async () => {
      // The source commits on a receipt, so a power loss must not undo that it was given.
      const { destination } = await this.ports.ledger.durable(threadId);
      // Only the answer was lost: the receipt names the channel over which it was asked for first.
      if (destination.is === 'prepared' && destination.handoffId === handoffId && destination.source === link.hostId) return { receipt: destination.receipt };
      const incoming = await this.incoming(handoffId, threadId, link.hostId);
      const { record } = incoming;
      const announced = record.manifest;
      if (announced === null) throw new HostError('transfer-corrupt', 'Nothing was announced, so nothing can be prepared.');
      // A host before this one may have been killed in the middle of it; what it took from the spool has to come once more.
      await takeBack(incoming, this.ports.log);
      if (!(await incoming.isComplete(announced))) throw new HostError('transfer-incomplete', 'Not everything that was announced is here.');
      try {
        const part = ({ bundle, branch }: Manifest['parts'][number], index: number): ReceivePart => ({ ...bundle, branch, file: incoming.bundle(index), lfs: incoming.lfs(announced, index).filter(({ held }) => !held) });
        const [first, ...others] = announced.parts;
        const top = part(first, 0);
        const submodules = others.map((other, index) => ({ ...part(other, index + 1), ...present(record.submodules[index]) }));
        const quarantined = await receiveCheckout({ root: record.projectRoot, top, submodules, quarantine: incoming.quarantine });
        const restored = await this.restore(incoming, quarantined, top.branch);
        // What the user sent along comes before what is copied here: neither overwrites anything.
        const crossed = await this.crossed(incoming, announced);
        const included = await this.included(incoming.record);
        const { rollouts, notes } = await this.ports.stageRollouts(incoming, announced, this.workingDirectory(incoming.record));
        const held: Holdings = { workingState: restored.fingerprint, head: restored.head, rollouts: rollouts.map(({ hash }) => hash), thread: digestOf(announced.thread), ...(crossed === null ? {} : { included: crossed.sha256 }) };
        const receipt: Receipt = { version: 1, handoffId, threadId, epoch: record.epoch, source: record.source, destination: this.ports.hostId, channel: link.binding, holdings: held };
        await incoming.update({
          prepared: {
            head: restored.head,
            branch: restored.branch,
            fingerprint: restored.fingerprint,
            notes: [...restored.notes, ...(crossed?.notes ?? []), ...included, ...notes],
            rollouts: rollouts.flatMap(({ name, path }) => (path === null ? [] : [{ name, path }])),
          },
        });
        const complete = holdingsDifference(held, holdings) === null;
        if (!complete) this.ports.log.warn(`What was restored of ${threadId} is not what was sent; the source will refuse the receipt.`);
        await this.ports.ledger.append(threadId, { side: 'destination', event: { type: 'prepared', receipt, complete } });
        this.ports.onChanged();
        return { receipt };
      } catch (cause) {
        // Looked at before the space is freed again.
        const error = await this.diskFull(cause);
        await this.withdrawNow(threadId, handoffId, describeError(error).reason).catch((failure: unknown) => {
          this.ports.log.warn(`What handoff ${handoffId} left could not be cleared away yet: ${describeError(failure).message}`);
        });
        throw error;
      }
    });
  }

  /** The source has committed: this host owns the thread from here on. Repeated calls get the same answer. */
  async commit({ handoffId, threadId, epoch, receiptHash: hash }: PeerParams<'handoff/commit'>, link: PeerLink): Answer<'handoff/commit'> {
    const ledger = this.ports.ledger.get(threadId);
    const { destination } = ledger;
    const answer = destination.is !== 'none' && destination.source === link.hostId ? answerToCommit(ledger, { handoffId, epoch, receiptHash: hash }) : 'refuse';
    if (answer === 'refuse') throw new HostError('no-such-handoff', 'This host holds no such handoff, or gave another receipt for it.');
    if (answer === 'commit') await this.ports.ledger.append(threadId, { side: 'destination', event: { type: 'committed', receiptHash: hash } });
    // A later handoff of the thread has come or gone since; this one was taken.
    if (destination.is !== 'none' && destination.handoffId !== handoffId) return { threadId, worktree: '', branch: null, notes: [] };
    return this.activate(threadId, handoffId);
  }

  async withdraw({ handoffId, threadId, reason }: PeerParams<'handoff/withdraw'>, link: PeerLink): Answer<'handoff/withdraw'> {
    this.cut(handoffId, link.hostId);
    await this.turns.take(handoffId, async () => {
      const { destination } = this.ports.ledger.get(threadId);
      if (destination.is === 'none' || destination.handoffId !== handoffId) return;
      if (destination.source !== link.hostId) throw new HostError('not-permitted', 'That handoff is not yours.');
      await this.withdrawNow(threadId, handoffId, reason);
    });
    return {};
  }

  /** Goes on with what was left unfinished. Gives whether anything is to be tried again soon. */
  async recover(): Promise<boolean> {
    let again = false;
    for (const [threadId, { destination }] of this.ports.ledger.entries()) {
      if (destination.is === 'none') continue;
      try {
        if (!(await this.resume(threadId))) again = true;
      } catch (error) {
        again = true;
        this.ports.log.warn(`Handoff ${destination.handoffId} of ${threadId} could not be taken up again: ${describeError(error).message}`);
      }
    }
    return again;
  }

  /** Does at once what is left to be done about a handoff to this host. False where its source could not be asked. */
  async resume(threadId: string): Promise<boolean> {
    const { destination } = this.ports.ledger.get(threadId);
    if (destination.is === 'none') return true;
    const { handoffId } = destination;
    let asked = true;
    for (const effect of destinationEffects(destination)) {
      if (effect === 'activate') {
        await this.activate(threadId, handoffId);
        continue;
      }
      const outcome = effect === 'discard' ? 'aborted' : await this.ports.askOutcome(destination.source, handoffId, threadId);
      if (outcome === 'aborted') await this.turns.take(handoffId, () => this.withdrawNow(threadId, handoffId, 'interrupted'));
      // A source that committed says so itself until it is heard.
      else if (outcome === null) asked = false;
    }
    return asked;
  }

  /** Gives up a handoff to this host: by itself while its source cannot have committed, else only on the source's word. */
  async abort(threadId: string, handoffId: string): Promise<void> {
    const { destination } = this.ports.ledger.get(threadId);
    if (mayGiveUp(destination)) await this.turns.take(handoffId, () => this.withdrawNow(threadId, handoffId, 'cancelled'));
    else await this.resume(threadId);
  }

  private activate(threadId: string, handoffId: string): Answer<'handoff/commit'> {
    const running = this.activations.get(handoffId);
    if (running !== undefined) return running;
    const activation = this.activateNow(threadId, handoffId).finally(() => this.activations.delete(handoffId));
    this.activations.set(handoffId, activation);
    return activation;
  }

  private async activateNow(threadId: string, handoffId: string): Answer<'handoff/commit'> {
    const { destination } = this.ports.ledger.get(threadId);
    if (destination.is === 'active') return destination.placement;
    const incoming = await IncomingHandoff.load(this.ports.directory, handoffId);
    const prepared = incoming?.record.prepared ?? null;
    const manifest = incoming?.record.manifest ?? null;
    if (incoming === null || prepared === null || manifest === null) throw new HostError('state-invalid', `What handoff ${handoffId} received is no longer in ${this.ports.directory}. Restore that directory from a backup.`);
    const { record } = incoming;
    const { worktrees } = this.ports;
    const kept = await this.setAside(threadId, incoming);
    const worktree = {
      id: record.worktreeId,
      path: record.worktree,
      projectRoot: record.projectRoot,
      gitDir: await pointerOf(record.worktree),
      leftWith: null,
      lastUsedAt: new Date().toISOString(),
    };
    // What a permanent worktree hosts besides this thread stays there.
    const threadIds = new Set([...(worktrees.get(record.worktreeId)?.threadIds ?? []), threadId]);
    await worktrees.save({ ...worktree, threadIds: [...threadIds] });
    const atRest = (await this.ports.claimant(threadId)) !== null;
    const activated = await this.ports.activate({ record, manifest, rollouts: prepared.rollouts, cwd: this.workingDirectory(record), atRest });
    if (activated.threadId !== threadId) await worktrees.save({ ...worktree, threadIds: [...new Set([...threadIds].map((id) => (id === threadId ? activated.threadId : id)))] });
    const placement = { threadId: activated.threadId, worktree: record.worktree, branch: prepared.branch, notes: [...prepared.notes, ...kept, ...activated.notes] };
    await this.ports.ledger.append(threadId, { side: 'destination', event: { type: 'activated', placement } });
    await finishRestore(incoming.quarantine);
    await IncomingHandoff.discard(this.ports.directory, handoffId);
    await this.ports.kept.places.forget(record.source, threadId);
    await this.ports.audit.append({ type: 'handoff-activated', threadId, handoffId, peer: record.source, by: `host:${record.source}` satisfies Actor, epoch: record.epoch });
    this.ports.onChanged();
    await this.ports.onArrived(threadId);
    return placement;
  }

  /** Before anything of the thread is put in its place: what is here goes on as another thread, where the user chose that. Gives a note of it. */
  private async setAside(threadId: string, incoming: IncomingHandoff): Promise<string[]> {
    const { fork, aside, source, epoch } = incoming.record;
    if (fork === null || aside) return [];
    const where = await this.ports.setAside(threadId, fork);
    await this.ports.audit.append({ type: 'thread-set-aside', threadId, fork, peer: source, by: `host:${source}`, epoch });
    await incoming.update({ aside: true });
    return where === null ? [] : [`What ${this.ports.name()} had of the thread is kept there as the thread ${fork}${where}.`];
  }

  /** Undoes what was restored and forgets the handoff: the thread stays at its source. */
  private async withdrawNow(threadId: string, handoffId: string, reason: string): Promise<void> {
    const { destination } = this.ports.ledger.get(threadId);
    if (destination.is === 'none' || destination.handoffId !== handoffId) return;
    if (destination.is === 'receiving' || destination.is === 'prepared') await this.ports.ledger.append(threadId, { side: 'destination', event: { type: 'withdrawn', reason } });
    else if (destination.is !== 'withdrawing') return;
    const incoming = await IncomingHandoff.load(this.ports.directory, handoffId);
    if (incoming !== null) {
      await takeBack(incoming, this.ports.log);
      if (mayBeTakenUp(destination.is === 'withdrawing' ? destination.reason : reason)) await incoming.keep(this.ports.kept).catch((error: unknown) => this.ports.log.warn(`What had arrived of handoff ${handoffId} could not be kept: ${describeError(error).message}`));
    }
    await IncomingHandoff.discard(this.ports.directory, handoffId);
    await this.ports.ledger.append(threadId, { side: 'destination', event: { type: 'discarded' } });
    this.ports.onChanged();
  }

  /** Restores into the thread's worktree; one that somebody has just changed stays as it is, and another is made only where the user chose that. */
  private async restore(incoming: IncomingHandoff, { top, submodules }: QuarantinedCheckout, carriedBranch: string | null): Promise<RestoredState> {
    const { projectRoot, worktree, threadId, expectedFingerprint } = incoming.record;
    const options = { root: projectRoot, quarantine: top, submodules, threadId, carriedBranch, handedBack: this.ports.ledger.get(threadId).native };
    if (expectedFingerprint === null) return restoreWorkingState({ ...options, worktree });
    try {
      return await restoreWorkingState({ ...options, worktree, existing: { expectedFingerprint } });
    } catch (error) {
      if (!GitError.is(error, 'worktree-diverged')) throw error;
      if (!incoming.record.apart) throw new HostError('diverged', `The thread's worktree ${worktree} on ${this.ports.name()} changed during the handoff, and stays as it is: ${error.message} The thread stays where it is. Try again with --second-worktree to go on beside it, or with --fork to keep it as a thread of its own.`, { cause: error });
      const { id, path } = await this.ports.worktrees.plan(projectRoot);
      await incoming.update({ worktreeId: id, worktree: path, expectedFingerprint: null });
      const restored = await restoreWorkingState({ ...options, worktree: path });
      return { ...restored, notes: [...restored.notes, `The thread's earlier worktree ${worktree} was changed since the thread left it. It stays as it is; the thread goes on in ${path}.`] };
    }
  }

  /** Places the ignored files that came along at the user's wish. */
  private async crossed(incoming: IncomingHandoff, { included }: Manifest): Promise<PlacedFiles | null> {
    const { worktree, sourceName } = incoming.record;
    return included === undefined ? null : placeFiles({ ...incoming.included, worktree, scratch: incoming.directory, announced: included, limits: travelLimits, from: sourceName });
  }

  /**
   * Copies the ignored files that this host's checkout lists into a worktree that was just made. The list is this user's own:
   * one that came with the working state could have been written by somebody who is after what it would copy.
   */
  private async included({ projectRoot, worktree, expectedFingerprint }: IncomingRecord): Promise<string[]> {
    return expectedFingerprint === null ? includeNotes(await copyIncluded({ from: projectRoot, to: worktree })) : [];
  }

  /** Git does not always say that it was for want of space that it failed. */
  private async diskFull(error: unknown): Promise<unknown> {
    const { reason } = describeError(error);
    const full = reason === 'disk-full' || (reason === 'failed' && (await freeBytes(this.ports.directory)) < LEAST_FREE_BYTES);
    if (!full) return error;
    return new HostError('disk-full', `The disk of ${this.ports.name()} filled up before everything was restored. Free some space there and try again.`, { cause: error });
  }

  private workingDirectory(record: IncomingRecord): string {
    return join(record.worktree, ...record.subdirectory.split('/').filter((part) => part !== ''));
  }

  private async incoming(handoffId: string, threadId: string, source: string): Promise<IncomingHandoff> {
    const { destination } = this.ports.ledger.get(threadId);
    const incoming = await IncomingHandoff.load(this.ports.directory, handoffId);
    if (incoming === null || destination.is !== 'receiving' || destination.handoffId !== handoffId || destination.source !== source || incoming.record.threadId !== threadId) {
      throw new HostError('no-such-handoff', 'This host is not receiving such a handoff.');
    }
    return incoming;
  }
}

/** Undoes what was restored. Idempotent. */
async function takeBack(incoming: IncomingHandoff, log: Log): Promise<void> {
  await takeBackFiles(incoming.included);
  for (const place of await rollbackRestore(incoming.quarantine)) log.warn(keptNote(incoming.record.worktree, place));
}

function present<T>(value: T | undefined): T {
  if (value === undefined) throw new HostError('internal', 'More parts were announced than were offered.');
  return value;
}
