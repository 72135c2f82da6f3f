import { describe, expect, it } from 'vitest';
import { runSource, type SourcePorts } from '../../src/handoff/runSource';
import { reduceSource, sourceRecovery, type SourceEffect, type SourceEvent, type SourceState } from '../../src/handoff/sourceTransaction';
import { channel, holdings, receipt, sourceAfter, sourceEvents } from './examples';

type PortEffect = Exclude<SourceEffect, 'commit'>;
const beforeCommit = ['quiesce', 'capture', 'transfer', 'stage'] as const;

class HostStopped extends Error {}

/** A source whose journal and effects are recorded in the order in which they happen. */
class RecordedSource implements SourcePorts {
  readonly happened: string[] = [];
  readonly journaled: SourceEvent[] = [];
  readonly retries: { effect: SourceEffect; message: string }[] = [];
  state: SourceState;
  /** Called on each effect; what it throws is the effect's failure. */
  onEffect: (effect: PortEffect) => void = () => undefined;
  /** Called before each journal write (nothing is on disk then) and after it. */
  onJournal: (event: SourceEvent, written: boolean) => void = () => undefined;

  constructor(events: readonly SourceEvent[] = [sourceEvents.begun]) {
    this.journaled.push(...events);
    this.state = events.reduce<SourceState>(reduceSource, { is: 'none' });
  }

  journal(event: SourceEvent): Promise<SourceState> {
    return this.act(() => {
      this.onJournal(event, false);
      this.state = reduceSource(this.state, event);
      this.journaled.push(event);
      this.happened.push(`[${event.type}]`);
      this.onJournal(event, true);
      return this.state;
    });
  }
  quiesce = () => this.effect('quiesce', undefined);
  capture = () => this.effect('capture', holdings);
  transfer = () => this.effect('transfer', undefined);
  stage = () => this.effect('stage', { receipt, channel });
  deliver = () => this.effect('deliver', undefined);
  letGo = () => this.effect('letGo', undefined);
  undo = (_: unknown, reason: string) => this.effect('undo', undefined, ` (${reason})`);
  describe = (error: unknown) => ({ reason: 'described', message: (error as Error).message });
  onRetry = (effect: SourceEffect, error: unknown) => void this.retries.push({ effect, message: (error as Error).message });

  private effect<T>(effect: PortEffect, result: T, detail = ''): Promise<T> {
    return this.act(() => {
      this.happened.push(effect + detail);
      this.onEffect(effect);
      return result;
    });
  }
  private act<T>(act: () => T): Promise<T> {
    return new Promise((resolve) => resolve(act()));
  }
  run = (signal = new AbortController().signal) => runSource(this.state, this, signal);
}

const failing =
  (...failingEffects: readonly PortEffect[]) =>
  (effect: PortEffect) => {
    if (failingEffects.includes(effect)) throw new Error(`${effect} went wrong`);
  };

describe('a handoff at its source', () => {
  it('journals each step before the next one is taken, commits, tells the destination, and lets go', async () => {
    const source = new RecordedSource();
    const end = await source.run();
    expect(end.is).toBe('closed');
    expect(source.happened).toEqual(['quiesce', '[quiesced]', 'capture', '[captured]', 'transfer', '[transferred]', 'stage', '[receipt]', '[committed]', 'deliver', '[delivered]', 'letGo', '[letGo]']);
  });

  it.each(beforeCommit)('is undone when %s fails, and ends with the reason said', async (effect) => {
    const source = new RecordedSource();
    source.onEffect = failing(effect);
    const end = await source.run();
    expect(end).toMatchObject({ is: 'aborted', reason: 'described', message: `${effect} went wrong` });
    expect(source.happened.slice(source.happened.indexOf(effect))).toEqual([effect, '[failed]', 'undo (described)', '[undone]']);
  });

  it.each(beforeCommit)('is undone when it is cancelled during %s, although that effect ends well', async (effect) => {
    const source = new RecordedSource();
    const cancelling = new AbortController();
    source.onEffect = (running) => {
      if (running === effect) cancelling.abort();
    };
    expect(await source.run(cancelling.signal)).toMatchObject({ is: 'aborted', reason: 'cancelled' });
    expect(source.happened).not.toContain('[committed]');
    expect(source.happened.slice(-2)).toEqual(['undo (cancelled)', '[undone]']);
  });

  it.each(beforeCommit)('says that it was cancelled when cancelling makes %s fail', async (effect) => {
    const source = new RecordedSource();
    const cancelling = new AbortController();
    source.onEffect = (running) => {
      if (running !== effect) return;
      cancelling.abort();
      throw new Error('aborted by signal');
    };
    expect(await source.run(cancelling.signal)).toMatchObject({ is: 'aborted', reason: 'cancelled' });
  });

  it('does nothing but undo when it was cancelled before it began', async () => {
    const source = new RecordedSource();
    expect(await source.run(AbortSignal.abort())).toMatchObject({ is: 'aborted', reason: 'cancelled' });
    expect(source.happened).toEqual(['[failed]', 'undo (cancelled)', '[undone]']);
  });

  it.each(['deliver', 'letGo'] as const)('goes on to its end when it is cancelled during %s, for it has committed', async (effect) => {
    const source = new RecordedSource();
    const cancelling = new AbortController();
    source.onEffect = (running) => {
      if (running === effect) cancelling.abort();
    };
    expect((await source.run(cancelling.signal)).is).toBe('closed');
  });

  it('is undone on a receipt that differs, without committing', async () => {
    const source = new RecordedSource();
    source.stage = () => Promise.resolve({ receipt: { ...receipt, epoch: 7 }, channel });
    expect(await source.run()).toMatchObject({ is: 'aborted', reason: 'receipt-mismatch' });
    expect(source.happened).not.toContain('[committed]');
  });

  it.each([
    { fails: ['deliver'], leaves: { delivered: false, letGo: true } },
    { fails: ['letGo'], leaves: { delivered: true, letGo: false } },
    { fails: ['deliver', 'letGo'], leaves: { delivered: false, letGo: false } },
  ] as const)('stays committed when $fails fails, and is closed by a later try', async ({ fails, leaves }) => {
    const source = new RecordedSource();
    source.onEffect = failing(...fails);
    expect(await source.run()).toMatchObject({ is: 'committed', ...leaves });
    expect(source.retries.map(({ effect }) => effect)).toEqual([...fails]);
    expect(source.happened).not.toContain('[failed]');

    source.onEffect = () => undefined;
    source.happened.length = 0;
    expect((await source.run()).is).toBe('closed');
    expect(source.happened.filter((entry) => !entry.startsWith('['))).toEqual([...fails]);
  });

  it('stays undoing when undoing fails, and is aborted with the first reason by a later try', async () => {
    const source = new RecordedSource();
    source.onEffect = failing('transfer', 'undo');
    expect(await source.run()).toMatchObject({ is: 'undoing', message: 'transfer went wrong' });
    expect(source.retries).toEqual([{ effect: 'undo', message: 'undo went wrong' }]);
    source.onEffect = () => undefined;
    expect(await source.run()).toMatchObject({ is: 'aborted', message: 'transfer went wrong' });
  });

  it('writes nothing after a commit whose write failed, for the commit may be on disk', async () => {
    const source = new RecordedSource();
    source.onJournal = (event) => {
      if (event.type === 'committed') throw new Error('EIO');
    };
    await expect(source.run()).rejects.toThrow('EIO');
    expect(source.happened.at(-1)).toBe('[receipt]');
    expect(source.happened).not.toContain('undo');
  });

  it.each(['quiesced', 'captured', 'transferred', 'receipt'] as const)('is undone when `%s` cannot be written', async (type) => {
    const source = new RecordedSource();
    source.onJournal = (event, written) => {
      if (event.type === type && !written) throw new Error('ENOSPC');
    };
    expect(await source.run()).toMatchObject({ is: 'aborted', message: 'ENOSPC' });
  });

  it('does nothing where there is nothing to do', async () => {
    for (const state of [sourceAfter(), sourceAfter('begun', 'failed', 'undone')]) {
      const source = new RecordedSource([]);
      expect(await runSource(state, source, new AbortController().signal)).toBe(state);
      expect(source.happened).toEqual([]);
    }
  });
});

describe('a source whose host stops', () => {
  const paths = [
    { path: 'that goes well', onEffect: () => undefined, writes: ['quiesced', 'captured', 'transferred', 'receipt', 'committed', 'delivered', 'letGo'] },
    { path: 'that is undone', onEffect: failing('stage'), writes: ['quiesced', 'captured', 'transferred', 'failed', 'undone'] },
  ] as const;
  const stops = paths.flatMap(({ path, onEffect, writes }) => writes.flatMap((type) => [true, false].map((written) => ({ path, onEffect, type, written }))));

  it.each(stops)('in a handoff $path, at the write of $type (on disk: $written), ends as its journal says', async ({ onEffect, type, written }) => {
    const first = new RecordedSource();
    first.onEffect = onEffect;
    let stopped = false;
    first.onJournal = (event, isWritten) => {
      if (stopped || (event.type === type && isWritten === written)) {
        // A host that is gone writes nothing more, whatever its code would go on to do.
        stopped = true;
        throw new HostStopped('killed');
      }
    };
    first.onRetry = () => undefined;
    await first.run().catch((error: unknown) => {
      if (!(error instanceof HostStopped)) throw error;
    });

    expect(stopped).toBe(true);

    const journal = [...first.journaled];
    const restarted = new RecordedSource(journal);
    const hadCommitted = journal.some((event) => event.type === 'committed');
    const recovery = sourceRecovery(restarted.state);
    if (recovery !== null) await restarted.journal(recovery);
    const end = await restarted.run();
    expect(end.is).toBe(hadCommitted ? 'closed' : 'aborted');
    expect(restarted.journaled.filter((event) => event.type === 'committed')).toHaveLength(hadCommitted ? 1 : 0);
    expect(new RecordedSource(restarted.journaled).state).toEqual(end);
    expect(restarted.happened.filter((entry) => ['quiesce', 'capture', 'transfer', 'stage'].includes(entry))).toEqual([]);
  });
});
