/** What a thread has beside its conversation when its handoff begins, and how it looks where the thread ends up. */
import type { ScriptRule } from '../fixtures/scriptedModel';
import { CodexError } from '../../src/codex/codexError';
import { HostError } from '../../src/host/hostError';
import { askCodex, riskyCommand, said, type Site } from '../integration/pairedHosts';
import type { Carrying } from './cases';
import { rolloutsOf } from './evidence';

const objective = 'Find the comet';
const found = 'The comet is found.';
const reverted = 'A wrong turn.';
const instead = 'A better turn.';
const queued = ['First of the queue.', 'Second of the queue.'] as const;
/** Longer than a handoff takes to stop it, and short where nothing does. */
const atWork = 'Tell a story for a while.';

export const carriedScript: readonly ScriptRule[] = [
  { user: new RegExp(atWork), answers: [[{ slowMessage: 'Once upon a time there was a comet. '.repeat(60), everyMs: 20 }]] },
  // A goal that goes on ends with the turn in which it does. What is said after it is answered as always.
  { user: /./, history: new RegExp(`codex_internal_context source=(?!.*(${[...queued, said.hello, 'is declined'].join('|')}))`), answers: [[{ call: 'update_goal', args: { status: 'complete' } }], [{ message: found }]] },
];

/** A thread that can carry that: only a paginated one can be reverted. */
export const begin = (site: Site, carrying: Carrying): Promise<string> => site.begin(said.hello, carrying === 'revert' ? { historyMode: 'paginated' } : {});

/** Gives a thread what it is to carry: a revert; or a goal and a queue, which wait for an approval, or for the end of a turn that runs. */
export async function load(site: Site, threadId: string, carrying: Carrying): Promise<void> {
  if (carrying === 'nothing') return;
  if (carrying === 'revert') return revert(site, threadId);
  if (carrying === 'approval') await site.say(threadId, said.risky);
  else {
    const speaks = new Promise<void>((fulfil) => {
      const stop = site.client.onCodex((method, params) => {
        if (method !== 'item/agentMessage/delta' || (params as { threadId: string }).threadId !== threadId) return;
        stop();
        fulfil();
      });
    });
    await site.client.codex('turn/start', { threadId, input: text(atWork) });
    await speaks;
  }
  await askCodex(site, 'thread/goal/set', { threadId, objective, status: 'active' });
  for (const words of queued) await askCodex(site, 'thread/queue/add', { threadId, input: text(words), clientUserMessageId: words });
}

/** Where the thread is now: nothing of it is lost, begins early or happens twice, and all of it comes to its end. */
export async function unload(owner: Site, others: readonly Site[], threadId: string, carrying: Carrying): Promise<string[]> {
  if (carrying === 'nothing') return [];
  if (carrying === 'revert') return staysReverted(owner, threadId);
  const broken: string[] = [];
  for (const other of others) {
    // One that is archived, or not there, waits for nothing.
    const waiting = await queueOf(other, threadId).catch((error: unknown) => {
      if (CodexError.is(error, 'thread-archived') || CodexError.is(error, 'thread-not-found')) return [];
      throw error;
    });
    if (waiting.length > 0) broken.push(`${other.machine.name}, which does not own the thread, has a queue for it: ${waiting.join(' ')}`);
  }
  if (carrying === 'approval') broken.push(...(await decide(owner, threadId)));
  await rests(owner, threadId);
  return [...broken, ...happened(owner, threadId, carrying)];
}

/** All that was carried has been begun, in its order, and nothing twice; also after the thread moved on. */
export function happened(owner: Site, threadId: string, carrying: Carrying): string[] {
  if (carrying === 'nothing' || carrying === 'revert') return [];
  const broken: string[] = [];
  const heard = messagesOf(owner, threadId);
  const once = [...queued, found].map((words) => heard.filter((message) => message === words).length);
  if (once.some((times) => times !== 1)) broken.push(`of ${[...queued, found].join(', ')} the conversation has ${once.join(', ')} times`);
  if (heard.indexOf(queued[0]) > heard.indexOf(queued[1])) broken.push('the queue was begun out of its order');
  return broken;
}

async function revert(site: Site, threadId: string): Promise<void> {
  await site.say(threadId, reverted);
  const { data } = (await askCodex(site, 'thread/turns/list', { threadId, limit: 1 })) as { data: { id: string }[] };
  await askCodex(site, 'thread/revert', { threadId, beforeTurnId: data[0]?.id });
  await site.say(threadId, instead);
}

/** Codex goes on with what came in the place of what was reverted. */
async function staysReverted(owner: Site, threadId: string): Promise<string[]> {
  await owner.say(threadId, said.hello);
  const { data } = (await askCodex(owner, 'thread/turns/list', { threadId, itemsView: 'full', limit: 100 })) as { data: { items: { type: string; content?: { text?: string }[] }[] }[] };
  const told = data.flatMap(({ items }) => items.flatMap(({ type, content }) => (type === 'userMessage' ? [content?.[0]?.text] : [])));
  return told.includes(instead) && !told.includes(reverted) ? [] : [`after a revert the thread has the turns: ${told.join(' ')}`];
}

/** The approval that was pending is, once, and is decided once; until then nothing has begun that waits for it. */
async function decide(owner: Site, threadId: string): Promise<string[]> {
  await owner.until(async () => (await owner.approvals(threadId)).length > 0);
  const pending = await owner.approvals(threadId);
  const [approval] = pending;
  if (approval === undefined || pending.length !== 1) return [`${pending.length} approvals are pending instead of one`];
  const broken = approval.command?.includes(riskyCommand) === true ? [] : [`the approval is for another command: ${String(approval.command)}`];
  const waiting = await queueOf(owner, threadId);
  if (waiting.join() !== queued.join()) broken.push(`while the approval is pending the queue has: ${waiting.join(' ')}`);
  if (messagesOf(owner, threadId).some((message) => message === found || message === queued[0])) broken.push('something began that was to wait for the approval');
  const rest = owner.rest(threadId);
  const decision = { id: approval.id, digest: approval.digest, decision: 'decline' } as const;
  await owner.client.call('approval/decide', decision);
  const status = await rest;
  if (status !== 'completed') broken.push(`the turn after the decision ended as ${status}`);
  if ((await owner.approvals(threadId)).length > 0) broken.push('the approval is pending still, after it was decided');
  const again = await owner.client.call('approval/decide', decision).catch((error: unknown) => error);
  if (!HostError.is(again)) broken.push('the approval could be decided twice');
  return broken;
}

/** Nothing of the thread goes on by itself any more. */
async function rests(owner: Site, threadId: string): Promise<void> {
  const rest = async () => {
    if ((await queueOf(owner, threadId)).length > 0) return false;
    const { goal } = (await askCodex(owner, 'thread/goal/get', { threadId })) as { goal: { objective: string; status: string } | null };
    if (goal?.objective !== objective) throw new Error(`${owner.machine.name} lost the goal of the thread; it has ${JSON.stringify(goal)}.`);
    const { thread } = (await askCodex(owner, 'thread/read', { threadId })) as { thread: { status: { type: string } } };
    return goal.status === 'complete' && thread.status.type !== 'active';
  };
  await new Promise<void>((fulfil, reject) => {
    const look = () => void rest().then((does) => {
      if (does) end(fulfil);
    }, (error: unknown) => end(() => reject(error instanceof Error ? error : new Error(String(error)))));
    const end = (how: () => void) => {
      stop();
      how();
    };
    const stop = owner.client.onCodex((method, params) => {
      if (/^(turn\/completed|thread\/(status|goal|queue))/.test(method) && (params as { threadId?: string }).threadId === threadId) look();
    });
    look();
  });
}

const text = (words: string) => [{ type: 'text', text: words, text_elements: [] }];

async function queueOf(site: Site, threadId: string): Promise<string[]> {
  const { data } = (await askCodex(site, 'thread/queue/list', { threadId })) as { data: { clientUserMessageId: string }[] };
  return data.map(({ clientUserMessageId }) => clientUserMessageId);
}

/** What was said in a thread by either side, oldest first, as its rollout has it. */
function messagesOf(site: Site, threadId: string): string[] {
  const lines = [...rolloutsOf(site, threadId).values()].flatMap(({ body }) => body.toString('utf8').split('\n')).filter((line) => line !== '');
  return lines.flatMap((line) => {
    const { type, payload } = JSON.parse(line) as { type: string; payload: { type?: string; content?: { text?: string }[] } };
    return type === 'response_item' && payload.type === 'message' ? [(payload.content ?? []).map((part) => part.text ?? '').join('')] : [];
  });
}
