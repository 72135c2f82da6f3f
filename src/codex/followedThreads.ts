import { z } from 'zod';
import type { AppServer } from './appServer';
import { askedParams } from './readSchemas';

const joinedThread = z.looseObject({ thread: z.looseObject({ id: z.string() }) });

/** The threads that one client follows. The server forgets who followed what when a connection drops, so the client has to know. */
export class FollowedThreads {
  readonly #ids = new Set<string>();

  /** Learns from a request that succeeded. */
  note(method: string, params: unknown, result: unknown): void {
    if (method === 'thread/start' || method === 'thread/resume' || method === 'thread/fork') {
      const joined = joinedThread.safeParse(result);
      if (joined.success) this.#ids.add(joined.data.thread.id);
    } else if (method === 'thread/unsubscribe' || method === 'thread/archive' || method === 'thread/delete') {
      const left = askedParams.safeParse(params);
      if (left.success) this.#ids.delete(left.data.threadId);
    }
  }

  /**
   * Follows again what was followed, and all that the server has loaded; joining a thread also replays its open requests.
   * Threads that were idle when the connection dropped have been unloaded meanwhile, so the server's list lacks them.
   */
  async joinAgain(server: AppServer, log: (message: string) => void): Promise<void> {
    const { data } = await server.request('thread/loaded/list', {});
    for (const threadId of new Set([...data, ...this.#ids])) {
      await server.request('thread/resume', { threadId, excludeTurns: true }).catch((error: unknown) => {
        this.#ids.delete(threadId);
        log(`app-server: thread ${threadId} was not joined again: ${String(error)}`);
      });
    }
  }
}
