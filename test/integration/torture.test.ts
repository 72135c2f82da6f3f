import { randomInt } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { kinds, type Kind } from '../torture/cases';
import { torture } from '../torture/torture';

/** All of them take minutes; so the seed says where in their round a run begins. */
const KINDS_PER_RUN = 3;
const turnsOf = (seed: number): readonly Kind[] => Array.from({ length: KINDS_PER_RUN }, (_, turn) => kinds[(seed + turn) % kinds.length] ?? 'kill');

describe('whatever is done to a handoff, the thread has one owner, nothing of it is lost, and nothing is left behind', () => {
  const seed = randomInt(2 ** 31);
  it(`(${turnsOf(seed).join(', ')}, by the seed ${seed})`, async () => {
    const said: string[] = [];
    const broken = await torture({ seed, turns: turnsOf(seed), count: KINDS_PER_RUN, say: (line) => said.push(line) });
    console.log(said.join('\n'));
    expect(broken, said.join('\n')).toBe(0);
  }, 600_000);
});
