import { mkdir, readdir, rm, rmdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { unlessMissing } from './arrivingFiles';
import type { Log } from './log';
import { hostId as hostIdSchema, threadId as threadIdSchema } from './protocol';
import { describeError } from './wireError';

export interface KeptLimits {
  readonly ageMs: number;
  /** Most bytes and threads for one peer; the oldest go first. */
  readonly bytes: number;
  readonly threads: number;
  /** Less than this of one handoff is not kept: to make and send it again costs less than to look for it. */
  readonly leastBytes: number;
}

const defaultLimits: KeptLimits = { ageMs: 24 * 60 * 60_000, bytes: 16 * 2 ** 30, threads: 32, leastBytes: 1024 * 1024 };

/**
 * What a handoff that broke off leaves for the next one, in `<directory>/<peer>/<thread>/`, for a day and within bounds. Made when
 * something is kept, gone when nothing is.
 */
export class KeptPlaces {
  constructor(
    private readonly directory: string,
    readonly limits: KeptLimits = defaultLimits,
    private readonly now: () => number = Date.now,
  ) {}

  /** The place for a thread, made if need be. */
  async make(peer: string, threadId: string): Promise<string> {
    const place = this.of(peer, threadId);
    await mkdir(place, { recursive: true, mode: 0o700 });
    return place;
  }

  /** The places that a peer has. What lies there may be of use to another thread: a checkout without one has another id each time. */
  async list(peer: string): Promise<string[]> {
    return (await this.threads(peer)).map((threadId) => this.of(peer, threadId));
  }

  /** Bytes that are kept of a thread, with the notes. */
  async bytesOf(peer: string, threadId: string): Promise<number> {
    return bytesIn(this.of(peer, threadId));
  }

  async forget(peer: string, threadId: string): Promise<void> {
    await rm(this.of(peer, threadId), { recursive: true, force: true });
    await this.tidy(peer);
  }

  /** Removes what is too old, and what is more than a peer may have. */
  async bound(peer: string): Promise<void> {
    const kept = await Promise.all((await this.list(peer)).map(async (place) => ({ place, since: (await stat(place)).mtimeMs, bytes: await bytesIn(place) })));
    let total = 0;
    for (const [index, { place, since, bytes }] of kept.sort((a, b) => b.since - a.since).entries()) {
      total += bytes;
      // A time that has yet to come tells no age: the clock was set back.
      const old = Math.abs(this.now() - since) > this.limits.ageMs;
      if (old || index >= this.limits.threads || total > this.limits.bytes) await rm(place, { recursive: true, force: true });
    }
    await this.tidy(peer);
  }

  async sweep(): Promise<void> {
    for (const peer of await names(this.directory)) if (hostIdSchema.safeParse(peer).success) await this.bound(peer);
  }

  private async threads(peer: string): Promise<string[]> {
    return (await names(join(this.directory, hostIdSchema.parse(peer)))).filter((name) => threadIdSchema.safeParse(name).success);
  }

  private of(peer: string, threadId: string): string {
    return join(this.directory, hostIdSchema.parse(peer), threadIdSchema.parse(threadId));
  }

  private async tidy(peer: string): Promise<void> {
    // Only what is empty goes.
    for (const directory of [join(this.directory, hostIdSchema.parse(peer)), this.directory]) await rmdir(directory).catch(() => undefined);
  }
}

const SWEEP_EVERY_MS = 60 * 60_000;

/** Sweeps now and every hour, until the returned function is called. */
export function keepSwept(all: readonly KeptPlaces[], log: Log): () => void {
  const sweep = () => {
    for (const places of all) places.sweep().catch((error: unknown) => log.warn(`What is left of broken transfers could not be looked through: ${describeError(error).message}`));
  };
  sweep();
  const timer = setInterval(sweep, SWEEP_EVERY_MS);
  timer.unref();
  return () => clearInterval(timer);
}

async function names(directory: string): Promise<string[]> {
  return readdir(directory).catch(unlessMissing([]));
}

async function bytesIn(directory: string): Promise<number> {
  const sizes = (await names(directory)).map((name) => stat(join(directory, name)).then(({ size }) => size));
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}
