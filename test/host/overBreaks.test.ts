import { describe, expect, it } from 'vitest';
import { HostError } from '../../src/host/hostError';
import { mayBeTakenUp, overBreaks } from '../../src/host/overBreaks';
import type { Clock } from '../../src/relay/clock';
import { RelayError } from '../../src/relay/relayError';

/** A clock that is moved on to the next thing that waits for it, as soon as something does. */
function hastyClock(): Clock & { readonly pauses: number[] } {
  let time = 0;
  const pauses: number[] = [];
  return {
    pauses,
    now: () => time,
    after: (milliseconds, action) => {
      pauses.push(milliseconds);
      let stopped = false;
      queueMicrotask(() => {
        if (stopped) return;
        time += milliseconds;
        action();
      });
      return () => {
        stopped = true;
      };
    },
  };
}

const lost = () => new HostError('connection-lost', 'It is gone.');
const never = new AbortController().signal;

it('tries again until it is through, and says each time that the connection is gone', async () => {
  const clock = hastyClock();
  const said: string[] = [];
  let tries = 0;
  const attempt = () => (++tries < 4 ? Promise.reject(tries === 2 ? new RelayError('channel-dead', 'Dead.') : lost()) : Promise.resolve('through'));
  expect(await overBreaks(attempt, { signal: never, clock, random: () => 0, onBreak: ({ reason }) => said.push(reason) })).toBe('through');
  expect(said).toEqual(['connection-lost', 'channel-dead', 'connection-lost']);
  expect(clock.pauses).toEqual([250, 500, 1000]);
});

it('waits longer and longer, within bounds, and not always as long', async () => {
  const clock = hastyClock();
  await overBreaks(() => Promise.reject(lost()), { signal: never, clock, random: Math.random, onBreak: () => undefined }).catch(() => undefined);
  expect(Math.max(...clock.pauses)).toBeLessThanOrEqual(15_000);
  expect(Math.min(...clock.pauses.slice(6))).toBeGreaterThanOrEqual(7500);
  expect(new Set(clock.pauses.slice(6)).size).toBeGreaterThan(1);
});

it('gives up after ten minutes in which nothing got through, with the reason', async () => {
  const clock = hastyClock();
  await expect(overBreaks(() => Promise.reject(new HostError('host-offline', 'server is not connected.')), { signal: never, clock, onBreak: () => undefined })).rejects.toMatchObject({ reason: 'host-offline', message: 'Nothing got through for 10 minutes: server is not connected.' });
  expect(clock.now()).toBeGreaterThanOrEqual(600_000);
  expect(clock.now()).toBeLessThan(620_000);
});

it('goes on for as long as something gets through now and then', async () => {
  const clock = hastyClock();
  let tries = 0;
  const attempt = (progressed: () => void) => {
    if (++tries % 20 === 0) progressed();
    return tries === 500 ? Promise.resolve() : Promise.reject(lost());
  };
  await overBreaks(attempt, { signal: never, clock, onBreak: () => undefined });
  expect(clock.now()).toBeGreaterThan(3_000_000);
});

it.each(['disk-full', 'no-such-handoff', 'protocol-mismatch', 'preflight-blocked', 'transfer-corrupt', 'no-such-host'] as const)('does not try again what failed with %s', async (reason) => {
  let tries = 0;
  const attempt = () => {
    tries++;
    return Promise.reject(new HostError(reason, 'No.'));
  };
  await expect(overBreaks(attempt, { signal: never, clock: hastyClock(), onBreak: () => undefined })).rejects.toMatchObject({ reason });
  expect(tries).toBe(1);
});

describe('a cancellation', () => {
  it('ends a pause at once', async () => {
    const abort = new AbortController();
    const idle: Clock = { now: () => 0, after: () => () => undefined };
    const waiting = overBreaks(() => Promise.reject(lost()), { signal: abort.signal, clock: idle, onBreak: () => setImmediate(() => abort.abort()) });
    await expect(waiting).rejects.toMatchObject({ reason: 'cancelled' });
  });

  it('is told from the break that it causes', async () => {
    const abort = new AbortController();
    const attempt = () => {
      abort.abort();
      return Promise.reject(lost());
    };
    await expect(overBreaks(attempt, { signal: abort.signal, clock: hastyClock(), onBreak: () => undefined })).rejects.toMatchObject({ reason: 'cancelled' });
  });
});

it('what came of a handoff is kept where it broke off, not where somebody or something refused it', () => {
  expect(['connection-lost', 'host-offline', 'relay-unreachable', 'interrupted', 'superseded'].filter(mayBeTakenUp)).toHaveLength(5);
  expect(['cancelled', 'disk-full', 'transfer-corrupt', 'corrupt-bundle', 'receipt-mismatch', 'hostile-content', ''].filter(mayBeTakenUp)).toEqual([]);
});
