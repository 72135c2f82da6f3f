import { mkdtemp, rm, chmod } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ResponseError, type CancellationToken, type MessageConnection } from 'vscode-jsonrpc/node';
import { HostClient } from '../../src/host/hostClient';
import { connect } from '../../src/host/jsonLines';
import { listenLocal, type LocalServer } from '../../src/host/localServer';
import { PROTOCOL_VERSION } from '../../src/host/protocol';

const hostId = 'A'.repeat(43);
const threadId = '0199a213-81c0-7800-8aa1-bbab2a035a53';
const clientInfo = { name: 'test', version: '1' };
const welcome = (protocolVersion = PROTOCOL_VERSION) => ({ userAgent: 'codex', baton: { protocolVersion, hostId, name: 'laptop', role: 'operator' } });
type Answer = (params: unknown, token: CancellationToken) => unknown;

describe('a client of a host', () => {
  let home: string;
  let server: LocalServer;
  let answers: Record<string, Answer>;
  let connections: MessageConnection[];
  const heard: { method: string; params: unknown }[] = [];
  const clients: HostClient[] = [];
  const client = async () => {
    const made = await HostClient.connect({ batonHome: home, clientInfo });
    clients.push(made);
    return made;
  };

  beforeEach(async () => {
    home = await mkdtemp(join(tmpdir(), 'baton-client-'));
    answers = { initialize: () => welcome() };
    connections = [];
    heard.length = 0;
    server = await listenLocal({
      batonHome: home,
      onConnection: (stream) => {
        const connection = connect(stream);
        connection.onRequest((method, params, token) => {
          heard.push({ method, params });
          const answer = answers[method];
          if (answer === undefined) throw new ResponseError(-32601, `no ${method}`);
          return answer(params, token);
        });
        connection.listen();
        connections.push(connection);
      },
    });
  });
  afterEach(async () => {
    for (const made of clients.splice(0)) made.dispose();
    await server.close();
    await rm(home, { recursive: true, force: true });
  });

  it('introduces itself and learns who the host is', async () => {
    const made = await client();
    expect(made.host.baton.name).toBe('laptop');
    expect(heard[0]).toEqual({ method: 'initialize', params: { clientInfo: { ...clientInfo, pid: process.pid }, capabilities: { experimentalApi: true } } });
  });

  it('says that no host runs, and what to do', async () => {
    await server.close();
    await expect(client()).rejects.toMatchObject({ reason: 'host-unreachable', message: expect.stringContaining('baton host') as string });
  });

  it('does not talk to a socket in a directory that others can write to', async () => {
    await chmod(home, 0o777);
    await expect(client()).rejects.toMatchObject({ reason: 'host-unreachable', message: expect.stringContaining('0777') as string });
  });

  it('refuses a host of another protocol version', async () => {
    answers['initialize'] = () => welcome(PROTOCOL_VERSION + 1);
    await expect(client()).rejects.toMatchObject({ reason: 'protocol-mismatch' });
  });

  it('gives a checked result', async () => {
    answers['worktree/list'] = () => ({ worktrees: [] });
    expect(await (await client()).call('worktree/list')).toEqual({ worktrees: [] });
  });

  it('refuses a result that does not fit the protocol', async () => {
    answers['worktree/list'] = () => ({ worktrees: [{ id: 7 }] });
    await expect((await client()).call('worktree/list')).rejects.toMatchObject({ reason: 'internal', message: expect.stringContaining('worktrees.0.id') as string });
  });

  it('gives the reason and the findings of an error reply', async () => {
    const findings = [{ level: 'blocker', code: 'disk', message: 'The disk is full.' }];
    answers['handoff/start'] = () => new ResponseError(-32000, 'Cannot hand off.', { reason: 'preflight-blocked', findings });
    await expect((await client()).call('handoff/start', { threadId, to: hostId })).rejects.toMatchObject({ reason: 'preflight-blocked', message: 'Cannot hand off.', details: { findings } });
  });

  it.each([
    ['an unknown method', new ResponseError(-32601, 'what?'), 'unknown-method'],
    ['a role that is too low', new ResponseError(-32003, 'no'), 'not-permitted'],
    ['bad params', new ResponseError(-32602, 'bad'), 'invalid-params'],
    ['a refusal of Codex', new ResponseError(-32600, 'no rollout found'), 'codex-refused'],
    ['a word of a later version', new ResponseError(-32000, 'hm', { reason: 'moon-phase' }), 'moon-phase'],
    ['a reason that is no word', new ResponseError(-32000, 'hm', { reason: '\u001b[31m' }), 'codex-refused'],
  ])('gives %s a reason', async (_, error, reason) => {
    answers['thread/read'] = () => error;
    await expect((await client()).codex('thread/read', { threadId })).rejects.toMatchObject({ reason, message: error.message });
  });

  it('passes the host\'s own notifications on when they fit their schema, and all others as they are', async () => {
    const made = await client();
    const own: unknown[] = [];
    const codex: unknown[] = [];
    made.on('host/changed', ({ what }) => own.push(what));
    const last = new Promise<void>((resolve) => {
      made.onCodex((method, params) => {
        codex.push([method, params]);
        if (method === 'last') resolve();
      });
    });
    await connections[0]?.sendNotification('host/changed', { what: ['hosts'] });
    await connections[0]?.sendNotification('host/changed', { what: ['nonsense'] });
    await connections[0]?.sendNotification('turn/started', { turn: 1 });
    await connections[0]?.sendNotification('last');
    await last;
    expect(own).toEqual([['hosts']]);
    expect(codex).toEqual([['turn/started', { turn: 1 }], ['last', undefined]]);
  });

  it('stops hearing when told, and again is harmless', async () => {
    const made = await client();
    const own: unknown[] = [];
    const stop = made.on('host/changed', () => own.push(1));
    stop();
    stop();
    const heardLast = new Promise<void>((resolve) => made.onCodex(() => resolve()));
    await connections[0]?.sendNotification('host/changed', { what: [] });
    await connections[0]?.sendNotification('last', {});
    await heardLast;
    expect(own).toEqual([]);
  });

  it('rejects what waits when the host goes away, and says so once', async () => {
    const made = await client();
    let closes = 0;
    made.onClose(() => closes++);
    answers['handoff/wait'] = () => {
      connections[0]?.dispose();
      return new Promise(() => undefined);
    };
    await expect(made.call('handoff/wait', { handoffId: '0'.repeat(32) })).rejects.toMatchObject({ reason: 'connection-lost' });
    await expect(made.call('host/read')).rejects.toMatchObject({ reason: 'connection-lost' });
    made.dispose();
    made.dispose();
    expect(closes).toBe(1);
  });

  it('cancels at once, and tells the host', async () => {
    const made = await client();
    const controller = new AbortController();
    const told = new Promise<void>((resolve) => {
      answers['handoff/wait'] = (_, token) => {
        token.onCancellationRequested(() => resolve());
        controller.abort();
        return new Promise(() => undefined);
      };
    });
    await expect(made.call('handoff/wait', { handoffId: '0'.repeat(32) }, { signal: controller.signal })).rejects.toMatchObject({ reason: 'cancelled' });
    await told;
    await expect(made.call('host/read', {}, { signal: controller.signal })).rejects.toMatchObject({ reason: 'cancelled' });
  });
});
