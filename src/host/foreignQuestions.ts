import type { AppServer } from '../codex/appServer';
import { readThread } from '../codex/threads';
import type { ApprovalBroker } from './approvalBroker';
import { isApprovalMethod } from './approvalRequest';

/** How long a server takes at most to repeat what it is asking to who has just joined the thread. */
const REPEATED_MS = 3_000;

/** What a thread waits for on an app-server of another program, raised here so that it can go along with the thread. */
export class ForeignQuestions {
  private readonly ids: string[] = [];
  private readonly listening: { dispose(): void };
  private answer: () => void = () => undefined;
  private readonly first = new Promise<void>((resolve) => (this.answer = resolve));

  constructor(
    private readonly server: AppServer,
    private readonly threadId: string,
    private readonly approvals: Pick<ApprovalBroker, 'request' | 'settled'>,
  ) {
    this.listening = server.onServerRequest((request) => {
      if (request.params.threadId !== threadId || !isApprovalMethod(request.method)) return;
      // The ids of two servers are not apart.
      const id = `foreign-${request.id}`;
      this.ids.push(id);
      void approvals.request(id, request.method, request.params, (result) => server.reply(request, result as never)).catch(() => undefined).then(this.answer);
    });
  }

  /** Resolves once the question that the thread waits with has been heard, or none came. */
  async heard(): Promise<void> {
    const { status } = await readThread(this.server, this.threadId);
    if (status.type !== 'active' || status.activeFlags.length === 0) return;
    let timer: NodeJS.Timeout | undefined;
    await Promise.race([this.first, new Promise<void>((resolve) => (timer = setTimeout(resolve, REPEATED_MS)))]).finally(() => clearTimeout(timer));
  }

  /** The turns that asked are over. */
  dispose(): void {
    this.listening.dispose();
    for (const id of this.ids) this.approvals.settled(id);
  }
}
