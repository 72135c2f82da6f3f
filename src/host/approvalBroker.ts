import { createHash, randomUUID } from 'node:crypto';
import { resolve } from 'node:path';
import { z } from 'zod';
import { approvalDigest, inShort, isUnseen, type CarriedApproval } from '../handoff/approval';
import { portablePath, readApprovalRequest, replyTo, type ApprovalMethod, type AskedApproval, type FileChange } from './approvalRequest';
import type { Access } from './access';
import type { Actor, AuditLog } from './audit';
import type { CodexRequest } from './codexClients';
import { readAnswer } from './codexAnswer';
import { HostError } from './hostError';
import type { JsonStore } from './jsonStore';
import { approval, approvalDecision, type Approval, type ApprovalDecision } from './protocol';

const untold = z.object({ messageId: z.string(), text: z.string(), approval });
/** A decision of which the agent has yet to be told. */
type Untold = z.output<typeof untold>;

/** Approvals that were pending when their thread moved here, and grants that wait for the agent to ask again. */
export const carriedApprovals = z.object({
  pending: z.array(approval),
  granted: z.array(z.object({ threadId: z.string(), digest: z.string(), decision: z.enum(['accept', 'acceptForSession']) })),
  /** Decided, and the turn in which the agent hears of it has not begun for all that is known. */
  untold: z.array(untold).default([]),
  /** Threads whose goal is active once nothing of theirs is pending any more, and paused until then. */
  pausedGoals: z.array(z.string()).default([]),
});

/** What became of an approval that is not pending any more. */
interface Outcome {
  readonly threadId: string;
  readonly requestId: string | number | null;
  readonly at: Date;
  /** Null where its turn ended, or its thread left, before anybody decided. */
  readonly decided: { readonly decision: string; readonly by: Actor } | null;
}
const MOST_OUTCOMES = 200;

export interface ApprovalPorts {
  readonly hostId: string;
  readonly audit: Pick<AuditLog, 'append'>;
  readonly store: Pick<JsonStore<typeof carriedApprovals>, 'value' | 'update'>;
  epochOf(threadId: string): number;
  /** The thread's working directory on this host. */
  threadRoot(threadId: string): Promise<string>;
  /** Diffs of a file change item that has begun; empty where they cannot be found out. */
  changesOf(threadId: string, itemId: string): Promise<readonly FileChange[]>;
  /** Makes the agent go on after a carried approval was decided: by a message of the user's with this id. */
  tellAgent(threadId: string, text: string, messageId: string): Promise<void>;
  /** The turn that a message began; null where none did. */
  turnOf(threadId: string, messageId: string): Promise<'running' | 'over' | null>;
  /** Sets a thread's goal going, where it has one that is paused. */
  resumeGoal(threadId: string): Promise<void>;
  /** Where a thread that left is now, by name; null where it did not leave. */
  movedTo(threadId: string): string | null;
  onRequested(approval: Approval): void;
  onResolved(id: string, threadId: string, decision: ApprovalDecision | null): void;
  /** Throws HostError `thread-moved` or `thread-moving` where this host may not act on the thread. */
  requireOwner(threadId: string): void;
  /** The audit log does not take that something was requested. */
  onAuditFailed(error: unknown): void;
  /** Something is left to be done that the next start of the host goes on with. */
  onLeft(what: string, error: unknown): void;
  now(): Date;
}

type Ended = Pick<Pending, 'asked'> & { readonly approval: Pick<Approval, 'threadId' | 'digest'> };

interface Pending {
  readonly approval: Approval;
  readonly asked: AskedApproval;
  readonly method: ApprovalMethod;
  readonly params: unknown;
  readonly requestId: string | number;
  readonly reply: (result: unknown) => void;
}

/**
 * Every approval that a thread of this host waits for. A decision names the digest of what was shown, is applied at most
 * once, and is in the audit log before it takes effect.
 */
export class ApprovalBroker {
  private readonly pending = new Map<string, Pending>();
  /** Decisions that are being applied, by the approval's id. */
  private readonly deciding = new Map<string, Promise<void>>();
  /** Requests that are being written to the audit log before they are shown. */
  private readonly arriving = new Map<string | number, { settled: boolean; readonly shown: Promise<void> }>();

  /** Threads and digests of grants that were used and are not yet off the disk: each is good for one request. */
  private readonly spent = new Set<string>();
  /** Of the last approvals, by id, oldest first. */
  private readonly outcomes = new Map<string, Outcome>();
  /** Who wants to know of each request whose turn ended before anybody decided. */
  private readonly onEnded = new Set<(ended: Ended) => void>();

  constructor(private readonly ports: ApprovalPorts) {}

  list(threadId?: string): Approval[] {
    const all = [...[...this.pending.values()].map((entry) => entry.approval), ...this.ports.store.value.pending];
    return threadId === undefined ? all : all.filter((candidate) => candidate.threadId === threadId);
  }

  /** Takes up a request of the app-server; one that it repeats (after a reconnect) replaces the earlier one. */
  async request(requestId: string | number, method: ApprovalMethod, params: unknown, reply: (result: unknown) => void, changesOf: ApprovalPorts['changesOf'] = (...item) => this.ports.changesOf(...item)): Promise<void> {
    const before = this.arriving.get(requestId);
    if (before?.settled === false) return before.shown;
    const state = { settled: false };
    const arrival = Object.assign(state, { shown: this.take(requestId, method, params, reply, changesOf, state) });
    this.arriving.set(requestId, arrival);
    try {
      await arrival.shown;
    } finally {
      if (this.arriving.get(requestId) === arrival) this.arriving.delete(requestId);
    }
  }

  private async take(requestId: string | number, method: ApprovalMethod, params: unknown, reply: (result: unknown) => void, changesOf: ApprovalPorts['changesOf'], arrival: { readonly settled: boolean }): Promise<void> {
    const { threadId } = z.looseObject({ threadId: z.string(), itemId: z.string().nullish() }).parse(params);
    const itemId = z.looseObject({ itemId: z.string().nullish() }).parse(params).itemId;
    const root = await this.ports.threadRoot(threadId);
    const asked = readApprovalRequest(method, params, root, itemId == null || method !== 'item/fileChange/requestApproval' ? [] : await changesOf(threadId, itemId));
    const digest = approvalDigest(asked);

    const isGrant = (candidate: { readonly threadId: string; readonly digest: string }) => candidate.threadId === threadId && candidate.digest === digest;
    const grant = this.ports.store.value.granted.find(isGrant);
    const key = `${threadId}/${digest}`;
    if (grant !== undefined && !this.spent.has(key)) {
      this.spent.add(key);
      await this.ports.store.update((stored) => ({ ...stored, granted: stored.granted.filter((candidate) => !isGrant(candidate)) }));
      this.spent.delete(key);
      await this.ports.audit.append({ type: 'approval-applied', threadId, digest, epoch: this.ports.epochOf(threadId) });
      reply(replyTo(method, params, grant.decision, {}));
      return;
    }
    const id = createHash('sha256').update(JSON.stringify([threadId, asked.turnId, asked.itemId, asked.approvalId, requestId])).digest('hex').slice(0, 12);
    // Codex repeats an open request to whoever joins the thread.
    if (this.pending.has(id)) return;
    const raised = this.show(id, asked, root, digest, false);
    // A request that is not shown leaves its turn waiting for ever; only a decision needs the audit log first.
    await this.ports.audit.append({ type: 'approval-requested', threadId, digest, kind: asked.kind, subject: inShort(asked), epoch: this.ports.epochOf(threadId) }).catch((error: unknown) => this.ports.onAuditFailed(error));
    // Its turn may have ended meanwhile; then nobody waits for a decision any more.
    if (arrival.settled) this.ended({ approval: raised, asked });
    if (arrival.settled || this.pending.has(id)) return;
    this.pending.set(id, { approval: raised, asked, method, params, requestId, reply });
    this.ports.onRequested(raised);
  }

  /** What a thread waits for, as Codex asked it: for clients that speak Codex's own protocol. */
  asked(threadId: string): CodexRequest[] {
    return [...this.pending.values()].filter((entry) => entry.approval.threadId === threadId).map(({ requestId, method, params }) => ({ id: requestId, method, params, threadId }));
  }

  /** The app-server says that a request is settled: answered by another client, or its turn ended. */
  settled(requestId: string | number): void {
    const arrival = this.arriving.get(requestId);
    if (arrival !== undefined) arrival.settled = true;
    for (const [id, entry] of this.pending) {
      if (entry.requestId !== requestId || this.deciding.has(id)) continue;
      this.pending.delete(id);
      this.over(entry.approval, requestId, null);
      this.ended(entry);
      this.ports.onResolved(id, entry.approval.threadId, null);
    }
  }

  private ended(entry: Ended): void {
    for (const heard of this.onEnded) heard(entry);
  }

  private over({ id, threadId }: Approval, requestId: string | number | null, decided: Outcome['decided']): void {
    this.outcomes.delete(id);
    this.outcomes.set(id, { threadId, requestId, at: this.ports.now(), decided });
    const [oldest] = this.outcomes.keys();
    if (this.outcomes.size > MOST_OUTCOMES && oldest !== undefined) this.outcomes.delete(oldest);
  }

  /** A turn is over: it waits for nothing any more, whether or not the app-server has said so of each request yet. */
  turnEnded(threadId: string, turnId: string): void {
    const asked = [...this.pending.values()].filter(({ approval }) => approval.threadId === threadId && approval.turnId === turnId);
    for (const { requestId } of asked) this.settled(requestId);
  }

  /** The app-server is gone, and with it the turns that asked: what was pending is raised again when it is back. */
  async serverEnded(): Promise<void> {
    try {
      await this.keep();
    } finally {
      for (const requestId of [...this.arriving.keys(), ...[...this.pending.values()].map((entry) => entry.requestId)]) this.settled(requestId);
    }
  }

  /** What a thread waits for, in the form in which it travels. */
  async carry(threadId: string): Promise<CarriedApproval[]> {
    return [...(await this.carryAsked(threadId)), ...(await this.carryKept(threadId))];
  }

  /** What turns that run here ask for. From now on until `dispose` that is also what ends with its turn, which is being interrupted: nobody decided on it. */
  overInterruption(): { carryAsked(threadId: string): Promise<CarriedApproval[]>; dispose(): void } {
    const ended: Ended[] = [];
    const listen = (entry: Ended) => void ended.push(entry);
    this.onEnded.add(listen);
    return { carryAsked: (threadId) => this.carryAsked(threadId, ended), dispose: () => void this.onEnded.delete(listen) };
  }

  private async carryAsked(threadId: string, ended: readonly Ended[] = []): Promise<CarriedApproval[]> {
    await this.arrived();
    // What is decided here must not be asked again at the destination. No decision begins on a thread that is moving.
    await Promise.allSettled([...this.deciding.values()]);
    const asked = [...ended, ...this.pending.values()].filter((entry) => entry.approval.threadId === threadId);
    return asked.map(({ asked: { kind, command, changes, questions, request, cwd, reason }, approval: { digest } }) => ({ kind, command, changes, questions, request, cwd, reason, digest }));
  }

  /** What a thread had waited for already when its turn ended. May load the thread. */
  async carryKept(threadId: string): Promise<CarriedApproval[]> {
    await Promise.allSettled([...this.deciding.values()]);
    const { pending, untold: decided } = this.ports.store.value;
    // Where it is not known whether the agent has heard of a decision, it is asked for again.
    const kept = [...pending, ...decided.map((one) => one.approval)].filter((candidate) => candidate.threadId === threadId);
    if (kept.length === 0) return [];
    const root = await this.ports.threadRoot(threadId);
    // These were shown with this host's directory; what travels is what was digested.
    return kept.map(({ kind, command, changes, questions, request, reason, digest, cwd }) => ({ kind, command, changes, questions, request, reason, digest, cwd: cwd === null ? null : portablePath(cwd, root) }));
  }

  /** Digests of what a turn that runs here waits for. */
  async asking(threadId: string): Promise<ReadonlySet<string>> {
    await this.arrived();
    return new Set([...this.pending.values()].filter((entry) => entry.approval.threadId === threadId).map((entry) => entry.approval.digest));
  }

  private async arrived(): Promise<void> {
    await Promise.allSettled([...this.arriving.values()].map(({ shown }) => shown));
  }

  /**
   * Raises again what was pending when a turn was interrupted: at a handoff's source, or before this host was restarted. Throws HostError for one whose digest is not its own.
   *
   * @param goalWaits the thread's goal is to be active once all of it is decided
   */
  async adopt(threadId: string, carried: readonly CarriedApproval[], goalWaits = false): Promise<void> {
    const root = await this.ports.threadRoot(threadId);
    const raised = carried.map((one) => {
      if (approvalDigest({ ...one, threadId }) !== one.digest) throw new HostError('transfer-corrupt', 'A pending approval does not match its digest.');
      const id = this.carriedId(threadId, one.digest);
      return this.show(id, { ...one, threadId, turnId: null, itemId: null, approvalId: null }, root, one.digest, true);
    });
    await this.ports.store.update((stored) => {
      const others = withoutThread(stored, threadId);
      return { ...others, pending: [...others.pending, ...raised], pausedGoals: [...others.pausedGoals, ...(goalWaits && raised.length > 0 ? [threadId] : [])] };
    });
    for (const one of raised) {
      await this.ports.audit.append({ type: 'approval-carried', threadId, digest: one.digest, kind: one.kind, subject: inShort(one), epoch: this.ports.epochOf(threadId) });
      this.ports.onRequested(one);
    }
  }

  /** Keeps what is pending over the end of the app-server, which forgets it with its turns. Asks Codex nothing. */
  async keep(): Promise<void> {
    const kept = [...this.pending.values()].map(({ approval: { ...raised } }) => ({ ...raised, id: this.carriedId(raised.threadId, raised.digest), turnId: null, itemId: null, carriedOver: true }));
    if (kept.length === 0) return;
    const ids = new Set(kept.map(({ id }) => id));
    await this.ports.store.update((stored) => ({ ...stored, pending: [...stored.pending.filter(({ id }) => !ids.has(id)), ...kept] }));
    for (const one of kept) this.ports.onRequested(one);
  }

  private carriedId(threadId: string, digest: string): string {
    return createHash('sha256').update(JSON.stringify([threadId, digest, this.ports.epochOf(threadId)])).digest('hex').slice(0, 12);
  }

  /** The agent was told of a decision and its turn is over: what it asks for from now on is asked anew. */
  async expireGrants(threadId: string): Promise<void> {
    if (!this.ports.store.value.granted.some((grant) => grant.threadId === threadId)) return;
    await this.ports.store.update((stored) => ({ ...stored, granted: stored.granted.filter((grant) => grant.threadId !== threadId) }));
  }

  /** Forgets what a thread waits for: it has moved, or a turn began that leaves a carried request behind. */
  async forget(threadId: string): Promise<void> {
    const before = this.ports.store.value;
    const gone = before.pending.filter((candidate) => candidate.threadId === threadId);
    if (JSON.stringify(withoutThread(before, threadId)) !== JSON.stringify(before)) await this.ports.store.update((stored) => withoutThread(stored, threadId));
    for (const one of gone) {
      this.over(one, null, null);
      this.ports.onResolved(one.id, threadId, null);
    }
  }

  /** Whether a thread's goal is paused only until what the thread waits for is decided. */
  pausesGoal(threadId: string): boolean {
    return this.ports.store.value.pausedGoals.includes(threadId);
  }

  /** Goes on with what a host before this one left: decisions of which the agent may not have heard, goals that wait for nothing any more. */
  async recover(): Promise<void> {
    const { untold: decided, pausedGoals } = this.ports.store.value;
    await Promise.all(decided.map(async (one) => {
      const { id, threadId } = one.approval;
      const told = this.tellAgain(one);
      this.deciding.set(id, told);
      await told.catch((error: unknown) => this.ports.onLeft(`The agent of ${threadId} could not be told of a decision`, error)).finally(() => this.deciding.delete(id));
    }));
    for (const threadId of pausedGoals) await this.goOn(threadId);
  }

  private async tellAgain(one: Untold): Promise<void> {
    const { threadId } = one.approval;
    const turn = await this.ports.turnOf(threadId, one.messageId);
    if (turn === null) return this.tell(one);
    // It has heard; and what it asks for after that turn is asked anew, which nobody was there to see to.
    await this.ports.store.update((stored) => ({ ...withoutUntold(stored, one), granted: stored.granted.filter((grant) => turn === 'running' || grant.threadId !== threadId) }));
  }

  /** Sets a thread's goal going that waited for the last of its approvals. */
  private async goOn(threadId: string): Promise<void> {
    if (!this.pausesGoal(threadId) || this.list(threadId).length > 0) return;
    try {
      await this.ports.resumeGoal(threadId);
      await this.ports.store.update((stored) => ({ ...stored, pausedGoals: stored.pausedGoals.filter((id) => id !== threadId) }));
    } catch (error) {
      this.ports.onLeft(`The goal of ${threadId} could not be set going`, error);
    }
  }

  /** Applies a decision. Throws HostError `no-such-approval`, `approval-outdated`, `not-permitted` for the acceptance of changes that are not known, or `thread-moving` while the thread is handed off: it then travels undecided. */
  async decide(id: string, digest: string, decision: ApprovalDecision, answers: Readonly<Record<string, readonly string[]>>, by: Actor): Promise<void> {
    const live = this.pending.get(id);
    const carried = this.ports.store.value.pending.find((candidate) => candidate.id === id);
    const subject = live?.approval ?? carried;
    if (subject === undefined || this.deciding.has(id)) throw new HostError('no-such-approval', this.whyGone(id));
    if (subject.digest !== digest) throw new HostError('approval-outdated', `Approval ${id} now asks for something else than what was shown. Look at it again and decide anew.`);
    if (isUnseen(subject) && isAcceptance(decision)) throw new HostError('not-permitted', `Approval ${id} is about changes of files that this host could not find out, so nobody can have seen them. Decline it, and the agent can ask again.`);
    await this.once(subject, () => this.apply(subject, live, decision, answers, by));
  }

  /**
   * Answers a request as a client does that speaks Codex's own protocol. Throws HostError `no-such-approval`, `not-permitted` where the role
   * is too low for such an answer, `invalid-params`, or as `decide`.
   */
  async answer(requestId: string | number, result: unknown, { role, by }: Pick<Access, 'role' | 'by'>): Promise<void> {
    const live = [...this.pending.values()].find((entry) => entry.requestId === requestId);
    if (live === undefined || this.deciding.has(live.approval.id)) {
      const [id] = live === undefined ? ([...this.outcomes].findLast(([, outcome]) => outcome.requestId === requestId) ?? [String(requestId)]) : [live.approval.id];
      throw new HostError('no-such-approval', this.whyGone(id));
    }
    const { id, threadId, digest } = live.approval;
    const { decision, reply } = readAnswer(live.method, result, role);
    await this.once(live.approval, async () => {
      await this.ports.audit.append({ type: 'approval-decided', threadId, digest, subject: inShort(live.approval), decision, by, epoch: this.ports.epochOf(threadId) });
      this.pending.delete(id);
      this.over(live.approval, requestId, { decision, by });
      live.reply(reply);
      const known = approvalDecision.safeParse(decision);
      this.ports.onResolved(id, threadId, known.success ? known.data : 'accept');
    });
  }

  /** Applies a decision, where no other is being applied. */
  private async once({ id, threadId }: Approval, apply: () => Promise<void>): Promise<void> {
    this.ports.requireOwner(threadId);
    const applied = apply();
    this.deciding.set(id, applied);
    try {
      await applied;
    } finally {
      this.deciding.delete(id);
    }
    await this.goOn(threadId);
  }

  /** Why an approval cannot be decided that is not pending, or not any more. */
  private whyGone(id: string): string {
    if (this.deciding.has(id)) return `Approval ${id} is being decided by somebody else right now.`;
    const outcome = this.outcomes.get(id);
    if (outcome === undefined) return `No approval ${id} is pending on this host, nor has one been lately. "baton approvals" lists those that are.`;
    const { threadId, at, decided } = outcome;
    if (decided !== null) return `Approval ${id} was decided already: ${decided.decision}, ${byWhom(decided.by)}, at ${at.toISOString()}.`;
    const movedTo = this.ports.movedTo(threadId);
    return movedTo === null ? `Approval ${id} is not asked for any more: its turn ended at ${at.toISOString()}, before anybody decided.` : `Approval ${id} was not decided here: its thread moved to ${movedTo}, where it can be decided.`;
  }

  private async apply(subject: Approval, live: Pending | undefined, decision: ApprovalDecision, answers: Readonly<Record<string, readonly string[]>>, by: Actor): Promise<void> {
    const { id, threadId, digest } = subject;
    await this.ports.audit.append({ type: 'approval-decided', threadId, digest, subject: inShort(subject), decision, by, epoch: this.ports.epochOf(threadId) });
    if (live !== undefined) {
      this.pending.delete(id);
      this.over(subject, live.requestId, { decision, by });
      live.reply(replyTo(live.method, live.params, decision, answers));
    } else {
      await this.decideCarried(subject, decision, answers);
      this.over(subject, null, { decision, by });
    }
    this.ports.onResolved(id, threadId, decision);
  }

  /** The agent that asked is gone with its turn: it is told the decision, and what it asks for again is granted once, by digest. */
  private async decideCarried(subject: Approval, decision: ApprovalDecision, answers: Readonly<Record<string, readonly string[]>>): Promise<void> {
    const accepted = isAcceptance(decision);
    const grants = accepted && subject.kind !== 'userInput' ? [{ threadId: subject.threadId, digest: subject.digest, decision }] : [];
    const what = subject.command ?? (subject.changes.length > 0 ? `changes to ${subject.changes.map((change) => change.path).join(', ')}` : (subject.reason ?? subject.kind));
    const answered = Object.values(answers).flat().join('; ');
    const text =
      subject.kind === 'userInput' && accepted
        ? `The question that was open when the turn was interrupted is answered: ${answered}. Go on.`
        : accepted
          ? `The request that was pending when the turn was interrupted is approved: ${what}. Run it again and go on.`
          : `The request that was pending when the turn was interrupted is declined: ${what}. Do not run it; go on without it.`;
    const decided = { messageId: randomUUID(), text, approval: subject };
    // A host that is killed from here on tells the agent when it starts again.
    await this.ports.store.update((stored) => ({
      ...stored,
      pending: stored.pending.filter((candidate) => candidate.id !== subject.id),
      granted: [...stored.granted, ...grants],
      untold: [...stored.untold, ...(decision === 'cancel' ? [] : [decided])],
    }));
    if (decision !== 'cancel') await this.tell(decided);
  }

  private async tell(decided: Untold): Promise<void> {
    const { messageId, text, approval: subject } = decided;
    try {
      await this.ports.tellAgent(subject.threadId, text, messageId);
    } catch (error) {
      // The agent was not told, so it has to be decided again, here or where its thread goes.
      await this.ports.store.update((stored) => ({
        ...withoutUntold(stored, decided),
        pending: [...stored.pending, subject],
        granted: stored.granted.filter((grant) => grant.threadId !== subject.threadId || grant.digest !== subject.digest),
      }));
      throw error;
    }
    // Where this cannot be written, the next start finds the message in the thread.
    await this.ports.store.update((stored) => withoutUntold(stored, decided)).catch((error: unknown) => this.ports.onLeft(`That the agent of ${subject.threadId} was told of a decision could not be written down`, error));
  }

  private show(id: string, asked: AskedApproval, root: string, digest: string, carriedOver: boolean): Approval {
    const { threadId, turnId, itemId, kind, command, changes, questions, request, reason, cwd } = asked;
    return {
      id, threadId, turnId, itemId, kind, command, changes: [...changes], questions: [...questions], request, reason,
      cwd: cwd === null ? null : resolve(root, cwd),
      hostId: this.ports.hostId, digest, requestedAt: this.ports.now().toISOString(), carriedOver,
    };
  }
}

type Stored = z.output<typeof carriedApprovals>;

const withoutUntold = (stored: Stored, { messageId }: Untold): Stored => ({ ...stored, untold: stored.untold.filter((one) => one.messageId !== messageId) });

const withoutThread = ({ pending, granted, untold: decided, pausedGoals }: Stored, threadId: string): Stored => ({
  pending: pending.filter((one) => one.threadId !== threadId),
  granted: granted.filter((one) => one.threadId !== threadId),
  untold: decided.filter((one) => one.approval.threadId !== threadId),
  pausedGoals: pausedGoals.filter((id) => id !== threadId),
});

const isAcceptance = (decision: ApprovalDecision): decision is 'accept' | 'acceptForSession' => decision === 'accept' || decision === 'acceptForSession';

function byWhom(by: Actor): string {
  if (by === 'local') return 'by a controller on this machine';
  const [what, id] = by.split(':');
  return `by the ${what === 'device' ? 'device' : 'host'} ${id ?? ''}`;
}
