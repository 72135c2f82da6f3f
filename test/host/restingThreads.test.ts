import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AppServer } from '../../src/codex/appServer';
import { joinThread } from '../../src/codex/threads';
import { CodexHost } from '../../src/host/codexHost';
import { HeldPolicies, heldPolicies } from '../../src/host/heldPolicies';
import { JsonStore } from '../../src/host/jsonStore';
import { REST_MS, RestingThreads } from '../../src/host/restingThreads';
import { ThreadUse } from '../../src/host/threadUse';
import { writeCodexConfig } from '../fixtures/scriptedModel';
import { CodexHomes, runTurn, startThread, textInput } from '../codex/homes';

let homes: CodexHomes;
let codex: CodexHost;
let server: AppServer;
let other: AppServer;
let open: string | null = null;
let later = 0;
let resting: RestingThreads;
const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined };

beforeAll(async () => {
  homes = await CodexHomes.create([{ user: /Ask me/, answers: [[{ command: 'touch asked', escalate: 'May I?' }], [{ message: 'Thanks.' }]] }, { user: /./, answers: [[{ message: 'Yes.' }]] }]);
  const codexHome = homes.home('host');
  await writeCodexConfig(codexHome, { modelUrl: homes.model.url });
  const held = new HeldPolicies(await JsonStore.open(join(homes.root, 'policies.json'), heldPolicies, {}));
  codex = new CodexHost({ batonHome: homes.root, codexHome, socketDirectory: homes.root, env: { PATH: process.env['PATH'], BATON_CODEX: homes.codex.command }, version: '0', log: quiet, held });
  server = await codex.ready();
  other = await AppServer.start(homes.options('host', { socketPath: join(homes.root, 'other.sock'), stateFile: join(homes.root, 'other.json') }));
  resting = new RestingThreads({ codex, log: quiet, underWay: () => null, isOpen: (threadId) => threadId === open, now: () => performance.now() + later });
});
afterAll(async () => {
  await other.stop();
  await codex.stop();
  await homes.dispose();
});

async function withTurn(): Promise<string> {
  const threadId = await startThread(server, await homes.folder('work'));
  await runTurn(server, threadId, 'Hello.');
  await codex.settingsOf(threadId);
  return threadId;
}

/** Another Codex program opens the thread, and leaves it again. */
async function openedElsewhere(threadId: string): Promise<void> {
  await joinThread(other, threadId);
  const closed = new Promise<void>((resolve) => other.onNotification('thread/closed', (params) => params.threadId === threadId && resolve()));
  await other.request('thread/unsubscribe', { threadId });
  await closed;
}

describe('a thread that rests', () => {
  it('is let go of once nothing was done with it for long, so that another Codex program can open it, and is loaded again when it is needed', async () => {
    const threadId = await withTurn();
    await resting.look();
    await expect(joinThread(other, threadId)).rejects.toMatchObject({ reason: 'thread-in-use' });
    later = REST_MS;
    await resting.look();
    await openedElsewhere(threadId);
    await codex.settingsOf(threadId);
    expect(await runTurn(server, threadId, 'Hello again.')).toBe('completed');
    later = 0;
  });

  it('stays while a client has it open, while it waits for an approval, and until it is on disk', async () => {
    const [first, asks] = [await withTurn(), await withTurn()];
    const bare = await startThread(server, await homes.folder('work'));
    const asked = new Promise<void>((resolve) => server.onServerRequest(() => resolve()));
    await server.request('turn/start', { threadId: asks, input: textInput('Ask me.') });
    await asked;
    open = first;
    later = 2 * REST_MS;
    await resting.look();
    for (const threadId of [first, asks]) await expect(joinThread(other, threadId)).rejects.toMatchObject({ reason: 'thread-in-use' });
    expect(await runTurn(server, bare, 'Hello.')).toBe('completed');
    open = null;
    later = 0;
  });

  it('that was loaded only to be looked at is let go of at once; one that was loaded before is not', async () => {
    const threadId = await withTurn();
    const looks = () => resting.onlyLooking(threadId, () => codex.settingsOf(threadId));
    await looks();
    await expect(joinThread(other, threadId)).rejects.toMatchObject({ reason: 'thread-in-use' });
    await resting.letGo(threadId);
    await looks();
    await openedElsewhere(threadId);
  });
});

describe('a use of a thread', () => {
  it('keeps it from being let go of, and waits while it is', async () => {
    const use = new ThreadUse(() => 0);
    const done: string[] = [];
    await use.during('t', () => use.leave('t', () => Promise.resolve(void done.push('left in use'))));
    let finish: () => void = () => undefined;
    const leaving = use.leave('t', () => new Promise((resolve) => (finish = resolve)));
    const used = use.during('t', () => Promise.resolve(void done.push('used')));
    await new Promise((resolve) => setImmediate(resolve));
    done.push('left');
    finish();
    await Promise.all([leaving, used]);
    expect(done).toEqual(['left', 'used']);
  });
});
