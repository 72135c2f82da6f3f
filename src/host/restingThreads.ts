import { stat } from 'node:fs/promises';
import type { AppServer } from '../codex/appServer';
import { readGoal } from '../codex/besideRollout';
import { CodexError } from '../codex/codexError';
import { leaveThread, loadedThreads, subAgentsOf } from '../codex/quiesce';
import { readThread } from '../codex/threads';
import type { CodexHost } from './codexHost';
import type { Log } from './log';
import { describeError } from './wireError';

/** As long as Codex itself keeps a thread that nobody uses. What was accepted "for this session" is forgotten with it. */
export const REST_MS = 30 * 60 * 1000;
const LOOK_EVERY_MS = 5 * 60 * 1000;

export interface RestingPorts {
  readonly codex: CodexHost;
  readonly log: Log;
  /** Why a thread must stay as it is; null where nothing is under way with it. */
  readonly underWay: (threadId: string) => string | null;
  /** Whether a Codex client of this host has it open. */
  readonly isOpen: (threadId: string) => boolean;
  readonly now: () => number;
}

/** Has the app-server let go of threads that rest: as long as it has one loaded, no other Codex program of this machine can go on with it. */
export class RestingThreads {
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly ports: RestingPorts) {}

  /** Begins to look by itself. */
  start(): void {
    this.timer = setInterval(() => {
      this.look().catch((error: unknown) => this.ports.log.warn(`It could not be seen which threads rest: ${describeError(error).message}`));
    }, LOOK_EVERY_MS);
    this.timer.unref();
  }

  dispose(): void {
    clearInterval(this.timer);
  }

  /** Lets go of every thread with which nothing was done for long. */
  async look(): Promise<void> {
    const { codex, now } = this.ports;
    if (codex.version === null) return;
    for (const threadId of await loadedThreads(await codex.ready())) {
      if (now() - codex.use.since(threadId) >= REST_MS) await this.letGo(threadId);
    }
  }

  /** Does something for which a thread may have to be loaded, and lets go of it then, unless it was loaded before. */
  async onlyLooking<T>(threadId: string, act: () => Promise<T>): Promise<T> {
    const loaded = this.ports.codex.isLoaded(threadId);
    try {
      return await act();
    } finally {
      if (!loaded) await this.letGo(threadId).catch((error: unknown) => this.ports.log.warn(`Codex still has the thread ${threadId} open: ${describeError(error).message}`));
    }
  }

  /** Lets go of a thread, unless anything is done with it, or it does something by itself. */
  async letGo(threadId: string): Promise<void> {
    const { codex, underWay, isOpen } = this.ports;
    if (underWay(threadId) !== null || isOpen(threadId)) return;
    await codex.use.leave(threadId, async () => {
      const server = await codex.ready();
      if (!(await rests(server, threadId))) return;
      await leaveThread(server, threadId);
      codex.forget(threadId);
    });
  }
}

async function rests(server: AppServer, threadId: string): Promise<boolean> {
  try {
    const { status, parentThreadId, path } = await readThread(server, threadId);
    if (status.type !== 'idle') return false;
    // One that is not on disk, having had no turn, would be lost.
    if (path === null || !(await stat(path).then(() => true, () => false))) return false;
    if (parentThreadId !== null && (await readThread(server, parentThreadId)).status.type === 'active') return false;
    const loaded = await loadedThreads(server);
    if ((await subAgentsOf(server, threadId)).some((id) => loaded.has(id))) return false;
    if ((await server.request('thread/backgroundTerminals/list', { threadId })).data.length > 0) return false;
    return (await readGoal(server, threadId))?.status !== 'active';
  } catch (error) {
    if (CodexError.is(error, 'thread-not-found')) return false;
    throw error;
  }
}
