import { mkdir, open, readdir, readFile, rm, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { syncDirectory, writeDurably } from '../git/durable';
import { emptyLedger, isSettled, ledgerRecord, reduceLedger, type Ledger, type LedgerRecord } from '../handoff/ownership';
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
  /**
   * Ledgers of which a write failed, here or maybe in a host before this one. How much of it is in the file has to be read; that it
   * can be read does not mean that it is on disk, and no later fsync sees to what an earlier one failed to write.
   */
  private readonly doubtful = new Set<string>();
  /** Ledgers whose file a power loss leaves under its name. */
  private readonly named = new Set<string>();

  private constructor(
    private readonly directory: string,
    private readonly now: () => Date,
  ) {}

  /** Reads every ledger. Throws HostError `state-invalid` for one that cannot be understood: guessing could make two owners. */
  static async open(directory: string, now: () => Date = () => new Date()): Promise<LedgerStore> {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const store = new LedgerStore(directory, now);
    for (const name of await readdir(directory)) {
      // Left by a host that was killed while it wrote a ledger anew; the ledger itself is still there.
      if (name.endsWith('.jsonl.tmp')) await rm(join(directory, name), { force: true });
      const id = name.replace(/\.jsonl$/, '');
      if (id === name || !threadIdSchema.safeParse(id).success) continue;
      store.fold(id, (await readLedger(store.pathOf(id))).records);
      if (!isSettled(store.get(id))) store.doubtful.add(id);
    }
    return store;
  }

  get(threadId: string): Ledger {
    return this.ledgers.get(threadId) ?? emptyLedger;
  }

  /**
   * The ledger as a power loss would leave it. To be asked before something is done upon what was only read that cannot be taken
   * back. Rejects while the disk does not take it.
   */
  durable(threadId: string): Promise<Ledger> {
    return this.turns.take(threadId, async () => {
      await this.settle(threadId);
      return this.get(threadId);
    });
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
    const text = await readFile(this.pathOf(threadId), 'utf8').catch((error: unknown) => {
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
      await this.settle(threadId);
      const complete = { version: 1, at: this.now().toISOString(), ...record } as LedgerRecord;
      const next = reduceLedger(this.get(threadId), complete);
      const handle = await open(this.pathOf(threadId), 'a', 0o600);
      try {
        try {
          await handle.appendFile(`${JSON.stringify(complete)}\n`);
          await handle.sync();
        } finally {
          await handle.close();
        }
        if (!this.named.has(threadId)) await syncDirectory(this.directory);
      } catch (error) {
        this.doubtful.add(threadId);
        throw error;
      }
      this.named.add(threadId);
      this.note(threadId, next, complete);
      return next;
    };
    return this.turns.take(threadId, run);
  }

  /** Writes a doubtful ledger anew as it can be read, and only then believes it. */
  private async settle(threadId: string): Promise<void> {
    if (!this.doubtful.has(threadId)) return;
    const { text, records } = await readLedger(this.pathOf(threadId));
    await writeDurably(this.pathOf(threadId), text);
    this.fold(threadId, records);
    this.named.add(threadId);
    this.doubtful.delete(threadId);
  }

  private pathOf(threadId: string): string {
    return join(this.directory, `${threadIdSchema.parse(threadId)}.jsonl`);
  }

  private fold(threadId: string, records: readonly LedgerRecord[]): void {
    let ledger = emptyLedger;
    this.ledgers.set(threadId, ledger);
    for (const record of records) {
      ledger = reduceLedger(ledger, record);
      this.note(threadId, ledger, record);
    }
  }

  private note(threadId: string, ledger: Ledger, { side, at }: LedgerRecord): void {
    this.ledgers.set(threadId, ledger);
    this.times.set(threadId, { ...this.times.get(threadId), [side]: at });
  }
}

type NewRecord = { [S in LedgerRecord['side']]: Pick<Extract<LedgerRecord, { side: S }>, 'side' | 'event'> }[LedgerRecord['side']];

/** The whole lines of a ledger, and the records in them, each of which may stand where it stands. */
async function readLedger(path: string): Promise<{ readonly text: string; readonly records: LedgerRecord[] }> {
  const all = await readFile(path, 'utf8');
  const text = all.slice(0, all.lastIndexOf('\n') + 1);
  // A torn last line was never acted upon: the write that it belongs to had not returned.
  if (text.length < all.length) await truncate(path, Buffer.byteLength(text));
  const records: LedgerRecord[] = [];
  let ledger = emptyLedger;
  for (const [index, line] of text.split('\n').slice(0, -1).entries()) {
    try {
      const record = ledgerRecord.parse(JSON.parse(line));
      ledger = reduceLedger(ledger, record);
      records.push(record);
    } catch (cause) {
      throw new HostError('state-invalid', `Line ${index + 1} of ${path} is not a record that may stand there, so who owns the thread is unknown. Restore the file from a backup, or move it away to start the thread's ownership anew.`, { cause });
    }
  }
  return { text, records };
}
