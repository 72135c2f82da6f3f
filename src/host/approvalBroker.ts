import { createHash } from 'node:crypto';
import { resolve } from 'node:path';
import { z } from 'zod';
import { approvalDigest, type CarriedApproval } from '../handoff/approval';
import { portablePath, readApprovalRequest, replyTo, type ApprovalMethod, type AskedApproval, type FileChange } from './approvalRequest';
import type { Access } from './access';
import type { Actor, AuditLog } from './audit';
import type { CodexRequest } from './codexClients';
import { readAnswer } from './codexAnswer';
import { HostError } from './hostError';
import type { JsonStore } from './jsonStore';
import { approval, approvalDecision, type Approval, type ApprovalDecision } from './protocol';

/** Approvals that were pending when their thread moved here, and grants that wait for the agent to ask again. */
export const carriedApprovals = z.object({
  pending: z.array(approval),
  granted: z.array(z.object({ threadId: z.string(), digest: z.string(), decision: z.enum(['accept', 'acceptForSession']) })),
});

export interface ApprovalPorts {
  readonly hostId: string;
  readonly audit: Pick<AuditLog, 'append'>;
  readonly store: Pick<JsonStore<typeof carriedApprovals>, 'value' | 'update'>;
  epochOf(threadId: string): number;
  /** The thread's working directory on this host. */
  threadRoot(threadId: string): Promise<string>;
  /** Diffs of a file change item that has begun. */
  changesOf(itemId: string): readonly FileChange[];
  /** Makes the agent go on after a carried approval was decided. */
  tellAgent(threadId: string, text: string): Promise<void>;
  onRequested(approval: Approval): void;
  onResolved(id: string, threadId: string, decision: ApprovalDecision | null): void;
  /** Throws HostError `thread-moved` or `thread-moving` where this host may not act on the thread. */
  requireOwner(threadId: string): void;
  /** The audit log does not take that something was requested. */
  onAuditFailed(error: unknown): void;
  now(): Date;
}

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

  constructor(private readonly ports: ApprovalPorts) {}

  list(threadId?: string): Approval[] {
    const all = [...[...this.pending.values()].map((entry) => entry.approval), ...this.ports.store.value.pending];
    return threadId === undefined ? all : all.filter((candidate) => candidate.threadId === threadId);
  }

  /** Takes up a request of the app-server; one that it repeats (after a reconnect) replaces the earlier one. */
  async request(requestId: string | number, method: ApprovalMethod, params: unknown, reply: (result: unknown) => void): Promise<void> {
    const state = { settled: false };
    const arrival = Object.assign(state, { shown: this.take(requestId, method, params, reply, state) });
    this.arriving.set(requestId, arrival);
    try {
      await arrival.shown;
    } finally {
      if (this.arriving.get(requestId) === arrival) this.arriving.delete(requestId);
    }
  }

  private async take(requestId: string | number, method: ApprovalMethod, params: unknown, reply: (result: unknown) => void, arrival: { readonly settled: boolean }): Promise<void> {
    const { threadId } = z.looseObject({ threadId: z.string(), itemId: z.string().nullish() }).parse(params);
    const itemId = z.looseObject({ itemId: z.string().nullish() }).parse(params).itemId;
    const root = await this.ports.threadRoot(threadId);
    const asked = readApprovalRequest(method, params, root, itemId == null ? [] : this.ports.changesOf(itemId));
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
    await this.ports.audit.append({ type: 'approval-requested', threadId, digest, kind: asked.kind, epoch: this.ports.epochOf(threadId) }).catch((error: unknown) => this.ports.onAuditFailed(error));
    // Its turn may have ended meanwhile; then nobody waits for a decision any more.
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
      this.ports.onResolved(id, entry.approval.threadId, null);
    }
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
    await this.arrived();
    // What is decided here must not be asked again at the destination. No decision begins on a thread that is moving.
    await Promise.allSettled([...this.deciding.values()]);
    const root = await this.ports.threadRoot(threadId);
    const live = [...this.pending.values()].filter((entry) => entry.approval.threadId === threadId);
    const carried = this.ports.store.value.pending.filter((candidate) => candidate.threadId === threadId);
    return [
      ...live.map(({ asked: { kind, command, changes, questions, request, cwd, reason }, approval: { digest } }) => ({ kind, command, changes, questions, request, cwd, reason, digest })),
      // These were shown with this host's directory; what travels is what was digested.
      ...carried.map(({ kind, command, changes, questions, request, reason, digest, cwd }) => ({
        kind, command, changes, questions, request, reason, digest,
        cwd: cwd === null ? null : portablePath(cwd, root),
      })),
    ];
  }

  /** Digests of what a turn that runs here waits for. */
  async asking(threadId: string): Promise<ReadonlySet<string>> {
    await this.arrived();
    return new Set([...this.pending.values()].filter((entry) => entry.approval.threadId === threadId).map((entry) => entry.approval.digest));
  }

  private async arrived(): Promise<void> {
    await Promise.allSettled([...this.arriving.values()].map(({ shown }) => shown));
  }

  /** Raises again what was pending when a turn was interrupted: at a handoff's source, or before this host was restarted. Throws HostError for one whose digest is not its own. */
  async adopt(threadId: string, carried: readonly CarriedApproval[]): Promise<void> {
    const root = await this.ports.threadRoot(threadId);
    const raised = carried.map((one) => {
      if (approvalDigest({ ...one, threadId }) !== one.digest) throw new HostError('transfer-corrupt', 'A pending approval does not match its digest.');
      const id = this.carriedId(threadId, one.digest);
      return this.show(id, { ...one, threadId, turnId: null, itemId: null, approvalId: null }, root, one.digest, true);
    });
    await this.ports.store.update((stored) => ({ ...stored, pending: [...stored.pending.filter((candidate) => candidate.threadId !== threadId), ...raised] }));
    for (const one of raised) {
      await this.ports.audit.append({ type: 'approval-carried', threadId, digest: one.digest, kind: one.kind, epoch: this.ports.epochOf(threadId) });
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
    const others = <T extends { readonly threadId: string }>(entries: readonly T[]) => entries.filter((entry) => entry.threadId !== threadId);
    const { granted, pending } = this.ports.store.value;
    const gone = pending.filter((candidate) => candidate.threadId === threadId);
    if (gone.length > 0 || others(granted).length < granted.length) await this.ports.store.update((stored) => ({ pending: others(stored.pending), granted: others(stored.granted) }));
    for (const one of gone) this.ports.onResolved(one.id, threadId, null);
  }

  /** Applies a decision. Throws HostError `no-such-approval`, `approval-outdated`, or `thread-moving` while the thread is handed off: it then travels undecided. */
  async decide(id: string, digest: string, decision: ApprovalDecision, answers: Readonly<Record<string, readonly string[]>>, by: Actor): Promise<void> {
    const live = this.pending.get(id);
    const carried = this.ports.store.value.pending.find((candidate) => candidate.id === id);
    const subject = live?.approval ?? carried;
    if (subject === undefined || this.deciding.has(id)) {
      throw new HostError('no-such-approval', `No approval ${id} is pending: it was decided already, its turn ended, or its thread moved.`);
    }
    if (subject.digest !== digest) throw new HostError('approval-outdated', `Approval ${id} now asks for something else than what was shown. Look at it again and decide anew.`);
    await this.once(subject, () => this.apply(subject, live, decision, answers, by));
  }

  /**
   * Answers a request as a client does that speaks Codex's own protocol. Throws HostError `no-such-approval`, `not-permitted` where the role
   * is too low for such an answer, `invalid-params`, or as `decide`.
   */
  async answer(requestId: string | number, result: unknown, { role, by }: Pick<Access, 'role' | 'by'>): Promise<void> {
    const live = [...this.pending.values()].find((entry) => entry.requestId === requestId);
    if (live === undefined || this.deciding.has(live.approval.id)) throw new HostError('no-such-approval', 'The request was answered already, or its turn ended.');
    const { id, threadId, digest } = live.approval;
    const { decision, reply } = readAnswer(live.method, result, role);
    await this.once(live.approval, async () => {
      await this.ports.audit.append({ type: 'approval-decided', threadId, digest, decision, by, epoch: this.ports.epochOf(threadId) });
      this.pending.delete(id);
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
  }

  private async apply(subject: Approval, live: Pending | undefined, decision: ApprovalDecision, answers: Readonly<Record<string, readonly string[]>>, by: Actor): Promise<void> {
    const { id, threadId, digest } = subject;
    await this.ports.audit.append({ type: 'approval-decided', threadId, digest, decision, by, epoch: this.ports.epochOf(threadId) });
    if (live !== undefined) {
      this.pending.delete(id);
      live.reply(replyTo(live.method, live.params, decision, answers));
    } else {
      await this.decideCarried(subject, decision, answers);
    }
    this.ports.onResolved(id, threadId, decision);
  }

  /** The agent that asked is gone with its turn: it is told the decision, and what it asks for again is granted once, by digest. */
  private async decideCarried(subject: Approval, decision: ApprovalDecision, answers: Readonly<Record<string, readonly string[]>>): Promise<void> {
    const accepted = decision === 'accept' || decision === 'acceptForSession';
    const grants = accepted && subject.kind !== 'userInput' ? [{ threadId: subject.threadId, digest: subject.digest, decision }] : [];
    await this.ports.store.update(({ granted, pending }) => ({ pending: pending.filter((candidate) => candidate.id !== subject.id), granted: [...granted, ...grants] }));
    if (decision === 'cancel') return;
    const what = subject.command ?? (subject.changes.length > 0 ? `changes to ${subject.changes.map((change) => change.path).join(', ')}` : (subject.reason ?? subject.kind));
    const answered = Object.values(answers).flat().join('; ');
    const text =
      subject.kind === 'userInput' && accepted
        ? `The question that was open when the turn was interrupted is answered: ${answered}. Go on.`
        : accepted
          ? `The request that was pending when the turn was interrupted is approved: ${what}. Run it again and go on.`
          : `The request that was pending when the turn was interrupted is declined: ${what}. Do not run it; go on without it.`;
    try {
      await this.ports.tellAgent(subject.threadId, text);
    } catch (error) {
      // The agent was not told, so it has to be decided again, here or where its thread goes.
      await this.ports.store.update(({ granted, pending }) => ({
        pending: [...pending, subject],
        granted: granted.filter((grant) => grant.threadId !== subject.threadId || grant.digest !== subject.digest),
      }));
      throw error;
    }
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
