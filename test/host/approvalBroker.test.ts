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
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'baton-approvals-'));
  store = await JsonStore.open(join(home, 'approvals.json'), carriedApprovals, { pending: [], granted: [] });
  audited = [];
  told = [];
  replies = [];
});
afterEach(() => rm(home, { recursive: true }));

function makeBroker(ports: Partial<ApprovalPorts> = {}): ApprovalBroker {
  return new ApprovalBroker({
    hostId: 'A'.repeat(43),
    audit: { append: (event) => Promise.resolve(void audited.push(event)) },
    store,
    epochOf: () => 1,
    threadRoot: () => Promise.resolve('/work'),
    changesOf: () => [],
    tellAgent: (_, text) => Promise.resolve(void told.push(text)),
    onRequested: () => undefined,
    onResolved: () => undefined,
    requireOwner: () => undefined,
    onAuditFailed: () => undefined,
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
