import { randomBytes } from 'node:crypto';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { requirements } from '../handoff/policy';
import { listManagedWorktrees } from '../git/worktrees';
import type { JsonStore } from './jsonStore';
import type { ManagedWorktree } from './protocol';

export const worktreeRecords = z.array(
  z.object({
    id: z.string().regex(/^[0-9a-f]{8}$/),
    path: z.string(),
    /** The checkout whose repository the worktree belongs to. */
    projectRoot: z.string(),
    threadIds: z.array(z.string()),
    permanent: z.boolean(),
    pinned: z.boolean(),
    /** Of the working state with which the thread last left; null while a thread is here. */
    leftWith: z.string().nullable(),
    /** Constraints of the administrators of the hosts that the thread came from; they go on holding at the next one. */
    requirements: requirements.nullable(),
  }),
);
export type WorktreeRecord = z.infer<typeof worktreeRecords>[number];

/** The worktrees that Baton made on this host, and whose they are: a thread keeps its worktree for life (affinity). */
export class ManagedWorktrees {
  constructor(
    readonly base: string,
    private readonly store: JsonStore<typeof worktreeRecords>,
  ) {}

  ofThread(threadId: string): WorktreeRecord | undefined {
    return this.store.value.find((record) => record.threadIds.includes(threadId));
  }

  get(id: string): WorktreeRecord | undefined {
    return this.store.value.find((record) => record.id === id);
  }

  /** A fresh id and path for a worktree of a project; nothing is made yet. */
  plan(projectRoot: string): { id: string; path: string } {
    const id = randomBytes(4).toString('hex');
    return { id, path: join(this.base, id, basename(projectRoot) || 'repository') };
  }

  /** Adds or replaces a record. A thread is in one worktree: it leaves any other that it had. */
  async save(record: WorktreeRecord): Promise<void> {
    await this.store.update((records) => [
      ...records.filter((other) => other.id !== record.id).map((other) => ({ ...other, threadIds: other.threadIds.filter((id) => !record.threadIds.includes(id)) })),
      record,
    ]);
  }

  /** Notes with which state a thread leaves its worktree, so that its return can tell whether anybody touched it since. */
  async left(threadId: string, fingerprint: string): Promise<void> {
    const record = this.ofThread(threadId);
    if (record !== undefined) await this.save({ ...record, leftWith: fingerprint });
  }

  async list(): Promise<ManagedWorktree[]> {
    const found = await listManagedWorktrees(this.base);
    return found.map((state) => {
      const record = this.get(state.id);
      return {
        id: state.id,
        path: state.path,
        threadIds: record?.threadIds ?? [],
        branch: state.branch,
        dirty: state.dirty,
        permanent: record?.permanent ?? false,
        pinned: record?.pinned ?? false,
      };
    });
  }
}
