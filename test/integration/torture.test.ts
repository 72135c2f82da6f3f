import { randomInt } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { torture } from '../torture/torture';

describe('whatever is done to a handoff, the thread has one owner, nothing of it is lost, and nothing is left behind', () => {
  it.each([
    ['a seed that stays the same', 1],
    ['another seed each time', randomInt(2 ** 31)],
  ])('(%s: %i)', async (_, seed) => {
    const said: string[] = [];
    const broken = await torture({ seed, count: 3, say: (line) => said.push(line) });
    console.log(said.join('\n'));
    expect(broken, said.join('\n')).toBe(0);
  }, 300_000);
});
