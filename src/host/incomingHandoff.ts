import { createReadStream } from 'node:fs';
import { mkdir, readFile, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline, Readable } from 'node:stream';
import { createBrotliDecompress } from 'node:zlib';
import writeFileAtomic from 'write-file-atomic';
import { z } from 'zod';
import { syncDirectory } from '../git/durable';
import { receiveFiles, safeLength, safeNote, unlessMissing, type ArrivingFile } from './arrivingFiles';
import { HostError } from './hostError';
import type { KeptTransfers } from './keptTransfers';
import { manifest, type Manifest } from './peerProtocol';
import { handoffId as handoffIdSchema, hostId, threadId } from './protocol';

/** What a destination knows of a handoff that it is receiving, on disk from the offer until the books are closed. */
export const incomingRecord = z.object({
  version: z.literal(1),
  handoffId: handoffIdSchema,
  threadId,
  source: hostId,
  sourceName: z.string(),
  epoch: z.number().int().positive(),
  projectRoot: z.string(),
  subdirectory: z.string(),
  worktreeId: z.string(),
  worktree: z.string(),
  /** Fingerprint that the thread's worktree of an earlier stay must still have; null where a worktree is made. */
  expectedFingerprint: z.string().nullable(),
  /** The thread as which what this host has of it is to be kept; null where nothing is. `aside` once that is done. */
  fork: threadId.nullable().default(null),
  aside: z.boolean().default(false),
  /** Whether the user agreed that the thread arrives in another worktree than the one of an earlier stay. */
  apart: z.boolean().default(false),
  /** Where the submodules of the offer will belong, in its order. */
  submodules: z.array(z.object({ place: z.string(), repository: z.string(), objectFormat: z.enum(['sha1', 'sha256']) })),
  manifest: manifest.nullable(),
  /** Of each part's Git LFS objects, whether they were here when it was announced. Those are not sent. */
  heldLfs: z.array(z.array(z.boolean())),
  /** Set once everything is restored: what the thread's activation needs. */
  prepared: z
    .object({
      head: z.string().nullable(),
      branch: z.string().nullable(),
      fingerprint: z.string(),
      notes: z.array(z.string()),
      rollouts: z.array(z.object({ name: z.string(), path: z.string() })),
    })
    .nullable(),
});
export type IncomingRecord = z.infer<typeof incomingRecord>;

/** The directory `handoffs/<id>/` of a handoff that this host receives. */
export class IncomingHandoff {
  private constructor(
    readonly directory: string,
    private current: IncomingRecord,
  ) {}

  static async create(base: string, record: IncomingRecord): Promise<IncomingHandoff> {
    const directory = join(base, handoffIdSchema.parse(record.handoffId));
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const incoming = new IncomingHandoff(directory, record);
    await incoming.update({});
    await syncDirectory(base);
    return incoming;
  }

  /** Reads back what a host before this one received; null where nothing is left of it. */
  static async load(base: string, handoffId: string): Promise<IncomingHandoff | null> {
    const directory = join(base, handoffIdSchema.parse(handoffId));
    const text = await readFile(join(directory, 'incoming.json'), 'utf8').catch(unlessMissing(null));
    if (text === null) return null;
    const record = incomingRecord.safeParse(JSON.parse(text));
    if (!record.success) throw new HostError('state-invalid', `${directory}/incoming.json cannot be read: ${z.prettifyError(record.error)}`);
    return new IncomingHandoff(directory, record.data);
  }

  get record(): IncomingRecord {
    return this.current;
  }

  get quarantine(): string {
    return join(this.directory, 'quarantine');
  }

  /** Where the bundle of the manifest's part number `index` lies. */
  bundle(index: number): string {
    return join(this.directory, `bundle-${index}`);
  }

  /** The archive of ignored files that crossed, and what takes back those that were placed. */
  get included(): { readonly archive: string; readonly undo: string } {
    return { archive: join(this.directory, 'included-files'), undo: join(this.directory, 'undo-included.json') };
  }

  get staging(): string {
    return join(this.directory, 'rollouts');
  }

  async update(change: Partial<IncomingRecord>): Promise<void> {
    this.current = { ...this.current, ...change };
    await writeFileAtomic(join(this.directory, 'incoming.json'), JSON.stringify(this.current), { mode: 0o600, fsync: true });
  }

  /** What the transfer channel carries, in its order. */
  files(announced: Manifest): ArrivingFile[] {
    return [
      ...announced.parts.map(({ bundle: { bytes, sha256 } }, index) => ({ path: this.bundle(index), bytes, sha256 })),
      ...announced.parts.flatMap((_part, index) => this.lfs(announced, index).map(({ file, oid, size, held }) => ({ path: file, bytes: size, sha256: oid, held }))),
      ...announced.rollouts.flatMap(({ tail }, index) => tail.pieces.map(({ bytes, sha256 }, piece) => ({ path: this.piece(index, piece), bytes, sha256 }))),
      ...(announced.included === undefined ? [] : [{ path: this.included.archive, bytes: announced.included.bytes, sha256: announced.included.sha256, named: true as const }]),
    ];
  }

  /** A part's Git LFS objects, with the files of those that are sent. */
  lfs(announced: Manifest, part: number): { readonly oid: string; readonly size: number; readonly file: string; readonly held: boolean }[] {
    const held = this.current.heldLfs[part] ?? [];
    return (announced.parts[part]?.lfs ?? []).map(({ oid, size }, index) => ({ oid, size, file: join(this.directory, `lfs-${part}-${index}`), held: held[index] === true }));
  }

  /**
   * The tail of the manifest's rollout number `index` as it was before it was sent. Whoever reads it bounds what he takes:
   * little can grow into much. Fails with HostError `transfer-corrupt`.
   */
  readTail(announced: Manifest, index: number): Readable {
    const tail = announced.rollouts[index]?.tail;
    const paths = tail?.pieces.map((_, piece) => this.piece(index, piece)) ?? [];
    return Readable.from(joined(paths, tail?.encoding === 'br'), { objectMode: false });
  }

  private piece(rollout: number, piece: number): string {
    return join(this.directory, `tail-${rollout}-${piece}`);
  }

  /**
   * How many bytes of each announced file are there: from an earlier connection, or from an earlier handoff of this peer's. What is
   * there under another announcement and belongs to no file of this one is removed.
   *
   * @param holds which Git LFS objects of a part are here without being sent
   * @throws HostError `disk-full` where there is no room for the rest
   */
  async offsets(announced: Manifest, kept: KeptTransfers, holds: (part: Manifest['parts'][number], index: number) => Promise<boolean[]>): Promise<number[]> {
    const { source, threadId, submodules, manifest: before } = this.current;
    const places = submodules.map(({ place }) => place);
    if (JSON.stringify(announced.parts.slice(1).map(({ place }) => place)) !== JSON.stringify(places)) throw new HostError('transfer-corrupt', 'The submodules that were announced are not those that were offered. The thread stays at its source; try again.');
    if (before === null || JSON.stringify(before) !== JSON.stringify(announced)) {
      await this.keep(kept);
      await this.update({ manifest: announced, heldLfs: await Promise.all(announced.parts.map(holds)) });
      await kept.take(source, this.files(announced).filter(({ held }) => held !== true));
      await kept.places.forget(source, threadId);
    }
    const files = this.files(announced);
    const offsets = await Promise.all(files.map(safeLength));
    const missing = files.reduce((sum, { bytes }, index) => sum + bytes - (offsets[index] ?? 0), 0);
    if (missing > (await freeBytes(this.directory))) throw new HostError('disk-full', `There is no room for the ${missing} bytes that are yet to come. Free some space at the destination and try again.`);
    return offsets;
  }

  /** Puts aside what has arrived, for a later handoff of the same. Ignored files are not: they were let across for this one alone. */
  async keep(kept: KeptTransfers): Promise<void> {
    const { manifest: announced, source, threadId } = this.current;
    if (announced === null) return;
    const files = this.files(announced).filter(({ held }) => held !== true);
    await kept.keep(source, threadId, files.filter(({ path }) => path !== this.included.archive));
    for (const { path } of files) for (const name of [path, safeNote(path)]) await rm(name, { force: true });
  }

  /** Writes what a transfer channel carries to the files, after what is there. Throws as `receiveFiles`. */
  async receive(source: AsyncIterable<Buffer>, announced: Manifest): Promise<void> {
    await receiveFiles(source, this.files(announced));
  }

  /** Whether all that was announced is there, so that it can be restored. */
  async isComplete(announced: Manifest): Promise<boolean> {
    const files = this.files(announced);
    const lengths = await Promise.all(files.map(safeLength));
    return files.every(({ bytes }, index) => lengths[index] === bytes);
  }

  /** Removes what there is of a handoff, also where a removal before was cut off. */
  static async discard(base: string, handoffId: string): Promise<void> {
    await rm(join(base, handoffIdSchema.parse(handoffId)), { recursive: true, force: true });
  }
}

async function* joined(paths: readonly string[], compressed: boolean): AsyncIterable<Buffer> {
  for (const path of paths) yield* compressed ? decompressed(createReadStream(path)) : (createReadStream(path) as AsyncIterable<Buffer>);
}

async function* decompressed(stored: Readable): AsyncIterable<Buffer> {
  const plain = createBrotliDecompress();
  // What fails is thrown where `plain` is read.
  pipeline(stored, plain, () => undefined);
  try {
    yield* plain as AsyncIterable<Buffer>;
  } catch (cause) {
    throw new HostError('transfer-corrupt', 'A part of the conversation arrived in a form that cannot be decompressed. The thread stays at its source; try again.', { cause });
  } finally {
    plain.destroy();
  }
}

/** Free bytes for this account on the file system of a directory. */
export async function freeBytes(directory: string): Promise<number> {
  const stats = await statfs(directory);
  return stats.bavail * stats.bsize;
}
