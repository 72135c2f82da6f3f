/** What Codex keeps of a thread outside its rollout, in databases of one machine: goal, queue and attachments. It has to be told anew where the thread goes. */
import { readFile, stat } from 'node:fs/promises';
import { extname } from 'node:path';
import { z } from 'zod';
import type { AppServer } from './appServer';
import type { QueuedSubmission, ThreadAttachment, ThreadGoalStatus, TurnStatus, UserInput } from './protocol.generated';
import { handoffAttachment } from './threads';

/** Beyond this a file that waits in the queue stays behind. */
const maxFileBytes = 16 * 1024 * 1024;
const imageTypes: Readonly<Record<string, string>> = { '.png': 'image/png', '.jpg': 'image/jpeg', '.jpeg': 'image/jpeg', '.gif': 'image/gif', '.webp': 'image/webp' };

/** Every page of what a list method gives. */
async function allPages<T>(page: (cursor: string | null) => Promise<{ data: T[]; nextCursor: string | null }>): Promise<T[]> {
  const all: T[] = [];
  let cursor: string | null = null;
  do {
    const { data, nextCursor } = await page(cursor);
    all.push(...data);
    cursor = nextCursor;
  } while (cursor !== null);
  return all;
}

/** What waits in a thread's queue, next one first. Works for a thread that is not loaded. */
export function readQueue(server: AppServer, threadId: string): Promise<QueuedSubmission[]> {
  return allPages((cursor) => server.request('thread/queue/list', { threadId, cursor }));
}

/** Empties a thread's queue, once it waits elsewhere. */
export async function clearQueue(server: AppServer, threadId: string): Promise<void> {
  for (const { id } of await readQueue(server, threadId)) await server.request('thread/queue/delete', { threadId, queuedSubmissionId: id });
}

/**
 * What was queued, so that it means the same on another machine: files are put inside, and a mention of a path becomes its name.
 * @returns also the files that could not be read, or are too large
 */
export async function portableInput(input: readonly UserInput[]): Promise<{ input: UserInput[]; missing: string[] }> {
  const missing: string[] = [];
  const portable: UserInput[] = [];
  const text = (words: string): UserInput => ({ type: 'text', text: words, text_elements: [] });
  for (const one of input) {
    if (one.type === 'mention') portable.push(text(`@${one.name}`));
    else if (one.type === 'skill') portable.push(text(`$${one.name}`));
    else if (one.type === 'localImage' || one.type === 'localAudio') {
      const type = one.type === 'localImage' ? imageTypes[extname(one.path).toLowerCase()] : undefined;
      const size = await stat(one.path).then((found) => found.size, () => Infinity);
      if (type === undefined || size > maxFileBytes) missing.push(one.path);
      else portable.push(withoutNulls({ ...('detail' in one ? { detail: one.detail } : {}), type: 'image', url: `data:${type};base64,${(await readFile(one.path)).toString('base64')}` }));
    } else if ('fileId' in one) missing.push(one.fileId);
    else portable.push(withoutNulls(one));
  }
  return { input: portable, missing };
}

/** What Codex gives for an option that was left out, it does not take back. */
function withoutNulls(one: UserInput): UserInput {
  return Object.fromEntries(Object.entries(one).filter(([, value]) => (value as unknown) !== null)) as UserInput;
}

const userMessage = z.looseObject({ type: z.literal('userMessage'), clientId: z.string().nullish() });
/** Whoever repeats this after a crash finds what has begun meanwhile among the thread's newest turns. */
const recentTurns = 50;

/** What was said in a thread's newest turns: the status of its turn, by the message's `clientUserMessageId`. */
async function recentMessages(server: AppServer, threadId: string): Promise<Map<string, TurnStatus>> {
  const { data } = await server.request('thread/turns/list', { threadId, limit: recentTurns, itemsView: 'full' });
  return new Map(data.flatMap(({ items, status }) => items.flatMap((item) => {
    const message = userMessage.safeParse(item);
    return message.success && message.data.clientId != null ? [[message.data.clientId, status] as const] : [];
  })));
}

/** The turn that heard a message, if it is one of the thread's newest; null where none did. */
export async function turnOfMessage(server: AppServer, threadId: string, clientUserMessageId: string): Promise<'running' | 'over' | null> {
  const status = (await recentMessages(server, threadId)).get(clientUserMessageId);
  return status === undefined ? null : status === 'inProgress' ? 'running' : 'over';
}

/**
 * Puts what waited elsewhere into a thread's queue, in its order, and nothing twice: each is known by its `clientUserMessageId`, in
 * the queue and, once it has begun, in the thread. Codex begins the first at once, unless the thread's last turn was interrupted.
 */
export async function restoreQueue(server: AppServer, threadId: string, waiting: readonly Omit<QueuedSubmission, 'id'>[]): Promise<void> {
  if (waiting.length === 0) return;
  const [queued, begun] = await Promise.all([readQueue(server, threadId), recentMessages(server, threadId)]);
  const known = new Set([...queued.map(({ clientUserMessageId }) => clientUserMessageId), ...begun.keys()]);
  for (const { input, clientUserMessageId, responsesapiClientMetadata } of waiting) {
    if (!known.has(clientUserMessageId)) await server.request('thread/queue/add', { threadId, input, clientUserMessageId, responsesapiClientMetadata });
  }
}

/** Begins what waits in the queue of a thread that rests, as it would have begun by itself had its last turn not been interrupted. */
export async function startQueue(server: AppServer, threadId: string): Promise<void> {
  if ((await readQueue(server, threadId)).length === 0) return;
  const { thread } = await server.request('thread/read', { threadId });
  if (thread.status.type !== 'active') await server.request('thread/queue/start', { threadId });
}

/** What is attached to a thread, without what a handoff left there, and without the worktrees that Codex made for it on this machine. */
export async function readAttachments(server: AppServer, threadId: string): Promise<Pick<ThreadAttachment, 'attachmentType' | 'identityKey' | 'payload'>[]> {
  const all = await allPages((cursor) => server.request('thread/attachment/list', { threadId, cursor }));
  return all
    .filter(({ attachmentType }) => !attachmentType.startsWith(handoffAttachment) && !attachmentType.includes('worktree'))
    .map(({ attachmentType, identityKey, payload }) => ({ attachmentType, identityKey, payload }));
}

/** A goal as it travels: `tokenBudget` is what is left of it. */
export type CarriedGoal = { readonly objective: string; readonly status: string; readonly tokenBudget: number | null };

/** A thread's goal; null where it has none. */
export async function readGoal(server: AppServer, threadId: string): Promise<CarriedGoal | null> {
  const { goal } = await server.request('thread/goal/get', { threadId });
  if (goal === null) return null;
  const { objective, status, tokenBudget, tokensUsed } = goal;
  return { objective, status, tokenBudget: tokenBudget === null ? null : Math.max(1, tokenBudget - tokensUsed) };
}

/** Sets a goal going that is paused. */
export async function resumeGoal(server: AppServer, threadId: string): Promise<void> {
  if ((await readGoal(server, threadId))?.status === 'paused') await server.request('thread/goal/set', { threadId, status: 'active' });
}

/** Sets a goal; one that is `active` begins to work at once. The tokens that this machine counted on an earlier stay are not taken from what is left. */
export async function restoreGoal(server: AppServer, threadId: string, { objective, status, tokenBudget }: CarriedGoal): Promise<void> {
  const { goal } = await server.request('thread/goal/set', { threadId, objective, status: 'paused' });
  const budget = tokenBudget === null ? null : tokenBudget + goal.tokensUsed;
  await server.request('thread/goal/set', { threadId, objective, tokenBudget: budget, status: status as ThreadGoalStatus });
}
