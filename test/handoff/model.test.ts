/**
 * The handoff explored to its end: every order of the hosts' steps, with messages lost, repeated, reordered and late, hosts
 * down and restarted, handoffs cancelled at every step, destinations that hold something else than was sent, destinations
 * that are wiped, and threads that are reclaimed from hosts that then come back.
 *
 * Bounds: one thread; so many hosts, handoffs begun, reclaims and wipes as each exploration says.
 * A message is never garbled (the channel sees to that).
 */
import { describe, expect, it } from 'vitest';
import { outcomeFor } from '../../src/handoff/answers';
import { emptyLedger, isMoving, reduceLedgerDestination, reduceLedgerOwner, reduceLedgerSource, weigh, type Ledger } from '../../src/handoff/ownership';
import { mayGiveUp } from '../../src/handoff/destinationTransaction';
import { placement } from './examples';
import { canReclaim, captured, forget, initialState, origin, owns, runs, shippedRules, stepsOf, type Bound, type ModelState, type Rules, type Step } from './handoffModel';

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
function explore(bound: Bound, rules: Rules = shippedRules): Exploration {
  forget();
  // Equal ledgers are one object in the model.
  const ledgerNumbers = new Map<ModelState['ledgers'][number], number>();
  const numberOf = (ledger: ModelState['ledgers'][number]): number => {
    const number = ledgerNumbers.get(ledger) ?? ledgerNumbers.size;
    ledgerNumbers.set(ledger, number);
    return number;
  };
  const keyOf = ({ ledgers, messages, wiped, handoffs, reclaims }: ModelState): string => `${ledgers.map(numberOf).join(' ')} ${messages.toString(36)} ${wiped.join('')}/${handoffs}/${reclaims}`;

  const start = initialState(bound);
  const indexes = new Map([[keyOf(start), 0]]);
  const states: ModelState[] = [start];
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
      steps = stepsOf(state, bound, rules);
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
      const unsettled = unsettledRule(state);
      if (unsettled !== null) return report(`nothing is left to do, ${unsettled}`, index, 'end');
    }
  }
  return { states: states.length, steps: edges, settled, violation: null, progressEnds: isAcyclic(progressEdges) };
}

const hostsOf = ({ ledgers }: ModelState): number[] => [...ledgers.keys()];

/** A host that waits for what will not come gives that up first; it has not got it. */
const waits = ({ destination, movedTo }: Ledger): boolean => mayGiveUp(destination) && movedTo !== null;

/** What is wrong where every host is up and has heard all; null where nothing is. */
function unsettledRule(state: ModelState): string | null {
  const running = hostsOf(state).filter((host) => runs(state, host)).length;
  if (state.wiped.length === 0) return running !== 1 || state.ledgers.some(isMoving) ? `${running} hosts may run the thread` : null;
  // What was wiped is gone; who handed it there can take the thread back.
  if (running > 1) return `${running} hosts may run the thread`;
  return running === 0 && !state.ledgers.some((ledger) => canReclaim(ledger) || waits(ledger)) ? 'no host may run the thread, and none can take it back' : null;
}

/** The first of the rules that a step breaks. */
function brokenRule(before: ModelState, after: ModelState): string | null {
  const owners = hostsOf(after).filter((host) => owns(after, host));
  // A host that was reclaimed from does not know of it yet: the only way to a second owner, and by that the user was asked.
  if (owners.length > 1 + after.reclaims) return `${owners.length} hosts take themselves for the owner`;
  const lines = owners.map((host) => Math.floor((after.ledgers[host]?.epoch ?? 0) / 1000));
  if (after.reclaims < 2 && new Set(lines).size < lines.length) return 'two hosts take themselves for the owner, and neither reclaimed the thread';
  for (const host of hostsOf(after)) {
    const [was, ledger] = [before.ledgers[host], after.ledgers[host]];
    if (was === undefined || ledger === undefined) continue;
    const wiped = after.wiped.includes(host);
    if (ledger.epoch < was.epoch && !wiped) return 'an epoch fell';
    if (owns(before, host) && !owns(after, host) && ledger.source.is !== 'committed' && ledger.due !== 'keep' && !wiped) return 'an owner was reclaimed from and keeps nothing';
    const { source, destination } = ledger;
    if (destination.is === 'committed' || destination.is === 'active') {
      if (destination.receipt.holdings.workingState !== captured(destination.handoffId).workingState) return 'a thread goes on with something else than was captured';
      const from = hostNamed(after, destination.source);
      const reclaimed = ledger.epoch - destination.epoch >= 1000 - 10;
      if (!reclaimed && !from.wiped && from.epoch < destination.epoch) return 'a destination took a thread that its source did not commit';
    }
    if (source.is === 'committed') {
      if (source.receipt.holdings.workingState !== captured(source.handoffId).workingState) return 'a source let go of what the destination does not hold';
      const there = hostNamed(after, source.destination);
      const keptThere = 'receipt' in there.destination && there.destination.handoffId === source.handoffId;
      if (!keptThere && !there.wiped && there.epoch < source.epoch) return 'a source committed and the destination threw everything away';
    }
  }
  return null;
}

function hostNamed(state: ModelState, hostId: string) {
  const host = ['laptop', 'server', 'audit'].indexOf(hostId);
  return { ...(state.ledgers[host] ?? emptyLedger), wiped: state.wiped.includes(host) };
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

/**
 * Larger ones take minutes: BATON_MODEL=large. Not among them: three hosts of which the middle one is wiped. Then nobody is left who could pass
 * a reclaim on to the third, which learns of it only by asking, as a host does when it starts; the model has no such question.
 */
const bounds: readonly Bound[] = process.env['BATON_MODEL'] === 'large'
  ? [
      { hosts: 2, handoffs: 3, reclaims: 1, wipes: 0 },
      { hosts: 2, handoffs: 2, reclaims: 2, wipes: 1 },
      { hosts: 3, handoffs: 2, reclaims: 2, wipes: 0 },
    ]
  : [
      { hosts: 2, handoffs: 3, reclaims: 0, wipes: 0 },
      { hosts: 3, handoffs: 2, reclaims: 0, wipes: 0 },
      { hosts: 2, handoffs: 2, reclaims: 1, wipes: 1 },
      { hosts: 3, handoffs: 2, reclaims: 1, wipes: 0, damage: false },
    ];
const minutes = 60_000;

describe('hosts that hand a thread about', () => {
  it.each(bounds)('never both own it, never lose it, and always settle on one: $hosts hosts, $handoffs handoffs, $reclaims reclaims, $wipes wiped', (bound) => {
    const began = performance.now();
    const { states, steps, settled, violation, progressEnds } = explore(bound);
    console.log(`Model: ${states} states, ${steps} steps, ${settled} settled; ${JSON.stringify(bound)}, ${Math.round(performance.now() - began)} ms.`);
    expect(violation).toBeNull();
    expect(progressEnds).toBe(true);
    expect(states).toBeGreaterThan(1000);
    expect(settled).toBeGreaterThan(1);
  }, 30 * minutes);

  it('begin with the thread at its origin alone', () => {
    const start = initialState({ hosts: 3 });
    expect([0, 1, 2].filter((host) => runs(start, host))).toEqual([origin]);
  });

  it('reach every state of a handoff on both sides, so that the exploration is about something', () => {
    forget();
    const seen = new Set<string>();
    const start = initialState({ hosts: 2 });
    const queue = [start];
    const known = new Set<string>();
    for (let state = queue.pop(); state !== undefined; state = queue.pop()) {
      for (const { source, destination, due } of state.ledgers) seen.add(`source ${source.is}`).add(`destination ${destination.is}`).add(`due ${due ?? 'nothing'}`);
      for (const { next } of stepsOf(state, { hosts: 2, handoffs: 1, reclaims: 1, wipes: 0 })) {
        const key = JSON.stringify(next.ledgers) + next.messages.toString(36);
        if (!known.has(key)) queue.push(next);
        known.add(key);
      }
    }
    const sourceStates = ['none', 'quiescing', 'capturing', 'transferring', 'staging', 'prepared', 'committed', 'closed', 'revoked', 'undoing', 'aborted'];
    const destinationStates = ['none', 'receiving', 'prepared', 'committed', 'active', 'withdrawing', 'withdrawn'];
    expect([...seen].sort()).toEqual([...sourceStates.map((is) => `source ${is}`), ...destinationStates.map((is) => `destination ${is}`), 'due nothing', 'due take', 'due keep'].sort());
  });
});

describe('the model finds', () => {
  const twice: Bound = { hosts: 2, handoffs: 3, reclaims: 0, wipes: 0 };
  const reclaimed: Bound = { hosts: 2, handoffs: 2, reclaims: 1, wipes: 0 };
  const ring: Bound = { hosts: 3, handoffs: 2, reclaims: 1, wipes: 0 };
  const seeded: readonly { readonly bug: string; readonly bound: Bound; readonly rules: Partial<Rules>; readonly finds: RegExp }[] = [
    {
      bug: 'a source that takes any receipt for the right one',
      bound: twice,
      rules: {
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
      bound: twice,
      rules: {
        destination: (ledger, event) => {
          const next = reduceLedgerDestination(ledger, event);
          return next.destination.is === 'prepared' && event.type === 'prepared'
            ? { ...next, destination: { ...next.destination, is: 'active', placement }, movedTo: null, epoch: next.destination.epoch }
            : next;
        },
      },
      finds: /2 hosts|did not commit/,
    },
    { bug: 'a destination that gives up on its own after it gave its receipt', bound: twice, rules: { givesUpWhenPrepared: true }, finds: /threw everything away/ },
    { bug: 'a destination that takes a late offer for the withdrawal of what it holds', bound: twice, rules: { offerOverEarlier: 'supersede' }, finds: /threw everything away/ },
    {
      bug: 'a source that does not count a returned thread as delivered',
      bound: twice,
      rules: { destination: (ledger, event) => ({ ...reduceLedgerDestination(ledger, event), source: ledger.source }) },
      finds: /refused/,
    },
    {
      bug: 'a source that is undone after it committed',
      bound: twice,
      rules: {
        source: (ledger, event) =>
          event.type === 'letGo' && ledger.source.is === 'committed' ? { ...ledger, movedTo: null, source: { ...ledger.source, is: 'undoing', reason: 'bug', message: 'bug' } } : reduceLedgerSource(ledger, event),
      },
      finds: /2 hosts|nothing is left to do/,
    },
    {
      bug: 'a source that answers only the host to which its last handoff goes',
      bound: { hosts: 3, handoffs: 2, reclaims: 0, wipes: 0 },
      rules: { outcome: (ledger, handoffId, asker) => ('destination' in ledger.source && ledger.source.destination === asker ? outcomeFor(ledger, handoffId, asker) : 'undecided') },
      finds: /nothing is left to do, 1 hosts may run/,
    },
    {
      bug: 'a reclaim that raises the epoch by one only, which the lost host reaches as well',
      bound: ring,
      rules: { owner: (ledger, event) => (event.type === 'reclaimed' ? { ...reduceLedgerOwner(ledger, event), epoch: ledger.epoch + 1 } : reduceLedgerOwner(ledger, event)) },
      finds: /neither reclaimed|2 hosts may run|keeps nothing/,
    },
    {
      bug: 'a reclaim of which the lost host is not told',
      bound: reclaimed,
      rules: { owner: (ledger, event) => (event.type === 'reclaimed' ? { ...reduceLedgerOwner(ledger, event), untold: [] } : reduceLedgerOwner(ledger, event)) },
      finds: /2 hosts may run/,
    },
    {
      bug: 'a host that does not pass on that the thread which it handed on was reclaimed',
      bound: ring,
      rules: { owner: (ledger, event) => (event.type === 'superseded' ? { ...reduceLedgerOwner(ledger, event), untold: [] } : reduceLedgerOwner(ledger, event)) },
      finds: /2 hosts may run/,
    },
    {
      bug: 'a host that throws away what it has when it hears that the thread was reclaimed',
      bound: reclaimed,
      rules: { owner: (ledger, event) => (event.type === 'superseded' ? { ...reduceLedgerOwner(ledger, event), due: null } : reduceLedgerOwner(ledger, event)) },
      finds: /keeps nothing/,
    },
    {
      bug: 'a reclaim that leaves its own unacknowledged handoff open',
      bound: reclaimed,
      rules: { owner: (ledger, event) => (event.type === 'reclaimed' ? { ...reduceLedgerOwner(ledger, event), source: ledger.source } : reduceLedgerOwner(ledger, event)) },
      finds: /refused|may run|committed/,
    },
    {
      bug: 'hosts that do not agree on which of two reclaims holds',
      bound: { hosts: 3, handoffs: 2, reclaims: 2, wipes: 0 },
      rules: { weigh: (ledger, self, teller, told) => (told.epoch === ledger.epoch && told.owner.hostId !== (ledger.movedTo?.hostId ?? self.hostId) ? 'same' : weigh(ledger, self, teller, told)) },
      finds: /2 hosts may run/,
    },
  ];

  it.each(seeded)('$bug', ({ rules, bound, finds }) => {
    const { violation } = explore(bound, { ...shippedRules, ...rules });
    expect(violation?.rule).toMatch(finds);
    expect(violation?.trace.length).toBeGreaterThan(3);
  }, 5 * minutes);
});
