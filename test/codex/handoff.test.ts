import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { appendFile, copyFile, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AppServer } from '../../src/codex/appServer';
import { describeRollout, hashBodyPrefix, readBody, readMetaLine } from '../../src/codex/rollout';
import { findRollouts, listRollouts } from '../../src/codex/rolloutFamily';
import { installRollout, stageRollout } from '../../src/codex/rolloutImport';
import { readPlan } from '../../src/codex/rolloutPlan';
import { quiesceThread } from '../../src/codex/quiesce';
import { allThreads, handoffAttachment, injectNote, isArchived, joinThread, markMoved, readThread, resumeMoved, unmarkMoved } from '../../src/codex/threads';
import { appears } from '../fixtures/appears';
import { userText } from '../fixtures/scriptedModel';
import { CodexHomes, nextNotification, nextRequest, runTurn, startThread, textInput } from './homes';

const longCommand = 'echo started > started.txt; sleep 300.4242; echo late > late.txt';
let homes: CodexHomes;

beforeAll(async () => {
  homes = await CodexHomes.create([
    { user: /make a plan/, answers: [[{ plan: [{ step: 'look', status: 'completed' }, { step: 'mend', status: 'in_progress' }], explanation: 'first things first' }], [{ message: 'planned' }]] },
    { user: /write the marker/, answers: [[{ command: 'echo marked > marker.txt', escalate: 'May I write the marker?' }], [{ message: 'written' }]] },
    { user: /continue/, history: /aborted/, answers: [[{ repeatAborted: true }], [{ message: 'written after all' }]] },
    { user: /long command/, answers: [[{ command: longCommand, yieldMs: 250 }], [{ slowMessage: 'waiting '.repeat(2000), everyMs: 50 }]] },
    { user: /secret/, answers: [[{ message: 'The secret word is heliotrope.' }]] },
    { user: /./, answers: [[{ message: 'Yes.' }]] },
  ]);
});
afterAll(() => homes.dispose());

/** Carries all rollouts of a thread from one home into another as a handoff does, sending only what is not there. Returns the body bytes sent. */
async function carry(threadId: string, from: string, to: string, cwd: string): Promise<number> {
  let sent = 0;
  const here = await findRollouts({ codexHome: homes.home(to), threadId }).catch(() => []);
  const files = await findRollouts({ codexHome: homes.home(from), threadId });
  const family = await Promise.all(files.map(async ({ name, path }) => ({ name, metaLine: await readMetaLine(path) })));
  for (const file of files) {
    const source = await describeRollout(file.path);
    const existing = here.find((candidate) => candidate.name === file.name);
    const prefixBytes = existing === undefined ? 0 : (await describeRollout(existing.path)).bodyBytes;
    if (existing !== undefined) expect(await hashBodyPrefix(file.path, prefixBytes)).toBe((await describeRollout(existing.path)).bodySha256);
    sent += source.bodyBytes - prefixBytes;
    const staged = await stageRollout({
      ...source,
      stagingDir: join(homes.root, 'staging'),
      ...(existing === undefined ? {} : { existing: existing.path }),
      prefixBytes,
      tail: readBody(file.path, prefixBytes, source.bodyBytes),
      cwd,
      family,
    });
    await installRollout({ codexHome: homes.home(to), staged });
  }
  return sent;
}

describe('a thread that is handed over and back', () => {
  let laptop: AppServer;
  let server: AppServer;
  let threadId: string;
  let atHome: string;
  let away: string;

  beforeAll(async () => {
    laptop = await homes.start('laptop');
    server = await homes.start('server');
    atHome = await homes.folder('work', 'laptop');
    away = await homes.folder('work', 'server');
    threadId = await startThread(laptop, atHome);
    expect(await runTurn(laptop, threadId, 'Tell me the secret.')).toBe('completed');
    expect(await runTurn(laptop, threadId, 'Please make a plan.')).toBe('completed');
  });

  it('is brought to rest while it waits on an approval, and its rollout then stays as it is', async () => {
    const asked = nextRequest(laptop);
    await laptop.request('turn/start', { threadId, input: textInput('Please write the marker.') });
    expect(await asked).toMatchObject({ id: 0, method: 'item/commandExecution/requestApproval', params: { threadId, reason: 'May I write the marker?' } });

    const quiesced = await quiesceThread(laptop, threadId);

    expect(quiesced).toEqual({ interruptedTurnId: expect.stringMatching(/^[0-9a-f-]{36}$/) as string, goalPaused: false, released: true });
    const [file] = await findRollouts({ codexHome: homes.home('laptop'), threadId });
    const atRest = await readFile(file?.path ?? '');
    await markMoved(laptop, { threadId, destinationHostId: 'h'.repeat(43), destinationName: 'server', epoch: 1, name: null });
    await unmarkMoved(laptop, { threadId, name: 'The marker' });
    await joinThread(laptop, threadId);
    await quiesceThread(laptop, threadId);
    const [later] = await findRollouts({ codexHome: homes.home('laptop'), threadId });
    expect(await readFile(later?.path ?? '')).toEqual(atRest);
  });

  it('goes on at the destination with its whole history, in its new folder and under the policy that was set', async () => {
    await carry(threadId, 'laptop', 'server', away);
    const applied = await resumeMoved(server, { threadId, cwd: away, approvalPolicy: 'untrusted', sandbox: 'workspace-write' });
    expect(applied).toMatchObject({ cwd: away, approvalPolicy: 'untrusted', sandboxMode: 'workspace-write', thread: { id: threadId } });
    await injectNote(server, threadId, 'You are now on another machine.');
    await markMoved(laptop, { threadId, destinationHostId: 'h'.repeat(43), destinationName: 'server', epoch: 1, name: 'The marker' });

    const listed = [];
    for await (const thread of allThreads(server, { cwd: away })) listed.push({ id: thread.id, cwd: thread.cwd });
    expect(listed).toEqual([{ id: threadId, cwd: away }]);

    const asked = nextRequest(server);
    const ended = nextNotification(server, 'turn/completed');
    await server.request('turn/start', { threadId, input: textInput('Please continue.') });
    const request = await asked;
    expect(request).toMatchObject({ method: 'item/commandExecution/requestApproval', params: { cwd: away, reason: 'May I write the marker?' } });
    server.reply({ id: request.id, method: 'item/commandExecution/requestApproval' }, { decision: 'accept' });
    expect((await ended).turn.status).toBe('completed');
    expect(existsSync(join(away, 'marker.txt'))).toBe(true);
    expect(existsSync(join(atHome, 'marker.txt'))).toBe(false);

    const said = homes.model.requests.at(-1)?.input.map(userText).filter((text) => text !== null);
    expect(said).toEqual(['Tell me the secret.', 'Please make a plan.', 'Please write the marker.', 'Please continue.']);
    expect(JSON.stringify(homes.model.requests.at(-1)?.input)).toContain('heliotrope');
    expect(JSON.stringify(homes.model.requests.at(-1)?.input)).toContain('You are now on another machine.');
  });

  it('is told only once where it is, however often that is tried', async () => {
    const [file] = await findRollouts({ codexHome: homes.home('server'), threadId });
    const since = { path: file?.path ?? '', bodyBytes: (await describeRollout(file?.path ?? '')).bodyBytes };
    const note = 'You are in "a folder" of another\nmachine – for now.';
    for (const _ of [1, 2, 3]) await injectNote(server, threadId, note, since);
    expect((await readFile(since.path, 'utf8')).split(JSON.stringify(note))).toHaveLength(2);
  });

  it('takes its plan along', async () => {
    const [file] = await findRollouts({ codexHome: homes.home('server'), threadId });
    expect(await readPlan(file?.path ?? '')).toEqual({
      turnId: expect.any(String) as string,
      explanation: 'first things first',
      steps: [{ step: 'look', status: 'completed' }, { step: 'mend', status: 'inProgress' }],
    });
  });

  it('is left archived at the source, named and marked for where it went', async () => {
    expect(await isArchived(laptop, threadId)).toBe(true);
    expect((await readThread(laptop, threadId)).name).toBe('↪ moved to server: The marker');
    const { data } = await laptop.request('thread/attachment/list', { threadId });
    expect(data).toMatchObject([{ attachmentType: handoffAttachment, identityKey: `${'h'.repeat(43)}/1`, payload: { name: 'server', epoch: 1 } }]);
    await expect(laptop.request('thread/resume', { threadId })).rejects.toMatchObject({ reason: 'thread-archived' });
    // Said again after a crash, it changes nothing.
    await markMoved(laptop, { threadId, destinationHostId: 'h'.repeat(43), destinationName: 'server', epoch: 1, name: 'The marker' });
    expect((await laptop.request('thread/attachment/list', { threadId })).data).toHaveLength(1);
  });

  it('comes back with only the tail of its rollout, and shows the turns that it ran away from home', async () => {
    await quiesceThread(server, threadId);
    await unmarkMoved(laptop, { threadId, name: 'The marker' });
    const [before] = await findRollouts({ codexHome: homes.home('laptop'), threadId });
    const old = await describeRollout(before?.path ?? '');

    const sent = await carry(threadId, 'server', 'laptop', atHome);

    const back = await describeRollout(before?.path ?? '');
    expect(sent).toBe(back.bodyBytes - old.bodyBytes);
    expect(back.lastOrdinal).toBeGreaterThan(old.lastOrdinal ?? Infinity);
    const applied = await resumeMoved(laptop, { threadId, cwd: atHome, approvalPolicy: 'on-request', sandbox: 'workspace-write' });
    expect(applied).toMatchObject({ cwd: atHome, approvalPolicy: 'on-request' });
    const turns = await laptop.request('thread/turns/list', { threadId, sortDirection: 'asc', itemsView: 'full' });
    expect(JSON.stringify(turns.data.at(-1))).toContain('written after all');
    expect(await runTurn(laptop, threadId, 'Are you back?')).toBe('completed');
    expect((await readThread(laptop, threadId)).cwd).toBe(atHome);
    expect(homes.model.unanswered).toEqual([]);
  });

  it('is refused where its rollout went on at both ends', async () => {
    await quiesceThread(laptop, threadId);
    await joinThread(server, threadId);
    await runTurn(server, threadId, 'Something else.');
    await quiesceThread(server, threadId);
    const [file] = await findRollouts({ codexHome: homes.home('server'), threadId });
    const source = await describeRollout(file?.path ?? '');
    const staged = await stageRollout({ ...source, stagingDir: join(homes.root, 'staging'), prefixBytes: 0, tail: readBody(file?.path ?? '', 0, source.bodyBytes), cwd: atHome });
    await expect(installRollout({ codexHome: homes.home('laptop'), staged })).rejects.toMatchObject({ reason: 'rollout-diverged' });
  });
});

async function runningCommands(): Promise<string> {
  return (await promisify(execFile)('ps', ['-ww', '-e', '-o', 'args='], { maxBuffer: 1 << 24 })).stdout;
}

describe('quiescing', () => {
  it('ends the command that an interrupted turn leaves running', async () => {
    const server = await homes.start('terminals');
    const cwd = await homes.folder('work', 'terminals');
    const threadId = await startThread(server, cwd);
    const said = nextNotification(server, 'item/agentMessage/delta');
    await server.request('turn/start', { threadId, input: textInput('Run the long command.') });
    await said;
    await appears(join(cwd, 'started.txt'));
    expect(await runningCommands()).toContain('sleep 300.4242');

    await quiesceThread(server, threadId);

    expect(await runningCommands()).not.toContain('sleep 300.4242');
    expect((await server.request('thread/loaded/list', {})).data).toEqual([]);
  });

  it('releases a thread that another client still follows', async () => {
    const server = await homes.start('shared');
    const other = await homes.start('shared');
    expect(other.adopted).toBe(true);
    const threadId = await startThread(server, await homes.folder('work', 'shared'));
    await runTurn(server, threadId, 'Hello.');
    await joinThread(other, threadId);
    const [file] = await findRollouts({ codexHome: homes.home('shared'), threadId });
    const before = await readFile(file?.path ?? '');

    expect(await quiesceThread(server, threadId)).toMatchObject({ released: true });

    expect((await server.request('thread/loaded/list', {})).data).toEqual([]);
    expect(await readFile(file?.path ?? '')).toEqual(before);
    other.detach();
  });

  it('pauses an active goal, so that no turn starts by itself', async () => {
    const server = await homes.start('goals');
    const threadId = await startThread(server, await homes.folder('work', 'goals'));
    await runTurn(server, threadId, 'Hello.');
    await server.request('thread/goal/set', { threadId, objective: 'Keep going', status: 'active' });
    expect(await quiesceThread(server, threadId)).toMatchObject({ goalPaused: true, released: true });
    expect((await server.request('thread/goal/get', { threadId })).goal?.status).toBe('paused');
  });
});

describe('a thread that cannot be resumed here', () => {
  it('is told apart: its provider is not configured', async () => {
    const source = await homes.start('providers');
    const threadId = await startThread(source, await homes.folder('work', 'providers'));
    await runTurn(source, threadId, 'Hello.');
    await quiesceThread(source, threadId);
    const stranger = await homes.start('stranger');
    const [file] = await findRollouts({ codexHome: homes.home('providers'), threadId });
    const path = file?.path.replace(homes.home('providers'), homes.home('stranger')) ?? '';
    await mkdir(dirname(path), { recursive: true });
    await copyFile(file?.path ?? '', path);
    const text = await readFile(path, 'utf8');
    await writeFile(path, text.replaceAll('"scripted"', '"elsewhere"'));
    await expect(joinThread(stranger, threadId)).rejects.toMatchObject({ reason: 'provider-missing', message: expect.stringContaining('elsewhere') as string });
  });

  it('is told apart: another Codex process has it open', async () => {
    const server = await homes.start('locks');
    const threadId = await startThread(server, await homes.folder('work', 'locks'));
    await runTurn(server, threadId, 'Hello.');
    const second = await homes.start('locks', { socketPath: join(homes.root, 'locks2.sock'), stateFile: join(homes.root, 'locks2.json') });
    await expect(joinThread(second, threadId)).rejects.toMatchObject({ reason: 'thread-in-use' });
  });
});

describe('a thread that builds on another file', () => {
  // The base's first line becomes shorter or longer with the folder that it names, which moves every byte that a fork counts on.
  it.each([['shorter', 'f'], ['longer', 'a-folder-with-a-much-longer-name-than-it-had-at-home/and-another']])('is a fork: takes its ancestor along into a %s folder and resumes with the whole history', async (kind, folder) => {
    const source = await homes.start(`fork-${kind}`);
    const parent = await startThread(source, await homes.folder('work', 'forks'));
    await runTurn(source, parent, 'Tell me the secret.');
    const { thread } = await source.request('thread/fork', { threadId: parent });
    await runTurn(source, thread.id, 'And in the fork?');
    await runTurn(source, parent, 'The parent goes on.');
    await quiesceThread(source, thread.id);

    const files = await findRollouts({ codexHome: homes.home(`fork-${kind}`), threadId: thread.id });
    expect(files.map(({ threadId, relation }) => ({ threadId, relation }))).toEqual([
      { threadId: parent, relation: 'ancestor' },
      { threadId: thread.id, relation: 'thread' },
    ]);

    const target = await homes.start(`forked-${kind}`);
    const cwd = await homes.folder(folder);
    await carry(thread.id, `fork-${kind}`, `forked-${kind}`, cwd);
    await resumeMoved(target, { threadId: thread.id, cwd, approvalPolicy: 'on-request', sandbox: 'workspace-write' });
    expect(await runTurn(target, thread.id, 'Do you remember?')).toBe('completed');
    const said = homes.model.requests.at(-1)?.input.map(userText).filter((text) => text !== null);
    expect(said).toEqual(['Tell me the secret.', 'And in the fork?', 'Do you remember?']);
    expect(JSON.stringify(homes.model.requests.at(-1)?.input)).toContain('heliotrope');
  });

  it('was reverted: takes both segments along', async () => {
    const source = await homes.start('reverts');
    const threadId = await startThread(source, await homes.folder('work', 'reverts'));
    for (const text of ['Tell me the secret.', 'A wrong turn.']) await runTurn(source, threadId, text);
    const { data } = await source.request('thread/turns/list', { threadId, limit: 1 });
    await source.forward('thread/revert', { threadId, beforeTurnId: data[0]?.id });
    await runTurn(source, threadId, 'A better turn.');
    await quiesceThread(source, threadId);

    const files = await findRollouts({ codexHome: homes.home('reverts'), threadId });
    expect(files.map(({ relation }) => relation)).toEqual(['thread', 'segment']);

    const target = await homes.start('reverted');
    const cwd = await homes.folder('r');
    await carry(threadId, 'reverts', 'reverted', cwd);
    await resumeMoved(target, { threadId, cwd, approvalPolicy: 'on-request', sandbox: 'workspace-write' });
    expect(await runTurn(target, threadId, 'Do you remember?')).toBe('completed');
    const said = homes.model.requests.at(-1)?.input.map(userText).filter((text) => text !== null);
    expect(said).toEqual(['Tell me the secret.', 'A better turn.', 'Do you remember?']);
  });
});

it.each([true, false])('resumes with network access %s, whatever config.toml says', async (networkAccess) => {
  const name = `network-${networkAccess}`;
  const server = await homes.start(name, {}, { extra: `[sandbox_workspace_write]\nnetwork_access = ${!networkAccess}` });
  const cwd = await homes.folder('work', name);
  const threadId = await startThread(server, cwd);
  await runTurn(server, threadId, 'Hello.');
  await quiesceThread(server, threadId);
  const applied = await resumeMoved(server, { threadId, cwd, approvalPolicy: 'on-request', sandbox: 'workspace-write', networkAccess });
  expect(applied.sandbox).toMatchObject({ type: 'workspaceWrite', networkAccess });
});

it('keeps the hash of what is on the disk, not of what was announced', async () => {
  const [file] = await findRollouts({ codexHome: homes.home('laptop'), threadId: (await findAnyThread('laptop')) });
  const path = file?.path ?? '';
  const whole = await describeRollout(path);
  const body = (await readFile(path)).subarray(Buffer.byteLength(whole.metaLine) + 1);
  expect(whole).toMatchObject({ name: basename(path), bodyBytes: body.length, bodySha256: createHash('sha256').update(body).digest('hex') });
  await appendFile(path, '{"torn":');
  expect(await describeRollout(path)).toEqual(whole);
  expect((await stat(path)).size).toBeGreaterThan(body.length);
});

async function findAnyThread(name: string): Promise<string> {
  return [...(await listRollouts(homes.home(name))).keys()][0] ?? '';
}
