import { mkdir, open, readdir, readFile, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { syncDirectory } from '../git/durable';
import { emptyLedger, ledgerRecord, reduceLedger, type Ledger, type LedgerRecord } from '../handoff/ownership';
import { HostError } from './hostError';
import { InTurn } from './inTurn';
import { threadId as threadIdSchema } from './protocol';

/**
 * The ledger of ownership: `ledger/<thread id>.jsonl`, one journal per thread. An event counts once its line is on disk;
 * events of one thread are applied one after another.
 */
export class LedgerStore {
  private readonly ledgers = new Map<string, Ledger>();
  /** When the last record of each side was written, by thread. */
  private readonly times = new Map<string, Partial<Record<LedgerRecord['side'], string>>>();
  private readonly turns = new InTurn();
  /** Ledgers of which a write failed: how much of it is on disk has to be read before the next one. */
  private readonly doubtful = new Set<string>();

  private constructor(
    private readonly directory: string,
    private readonly now: () => Date,
  ) {}

  /** Reads every ledger. Throws HostError `state-invalid` for one that cannot be understood: guessing could make two owners. */
  static async open(directory: string, now: () => Date = () => new Date()): Promise<LedgerStore> {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const store = new LedgerStore(directory, now);
    for (const name of await readdir(directory)) {
      const id = name.replace(/\.jsonl$/, '');
      if (id !== name && threadIdSchema.safeParse(id).success) await store.read(id);
    }
    return store;
  }

  get(threadId: string): Ledger {
    return this.ledgers.get(threadId) ?? emptyLedger;
  }

  /** When something was last written about one side of a thread's handoffs, or its claims; ISO 8601. */
  since(threadId: string, side: LedgerRecord['side']): string | null {
    return this.times.get(threadId)?.[side] ?? null;
  }

  entries(): IterableIterator<[string, Ledger]> {
    return this.ledgers.entries();
  }

  /** The host from which a thread came last, or for which it began here; null for one that is this host's own. */
  cameFrom(threadId: string): string | null {
    const { cameFrom } = this.get(threadId);
    if (cameFrom !== null) return cameFrom;
    // A checkout that was handed off without a thread has an id of its own in the ledger.
    for (const { destination } of this.ledgers.values()) if (destination.is === 'active' && destination.placement.threadId === threadId) return destination.source;
    return null;
  }

  /** Fingerprints of the working states with which a thread left this host, or was about to. */
  async departures(threadId: string): Promise<string[]> {
    const text = await readFile(join(this.directory, `${threadIdSchema.parse(threadId)}.jsonl`), 'utf8').catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
      throw error;
    });
    return text.split('\n').flatMap((line) => {
      const { event } = line === '' ? { event: null } : ledgerRecord.parse(JSON.parse(line));
      return event?.type === 'captured' ? [event.holdings.workingState] : [];
    });
  }

  /**
   * Appends an event durably and gives the ledger that follows. Throws HandoffError, with nothing written, where the event is
   * not possible.
   */
  append(threadId: string, record: NewRecord): Promise<Ledger> {
    const run = async (): Promise<Ledger> => {
      const path = join(this.directory, `${threadIdSchema.parse(threadId)}.jsonl`);
      if (this.doubtful.has(threadId)) {
        await this.read(threadId);
        this.doubtful.delete(threadId);
      }
      const complete = { version: 1, at: this.now().toISOString(), ...record } as LedgerRecord;
      const next = reduceLedger(this.get(threadId), complete);
      const handle = await open(path, 'a', 0o600);
      try {
        await handle.appendFile(`${JSON.stringify(complete)}\n`);
        await handle.sync();
      } catch (error) {
        this.doubtful.add(threadId);
        throw error;
      } finally {
        await handle.close();
      }
      if (!this.ledgers.has(threadId)) await syncDirectory(this.directory);
      this.note(threadId, next, complete);
      return next;
    };
    return this.turns.take(threadId, run);
  }

  private async read(threadId: string): Promise<void> {
    let ledger = emptyLedger;
    for (const record of await readLedger(join(this.directory, `${threadId}.jsonl`))) {
      ledger = reduceLedger(ledger, record);
      this.note(threadId, ledger, record);
    }
    this.ledgers.set(threadId, ledger);
  }

  private note(threadId: string, ledger: Ledger, { side, at }: LedgerRecord): void {
    this.ledgers.set(threadId, ledger);
    this.times.set(threadId, { ...this.times.get(threadId), [side]: at });
  }
}

type NewRecord = { [S in LedgerRecord['side']]: Pick<Extract<LedgerRecord, { side: S }>, 'side' | 'event'> }[LedgerRecord['side']];

/** The records of a ledger, each of which may stand where it stands. */
async function readLedger(path: string): Promise<LedgerRecord[]> {
  const text = await readFile(path, 'utf8');
  const end = text.lastIndexOf('\n') + 1;
  // A torn last line was never acted upon: the write that it belongs to had not returned.
  if (end < text.length) await truncate(path, Buffer.byteLength(text.slice(0, end)));
  const records: LedgerRecord[] = [];
  let ledger = emptyLedger;
  for (const [index, line] of text.slice(0, end).split('\n').slice(0, -1).entries()) {
    try {
      const record = ledgerRecord.parse(JSON.parse(line));
      ledger = reduceLedger(ledger, record);
      records.push(record);
    } catch (cause) {
      throw new HostError('state-invalid', `Line ${index + 1} of ${path} is not a record that may stand there, so who owns the thread is unknown. Restore the file from a backup, or move it away to start the thread's ownership anew.`, { cause });
    }
  }
  return records;
}
