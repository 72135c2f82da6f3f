import { stat } from 'node:fs/promises';
import { tryCanary } from '../codex/canary';
import { restoreQueue } from '../codex/besideRollout';
import { CodexError } from '../codex/codexError';
import type { AppServer } from '../codex/appServer';
import { releaseThread } from '../codex/quiesce';
import { describeRollout, hashBodyPrefix, parseMetaLine, parseRolloutName, readMetaLine } from '../codex/rollout';
import { mustBeForgotten, requireForgettable, requireReplaceable } from '../codex/rolloutCopy';
import { listRollouts, relationsOf, unpackThread, type RolloutFile } from '../codex/rolloutFamily';
import { installRollout, requirePrefix, stageRollout, type AnnouncedRollout } from '../codex/rolloutImport';
import { readPlan } from '../codex/rolloutPlan';
import { allThreads, baseAttachment, beginMoved, injectNote, isArchived, isBase, readThread, resumeMoved, settleBase, unmarkMoved, type AppliedPolicy } from '../codex/threads';
import type { CarriedThread } from '../handoff/carriedThread';
import { isNoLaxer, policyOf, sandboxPolicyOf, requirementsOfBoth, stricterOf, writableRootsOf, type Policy } from '../handoff/policy';
import { contradictions, webSearchWithin } from '../handoff/constraints';
import { destinationPolicy, destinationReviewer, unbounded } from '../handoff/preflight';
import type { RolloutHash } from '../handoff/receipt';
import type { ApprovalBroker } from './approvalBroker';
import type { ApprovalTrail } from './approvalTrail';
import type { CodexHost } from './codexHost';
import type { Arrival } from './handoffDestination';
import type { HeldPolicies, HeldPolicy } from './heldPolicies';
import { HostError } from './hostError';
import type { IncomingHandoff } from './incomingHandoff';
import type { Log } from './log';
import type { Manifest, Offer } from './peerProtocol';
import type { Plan } from './protocol';
import { goesOn, setGoing } from './threadDeparture';

/** What the destination of a handoff does with a thread's Codex side: its rollouts into this Codex home, and the thread on its way. */
export class ThreadArrival {
  constructor(
    private readonly codex: CodexHost,
    private readonly approvals: ApprovalBroker,
    private readonly held: HeldPolicies,
    private readonly log: Log,
    private readonly hostName: () => string,
    private readonly trail: Pick<ApprovalTrail, 'keep'>,
  ) {}

  /** Of the offered rollouts, what is here from an earlier stay, at most as much as was offered. */
  async heldRollouts(offered: Offer['rollouts']): Promise<RolloutHash[]> {
    const server = await this.codex.ready();
    const found = async () => [...(await listRollouts(this.codex.codexHome)).values()].flat().filter(({ name }) => offered.some((one) => one.name === name));
    for (const { threadId } of (await found()).filter(({ compressed }) => compressed)) await unpackThread(server, threadId);
    const held = [];
    for (const { path, name, compressed } of await found()) {
      if (compressed) continue;
      const { bodyBytes, bodySha256 } = await describeRollout(path);
      const most = offered.find((one) => one.name === name)?.bodyBytes ?? 0;
      held.push(bodyBytes <= most ? { name, bodyBytes, bodySha256 } : { name, bodyBytes: most, bodySha256: await hashBodyPrefix(path, most) });
    }
    return held;
  }

  /** Whether a rollout of the thread here has more in it than when the thread left. Codex only appends, so mostly the length tells. */
  async hasGrown(threadId: string, left: readonly RolloutHash[]): Promise<boolean> {
    for (const { path, name, compressed } of await this.filesOf(threadId)) {
      if (compressed) continue;
      const least = left.find((one) => one.name === name)?.bodyBytes ?? 0;
      if ((await stat(path)).size - Buffer.byteLength(await readMetaLine(path)) - 1 <= least) continue;
      // A line that a crash tore is no more than there was.
      if ((await describeRollout(path)).bodyBytes > least) return true;
    }
    return false;
  }

  /**
   * Completes each received rollout in the handoff's staging directory, and tries whether Codex works in the thread's directory. What
   * another thread of this host holds is never changed by what arrives: the history that the thread builds on is taken from there.
   * Throws CodexError `rollout-diverged` where this host's copy went another way, HostError `canary-failed`.
   */
  async stageRollouts(incoming: IncomingHandoff, announced: Manifest, cwd: string): Promise<{ rollouts: { name: string; path: string | null; hash: RolloutHash }[]; notes: string[] }> {
    const notes = await this.tryDirectory(incoming.record.handoffId, announced.thread, cwd);
    const known = await listRollouts(this.codex.codexHome);
    const relations = relationsOf(announced.rollouts, incoming.record.threadId);
    const { threadId: main } = incoming.record;
    const arriving = (relation: string) => announced.rollouts.filter(({ name }) => relations.get(name) === relation);
    const names = arriving('thread').map(({ name }) => name);
    if (mustBeForgotten(known.get(main) ?? [], names)) {
      // It would be forgotten with the rest. Where the user chose a fork, all that is here is kept in that first.
      const onlyHere = known.get(main)?.find(({ name }) => !names.includes(name));
      if (onlyHere !== undefined && incoming.record.fork === null) throw new CodexError('rollout-diverged', `The thread was reverted on both hosts: ${onlyHere.path} is not among what arrives. Nothing was changed.`);
      await requireForgettable(this.codex.codexHome, [main, ...arriving('subagent').map(({ threadId }) => threadId)]);
    }
    const placed = new Map<string, string>();
    const rollouts = [];
    for (const [index, { name, metaLine, bodyBytes, bodySha256, from, threadId }] of announced.rollouts.entries()) {
      const copy = known.get(threadId)?.find((file) => file.name === name && !file.compressed);
      const copyMeta = copy === undefined ? null : await readMetaLine(copy.path);
      const relation = relations.get(name);
      if (copy !== undefined && copyMeta !== null && relation !== 'thread') {
        if (relation === 'ancestor' && (await beginsWith(copy.path, { bodyBytes, bodySha256 }))) {
          placed.set(name, copyMeta);
          rollouts.push({ name, path: null, hash: { name, bodyBytes, bodySha256 } });
          continue;
        }
        // Only a copy that waits in the archive may grow, or the same thread's own sub-agent.
        const parentOf = (line: string) => parseMetaLine(line, name).payload.parent_thread_id ?? null;
        if (relation === 'ancestor' ? !copy.archived : parentOf(copyMeta) !== parentOf(metaLine)) {
          throw new CodexError('rollout-diverged', `Thread ${threadId}, on which the history of the one that arrives builds, is on this host and went another way. Neither was changed.`);
        }
      }
      const family: AnnouncedRollout[] = announced.rollouts.map((other) => ({ name: other.name, metaLine: other.metaLine, placedMetaLine: placed.get(other.name) }));
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
        family,
        // A shorter line 1 would move what threads of this host build on.
        ...(copyMeta === null ? {} : { leastMetaBytes: Buffer.byteLength(copyMeta) }),
      });
      placed.set(name, complete.metaLine);
      // What is here and went another way is kept as a fork first, where the user chose that.
      if (copy !== undefined && relation === 'thread' && incoming.record.fork !== null) await requireReplaceable(this.codex.codexHome, incoming.record.threadId, copy.path, complete);
      else if (copy !== undefined) await requirePrefix(copy.path, complete);
      rollouts.push({ name, path: complete.path, hash: { name, bodyBytes: complete.bodyBytes, bodySha256: complete.bodySha256 } });
    }
    return { rollouts, notes };
  }

  /** Throws HostError `canary-failed` where what Codex runs in the directory runs elsewhere; gives a note where nothing could be run. */
  private async tryDirectory(handoffId: string, carried: CarriedThread, cwd: string): Promise<string[]> {
    const server = await this.codex.ready();
    const { policy: wanted } = await this.wantedOf(carried);
    const canary = await tryCanary(server, { cwd, sandboxPolicy: sandboxPolicyOf(wanted), name: `.baton-canary-${handoffId.slice(0, 12)}` });
    if (canary.is === 'elsewhere') throw new HostError('canary-failed', `A command that Codex on ${this.hostName()} was to run in ${cwd} did not run there. The thread stays at its source; look at how Codex is set up on ${this.hostName()}.`);
    return canary.is === 'proven' ? [] : [`Codex on ${this.hostName()} could not run a command in the thread's sandbox (${canary.why}), so it is not proven that its commands work there.`];
  }

  private async wantedOf(carried: CarriedThread): Promise<HeldPolicy> {
    const facts = await this.codex.facts(null);
    const policy = destinationPolicy(carried.policy, carried.requirements, facts);
    const approvalsReviewer = destinationReviewer(carried.approvalsReviewer, carried.requirements, facts);
    const both = requirementsOfBoth(facts.requirements, carried.requirements) ?? {};
    if (policy === null || approvalsReviewer === null || contradictions(both).length > 0) throw new HostError('preflight-blocked', `${this.hostName()} no longer allows a policy as strict as the thread's, so it was not resumed.`);
    const { requirements } = carried;
    return { policy, approvalsReviewer, requirements, webSearch: webSearchWithin(both, facts.configuredWebSearch), ...(unbounded(requirements, facts) && !policy.networkAccess ? { offline: true } : {}) };
  }

  /** The thread goes on here: its rollouts in place, resumed in its worktree under a policy no wider than before. May be repeated. */
  async activate({ record, manifest: sent, rollouts, cwd, atRest }: Arrival): Promise<{ threadId: string; notes: string[] }> {
    const server = await this.codex.ready();
    const held = await this.wantedOf(sent.thread);
    const { policy: wanted, approvalsReviewer } = held;
    const waits = atRest ? { goal: null, approvals: [], subAgents: [], queue: { flowing: false, waiting: [] } } : {};
    const carried = { ...sent.thread, approvalsReviewer, ...waits };
    const manifest = { ...sent, thread: carried };
    if (manifest.rollouts.length === 0) return this.begin(cwd, held, manifest, record.sourceName);

    const { threadId } = record;
    const relations = relationsOf(manifest.rollouts, threadId);
    const ofRelation = (relation: string) => [...new Set(manifest.rollouts.filter(({ name }) => relations.get(name) === relation).map((rollout) => rollout.threadId))];
    // Before anything can load the thread.
    await this.held.hold(threadId, held);
    if (await isArchived(server, threadId)) await unmarkMoved(server, { threadId, name: carried.name });
    await this.makeWay(server, threadId, rollouts);
    // Codex goes on with the segment of a thread that it sees first, and may look at any moment: the last one comes before those that it builds on.
    const own = rollouts.filter(({ name }) => relations.get(name) === 'thread').sort((a, b) => (a.name < b.name ? 1 : -1));
    for (const { path, name } of [...rollouts.filter((each) => !own.includes(each)), ...own]) await this.install(server, path, name, relations.get(name) === 'ancestor');
    const received = new Set(rollouts.map(({ name }) => parseRolloutName(name)?.threadId));
    for (const base of ofRelation('ancestor')) if (received.has(base)) await settleBase(server, base, { threadId, hostId: record.source });

    const notes = this.inForce(await resumeMoved(server, { threadId, ...explicit(cwd, wanted, carried) }), wanted, carried);
    if (carried.name !== null) await server.request('thread/name/set', { threadId, name: carried.name });
    await server.request('thread/attachment/remove', { threadId, attachmentType: baseAttachment, identityKey: record.source }).catch(() => undefined);
    for (const attachment of carried.attachments) await server.request('thread/attachment/add', { threadId, ...attachment });
    await this.tell(server, threadId, manifest, noteForAgent(record.sourceName, this.hostName(), cwd, manifest));
    for (const agent of ofRelation('subagent')) await this.settleSubAgent(server, agent, cwd, held, carried);
    for (const pending of [{ threadId, approvals: carried.approvals }, ...carried.subAgents.filter((agent) => ofRelation('subagent').includes(agent.threadId))]) await this.approvals.adopt(pending.threadId, pending.approvals, pending.threadId === threadId && goesOn(carried));
    await this.trail.keep(threadId, carried.trail);
    const count = [carried, ...carried.subAgents].reduce((sum, { approvals }) => sum + approvals.length, 0);
    if (count > 0) notes.push(`${count === 1 ? 'One approval was' : `${count} approvals were`} pending and can be decided on ${this.hostName()} now.`);
    await restoreQueue(server, threadId, carried.queue.waiting as Parameters<typeof restoreQueue>[2]);
    await setGoing(server, threadId, carried, carried.approvals.length > 0, this.log);
    // So that an untouched Codex of this machine can open it too; whoever looks at it here loads it again. What goes on by itself may
    // rest for a moment, and must not be stopped by that.
    const works = carried.queue.waiting.length > 0 || goesOn(carried);
    if (!works && (await readThread(server, threadId)).status.type === 'idle') await releaseThread(server, threadId);
    return { threadId, notes };
  }

  /** Tells the agent once, also where this is repeated after a crash. */
  private async tell(server: AppServer, threadId: string, manifest: Manifest, note: string): Promise<void> {
    const last = manifest.rollouts.filter((rollout) => rollout.threadId === threadId).sort((a, b) => (a.name < b.name ? -1 : 1)).at(-1);
    const file = (await this.filesOf(threadId)).find(({ name }) => name === last?.name);
    await injectNote(server, threadId, note, file === undefined || last === undefined ? undefined : { path: file.path, bodyBytes: last.bodyBytes });
  }

  /** A thread that the thread spawned works in the same directory from here on, and under no wider policy. */
  private async settleSubAgent(server: AppServer, threadId: string, cwd: string, held: HeldPolicy, carried: CarriedThread): Promise<void> {
    const { policy: wanted, approvalsReviewer } = held;
    const { approvalPolicy, sandbox } = await server.request('thread/resume', { threadId, cwd, excludeTurns: true });
    const own = policyOf(approvalPolicy, sandbox);
    const policy = own === null ? wanted : stricterOf(own, wanted);
    await this.held.hold(threadId, { ...held, policy });
    await releaseThread(server, threadId);
    this.inForce(await resumeMoved(server, { threadId, cwd, ...policy, approvalsReviewer }), policy, carried);
    await releaseThread(server, threadId);
  }

  /** The last plan in the thread's rollout; null where the agent made none. */
  async plan(threadId: string): Promise<Plan | null> {
    const own = (await this.filesOf(threadId)).filter((file) => !file.compressed).at(-1);
    return own === undefined ? null : readPlan(own.path);
  }

  /** Whether Codex has a thread of that id, other than as what another thread builds on. */
  async hasThread(threadId: string): Promise<boolean> {
    return (await this.filesOf(threadId)).length > 0 && !(await isBase(await this.codex.ready(), threadId));
  }

  private async filesOf(threadId: string): Promise<Omit<RolloutFile, 'relation'>[]> {
    return (await listRollouts(this.codex.codexHome)).get(threadId) ?? [];
  }

  /** Has Codex forget the thread where segments arrive that it does not know. What it forgets is staged, whole: once any of that is in place, this was done before. */
  private async makeWay(server: AppServer, threadId: string, staged: Arrival['rollouts']): Promise<void> {
    const own = staged.filter(({ name }) => parseRolloutName(name)?.threadId === threadId);
    if (!mustBeForgotten(await this.filesOf(threadId), own.map(({ name }) => name))) return;
    for (const { path } of staged) if (!(await stat(path).then(() => true, () => false))) return;
    await server.request('thread/delete', { threadId });
  }

  /** Puts one staged rollout in its place, unless that was done before this host was restarted. What a thread builds on goes into the archive. */
  private async install(server: AppServer, path: string, name: string, archived: boolean): Promise<void> {
    const staged = await describeRollout(path).catch((error: unknown) => {
      if (CodexError.is(error, 'rollout-missing')) return null;
      throw error;
    });
    const threadId = parseRolloutName(name)?.threadId;
    if (staged === null || threadId === undefined) return;
    if (!archived && (await this.filesOf(threadId)).some((file) => file.archived)) await server.request('thread/unarchive', { threadId });
    await installRollout({ codexHome: this.codex.codexHome, staged: { ...staged, path, threadId }, archived });
  }

  /** A thread begins here in the working state that came without one. */
  private async begin(cwd: string, held: HeldPolicy, manifest: Manifest, from: string): Promise<{ threadId: string; notes: string[] }> {
    const { thread: carried, prompt } = manifest;
    const { policy: wanted } = held;
    const server = await this.codex.ready();
    const threadId = (await this.begunIn(server, cwd)) ?? (await this.beginNoted(server, cwd, wanted, manifest, from));
    await this.held.hold(threadId, held);
    const speaks = (await server.request('thread/turns/list', { threadId, limit: 1 })).data.length > 0;
    // What is loaded would stay read-only.
    if (!speaks) await releaseThread(server, threadId);
    const notes = this.inForce(await resumeMoved(server, { threadId, ...explicit(cwd, wanted, carried) }), wanted, carried);
    if (!speaks && prompt !== null && prompt !== '') await server.request('turn/start', { threadId, cwd, input: [{ type: 'text', text: prompt, text_elements: [] }] });
    else if (!speaks) await releaseThread(server, threadId);
    return { threadId, notes };
  }

  /** The thread that a host began before it was stopped, and could not note: it is found by its worktree, which is nobody else's. */
  private async begunIn(server: AppServer, cwd: string): Promise<string | null> {
    for await (const { id } of allThreads(server, { cwd })) return id;
    return null;
  }

  /** Begins a thread that has only been told where it is. That also puts its rollout on disk, without which Codex forgets a thread that it unloads. */
  private async beginNoted(server: AppServer, cwd: string, wanted: Policy, manifest: Manifest, from: string): Promise<string> {
    const threadId = await beginMoved(server, explicit(cwd, wanted, manifest.thread));
    await injectNote(server, threadId, noteForAgent(from, this.hostName(), cwd, manifest));
    return threadId;
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
}

/** Whether the body of a rollout begins with the announced one. */
async function beginsWith(path: string, { bodyBytes, bodySha256 }: { readonly bodyBytes: number; readonly bodySha256: string }): Promise<boolean> {
  const here = await describeRollout(path);
  return here.bodyBytes >= bodyBytes && (await hashBodyPrefix(path, bodyBytes)) === bodySha256;
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
