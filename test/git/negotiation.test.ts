import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createBundle } from '../../src/git/bundle';
import { captureWorkingState } from '../../src/git/capture';
import { reachableAmong } from '../../src/git/haves';
import { findCommon, QUESTION_LIMIT, QUESTIONS, type History } from '../../src/git/negotiation';
import { receiveBundle } from '../../src/git/quarantine';
import { git } from '../fixtures/checkout';
import { costOf, makePool, relate, relations } from '../fixtures/relatedClones';
import { agreedHaves } from './laboratory';

/** A repeatable source of numbers from 0 to 1 (a linear congruence; good enough to draw graphs with). */
function numbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** A history of `length` commits, the youngest first. `branching` is how often a commit merges, or begins elsewhere than at the one before it. */
function history(length: number, branching: number, seed: number): History {
  const draw = numbers(seed);
  const parents = Array.from({ length }, (_, position) => {
    const older = length - 1 - position;
    if (older === 0) return [];
    const near = () => position + 1 + Math.floor(Math.min(older - 1, (draw() ** 4) * 400));
    const first = draw() < branching ? near() : position + 1;
    return draw() < branching ? [...new Set([first, near()])] : [first];
  });
  return { commits: parents.map((_, position) => `c${position}`), parentsOf: (position) => parents[position] ?? [] };
}

/** Everything that the commits at some positions lead to. */
function reachable(of: History, from: readonly number[]): Set<string> {
  const seen = new Set<number>();
  for (const left = [...from]; left.length > 0;) {
    const position = left.pop() ?? 0;
    if (seen.has(position)) continue;
    seen.add(position);
    left.push(...of.parentsOf(position));
  }
  return new Set([...seen].map((position) => of.commits[position] ?? ''));
}

/** Negotiates with a side that has what `from` leads to, and counts. */
async function negotiate(of: History, from: readonly number[]) {
  const there = reachable(of, from);
  const questions: number[] = [];
  const found = await findCommon(of, (asked) => {
    expect(new Set(asked).size, 'nothing is asked twice in one question').toBe(asked.length);
    questions.push(asked.length);
    return Promise.resolve(asked.filter((commit) => there.has(commit)));
  });
  const agreed = reachable(of, found.map((commit) => Number(commit.slice(1))));
  return { questions, found, there, agreed, needless: there.size - agreed.size };
}

describe('two histories', () => {
  it('agree on nothing that is not there, in few questions of bounded size, whatever they look like', async () => {
    const cases = fc.record({ length: fc.integer({ min: 1, max: 5000 }), branching: fc.constantFrom(0, 0.05, 0.3, 0.8), seed: fc.nat(), from: fc.array(fc.double({ min: 0, max: 0.999, noNaN: true }), { maxLength: 4 }) });
    await fc.assert(fc.asyncProperty(cases, async ({ length, branching, seed, from }) => {
      const of = history(length, branching, seed);
      const { questions, there, agreed, needless } = await negotiate(of, from.map((part) => Math.floor(part * length)));
      expect([...agreed].every((commit) => there.has(commit))).toBe(true);
      expect(questions.length).toBeLessThanOrEqual(QUESTIONS);
      expect(Math.max(...questions)).toBeLessThanOrEqual(QUESTION_LIMIT);
      if (length <= QUESTION_LIMIT) expect(needless).toBe(0);
      expect(needless).toBeLessThanOrEqual(length / 50);
    }), { numRuns: 150 });
  });
  it.each([2000, 300_000])('find the very border in a straight line of %i commits, wherever it is', async (length) => {
    const of: History = { commits: Array.from({ length }, (_, position) => `c${position}`), parentsOf: (position) => (position + 1 < length ? [position + 1] : []) };
    for (const border of [0, 1, 200, Math.floor(length / 3), length - 2, length - 1]) {
      const { questions, found } = await negotiate({ ...of }, [border]);
      expect(found).toEqual([`c${border}`]);
      expect(questions.length).toBeLessThanOrEqual(3);
    }
  });
  it('that share nothing are told apart by one question', async () => {
    const { questions, found } = await negotiate(history(5000, 0.3, 7), []);
    expect([questions.length, found]).toEqual([1, []]);
  });
  it('are not asked about when nothing is open', async () => {
    expect(await findCommon(history(0, 0, 1), () => Promise.reject(new Error('nobody is to be asked')))).toEqual([]);
  });
  it('hear a side that answers nonsense, and trust it with nothing that they did not ask', async () => {
    const of = history(50, 0.3, 3);
    expect(await findCommon(of, () => Promise.resolve(['0'.repeat(40), 'c99999']))).toEqual([]);
  });
});

describe('a bundle holds what the destination lacks and no more', () => {
  let directory: string;
  let pool: string;
  beforeAll(async () => {
    directory = mkdtempSync(path.join(os.tmpdir(), 'baton-related-'));
    pool = await makePool(directory, 120, 90);
  });
  afterAll(() => { rmSync(directory, { recursive: true, force: true }); });
  const related = (name: string) => {
    const relation = relations.find((candidate) => candidate.name === name);
    if (relation === undefined) throw new Error(`There is no relation "${name}".`);
    return relate(pool, relation, mkdtempSync(path.join(directory, 'pair-')));
  };
  const receive = async (pair: Awaited<ReturnType<typeof related>>, haves: readonly string[]) => {
    const file = path.join(pair.capture.shadow, 'bundle');
    const { bytes, sha256, shallow } = await createBundle({ capture: pair.capture, haves, file });
    return receiveBundle({ root: pair.destination, file, bytes, sha256, shallow, tip: pair.capture.commits.manifest, quarantine: path.join(pair.capture.shadow, 'quarantine') });
  };

  it.each(relations.map(({ name }) => name))('where it is %s', async (name) => {
    const pair = await related(name);
    const { bytes, estimate, questions, ideal, newData } = await costOf(pair);
    expect(bytes).toBeLessThan(ideal * 1.01);
    // There most of what is new is not contents of files but thirty commits with their trees.
    if (name !== 'a fork from long ago') expect(bytes).toBeLessThan(newData * 1.1);
    expect(questions).toBeLessThanOrEqual(name === 'up to date' ? 0 : 2);
    expect(estimate).toBe(bytes);
    expect((await receive(pair, await agreedHaves(pair.capture, pair.destination))).fingerprint).toBe(pair.capture.fingerprint);
  });
  it('also where the source answers from a bitmap', async () => {
    const pair = await related('ahead');
    await git(pair.source, 'repack', '-q', '-a', '-d', '-b');
    const { bytes, newData } = await costOf(pair);
    expect(bytes).toBeLessThan(newData * 1.1);
  });
  it('also where what the destination has is merely lying about and leads from no ref', async () => {
    const pair = await related('up to date');
    await git(pair.destination, 'update-ref', '-d', 'refs/heads/main');
    const asked = [(await git(pair.source, 'rev-parse', 'HEAD')).trim()];
    expect(await reachableAmong(pair.destination, asked)).toEqual([]);
    expect((await receive(pair, await agreedHaves(pair.capture, pair.destination))).fingerprint).toBe(pair.capture.fingerprint);
    await git(pair.destination, 'worktree', 'add', '-q', '--no-checkout', '--detach', path.join(path.dirname(pair.destination), 'other'), asked[0] ?? '');
    expect(await reachableAmong(pair.destination, asked), 'a worktree is as good as a ref').toEqual(asked);
  });
  it('also where history was merged from elsewhere more often than a bundle may say', async () => {
    const pair = await related('up to date');
    // Two branches into which the same thousands of commits were merged one by one; the destination has the other one.
    const merges = 4200;
    const commit = (branch: string, number: number, parents: string) => `commit refs/heads/${branch}\nmark :${number}\ncommitter A <a@b> 1900000000 +0000\ndata 5\n${10_000 + number}${parents}\n\n`;
    const base = (await git(pair.source, 'rev-parse', 'HEAD')).trim();
    const merging = (branch: string, first: number) => Array.from({ length: merges }, (_, number) => commit(branch, first + number, `${number === 0 ? `\nfrom ${base}` : ''}\nmerge :${1 + number}`)).join('');
    const side = Array.from({ length: merges }, (_, number) => commit('side', 1 + number, `\nfrom ${base}`)).join('');
    execFileSync('git', ['fast-import', '--quiet', '--force'], { cwd: pair.source, input: side + merging('main', 5001) + merging('other', 10_001) });
    await git(pair.destination, 'fetch', '-q', pair.source, 'refs/heads/other:refs/heads/other');
    const capture = await captureWorkingState({ root: pair.source, spool: path.join(path.dirname(pair.source), 'merged') });
    const merged = { ...pair, capture };
    expect((await receive(merged, await agreedHaves(capture, pair.destination))).fingerprint).toBe(capture.fingerprint);
  });
});
