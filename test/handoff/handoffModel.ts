/**
 * Two hosts that hand one thread to and fro, as a graph of states to be explored to its end.
 *
 * What happens on a host is an event put to the reducers that ship; what it says and answers follows from its ledger.
 * Messages: the network is a set that only grows. Any message that was ever said may be heard at any time, again, late, in
 * any order, or never; so loss, duplication, reordering and delay need no steps of their own.
 * Crashes: a host keeps nothing but its ledger, and each step is one journal write, so a host that is down is one that does
 * not step, and a restart is what it does first: `sourceRecovery` at the source, a question to the source at the destination.
 * Both may happen in every state.
 */
import { answerToCommit, outcomeOf } from '../../src/handoff/answers';
import type { DestinationEvent } from '../../src/handoff/destinationTransaction';
import { HandoffError } from '../../src/handoff/handoffError';
import { emptyLedger, mayRun, reduceLedgerDestination, reduceLedgerSource, type Ledger } from '../../src/handoff/ownership';
import { receiptHash, type Holdings, type Receipt } from '../../src/handoff/receipt';
import { sourceRecovery, type HandoffIdentity, type SourceEvent } from '../../src/handoff/sourceTransaction';
import { placement } from './examples';

export type HostIndex = 0 | 1;
export const origin: HostIndex = 0;

export interface ModelState {
  readonly ledgers: readonly [Ledger, Ledger];
  /** All that was ever said: bit n stands for message n of `said`. */
  readonly messages: bigint;
  readonly handoffs: number;
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
  /** What a destination does with an offer while it holds an earlier handoff of the same source. */
  readonly offerOverEarlier: 'refuse' | 'supersede';
  /** Whether a destination that gave its receipt may give up without the source's word. */
  readonly givesUpWhenPrepared: boolean;
}

export const shippedRules: Rules = { source: reduceLedgerSource, destination: reduceLedgerDestination, offerOverEarlier: 'refuse', givesUpWhenPrepared: false };

export const initialState: ModelState = { ledgers: [emptyLedger, emptyLedger], messages: 0n, handoffs: 0 };

type Message =
  | { readonly to: HostIndex; readonly says: 'begin' | 'prepare'; readonly handoff: HandoffIdentity }
  | { readonly to: HostIndex; readonly says: 'accepted' | 'refused' | 'withdraw' | 'ask' | 'aborted' | 'acknowledged' | 'committed'; readonly handoffId: string }
  | { readonly to: HostIndex; readonly says: 'receipt'; readonly receipt: Receipt }
  | { readonly to: HostIndex; readonly says: 'commit'; readonly handoffId: string; readonly epoch: number; readonly receiptHash: string };

const hostIds = ['laptop', 'server'] as const;
const channelOf = (handoffId: string): string => handoffId.repeat(2);
/** What the source captures in a handoff: another working state each time. */
export const captured = (handoffId: string): Holdings => ({ workingState: handoffId.repeat(2), head: null, rollouts: [], thread: '0'.repeat(64) });
/** What a destination holds whose disk or code lost something. */
const damaged = (handoffId: string): Holdings => ({ ...captured(handoffId), workingState: 'f'.repeat(64) });

/** Whether a host may run turns. A ledger at epoch 0 speaks of ownership only on the host that had the thread to begin with. */
export const runs = ({ ledgers }: ModelState, host: HostIndex): boolean => mayRun(ledgers[host]) && has(ledgers[host], host);
/** Whether a host's ledger says that the thread is its own, moving or not. */
export const owns = ({ ledgers }: ModelState, host: HostIndex): boolean => ledgers[host].movedTo === null && has(ledgers[host], host);
const has = (ledger: Ledger, host: HostIndex): boolean => ledger.epoch > 0 || host === origin;

/** Every step that is possible in a state, with at most `maxHandoffs` handoffs begun. */
export function stepsOf(state: ModelState, maxHandoffs: number, rules: Rules = shippedRules): Step[] {
  const steps: Step[] = [];
  const add = (host: HostIndex, name: string, progress: boolean, result: Ledger, handoffs = state.handoffs) => {
    const ledger = unique(result);
    const ledgers: readonly [Ledger, Ledger] = host === 0 ? [ledger, state.ledgers[1]] : [state.ledgers[0], ledger];
    steps.push({ name: `${hostIds[host]}: ${name}`, progress, next: { ledgers, messages: withAllSaid(state.messages, ledgers, host), handoffs } });
  };
  for (const host of [0, 1] as const) {
    const ledger = state.ledgers[host];
    const journal = (event: SourceEvent, progress = true, name: string = event.type) => add(host, name, progress, rules.source(ledger, event));
    if (runs(state, host) && state.handoffs < maxHandoffs) {
      const to = other(host);
      const identity = { handoffId: String(state.handoffs + 1).padStart(32, '0'), threadId: 'thread', source: hostIds[host], destination: hostIds[to], destinationName: hostIds[to], epoch: ledger.epoch + 1 };
      add(host, 'begin', false, rules.source(ledger, { type: 'begun', ...identity }), state.handoffs + 1);
    }
    const { source, destination } = ledger;
    const recovery = sourceRecovery(source);
    if (recovery !== null) journal(recovery, false, 'restart or cancel');
    if (source.is === 'quiescing') journal({ type: 'quiesced' });
    if (source.is === 'capturing') journal({ type: 'captured', holdings: captured(source.handoffId) });
    if (source.is === 'prepared') journal({ type: 'committed' });
    if (source.is === 'committed' && !source.letGo) journal({ type: 'letGo' });
    if (source.is === 'undoing') journal({ type: 'undone' });

    const take = (event: DestinationEvent, progress = true, name: string = event.type) => add(host, name, progress, rules.destination(ledger, event));
    if (destination.is === 'committed') take({ type: 'activated', placement });
    if (destination.is === 'withdrawing') take({ type: 'discarded' });
    if (destination.is === 'receiving' || (destination.is === 'prepared' && rules.givesUpWhenPrepared)) take({ type: 'withdrawn', reason: 'failed here' }, false, 'gives up');
  }
  for (const message of messagesIn(state.messages)) {
    for (const heard of hear(state, message, rules)) add(message.to, `hears ${message.says}`, heard.progress, heard.ledger);
  }
  return steps;
}

const other = (host: HostIndex): HostIndex => (host === 0 ? 1 : 0);

/** What hearing a message does to the ledger of the host that it is for; nothing where the message comes too late or too early. */
function hear({ ledgers }: ModelState, message: Message, rules: Rules): { readonly ledger: Ledger; readonly progress: boolean }[] {
  const ledger = ledgers[message.to];
  const { source, destination } = ledger;
  const take = (event: DestinationEvent, progress = true) => ({ ledger: rules.destination(ledger, event), progress });
  switch (message.says) {
    case 'begin': {
      const { handoffId, threadId, epoch, source: from } = message.handoff;
      const offered: DestinationEvent = { type: 'offered', handoffId, threadId, epoch, source: from, sourceName: from };
      const sender = ledgers[other(message.to)].source;
      const progress = sender.is === 'transferring' && sender.handoffId === handoffId;
      const holdsEarlier = (destination.is === 'receiving' || destination.is === 'prepared') && destination.handoffId !== handoffId;
      if (holdsEarlier && rules.offerOverEarlier === 'supersede') return [take({ type: 'withdrawn', reason: 'superseded' }, false)];
      try {
        return [take(offered, progress)];
      } catch (error) {
        if (HandoffError.is(error)) return [];
        throw error;
      }
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
      return [take({ type: 'prepared', receipt: receiptOf(captured(handoffId)) }), take({ type: 'prepared', receipt: receiptOf(damaged(handoffId)) }, false)];
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
      return (destination.is === 'receiving' || destination.is === 'prepared') && destination.handoffId === message.handoffId ? [take({ type: 'withdrawn', reason: 'the source gave up' })] : [];
    case 'committed':
      return destination.is === 'prepared' && destination.handoffId === message.handoffId ? [take({ type: 'committed', receiptHash: receiptHash(destination.receipt) })] : [];
    case 'ask':
      return [];
  }
}

/** The messages with those that the host which took a step may say from its ledger now, and with both hosts' answers to all that they were ever told. */
function withAllSaid(messages: bigint, ledgers: readonly [Ledger, Ledger], host: HostIndex): bigint {
  let next = messages | remembered(ledgers[host], `says ${host}`, () => saidUnasked(host, ledgers[host]));
  for (const message of messagesIn(next)) {
    if (message.says !== 'commit' && message.says !== 'ask') continue;
    next |= remembered(ledgers[message.to], `answers ${numberOf(message)}`, () => answerTo(message, ledgers[message.to]));
  }
  return next;
}

const bitOf = (message: Message): bigint => 1n << BigInt(numberOf(message));

function saidUnasked(host: HostIndex, { source, destination }: Ledger): bigint {
  const to = other(host);
  const messages: Message[] = [];
  if (source.is === 'transferring') messages.push({ to, says: 'begin', handoff: identityOf(source) });
  if (source.is === 'staging') messages.push({ to, says: 'prepare', handoff: identityOf(source) });
  if (source.is === 'committed' && !source.delivered) messages.push({ to, says: 'commit', handoffId: source.handoffId, epoch: source.epoch, receiptHash: receiptHash(source.receipt) });
  if (source.is === 'undoing') messages.push({ to, says: 'withdraw', handoffId: source.handoffId });
  if (destination.is === 'receiving') messages.push({ to, says: 'accepted', handoffId: destination.handoffId });
  if (destination.is === 'receiving' || destination.is === 'prepared') messages.push({ to, says: 'ask', handoffId: destination.handoffId });
  if (destination.is === 'withdrawing') messages.push({ to, says: 'refused', handoffId: destination.handoffId });
  if (destination.is === 'prepared') messages.push({ to, says: 'receipt', receipt: destination.receipt });
  return messages.reduce((bits, message) => bits | bitOf(message), 0n);
}

function answerTo(message: Message, ledger: Ledger): bigint {
  const to = other(message.to);
  if (message.says === 'commit') return answerToCommit(ledger, message) === 'acknowledge' ? bitOf({ to, says: 'acknowledged', handoffId: message.handoffId }) : 0n;
  if (message.says !== 'ask') return 0n;
  const outcome = outcomeOf(ledger, message.handoffId);
  return outcome === 'undecided' ? 0n : bitOf({ to, says: outcome, handoffId: message.handoffId });
}

const ledgersByText = new Map<string, Ledger>();
/** Equal ledgers as one object, so that what follows from a ledger is worked out once. */
function unique(ledger: Ledger): Ledger {
  const text = JSON.stringify(ledger);
  const known = ledgersByText.get(text);
  if (known === undefined) ledgersByText.set(text, ledger);
  return known ?? ledger;
}

const memory = new WeakMap<Ledger, Map<string, bigint>>();
function remembered(ledger: Ledger, what: string, compute: () => bigint): bigint {
  let facts = memory.get(ledger);
  if (facts === undefined) memory.set(ledger, (facts = new Map<string, bigint>()));
  const known = facts.get(what) ?? compute();
  facts.set(what, known);
  return known;
}

const said: Message[] = [];
const numbers = new Map<Message | string, number>();

function numberOf(message: Message): number {
  const known = numbers.get(message) ?? numbers.get(JSON.stringify(message));
  if (known !== undefined) return known;
  numbers.set(message, said.length).set(JSON.stringify(message), said.length);
  return said.push(message) - 1;
}

const messagesIn = (messages: bigint): Message[] => said.filter((_, index) => (messages >> BigInt(index)) & 1n);

function identityOf({ handoffId, threadId, source, destination, destinationName, epoch }: HandoffIdentity): HandoffIdentity {
  return { handoffId, threadId, source, destination, destinationName, epoch };
}
