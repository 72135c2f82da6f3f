import { loadedThreads, subAgentsOf } from '../codex/quiesce';
import { readThread } from '../codex/threads';
import type { ApprovalBroker } from './approvalBroker';
import { isApprovalMethod } from './approvalRequest';
import type { CodexHost, Having } from './codexHost';

/** How long a server takes at most to repeat what it is asking to who has just joined its threads. */
const REPEATED_MS = 3_000;

/** What a thread and its sub-agents wait for on an app-server of another program, raised here so that it can go along with the thread. */
export class ForeignQuestions {
  private readonly ids: string[] = [];
  /** Threads of which a question has been raised here. */
  private readonly asking = new Set<string>();
  private readonly listening: { dispose(): void };
  private onAsking: () => void = () => undefined;

  constructor(
    private readonly having: Having,
    private readonly threadId: string,
    private readonly approvals: Pick<ApprovalBroker, 'request' | 'settled'>,
    codex: Pick<CodexHost, 'changesOf'>,
  ) {
    const { server } = having;
    this.listening = server.onServerRequest((request) => {
      if (!isApprovalMethod(request.method)) return;
      const { threadId: asks } = request.params as { threadId: string };
      // The ids of two servers are not apart.
      const id = `foreign-${request.id}`;
      this.ids.push(id);
      void approvals
        .request(id, request.method, request.params, (result) => server.reply(request, result as never), (of, itemId) => codex.changesOf(server, of, itemId))
        .catch(() => undefined)
        .then(() => {
          this.asking.add(asks);
          this.onAsking();
        });
    });
  }

  /** Resolves once every thread of the family that waits with a question has been heard, or no more came. */
  async heard(): Promise<void> {
    const { server } = this.having;
    const loaded = await loadedThreads(server);
    const waiting: string[] = [];
    for (const id of [this.threadId, ...(await subAgentsOf(server, this.threadId))]) {
      if (!loaded.has(id)) continue;
      // Only who has joined a thread is asked.
      if (id !== this.threadId) await this.having.join(id);
      const { status } = await readThread(server, id);
      if (status.type === 'active' && status.activeFlags.length > 0) waiting.push(id);
    }
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      const look = () => {
        if (waiting.every((id) => this.asking.has(id))) resolve();
      };
      this.onAsking = look;
      timer = setTimeout(resolve, REPEATED_MS);
      look();
    });
    clearTimeout(timer);
    // Several questions of one thread come one right after the other, and before what is asked for after them.
    await readThread(server, this.threadId);
  }

  /** The turns that asked are over. */
  dispose(): void {
    this.listening.dispose();
    for (const id of this.ids) this.approvals.settled(id);
  }
}
