/**
 * The handoff explored to its end: every order of both hosts' steps, with messages lost, repeated, reordered and late, hosts
 * down and restarted, handoffs cancelled at every step, and destinations that hold something else than was sent.
 *
 * Bound: two hosts, one thread, at most `maxHandoffs` handoffs begun, in either direction. A message is never garbled (the
 * channel sees to that), and no host loses its ledger (a wiped host is for the user to decide, not for the transaction).
 */
import { describe, expect, it } from 'vitest';
import { reduceLedgerDestination, reduceLedgerSource, isMoving } from '../../src/handoff/ownership';
import { placement } from './examples';
import { captured, initialState, origin, owns, runs, shippedRules, stepsOf, type ModelState, type Rules, type Step } from './handoffModel';

const maxHandoffs = 3;
const hosts = [0, 1] as const;

interface Exploration {
  readonly states: number;
  readonly steps: number;
  /** Ends of the exploration: states in which nothing is left to be brought to an end. */
  readonly settled: number;
  readonly violation: { readonly rule: string; readonly trace: readonly string[] } | null;
  /** Whether bringing things to an end always comes to an end. */
  readonly progressEnds: boolean;
}

/** Breadth first, so that the trace to a violation is a shortest one. Stops at the first violation. */
function explore(handoffs: number, rules: Rules = shippedRules): Exploration {
  // Equal ledgers are one object in the model.
  const ledgerNumbers = new Map<ModelState['ledgers'][0], number>();
  const numberOf = (ledger: ModelState['ledgers'][0]): number => {
    const number = ledgerNumbers.get(ledger) ?? ledgerNumbers.size;
    ledgerNumbers.set(ledger, number);
    return number;
  };
  const keyOf = ({ ledgers, messages }: ModelState): string => `${numberOf(ledgers[0])} ${numberOf(ledgers[1])} ${messages.toString(36)}`;

  const indexes = new Map([[keyOf(initialState), 0]]);
  const states: ModelState[] = [initialState];
  const cameBy: { readonly from: number; readonly step: string }[] = [{ from: -1, step: 'start' }];
  const progressEdges: number[][] = [];
  let edges = 0;
  let settled = 0;
  const traceTo = (index: number, last: string): string[] => {
    const trace = [last];
    for (let at = index; at > 0; at = cameBy[at]?.from ?? 0) trace.unshift(cameBy[at]?.step ?? '');
    return trace;
  };
  const report = (rule: string, index: number, last: string): Exploration => ({ states: states.length, steps: edges, settled, violation: { rule, trace: traceTo(index, last) }, progressEnds: false });

  for (let index = 0; index < states.length; index++) {
    const state = states[index];
    if (state === undefined) break;
    let steps: Step[];
    try {
      steps = stepsOf(state, handoffs, rules);
    } catch (error) {
      return report(`a possible step was refused: ${String(error)}`, index, '');
    }
    const onward: number[] = [];
    for (const { name, progress, next } of steps) {
      edges++;
      const broken = brokenRule(state, next);
      if (broken !== null) return report(broken, index, name);
      const key = keyOf(next);
      let target = indexes.get(key);
      if (target === undefined) {
        target = states.push(next) - 1;
        indexes.set(key, target);
        cameBy.push({ from: index, step: name });
      }
      if (progress && target !== index) onward.push(target);
    }
    progressEdges.push(onward);
    if (onward.length === 0) {
      settled++;
      const running = hosts.filter((host) => runs(state, host)).length;
      if (running !== 1 || state.ledgers.some(isMoving)) return report(`nothing is left to do, ${running} hosts may run the thread`, index, 'end');
    }
  }
  return { states: states.length, steps: edges, settled, violation: null, progressEnds: isAcyclic(progressEdges) };
}

/** The first of the rules that a step breaks. */
function brokenRule(before: ModelState, after: ModelState): string | null {
  if (runs(after, 0) && runs(after, 1)) return 'both hosts may run turns';
  if (owns(after, 0) && owns(after, 1)) return 'both hosts take themselves for the owner';
  for (const host of hosts) {
    const [was, ledger, there] = [before.ledgers[host], after.ledgers[host], after.ledgers[host === 0 ? 1 : 0]];
    if (ledger.epoch < was.epoch) return 'an epoch fell';
    if (ledger.epoch > 0 && ledger.epoch === there.epoch && ledger.movedTo === null && there.movedTo === null) return 'two owners at one epoch';
    const { source, destination } = ledger;
    if (destination.is === 'committed' || destination.is === 'active') {
      if (there.epoch < destination.epoch) return 'a destination took a thread that its source did not commit';
      if (destination.receipt.holdings.workingState !== captured(destination.handoffId).workingState) return 'a thread goes on with something else than was captured';
    }
    if (source.is === 'committed') {
      if (source.receipt.holdings.workingState !== captured(source.handoffId).workingState) return 'a source let go of what the destination does not hold';
      const held = there.destination;
      const keptThere = 'receipt' in held && held.handoffId === source.handoffId;
      if (!keptThere && there.epoch < source.epoch) return 'a source committed and the destination threw everything away';
    }
  }
  return null;
}

/** Kahn's algorithm: whether every path ends. */
function isAcyclic(edges: readonly (readonly number[])[]): boolean {
  const incoming = new Int32Array(edges.length);
  for (const targets of edges) for (const target of targets) incoming[target] = (incoming[target] ?? 0) + 1;
  const free = [...edges.keys()].filter((node) => incoming[node] === 0);
  let removed = 0;
  for (let node = free.pop(); node !== undefined; node = free.pop()) {
    removed++;
    for (const target of edges[node] ?? []) {
      incoming[target] = (incoming[target] ?? 0) - 1;
      if (incoming[target] === 0) free.push(target);
    }
  }
  return removed === edges.length;
}

describe('two hosts that hand a thread to and fro', () => {
  it(`never both own it, never lose it, and always settle on one, in every order of up to ${maxHandoffs} handoffs`, () => {
    const began = performance.now();
    const { states, steps, settled, violation, progressEnds } = explore(maxHandoffs);
    console.log(`Model: ${states} states, ${steps} steps, ${settled} settled, ${maxHandoffs} handoffs, ${Math.round(performance.now() - began)} ms.`);
    expect(violation).toBeNull();
    expect(progressEnds).toBe(true);
    expect(states).toBeGreaterThan(1000);
    expect(settled).toBeGreaterThan(1);
  });

  it('begin with the thread at its origin alone', () => {
    expect(hosts.filter((host) => runs(initialState, host))).toEqual([origin]);
  });

  it('reach every state of a handoff on both sides, so that the exploration is about something', () => {
    const seen = new Set<string>();
    const queue = [initialState];
    const known = new Set<string>();
    for (let state = queue.pop(); state !== undefined; state = queue.pop()) {
      for (const { source, destination } of state.ledgers) seen.add(`source ${source.is}`).add(`destination ${destination.is}`);
      for (const { next } of stepsOf(state, 1)) {
        const key = JSON.stringify(next.ledgers) + next.messages.toString(36);
        if (!known.has(key)) queue.push(next);
        known.add(key);
      }
    }
    const sourceStates = ['none', 'quiescing', 'capturing', 'transferring', 'staging', 'prepared', 'committed', 'closed', 'undoing', 'aborted'];
    const destinationStates = ['none', 'receiving', 'prepared', 'committed', 'active', 'withdrawing', 'withdrawn'];
    expect([...seen].sort()).toEqual([...sourceStates.map((is) => `source ${is}`), ...destinationStates.map((is) => `destination ${is}`)].sort());
  });
});

describe('the model finds', () => {
  const seeded: { readonly bug: string; readonly rules: Rules; readonly finds: RegExp }[] = [
    {
      bug: 'a source that takes any receipt for the right one',
      rules: {
        ...shippedRules,
        source: (ledger, event) => {
          if (event.type !== 'receipt' || ledger.source.is !== 'staging') return reduceLedgerSource(ledger, event);
          const { handoffId, threadId, source, destination, destinationName, epoch, holdings } = ledger.source;
          return { ...ledger, source: { is: 'prepared', handoffId, threadId, source, destination, destinationName, epoch, holdings, receipt: event.receipt } };
        },
      },
      finds: /does not hold|something else/,
    },
    {
      bug: 'a destination that activates as soon as it is prepared',
      rules: {
        ...shippedRules,
        destination: (ledger, event) => {
          const next = reduceLedgerDestination(ledger, event);
          return next.destination.is === 'prepared' && event.type === 'prepared'
            ? { ...next, destination: { ...next.destination, is: 'active', placement }, movedTo: null, epoch: next.destination.epoch }
            : next;
        },
      },
      finds: /both hosts|did not commit/,
    },
    {
      bug: 'a destination that gives up on its own after it gave its receipt',
      rules: { ...shippedRules, givesUpWhenPrepared: true },
      finds: /threw everything away/,
    },
    {
      bug: 'a destination that takes a late offer for the withdrawal of what it holds',
      rules: { ...shippedRules, offerOverEarlier: 'supersede' },
      finds: /threw everything away/,
    },
    {
      bug: 'a source that does not count a returned thread as delivered',
      rules: {
        ...shippedRules,
        destination: (ledger, event) => ({ ...reduceLedgerDestination(ledger, event), source: ledger.source }),
      },
      finds: /refused/,
    },
    {
      bug: 'a source that is undone after it committed',
      rules: {
        ...shippedRules,
        source: (ledger, event) =>
          event.type === 'letGo' && ledger.source.is === 'committed' ? { ...ledger, movedTo: null, source: { ...ledger.source, is: 'undoing', reason: 'bug', message: 'bug' } } : reduceLedgerSource(ledger, event),
      },
      finds: /both hosts|nothing is left to do/,
    },
  ];

  it.each(seeded)('$bug', ({ rules, finds }) => {
    const { violation } = explore(maxHandoffs, rules);
    expect(violation?.rule).toMatch(finds);
    expect(violation?.trace.length).toBeGreaterThan(3);
  });
});
