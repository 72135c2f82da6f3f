import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, readFile, rm, stat, statfs, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline, Readable } from 'node:stream';
import { createBrotliDecompress } from 'node:zlib';
import writeFileAtomic from 'write-file-atomic';
import { z } from 'zod';
import { HostError } from './hostError';
import { syncDirectory } from './ledgerStore';
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

/** A file of the spool that a transfer fills, and how long it will be. */
export interface TransferFile {
  readonly path: string;
  readonly bytes: number;
  /** It need not be sent. */
  readonly held?: boolean;
}

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
  files(announced: Manifest): TransferFile[] {
    return [
      ...announced.parts.map(({ bundle }, index) => ({ path: this.bundle(index), bytes: bundle.bytes })),
      ...announced.parts.flatMap((_part, index) => this.lfs(announced, index).map(({ file, size, held }) => ({ path: file, bytes: size, held }))),
      ...announced.rollouts.map((rollout, index) => ({ path: this.tail(index), bytes: rollout.tail.bytes })),
      ...(announced.included === undefined ? [] : [{ path: this.included.archive, bytes: announced.included.bytes }]),
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
    const stored = createReadStream(this.tail(index));
    if (announced.rollouts[index]?.tail.encoding !== 'br') return stored;
    return Readable.from(decompressed(stored), { objectMode: false });
  }

  private tail(index: number): string {
    return join(this.directory, `tail-${index}`);
  }

  /**
   * How many bytes of each file arrived already. A file of another announcement is begun anew.
   *
   * @param holds which Git LFS objects of a part are here without being sent
   */
  async offsets(announced: Manifest, holds: (part: Manifest['parts'][number], index: number) => Promise<boolean[]>): Promise<number[]> {
    const places = this.current.submodules.map(({ place }) => place);
    if (JSON.stringify(announced.parts.slice(1).map(({ place }) => place)) !== JSON.stringify(places)) throw new HostError('transfer-corrupt', 'The submodules that were announced are not those that were offered. The thread stays at its source; try again.');
    const same = this.current.manifest !== null && JSON.stringify(this.current.manifest) === JSON.stringify(announced);
    if (!same) {
      for (const name of await readdir(this.directory)) if (/^(bundle|tail|lfs|included)-/.test(name)) await rm(join(this.directory, name));
      await this.update({ manifest: announced, heldLfs: await Promise.all(announced.parts.map(holds)) });
    }
    return Promise.all(this.files(announced).map(async (file) => (file.held === true ? file.bytes : Math.min(file.bytes, await sizeOf(file.path)))));
  }

  /** Writes what a transfer channel carries to the files, after what is there, and syncs them. */
  async receive(source: AsyncIterable<unknown>, announced: Manifest): Promise<void> {
    const writer = new FileWriter(this.files(announced).filter((file) => file.held !== true));
    try {
      await writer.open();
      for await (const chunk of source) await writer.write(chunk as Buffer);
      if (!writer.complete) throw new HostError('connection-lost', 'The transfer ended before everything was there.');
    } finally {
      await writer.close();
    }
  }

  async discard(): Promise<void> {
    await rm(this.directory, { recursive: true, force: true });
  }
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

/** Writes a stream of bytes to one file after the other, each from where it ends to its announced length. */
class FileWriter {
  private file: FileHandle | null = null;
  private missing = 0;

  constructor(private readonly pending: TransferFile[]) {}

  get complete(): boolean {
    return this.pending.length === 0;
  }

  /** Opens the first file that lacks something. */
  async open(): Promise<void> {
    for (let next = this.pending[0]; next !== undefined; next = this.pending[0]) {
      this.missing = next.bytes - (await sizeOf(next.path));
      this.file = await open(next.path, 'a', 0o600);
      if (this.missing > 0) return;
      await this.close();
      this.pending.shift();
    }
  }

  async write(chunk: Buffer): Promise<void> {
    for (let rest = chunk; rest.length > 0; ) {
      if (this.file === null) throw new HostError('transfer-corrupt', 'The source sent more than it had announced.');
      const taken = rest.subarray(0, this.missing);
      await this.file.appendFile(taken);
      this.missing -= taken.length;
      rest = rest.subarray(taken.length);
      if (this.missing > 0) continue;
      await this.close();
      this.pending.shift();
      await this.open();
    }
  }

  async close(): Promise<void> {
    await this.file?.sync();
    await this.file?.close();
    this.file = null;
  }
}

/** Takes `value` for a file that is not there; any other failure stays one. */
function unlessMissing<T>(value: T): (error: unknown) => T {
  return (error) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return value;
    throw error;
  };
}

async function sizeOf(path: string): Promise<number> {
  return stat(path).then((stats) => stats.size, unlessMissing(0));
}

/** Free bytes for this account on the file system of a directory. */
export async function freeBytes(directory: string): Promise<number> {
  const stats = await statfs(directory);
  return stats.bavail * stats.bsize;
}
