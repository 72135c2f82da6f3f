import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { sweepSpools } from '../../src/host/handoffSpools';
import { LedgerStore } from '../../src/host/ledgerStore';
import { silentLog } from '../../src/host/log';

let home: string;
let ledger: LedgerStore;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'baton-spools-'));
  ledger = await LedgerStore.open(join(home, 'ledger'));
});
afterEach(() => rm(home, { recursive: true, force: true }));

const thread = (number: number) => `00000000-0000-7000-8000-${String(number).padStart(12, '0')}`;
const handoff = (number: number) => String(number).padStart(32, '0');
const begun = (number: number) => ({ type: 'begun', handoffId: handoff(number), threadId: thread(number), source: 'here', destination: 'there', destinationName: 'server', epoch: 1 }) as const;
const offered = (number: number) => ({ type: 'offered', handoffId: handoff(number), threadId: thread(number), source: 'there', sourceName: 'server', epoch: 1 }) as const;

it('of what a host that was killed left in handoffs/, only that stays of which something is left to do', async () => {
  const directory = join(home, 'handoffs');
  const spool = async (name: string) => {
    await mkdir(join(directory, name, 'capture', 'shadow'), { recursive: true });
    await writeFile(join(directory, name, 'capture', 'shadow', 'HEAD'), 'ref: refs/heads/main\n');
  };
  // Left in its middle as a source, and as a destination; given up on both sides; of no ledger any more; of a preflight.
  await ledger.append(thread(1), { side: 'source', event: begun(1) });
  await ledger.append(thread(2), { side: 'destination', event: offered(2) });
  await ledger.append(thread(3), { side: 'source', event: begun(3) });
  await ledger.append(thread(3), { side: 'source', event: { type: 'failed', reason: 'cancelled', message: 'Cancelled.' } });
  await ledger.append(thread(3), { side: 'source', event: { type: 'undone' } });
  await ledger.append(thread(4), { side: 'destination', event: offered(4) });
  await ledger.append(thread(4), { side: 'destination', event: { type: 'withdrawn', reason: 'cancelled' } });
  await ledger.append(thread(4), { side: 'destination', event: { type: 'discarded' } });
  for (const name of [1, 2, 3, 4, 5].map(handoff)) await spool(name);
  await spool('preflight-0123456789abcdef');
  await spool('not one of ours');

  await sweepSpools({ directory, ledger, log: silentLog });
  expect((await readdir(directory)).sort()).toEqual([handoff(1), handoff(2), 'not one of ours']);
});
