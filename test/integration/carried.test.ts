import { execFile } from 'node:child_process';
import { existsSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { listRollouts } from '../../src/codex/rolloutFamily';
import type { Thread } from '../../src/host/protocol';
import { appears } from '../fixtures/appears';
import { git } from '../fixtures/checkout';
import { userText } from '../fixtures/scriptedModel';
import { askCodex, explainFailures, said, startPair, type PairedHosts, type Site } from './pairedHosts';

const childCommand = 'echo "written by a sub-agent" > agent.txt; sleep 300.5151; echo late > late.txt';
const childAsks = 'echo "published by a sub-agent" >> published.txt';
const spawn = (message: string) => ({ call: 'spawn_agent', namespace: 'multi_agent_v1', args: { message } });
const onePixel = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';

let pair: PairedHosts;
let laptop: Site;
let server: Site;

beforeAll(async () => {
  // A model that Codex does not know may spawn agents.
  const config = { model: 'scripted-model' };
  pair = await startPair({
    clean: true,
    laptop: config,
    server: config,
    script: [
      // Codex puts an image's tag before the text, which then does not look like something said.
      { user: /Tell a long story/, history: /data:image/, answers: [[{ message: 'A picture.' }]] },
      { user: /View the other one/, answers: [[{ call: 'view_image', args: { path: 'inside.png' } }], [{ message: 'Another picture.' }]] },
      { user: /Long errand/, answers: [[{ command: childCommand, yieldMs: 250 }], [{ slowMessage: 'working '.repeat(2000), everyMs: 20 }]] },
      { user: /Risky errand/, answers: [[{ command: childAsks, escalate: 'It writes where the sandbox does not let me.' }], [{ message: 'Done.' }]] },
      { user: /Delegate it/, answers: [[spawn('Long errand.')], [{ slowMessage: 'waiting '.repeat(2000), everyMs: 20 }]] },
      // A goal that goes on ends with the turn in which it does.
      { user: /./, history: /codex_internal_context source=/, answers: [[], [{ call: 'update_goal', args: { status: 'complete' } }], [{ message: 'The comet is found.' }]] },
      { user: /Delegate the risk/, answers: [[spawn('Risky errand.')], [{ message: 'It is on its way.' }]] },
    ],
  });
  ({ laptop, server } = pair);
});
beforeEach(() => explainFailures(pair));
afterAll(() => pair.close());

const toServer = (threadId: string) => laptop.handOff({ threadId, to: server.hostId });
const toLaptop = (threadId: string) => laptop.handOff({ threadId, to: laptop.hostId, from: server.hostId });
/** A handoff to the server that is cancelled while it transfers. */
async function cancelled(threadId: string): Promise<void> {
  const reached = laptop.phase('transfer', threadId);
  const { handoffId } = await laptop.client.call('handoff/start', { threadId, to: server.hostId });
  const outcome = laptop.client.call('handoff/wait', { handoffId }).catch((error: unknown) => error);
  await reached;
  await laptop.client.call('handoff/cancel', { handoffId });
  await outcome;
}
const text = (words: string) => [{ type: 'text', text: words, text_elements: [] }];
/** What the user said to a thread, and how each turn ended, oldest first. */
async function turnsOf(site: Site, threadId: string): Promise<[string, string][]> {
  await askCodex(site, 'thread/resume', { threadId, excludeTurns: true });
  const { data } = (await site.client.codex('thread/turns/list', { threadId, itemsView: 'full', sortDirection: 'asc' })) as { data: { status: string; items: { type: string; content?: { text?: string }[] }[] }[] };
  return data.map(({ status, items }) => [items.find(({ type }) => type === 'userMessage')?.content?.[0]?.text ?? '', status]);
}
const sayings = (request: number) => pair.model.requests[request]?.input.map(userText).filter((words) => words !== null);
const queueOf = async (site: Site, threadId: string) => ((await askCodex(site, 'thread/queue/list', { threadId })) as { data: unknown[] }).data;
/** Starts a turn that goes on for long, and waits until the agent speaks, or one that it spawned. */
async function speaking(site: Site, threadId: string, words: string, who: 'agent' | 'sub-agent' = 'agent'): Promise<void> {
  const speaks = new Promise<void>((fulfil) => {
    const stop = site.client.onCodex((method, params) => {
      if (method !== 'item/agentMessage/delta' || ((params as { threadId: string }).threadId === threadId) !== (who === 'agent')) return;
      stop();
      fulfil();
    });
  });
  await site.client.codex('turn/start', { threadId, input: text(words) });
  await speaks;
}
/** Resolves after so many turns of a thread have ended. */
function ended(site: Site, threadId: string, count: number): Promise<void> {
  return new Promise((fulfil) => {
    let left = count;
    const stop = site.client.onCodex((method, params) => {
      if (method !== 'turn/completed' || (params as { threadId: string }).threadId !== threadId || --left > 0) return;
      stop();
      fulfil();
    });
  });
}
async function processes(): Promise<string> {
  return (await promisify(execFile)('ps', ['-ww', '-e', '-o', 'args='], { maxBuffer: 1 << 24 })).stdout;
}

describe('a thread without a name', () => {
  it('comes back without one', async () => {
    const threadId = await laptop.begin(said.hello);
    await toServer(threadId);
    expect((await server.thread(threadId)).name ?? null).toBeNull();
    expect((await laptop.thread(threadId)).name ?? null).toBeNull();
    await toLaptop(threadId);
    expect((await laptop.thread(threadId)).name ?? null).toBeNull();
    const { data } = (await laptop.client.codex('thread/list', {})) as { data: Thread[] };
    expect(data.find(({ id }) => id === threadId)?.name ?? null).toBeNull();
  });
});

describe('what waits in the queue', () => {
  it('goes on at the destination, each once and in its order, and waits nowhere else', async () => {
    const threadId = await laptop.begin(said.hello);
    await speaking(laptop, threadId, said.slowly);
    const picture = join(laptop.machine.directory, 'pixel.png');
    writeFileSync(picture, Buffer.from(onePixel, 'base64'));
    await askCodex(laptop, 'thread/queue/add', { threadId, input: [...text('First of the queue.'), { type: 'localImage', path: picture }], clientUserMessageId: 'first' });
    await askCodex(laptop, 'thread/queue/add', { threadId, input: text('Second of the queue.'), clientUserMessageId: 'second' });
    const both = ended(server, threadId, 2);
    await toServer(threadId);
    await both;
    expect(await turnsOf(server, threadId)).toEqual([[said.hello, 'completed'], [said.slowly, 'interrupted'], ['First of the queue.', 'completed'], ['Second of the queue.', 'completed']]);
    expect(JSON.stringify(pair.model.requests.at(-1)?.input)).toContain('data:image/png;base64,');
    expect(await queueOf(server, threadId)).toEqual([]);
    await toLaptop(threadId);
    expect(await queueOf(laptop, threadId)).toEqual([]);
    expect(await turnsOf(laptop, threadId)).toHaveLength(4);
  });

  it('waits for the approval that the thread waits for', async () => {
    const threadId = await laptop.begin(said.risky);
    await askCodex(laptop, 'thread/queue/add', { threadId, input: text('After that.'), clientUserMessageId: 'after' });
    const { worktree } = await toServer(threadId);
    const [pending] = await server.approvals(threadId);
    expect(await queueOf(server, threadId)).toHaveLength(1);
    expect(existsSync(join(worktree, 'published.txt'))).toBe(false);
    const both = ended(server, threadId, 2);
    await server.client.call('approval/decide', { id: pending?.id ?? '', digest: pending?.digest ?? '', decision: 'accept' });
    await both;
    expect(readFileSync(join(worktree, 'published.txt'), 'utf8')).toBe('published by the agent\n');
    expect((await turnsOf(server, threadId)).at(-1)).toEqual(['After that.', 'completed']);
  });

  it('goes on at the source when the handoff is cancelled', async () => {
    const threadId = await laptop.begin(said.hello);
    await speaking(laptop, threadId, said.slowly);
    await askCodex(laptop, 'thread/queue/add', { threadId, input: text('Whatever happens.'), clientUserMessageId: 'whatever' });
    const one = ended(laptop, threadId, 2);
    await cancelled(threadId);
    await one;
    expect((await turnsOf(laptop, threadId)).at(-1)).toEqual(['Whatever happens.', 'completed']);
  });
});

describe('pictures', () => {
  it.each(['paginated', 'legacy'])('that were shown or looked at stay in a %s conversation when their files are gone; those that lie elsewhere are named before, and to the agent', async (historyMode) => {
    const outside = join(laptop.machine.directory, `outside-${historyMode}.png`);
    const inside = join(laptop.checkout, 'inside.png');
    for (const file of [outside, inside]) writeFileSync(file, Buffer.from(onePixel, 'base64'));
    const { thread } = (await laptop.client.codex('thread/start', { cwd: laptop.checkout, historyMode })) as { thread: Thread };
    const threadId = thread.id;
    const seen = ended(laptop, threadId, 1);
    await laptop.client.codex('turn/start', { threadId, input: [...text('Look at these.'), { type: 'localImage', path: outside }, { type: 'localImage', path: inside }] });
    await seen;
    await laptop.say(threadId, 'View the other one.');

    const { findings } = await laptop.client.call('handoff/preflight', { threadId, to: server.hostId });
    const message = findings.find(({ code }) => code === 'images-stay')?.message;
    expect(message).toContain(outside);
    expect(message).not.toContain(inside);
    const { worktree } = await toServer(threadId);
    for (const file of [outside, inside]) rmSync(file);
    expect(readFileSync(join(worktree, 'inside.png'), 'base64')).toBe(onePixel);
    const asked = pair.model.requests.length;
    await server.say(threadId, said.hello);
    const heard = JSON.stringify(pair.model.requests[asked]?.input);
    expect(heard.split(`data:image/png;base64,${onePixel}`)).toHaveLength(4);
    expect(heard).toContain(`the files stay: ${outside}.`);
    // They are not on this machine.
    expect((await server.client.call('handoff/preflight', { threadId, to: laptop.hostId })).findings.map(({ code }) => code)).not.toContain('images-stay');
  });
});

describe('a goal', () => {
  it('that waits for an approval is worked on again once that is decided, where the thread went and where the handoff was cancelled', async () => {
    for (const to of [server, laptop]) {
      const threadId = await laptop.begin(said.risky);
      await askCodex(laptop, 'thread/goal/set', { threadId, objective: 'Find the comet', status: 'active' });
      if (to === server) await toServer(threadId);
      else await cancelled(threadId);
      const goal = async () => ((await askCodex(to, 'thread/goal/get', { threadId })) as { goal: { status: string } }).goal.status;
      expect(await goal()).toBe('paused');
      const [pending] = await to.approvals(threadId);
      const both = ended(to, threadId, 2);
      await to.client.call('approval/decide', { id: pending?.id ?? '', digest: pending?.digest ?? '', decision: 'accept' });
      await both;
      expect(await goal()).toBe('complete');
      await git(laptop.checkout, 'clean', '-qfd');
    }
  });
});

it('attachments go along, the mark of the move does not', async () => {
  const threadId = await laptop.begin(said.hello);
  await askCodex(laptop, 'thread/attachment/add', { threadId, attachmentType: 'pull-request', identityKey: 'orrery/7', payload: { title: 'Comets', number: 7 } });
  await toServer(threadId);
  expect(await askCodex(server, 'thread/attachment/list', { threadId })).toMatchObject({ data: [{ attachmentType: 'pull-request', identityKey: 'orrery/7', payload: { title: 'Comets', number: 7 } }], nextCursor: null });
});

describe('sub-agents', () => {
  it('are stopped with their commands, travel, and work where the thread works', async () => {
    const { thread } = (await laptop.client.codex('thread/start', { cwd: laptop.checkout })) as { thread: Thread };
    const threadId = thread.id;
    await speaking(laptop, threadId, 'Delegate it.', 'sub-agent');
    await appears(join(laptop.checkout, 'agent.txt'));
    expect(await processes()).toContain('sleep 300.5151');
    const { findings } = await laptop.client.call('handoff/preflight', { threadId, to: server.hostId });
    expect(findings.find(({ code }) => code === 'sub-agents-stop')?.message).toContain('A sub-agent');

    const { worktree } = await toServer(threadId);

    expect(await processes()).not.toContain('sleep 300.5151');
    expect(readFileSync(join(worktree, 'agent.txt'), 'utf8')).toBe('written by a sub-agent\n');
    const spawned = async (site: Site, archived: boolean) => ((await askCodex(site, 'thread/list', { ancestorThreadId: threadId, modelProviders: [], archived })) as { data: Thread[] }).data;
    const [agent] = await spawned(server, false);
    expect(agent).toMatchObject({ cwd: worktree });
    expect(await askCodex(server, 'thread/resume', { threadId: agent?.id, excludeTurns: true })).toMatchObject({ cwd: worktree, approvalPolicy: 'on-request', sandbox: { type: 'workspaceWrite', networkAccess: false } });
    expect((await spawned(laptop, true)).map(({ id }) => id)).toEqual([agent?.id]);

    await toLaptop(threadId);
    expect((await spawned(laptop, false)).map(({ id }) => id)).toEqual([agent?.id]);
    expect(await laptop.say(threadId, said.hello)).toBe('completed');
    await git(laptop.checkout, 'clean', '-qfd');
  });

  it('raise what they wait for again at the destination', async () => {
    const asked = laptop.heard('approval/requested');
    const threadId = await laptop.begin('Delegate the risk.');
    const { approval } = await asked;
    expect(approval.threadId).not.toBe(threadId);
    const { worktree } = await toServer(threadId);
    expect(await laptop.approvals(approval.threadId)).toEqual([]);
    const [raised] = await server.approvals(approval.threadId);
    expect(raised).toMatchObject({ carriedOver: true, cwd: worktree, digest: approval.digest });
    const rest = server.rest(approval.threadId);
    await server.client.call('approval/decide', { id: raised?.id ?? '', digest: raised?.digest ?? '', decision: 'accept' });
    expect(await rest).toBe('completed');
    expect(readFileSync(join(worktree, 'published.txt'), 'utf8')).toBe('published by a sub-agent\n');
    expect(existsSync(join(laptop.checkout, 'published.txt'))).toBe(false);
  });
});

describe('a fork', () => {
  it('moves with as much of its parent as it builds on; the parent stays, goes on, and may follow', async () => {
    const parent = await laptop.begin(said.hello);
    const { thread } = (await laptop.client.codex('thread/fork', { threadId: parent })) as { thread: Thread };
    await laptop.say(thread.id, 'In the fork.');
    await laptop.say(parent, 'The parent goes on.');

    await toServer(thread.id);

    expect(await turnsOf(server, thread.id)).toEqual([[said.hello, 'completed'], ['In the fork.', 'completed']]);
    const asked = pair.model.requests.length;
    expect(await server.say(thread.id, 'Do you remember?')).toBe('completed');
    expect(sayings(asked)).toEqual([said.hello, 'In the fork.', 'Do you remember?']);
    // Nobody can go on with the parent there, and what it said after the fork did not travel.
    const { data } = (await server.client.codex('thread/list', {})) as { data: Thread[] };
    expect(data.map(({ id }) => id)).not.toContain(parent);
    const [copy] = (await listRollouts(server.machine.codexHome)).get(parent) ?? [];
    expect(copy?.archived).toBe(true);
    expect(readFileSync(copy?.path ?? '', 'utf8')).not.toContain('The parent goes on.');

    await laptop.say(parent, 'The parent goes on again.');
    await toLaptop(thread.id);
    expect(await turnsOf(laptop, thread.id)).toHaveLength(3);
    expect(await laptop.say(parent, 'Still here.')).toBe('completed');

    await toServer(parent);
    expect((await turnsOf(server, parent)).map(([words]) => words)).toEqual([said.hello, 'The parent goes on.', 'The parent goes on again.', 'Still here.']);
    expect(await server.say(parent, said.hello)).toBe('completed');
    // The fork follows to where its parent is at work.
    await toServer(thread.id);
    const remembered = pair.model.requests.length;
    expect(await server.say(thread.id, 'And now?')).toBe('completed');
    expect(sayings(remembered)).toEqual([said.hello, 'In the fork.', 'Do you remember?', 'And now?']);
    expect((await turnsOf(server, parent)).map(([words]) => words)).toHaveLength(5);
  });
});

describe('rollouts that Codex has compressed', () => {
  it('move as others do, those of what a thread builds on too', async () => {
    const parent = await laptop.begin(said.hello);
    const { thread } = (await laptop.client.codex('thread/fork', { threadId: parent })) as { thread: Thread };
    await laptop.say(thread.id, 'In the fork.');
    await laptop.stop();
    const files = async () => [...(await listRollouts(laptop.machine.codexHome)).entries()].filter(([id]) => id === parent || id === thread.id).flatMap(([, of]) => of);
    for (const { path } of await files()) utimesSync(path, new Date('2026-01-01'), new Date('2026-01-01'));
    const config = join(laptop.machine.codexHome, 'config.toml');
    const plain = readFileSync(config, 'utf8');
    writeFileSync(config, `${plain}\n[features]\nlocal_thread_store_compression = true\n`);
    await laptop.start(pair.relay.url);
    await askCodex(laptop, 'rollout/compress', {});
    for (;;) if ((await files()).every(({ compressed }) => compressed)) break;
    writeFileSync(config, plain);

    await toServer(thread.id);
    expect(await turnsOf(server, thread.id)).toEqual([[said.hello, 'completed'], ['In the fork.', 'completed']]);
    expect(await server.say(thread.id, 'Do you remember?')).toBe('completed');
  });
});
