import { existsSync } from 'node:fs';
import type { AppServer } from '../codex/appServer';
import { CodexError } from '../codex/codexError';
import { isRunning, loadedThreads, subAgentsOf } from '../codex/quiesce';
import { readThread } from '../codex/threads';
import { readRepository } from '../git/repository';
import type { Finding } from '../handoff/finding';
import type { CodexHost } from './codexHost';

export interface OtherWriter {
  readonly threadId: string;
  /** Its name or how it begins, for people. */
  readonly label: string;
}

/**
 * The threads besides `threadId`, with its sub-agents, that work in the checkout `root` now: a turn or a command of theirs runs. Known are those that
 * this host has loaded, and those of the app-server that this account's other Codex programs share.
 */
export async function otherWriters(codex: CodexHost, root: string, threadId: string | null): Promise<OtherWriter[]> {
  const own = threadId === null ? [] : [threadId, ...(await subAgentsOf(await codex.ready(), threadId))];
  return codex.withServers(async (servers) => {
    const found = new Map<string, OtherWriter>();
    for (const server of servers) {
      for (const id of await loadedThreads(server)) {
        if (own.includes(id) || found.has(id)) continue;
        const label = await unlessGone(async () => ((await works(server, id)) ? labelIn(server, codex, id, root) : null));
        if (label !== null) found.set(id, { threadId: id, label });
      }
    }
    return [...found.values()];
  });
}

async function works(server: AppServer, threadId: string): Promise<boolean> {
  return (await isRunning(server, threadId)) || (await server.request('thread/backgroundTerminals/list', { threadId })).data.length > 0;
}

/** Null where it works elsewhere. */
async function labelIn(server: AppServer, codex: CodexHost, threadId: string, root: string): Promise<string | null> {
  const { cwd, name, preview } = await readThread(server, threadId);
  const directory = codex.knownCwd(threadId) ?? cwd;
  const there = existsSync(directory) ? await readRepository(directory).catch(() => null) : null;
  return there?.root === root ? labelOf(name ?? preview) : null;
}

/** On one line, without what would not be seen. */
function labelOf(text: string): string {
  const characters = Array.from(text.replace(/[\p{C}\p{Z}\s]+/gu, ' ').trim());
  return characters.length > 60 ? `${characters.slice(0, 59).join('')}…` : characters.join('');
}

/** A thread may be unloaded while it is looked at. */
async function unlessGone<T>(look: () => Promise<T>): Promise<T | null> {
  try {
    return await look();
  } catch (error) {
    if (CodexError.is(error, 'thread-not-found') || CodexError.is(error, 'refused')) return null;
    throw error;
  }
}

const names = (writers: readonly OtherWriter[]): string => writers.slice(0, 5).map(({ label, threadId }) => `"${label}" (${threadId})`).join(', ') + (writers.length > 5 ? ` and ${writers.length - 5} more` : '');

const who = ({ length }: readonly OtherWriter[]): string => `${length === 1 ? 'Another thread works' : 'Other threads work'} in the same checkout`;
const stopping = ({ length }: readonly OtherWriter[]): string => (length === 1 ? 'Interrupt it and end its commands' : 'Interrupt them and end their commands');

export function writersFinding(writers: readonly OtherWriter[], root: string): Finding | null {
  if (writers.length === 0) return null;
  const one = writers.length === 1;
  return { level: 'warning', code: 'another-writer', message: `${who(writers)} ${root}: ${names(writers)}; what ${one ? 'it writes' : 'they write'} meanwhile travels half done or lets the handoff fail. ${stopping(writers)}, or wait until ${one ? 'it is' : 'they are'} done; threads that have worktrees of their own do not disturb each other.` };
}

/** What to say where the checkout did not stand still; null where no thread is known to be the cause. */
export const writersText = (writers: readonly OtherWriter[]): string | null => (writers.length === 0 ? null : `${who(writers)}: ${names(writers)}. ${stopping(writers)} first.`);
