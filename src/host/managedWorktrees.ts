import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { basename, join, relative, sep } from 'node:path';
import { z } from 'zod';
import { keptSubmodule } from '../git/snapshotRecord';
import { snapshotOwners } from '../git/snapshots';
import type { JsonStore } from './jsonStore';

const snapshot = z.object({ ref: z.string().startsWith('refs/baton/snapshots/'), tip: z.string(), fingerprint: z.string(), head: z.string().nullable(), branch: z.string().nullable(), submodules: z.array(keptSubmodule).readonly().default([]) });

/** Where a worktree is in its life. Written before what it says is begun, so that a host after this one can end or undo it. */
const life = z.discriminatedUnion('is', [
  z.object({ is: z.literal('here') }),
  /**
   * Its directory lies at `aside`, or is about to. Once `verified` the snapshot is known to have all of it, and it only goes forward.
   * What changed there `since` (nanoseconds, by the clock of its file system; null in what an earlier Baton wrote) is not deleted.
   */
  z.object({ is: z.literal('removing'), aside: z.string(), gitDir: z.string(), snapshot, verified: z.boolean(), since: z.string().regex(/^\d+$/).nullable().default(null) }),
  z.object({ is: z.literal('removed'), snapshot, at: z.iso.datetime() }),
  /** What was restored is taken back by what lies in `directory`. */
  z.object({ is: z.literal('restoring'), snapshot, at: z.iso.datetime(), directory: z.string() }),
]);

const longAgo = new Date(0).toISOString();

const worktreeRecord = z.object({
  id: z.string().regex(/^[0-9a-f]{8}$/),
  path: z.string(),
  /** The checkout whose repository the worktree belongs to. */
  projectRoot: z.string(),
  threadIds: z.array(z.string()),
  permanent: z.boolean(),
  pinned: z.boolean(),
  /** Of the working state with which the thread last left; null while a thread is here. */
  leftWith: z.string().nullable(),
  /** Its entry in the repository, as it was last seen. */
  gitDir: z.string().nullable().default(null),
  createdAt: z.iso.datetime().default(longAgo),
  lastUsedAt: z.iso.datetime().default(longAgo),
  life: life.default({ is: 'here' }),
  /** What could not be deleted of it when it was removed; each sweep tries again. */
  undeleted: z.object({ path: z.string(), since: z.string().regex(/^\d+$/).nullable(), why: z.string() }).nullable().default(null),
});
export const worktreeRecords = z.array(worktreeRecord);
export type WorktreeRecord = z.output<typeof worktreeRecord>;

/** How often at most the time of its last use is written down. */
const TOUCH_MS = 60_000;

/** The worktrees that Baton made on this host, and whose they are: a thread keeps its worktree for life (affinity). */
export class ManagedWorktrees {
  constructor(
    readonly base: string,
    private readonly store: JsonStore<typeof worktreeRecords>,
    private readonly now: () => Date = () => new Date(),
    private readonly freshId: () => string = () => randomBytes(4).toString('hex'),
  ) {}

  all(): readonly WorktreeRecord[] {
    return this.store.value;
  }

  ofThread(threadId: string): WorktreeRecord | undefined {
    return this.store.value.find((record) => record.threadIds.includes(threadId));
  }

  /** The worktree in which a directory lies. */
  around(directory: string): WorktreeRecord | undefined {
    return this.store.value.find(({ path }) => isWithin(directory, path));
  }

  get(id: string): WorktreeRecord | undefined {
    return this.store.value.find((record) => record.id === id);
  }

  /** A fresh id and path for a worktree of a project, that no other has, here or by the snapshots in its repository; nothing is made yet. */
  async plan(projectRoot: string): Promise<{ id: string; path: string }> {
    const taken = new Set(await snapshotOwners(projectRoot));
    for (;;) {
      const id = this.freshId();
      const directory = join(this.base, id);
      if (this.get(id) === undefined && !taken.has(id) && !existsSync(directory)) return { id, path: join(directory, basename(projectRoot) || 'repository') };
    }
  }

  /** Adds a record or changes one. A thread is in one worktree: it leaves any other that it had. */
  async save(record: Pick<WorktreeRecord, 'id'> & Partial<WorktreeRecord>): Promise<WorktreeRecord> {
    const at = this.now().toISOString();
    const saved = await this.store.update((records) => {
      const fresh = { path: '', projectRoot: '', threadIds: [], permanent: false, pinned: false, leftWith: null, createdAt: at, lastUsedAt: at };
      const next = { ...fresh, ...records.find((other) => other.id === record.id), ...record };
      return [...records.filter((other) => other.id !== record.id).map((other) => ({ ...other, threadIds: other.threadIds.filter((id) => !next.threadIds.includes(id)) })), next];
    });
    const made = saved.at(-1);
    if (made === undefined) throw new Error('A worktree that was just noted is not there.');
    return made;
  }

  async forget(id: string): Promise<void> {
    await this.store.update((records) => records.filter((record) => record.id !== id));
  }

  /** Notes with which state a thread leaves its worktree, so that its return can tell whether anybody touched it since. */
  async left(threadId: string, fingerprint: string): Promise<void> {
    const record = this.ofThread(threadId);
    if (record !== undefined) await this.save({ id: record.id, leftWith: fingerprint });
  }

  /** Worktrees that something is about to work in, and for how many. */
  private readonly uses = new Map<string, number>();

  /** Whether something is about to work in a worktree that does not show in it yet. */
  isAwaited(id: string): boolean {
    return this.uses.has(id);
  }

  /** Keeps a worktree from being removed until `act` ends, and notes when it began and ended. */
  async whileAwaited<T>(id: string, act: () => Promise<T>): Promise<T> {
    this.uses.set(id, (this.uses.get(id) ?? 0) + 1);
    try {
      await this.touch(id);
      return await act();
    } finally {
      const left = (this.uses.get(id) ?? 1) - 1;
      if (left > 0) this.uses.set(id, left);
      else this.uses.delete(id);
      await this.touch(id);
    }
  }

  /** Notes that a worktree is used now. */
  async touch(id: string): Promise<void> {
    const record = this.get(id);
    const now = this.now();
    if (record !== undefined && now.getTime() - Date.parse(record.lastUsedAt) >= TOUCH_MS) await this.save({ id, lastUsedAt: now.toISOString() });
  }
}

/** Whether a directory is another or lies below it. */
export function isWithin(directory: string, above: string): boolean {
  const between = relative(above, directory);
  return between === '' || (between !== '..' && !between.startsWith(`..${sep}`) && !/^([a-z]:|[\\/])/i.test(between));
}
