import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ApprovalBroker, carriedApprovals, type ApprovalPorts } from '../../src/host/approvalBroker';
import type { AuditEvent } from '../../src/host/audit';
import { HostError } from '../../src/host/hostError';
import { JsonStore } from '../../src/host/jsonStore';
import type { Approval } from '../../src/host/protocol';

const threadId = '0199abcd-0000-7000-8000-000000000000';
const otherThread = '0199abcd-0000-7000-8000-000000000001';
const method = 'item/commandExecution/requestApproval';
const command = { threadId, turnId: 't', itemId: 'i', command: 'make publish', cwd: '/work' };

let home: string;
let store: JsonStore<typeof carriedApprovals>;
let audited: AuditEvent[];
let told: string[];
let replies: unknown[];
let resumed: string[];
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'baton-approvals-'));
  store = await JsonStore.open(join(home, 'approvals.json'), carriedApprovals, { pending: [], granted: [], untold: [], pausedGoals: [] });
  audited = [];
  told = [];
  replies = [];
  resumed = [];
});
afterEach(() => rm(home, { recursive: true }));

function makeBroker(ports: Partial<ApprovalPorts> = {}): ApprovalBroker {
  return new ApprovalBroker({
    hostId: 'A'.repeat(43),
    audit: { append: (event) => Promise.resolve(void audited.push(event)) },
    store,
    epochOf: () => 1,
    threadRoot: () => Promise.resolve('/work'),
    changesOf: () => Promise.resolve([]),
    tellAgent: (_, text) => Promise.resolve(void told.push(text)),
    turnOf: () => Promise.resolve(null),
    resumeGoal: (id) => Promise.resolve(void resumed.push(id)),
    movedTo: () => null,
    onRequested: () => undefined,
    onResolved: () => undefined,
    requireOwner: () => undefined,
    onAuditFailed: () => undefined,
    onLeft: () => undefined,
    now: () => new Date(0),
    ...ports,
  });
}

const reply = (result: unknown) => void replies.push(result);

async function asking(broker: ApprovalBroker, requestId = 1): Promise<Approval> {
  await broker.request(requestId, method, command, reply);
  const [approval] = broker.list(threadId);
  if (approval === undefined) throw new Error('Nothing is pending.');
  return approval;
}

const accept = (broker: ApprovalBroker, { id, digest }: Approval) => broker.decide(id, digest, 'accept', {}, 'local');
const moving = () => {
  throw new HostError('thread-moving', 'The thread is being handed off.');
};

/** A broker with an approval that was carried here. */
async function carrying(ports: Partial<ApprovalPorts> = {}): Promise<{ broker: ApprovalBroker; approval: Approval }> {
  const source = makeBroker();
  await asking(source);
  const broker = makeBroker(ports);
  await broker.adopt(threadId, await source.carry(threadId));
  const [approval] = broker.list(threadId);
  if (approval === undefined) throw new Error('Nothing was carried.');
  return { broker, approval };
}

it('an approval is gone as soon as its turn is over, and not when another turn is', async () => {
  const resolved: string[] = [];
  const broker = makeBroker({ onResolved: (id) => void resolved.push(id) });
  const approval = await asking(broker);
  broker.turnEnded(threadId, 'another');
  broker.turnEnded(otherThread, 't');
  expect(broker.list(threadId)).toEqual([approval]);
  broker.turnEnded(threadId, 't');
  expect(broker.list(threadId)).toEqual([]);
  expect(resolved).toEqual([approval.id]);
  await expect(accept(broker, approval)).rejects.toMatchObject({ reason: 'no-such-approval' });
});

describe('an approval of a thread that is handed off', () => {
  it('is not decided here any more, and travels', async () => {
    const broker = makeBroker({ requireOwner: moving });
    const approval = await asking(broker);
    await expect(accept(broker, approval)).rejects.toMatchObject({ reason: 'thread-moving' });
    expect(replies).toEqual([]);
    expect(audited.map(({ type }) => type)).toEqual(['approval-requested']);
    expect(await broker.carry(threadId)).toMatchObject([{ digest: approval.digest }]);
  });

  it('does not travel when its decision had begun before', async () => {
    let write: () => void = () => undefined;
    const written = new Promise<void>((resolve) => (write = resolve));
    const broker = makeBroker({ audit: { append: (event) => (event.type === 'approval-decided' ? written : Promise.resolve()) } });
    const decided = accept(broker, await asking(broker));
    const carried = broker.carry(threadId);
    write();
    await decided;
    expect(await carried).toEqual([]);
    expect(replies).toEqual([{ decision: 'accept' }]);
  });

  it('stays pending, ungranted, where the agent could not be told', async () => {
    const { broker, approval } = await carrying({ tellAgent: moving });
    await expect(accept(broker, approval)).rejects.toMatchObject({ reason: 'thread-moving' });
    expect(broker.list(threadId)).toEqual([approval]);
    expect(store.value.granted).toEqual([]);
  });
});

describe('an approval that came with its thread', () => {
  it('is granted once, whatever else is written meanwhile', async () => {
    const { broker, approval } = await carrying();
    await accept(broker, approval);
    expect(told).toHaveLength(1);
    // Waits in the store before the grant is taken off the disk.
    const unrelated = broker.adopt(otherThread, []);
    await broker.request(2, method, command, reply);
    await broker.request(3, method, command, reply);
    await unrelated;
    expect(replies).toEqual([{ decision: 'accept' }]);
    expect(broker.list(threadId)).toMatchObject([{ digest: approval.digest, carriedOver: false }]);
  });
});

describe('a decision on an approval that came with its thread', () => {
  /** A host that is killed once the decision is on disk: what the one after it tells the agent. */
  async function afterCrash(turn: 'running' | 'over' | null): Promise<ApprovalBroker> {
    const { broker, approval } = await carrying({ tellAgent: () => new Promise(() => undefined) });
    void accept(broker, approval);
    await expect.poll(() => store.value.untold.length).toBe(1);
    store = await JsonStore.open(join(home, 'approvals.json'), carriedApprovals, { pending: [], granted: [], untold: [], pausedGoals: [] });
    return makeBroker({ turnOf: () => Promise.resolve(turn) });
  }

  it('is told after a crash where the agent had not heard of it, and only then', async () => {
    const next = await afterCrash(null);
    expect(next.list(threadId)).toEqual([]);
    await next.recover();
    expect(told).toEqual([expect.stringContaining('is approved')]);
    expect(store.value).toMatchObject({ untold: [], granted: [{ threadId }] });
    await next.recover();
    expect(told).toHaveLength(1);
  });

  it.each(['running', 'over'] as const)('is not told again where the turn that heard of it is %s, and is good only for that turn', async (turn) => {
    await (await afterCrash(turn)).recover();
    expect(told).toEqual([]);
    expect(store.value.untold).toEqual([]);
    expect(store.value.granted).toHaveLength(turn === 'running' ? 1 : 0);
  });

  it('is asked for again where the thread leaves before that is known', async () => {
    const next = await afterCrash(null);
    const carried = await next.carry(threadId);
    expect(carried).toHaveLength(1);
    // Nor is it told as well, where that handoff is given up.
    await next.adopt(threadId, carried);
    expect(store.value).toMatchObject({ untold: [], granted: [], pending: [{}] });
  });
});

describe('a goal that waits for approvals', () => {
  it('goes on once the last of them is decided, and is not forgotten when that fails', async () => {
    const source = makeBroker();
    await asking(source);
    await source.request(2, method, { ...command, command: 'make more' }, reply);
    let fails = true;
    const broker = makeBroker({ resumeGoal: (id) => (fails ? Promise.reject(new Error('Codex is busy')) : Promise.resolve(void resumed.push(id))) });
    await broker.adopt(threadId, await source.carry(threadId), true);
    const [first, second] = broker.list(threadId);
    if (first === undefined || second === undefined) throw new Error('Two are pending.');
    await accept(broker, first);
    expect(broker.pausesGoal(threadId)).toBe(true);
    await accept(broker, second);
    expect(resumed).toEqual([]);
    fails = false;
    await broker.recover();
    expect(resumed).toEqual([threadId]);
    expect(broker.pausesGoal(threadId)).toBe(false);
  });

  it('is nothing of this host any more when its thread has left', async () => {
    const { broker } = await carrying();
    await broker.adopt(threadId, await broker.carry(threadId), true);
    await broker.forget(threadId);
    expect(broker.pausesGoal(threadId)).toBe(false);
  });
});

describe('who decides too late', () => {
  const refusal = (broker: ApprovalBroker, approval: Approval) => accept(broker, approval).then(() => '', (error: unknown) => (HostError.is(error, 'no-such-approval') ? error.message : ''));

  it('is told what was decided, by whom and when', async () => {
    const broker = makeBroker();
    const approval = await asking(broker);
    await broker.decide(approval.id, approval.digest, 'decline', {}, 'device:KEY');
    expect(await refusal(broker, approval)).toBe(`Approval ${approval.id} was decided already: decline, by the device KEY, at 1970-01-01T00:00:00.000Z.`);
    await expect(broker.answer(1, { decision: 'accept' }, { role: 'operator', by: 'local' })).rejects.toThrow('was decided already: decline');
  });

  it('is told that its turn ended, or where its thread went', async () => {
    let movedTo: string | null = null;
    const broker = makeBroker({ movedTo: () => movedTo });
    const approval = await asking(broker);
    broker.turnEnded(threadId, 't');
    expect(await refusal(broker, approval)).toContain('its turn ended at 1970');
    movedTo = 'server';
    expect(await refusal(broker, approval)).toContain('its thread moved to server');
  });

  it('is told that there was none, and that another is deciding', async () => {
    const broker = makeBroker({ audit: { append: ({ type }) => (type === 'approval-decided' ? new Promise(() => undefined) : Promise.resolve()) } });
    expect(await refusal(broker, { id: 'none', digest: '' } as Approval)).toContain('nor has one been lately');
    const approval = await asking(broker);
    void accept(broker, approval);
    expect(await refusal(broker, approval)).toContain('right now');
  });
});

describe('changes of files that are not known', () => {
  it('can be declined, and not accepted', async () => {
    const broker = makeBroker();
    await broker.request(1, 'item/fileChange/requestApproval', { threadId, turnId: 't', itemId: 'i' }, reply);
    const [approval] = broker.list(threadId);
    if (approval === undefined) throw new Error('Nothing is pending.');
    await expect(accept(broker, approval)).rejects.toMatchObject({ reason: 'not-permitted' });
    await broker.decide(approval.id, approval.digest, 'decline', {}, 'local');
    expect(replies).toEqual([{ decision: 'decline' }]);
  });
});

describe('a request', () => {
  it('is shown although the audit log cannot be written, but cannot be decided', async () => {
    const failures: unknown[] = [];
    const full = new Error('no space left');
    const broker = makeBroker({ audit: { append: () => Promise.reject(full) }, onAuditFailed: (error) => void failures.push(error) });
    const approval = await asking(broker);
    expect(failures).toEqual([full]);
    await expect(accept(broker, approval)).rejects.toBe(full);
    expect(replies).toEqual([]);
    expect(broker.list(threadId)).toEqual([approval]);
  });

  it('is raised again, and bound to the same digest, when the app-server that asked is gone', async () => {
    const broker = makeBroker();
    const before = await asking(broker);
    await broker.serverEnded();
    const kept = broker.list(threadId);
    expect(kept).toEqual([{ ...before, id: kept[0]?.id, turnId: null, itemId: null, carriedOver: true }]);
    await broker.serverEnded();
    expect(broker.list(threadId)).toEqual(kept);
    expect(replies).toEqual([]);
  });
});
