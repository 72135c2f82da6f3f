/**
 * What the thread panel shows, and the messages between the extension and the panel's page. Defined once, used by
 * both sides; each side parses what it receives from the other before using it.
 */
import { z } from 'zod';
import { approval, approvalDecision, plan } from '../host/protocol';

const runStatus = z.enum(['inProgress', 'completed', 'failed', 'declined']);
export type RunStatus = z.infer<typeof runStatus>;

export const viewChange = z.object({
  path: z.string(),
  change: z.enum(['add', 'delete', 'update']),
  movedTo: z.string().nullable(),
  diff: z.string(),
});
export type ViewChange = z.infer<typeof viewChange>;

/** An item of a turn as the page shows it. `text` and `output` come from the agent and are never trusted. */
export const viewItem = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('userMessage'), id: z.string(), text: z.string() }),
  z.object({ kind: z.literal('agentMessage'), id: z.string(), text: z.string() }),
  z.object({ kind: z.literal('reasoning'), id: z.string(), text: z.string() }),
  z.object({ kind: z.literal('plan'), id: z.string(), text: z.string() }),
  z.object({
    kind: z.literal('command'),
    id: z.string(),
    command: z.string(),
    cwd: z.string(),
    status: runStatus,
    output: z.string(),
    /** Characters left out at the start of `output`. */
    omittedCharacters: z.number().int().nonnegative(),
    exitCode: z.number().int().nullable(),
    durationMs: z.number().nullable(),
  }),
  z.object({ kind: z.literal('fileChange'), id: z.string(), status: runStatus, changes: z.array(viewChange) }),
  /** A tool call or event that has no card of its own: what it was, in one line. */
  z.object({ kind: z.literal('note'), id: z.string(), label: z.string(), status: runStatus.nullable() }),
]);
export type ViewItem = z.infer<typeof viewItem>;

export const turnStatus = z.enum(['inProgress', 'completed', 'interrupted', 'failed']);
export const viewTurn = z.object({ id: z.string(), status: turnStatus, error: z.string().nullable(), items: z.array(viewItem) });
export type ViewTurn = z.infer<typeof viewTurn>;

export const activity = z.enum(['idle', 'running', 'waitingOnApproval', 'waitingOnUserInput', 'moving', 'moved', 'failed']);
export type Activity = z.infer<typeof activity>;

export const threadViewState = z.object({
  threadId: z.string(),
  title: z.string(),
  cwd: z.string(),
  hostName: z.string(),
  activity,
  /** Name of the host that has the thread now, where that is another one. */
  movedTo: z.string().nullable(),
  /** False while the host cannot be reached; what is shown may then be old. */
  connected: z.boolean(),
  turns: z.array(viewTurn),
  /** There are turns before the first of `turns`. */
  hasEarlierTurns: z.boolean(),
  plan: plan.nullable(),
  approvals: z.array(approval),
});
export type ThreadViewState = z.infer<typeof threadViewState>;

export const threadDelta = z.discriminatedUnion('type', [
  z.object({ type: z.literal('turnStarted'), turnId: z.string() }),
  z.object({ type: z.literal('turnEnded'), turnId: z.string(), status: turnStatus, error: z.string().nullable() }),
  z.object({ type: z.literal('itemChanged'), turnId: z.string(), item: viewItem }),
  z.object({ type: z.literal('textAdded'), turnId: z.string(), itemId: z.string(), kind: z.enum(['agentMessage', 'reasoning', 'plan', 'command']), text: z.string() }),
  z.object({ type: z.literal('earlierTurns'), turns: z.array(viewTurn), hasEarlierTurns: z.boolean() }),
  z.object({ type: z.literal('planChanged'), plan }),
  z.object({ type: z.literal('approvalRequested'), approval }),
  z.object({ type: z.literal('approvalResolved'), id: z.string() }),
  z.object({ type: z.literal('activityChanged'), activity, movedTo: z.string().nullable() }),
  z.object({ type: z.literal('titleChanged'), title: z.string() }),
  z.object({ type: z.literal('connectionChanged'), connected: z.boolean() }),
]);
export type ThreadDelta = z.infer<typeof threadDelta>;

/** Extension → page. `sequence` numbers the states: a delta leads from the one before to its own. */
export const messageToPage = z.discriminatedUnion('type', [
  z.object({ type: z.literal('snapshot'), sequence: z.number().int(), state: threadViewState }),
  z.object({ type: z.literal('delta'), sequence: z.number().int(), delta: threadDelta }),
  /** The thread cannot be shown at all. */
  z.object({ type: z.literal('unavailable'), message: z.string() }),
  /** An action of the page's user failed; `requestId` is the page's. */
  z.object({ type: z.literal('settled'), requestId: z.number().int(), error: z.string().nullable() }),
]);
export type MessageToPage = z.infer<typeof messageToPage>;

const requestId = z.number().int().nonnegative();
/** Page → extension. All but `ready` and `resync` are answered with `settled`. */
export const messageFromPage = z.discriminatedUnion('type', [
  /** The page is loaded and listens. */
  z.object({ type: z.literal('ready') }),
  /** The page missed a delta and wants a snapshot. */
  z.object({ type: z.literal('resync') }),
  z.object({ type: z.literal('send'), requestId, text: z.string().min(1).max(1_000_000) }),
  z.object({ type: z.literal('interrupt'), requestId }),
  z.object({ type: z.literal('loadEarlier'), requestId }),
  z.object({
    type: z.literal('decide'),
    requestId,
    id: z.string(),
    digest: z.string(),
    decision: approvalDecision,
    answers: z.record(z.string(), z.array(z.string())).optional(),
  }),
]);
export type MessageFromPage = z.infer<typeof messageFromPage>;
