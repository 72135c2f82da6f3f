/** Putting a rollout that came from another host together, and in its place in this Codex home. */
import { createReadStream, createWriteStream } from 'node:fs';
import { copyFile, mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { CodexError } from './codexError';
import { baseIdOf, describeRollout, hashBodyPrefix, maxMetaLineBytes, parseMetaLine, parseRolloutName, readBody, type RolloutDescription } from './rollout';

/** A rollout of the same thread's family, as the other host announced it. */
export type AnnouncedRollout = {
  readonly name: string;
  readonly metaLine: string;
  /** Line 1 of this host's own copy, where that one is used instead. */
  readonly placedMetaLine?: string | undefined;
};

/**
 * Line 1 of a rollout as it must be on a host where the thread works in `cwd`. `thread/list` shows and filters by this
 * line's folder for ever, so it has to be right before Codex first sees the file; `thread/resume` needs the folder as well.
 *
 * A fork or a segment names, in `history_base`, a byte offset in the file that it builds on. That file's own line 1 changes
 * length here, so the offset moves with it; else Codex reads too little of the base, or refuses it ("cutoff byte offset is
 * past the source rollout").
 * @param family the other rollouts that travel with it; what it builds on is among them
 * @throws CodexError `rollout-invalid`
 */
export function rewriteMetaLine(metaLine: string, name: string, cwd: string, family: readonly AnnouncedRollout[] = []): string {
  const parsed = parseMetaLine(metaLine, name);
  const payload = { ...parsed.payload, cwd, runtime_workspace_roots: [cwd] };
  const base = payload.history_base;
  if (typeof base?.end_byte_offset === 'number') {
    const file = baseOf(name, base.thread_id, family);
    // A file always sorts after what it builds on within its thread, and threads build on older ones, so this ends.
    const placed = (at: AnnouncedRollout) => at.placedMetaLine ?? rewriteMetaLine(at.metaLine, at.name, cwd, family.filter((other) => other.name !== name));
    const shift = file === null ? 0 : Buffer.byteLength(placed(file)) - Buffer.byteLength(file.metaLine);
    payload.history_base = { ...base, end_byte_offset: base.end_byte_offset + shift };
  }
  return JSON.stringify({ ...parsed, payload });
}

/** The file that `name` builds on, of those that travel. */
function baseOf(name: string, baseId: string, family: readonly AnnouncedRollout[]): AnnouncedRollout | null {
  return family.find((file) => file.name !== name && baseIdOf(file.name) === baseId) ?? null;
}

export type StageRollout = {
  /** Private folder of this handoff; on the file system of the Codex home if it can be. */
  stagingDir: string;
  /** File name as the other host gave it; refused unless it is a rollout's. */
  name: string;
  /** Line 1 as the other host gave it. */
  metaLine: string;
  /** This host's own, older copy, whose first `prefixBytes` body bytes are used instead of being sent. */
  existing?: string;
  prefixBytes: number;
  /** The rest of the body: bytes `prefixBytes` to `bodyBytes`, as a stream or a file that holds just these. */
  tail: Readable | { path: string };
  bodyBytes: number;
  /** Of the whole body, hex. */
  bodySha256: string;
  /** Where the thread will work on this host. */
  cwd: string;
  /** All rollouts that travel together, as announced; needed for one that builds on another. */
  family?: readonly AnnouncedRollout[];
  /** Line 1 is filled up with white space to this length, bytes. */
  leastMetaBytes?: number;
};

export type StagedRollout = RolloutDescription & { path: string; threadId: string };

/**
 * Writes the whole rollout into `stagingDir`, flushed to the disk, and checks what is on the disk against the hash.
 * Leaves no file behind when it fails.
 * @throws CodexError `rollout-invalid` when name, first line, length or hash is not what was announced
 */
export async function stageRollout(options: StageRollout): Promise<StagedRollout> {
  const { name, bodyBytes, bodySha256, prefixBytes } = options;
  const parsed = parseRolloutName(name);
  if (parsed === null) throw new CodexError('rollout-invalid', `"${name.slice(0, 200)}" is not the name of a rollout, so it was refused.`);
  if (Buffer.byteLength(options.metaLine) > maxMetaLineBytes) throw new CodexError('rollout-invalid', `The first line of ${name} is longer than ${maxMetaLineBytes} bytes, so it was refused.`);
  if (!/^[0-9a-f]{64}$/.test(bodySha256) || !isCount(bodyBytes) || !isCount(prefixBytes) || prefixBytes > bodyBytes || (prefixBytes > 0 && options.existing === undefined)) {
    throw new CodexError('rollout-invalid', `The announced size or hash of ${name} makes no sense, so it was refused.`);
  }
  const rewritten = rewriteMetaLine(options.metaLine, name, options.cwd, options.family);
  const metaLine = rewritten + ' '.repeat(Math.max(0, (options.leastMetaBytes ?? 0) - Buffer.byteLength(rewritten)));
  const path = join(options.stagingDir, name);
  await mkdir(options.stagingDir, { recursive: true, mode: 0o700 });
  try {
    await pipeline(content(options, metaLine), createWriteStream(path, { mode: 0o600, flush: true }));
    const written = await describeRollout(path);
    if (written.bodyBytes !== bodyBytes || written.bodySha256 !== bodySha256) {
      throw new CodexError('rollout-invalid', `The rollout ${name} arrived with ${written.bodyBytes} bytes and hash ${written.bodySha256.slice(0, 12)}…; ${bodyBytes} bytes and hash ${bodySha256.slice(0, 12)}… were announced. It was discarded; start the handoff again.`);
    }
    return { ...written, path, threadId: parsed.threadId };
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  }
}

const isCount = (value: number) => Number.isSafeInteger(value) && value >= 0;

async function* content(options: StageRollout, metaLine: string): AsyncGenerator<Buffer> {
  yield Buffer.from(`${metaLine}\n`);
  if (options.existing !== undefined) yield* readBody(options.existing, 0, options.prefixBytes) as AsyncIterable<Buffer>;
  let room = options.bodyBytes - options.prefixBytes;
  const tail = options.tail instanceof Readable ? options.tail : createReadStream(options.tail.path);
  for await (const chunk of tail as AsyncIterable<Buffer>) {
    room -= chunk.length;
    if (room < 0) throw new CodexError('rollout-invalid', `More of the rollout ${options.name} arrived than was announced. It was discarded; start the handoff again.`);
    yield chunk;
  }
}

/**
 * Moves a staged rollout to its place in `sessions/`, at once or not at all. A copy that is there already is replaced only
 * if its body is a prefix of the new one. Codex must not have the thread loaded, and the thread must not be archived:
 * Codex remembers that in its database, where a file put in place changes nothing. With `archived` it goes into the archive instead.
 * @returns the path of the installed file
 * @throws CodexError `rollout-diverged`, `thread-archived`
 */
export async function installRollout(options: { codexHome: string; staged: StagedRollout; archived?: boolean }): Promise<string> {
  const { codexHome, staged, archived = false } = options;
  const day = parseRolloutName(staged.name)?.day;
  if (day === undefined) throw new CodexError('rollout-invalid', `"${staged.name}" is not the name of a rollout.`);
  const inArchive = join(codexHome, 'archived_sessions', staged.name);
  if (!archived && (await exists(inArchive))) {
    throw new CodexError('thread-archived', `Thread ${staged.threadId} is archived in ${codexHome}. Unarchive it (thread/unarchive) before its rollout is replaced.`);
  }
  const target = archived ? inArchive : join(codexHome, 'sessions', ...day, staged.name);
  if (await exists(target)) await requirePrefix(target, staged);
  await mkdir(dirname(target), { recursive: true, mode: 0o700 });
  try {
    await rename(staged.path, target);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EXDEV') throw error;
    await moveAcross(staged.path, target);
  }
  await syncFolder(dirname(target));
  return target;
}

/** @throws CodexError `rollout-diverged` unless the body of the rollout at `path` is a prefix of the staged one */
export async function requirePrefix(path: string, staged: StagedRollout): Promise<void> {
  const here = await describeRollout(path);
  if (here.bodyBytes <= staged.bodyBytes && (await hashBodyPrefix(staged.path, here.bodyBytes)) === here.bodySha256) return;
  throw new CodexError('rollout-diverged', `The rollout ${path} is not a beginning of the one that would replace it: the thread went on here and elsewhere. Neither was changed. Fork the thread to keep both.`);
}

async function moveAcross(from: string, to: string): Promise<void> {
  // Codex takes up only names that end in .jsonl, so it does not see the half-written copy.
  const partial = `${to}.partial`;
  try {
    await copyFile(from, partial);
    const file = await open(partial, 'r+');
    await file.sync().finally(() => file.close());
    await rename(partial, to);
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
  await rm(from, { force: true });
}

/** Makes a rename last through a power cut. Windows opens no folders, and needs none of this. */
export async function syncFolder(path: string): Promise<void> {
  if (process.platform === 'win32') return;
  const folder = await open(path, 'r');
  await folder.sync().finally(() => folder.close());
}

const exists = (path: string) => stat(path).then(() => true, () => false);
