import { z } from 'zod';
import { HostError } from '../hostError';
import type { HostClient } from '../hostClient';
import { thread, type Thread } from '../protocol';
import { resolveThread } from './resolve';

const PAGE = 100;
/** A host that never ends its list would otherwise be asked for ever. */
const MAX_PAGES = 1000;
const threadPage = z.looseObject({ data: z.array(thread), nextCursor: z.string().nullish() });

/** Checks what Codex answered, through the host, against the part of it that is used here. */
export function checked<S extends z.ZodType>(schema: S, value: unknown, method: string): z.output<S> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new HostError('internal', `The answer to ${method} does not have the expected shape: ${z.prettifyError(parsed.error)}`);
}

/** Reads all pages of a Codex list. */
export async function readPages<T>(client: HostClient, method: string, params: object, page: z.ZodType<{ data: T[]; nextCursor?: string | null | undefined }>): Promise<T[]> {
  const all: T[] = [];
  let cursor: string | null | undefined;
  for (let count = 0; count < MAX_PAGES; count++) {
    const answer = checked(page, await client.codex(method, { ...params, limit: PAGE, ...(cursor ? { cursor } : {}) }), method);
    all.push(...answer.data);
    cursor = answer.nextCursor;
    if (!cursor) break;
  }
  return all;
}

/** The threads of a host, newest first: those at hand, and those that have moved away, which Codex keeps in its archive. */
export async function listThreads(client: HostClient): Promise<Thread[]> {
  // An empty list of providers is every provider; Codex shows those of the current one otherwise.
  const list = (archived: boolean) => readPages(client, 'thread/list', { archived, modelProviders: [], sortKey: 'updated_at' }, threadPage);
  const [here, archived] = [await list(false), await list(true)];
  return [...here, ...archived.filter((each) => Boolean(each.baton?.movedTo))];
}

/** The thread that THREAD of the command line names. Throws `no-such-thread`, `ambiguous-thread`. */
export async function findThread(client: HostClient, word: string): Promise<Thread> {
  return resolveThread(word, await listThreads(client));
}

/**
 * A thread's state in one word, as Codex has it: `idle`, `active`, `notLoaded`, `systemError`, or what an active one waits for.
 * One that moved here with an approval pending waits for it too, though Codex knows nothing of that.
 */
export function statusOf(each: Thread): string {
  const waiting = each.status.activeFlags?.find((flag) => flag === 'waitingOnApproval' || flag === 'waitingOnUserInput');
  if (each.status.type !== 'active' && (each.baton?.pendingApprovals ?? 0) > 0) return 'waitingOnApproval';
  return each.status.type === 'active' && waiting !== undefined ? waiting : each.status.type;
}
