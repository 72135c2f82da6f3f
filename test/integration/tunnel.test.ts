import { existsSync, readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import type { ResultOf } from '../../src/host/protocol';
import { hasTmux, TmuxScreen } from '../fixtures/tmuxScreen';
import { CodexClient } from './codexClient';
import { codex, explainFailures, refusal, riskyCommand, said, startPair, type PairedHosts } from './pairedHosts';

let pair: PairedHosts;
let tunnel: ResultOf<'tunnel/open'>;

beforeAll(async () => {
  pair = await startPair();
}, 120_000);
afterAll(() => pair.close(), 60_000);
beforeEach(() => explainFailures(pair));

/** Lets the laptop in at the server in a role, in place of what it was before. */
async function letIn(role: 'operator' | 'approver' | 'viewer', threadId?: string): Promise<void> {
  await pair.server.client.call('device/revoke', { id: pair.laptop.hostId });
  const { invite } = await pair.server.client.call('host/invite', { role, threadId });
  await pair.laptop.client.call('host/join', { invite });
  tunnel = await pair.laptop.client.call('tunnel/open', { host: pair.server.hostId });
}

const status = (url: string, headers: Record<string, string>): Promise<number> => new Promise((resolve, reject) => {
  const socket = new WebSocket(url, { headers });
  const answered = (code: number) => {
    resolve(code);
    socket.terminate();
  };
  socket.on('open', () => answered(101));
  socket.on('unexpected-response', (_, response) => answered(response.statusCode ?? 0));
  socket.on('error', reject);
});

describe('a tunnel to another host', () => {
  it.skipIf(!hasTmux)('lets the untouched TUI go on with a thread there, through the relay, and answer what it asks', async () => {
    const threadId = await pair.server.begin(said.hello);
    await letIn('operator');
    const home = join(pair.directory, 'tui');
    await mkdir(home);
    const screen = await TmuxScreen.open(home, `'${codex}' --remote 'unix://${tunnel.socketPath ?? ''}' resume ${threadId} '${said.risky}'`, { PATH: process.env['PATH'], HOME: home, CODEX_HOME: home });
    try {
      expect(await screen.shows(/Would you like to run|Use existing model/)).toContain('');
      if ((await screen.text()).includes('Use existing model')) await screen.press('2', 'Enter');
      expect(await screen.shows(/Would you like to run/)).toContain('ephemeris-42');
      expect(existsSync(join(pair.server.checkout, 'published.txt'))).toBe(false);
      await screen.press('y');
      await screen.shows(/Published\./);
      expect(readFileSync(join(pair.server.checkout, 'published.txt'), 'utf8')).toContain('published by the agent');
    } finally {
      await screen.close();
    }
    const { events } = await pair.server.client.call('audit/list', { threadId });
    expect(events).toContainEqual(expect.objectContaining({ type: 'approval-decided', decision: 'accept', by: `host:${pair.laptop.hostId}` }));
  }, 120_000);

  it('asks an approver, and not a viewer; neither may start a turn', async () => {
    const threadId = await pair.server.begin(said.risky);
    await letIn('viewer');
    const viewer = await CodexClient.open(tunnel.socketPath);
    expect((await viewer.request('thread/resume', { threadId, sandbox: null })).result).toMatchObject({ thread: { id: threadId } });
    expect((await viewer.request('turn/start', { threadId, input: [] })).error).toMatchObject({ code: -32003, data: { reason: 'not-permitted' } });
    expect((await viewer.request('config/read')).error).toMatchObject({ data: { reason: 'not-permitted' } });
    expect((await viewer.request('command/exec', { command: ['id'] })).error).toMatchObject({ data: { reason: 'unknown-method' } });
    expect(viewer.heard.map(({ method }) => method)).not.toContain('item/commandExecution/requestApproval');
    const gone = new Promise((resolve) => viewer.socket.once('close', resolve));
    await letIn('approver', threadId);
    // What was open in the earlier role has ended.
    await gone;
    const approver = await CodexClient.open(tunnel.socketPath);
    await approver.request('thread/resume', { threadId });
    const asked = await approver.hears('item/commandExecution/requestApproval');
    expect(asked.params).toMatchObject({ threadId, command: expect.stringContaining(riskyCommand) as string });
    expect((await approver.request('turn/start', { threadId, input: [] })).error).toMatchObject({ data: { reason: 'not-permitted' } });
    approver.socket.send(JSON.stringify({ id: asked.id, result: { decision: 'decline' } }));
    await approver.hears('serverRequest/resolved');
    await approver.hears('turn/completed');
    const { events } = await pair.server.client.call('audit/list', { threadId });
    expect(events).toContainEqual(expect.objectContaining({ type: 'approval-decided', decision: 'decline', by: `device:${pair.laptop.hostId}` }));
    approver.socket.terminate();
  }, 60_000);

  it('is open to whoever has its token, and to no page', async () => {
    await letIn('viewer');
    const token = readFileSync(tunnel.tokenFile, 'utf8').trim();
    const bearer = { authorization: `Bearer ${token}` };
    expect(await status(tunnel.url, bearer)).toBe(101);
    expect(await status(tunnel.url, {})).toBe(401);
    expect(await status(tunnel.url, { authorization: `Bearer ${'x'.repeat(token.length)}` })).toBe(401);
    expect(await status(tunnel.url, { ...bearer, host: 'evil.example:80' })).toBe(401);
    for (const origin of ['http://evil.example', 'null']) expect(await status(tunnel.url, { ...bearer, origin })).toBe(403);
  });

  it('ends with the connection that asked for it, and when the trust does', async () => {
    const controller = await pair.laptop.machine.client();
    const short = await controller.call('tunnel/open', { host: pair.server.hostId });
    const client = await CodexClient.open(short.socketPath);
    const closed = new Promise((resolve) => client.socket.once('close', resolve));
    controller.dispose();
    await closed;
    const other = await CodexClient.open(tunnel.socketPath);
    const ended = new Promise((resolve) => other.socket.once('close', resolve));
    await pair.server.client.call('device/revoke', { id: pair.laptop.hostId });
    await ended;
    expect(await refusal(pair.laptop.client.call('tunnel/open', { host: pair.server.hostId }))).toMatchObject({ reason: 'host-offline' });
  });

  it('is not for a host that is known for handoffs only', async () => {
    const { invite } = await pair.server.client.call('host/invite', { role: 'peer' });
    await pair.laptop.client.call('host/join', { invite });
    const error = await refusal(pair.laptop.client.call('tunnel/open', { host: pair.server.hostId }));
    expect(error.reason).toBe('not-permitted');
    expect(error.message).toContain('baton invite --role viewer');
  });
});
