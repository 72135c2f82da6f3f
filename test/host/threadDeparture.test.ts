import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { AppServer } from '../../src/codex/appServer';
import type { CarriedThread } from '../../src/handoff/carriedThread';
import { ApprovalBroker, carriedApprovals } from '../../src/host/approvalBroker';
import type { CodexHost } from '../../src/host/codexHost';
import { HeldPolicies, heldPolicies } from '../../src/host/heldPolicies';
import { JsonStore } from '../../src/host/jsonStore';
import { ThreadDeparture } from '../../src/host/threadDeparture';

const threadId = '0199abcd-0000-7000-8000-000000000000';
const policy = { approvalPolicy: 'on-request', sandbox: 'workspace-write', networkAccess: false, excludeTmpdirEnvVar: false, excludeSlashTmp: false } as const;

let home: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'baton-departure-'));
});
afterEach(() => rm(home, { recursive: true }));

/** In place of an app-server, whose turn cannot be had to ask in just that moment: one thread with a turn that runs until it is interrupted. */
function turning(atInterruption: () => Promise<void>) {
  const listeners = new Map<string, ((params: unknown) => void)[]>();
  const say = (method: string, params: unknown) => listeners.get(method)?.forEach((listener) => listener(params));
  const queue: object[] = [];
  const state = { running: true, goal: 'active' };
  const answers: Record<string, (params: { status?: string }) => unknown> = {
    'thread/read': () => ({ thread: { id: threadId, name: null, status: { type: state.running ? 'active' : 'idle', activeFlags: [] } } }),
    'thread/goal/get': () => ({ goal: { objective: 'Find it', status: state.goal, tokenBudget: null, tokensUsed: 0 } }),
    'thread/goal/set': ({ status }) => void (state.goal = status ?? state.goal),
    'thread/queue/list': () => ({ data: [...queue], nextCursor: null }),
    'thread/attachment/list': () => ({ data: [], nextCursor: null }),
    'thread/list': () => ({ data: [], nextCursor: null }),
    'thread/loaded/list': () => ({ data: [threadId], nextCursor: null }),
    'thread/resume': () => ({ thread: { id: threadId } }),
    'thread/turns/list': () => ({ data: [{ id: 't', status: state.running ? 'inProgress' : 'interrupted' }] }),
    'turn/interrupt': async () => {
      await atInterruption();
      state.running = false;
      say('turn/completed', { threadId, turn: { id: 't', status: 'interrupted' } });
      return {};
    },
    'thread/backgroundTerminals/list': () => ({ data: [] }),
    'thread/backgroundTerminals/clean': () => ({}),
    'thread/unsubscribe': () => ({ status: 'notLoaded' }),
  };
  const server = {
    request: (method: string, params: { status?: string }) => Promise.resolve(answers[method]?.(params)),
    onNotification: (method: string, listener: (params: unknown) => void) => {
      listeners.set(method, [...(listeners.get(method) ?? []), listener]);
      return { dispose: () => undefined };
    },
    onState: () => ({ dispose: () => undefined }),
  } as unknown as AppServer;
  return { server, queue };
}

it('what a turn asks for, and what is queued, until it has been interrupted goes along', async () => {
  const method = 'item/commandExecution/requestApproval';
  const command = (itemId: string) => ({ threadId, turnId: 't', itemId, command: `make ${itemId}`, cwd: '/work' });
  const ports = { hostId: 'A'.repeat(43), epochOf: () => 0, audit: { append: () => Promise.resolve() }, threadRoot: () => Promise.resolve('/work'), changesOf: () => Promise.resolve([]), tellAgent: () => Promise.resolve(), turnOf: () => Promise.resolve(null), resumeGoal: () => Promise.resolve(), movedTo: () => null };
  const store = await JsonStore.open(join(home, 'approvals.json'), carriedApprovals, { pending: [], granted: [], untold: [], pausedGoals: [] });
  const quiet = { onRequested: () => undefined, onResolved: () => undefined, requireOwner: () => undefined, onAuditFailed: () => undefined, onLeft: () => undefined, now: () => new Date(0) };
  const broker = new ApprovalBroker({ ...ports, ...quiet, store });
  const { server, queue } = turning(async () => {
    await broker.request(2, method, command('late'), () => undefined);
    // Codex says of each that it is settled, before the turn is over.
    broker.settled(1);
    broker.settled(2);
    queue.push({ id: 'q', input: [{ type: 'text', text: 'Then this.', text_elements: [] }], clientUserMessageId: 'late', responsesapiClientMetadata: null });
  });
  await broker.request(1, method, command('early'), () => undefined);
  const settings = { cwd: '/work', model: 'm', modelProvider: 'p', policy, writableRoots: [], approvalsReviewer: 'user' };
  const codex = { codexHome: home, ready: () => Promise.resolve(server), serverOf: () => Promise.resolve({ server, settings, foreign: false, close: () => undefined }), requirements: () => Promise.resolve(null) } as unknown as CodexHost;
  const held = new HeldPolicies(await JsonStore.open(join(home, 'policies.json'), heldPolicies, {}));
  const departure = new ThreadDeparture(codex, broker, held, { info: () => undefined, warn: () => undefined, error: () => undefined }, () => Promise.resolve(), { of: () => Promise.resolve([]) }, () => null);

  const recorded: CarriedThread[] = [];
  await departure.quiesce(threadId, (carried) => Promise.resolve(void recorded.push(carried)), new AbortController().signal);

  expect(recorded.map(({ approvals }) => approvals.map((approval) => approval.command))).toEqual([['make early'], ['make early', 'make late']]);
  expect(recorded.at(-1)).toMatchObject({ queue: { flowing: true, waiting: [{ clientUserMessageId: 'late' }] }, goal: { objective: 'Find it', status: 'active' } });
});
