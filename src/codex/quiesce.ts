/** Bringing a thread to rest, with all that it set going: its turn, its commands, its sub-agents. */
import type { AppServer } from './appServer';
import { CodexError } from './codexError';
import { gone } from './serverProcess';
import { allThreads, joinThread, readThread } from './threads';

export type Quiesced = {
  /** The turn that was running and is now interrupted. */
  interruptedTurnId: string | null;
  /** Its goal was active and is now paused; set it active at the destination. */
  goalPaused: boolean;
  /** Codex dropped the thread from memory and released its writer lock, so the rollout on disk is final. */
  released: boolean;
};

const turnEndMs = 30_000;
const releaseMs = 3_000;
const commandEndMs = 10_000;
const settleRounds = 20;

/**
 * Brings a thread to rest: pauses its goal, interrupts the running turn and sees it end, likewise those of its sub-agents (Codex
 * lets them run on), ends the commands that outlive their turns, and has Codex let go of all of them. Call {@link joinThread} to
 * make the thread usable again.
 * @throws CodexError `timed-out` when a turn or a command does not end; `thread-in-use` when Codex does not let go
 */
export async function quiesceThread(server: AppServer, threadId: string): Promise<Quiesced> {
  const { goal } = await server.request('thread/goal/get', { threadId });
  const goalPaused = goal?.status === 'active';
  // First, or the goal starts the next turn as soon as this one has been interrupted.
  if (goalPaused) await server.request('thread/goal/set', { threadId, status: 'paused' });

  let interruptedTurnId: string | null = null;
  for (let round = 1; ; round += 1) {
    const loaded = await loadedThreads(server);
    const family = [threadId, ...(await subAgentsOf(server, threadId))].filter((id) => loaded.has(id));
    let found = 0;
    for (const id of family) {
      // Only followers hear that a turn has ended.
      await joinThread(server, id);
      const turn = await interruptTurn(server, id);
      if (turn === null) continue;
      found += 1;
      if (id === threadId) interruptedTurnId ??= turn;
    }
    // A turn that ends may set another one going: of a sub-agent that was just spawned, or of the thread that one reports to.
    if (found > 0 && round < settleRounds) continue;
    if (found > 0) throw new CodexError('timed-out', `Thread ${threadId} and its sub-agents go on starting turns. Stop them, then try again.`);
    for (const id of family) await endCommands(server, id);
    // Where another client follows a thread, releasing it unloads its sub-agents too, and those cannot be asked any more.
    for (const id of family) await releaseThread(server, id);
    return { interruptedTurnId, goalPaused, released: true };
  }
}

/** The threads that a thread has spawned, theirs included. */
export async function subAgentsOf(server: AppServer, threadId: string): Promise<string[]> {
  const ids: string[] = [];
  for await (const { id } of allThreads(server, { ancestorThreadId: threadId })) if (id !== threadId) ids.push(id);
  return ids;
}

/**
 * Ends the commands of a thread. An interrupted turn leaves them running, and they would go on writing to the working tree;
 * Codex answers before they have died, so this waits until they have.
 * @throws CodexError `timed-out`
 */
async function endCommands(server: AppServer, threadId: string): Promise<void> {
  const { data } = await server.request('thread/backgroundTerminals/list', { threadId });
  await server.request('thread/backgroundTerminals/clean', { threadId });
  for (const { command, osPid } of data) {
    if (osPid !== null && !(await gone(osPid, commandEndMs))) throw new CodexError('timed-out', `The command "${command}" of thread ${threadId} (process ${osPid}) does not end. End it, then try again.`);
  }
}

/** Whether a turn of a thread runs, or waits for an approval. False for a thread that Codex does not know. */
export async function isRunning(server: AppServer, threadId: string): Promise<boolean> {
  try {
    const { status } = await readThread(server, threadId);
    if (status.type === 'active' || status.type === 'notLoaded') return status.type === 'active';
    // A turn that has just been started is listed before the thread counts as active.
    return (await server.request('thread/turns/list', { threadId, limit: 1 })).data[0]?.status === 'inProgress';
  } catch (error) {
    if (CodexError.is(error, 'thread-not-found')) return false;
    throw error;
  }
}

/** Interrupts the turn that runs, and waits until it has ended. @returns its id, or null if none ran. @throws CodexError `timed-out` */
export async function interruptTurn(server: AppServer, threadId: string): Promise<string | null> {
  const { data } = await server.request('thread/turns/list', { threadId, limit: 1 });
  const running = data.find((turn) => turn.status === 'inProgress');
  if (running === undefined) return null;
  const ended = heard(server, turnEndMs, `Turn ${running.id} of thread ${threadId} did not end when it was interrupted.`, (done) =>
    server.onNotification('turn/completed', (params) => {
      if (params.threadId === threadId && params.turn.id === running.id) done();
    }),
  );
  try {
    await server.request('turn/interrupt', { threadId, turnId: running.id });
  } catch (error) {
    // It may have ended by itself meanwhile; then its end has been or will be heard.
    if (!CodexError.is(error, 'refused')) {
      ended.cancel();
      throw error;
    }
  }
  await ended.promise;
  return running.id;
}

/**
 * Has Codex drop an idle thread from memory and release its writer lock. Where another client still follows the thread,
 * it is archived and unarchived, which does the same.
 * @throws CodexError `thread-in-use`
 */
export async function releaseThread(server: AppServer, threadId: string): Promise<void> {
  if (await leaveThread(server, threadId)) return;
  await server.request('thread/archive', { threadId });
  await server.request('thread/unarchive', { threadId });
  if ((await loadedThreads(server)).has(threadId)) throw new CodexError('thread-in-use', `Codex still has thread ${threadId} loaded after it was archived and unarchived. Close it in other Codex windows, then try again.`);
}

/** Follows an idle thread no more. @returns whether Codex has dropped it from memory, as it does unless another client follows it */
export async function leaveThread(server: AppServer, threadId: string): Promise<boolean> {
  const closed = heard(server, releaseMs, `Codex did not let go of thread ${threadId}.`, (done) => server.onNotification('thread/closed', (params) => params.threadId === threadId && done()));
  const { status } = await server.request('thread/unsubscribe', { threadId });
  if (status === 'notLoaded') {
    closed.cancel();
    return true;
  }
  try {
    await closed.promise;
    return true;
  } catch (error) {
    if (!CodexError.is(error, 'timed-out')) throw error;
    return false;
  }
}

/** The threads that a server has in memory. */
export async function loadedThreads(server: AppServer): Promise<Set<string>> {
  const ids = new Set<string>();
  let cursor: string | null = null;
  do {
    const page: { data: string[]; nextCursor: string | null } = await server.request('thread/loaded/list', { cursor });
    for (const id of page.data) ids.add(id);
    cursor = page.nextCursor;
  } while (cursor !== null);
  return ids;
}

/** Waits for something that is heard as a notification; listening begins at once. The server's end fails it too. */
function heard(server: AppServer, withinMs: number, otherwise: string, listen: (done: () => void) => { dispose: () => void }): { promise: Promise<void>; cancel: () => void } {
  let cancel: () => void = () => undefined;
  const promise = new Promise<void>((resolve, reject) => {
    const stop = (settle: () => void) => {
      clearTimeout(timer);
      subscription.dispose();
      state.dispose();
      settle();
    };
    const timer = setTimeout(() => stop(() => reject(new CodexError('timed-out', `${otherwise} Waited ${withinMs / 1000} s.`))), withinMs);
    const subscription = listen(() => stop(resolve));
    const state = server.onState((now, why) => {
      if (now !== 'connected') stop(() => reject(new CodexError('connection-lost', `${otherwise} The app-server went away (${why}).`)));
    });
    cancel = () => stop(resolve);
  });
  // Nobody may be waiting yet when it fails; the one who asked for it still gets the failure.
  promise.catch(() => undefined);
  return { promise, cancel };
}
