/** Which rollouts a thread consists of. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { AppServer } from './appServer';
import { CodexError } from './codexError';
import { releaseThread, subAgentsOf } from './quiesce';
import { isArchived } from './threads';
import { baseIdOf, parseMetaLine, parseRolloutName, readMetaLine } from './rollout';

export type RolloutFile = {
  path: string;
  /** File name, without `.zst`. */
  name: string;
  threadId: string;
  /** `thread`: its first file. `segment`: begun when the thread was reverted. `ancestor`: its history builds on it. `subagent`: of a thread that it spawned. */
  relation: 'thread' | 'segment' | 'ancestor' | 'subagent';
  /** It lies in `archived_sessions/`. */
  archived: boolean;
  /** Only `.jsonl.zst` exists; it must be opened in Codex once before it can be read. */
  compressed: boolean;
};
type Found = Omit<RolloutFile, 'relation'>;

/** What each of some rollouts that travel together is to the thread `mainThread`, by name. @throws CodexError `rollout-invalid` for one that is not what its name says */
export function relationsOf(announced: readonly { readonly name: string; readonly threadId: string; readonly metaLine: string }[], mainThread: string): Map<string, 'thread' | 'ancestor' | 'subagent'> {
  const parents = new Map<string, string | null>();
  for (const { name, threadId, metaLine } of announced) {
    const { payload } = parseMetaLine(metaLine, name);
    if (payload.id !== threadId || parseRolloutName(name)?.threadId !== threadId) throw new CodexError('rollout-invalid', `The rollout ${name} is not named for the thread that it holds.`);
    parents.set(threadId, payload.parent_thread_id ?? null);
  }
  const descends = (threadId: string): boolean => {
    const seen = new Set<string>();
    for (let id: string | null = threadId; id !== null && !seen.has(id); id = parents.get(id) ?? null) {
      if (id === mainThread) return true;
      seen.add(id);
    }
    return false;
  };
  return new Map(announced.map(({ name, threadId }) => [name, threadId === mainThread ? 'thread' : descends(threadId) ? 'subagent' : 'ancestor']));
}

/**
 * How much of a rollout's body others build on, bytes: no more of an ancestor need travel, for what follows is another thread's.
 * Infinity where that cannot be told.
 */
export function neededBytes(file: { readonly name: string; readonly threadId: string; readonly metaLine: string }, family: readonly { readonly name: string; readonly threadId: string; readonly metaLine: string }[]): number {
  const ends = family.flatMap(({ name, metaLine }) => {
    const base = parseMetaLine(metaLine, name).payload.history_base ?? null;
    return base !== null && base.thread_id === baseIdOf(file.name) ? [base.end_byte_offset ?? Infinity] : [];
  });
  return ends.length === 0 ? Infinity : Math.max(0, Math.max(...ends) - Buffer.byteLength(file.metaLine) - 1);
}

/** The rollouts that lie in a Codex home, by thread. A plain file hides its compressed twin. */
export async function listRollouts(codexHome: string): Promise<Map<string, Omit<RolloutFile, 'relation'>[]>> {
  const threads = new Map<string, Found[]>();
  const walk = async (directory: string, archived: boolean): Promise<void> => {
    const entries = await readdir(directory, { withFileTypes: true }).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    });
    const names = new Set(entries.map((entry) => entry.name));
    for (const entry of entries) {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) await walk(path, archived);
      if (!entry.isFile()) continue;
      const compressed = entry.name.endsWith('.jsonl.zst');
      const name = compressed ? entry.name.slice(0, -'.zst'.length) : entry.name;
      const parsed = parseRolloutName(name);
      if (parsed === null || (compressed && names.has(name))) continue;
      const files = threads.get(parsed.threadId) ?? [];
      files.push({ path, name, threadId: parsed.threadId, archived, compressed });
      threads.set(parsed.threadId, files);
    }
  };
  await walk(join(codexHome, 'sessions'), false);
  await walk(join(codexHome, 'archived_sessions'), true);
  return threads;
}

/**
 * Every rollout that a thread needs, in the order in which Codex should meet them: ancestors first, then the thread's own
 * files oldest first, then sub-agents. With `server`, Codex writes out again what it has compressed.
 * @throws CodexError `rollout-missing` when there is none, or one that the history builds on is not there; `rollout-invalid`, `rollout-compressed`
 */
export async function findRollouts(options: { codexHome: string; threadId: string; server?: AppServer }): Promise<RolloutFile[]> {
  const { codexHome, threadId, server } = options;
  let all = await listRollouts(codexHome);
  const unpacked = async (id: string): Promise<Found[] | undefined> => {
    if (server === undefined || all.get(id)?.some(({ compressed }) => compressed) !== true) return all.get(id);
    await unpackThread(server, id);
    all = await listRollouts(codexHome);
    return all.get(id);
  };
  const spawned = server === undefined ? [] : await subAgentsOf(server, threadId);
  for (const id of spawned) await unpacked(id);
  if ((await unpacked(threadId)) === undefined) throw new CodexError('rollout-missing', `The Codex home ${codexHome} has no rollout of thread ${threadId}. A thread has one from its first turn on.`);

  const children = await childrenByParent(all, threadId);
  const descendants: string[] = [];
  for (const queue = [threadId]; queue.length > 0; ) {
    for (const child of children.get(queue.shift() ?? '') ?? []) {
      if (child === threadId || descendants.includes(child)) continue;
      descendants.push(child);
      queue.push(child);
    }
  }

  const family = new Set([threadId, ...descendants]);
  const ancestors: string[] = [];
  for (const queue = [...family]; queue.length > 0; ) {
    const id = queue.shift() ?? '';
    const files = await unpacked(id);
    if (files === undefined) throw new CodexError('rollout-missing', `The history of thread ${threadId} builds on thread ${id}, of which the Codex home ${codexHome} has no rollout.`);
    for (const file of files) {
      const named = parseMetaLine(await readMetaLine(file.path), file.path).payload.history_base?.thread_id;
      const base = named === undefined ? undefined : ownerOf(all, named);
      if (base === undefined || family.has(base) || ancestors.includes(base)) continue;
      ancestors.unshift(base);
      queue.push(base);
    }
  }

  const filesOf = (id: string, relation: RolloutFile['relation']): RolloutFile[] =>
    [...(all.get(id) ?? [])]
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .map((file) => ({ ...file, relation: relation === 'thread' && parseRolloutName(file.name)?.segmentId !== null ? 'segment' : relation }));
  return [...ancestors.flatMap((id) => filesOf(id, 'ancestor')), ...filesOf(threadId, 'thread'), ...descendants.flatMap((id) => filesOf(id, 'subagent'))];
}

/** The thread of the rollout that a `history_base` names. */
function ownerOf(all: ReadonlyMap<string, readonly Found[]>, baseId: string): string {
  if (all.has(baseId)) return baseId;
  for (const [threadId, files] of all) if (files.some(({ name }) => baseIdOf(name) === baseId)) return threadId;
  return baseId;
}

/** Has Codex write a compressed rollout out plainly, as it does when a thread is opened. An archived one is in the archive again afterwards. @throws CodexError where Codex does not open it */
export async function unpackThread(server: AppServer, threadId: string): Promise<void> {
  const archived = await isArchived(server, threadId);
  if (archived) await server.request('thread/unarchive', { threadId });
  try {
    await server.request('thread/resume', { threadId, excludeTurns: true });
    await releaseThread(server, threadId);
  } finally {
    if (archived) await server.request('thread/archive', { threadId });
  }
}

/** Sub-agents by the thread that spawned them. Thread ids are UUIDv7, so one spawned by `threadId` sorts after it; older files are not opened. */
async function childrenByParent(all: ReadonlyMap<string, readonly Found[]>, threadId: string): Promise<Map<string, string[]>> {
  const children = new Map<string, string[]>();
  for (const [id, files] of all) {
    const file = files.find((candidate) => !candidate.compressed);
    if (id <= threadId || file === undefined) continue;
    let parent: string | null | undefined;
    try {
      parent = parseMetaLine(await readMetaLine(file.path), file.path).payload.parent_thread_id;
    } catch (error) {
      // A broken file of some other thread is no reason not to move this one.
      if (!CodexError.is(error)) throw error;
    }
    if (parent !== null && parent !== undefined) children.set(parent, [...(children.get(parent) ?? []), id]);
  }
  return children;
}
