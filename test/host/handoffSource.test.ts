import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { HandoffSource } from '../../src/host/handoffSource';
import { HostError } from '../../src/host/hostError';
import { LedgerStore } from '../../src/host/ledgerStore';
import { silentLog } from '../../src/host/log';
import type { SourceHostPorts } from '../../src/host/sourcePorts';

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
  const handoff = await HandoffSource.begin(ports, { threadId }, '0'.repeat(32), 'B'.repeat(43), 'local', { included: null, choice: null });

  const error: unknown = await handoff.run(new AbortController().signal).then(() => null, (failure: unknown) => failure);
  expect(error).toMatchObject({ reason: 'codex-unavailable', message: expect.stringMatching(/Codex is not there.*cannot be used yet.*goes on/) as string });
  expect((error as Error).message).not.toContain('belongs to');
  expect(ledger.get(threadId)).toMatchObject({ source: { is: 'undoing' }, movedTo: null, epoch: 0 });
});
