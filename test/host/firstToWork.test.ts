import { describe, expect, it } from 'vitest';
import { firstToWork, NoWay, type Way } from '../../src/host/firstToWork';

interface Trial {
  readonly way: Way<string>;
  readonly begun: Promise<AbortSignal>;
  readonly works: (value: string) => void;
  readonly fails: (message: string) => void;
}

/** A way that works or fails when the test says so. */
function trial(name: string, afterMs = 0): Trial {
  let [begin, works, fails]: [(signal: AbortSignal) => void, (value: string) => void, (message: string) => void] = [() => undefined, () => undefined, () => undefined];
  const begun = new Promise<AbortSignal>((resolve) => (begin = resolve));
  const outcome = new Promise<string>((resolve, reject) => {
    works = resolve;
    fails = (message) => reject(new Error(message));
  });
  return { way: { name, afterMs, open: (signal) => (begin(signal), outcome) }, begun, works, fails };
}

/** A clock that runs when the test says so. */
function standingClock() {
  const waiting: (() => void)[] = [];
  return { waiting, clock: { now: () => 0, after: (_: number, act: () => void) => (waiting.push(act), () => void waiting.splice(waiting.indexOf(act), 1)) } };
}

describe('of several ways', () => {
  it('the first that works is taken, the others are given up, and what they still give is handed back', async () => {
    const [relay, ssh] = [trial('relay'), trial('ssh')];
    const late: string[] = [];
    const result = firstToWork([relay.way, ssh.way], { tooLate: (value) => late.push(value) });
    const [, given] = [await relay.begun, await ssh.begun];
    relay.works('by relay');
    expect(await result).toBe('by relay');
    expect(given.aborted).toBe(true);
    expect((await relay.begun).aborted).toBe(false);
    ssh.works('by ssh');
    await new Promise(setImmediate);
    expect(late).toEqual(['by ssh']);
  });

  it('a later one is begun at its time, or as soon as those before it have failed', async () => {
    const { clock, waiting } = standingClock();
    const [relay, ssh] = [trial('relay'), trial('ssh', 300)];
    const result = firstToWork([relay.way, ssh.way], { clock, tooLate: () => undefined });
    await relay.begun;
    expect(waiting).toHaveLength(1);
    relay.fails('no relay');
    await ssh.begun;
    ssh.works('by ssh');
    expect(await result).toBe('by ssh');
    expect(waiting).toHaveLength(0);
  });

  it('a later one is begun beside one that takes its time', async () => {
    const { clock, waiting } = standingClock();
    const [relay, ssh] = [trial('relay'), trial('ssh', 300)];
    const result = firstToWork([relay.way, ssh.way], { clock, tooLate: () => undefined });
    waiting[0]?.();
    await ssh.begun;
    ssh.works('by ssh');
    expect(await result).toBe('by ssh');
    expect((await relay.begun).aborted).toBe(true);
  });

  it('that all fail, each is told of', async () => {
    const [relay, ssh] = [trial('relay'), trial('ssh')];
    const result = firstToWork([relay.way, ssh.way], { tooLate: () => undefined });
    ssh.fails('no ssh');
    relay.fails('no relay');
    await expect(result).rejects.toSatisfy((error) => error instanceof NoWay && error.failures.map(({ name }) => name).join() === 'relay,ssh');
    await expect(firstToWork([], { tooLate: () => undefined })).rejects.toBeInstanceOf(NoWay);
  });

  it('none is gone on with when the caller gives up', async () => {
    const way = trial('relay');
    const caller = new AbortController();
    const result = firstToWork([way.way], { signal: caller.signal, tooLate: () => undefined });
    caller.abort(new Error('Enough.'));
    await expect(result).rejects.toThrow('Enough.');
    expect((await way.begun).aborted).toBe(true);
    await expect(firstToWork([way.way], { signal: AbortSignal.abort(new Error('Already.')), tooLate: () => undefined })).rejects.toThrow('Already.');
  });
});
