import { expect, it } from 'vitest';
import { systemClock, withSleep } from '../../src/relay/clock';

it('the time that a machine slept counts, and no more than that', () => {
  let [awake, asleep] = [500, 90_000];
  // In steps of a second.
  const now = withSleep(() => awake, () => Math.floor((awake + asleep) / 1000) * 1000);
  const start = now();
  for (let second = 0; second < 100; second += 0.3) {
    awake = 500 + second * 1000;
    expect(now() - start).toBeCloseTo(second * 1000);
  }
  const before = now();
  asleep += 3_600_000;
  awake += 5_000;
  expect(Math.abs(now() - before - 3_605_000)).toBeLessThan(2_000);
  const after = now();
  awake += 1_000;
  expect(now() - after).toBe(1_000);
});

it('the machine\'s own goes forward', () => {
  const before = systemClock.now();
  expect(systemClock.now()).toBeGreaterThanOrEqual(before);
});
