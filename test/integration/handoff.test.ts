import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { HandoffPreflight, HandoffResult, Thread } from '../../src/host/protocol';
import { git, refsOf, untouchedState, workingState } from '../fixtures/checkout';
import { writeCodexConfig } from '../fixtures/scriptedModel';
import { askCodex, explainFailures, refusal, riskyCommand, said, startPair, type PairedHosts, type Site } from './pairedHosts';

let pair: PairedHosts;
let laptop: Site;
let server: Site;

beforeAll(async () => {
  pair = await startPair();
  ({ laptop, server } = pair);
  await writeFile(join(server.checkout, 'README.md'), 'Somebody is in the middle of something here.\n');
  await writeFile(join(server.checkout, 'src', 'planet7.js'), 'staged on the server\n');
  await git(server.checkout, 'add', 'src/planet7.js');
  await writeFile(join(server.checkout, 'scratch.txt'), 'not yours\n');
});
beforeEach(() => explainFailures(pair));
afterAll(() => pair.close());

const toServer = (threadId: string) => laptop.handOff({ threadId, to: server.hostId });
const toLaptop = (threadId: string) => laptop.handOff({ threadId, to: laptop.hostId, from: server.hostId });
const rolloutOf = (thread: Thread) => readFile((thread as unknown as { path: string }).path);

describe('a thread that is handed over and back', () => {
  let threadId: string;
  let there: HandoffResult;
  let sent: Record<string, unknown>;

  it('arrives with the same id, its commits and its exact working state, and leaves both checkouts as they were', async () => {
    threadId = await laptop.begin(said.hello);
    await laptop.say(threadId, said.plan);
    expect(await laptop.say(threadId, said.risky)).toBe('waitingOnApproval');
    await laptop.client.codex('thread/name/set', { threadId, name: 'Comets' });
    // Paused, as an active goal starts turns by itself.
    await askCodex(laptop, 'thread/goal/set', { threadId, objective: 'Find the comet', status: 'paused', tokenBudget: 5000 });
    sent = await workingState(laptop.checkout);
    const before = { laptop: untouchedState(laptop.checkout), laptopRefs: await refsOf(laptop.checkout), server: untouchedState(server.checkout), serverRefs: await refsOf(server.checkout) };

    there = await toServer(threadId);

    expect(there).toMatchObject({ threadId, from: laptop.hostId, to: server.hostId, epoch: 1, branch: 'comets', commits: 2 });
    expect(await workingState(there.worktree)).toEqual(sent);
    expect(existsSync(join(there.worktree, '.env'))).toBe(false);
    expect(untouchedState(laptop.checkout)).toEqual(before.laptop);
    expect(await refsOf(laptop.checkout)).toEqual(before.laptopRefs);
    expect(untouchedState(server.checkout)).toEqual(before.server);
    expect(await refsOf(server.checkout)).toMatchObject(before.serverRefs);
  });

  it('is archived and marked as moved at its source, which runs no more turns on it', async () => {
    expect((await laptop.thread(threadId)).baton).toMatchObject({ owner: server.hostId, epoch: 1, movedTo: { hostId: server.hostId, name: 'server' }, moving: false });
    expect((await refusal(laptop.say(threadId, said.hello))).reason).toBe('thread-moved');
    const { data } = (await laptop.client.codex('thread/list', { archived: true })) as { data: Thread[] };
    expect(data.find((thread) => thread.id === threadId)?.name).toBe('↪ moved to server: Comets');
  });

  it('brings its name, plan and goal along', async () => {
    expect((await server.thread(threadId)).name).toBe('Comets');
    const { plan } = await server.client.call('host/thread', { threadId });
    expect(plan?.steps).toEqual([{ step: 'Look', status: 'completed' }, { step: 'Leap', status: 'inProgress' }]);
    expect(await askCodex(server, 'thread/goal/get', { threadId })).toMatchObject({ goal: { objective: 'Find the comet', status: 'paused', tokenBudget: 5000 } });
  });

  it('shows its pending approval again, and goes on with the whole history once it is decided', async () => {
    const [pending] = await server.approvals(threadId);
    expect(pending).toMatchObject({ kind: 'command', cwd: there.worktree, carriedOver: true, hostId: server.hostId });
    expect(pending?.command).toContain(riskyCommand);
    expect(await laptop.approvals(threadId)).toEqual([]);
    const asked = pair.model.requests.length;
    const rest = server.rest(threadId);
    await server.client.call('approval/decide', { id: pending?.id ?? '', digest: pending?.digest ?? '', decision: 'accept' });
    expect(await rest).toBe('completed');
    const request = JSON.stringify(pair.model.requests[asked]?.input);
    for (const part of [said.hello, 'ephemeris-42', said.plan, said.risky, there.worktree]) expect(request).toContain(part);
    expect(await readFile(join(there.worktree, 'published.txt'), 'utf8')).toBe('published by the agent\n');
    expect(existsSync(join(laptop.checkout, 'published.txt'))).toBe(false);
  });

  it('comes back with new commits and changes, into a worktree, and only the tail of its rollout travels', async () => {
    await git(there.worktree, 'commit', '-qam', 'On the server');
    await writeFile(join(there.worktree, 'later.txt'), 'later\n');
    const state = await workingState(there.worktree);
    const size = (await rolloutOf(await server.thread(threadId))).length;
    const before = { checkout: untouchedState(laptop.checkout), refs: await refsOf(laptop.checkout) };
    const back = await toLaptop(threadId);
    expect(back).toMatchObject({ threadId, epoch: 2, commits: 1, from: server.hostId, to: laptop.hostId });
    expect(back.notes.join(' ')).toContain(`The branch comets is checked out in ${laptop.checkout}`);
    expect(back.notes.join(' ')).toMatch(/run there "git merge --ff-only baton\/[0-9a-f-]{13}\/comets"/);
    expect(await workingState(back.worktree)).toEqual(state);
    expect(back.rolloutBytesSent).toBeGreaterThan(0);
    expect(back.rolloutBytesSent).toBeLessThan(size * 0.7);
    expect(untouchedState(laptop.checkout)).toEqual(before.checkout);
    expect(await refsOf(laptop.checkout)).toMatchObject(before.refs);
    expect((await laptop.thread(threadId)).baton).toMatchObject({ owner: laptop.hostId, epoch: 2, movedTo: null });
    expect((await laptop.thread(threadId)).name).toBe('Comets');
    expect((await server.thread(threadId)).baton).toMatchObject({ owner: laptop.hostId, movedTo: { name: 'laptop' } });
    const asked = pair.model.requests.length;
    expect(await laptop.say(threadId, 'What is the secret word?')).toBe('completed');
    expect(JSON.stringify(pair.model.requests[asked]?.input)).toContain(said.risky);
  });

  it('returns on its second trip to the worktree that it had', async () => {
    const again = await toServer(threadId);
    expect(again).toMatchObject({ worktree: there.worktree, epoch: 3 });
    expect(await server.say(threadId, said.hello)).toBe('completed');
    expect((await server.client.call('worktree/list', {})).worktrees).toMatchObject([{ path: there.worktree, threadIds: [threadId] }]);
  });

  it('left nothing but the audit log and the journals of its handoffs', async () => {
    for (const site of [laptop, server]) expect((await site.traces())['handoffs']).toEqual([]);
    const ofThread = laptop.audit().filter((event) => event['threadId'] === threadId).map((event) => event['type']);
    expect(ofThread.filter((type) => type === 'handoff-committed')).toHaveLength(2);
    expect(ofThread.filter((type) => type === 'handoff-activated')).toHaveLength(1);
  });
});

describe('a checkout that has no thread yet', () => {
  it('is handed off with a prompt: the thread begins at the destination, and can be fetched from there', async () => {
    const sent = await workingState(laptop.checkout);
    const rest = new Promise<string>((fulfil) => {
      const stop = server.client.onCodex((method, params) => {
        if (method !== 'turn/completed') return;
        stop();
        fulfil((params as { threadId: string }).threadId);
      });
    });
    const result = await laptop.handOff({ directory: laptop.checkout, prompt: said.hello, to: server.hostId });
    expect(await rest).toBe(result.threadId);
    expect(await workingState(result.worktree)).toEqual(sent);
    const thread = await server.thread(result.threadId);
    expect(thread).toMatchObject({ cwd: result.worktree, preview: said.hello });
    expect(thread.turns?.at(-1)?.status).toBe('completed');
    const { data } = (await laptop.client.codex('thread/list')) as { data: Thread[] };
    expect(data.map(({ id }) => id)).not.toContain(result.threadId);

    const back = await toLaptop(result.threadId);
    expect(await laptop.say(back.threadId, 'Still there?')).toBe('completed');
  });
});

describe('a dry run', () => {
  it('tells what would travel and changes nothing on either side', async () => {
    const threadId = await laptop.begin(said.hello);
    const look = async () => [await laptop.traces(), await server.traces(), untouchedState(laptop.checkout), untouchedState(server.checkout), await refsOf(laptop.checkout), await refsOf(server.checkout)];
    const before = await look();
    const preflight = await laptop.machine.json<HandoffPreflight>('handoff', threadId, '--to', 'server', '--dry-run');
    expect(preflight).toMatchObject({ threadId, destinationName: 'server', branch: 'comets' });
    expect(preflight.bytes).toBeGreaterThan(0);
    expect(preflight.findings.map(({ code }) => code)).toEqual(expect.arrayContaining(['project', 'codex-version', 'model-provider', 'policy', 'disk']));
    expect(preflight.findings.filter(({ level }) => level === 'blocker')).toEqual([]);
    expect(await look()).toEqual(before);
    expect(await laptop.say(threadId, said.hello)).toBe('completed');
  });

  it('exits with 3 where something stands in the way', async () => {
    const threadId = await laptop.begin(said.hello, { cwd: join(laptop.checkout, 'src') });
    const { code, stdout } = await laptop.machine.cli('handoff', threadId, '--to', 'server', '--dry-run', '--json');
    expect(code).toBe(3);
    const { findings } = JSON.parse(stdout) as HandoffPreflight;
    expect(findings.filter(({ level }) => level === 'blocker').map((finding) => finding.code)).toEqual(['other-subdirectory']);
  });
});

describe('a handoff that is cancelled', () => {
  it.each(['quiesce', 'capture', 'transfer', 'stage'] as const)('in the phase %s leaves the thread usable with its approval pending, and nothing at the destination', async (phase) => {
    const threadId = await laptop.begin(said.risky);
    const before = [await server.traces(), untouchedState(laptop.checkout), await refsOf(laptop.checkout)];
    const reached = laptop.phase(phase, threadId);
    const { handoffId } = await laptop.client.call('handoff/start', { threadId, to: server.hostId });
    const outcome = refusal(laptop.client.call('handoff/wait', { handoffId }));
    await reached;
    expect(await laptop.client.call('handoff/cancel', { handoffId })).toEqual({ cancelled: true });
    expect((await outcome).reason).toBe('cancelled');

    expect([await server.traces(), untouchedState(laptop.checkout), await refsOf(laptop.checkout)]).toEqual(before);
    expect((await laptop.thread(threadId)).baton).toMatchObject({ owner: laptop.hostId, epoch: 0, movedTo: null, moving: false });
    const [pending] = await laptop.approvals(threadId);
    expect(pending).toMatchObject({ kind: 'command', cwd: laptop.checkout });
    const rest = laptop.rest(threadId);
    await laptop.client.call('approval/decide', { id: pending?.id ?? '', digest: pending?.digest ?? '', decision: 'decline' });
    expect(await rest).toBe('completed');
    expect(existsSync(join(laptop.checkout, 'published.txt'))).toBe(false);
  });

  it('too late goes on', async () => {
    const threadId = await laptop.begin(said.hello);
    const { handoffId } = await laptop.client.call('handoff/start', { threadId, to: server.hostId });
    await laptop.client.call('handoff/wait', { handoffId });
    expect(await laptop.client.call('handoff/cancel', { handoffId })).toEqual({ cancelled: false });
    expect(await server.say(threadId, said.hello)).toBe('completed');
  });
});

describe('a policy', () => {
  const asRun = async (threadId: string) => {
    const { approvalPolicy, sandbox } = (await server.client.codex('thread/resume', { threadId, excludeTurns: true })) as { approvalPolicy: string; sandbox: { type: string; networkAccess?: boolean } };
    return { approvalPolicy, sandbox: sandbox.type, network: sandbox.networkAccess ?? false };
  };

  it('is narrowed to what the destination allows, and said to be', async () => {
    const threadId = await laptop.begin(said.hello, { approvalPolicy: 'on-request', sandbox: 'workspace-write' });
    await writeCodexConfig(server.machine.codexHome, { modelUrl: pair.model.url, sandboxMode: 'read-only' });
    const { findings } = await laptop.client.call('handoff/preflight', { threadId, to: server.hostId });
    expect(findings.find(({ code }) => code === 'policy-narrowed')?.message).toContain('read-only');
    const { notes } = await toServer(threadId);
    expect(notes.join(' ')).toContain('read-only');
    expect(await asRun(threadId)).toEqual({ approvalPolicy: 'on-request', sandbox: 'readOnly', network: false });
  });

  it.each(['a thread', 'a checkout without a thread'])('is not widened for %s by a destination that gives its own threads the network and never asks', async (what) => {
    await writeCodexConfig(server.machine.codexHome, { modelUrl: pair.model.url, approvalPolicy: 'never', sandboxMode: 'danger-full-access', extra: '[sandbox_workspace_write]\nnetwork_access = true\n' });
    const { threadId } = what === 'a thread'
      ? await toServer(await laptop.begin(said.hello, { approvalPolicy: 'on-request', sandbox: 'workspace-write' }))
      : await laptop.handOff({ directory: laptop.checkout, to: server.hostId });
    expect(await asRun(threadId)).toEqual({ approvalPolicy: 'on-request', sandbox: 'workspaceWrite', network: false });
    expect(await server.say(threadId, said.hello)).toBe('completed');
  });
});

describe('a thread whose first turn has just begun', () => {
  it('is listed, and can be looked at and handed off at once, though Codex has yet to write it down', async () => {
    for (let round = 0; round < 3; round++) {
      const { thread } = (await laptop.client.codex('thread/start', { cwd: laptop.checkout, approvalPolicy: 'on-request', sandbox: 'workspace-write' })) as { thread: Thread };
      await laptop.client.codex('turn/start', { threadId: thread.id, input: [{ type: 'text', text: said.hello, text_elements: [] }] });
      const { data } = (await laptop.client.codex('thread/list', { archived: false, modelProviders: [], sortKey: 'updated_at', limit: 100 })) as { data: Thread[] };
      expect(data.filter(({ id }) => id === thread.id)).toHaveLength(1);
      expect((await laptop.client.call('handoff/preflight', { threadId: thread.id, to: server.hostId })).findings.filter(({ level }) => level === 'blocker')).toEqual([]);
    }
    const { threadId } = await laptop.machine.json<{ threadId: string }>('new', laptop.checkout, said.hello);
    expect(await laptop.machine.json<HandoffResult>('handoff', threadId.slice(0, 20), '--to', 'server')).toMatchObject({ threadId, epoch: 1 });
  });
});
