import { existsSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { HostClient } from '../../src/host/hostClient';
import type { Approval, ApprovalDecision } from '../../src/host/protocol';
import { explainFailures, refusal, riskyCommand, said, startPair, type PairedHosts, type Site } from './pairedHosts';

let pair: PairedHosts;
let laptop: Site;
let server: Site;

beforeAll(async () => {
  pair = await startPair({
    clean: true,
    script: [
      { user: /Mend the file/, answers: [[{ patch: '*** Begin Patch\n*** Add File: mended.txt\n+mended by the agent\n*** End Patch' }], [{ message: 'Mended.' }]] },
      { user: /is approved/, history: /Mend the file/, answers: [[{ repeatAborted: true }], [{ message: 'Approved and mended.' }]] },
    ],
  });
  ({ laptop, server } = pair);
});
beforeEach(() => explainFailures(pair));
afterEach(() => rm(join(laptop.checkout, 'published.txt'), { force: true }));
afterAll(() => pair.close());

const linesOf = (directory: string) => (existsSync(join(directory, 'published.txt')) ? readFileSync(join(directory, 'published.txt'), 'utf8').split('\n').length - 1 : 0);

async function pendingOf(site: Site, threadId: string): Promise<Approval> {
  const [approval, ...others] = await site.approvals(threadId);
  expect(others).toEqual([]);
  if (approval === undefined) throw new Error('No approval is pending.');
  return approval;
}

const decide = (client: HostClient, { id, digest }: Approval, decision: ApprovalDecision) => client.call('approval/decide', { id, digest, decision });
const decisionsOf = (site: Site, threadId: string) => site.audit().filter((event) => event['type'] === 'approval-decided' && event['threadId'] === threadId);

/** A thread whose turn waits on a command, and the request. */
async function asking(text = said.risky): Promise<{ threadId: string; approval: Approval }> {
  const threadId = await laptop.begin(text);
  return { threadId, approval: await pendingOf(laptop, threadId) };
}

describe('an approval', () => {
  it('shows the whole command, where it would run and on which host', async () => {
    const { threadId, approval } = await asking();
    expect(approval).toMatchObject({ threadId, kind: 'command', cwd: laptop.checkout, hostId: laptop.hostId, carriedOver: false });
    expect(approval.command).toContain(riskyCommand);
    expect(linesOf(laptop.checkout)).toBe(0);
  });

  it('is decided once: the second decision is refused', async () => {
    const { threadId, approval } = await asking();
    const rest = laptop.rest(threadId);
    await decide(laptop.client, approval, 'accept');
    expect((await refusal(decide(laptop.client, approval, 'decline'))).reason).toBe('no-such-approval');
    expect(await rest).toBe('completed');
    expect(linesOf(laptop.checkout)).toBe(1);
    expect(decisionsOf(laptop, threadId)).toMatchObject([{ decision: 'accept', digest: approval.digest, by: 'local', epoch: 0 }]);
  });

  it('that two controllers decide at once is decided by one of them', async () => {
    const { threadId, approval } = await asking();
    const other = await laptop.machine.client();
    const rest = laptop.rest(threadId);
    const outcomes = await Promise.allSettled([decide(laptop.client, approval, 'accept'), decide(other, approval, 'accept')]);
    other.dispose();
    expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    expect(await rest).toBe('completed');
    expect(linesOf(laptop.checkout)).toBe(1);
    expect(decisionsOf(laptop, threadId)).toHaveLength(1);
  });

  it('is not decided by a digest of something else, and stays pending', async () => {
    const { threadId, approval } = await asking();
    expect((await refusal(decide(laptop.client, { ...approval, digest: '0'.repeat(64) }, 'accept'))).reason).toBe('approval-outdated');
    expect(await pendingOf(laptop, threadId)).toEqual(approval);
    expect(decisionsOf(laptop, threadId)).toEqual([]);
    expect(linesOf(laptop.checkout)).toBe(0);
  });

  it('that is rejected on the command line is not carried out', async () => {
    const { threadId, approval } = await asking();
    const rest = laptop.rest(threadId);
    expect(await laptop.machine.json('reject', approval.id)).toMatchObject({ decided: true, decision: 'decline' });
    expect(await rest).toBe('completed');
    expect(linesOf(laptop.checkout)).toBe(0);
    expect(await laptop.approvals(threadId)).toEqual([]);
    expect(decisionsOf(laptop, threadId)).toMatchObject([{ decision: 'decline' }]);
  });

  it('is gone once its turn was interrupted, also where that comes at the same time', async () => {
    const { threadId, approval } = await asking();
    const rest = laptop.rest(threadId);
    await laptop.client.codex('turn/interrupt', { threadId, turnId: approval.turnId });
    expect(await rest).toBe('interrupted');
    expect(await laptop.approvals(threadId)).toEqual([]);
    expect((await refusal(decide(laptop.client, approval, 'accept'))).reason).toBe('no-such-approval');
    expect(linesOf(laptop.checkout)).toBe(0);
  });
});

describe('an approval that was pending when its thread moved', () => {
  async function carried(text?: string) {
    const { threadId, approval } = await asking(text);
    const { worktree } = await laptop.handOff({ threadId, to: server.hostId });
    const raised = await pendingOf(server, threadId);
    expect(raised).toMatchObject({ carriedOver: true, cwd: worktree, hostId: server.hostId, digest: approval.digest, command: approval.command });
    expect((await refusal(decide(laptop.client, approval, 'accept'))).reason).toBe('no-such-approval');
    return { threadId, worktree, raised };
  }

  it('can be declined: the agent is told, and nothing runs', async () => {
    const { threadId, worktree, raised } = await carried();
    const asked = pair.model.requests.length;
    const rest = server.rest(threadId);
    await decide(server.client, raised, 'decline');
    expect(await rest).toBe('completed');
    expect(JSON.stringify(pair.model.requests[asked]?.input)).toContain('is declined');
    expect(linesOf(worktree)).toBe(0);
    expect((await refusal(decide(server.client, raised, 'accept'))).reason).toBe('no-such-approval');
    expect(decisionsOf(server, threadId)).toMatchObject([{ decision: 'decline', digest: raised.digest, epoch: 1 }]);
  });

  it('can be accepted: the command runs once, and the next request asks again', async () => {
    const { threadId, worktree, raised } = await carried();
    const rest = server.rest(threadId);
    await decide(server.client, raised, 'accept');
    expect(await rest).toBe('completed');
    expect(linesOf(worktree)).toBe(1);
    expect(await server.say(threadId, said.risky)).toBe('waitingOnApproval');
    expect((await pendingOf(server, threadId)).digest).toBe(raised.digest);
    expect(linesOf(worktree)).toBe(1);
    expect(server.audit().filter((event) => event['threadId'] === threadId).map((event) => event['type'])).toEqual([
      'approval-carried', 'approval-trail', 'handoff-activated', 'approval-decided', 'approval-applied', 'approval-requested',
    ]);
  });

  it('is good for one of two equal requests of the same turn', async () => {
    const { threadId, worktree, raised } = await carried(said.twice);
    const rest = server.rest(threadId);
    await decide(server.client, raised, 'accept');
    expect(await rest).toBe('waitingOnApproval');
    expect(linesOf(worktree)).toBe(1);
    const second = server.rest(threadId);
    await decide(server.client, await pendingOf(server, threadId), 'accept');
    expect(await second).toBe('completed');
    expect(linesOf(worktree)).toBe(2);
  });

  it('travels on with the thread while nobody decides', async () => {
    const { threadId, raised } = await carried();
    const back = await laptop.handOff({ threadId, to: laptop.hostId, from: server.hostId });
    const again = await pendingOf(laptop, threadId);
    expect(again).toMatchObject({ digest: raised.digest, carriedOver: true, cwd: back.worktree, hostId: laptop.hostId });
    expect(await server.approvals(threadId)).toEqual([]);
    const rest = laptop.rest(threadId);
    await decide(laptop.client, again, 'accept');
    expect(await rest).toBe('completed');
    expect(linesOf(back.worktree)).toBe(1);
  });
});

describe('an approval of changes to files', () => {
  /** A thread that may only read, whose turn waits for what it would write. */
  async function mending(): Promise<{ threadId: string; approval: Approval }> {
    const threadId = await laptop.begin('Mend the file.', { approvalPolicy: 'on-request', sandbox: 'read-only' });
    const approval = await pendingOf(laptop, threadId);
    expect(approval).toMatchObject({ kind: 'fileChange', changes: [{ path: 'mended.txt', kind: 'add', diff: 'mended by the agent\n' }] });
    return { threadId, approval };
  }

  it('is raised with the same diff where its thread goes, and accepted there it changes the file there', async () => {
    const { threadId, approval } = await mending();
    const { worktree } = await laptop.handOff({ threadId, to: server.hostId });
    const raised = await pendingOf(server, threadId);
    expect(raised).toMatchObject({ carriedOver: true, hostId: server.hostId, digest: approval.digest, changes: approval.changes });
    const rest = server.rest(threadId);
    await decide(server.client, raised, 'accept');
    expect(await rest).toBe('completed');
    expect(readFileSync(join(worktree, 'mended.txt'), 'utf8')).toBe('mended by the agent\n');
    expect(existsSync(join(laptop.checkout, 'mended.txt'))).toBe(false);
    expect(decisionsOf(server, threadId)).toHaveLength(1);
    expect(await server.approvals(threadId)).toEqual([]);
  });

  it('shows the diff also where its host was killed and started again meanwhile', async () => {
    const { threadId, approval } = await mending();
    await laptop.stop('SIGKILL');
    await laptop.start();
    await laptop.until(async () => (await laptop.approvals(threadId)).length > 0);
    expect(await pendingOf(laptop, threadId)).toMatchObject({ digest: approval.digest, changes: approval.changes });
  });
});
