import { afterEach, describe, expect, it } from 'vitest';
import { administration, forOneThread, isPermitted, localOperator, mayHear, type Access } from '../../src/host/access';
import { Controllers, type Implementations } from '../../src/host/controllers';
import { HostClient } from '../../src/host/hostClient';
import { HostError } from '../../src/host/hostError';
import { silentLog } from '../../src/host/log';
import { codexMethods, methods, PROTOCOL_VERSION, role, type Role } from '../../src/host/protocol';
import { remoteControlOff } from '../fixtures/remoteControlOff';
import { socketPair } from '../fixtures/socketPair';

const hostId = 'A'.repeat(43);
const threadId = '0199abcd-0000-7000-8000-000000000000';

/** Params with which each of Baton's methods passes its schema, so that only the role can stand in the way. */
const params: Record<keyof typeof methods, Record<string, unknown>> = {
  'host/read': {}, 'host/list': {}, 'host/stop': {}, 'host/doctor': {}, 'host/invite': {}, 'project/list': {}, 'worktree/list': {}, 'approval/list': {},
  'host/rename': { name: 'x' },
  'host/setRelay': { url: null },
  'host/join': { invite: 'baton:x' },
  'host/aliases': {}, 'host/stopIfIdle': {}, 'host/add': { alias: 'x' }, 'host/ssh': { alias: 'x' }, 'host/meeting': { hostId },
  'host/thread': { threadId },
  'project/add': { directory: '/x' },
  'project/remove': { id: 'x' },
  'worktree/apply': { threadId },
  'worktree/undoApply': { threadId },
  'handoff/preflight': { threadId, to: hostId },
  'handoff/start': { threadId, to: hostId },
  'handoff/wait': { handoffId: '0'.repeat(32) },
  'handoff/cancel': { handoffId: '0'.repeat(32) },
  'handoff/list': {}, 'handoff/resume': { handoffId: '0'.repeat(32) }, 'handoff/abort': { handoffId: '0'.repeat(32) }, 'handoff/reclaim': { threadId }, 'handoff/verify': { threadId }, 'audit/list': {},
  'worktree/create': { project: 'x' },
  'worktree/pin': { id: '0badcafe' }, 'worktree/unpin': { id: '0badcafe' }, 'worktree/permanent': { id: '0badcafe' }, 'worktree/remove': { id: '0badcafe' }, 'worktree/restore': { id: '0badcafe' }, 'worktree/repair': { id: '0badcafe' },
  'worktree/sweep': {}, 'worktree/retention': {}, 'snapshot/list': {}, 'snapshot/expire': {},
  'device/list': {}, 'tunnel/open': { host: hostId }, 'invite/list': {}, 'invite/read': { invite: 'baton:x' }, 'invite/cancel': { id: '0badcafe' }, 'invite/wait': { id: '0badcafe' }, 'device/revoke': { id: hostId },
  'host/ask': { host: hostId, method: 'worktree/list' }, 'host/follow': { host: hostId }, 'host/unfollow': { host: hostId },
  'remoteControl/status/read': {}, 'remoteControl/enable': {}, 'remoteControl/disable': {}, 'remoteControl/pairing/start': {}, 'remoteControl/pairing/status': { pairingCode: 'x' },
  'remoteControl/client/list': { environmentId: hostId }, 'remoteControl/client/revoke': { environmentId: hostId, clientId: hostId },
  'approval/decide': { id: 'x', digest: '0'.repeat(64), decision: 'accept' },
};

/** Who may do what, written down a second time: a method that changes hands by accident is noticed here. */
const viewers = ['host/read', 'remoteControl/status/read', 'host/list', 'host/doctor', 'host/thread', 'project/list', 'worktree/list', 'snapshot/list', 'handoff/wait', 'handoff/list', 'handoff/verify', 'audit/list', 'approval/list',
  'thread/list', 'thread/read', 'thread/turns/list', 'thread/items/list', 'thread/loaded/list', 'thread/resume', 'thread/unsubscribe', 'model/list', 'account/read', 'configRequirements/read', 'collaborationMode/list', 'thread/goal/get', 'thread/backgroundTerminals/list'];
const approvers = ['approval/decide'];
const operators = ['remoteControl/enable', 'remoteControl/disable', 'remoteControl/pairing/start', 'remoteControl/pairing/status', 'remoteControl/client/list', 'remoteControl/client/revoke', 'host/rename', 'host/setRelay', 'host/invite', 'host/join', 'host/aliases', 'host/add', 'host/ssh', 'host/meeting', 'host/stop', 'host/stopIfIdle', 'tunnel/open', 'config/read', 'skills/list', 'hooks/list', 'plugin/installed', 'device/list', 'device/revoke', 'invite/list', 'invite/read', 'invite/cancel', 'invite/wait', 'project/add', 'project/remove', 'handoff/preflight', 'handoff/start', 'handoff/cancel', 'handoff/resume', 'handoff/abort', 'handoff/reclaim',
  'worktree/create', 'worktree/apply', 'worktree/undoApply', 'worktree/pin', 'worktree/unpin', 'worktree/permanent', 'worktree/remove', 'worktree/restore', 'worktree/repair', 'worktree/sweep', 'worktree/retention', 'snapshot/expire', 'host/ask', 'host/follow', 'host/unfollow',
  'thread/start', 'thread/fork', 'thread/archive', 'thread/unarchive', 'thread/name/set', 'thread/compact/start', 'turn/start', 'turn/steer', 'turn/interrupt'];
const allowed: Record<Role, readonly string[]> = { peer: [], viewer: viewers, approver: [...viewers, ...approvers], operator: [...viewers, ...approvers, ...operators] };

const everyMethod = [...Object.keys(methods), ...Object.keys(codexMethods)];
const open: HostClient[] = [];
afterEach(() => open.splice(0).forEach((client) => client.dispose()));

/** A controller in a role, and what reaches the host from it. `answers` are results by method. */
async function controller(as: Role, limits: Partial<Access> = {}, answers: Record<string, unknown> = {}) {
  const reached: string[] = [];
  const given: unknown[] = [];
  const reach = (method: string, params: unknown) => {
    reached.push(method);
    given.push(params);
    return Promise.resolve(answers[method] ?? {});
  };
  const implementations = Object.fromEntries(Object.keys(methods).map((method) => [method, (params: unknown) => reach(method, params)])) as unknown as Implementations;
  const controllers = new Controllers({
    implementations,
    log: silentLog,
    initialize: (role) => Promise.resolve({ baton: { protocolVersion: PROTOCOL_VERSION, hostId, name: 'test', role } }),
    forward: reach,
    remoteControl: remoteControlOff,
  });
  const [here, there] = await socketPair();
  controllers.serve(there, { ...localOperator, role: as, ...limits });
  const client = await HostClient.over(here, { clientInfo: { name: 'test', version: '0' } });
  open.push(client);
  return { client, reached, given, controllers };
}

describe('the roles', () => {
  it('know every method of the protocol', () => {
    expect([...viewers, ...approvers, ...operators].sort()).toEqual(everyMethod.sort());
  });

  it.each(role.options)('let a %s do what it may, and refuse the rest before it reaches anything', async (as) => {
    const { client, reached } = await controller(as);
    const refused: string[] = [];
    for (const method of everyMethod) {
      try {
        await client.codex(method, (params as Record<string, object>)[method] ?? { threadId });
      } catch (error) {
        expect(HostError.is(error, 'not-permitted'), `${method} as ${as}: ${String(error)}`).toBe(true);
        refused.push(method);
      }
    }
    expect(reached.sort()).toEqual([...allowed[as]].sort());
    expect(refused.sort()).toEqual(everyMethod.filter((method) => !allowed[as].includes(method)).sort());
    expect(client.host.baton.role).toBe(as);
  });

  it('include the ones before them, and nothing is within a peer', () => {
    const ranked = ['viewer', 'approver', 'operator'] as const;
    for (const [index, holder] of ranked.entries()) for (const [needed, least] of ranked.entries()) expect(isPermitted(holder, least)).toBe(index >= needed);
    for (const each of role.options) {
      expect(isPermitted('peer', each)).toBe(false);
      expect(isPermitted(each, 'peer')).toBe(false);
    }
  });

  it.each(['config/value/write', 'fs/writeFile', 'command/exec', 'account/login/start', 'thread/inject_items', 'handoff/commit', 'constructor', '__proto__', 'toString'])('do not open %s to anyone', async (method) => {
    const { client, reached } = await controller('operator');
    await expect(client.codex(method, { threadId })).rejects.toMatchObject({ reason: 'unknown-method' });
    expect(reached).toEqual([]);
  });

  it('do not make up for params that do not fit', async () => {
    const { client, reached } = await controller('operator');
    await expect(client.codex('approval/decide', { id: 'x', digest: 'short', decision: 'accept' })).rejects.toMatchObject({ reason: 'invalid-params' });
    await expect(client.codex('handoff/start', { threadId: '../../etc', to: hostId })).rejects.toMatchObject({ reason: 'invalid-params' });
    expect(reached).toEqual([]);
  });

  it.each(['viewer', 'approver'] as const)('a %s may follow a thread, and not change how it runs', async (as) => {
    const { client, reached } = await controller(as);
    await client.codex('thread/resume', { threadId, excludeTurns: true });
    for (const wider of [{ sandbox: 'danger-full-access' }, { approvalPolicy: 'never' }, { cwd: '/' }, { config: {} }]) {
      await expect(client.codex('thread/resume', { threadId, ...wider })).rejects.toMatchObject({ reason: 'not-permitted' });
    }
    expect(reached).toEqual(['thread/resume']);
  });
});

/** Calls every method of the protocol, and says which of them were refused for want of a right. */
async function refusedOf(client: HostClient): Promise<string[]> {
  const refused: string[] = [];
  for (const method of everyMethod) {
    await client.codex(method, (params as Record<string, object>)[method] ?? { threadId }).catch((error: unknown) => {
      expect(HostError.is(error, 'not-permitted'), `${method}: ${String(error)}`).toBe(true);
      refused.push(method);
    });
  }
  return refused.sort();
}

describe('somebody who was let in for one thread', () => {
  const other = '0199abcd-0000-7000-8000-00000000ffff';
  /** Written down a second time, as the roles are. */
  const aboutIt = ['host/read', 'remoteControl/status/read', 'host/thread', 'handoff/verify', 'audit/list', 'approval/list', 'approval/decide', 'thread/list', 'thread/loaded/list', 'model/list', 'account/read', 'configRequirements/read', 'collaborationMode/list', 'thread/goal/get', 'thread/backgroundTerminals/list',
    'thread/read', 'thread/turns/list', 'thread/items/list', 'thread/resume', 'thread/unsubscribe', 'thread/name/set', 'thread/compact/start', 'turn/start', 'turn/steer', 'turn/interrupt'];

  it.each(role.options)('as %s may do what the role allows and is about the thread', async (as) => {
    const { client, reached } = await controller(as, { threadId });
    const refused = await refusedOf(client);
    const permitted = allowed[as].filter((method) => aboutIt.includes(method)).sort();
    expect(reached.sort()).toEqual(permitted);
    expect(refused).toEqual(everyMethod.filter((method) => !permitted.includes(method)).sort());
    expect(Object.keys(forOneThread).sort()).toEqual([...aboutIt].sort());
  });

  it('reaches no other thread, by whatever method', async () => {
    const { client, reached } = await controller('operator', { threadId });
    for (const [method, how] of Object.entries(forOneThread)) {
      if (how !== 'names' && how !== 'told') continue;
      await expect(client.codex(method, { threadId: other })).rejects.toMatchObject({ reason: 'not-permitted' });
    }
    expect(reached).toEqual([]);
  });

  it('must name it, or is taken to mean it', async () => {
    const { client, given } = await controller('operator', { threadId });
    await expect(client.codex('turn/start', { input: [] })).rejects.toMatchObject({ reason: 'not-permitted' });
    await client.codex('approval/list', {});
    expect(given).toEqual([{ threadId }]);
  });

  it.each([{ sandboxPolicy: { type: 'dangerFullAccess' } }, { approvalPolicy: 'never' }, { cwd: '/' }, { permissions: 'full' }, { config: { sandbox_mode: 'danger-full-access' } }])('may not widen it by %j', async (wider) => {
    const { client, reached } = await controller('operator', { threadId });
    await expect(client.codex('turn/start', { threadId, input: [], ...wider })).rejects.toMatchObject({ reason: 'not-permitted' });
    await expect(client.codex('thread/resume', { threadId, ...wider })).rejects.toMatchObject({ reason: 'not-permitted' });
    expect(reached).toEqual([]);
  });

  it('sees of lists only what is about it', async () => {
    const { client } = await controller('viewer', { threadId }, { 'thread/list': { data: [{ id: other }, { id: threadId }], nextCursor: null }, 'thread/loaded/list': { data: [threadId, other] } });
    expect(await client.codex('thread/list')).toEqual({ data: [{ id: threadId }], nextCursor: null });
    expect(await client.codex('thread/loaded/list')).toEqual({ data: [threadId] });
  });

  it('hears only what is about it', () => {
    const access: Access = { ...localOperator, role: 'viewer', threadId };
    const heard = (notified: unknown, method = 'item/started') => mayHear(access, method, notified);
    expect([heard({ threadId }), heard({ thread: { id: threadId } }), heard({ approval: { threadId } }), heard({ what: ['hosts'] }, 'host/changed'), heard({ status: 'connected' }, 'remoteControl/status/changed')]).toEqual([true, true, true, true, true]);
    expect([heard({ threadId: other }), heard({ thread: { id: other } }), heard({ approval: { threadId: other } }), heard({ account: 'x' }), heard(null)]).toEqual([false, false, false, false, false]);
    expect([mayHear({ ...access, threadId: null }, 'item/started', { threadId: other }), mayHear({ ...access, threadId: null, role: 'peer' }, 'item/started', { threadId })]).toEqual([true, false]);
  });
});

it('whoever was let in for a time lets nobody else in, and changes nothing about where the host is met', async () => {
  const { client, reached } = await controller('operator', { temporary: true });
  const kept = ['remoteControl/enable', 'remoteControl/disable', 'remoteControl/pairing/start', 'remoteControl/pairing/status', 'remoteControl/client/list', 'remoteControl/client/revoke', 'tunnel/open', 'host/invite', 'host/join', 'host/aliases', 'host/add', 'host/ssh', 'host/meeting', 'host/stopIfIdle', 'invite/list', 'invite/read', 'invite/cancel', 'invite/wait', 'host/rename', 'host/setRelay', 'host/stop', 'host/ask', 'host/follow', 'host/unfollow', 'device/list', 'device/revoke'];
  expect(await refusedOf(client)).toEqual([...kept].sort());
  expect([...administration].sort()).toEqual([...kept].sort());
  expect(reached.sort()).toEqual(allowed.operator.filter((method) => !kept.includes(method)).sort());
});
