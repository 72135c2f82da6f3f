import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AuditEvent } from '../../src/host/audit';
import { Claims, type ClaimPorts } from '../../src/host/claims';
import { LedgerStore } from '../../src/host/ledgerStore';
import { silentLog } from '../../src/host/log';
import type { PeerLink } from '../../src/host/peerLink';
import { destinationEvents, identity } from '../handoff/examples';

const { threadId, source, destination } = identity;
const reclaimed = { threadId, epoch: 1000, owner: { hostId: source, name: 'laptop' } };

let home: string;
let ledger: LedgerStore;
let claims: Claims;
const kept: string[] = [];
const heard: AuditEvent[] = [];

beforeEach(async () => {
  kept.length = 0;
  heard.length = 0;
  home = await mkdtemp(join(tmpdir(), 'baton-claims-'));
  ledger = await LedgerStore.open(home);
  const { offered, prepared, committed } = destinationEvents;
  for (const event of [offered, prepared, committed]) await ledger.append(threadId, { side: 'destination', event });
  claims = new Claims({
    hostId: destination,
    name: () => 'server',
    ledger,
    audit: { append: (event) => Promise.resolve(void heard.push(event)) },
    log: silentLog,
    isPeer: () => true,
    peerName: () => 'laptop',
    connect: () => Promise.resolve({ call: () => Promise.resolve({ claims: [{ ...reclaimed, known: true }] }) } as unknown as PeerLink),
    setAside: (_, fork) => Promise.resolve(kept.push(fork)),
    onChanged: () => undefined,
  } satisfies Partial<ClaimPorts> as unknown as ClaimPorts);
});
afterEach(async () => {
  claims.dispose();
  await rm(home, { recursive: true });
});

it('a claim that is heard on several ways at once is noted once', async () => {
  await ledger.append(threadId, { side: 'destination', event: destinationEvents.activated });
  const told = () => claims.hear({ claims: [reclaimed] }, { hostId: source } satisfies Partial<PeerLink> as unknown as PeerLink);
  await Promise.all([told(), told()]);
  expect(heard.map(({ type }) => type)).toEqual(['thread-superseded']);
  await expect.poll(() => kept).toEqual([ledger.get(threadId).fork]);
});

describe('a host that was away between its commit and the moment in which the thread goes on there', () => {
  it('lets nothing of it run once it hears that the thread was taken back, and keeps it as a fork as soon as it is here', async () => {
    expect(await claims.claimant(threadId)).toBeNull();
    claims.recover();
    expect(await claims.claimant(threadId)).toEqual(reclaimed.owner);
    await expect(claims.settled(threadId)).rejects.toMatchObject({ reason: 'thread-moved' });
    expect(ledger.get(threadId)).toMatchObject({ movedTo: null, epoch: 1 });

    await ledger.append(threadId, { side: 'destination', event: destinationEvents.activated });
    await claims.arrived(threadId);
    expect(ledger.get(threadId)).toMatchObject({ movedTo: reclaimed.owner, epoch: 1000 });
    expect(await claims.claimant(threadId)).toBeNull();
    await expect.poll(() => kept).toEqual([ledger.get(threadId).fork]);
  });
});
