/** A thread kept under another id, byte for byte: what a host does with its copy of a thread that goes on elsewhere. */
import { createHash, randomBytes } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { AppServer } from './appServer';
import { CodexError } from './codexError';
import { baseIdOf, describeRollout, parseMetaLine, parseRolloutName, readBody, readMetaLine } from './rollout';
import { listRollouts } from './rolloutFamily';
import { requirePrefix, syncFolder, type StagedRollout } from './rolloutImport';

/** An id for a thread, as Codex makes them: a UUID of version 7 (RFC 9562, section 5.7), which sorts by its time. */
export function newThreadId(now = Date.now()): string {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(now, 0, 6);
  bytes.writeUInt8(((bytes[6] ?? 0) & 0x0f) | 0x70, 6);
  bytes.writeUInt8(((bytes[8] ?? 0) & 0x3f) | 0x80, 8);
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/**
 * Copies a thread's own rollouts, in this home, to a thread of another id; what the thread builds on stays shared. The copies
 * are hashed and synced. May be repeated. `thread/fork` would not do: its result only refers to the thread that it came from,
 * whose rollout is about to be replaced.
 *
 * @throws CodexError `rollout-missing`; `rollout-compressed`; `rollout-invalid` where the copy is not what was copied
 */
export async function copyThread(options: { readonly codexHome: string; readonly threadId: string; readonly copyId: string }): Promise<void> {
  const { codexHome, threadId, copyId } = options;
  const all = await listRollouts(codexHome);
  const files = all.get(threadId) ?? [];
  if (files.length === 0 && !all.has(copyId)) throw new CodexError('rollout-missing', `The Codex home ${codexHome} has no rollout of thread ${threadId}.`);
  // Its segments too get ids of their own: by these alone later ones name what they build on.
  const ids = new Map([[threadId, copyId]]);
  for (const { name } of files) {
    const segmentId = parseRolloutName(name)?.segmentId;
    if (segmentId != null) ids.set(segmentId, segmentIdOf(segmentId, copyId));
  }
  const renamed = (text: string) => [...ids].reduce((changed, [from, to]) => changed.replaceAll(from, to), text);
  for (const { path, name, compressed } of files) {
    if (compressed) throw new CodexError('rollout-compressed', `The rollout ${path} is compressed. Open the thread in Codex once, so that it can be copied.`);
    const copyName = renamed(name);
    const day = parseRolloutName(copyName)?.day;
    if (day === undefined) throw new CodexError('rollout-invalid', `"${copyName}" is not the name of a rollout.`);
    const target = join(codexHome, 'sessions', ...day, copyName);
    // Made before a crash, and perhaps gone on with since.
    if ((all.get(copyId) ?? []).some((file) => file.name === copyName)) continue;
    const { bodyBytes, bodySha256 } = await describeRollout(path);
    await mkdir(dirname(target), { recursive: true, mode: 0o700 });
    // The ids have the same length, so the offsets at which later segments branch off hold.
    const metaLine = renamed(await readMetaLine(path));
    const partial = `${target}.partial`;
    try {
      await pipeline(
        async function* () {
          yield Buffer.from(`${metaLine}\n`);
          yield* readBody(path, 0, bodyBytes) as AsyncIterable<Buffer>;
        },
        createWriteStream(partial, { mode: 0o600, flush: true }),
      );
      await rename(partial, target);
    } catch (error) {
      await rm(partial, { force: true });
      throw error;
    }
    await syncFolder(dirname(target));
    const copy = await describeRollout(target);
    if (copy.bodyBytes !== bodyBytes || copy.bodySha256 !== bodySha256) throw new CodexError('rollout-invalid', `The copy ${target} is not what ${path} is. The thread was left as it is.`);
  }
}

/**
 * Takes a thread, of which there is a copy, out of this home, so that its rollout can come back from elsewhere: Codex would go on
 * showing turns of the old one. Where other threads build on it (forks, sub-agents) it goes to the archive instead.
 *
 * @returns whether it is gone
 */
export async function retireThread(server: AppServer, options: { readonly codexHome: string; readonly threadId: string; readonly copyId: string }): Promise<boolean> {
  const { codexHome, threadId, copyId } = options;
  const all = await listRollouts(codexHome);
  if (!all.has(threadId)) return true;
  if (!all.has(copyId)) throw new CodexError('rollout-missing', `There is no copy ${copyId} of thread ${threadId}, so the thread was left as it is.`);
  all.delete(copyId);
  if (await isBuiltUpon(all, threadId)) return false;
  await server.request('thread/delete', { threadId });
  return true;
}

/**
 * @throws CodexError `rollout-diverged` where the rollout at `path`, of which a copy is to be kept, could not give way to the staged
 *   one: it is not a beginning of that, and other threads build on it
 */
export async function requireReplaceable(codexHome: string, threadId: string, path: string, staged: StagedRollout): Promise<void> {
  if (!(await isBuiltUpon(await listRollouts(codexHome), threadId))) return;
  await requirePrefix(path, staged).catch((cause: unknown) => {
    if (!CodexError.is(cause, 'rollout-diverged')) throw cause;
    throw new CodexError('rollout-diverged', `The thread ${threadId} went on here and elsewhere, and it cannot be kept as a fork, since other threads here (its sub-agents, or forks) build on it. Neither was changed. Delete those in Codex first, or go on with either side as it is.`, { cause });
  });
}

/** The id of a segment in a copy of its thread: always the same, and as long. Its beginning, which is a time and the kind of id, stays. */
function segmentIdOf(segmentId: string, copyId: string): string {
  const digits = createHash('sha256').update(`${copyId}/${segmentId}`).digest('hex');
  return segmentId.slice(0, 24) + segmentId.slice(24).replace(/[0-9a-f]/g, (_, index: number) => digits[index] ?? '0');
}

/**
 * Whether segments of a thread arrive that this home does not have beside those that it has: Codex would go on with the last one that
 * it knows, and so with what was reverted elsewhere, unless it forgets the thread (`thread/delete`) before they are put in place.
 */
export function mustBeForgotten(known: readonly { readonly name: string }[], arriving: readonly string[]): boolean {
  return known.length > 0 && arriving.some((name) => !known.some((file) => file.name === name));
}

/**
 * @param arriving the thread and its sub-agents, all of whose rollouts arrive: those Codex forgets along with it
 * @throws CodexError `rollout-diverged` where other threads of this home need what Codex would have to forget
 */
export async function requireForgettable(codexHome: string, arriving: readonly string[]): Promise<void> {
  const all = await listRollouts(codexHome);
  for (const threadId of arriving) {
    const others = new Map([...all].filter(([id]) => id === threadId || !arriving.includes(id)));
    if (await isBuiltUpon(others, threadId)) {
      throw new CodexError('rollout-diverged', `The thread ${threadId} was reverted since it was here, and other threads here (forks, or their sub-agents) build on what it was; Codex cannot take both in. Nothing was changed. Delete those in Codex first, or go on with the thread where it is.`);
    }
  }
}

/** Whether forks or sub-agents of a thread need its rollout where it is. */
async function isBuiltUpon(all: Awaited<ReturnType<typeof listRollouts>>, threadId: string): Promise<boolean> {
  const own = new Set([threadId, ...(all.get(threadId) ?? []).map(({ name }) => baseIdOf(name))]);
  for (const [id, files] of all) {
    if (id === threadId) continue;
    for (const { path, compressed } of files) {
      if (compressed) continue;
      const { parent_thread_id: parent, forked_from_id: forkedFrom, history_base: base } = await metaOf(path);
      if ([parent, forkedFrom, base?.thread_id].some((named) => named != null && own.has(named))) return true;
    }
  }
  return false;
}

type MetaPayload = Partial<ReturnType<typeof parseMetaLine>['payload']>;

async function metaOf(path: string): Promise<MetaPayload> {
  try {
    return parseMetaLine(await readMetaLine(path), path).payload;
  } catch (error) {
    // A broken file of some other thread builds on nothing that Codex could read.
    if (CodexError.is(error)) return {};
    throw error;
  }
}
