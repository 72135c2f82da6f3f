import { execFileSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { SourceEvent } from '../../src/handoff/sourceTransaction';
import type { AuditEvent } from '../../src/host/audit';
import { HandoffDestination, type DestinationPorts } from '../../src/host/handoffDestination';
import { Handoffs } from '../../src/host/handoffs';
import { HostError } from '../../src/host/hostError';
import { LedgerStore } from '../../src/host/ledgerStore';
import { silentLog } from '../../src/host/log';
import type { PeerLink } from '../../src/host/peerLink';
import type { Offer, PeerParams } from '../../src/host/peerProtocol';
import { channel, holdings, sourceEvents } from '../handoff/examples';

// What speaks for and against a handoff is looked at elsewhere.
vi.mock('../../src/host/handoffPreflight', async (original) => ({ ...(await original<object>()), preflight: () => Promise.resolve({ preflight: { findings: [] }, rival: null }) }));

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

describe('a handoff that could not be begun', () => {
  let ledger: LedgerStore;
  let audit: (event: AuditEvent) => Promise<void>;
  let handoffs: Handoffs;

  beforeEach(async () => {
    ledger = await LedgerStore.open(join(home, 'laptop'));
    audit = () => Promise.resolve();
    handoffs = new Handoffs({
      hostId: laptop,
      directory: home,
      ledger,
      audit: { append: (event: AuditEvent) => audit(event) },
      log: silentLog,
      peerName: () => 'server',
      describe: () => Promise.reject(new HostError('codex-unavailable', 'Codex is not there.')),
      unquiesce: () => Promise.resolve(),
      connect: () => Promise.reject(new HostError('host-offline', 'The server is away.')),
      sealed: { keep: () => Promise.resolve() },
      onProgress: () => undefined,
      onChanged: () => undefined,
      onEnded: () => undefined,
      now: () => 0,
    } as unknown as ConstructorParameters<typeof Handoffs>[0]);
  });
  afterEach(() => handoffs.dispose());

  const start = () => handoffs.start({ threadId }, server, { by: 'local', included: null, choice: null });
  const stateHere = () => ledger.get(threadId).source.is;
  const full = () => Promise.reject(Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' }));

  it('runs all the same where only the audit log cannot be written', async () => {
    audit = full;
    await expect(handoffs.wait(await start())).rejects.toMatchObject({ reason: 'codex-unavailable' });
    expect(stateHere()).toBe('aborted');
  });

  it('is given up by itself where its beginning is in the ledger though writing it failed', async () => {
    const append = ledger.append.bind(ledger);
    vi.spyOn(ledger, 'append').mockImplementationOnce(async (...record) => {
      await append(...record);
      return full();
    });
    await expect(start()).rejects.toThrow('ENOSPC');
    expect(stateHere()).toBe('quiescing');
    await vi.waitFor(() => expect(stateHere()).toBe('aborted'), 20_000);
  });

  it.each(['abort', 'resume'] as const)('is given up at the word of the user where nobody drives it: %s', async (act) => {
    await ledger.append(threadId, { side: 'source', event: { ...sourceEvents.begun, threadId } });
    await (act === 'abort' ? handoffs.abort(threadId, sourceEvents.begun.handoffId) : handoffs.resume(threadId));
    expect(stateHere()).toBe('aborted');
    // The next one has nothing in its way.
    await expect(handoffs.wait(await start())).rejects.toMatchObject({ reason: 'codex-unavailable' });
  });
});
