import { z } from 'zod';
import type { HostClient } from '../host/hostClient';
import { thread, type Thread } from '../host/protocol';

const PAGE = 100;
/** More threads than this are not listed: a list of that length is searched, not read. */
const MOST = 500;
const threadPage = z.looseObject({ data: z.array(z.unknown()), nextCursor: z.string().nullish() });

/** Whether another host has this thread now. */
export function hasMoved(candidate: Pick<Thread, 'baton'>): boolean {
  return (candidate.baton?.movedTo ?? null) !== null;
}

/**
 * The threads of a host, those updated last first: its own, and the archived ones that moved to another host. Entries
 * that are no threads by our schema are left out, and so is the second of two with one id (Codex lists a thread with
 * two rollout segments twice).
 */
export async function listThreads(client: Pick<HostClient, 'codex'>): Promise<Thread[]> {
  const [own, archived] = await Promise.all([listPages(client, false), listPages(client, true)]);
  const threads = new Map<string, Thread>();
  for (const candidate of [...own, ...archived.filter((known) => hasMoved(known))]) {
    if (!threads.has(candidate.id)) threads.set(candidate.id, candidate);
  }
  return [...threads.values()].sort((a, b) => b.updatedAt - a.updatedAt);
}

async function listPages(client: Pick<HostClient, 'codex'>, archived: boolean): Promise<Thread[]> {
  const threads: Thread[] = [];
  let cursor: string | null = null;
  do {
    // No `modelProviders` would mean: only those of the provider that is configured now.
    const page: z.infer<typeof threadPage> = threadPage.parse(await client.codex('thread/list', { archived, limit: PAGE, cursor, modelProviders: [] }));
    threads.push(...page.data.map((entry) => thread.safeParse(entry).data).filter((entry) => entry !== undefined));
    cursor = page.nextCursor ?? null;
  } while (cursor !== null && threads.length < MOST);
  return threads;
}
