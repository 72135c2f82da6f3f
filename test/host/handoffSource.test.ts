import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { HandoffSource } from '../../src/host/handoffSource';
import { HostError } from '../../src/host/hostError';
import { LedgerStore } from '../../src/host/ledgerStore';
import { silentLog } from '../../src/host/log';
import type { SourceHostPorts } from '../../src/host/sourcePorts';
import { receipt, sourceEvents } from '../handoff/examples';

const toCommitted = ['begun', 'quiesced', 'captured', 'transferred', 'receipt', 'committed'] as const;
const threadId = '0199abcd-0000-7000-8000-000000000000';
let home: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'baton-source-'));
});
afterEach(() => rm(home, { recursive: true }));

it('a handoff that failed and could not be undone yet does not say that the thread has moved', async () => {
  const gone = new HostError('codex-unavailable', 'Codex is not there.');
  const ledger = await LedgerStore.open(join(home, 'ledger'));
  const ports = {
    hostId: 'A'.repeat(43),
    directory: home,
    ledger,
    audit: { append: () => Promise.resolve() },
    log: silentLog,
    peerName: () => 'server',
    describe: () => Promise.reject(gone),
    unquiesce: () => Promise.reject(gone),
    onProgress: () => undefined,
    onChanged: () => undefined,
  } as unknown as SourceHostPorts;
  const handoff = HandoffSource.of(ports, { threadId }, '0'.repeat(32), 'B'.repeat(43), { included: null, choice: null });
  await handoff.begin('local');

  const error: unknown = await handoff.run(new AbortController().signal).then(() => null, (failure: unknown) => failure);
  expect(error).toMatchObject({ reason: 'codex-unavailable', message: expect.stringMatching(/Codex is not there.*cannot be used yet.*goes on/) as string });
  expect((error as Error).message).not.toContain('belongs to');
  expect(ledger.get(threadId)).toMatchObject({ source: { is: 'undoing' }, movedTo: null, epoch: 0 });
});

describe('who waits for a handoff that was never acknowledged', () => {
  const offline = new HostError('host-offline', 'It is away.');

  /** A committed handoff whose destination cannot be reached, and what waiting for it ends with. */
  async function unacknowledged() {
    const ledger = await LedgerStore.open(join(home, 'ledger'));
    for (const type of toCommitted) {
      const event = sourceEvents[type];
      await ledger.append(threadId, { side: 'source', event: event.type === 'begun' ? { ...event, threadId } : event.type === 'receipt' ? { ...event, receipt: { ...receipt, threadId } } : event });
    }
    const ports = {
      hostId: sourceEvents.begun.source, directory: home, ledger, log: silentLog,
      connect: () => Promise.reject(offline),
      markMoved: () => Promise.resolve(),
      worktrees: { left: () => Promise.resolve() },
      onProgress: () => undefined,
      onChanged: () => undefined,
    } as unknown as SourceHostPorts;
    const { source } = ledger.get(threadId);
    if (source.is === 'none') throw new Error('The ledger is empty.');
    const handoff = HandoffSource.resume(ports, source);
    const ended = handoff.run(new AbortController().signal).then(() => null, (failure: unknown) => failure);
    await vi.waitFor(() => expect(ledger.get(threadId).source).toMatchObject({ letGo: true }));
    return { ledger, handoff, ended };
  }

  it('hears who owns the thread where another host reclaimed it', async () => {
    const { ledger, ended } = await unacknowledged();
    await ledger.append(threadId, { side: 'owner', event: { type: 'superseded', epoch: 1000, owner: { hostId: 'deskId', name: 'desk' }, fork: threadId } });
    expect(await ended).toMatchObject({ reason: 'thread-moved', message: 'desk owns the thread now, at epoch 1000.' });
  });

  it('hears that it is being taken back where it is, and waits no longer', async () => {
    const { handoff, ended } = await unacknowledged();
    handoff.stopDelivering();
    expect(await ended).toMatchObject({ reason: 'cancelled', message: expect.stringMatching(/is being taken back here/) as string });
  });
});
