/**
 * Hosts that hand one thread about, as a graph of states to be explored to its end.
 *
 * What happens on a host is an event put to the reducers that ship; what it says and answers follows from its ledger.
 * Messages: the network is a set that only grows. Any message that was ever said may be heard at any time, again, late, in
 * any order, or never; so loss, duplication, reordering and delay need no steps of their own.
 * Crashes: a host keeps nothing but its ledger, and each step is one journal write, so a host that is down is one that does
 * not step, and a restart is what it does first: `sourceRecovery` at the source, a question to the source at the destination.
 * Both may happen in every state. A host that is gone for good is one that never steps again, or one that is wiped.
 */
import { answerToCommit, outcomeFor } from '../../src/handoff/answers';
import type { Claim, OwnerEvent } from '../../src/handoff/claim';
import { mayGiveUp, type DestinationEvent } from '../../src/handoff/destinationTransaction';
import { HandoffError } from '../../src/handoff/handoffError';
import { claimOf, emptyLedger, mayRun, nextReclaim, reduceLedgerDestination, reduceLedgerOwner, reduceLedgerSource, weigh, type Ledger } from '../../src/handoff/ownership';
import { receiptHash, type Holdings, type Receipt } from '../../src/handoff/receipt';
import { sourceRecovery, type HandoffIdentity, type SourceEvent } from '../../src/handoff/sourceTransaction';
import { placement } from './examples';

const hostIds = ['laptop', 'server', 'audit'] as const;
/** Index of a host. */
export type Host = number;
export const origin: Host = 0;
const selfOf = (host: Host) => ({ hostId: hostIds[host] ?? '', name: hostIds[host] ?? '' });
const hostOf = (hostId: string): Host => hostIds.indexOf(hostId as 'laptop');

/** How far the exploration goes. */
export interface Bound {
  readonly hosts: 2 | 3;
  readonly handoffs: number;
  readonly reclaims: number;
  readonly wipes: number;
  /** Whether a destination may hold something else than was sent; yes unless it says no. */
  readonly damage?: false;
}

export interface ModelState {
  readonly ledgers: readonly Ledger[];
  /** Hosts that lost their ledger and their copy of the thread. */
  readonly wiped: readonly Host[];
  /** All that was ever said: bit n stands for message n of `said`. */
  readonly messages: bigint;
  readonly handoffs: number;
  readonly reclaims: number;
}

export interface Step {
  readonly name: string;
  /** Whether the step belongs to bringing things to an end: no fault, no restart, no new handoff, no stale message. */
  readonly progress: boolean;
  readonly next: ModelState;
}

/** The rules of one host; tests replace one of them to see whether the model notices. */
export interface Rules {
  readonly source: (ledger: Ledger, event: SourceEvent) => Ledger;
  readonly destination: (ledger: Ledger, event: DestinationEvent) => Ledger;
  readonly owner: (ledger: Ledger, event: OwnerEvent) => Ledger;
  readonly weigh: typeof weigh;
  readonly outcome: typeof outcomeFor;
  /** What a destination does with an offer while it holds an earlier handoff of the same source. */
  readonly offerOverEarlier: 'refuse' | 'supersede';
  /** Whether a destination that gave its receipt may give up without the source's word. */
  readonly givesUpWhenPrepared: boolean;
}

export const shippedRules: Rules = {
  source: reduceLedgerSource,
  destination: reduceLedgerDestination,
  owner: reduceLedgerOwner,
  weigh,
  outcome: outcomeFor,
  offerOverEarlier: 'refuse',
  givesUpWhenPrepared: false,
};

export const initialState = ({ hosts }: Pick<Bound, 'hosts'>): ModelState => ({ ledgers: Array.from({ length: hosts }, () => emptyLedger), wiped: [], messages: 0n, handoffs: 0, reclaims: 0 });

type Message = { readonly from: Host; readonly to: Host } & (
  | { readonly says: 'begin' | 'prepare'; readonly handoff: HandoffIdentity; readonly trail: readonly string[] }
  | { readonly says: 'accepted' | 'refused' | 'withdraw' | 'ask' | 'aborted' | 'acknowledged'; readonly handoffId: string }
  | { readonly says: 'receipt'; readonly receipt: Receipt }
  | { readonly says: 'commit'; readonly handoffId: string; readonly epoch: number; readonly receiptHash: string }
  | { readonly says: 'claim' | 'heard'; readonly claim: Claim }
);

const channelOf = (handoffId: string): string => handoffId.repeat(2);
/** What the source captures in a handoff: another working state each time. */
export const captured = (handoffId: string): Holdings => ({ workingState: handoffId.repeat(2), head: null, rollouts: [], thread: '0'.repeat(64) });
/** What a destination holds whose disk or code lost something. */
const damaged = (handoffId: string): Holdings => ({ ...captured(handoffId), workingState: 'f'.repeat(64) });
const fork = 'fork';

const ledgerOf = ({ ledgers }: ModelState, host: Host): Ledger => ledgers[host] ?? emptyLedger;
/** Whether a host may run turns. A ledger at epoch 0 speaks of ownership only on the host that had the thread to begin with. */
export const runs = (state: ModelState, host: Host): boolean => mayRun(ledgerOf(state, host)) && has(state, host);
/** Whether a host's ledger says that the thread is its own, moving or not. */
export const owns = (state: ModelState, host: Host): boolean => ledgerOf(state, host).movedTo === null && has(state, host);
const has = (state: ModelState, host: Host): boolean => ledgerOf(state, host).epoch > 0 || (host === origin && !state.wiped.includes(host));

/** Every step that is possible in a state, within the bound. */
export function stepsOf(state: ModelState, bound: Bound, rules: Rules = shippedRules): Step[] {
  const steps: Step[] = [];
  const add = (host: Host, { name, progress, ledger }: Change, change: Partial<ModelState> = {}) => {
    const ledgers = state.ledgers.map((before, index) => (index === host ? ledger : before));
    const next = { ...state, ...change, ledgers };
    steps.push({ name: `${selfOf(host).name}: ${name}`, progress, next: { ...next, messages: withAllSaid(next, host, rules) } });
  };
  for (const [host, ledger] of state.ledgers.entries()) {
    if (runs(state, host) && state.handoffs < bound.handoffs) {
      for (const to of state.ledgers.keys()) {
        if (to === host) continue;
        const identity = { handoffId: String(state.handoffs + 1).padStart(32, '0'), threadId: 'thread', source: selfOf(host).hostId, destination: selfOf(to).hostId, destinationName: selfOf(to).name, epoch: ledger.epoch + 1 };
        add(host, changed(`begin to ${selfOf(to).name}`, false, rules.source(ledger, { type: 'begun', ...identity })), { handoffs: state.handoffs + 1 });
      }
    }
    for (const change of remembered(ledger, 'acts', () => act(ledger, rules))) add(host, change);
    if (state.reclaims < bound.reclaims && canReclaim(ledger)) add(host, changed('reclaim', false, rules.owner(ledger, { type: 'reclaimed', epoch: nextReclaim(ledger) })), { reclaims: state.reclaims + 1 });
    if (state.wiped.length < bound.wipes && isDestinationOf(state, host)) {
      // Its key is gone with the rest, so nobody hears what was said to it.
      const lost = messagesIn(state.messages).filter(({ to }) => to === host);
      add(host, changed('is wiped', false, emptyLedger), { wiped: [...state.wiped, host], messages: lost.reduce((bits, message) => bits & ~bitOf(message), state.messages) });
    }
  }
  for (const message of messagesIn(state.messages)) {
    const ledger = ledgerOf(state, message.to);
    const expected = isExpected(state, message);
    const inPlace = has(state, message.to);
    const heard = remembered(ledger, `hears ${numberOf(message)} ${expected} ${inPlace}`, () => hear(ledger, message, { expected, inPlace, damage: bound.damage !== false }, rules).map(({ ledger: next, progress }) => changed(`hears ${message.says} of ${selfOf(message.from).name}`, progress, next)));
    for (const change of heard) add(message.to, change);
  }
  return steps;
}

/** What a step does to its host. */
interface Change {
  readonly name: string;
  readonly progress: boolean;
  readonly ledger: Ledger;
}
const changed = (name: string, progress: boolean, ledger: Ledger): Change => ({ name, progress, ledger: unique(ledger) });

/** What a host may do by itself. */
function act(ledger: Ledger, rules: Rules): Change[] {
  const { source, destination, due } = ledger;
  const changes: Change[] = [];
  const journal = (event: SourceEvent, progress = true, name: string = event.type) => changes.push(changed(name, progress, rules.source(ledger, event)));
  const recovery = sourceRecovery(source);
  if (recovery !== null) journal(recovery, false, 'restart or cancel');
  if (source.is === 'quiescing') journal({ type: 'quiesced' });
  if (source.is === 'capturing') journal({ type: 'captured', holdings: captured(source.handoffId) });
  if (source.is === 'prepared') journal({ type: 'committed' });
  if (source.is === 'committed' && !source.letGo) journal({ type: 'letGo' });
  if (source.is === 'undoing') journal({ type: 'undone' });

  const take = (event: DestinationEvent, progress = true, name: string = event.type) => changes.push(changed(name, progress, rules.destination(ledger, event)));
  if (destination.is === 'committed') take({ type: 'activated', placement });
  if (destination.is === 'withdrawing') take({ type: 'discarded' });
  if (mayGiveUp(destination) || (destination.is === 'prepared' && rules.givesUpWhenPrepared)) take({ type: 'withdrawn', reason: 'failed here' }, false, 'gives up');
  if (due !== null) changes.push(changed(due, true, rules.owner(ledger, { type: due === 'take' ? 'taken' : 'kept' })));
  return changes;
}

/** Whether another host is handing the thread to this one, or has: the host that a wipe hits has not got what nobody else has. */
const isDestinationOf = (state: ModelState, host: Host): boolean => state.ledgers.some(({ source, movedTo }) => ('destination' in source && hostOf(source.destination) === host) || (movedTo !== null && hostOf(movedTo.hostId) === host));

/** Whether the user could take the thread back on this host. */
export function canReclaim(ledger: Ledger): boolean {
  try {
    reduceLedgerOwner(ledger, { type: 'reclaimed', epoch: nextReclaim(ledger) });
    return true;
  } catch (error) {
    if (HandoffError.is(error)) return false;
    throw error;
  }
}

/** Whether a sender still waits for what it said; else it is a late or repeated message. */
function isExpected(state: ModelState, message: Message): boolean {
  if (message.says !== 'begin') return true;
  const { source } = ledgerOf(state, message.from);
  return source.is === 'transferring' && source.handoffId === message.handoff.handoffId;
}

interface Hearing {
  readonly expected: boolean;
  /** The thread is on the host. */
  readonly inPlace: boolean;
  /** What is restored may be damaged. */
  readonly damage: boolean;
}

/** What hearing a message does to the ledger of the host that it is for; nothing where the message comes too late or too early. */
function hear(ledger: Ledger, message: Message, { expected, inPlace, damage }: Hearing, rules: Rules): { readonly ledger: Ledger; readonly progress: boolean }[] {
  const { source, destination } = ledger;
  const take = (event: DestinationEvent, progress = true) => ({ ledger: rules.destination(ledger, event), progress });
  const unlessRefused = (act: () => { readonly ledger: Ledger; readonly progress: boolean }) => {
    try {
      return [act()];
    } catch (error) {
      if (HandoffError.is(error)) return [];
      throw error;
    }
  };
  switch (message.says) {
    case 'begin': {
      const { handoffId } = message.handoff;
      // Its host looks whether the thread is there, where the ledger cannot tell.
      if (ledger.epoch === 0 && inPlace) return [];
      const holdsEarlier = (destination.is === 'receiving' || destination.is === 'prepared') && destination.handoffId !== handoffId;
      if (holdsEarlier && rules.offerOverEarlier === 'supersede') return [take({ type: 'withdrawn', reason: 'superseded' }, false)];
      return unlessRefused(() => take(offerOf(message), expected));
    }
    case 'accepted':
      return source.is === 'transferring' && source.handoffId === message.handoffId ? [{ ledger: rules.source(ledger, { type: 'transferred' }), progress: true }] : [];
    case 'refused':
      return (source.is === 'transferring' || source.is === 'staging') && source.handoffId === message.handoffId
        ? [{ ledger: rules.source(ledger, { type: 'failed', reason: 'refused', message: 'The destination gave up.' }), progress: true }]
        : [];
    case 'prepare': {
      if (destination.is !== 'receiving' || destination.handoffId !== message.handoff.handoffId) return [];
      const { handoffId, threadId, epoch, source: from, destination: to } = message.handoff;
      const receiptOf = (holdings: Holdings): Receipt => ({ version: 1, handoffId, threadId, epoch, source: from, destination: to, channel: channelOf(handoffId), holdings });
      return [take({ type: 'prepared', receipt: receiptOf(captured(handoffId)), complete: true }), ...(damage ? [take({ type: 'prepared', receipt: receiptOf(damaged(handoffId)) }, false)] : [])];
    }
    case 'receipt':
      return source.is === 'staging' && source.handoffId === message.receipt.handoffId
        ? [{ ledger: rules.source(ledger, { type: 'receipt', receipt: message.receipt, channel: channelOf(source.handoffId) }), progress: true }]
        : [];
    case 'commit':
      return answerToCommit(ledger, message) === 'commit' ? [take({ type: 'committed', receiptHash: message.receiptHash })] : [];
    case 'acknowledged':
      return source.is === 'committed' && source.handoffId === message.handoffId && !source.delivered ? [{ ledger: rules.source(ledger, { type: 'delivered' }), progress: true }] : [];
    case 'withdraw':
    case 'aborted':
      // A withdrawal is said once: it may be heard, but nothing may be left to it.
      return (destination.is === 'receiving' || destination.is === 'prepared') && destination.handoffId === message.handoffId ? [take({ type: 'withdrawn', reason: 'the source gave up' }, message.says === 'aborted')] : [];
    case 'ask':
      return [];
    case 'claim':
    case 'heard': {
      const { claim, from, to } = message;
      const teller = selfOf(from).hostId;
      if (rules.weigh(ledger, selfOf(to), teller, claim) === 'better') return unlessRefused(() => ({ ledger: rules.owner(ledger, { type: 'superseded', ...claim, fork }), progress: true }));
      const isAnswer = message.says === 'heard' && ledger.untold.includes(teller) && claim.epoch >= ledger.epoch;
      return isAnswer ? [{ ledger: rules.owner(ledger, { type: 'told', hostId: teller }), progress: true }] : [];
    }
  }
}

const offerOf = ({ handoff: { handoffId, threadId, epoch, source }, trail }: Extract<Message, { readonly says: 'begin' | 'prepare' }>): DestinationEvent => ({ type: 'offered', handoffId, threadId, epoch, source, sourceName: source, trail: [...trail] });

/** The messages with those that the host which took a step may say from its ledger now, and with the answers that follow: its own to all that it was ever told, the others' to what it says. */
function withAllSaid(state: ModelState, host: Host, rules: Rules): bigint {
  let next = state.messages;
  // Who was wiped has to be told again what others still say.
  for (const each of state.wiped.includes(host) ? state.ledgers.keys() : [host]) next |= remembered(ledgerOf(state, each), `says ${each}`, () => saidUnasked(each, ledgerOf(state, each)));
  for (const message of messagesIn(next)) {
    if (message.to !== host && message.from !== host) continue;
    const ledger = ledgerOf(state, message.to);
    const inPlace = has(state, message.to);
    next |= remembered(ledger, `answers ${numberOf(message)} ${inPlace}`, () => answerTo(message, ledger, inPlace, rules));
  }
  return next;
}

const bitOf = (message: Message): bigint => 1n << BigInt(numberOf(message));

function saidUnasked(from: Host, ledger: Ledger): bigint {
  const { source, destination, trail } = ledger;
  const messages: Message[] = [];
  if (source.is !== 'none') {
    const to = hostOf(source.destination);
    const { handoffId } = source;
    if (source.is === 'transferring') messages.push({ from, to, says: 'begin', handoff: identityOf(source), trail });
    if (source.is === 'staging') messages.push({ from, to, says: 'prepare', handoff: identityOf(source), trail });
    if (source.is === 'committed' && !source.delivered) messages.push({ from, to, says: 'commit', handoffId, epoch: source.epoch, receiptHash: receiptHash(source.receipt) });
    if (source.is === 'undoing') messages.push({ from, to, says: 'withdraw', handoffId });
  }
  if (destination.is !== 'none') {
    const to = hostOf(destination.source);
    const { handoffId } = destination;
    if (destination.is === 'receiving') messages.push({ from, to, says: 'accepted', handoffId });
    if (destination.is === 'receiving' || destination.is === 'prepared') messages.push({ from, to, says: 'ask', handoffId });
    if (destination.is === 'withdrawing') messages.push({ from, to, says: 'refused', handoffId });
    if (destination.is === 'prepared') messages.push({ from, to, says: 'receipt', receipt: destination.receipt });
  }
  for (const hostId of ledger.untold) messages.push({ from, to: hostOf(hostId), says: 'claim', claim: claimOf(ledger, selfOf(from)) });
  return messages.reduce((bits, message) => bits | bitOf(message), 0n);
}

function answerTo(message: Message, ledger: Ledger, inPlace: boolean, rules: Rules): bigint {
  const [from, to] = [message.to, message.from];
  switch (message.says) {
    case 'commit':
      return answerToCommit(ledger, message) === 'acknowledge' ? bitOf({ from, to, says: 'acknowledged', handoffId: message.handoffId }) : 0n;
    case 'ask': {
      const outcome = rules.outcome(ledger, message.handoffId, selfOf(to).hostId);
      // One that committed says so itself, with the receipt that it committed on.
      return outcome === 'aborted' ? bitOf({ from, to, says: 'aborted', handoffId: message.handoffId }) : 0n;
    }
    case 'begin':
    case 'prepare': {
      const { handoffId } = message.handoff;
      const known = 'handoffId' in ledger.destination && ledger.destination.handoffId === handoffId;
      if (known || (message.says === 'begin' && !(ledger.epoch === 0 && inPlace) && isPossible(() => rules.destination(ledger, offerOf(message))))) return 0n;
      return bitOf({ from, to, says: 'refused', handoffId });
    }
    case 'claim': {
      // Whoever does not believe it, knows nothing of the thread, or knows better says what it knows.
      const known = claimOf(ledger, selfOf(from));
      const verdict = rules.weigh(ledger, selfOf(from), selfOf(to).hostId, message.claim);
      return verdict === 'better' ? 0n : bitOf({ from, to, says: 'heard', claim: verdict === 'unknown' ? message.claim : known });
    }
    default:
      return 0n;
  }
}

function isPossible(act: () => unknown): boolean {
  try {
    act();
    return true;
  } catch (error) {
    if (HandoffError.is(error)) return false;
    throw error;
  }
}

const ledgersByText = new Map<string, Ledger>();
/** Equal ledgers as one object, so that what follows from a ledger is worked out once. */
function unique(ledger: Ledger): Ledger {
  const text = JSON.stringify(ledger);
  const known = ledgersByText.get(text);
  if (known === undefined) ledgersByText.set(text, ledger);
  return known ?? ledger;
}

let memory = new WeakMap<Ledger, Map<string, unknown>>();
/** Before each exploration: what was worked out under some rules does not hold under others. */
export function forget(): void {
  memory = new WeakMap();
  ledgersByText.clear();
  numbers.clear();
  said.length = 0;
}

/** What follows from a ledger alone, worked out once. */
function remembered<T>(ledger: Ledger, what: string, compute: () => T): T {
  let facts = memory.get(ledger);
  if (facts === undefined) memory.set(ledger, (facts = new Map<string, unknown>()));
  if (!facts.has(what)) facts.set(what, compute());
  return facts.get(what) as T;
}

const said: Message[] = [];
const numbers = new Map<Message | string, number>();

function numberOf(message: Message): number {
  const known = numbers.get(message) ?? numbers.get(JSON.stringify(message));
  if (known !== undefined) return known;
  numbers.set(message, said.length).set(JSON.stringify(message), said.length);
  return said.push(message) - 1;
}

function messagesIn(messages: bigint): Message[] {
  const found: Message[] = [];
  for (let rest = messages, first = 0; rest > 0n; rest >>= 30n, first += 30) {
    for (let bits = Number(rest & 0x3fffffffn), at = first; bits > 0; bits >>>= 1, at++) {
      const message = (bits & 1) === 1 ? said[at] : undefined;
      if (message !== undefined) found.push(message);
    }
  }
  return found;
}

function identityOf({ handoffId, threadId, source, destination, destinationName, epoch }: HandoffIdentity): HandoffIdentity {
  return { handoffId, threadId, source, destination, destinationName, epoch };
}
