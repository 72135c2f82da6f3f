/** Threads of the bench, through the host protocol. */
import type { HostClient } from '../../src/host/hostClient';
import { z } from 'zod';

const started = z.looseObject({ thread: z.looseObject({ id: z.string() }) });
const aboutThread = z.looseObject({ threadId: z.string() });

/** Starts a thread in `cwd` and says one thing after the other, each once the turn before has ended. A last turn that waits for an approval is left waiting. */
export async function converse(client: HostClient, cwd: string, texts: readonly string[]): Promise<string> {
  const { thread } = started.parse(await client.codex('thread/start', { cwd, approvalPolicy: 'on-request', sandbox: 'workspace-write' }));
  for (const text of texts) await say(client, thread.id, text);
  return thread.id;
}

/** Starts a turn in a thread that this client follows, and waits until it ends or asks for an approval. */
export async function say(client: HostClient, threadId: string, text: string): Promise<void> {
  const rests = resting(client, threadId);
  await client.codex('turn/start', { threadId, input: [{ type: 'text', text, text_elements: [] }] });
  await rests;
}

/** Resolves when a turn of the thread ends or asks for an approval, from now on. */
export function resting(client: HostClient, threadId: string): Promise<void> {
  return new Promise((fulfil, reject) => {
    const unsubscribe = [
      client.onCodex((method, params) => {
        const about = aboutThread.safeParse(params);
        if (method === 'turn/completed' && about.success && about.data.threadId === threadId) end(fulfil);
      }),
      client.on('approval/requested', ({ approval }) => {
        if (approval.threadId === threadId) end(fulfil);
      }),
      client.onClose(() => end(() => reject(new Error('The host went away while a turn ran.')))),
    ];
    const end = (settle: () => void) => {
      for (const stop of unsubscribe) stop();
      settle();
    };
  });
}
