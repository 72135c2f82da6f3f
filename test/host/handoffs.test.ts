import { execFileSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { SourceEvent } from '../../src/handoff/sourceTransaction';
import { HandoffDestination, type DestinationPorts } from '../../src/host/handoffDestination';
import { Handoffs } from '../../src/host/handoffs';
import { LedgerStore } from '../../src/host/ledgerStore';
import { silentLog } from '../../src/host/log';
import type { PeerLink } from '../../src/host/peerLink';
import type { Offer, PeerParams } from '../../src/host/peerProtocol';
import { channel, holdings, sourceEvents } from '../handoff/examples';

const threadId = '0199abcd-0000-7000-8000-000000000000';
const [laptop, server, desk] = ['L'.repeat(43), 'S'.repeat(43), 'D'.repeat(43)];
const [toServer, toDesk, onward] = ['1'.repeat(32), '2'.repeat(32), '3'.repeat(32)];
let home: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'baton-handoffs-'));
});
afterEach(() => rm(home, { recursive: true }));

describe('a host that has prepared for a thread which its source then handed to another one', () => {
  const receipt = { version: 1, handoffId: toServer, threadId, epoch: 1, source: laptop, destination: server, channel, holdings } as const;
  let ledger: LedgerStore;
  let destination: HandoffDestination;
  /** What the source answers; null where it is away. */
  let answers: Pick<Handoffs, 'outcome'> | null;

  beforeEach(async () => {
    const source = await LedgerStore.open(join(home, 'laptop'));
    const begun = (handoffId: string, to: string, destinationName: string): SourceEvent => ({ type: 'begun', handoffId, threadId, source: laptop, destination: to, destinationName, epoch: 1 });
    const { quiesced, captured, transferred, committed, delivered, letGo, failed, undone } = sourceEvents;
    for (const event of [
      begun(toServer, server, 'server'), quiesced, captured, transferred, failed, undone,
      begun(toDesk, desk, 'desk'), quiesced, captured, transferred, { type: 'receipt', channel, receipt: { ...receipt, handoffId: toDesk, destination: desk } }, committed, delivered, letGo,
    ] satisfies SourceEvent[]) await source.append(threadId, { side: 'source', event });
    answers = new Handoffs({ ledger: source } as unknown as ConstructorParameters<typeof Handoffs>[0]);
    ledger = await LedgerStore.open(join(home, 'server'));
    await ledger.append(threadId, { side: 'destination', event: { type: 'offered', handoffId: toServer, threadId, source: laptop, sourceName: 'laptop', epoch: 1 } });
    await ledger.append(threadId, { side: 'destination', event: { type: 'prepared', receipt, complete: true } });
    destination = new HandoffDestination({
      hostId: server,
      name: () => 'server',
      directory: home,
      ledger,
      log: silentLog,
      peerName: () => 'desk',
      wake: () => Promise.resolve(),
      heldRollouts: () => Promise.resolve([]),
      askOutcome: (asked, ...handoff) => Promise.resolve(asked === laptop ? (answers?.outcome(...handoff, server) ?? null) : null),
      onChanged: () => undefined,
    } satisfies Partial<DestinationPorts> as unknown as DestinationPorts);
  });

  it('hears that it may forget it when it asks', async () => {
    expect(await destination.recover()).toBe(false);
    expect(ledger.get(threadId).destination).toMatchObject({ is: 'withdrawn', handoffId: toServer });
  });

  /** The other one hands the thread on to it; what speaks for and against that is left out. */
  const offered = () => {
    execFileSync('git', ['init', '-q', join(home, 'project')]);
    vi.spyOn(destination.answers, 'consider').mockResolvedValue({ findings: [], place: { projectRoot: join(home, 'project'), subdirectory: '', worktreeId: 'w', worktree: join(home, 'w'), expectedFingerprint: null } });
    vi.spyOn(destination.answers, 'diverged').mockResolvedValue({ findings: [], choices: [], any: false });
    const asked: PeerParams<'handoff/begin'> = { handoffId: onward, threadId, epoch: 2, trail: [laptop], offer: { submodules: [], rollouts: [] } as unknown as Offer };
    return destination.begin(asked, { hostId: desk } satisfies Partial<PeerLink> as unknown as PeerLink);
  };

  it('takes the thread from that other host', async () => {
    await offered();
    expect(ledger.get(threadId).destination).toMatchObject({ is: 'receiving', handoffId: onward, source: desk });
  });

  it('keeps what it has, and takes nothing in its place, while the source cannot be asked', async () => {
    answers = null;
    await expect(offered()).rejects.toMatchObject({ reason: 'thread-moving' });
    expect(ledger.get(threadId).destination).toMatchObject({ is: 'prepared', handoffId: toServer });
  });
});
