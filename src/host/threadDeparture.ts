import { stat } from 'node:fs/promises';
import { isAbsolute } from 'node:path';
import { portableInput, clearQueue, readAttachments, readGoal, readQueue, startQueue, restoreGoal, restoreQueue } from '../codex/besideRollout';
import type { AppServer } from '../codex/appServer';
import { CodexError } from '../codex/codexError';
import { onceWritten } from '../codex/onceWritten';
import { quiesceThread, subAgentsOf } from '../codex/quiesce';
import { describeRollout, hashBodyPrefix, readBody, readMetaLine } from '../codex/rollout';
import { imageFilesIn } from '../codex/rolloutImages';
import { findRollouts, listRollouts, neededBytes, type RolloutFile } from '../codex/rolloutFamily';
import { holderOf, holderText } from '../codex/threadHolder';
import { injectNote, markMoved, movedMark, readThread } from '../codex/threads';
import { readRepository } from '../git/repository';
import type { CarriedApproval } from '../handoff/approval';
import type { CarriedThread } from '../handoff/carriedThread';
import { requirementsOfBoth, type Policy, type Requirements } from '../handoff/policy';
import type { Finding } from '../handoff/finding';
import type { HandoffIdentity } from '../handoff/sourceTransaction';
import type { ApprovalBroker } from './approvalBroker';
import type { ApprovalTrail } from './approvalTrail';
import type { CodexHost, ThreadSettings } from './codexHost';
import { ForeignQuestions } from './foreignQuestions';
import type { HeldPolicies } from './heldPolicies';
import { HostError } from './hostError';
import type { Log } from './log';
import { isWithin } from './managedWorktrees';
import type { SourceRollout } from './sendTransfer';
import type { SourceThread, Subject } from './sourcePorts';
import { describeError } from './wireError';

/** Codex's default for a thread whose configuration says nothing: it asks, and may write to its workspace only. */
const cautious: Policy = { approvalPolicy: 'on-request', sandbox: 'workspace-write', networkAccess: false, excludeTmpdirEnvVar: false, excludeSlashTmp: false };

/** A rollout of a thread's family with line 1 and the length of what travels of it. */
type Travelling = RolloutFile & { readonly metaLine: string; readonly bodyBytes: number };

/** Of a thread and its sub-agents, what each had waited for already when its turn ended. */
type Kept = Map<string, CarriedApproval[]>;

/** What the source of a handoff does with a thread's Codex side: out of the app-server and its files, or back into it. */
export class ThreadDeparture {
  constructor(
    private readonly codex: CodexHost,
    private readonly approvals: ApprovalBroker,
    private readonly held: HeldPolicies,
    private readonly log: Log,
    /** Brings the thread's worktree back where it was removed. */
    private readonly wake: (threadId: string) => Promise<void>,
    private readonly trail: Pick<ApprovalTrail, 'of'>,
    private readonly worktreeOf: (threadId: string) => string | null,
  ) {}

  async describe(subject: Subject): Promise<SourceThread> {
    const server = await this.codex.ready();
    if ('threadId' in subject) await this.wake(subject.threadId);
    const [requirements, configured] = await Promise.all([this.requirements('threadId' in subject ? subject.threadId : null), this.codex.configuredPolicy()]);
    const common = { requirements, codexVersion: server.version };
    if (!('threadId' in subject)) return { ...common, cwd: subject.directory, modelProvider: configured.modelProvider, model: null, policy: configured.policy ?? cautious, approvalsReviewer: 'user', findings: [] };
    try {
      return { ...common, ...(await this.describeThread(subject.threadId)) };
    } catch (error) {
      if (CodexError.is(error, 'thread-in-use')) return { ...common, ...(await this.describeHeld(subject.threadId, error)), policy: configured.policy ?? cautious, approvalsReviewer: 'user' };
      if (CodexError.is(error, 'thread-not-found')) throw new HostError('no-such-thread', `There is no thread ${subject.threadId} on this host. "baton threads" lists those that are.`, { cause: error });
      throw error;
    }
  }

  private async describeThread(threadId: string): Promise<Pick<SourceThread, 'cwd' | 'modelProvider' | 'model' | 'policy' | 'approvalsReviewer' | 'findings'>> {
    const having = await this.codex.serverOf(threadId);
    const { server, settings, foreign } = having;
    try {
      // One whose first turn has just begun can be neither read nor stopped yet.
      await onceWritten(() => server.request('thread/turns/list', { threadId, limit: 1 }));
      await onceWritten(() => this.rolloutSizes(threadId));
      const { policy } = settings;
      if (policy === null) throw new HostError('preflight-blocked', 'The thread runs in a sandbox that is not Codex\'s own, so another host cannot be told what it may do.');
      const findings = await this.staysBehind(server, threadId, settings.writableRoots);
      if (((await listRollouts(this.codex.codexHome)).get(threadId)?.length ?? 0) > 1) {
        findings.push({ level: 'warning', code: 'reverted', message: 'The thread was reverted. The agent remembers at the destination what it remembers here, but Codex shows there only what was said since the last revert.' });
      }
      const images = await this.imagesElsewhere(threadId, settings.cwd);
      if (images.length > 0) findings.push({ level: 'warning', code: 'images-stay', message: imagesStay(images) });
      const worktree = this.worktreeOf(threadId);
      if (worktree !== null && !isWithin(settings.cwd, worktree)) {
        findings.push({ level: 'warning', code: 'works-elsewhere', message: `The thread works in ${settings.cwd}, where it was resumed outside Baton, and not in its worktree ${worktree}. What is in ${settings.cwd} goes along, what is in the worktree stays. To hand off the worktree, resume the thread there first: "codex resume ${threadId}" in ${worktree}.` });
      }
      if (foreign) {
        const holder = await holderOf(this.codex.codexHome, threadId);
        findings.push({ level: 'warning', code: 'held-elsewhere', message: `${holderText(holder)} has the thread open, for a terminal, an editor or another program of yours; the handoff stops the thread there. Close it there first if you want to see it end.` });
      }
      const { cwd, model: name, modelProvider, approvalsReviewer } = settings;
      return { cwd, modelProvider, model: { name, listed: (await this.codex.modelsOf(modelProvider))?.includes(name) === true }, policy, approvalsReviewer, findings };
    } finally {
      having.close();
    }
  }

  /** A thread that another program has, which cannot be asked: it stays where it is. */
  private async describeHeld(threadId: string, { message }: CodexError): Promise<Pick<SourceThread, 'cwd' | 'modelProvider' | 'model' | 'findings'>> {
    const { cwd } = await readThread(await this.codex.ready(), threadId);
    return { cwd, modelProvider: null, model: null, findings: [{ level: 'blocker', code: 'thread-in-use', message }] };
  }

  /** What of a thread cannot go to another machine, or not as it is. */
  private async staysBehind(server: AppServer, threadId: string, writableRoots: readonly string[]): Promise<Finding[]> {
    const findings: Finding[] = [];
    if (writableRoots.length > 0) {
      findings.push({ level: 'warning', code: 'writable-roots-stay', message: `The thread may also write to ${writableRoots.join(', ')} here. At the destination it writes to its worktree only; it can ask there for more.` });
    }
    const running = await Promise.all((await subAgentsOf(server, threadId)).map(async (id) => (await readThread(server, id)).status.type === 'active'));
    const count = running.filter(Boolean).length;
    if (count > 0) findings.push({ level: 'warning', code: 'sub-agents-stop', message: `${count === 1 ? 'A sub-agent' : `${count} sub-agents`} of the thread still work${count === 1 ? 's' : ''} and will be stopped. They travel with it, and it can set them going again.` });
    const missing = (await Promise.all((await readQueue(server, threadId)).map(({ input }) => portableInput(input)))).flatMap((queued) => queued.missing);
    if (missing.length > 0) findings.push({ level: 'warning', code: 'queued-file-stays', message: `What waits in the thread's queue names files that cannot be read here or are too large, and goes without them: ${missing.slice(0, 5).join(', ')}.` });
    return findings;
  }

  /** Files of this machine outside the checkout that the conversation shows as pictures. */
  private async imagesElsewhere(threadId: string, cwd: string): Promise<string[]> {
    const root = await readRepository(cwd).then((repository) => repository.root, () => cwd);
    const own = (await findRollouts({ codexHome: this.codex.codexHome, threadId, server: await this.codex.ready() }).catch((error: unknown) => {
      // One whose first turn has just begun shows nothing yet.
      if (CodexError.is(error, 'rollout-missing')) return [];
      throw error;
    })).filter(({ relation }) => relation !== 'subagent');
    const named = new Set<string>();
    for (const { path } of own) for (const file of await imageFilesIn(path)) named.add(file);
    const here = await Promise.all([...named].map(async (file) => isAbsolute(file) && !isWithin(file, root) && (await stat(file).then((found) => found.isFile(), () => false))));
    return [...named].filter((_, index) => here[index]);
  }

  async rolloutSizes(threadId: string): Promise<{ name: string; bodyBytes: number }[]> {
    return (await this.travelling(threadId)).map(({ name, bodyBytes }) => ({ name, bodyBytes }));
  }

  async rollouts(threadId: string): Promise<SourceRollout[]> {
    const described: SourceRollout[] = [];
    // One after the other: each is read whole.
    for (const { path, name, metaLine, threadId: owner, bodyBytes: wanted } of await this.travelling(threadId)) {
      const whole = await describeRollout(path);
      const { bodyBytes, bodySha256 } = whole.bodyBytes <= wanted ? whole : { bodyBytes: wanted, bodySha256: await hashBodyPrefix(path, wanted) };
      described.push({ name, threadId: owner, metaLine, bodyBytes, bodySha256, hashPrefix: (bytes) => hashBodyPrefix(path, bytes), read: (from) => readBody(path, from, bodyBytes) });
    }
    return described;
  }

  /** The files of a thread's family; of an ancestor only what the others build on, and that may still grow for the rest. */
  private async travelling(threadId: string): Promise<Travelling[]> {
    const files = await findRollouts({ codexHome: this.codex.codexHome, threadId, server: await this.codex.ready() });
    const read = await Promise.all(files.map(async (file) => ({ ...file, metaLine: await readMetaLine(file.path), size: (await stat(file.path)).size })));
    return read.map(({ size, ...file }) => {
      const whole = Math.max(0, size - Buffer.byteLength(file.metaLine) - 1);
      return { ...file, bodyBytes: file.relation === 'ancestor' ? Math.min(whole, neededBytes(file, read)) : whole };
    });
  }

  /** Stops the thread with its sub-agents and unloads it. Before that `record` is given what Codex then forgets, pending approvals above all. */
  async quiesce(threadId: string, record: (carried: CarriedThread) => Promise<void>, signal: AbortSignal): Promise<void> {
    const having = await this.codex.serverOf(threadId);
    const { server, settings, foreign } = having;
    const questions = foreign ? new ForeignQuestions(having, threadId, this.approvals, this.codex) : null;
    try {
      await questions?.heard();
      await this.stop(server, settings, threadId, record, signal);
    } finally {
      questions?.dispose();
      having.close();
    }
  }

  private async stop(server: AppServer, settings: ThreadSettings, threadId: string, record: (carried: CarriedThread) => Promise<void>, signal: AbortSignal): Promise<void> {
    const { model, modelProvider, policy, approvalsReviewer } = settings;
    const interruption = this.approvals.overInterruption();
    try {
      const [requirements, { name, status }, attachments, agents, trail, images] = await Promise.all([this.requirements(threadId), readThread(server, threadId), readAttachments(server, threadId), subAgentsOf(server, threadId), this.trail.of(threadId), this.imagesElsewhere(threadId, settings.cwd)]);
      const kept: Kept = new Map();
      for (const id of [threadId, ...agents]) kept.set(id, await this.approvals.carryKept(id));
      const before: CarriedThread = {
        name: name == null || name.startsWith(movedMark) ? null : name,
        model,
        modelProvider,
        policy: policy ?? cautious,
        approvalsReviewer,
        requirements,
        ...(await this.waiting(server, threadId, interruption, kept, status.type === 'active')),
        attachments,
        trail,
        leftBehind: images.length === 0 ? [] : [imagesStay(images)],
      };
      signal.throwIfAborted();
      await record(before);
      // Loaded again after a handoff that was given up, it must not run under this machine's configuration instead.
      await this.held.hold(threadId, { requirements: null, ...this.held.of(threadId), policy: before.policy, approvalsReviewer });
      const { interruptedTurnId, goalPaused } = await quiesceThread(server, threadId);
      // Until it was interrupted the turn ran on: what it asked for and what was queued since goes along too.
      const after = await this.waiting(server, threadId, interruption, kept, before.queue.flowing || interruptedTurnId !== null);
      await record({ ...before, ...after, goal: after.goal !== null && goalPaused ? { ...after.goal, status: 'active' } : after.goal });
    } finally {
      interruption.dispose();
    }
  }

  /** What a thread and its sub-agents wait for, and what goes on by itself. Loads nothing. */
  private async waiting(server: AppServer, threadId: string, interruption: ReturnType<ApprovalBroker['overInterruption']>, kept: Kept, flowing: boolean): Promise<Pick<CarriedThread, 'goal' | 'approvals' | 'subAgents' | 'queue'>> {
    const [goal, queued, agents] = await Promise.all([readGoal(server, threadId), readQueue(server, threadId), subAgentsOf(server, threadId)]);
    const carry = async (id: string) => [...(await interruption.carryAsked(id)), ...(kept.get(id) ?? [])];
    const subAgents = [];
    for (const id of agents) {
      const approvals = await carry(id);
      if (approvals.length > 0) subAgents.push({ threadId: id, approvals });
    }
    const paused = goal?.status === 'paused' && this.approvals.pausesGoal(threadId);
    return { goal: goal !== null && paused ? { ...goal, status: 'active' } : goal, approvals: await carry(threadId), subAgents, queue: { flowing, waiting: await portableQueue(queued) } };
  }

  /** Makes a thread usable again as it was; `before` is what was recorded, null where it was not stopped yet. */
  async unquiesce(threadId: string, before: CarriedThread | null): Promise<void> {
    await this.codex.use.during(threadId, async () => {
      try {
        await this.codex.settingsOf(threadId);
      } catch (error) {
        // A checkout that was to begin a thread elsewhere has none here.
        if (CodexError.is(error, 'thread-not-found')) return;
        throw error;
      }
      if (before !== null) await this.putBack(threadId, before);
    });
  }

  /** Has a thread wait for what it waited for when it was stopped, and go on with what went on by itself. May be repeated. */
  async putBack(threadId: string, before: CarriedThread): Promise<void> {
    for (const { threadId: id, approvals } of [{ threadId, approvals: before.approvals }, ...before.subAgents]) {
      // A host that was killed may have left the turn running, and then it still asks by itself.
      const asking = await this.approvals.asking(id);
      await this.approvals.adopt(id, approvals.filter(({ digest }) => !asking.has(digest)), id === threadId && goesOn(before));
    }
    const server = await this.codex.ready();
    await restoreQueue(server, threadId, before.queue.waiting as Parameters<typeof restoreQueue>[2]);
    await setGoing(server, threadId, before, this.approvals.list(threadId).some(({ carriedOver }) => carriedOver), this.log);
  }

  /** Stops a thread as a handoff does, and gives what makes it usable again. */
  async pause(threadId: string): Promise<() => Promise<void>> {
    let before: CarriedThread | null = null;
    const record = (carried: CarriedThread) => {
      before = carried;
      return Promise.resolve();
    };
    try {
      await this.quiesce(threadId, record, new AbortController().signal);
    } catch (error) {
      await this.unquiesce(threadId, before);
      throw error;
    }
    return () => this.unquiesce(threadId, before);
  }

  /** Tells the agent something that it sees with the thread's next turn. */
  async tell(threadId: string, note: string): Promise<void> {
    await this.codex.use.during(threadId, async () => {
      await this.codex.settingsOf(threadId);
      await injectNote(await this.codex.ready(), threadId, note);
    });
  }

  async markMoved(handoff: HandoffIdentity): Promise<void> {
    const { threadId, destination, destinationName, epoch } = handoff;
    const server = await this.codex.ready();
    const { name } = await readThread(server, threadId);
    const agents = await subAgentsOf(server, threadId);
    // It waits at the destination. In the archive, where a crash may have left the thread already, there is none.
    await clearQueue(server, threadId).catch((error: unknown) => {
      if (!CodexError.is(error, 'thread-archived')) throw error;
    });
    await markMoved(server, { threadId, destinationHostId: destination, destinationName, epoch, name: name == null || name.startsWith(movedMark) ? null : name });
    for (const id of [threadId, ...agents]) await this.approvals.forget(id);
  }

  /** This host's constraints, and those that came with the thread. */
  private async requirements(threadId: string | null): Promise<Requirements | null> {
    return requirementsOfBoth(await this.codex.requirements(), threadId === null ? null : (this.held.of(threadId)?.requirements ?? null));
  }
}

const imagesStay = (images: readonly string[]): string => {
  const named = images.slice(0, 5).map((path) => (path.length <= 150 ? path : `…${path.slice(-149)}`));
  return `Pictures of the conversation lie outside the checkout. The agent keeps what it has seen of them, but the files stay: ${named.join(', ')}${images.length > named.length ? ` and ${images.length - named.length} more` : ''}.`;
};

async function portableQueue(waiting: Awaited<ReturnType<typeof readQueue>>): Promise<CarriedThread['queue']['waiting']> {
  const portable = [];
  for (const { input, clientUserMessageId, responsesapiClientMetadata } of waiting) {
    const { input: kept } = await portableInput(input);
    if (kept.length > 0) portable.push({ input: kept as CarriedThread['queue']['waiting'][number]['input'], clientUserMessageId, responsesapiClientMetadata: (responsesapiClientMetadata ?? null) as Record<string, string> | null });
  }
  return portable;
}

/** Whether a thread's goal makes it go on by itself. */
export const goesOn = ({ goal }: Pick<CarriedThread, 'goal'>): boolean => goal?.status === 'active';

/** Sets going what goes on by itself, last of all: the goal and the queue. While something `waits` for a person's approval both wait too: the broker sets such a goal going, Codex the queue. */
export async function setGoing(server: Awaited<ReturnType<CodexHost['ready']>>, threadId: string, carried: CarriedThread, waits: boolean, log: Log): Promise<void> {
  const { goal, queue } = carried;
  if (goal !== null) {
    await restoreGoal(server, threadId, goesOn(carried) && waits ? { ...goal, status: 'paused' } : goal).catch((error: unknown) => {
      log.warn(`The goal of ${threadId} could not be set: ${describeError(error).message}`);
    });
  }
  if (queue.flowing && !waits) {
    await startQueue(server, threadId).catch((error: unknown) => {
      log.warn(`What waits in the queue of ${threadId} could not be begun: ${describeError(error).message}`);
    });
  }
}
