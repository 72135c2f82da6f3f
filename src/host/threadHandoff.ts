import { stat } from 'node:fs/promises';
import { describeRollout, hashBodyPrefix, readBody, readMetaLine } from '../codex/rollout';
import { findRollouts, listRollouts, type RolloutFile } from '../codex/rolloutFamily';
import { installRollout, requirePrefix, stageRollout } from '../codex/rolloutImport';
import { readPlan } from '../codex/rolloutPlan';
import { CodexError } from '../codex/codexError';
import { allThreads, beginMoved, injectNote, isArchived, markMoved, quiesceThread, readThread, resumeMoved, unmarkMoved, type AppliedPolicy } from '../codex/threads';
import type { CarriedThread } from '../handoff/carriedThread';
import { isNoLaxer, policyOf, requirementsOfBoth, writableRootsOf, type Policy, type Requirements } from '../handoff/policy';
import { destinationPolicy } from '../handoff/preflight';
import type { RolloutHash } from '../handoff/receipt';
import type { HandoffIdentity } from '../handoff/sourceTransaction';
import type { ApprovalBroker } from './approvalBroker';
import type { CodexHost } from './codexHost';
import type { Arrival } from './handoffDestination';
import type { SourceThread, Subject } from './handoffSource';
import type { HeldPolicies } from './heldPolicies';
import { HostError } from './hostError';
import type { IncomingHandoff } from './incomingHandoff';
import type { Log } from './log';
import type { Manifest } from './peerProtocol';
import type { Plan } from './protocol';
import type { SourceRollout } from './sendTransfer';
import { describeError } from './wireError';

/** Codex's default for a thread whose configuration says nothing: it asks, and may write to its workspace only. */
const cautious: Policy = { approvalPolicy: 'on-request', sandbox: 'workspace-write', networkAccess: false, excludeTmpdirEnvVar: false, excludeSlashTmp: false };

/** What a handoff does with a thread's Codex side: out of the source's app-server and files, into the destination's. */
export class ThreadHandoff {
  constructor(
    private readonly codex: CodexHost,
    private readonly approvals: ApprovalBroker,
    private readonly held: HeldPolicies,
    private readonly log: Log,
    private readonly hostName: () => string,
    /** Brings the thread's worktree back where it was removed. */
    private readonly wake: (threadId: string) => Promise<void>,
  ) {}

  async describe(subject: Subject): Promise<SourceThread> {
    const server = await this.codex.ready();
    if ('threadId' in subject) await this.wake(subject.threadId);
    const [requirements, configured] = await Promise.all([this.requirements('threadId' in subject ? subject.threadId : null), this.codex.configuredPolicy()]);
    const common = { requirements, codexVersion: server.version };
    if (!('threadId' in subject)) return { ...common, cwd: subject.directory, modelProvider: configured.modelProvider, policy: configured.policy ?? cautious };
    try {
      const settings = await this.codex.settingsOf(subject.threadId);
      if (settings.policy === null) throw new HostError('preflight-blocked', 'The thread runs in a sandbox that is not Codex\'s own, so another host cannot be told what it may do.');
      return { ...common, ...settings, policy: settings.policy };
    } catch (error) {
      if (CodexError.is(error, 'thread-not-found')) throw new HostError('no-such-thread', `There is no thread ${subject.threadId} on this host. "baton threads" lists those that are.`, { cause: error });
      throw error;
    }
  }

  async rolloutSizes(threadId: string): Promise<{ name: string; bodyBytes: number }[]> {
    const files = await findRollouts({ codexHome: this.codex.codexHome, threadId });
    return Promise.all(
      files.map(async ({ path, name }) => ({ name, bodyBytes: Math.max(0, (await stat(path)).size - Buffer.byteLength(await readMetaLine(path)) - 1) })),
    );
  }

  async rollouts(threadId: string): Promise<SourceRollout[]> {
    const files = await findRollouts({ codexHome: this.codex.codexHome, threadId });
    const described: SourceRollout[] = [];
    // One after the other: each is read whole.
    for (const { path, threadId: owner } of files) {
      const { name, metaLine, bodyBytes, bodySha256 } = await describeRollout(path);
      described.push({ name, threadId: owner, metaLine, bodyBytes, bodySha256, hashPrefix: (bytes) => hashBodyPrefix(path, bytes), read: (from) => readBody(path, from, bodyBytes) });
    }
    return described;
  }

  /** Stops the running turn and unloads the thread. Before that `record` is given what Codex then forgets, pending approvals above all. */
  async quiesce(threadId: string, record: (carried: CarriedThread) => Promise<void>, signal: AbortSignal): Promise<void> {
    const server = await this.codex.ready();
    const { model, modelProvider, policy, approvalsReviewer } = await this.codex.settingsOf(threadId);
    const [approvals, requirements, { goal }, { name }] = await Promise.all([
      this.approvals.carry(threadId),
      this.requirements(threadId),
      server.request('thread/goal/get', { threadId }),
      readThread(server, threadId),
    ]);
    const carried: CarriedThread = {
      name: name ?? null,
      model,
      modelProvider,
      policy: policy ?? cautious,
      approvalsReviewer,
      requirements,
      goal: goal === null ? null : { objective: goal.objective, status: goal.status, tokenBudget: goal.tokenBudget },
      approvals,
      leftBehind: [],
    };
    signal.throwIfAborted();
    await record(carried);
    // Loaded again after a handoff that was given up, it must not run under this machine's configuration instead.
    await this.held.hold(threadId, { policy: carried.policy, approvalsReviewer, requirements: this.held.of(threadId)?.requirements ?? null });
    await quiesceThread(server, threadId);
  }

  /** Makes a thread usable again as it was; `before` is what was recorded, null where it was not stopped yet. */
  async unquiesce(threadId: string, before: CarriedThread | null): Promise<void> {
    try {
      await this.codex.settingsOf(threadId);
    } catch (error) {
      // A checkout that was to begin a thread elsewhere has none here.
      if (CodexError.is(error, 'thread-not-found')) return;
      throw error;
    }
    if (before === null) return;
    // A host that was killed may have left the turn running, and then it still asks by itself.
    const asking = await this.approvals.asking(threadId);
    await this.approvals.adopt(threadId, before.approvals.filter(({ digest }) => !asking.has(digest)));
    await this.restoreGoal(threadId, before);
  }

  async markMoved(handoff: HandoffIdentity): Promise<void> {
    const { threadId, destination, destinationName, epoch } = handoff;
    const server = await this.codex.ready();
    const { name } = await readThread(server, threadId);
    await markMoved(server, { threadId, destinationHostId: destination, destinationName, epoch, name: name == null || name.startsWith('↪ ') ? null : name });
    await this.approvals.forget(threadId);
  }

  /** Of the named rollouts, those that are here from an earlier stay. */
  async heldRollouts(names: readonly string[]): Promise<RolloutHash[]> {
    const held = [];
    for (const file of [...(await listRollouts(this.codex.codexHome)).values()].flat()) {
      if (file.compressed || !names.includes(file.name)) continue;
      const { name, bodyBytes, bodySha256 } = await describeRollout(file.path);
      held.push({ name, bodyBytes, bodySha256 });
    }
    return held;
  }

  /** Completes each received rollout in the handoff's staging directory. Throws CodexError `rollout-diverged` where this host's copy went another way. */
  async stageRollouts(incoming: IncomingHandoff, announced: Manifest, cwd: string): Promise<{ name: string; path: string; hash: RolloutHash }[]> {
    const known = await listRollouts(this.codex.codexHome);
    const staged = [];
    for (const [index, { name, metaLine, bodyBytes, bodySha256, from, threadId }] of announced.rollouts.entries()) {
      const copy = known.get(threadId)?.find((file) => file.name === name && !file.compressed);
      const complete = await stageRollout({
        stagingDir: incoming.staging,
        name,
        metaLine,
        ...(copy === undefined || from === 0 ? {} : { existing: copy.path }),
        prefixBytes: from,
        tail: incoming.readTail(announced, index),
        bodyBytes,
        bodySha256,
        cwd,
        family: announced.rollouts,
      });
      if (copy !== undefined) await requirePrefix(copy.path, complete);
      staged.push({ name, path: complete.path, hash: { name, bodyBytes: complete.bodyBytes, bodySha256: complete.bodySha256 } });
    }
    return staged;
  }

  /** The thread goes on here: its rollouts in place, resumed in its worktree under a policy no wider than before. May be repeated. */
  async activate({ record, manifest, rollouts, cwd }: Arrival): Promise<{ threadId: string; notes: string[] }> {
    const { thread: carried } = manifest;
    const server = await this.codex.ready();
    const wanted = destinationPolicy(carried.policy, carried.requirements, await this.codex.facts());
    if (wanted === null) throw new HostError('preflight-blocked', `${this.hostName()} no longer allows a policy as strict as the thread's, so it was not resumed.`);
    if (manifest.rollouts.length === 0) return this.begin(cwd, wanted, manifest, record.sourceName);

    const { threadId } = record;
    // Before anything can load the thread.
    await this.held.hold(threadId, { policy: wanted, approvalsReviewer: carried.approvalsReviewer, requirements: carried.requirements });
    if (await isArchived(server, threadId)) await unmarkMoved(server, { threadId, name: carried.name });
    for (const rollout of rollouts) await this.install(rollout, threadId);
    const notes = this.inForce(await resumeMoved(server, { threadId, ...explicit(cwd, wanted, carried) }), wanted, carried);
    if (carried.name !== null) await server.request('thread/name/set', { threadId, name: carried.name });
    await injectNote(server, threadId, noteForAgent(record.sourceName, this.hostName(), cwd, manifest));
    await this.approvals.adopt(threadId, carried.approvals);
    if (carried.approvals.length > 0) notes.push(`${carried.approvals.length === 1 ? 'One approval was' : `${carried.approvals.length} approvals were`} pending and can be decided on ${this.hostName()} now.`);
    await this.restoreGoal(threadId, carried);
    return { threadId, notes };
  }

  /** The last plan in the thread's rollout; null where the agent made none. */
  async plan(threadId: string): Promise<Plan | null> {
    const own = (await this.filesOf(threadId)).filter((file) => !file.compressed).at(-1);
    return own === undefined ? null : readPlan(own.path);
  }

  /** This host's constraints, and those that came with the thread. */
  private async requirements(threadId: string | null): Promise<Requirements | null> {
    return requirementsOfBoth(await this.codex.requirements(), threadId === null ? null : (this.held.of(threadId)?.requirements ?? null));
  }

  /** Whether Codex has a thread of that id. */
  async hasThread(threadId: string): Promise<boolean> {
    return (await this.filesOf(threadId)).length > 0;
  }

  private async filesOf(threadId: string): Promise<Omit<RolloutFile, 'relation'>[]> {
    return (await listRollouts(this.codex.codexHome)).get(threadId) ?? [];
  }

  /** Puts one staged rollout in its place, unless that was done before this host was restarted. */
  private async install({ path, name }: { readonly path: string; readonly name: string }, mainThread: string): Promise<void> {
    const staged = await describeRollout(path).catch((error: unknown) => {
      if (CodexError.is(error, 'rollout-missing')) return null;
      throw error;
    });
    if (staged === null) return;
    const owner = /-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:_[^/]*)?\.jsonl$/.exec(name)?.[1] ?? mainThread;
    if (owner !== mainThread && (await this.filesOf(owner)).some((file) => file.name === name && file.archived)) {
      // An ancestor that the user archived here holds what the thread builds on; it does not grow any more.
      return;
    }
    await installRollout({ codexHome: this.codex.codexHome, staged: { ...staged, path, threadId: owner } });
  }

  /** A thread begins here in the working state that came without one. */
  private async begin(cwd: string, wanted: Policy, manifest: Manifest, from: string): Promise<{ threadId: string; notes: string[] }> {
    const { thread: carried, prompt } = manifest;
    const server = await this.codex.ready();
    // A host that was stopped before it could note that the thread has begun finds it by its worktree, which is nobody else's.
    for await (const { id: threadId } of allThreads(server, { cwd })) return { threadId, notes: this.inForce(await resumeMoved(server, { threadId, ...explicit(cwd, wanted, carried) }), wanted, carried) };
    const applied = await beginMoved(server, explicit(cwd, wanted, carried));
    const threadId = applied.thread.id;
    const notes = this.inForce(applied, wanted, carried);
    await this.held.hold(threadId, { policy: wanted, approvalsReviewer: carried.approvalsReviewer, requirements: carried.requirements });
    // Also puts the thread's rollout on disk: without one Codex forgets the thread when it ends.
    await injectNote(server, threadId, noteForAgent(from, this.hostName(), cwd, manifest));
    if (prompt !== null && prompt !== '') await server.request('turn/start', { threadId, cwd, input: [{ type: 'text', text: prompt, text_elements: [] }] });
    return { threadId, notes };
  }

  /** Takes the answer of Codex to a policy that was asked for; gives what the user should know of it. Throws HostError where it is wider. */
  private inForce(applied: AppliedPolicy, wanted: Policy, carried: CarriedThread): string[] {
    this.codex.remember(applied);
    const inForce = policyOf(applied.approvalPolicy, applied.sandbox);
    if (inForce === null || !isNoLaxer(inForce, wanted) || writableRootsOf(applied.sandbox).length > 0 || (applied.approvalsReviewer !== carried.approvalsReviewer && applied.approvalsReviewer !== 'user')) {
      throw new HostError('preflight-blocked', `Codex on ${this.hostName()} would run the thread under a wider policy than it had, so it was not activated. Check config.toml and requirements.toml there.`);
    }
    return isNoLaxer(carried.policy, inForce) ? [] : [`${this.hostName()} is stricter: the thread goes on with ${inForce.sandbox} and its approvals as configured there.`];
  }

  /** Goals act by themselves, so one that waits for a person's approval stays paused. */
  private async restoreGoal(threadId: string, carried: CarriedThread): Promise<void> {
    if (carried.goal === null) return;
    const server = await this.codex.ready();
    const { objective, tokenBudget } = carried.goal;
    const status = carried.goal.status === 'active' && carried.approvals.length > 0 ? 'paused' : carried.goal.status;
    await server.request('thread/goal/set', { threadId, objective, tokenBudget, status: status as 'active' }).catch((error: unknown) => {
      this.log.warn(`The goal of ${threadId} could not be set: ${describeError(error).message}`);
    });
  }
}

/** What a thread is to run with, leaving nothing to this machine's configuration. */
function explicit(cwd: string, wanted: Policy, { approvalsReviewer, model }: CarriedThread) {
  return { cwd, ...wanted, approvalsReviewer, ...(model === null ? {} : { model }) };
}

function noteForAgent(from: string, to: string, cwd: string, { thread: carried, included }: Manifest): string {
  const left = carried.leftBehind.length === 0 ? '' : ` Not carried over: ${carried.leftBehind.join(' ')}`;
  return (
    `This thread was moved from the host "${from}" to the host "${to}". It now works in ${cwd}, a Git worktree with the same commits, staged, unstaged and untracked changes. ` +
    `Paths from before the move do not exist here; use this directory. Files that Git ignores were not carried over${included === undefined ? '' : `, apart from ${included.files} that the user sent along`}: install dependencies or recreate local configuration when you need them.${left}`
  );
}
