import { readFile, rename, stat, writeFile } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AppServer, type AppServerState } from '../../src/codex/appServer';
import { GENERATED_FROM_CODEX } from '../../src/codex/protocol.generated';
import { joinThread } from '../../src/codex/threads';
import { CodexHomes, nextNotification, nextRequest, runTurn, startThread, textInput } from './homes';

let homes: CodexHomes;
beforeAll(async () => {
  homes = await CodexHomes.create([
    { user: /ask first/, answers: [[{ command: 'true', escalate: 'May I?' }], [{ message: 'done' }]] },
    { user: /./, answers: [[{ message: 'Yes.' }]] },
  ]);
});
afterAll(() => homes.dispose());

const alive = (pid: number) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

function nextState(server: AppServer, wanted: AppServerState): Promise<string> {
  return new Promise((resolve) => {
    const subscription = server.onState((state, why) => {
      if (state !== wanted) return;
      subscription.dispose();
      resolve(why);
    });
  });
}

describe.each(['socket', 'stdio'] as const)('an app-server over %s', (transport) => {
  it('is started, runs a turn, passes on an approval, and is stopped while another one waits', async () => {
    const name = `over-${transport}`;
    const server = await homes.start(name, { transport });
    expect(server).toMatchObject({ state: 'connected', codexHome: homes.home(name), version: GENERATED_FROM_CODEX, adopted: false });
    const threadId = await startThread(server, await homes.folder('work', name));
    expect(await runTurn(server, threadId, 'Hello.')).toBe('completed');

    const asked = nextRequest(server);
    const ended = nextNotification(server, 'turn/completed');
    await server.request('turn/start', { threadId, input: textInput('Please ask first.') });
    const request = await asked;
    server.reply({ id: request.id, method: 'item/commandExecution/requestApproval' }, { decision: 'accept' });
    expect((await ended).turn.status).toBe('completed');

    const askedAgain = nextRequest(server);
    await server.request('turn/start', { threadId, input: textInput('Please ask first.') });
    await askedAgain;
    const { pid } = server;
    const began = Date.now();
    await server.stop();
    expect(alive(pid)).toBe(false);
    // A first SIGTERM alone would wait for the approval for ever.
    expect(Date.now() - began).toBeLessThan(6_000);
    await server.stop();
    await expect(server.request('thread/loaded/list', {})).rejects.toMatchObject({ reason: 'connection-lost' });
  });

  it('says that it ended when it is killed', async () => {
    const server = await homes.start(`killed-${transport}`, { transport });
    const ended = nextState(server, 'ended');
    const open = server.request('thread/list', { modelProviders: [] }).then(() => 'answered', () => 'lost');
    process.kill(server.pid, 'SIGKILL');
    expect(await ended).not.toBe('');
    expect(['answered', 'lost']).toContain(await open);
    expect(server.state).toBe('ended');
  });

  it('that cannot start says why', async () => {
    const name = `broken-${transport}`;
    const options = homes.options(name, { transport, config: ['no-override'] });
    await expect(AppServer.start(options)).rejects.toMatchObject({ reason: 'codex-unavailable', message: expect.stringContaining('no-override') as string });
    await expect(stat(homes.options(name).stateFile)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

describe('an app-server that an earlier run left', () => {
  it('is found again, with its threads and the approval that they wait for', async () => {
    const first = await homes.start('left');
    const threadId = await startThread(first, await homes.folder('work', 'left'));
    const asked = nextRequest(first);
    await first.request('turn/start', { threadId, input: textInput('Please ask first.') });
    const request = await asked;
    first.detach();

    const second = await homes.start('left');
    expect(second).toMatchObject({ adopted: true, pid: first.pid });
    const again = await nextRequest(second);
    expect(again).toEqual(request);
    const ended = nextNotification(second, 'turn/completed');
    second.reply({ id: again.id, method: 'item/commandExecution/requestApproval' }, { decision: 'accept' });
    expect((await ended).turn).toMatchObject({ status: 'completed' });
  });

  it('is not taken for it when the noted process is another one', async () => {
    const options = homes.options('stranger');
    await homes.folder('stranger');
    await writeFile(options.stateFile, JSON.stringify({ pid: process.pid, socketPath: options.socketPath, codexHome: options.codexHome, version: '0.169.0' }));
    const server = await homes.start('stranger');
    expect(server.adopted).toBe(false);
    expect(JSON.parse(await readFile(options.stateFile, 'utf8'))).toMatchObject({ pid: server.pid });
  });
});

it('a dropped connection is made again, and threads are heard of as before', async () => {
  const first = await homes.start('dropped');
  const threadId = await startThread(first, await homes.folder('work', 'dropped'));
  await runTurn(first, threadId, 'Hello.');
  first.detach();
  // A proxy in the socket's place lets the test cut the line while the server lives on.
  const { socketPath } = homes.options('dropped');
  await rename(socketPath, `${socketPath}.real`);
  const lines = new Set<Socket>();
  const proxy = createServer((line) => {
    const onward = connect(`${socketPath}.real`);
    lines.add(line);
    for (const [from, to] of [[line, onward], [onward, line]] as const) from.on('error', () => to.destroy()).on('close', () => to.destroy()).pipe(to);
  });
  await new Promise<void>((resolve) => proxy.listen(socketPath, resolve));
  try {
    const server = await homes.start('dropped');
    expect(server.adopted).toBe(true);
    await joinThread(server, threadId);
    const pending = server.request('thread/list', { modelProviders: [] }).catch((error: unknown) => error);
    const dropped = nextState(server, 'reconnecting');
    const back = nextState(server, 'connected');
    for (const line of lines) line.destroy();
    await dropped;
    expect(await pending).toMatchObject({ reason: 'connection-lost' });
    await back;
    const asked = nextRequest(server);
    await server.request('turn/start', { threadId, input: textInput('Please ask first.') });
    expect((await asked).params.threadId).toBe(threadId);
    await server.stop();
  } finally {
    proxy.close();
  }
});

describe('an error of the app-server', () => {
  it.each([
    ['thread/resume', { threadId: '01a1fc37-0000-7000-8000-000000000000' }, 'thread-not-found'],
    ['turn/start', { threadId: '01a1fc37-0000-7000-8000-000000000000', input: [] }, 'thread-not-found'],
    ['thread/resume', { threadId: 7 }, 'refused'],
    ['no/such/method', {}, 'refused'],
  ])('to %s becomes a reason', async (method, params, reason) => {
    const server = await homes.start('errors');
    await expect(server.forward(method, params)).rejects.toMatchObject({ name: 'CodexError', reason });
    server.detach();
  });

  it('that says "overloaded" is waited out', async () => {
    const server = await homes.start('errors');
    const answers = await Promise.all(Array.from({ length: 600 }, () => server.request('thread/list', { modelProviders: [] })));
    expect(answers).toHaveLength(600);
    server.detach();
  });
});
