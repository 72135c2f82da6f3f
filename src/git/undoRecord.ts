import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { writeDurably } from './durable';
import { GitError } from './gitError';

/** What a restore is about to do, written to disk before it does any of it, so that it can be taken back after a crash. */
const ref = z.strictObject({ name: z.string().startsWith('refs/'), before: z.string().nullable(), after: z.string().nullable() });
const undoRecord = z.strictObject({
  /** Top level of a worktree of the repository, or its Git directory; `made` where there was none before. */
  repository: z.strictObject({ root: z.string(), made: z.boolean() }),
  worktree: z.string(),
  /** Whether the worktree's directory was there, empty, before the worktree was: the place of a submodule. */
  place: z.boolean(),
  /** The worktree goes, being that of a submodule which the arriving state does not have; otherwise it is made or changed. */
  goes: z.boolean(),
  /** Directories above the worktree that did not exist, outermost first. */
  createdDirectories: z.array(z.string()),
  refs: z.array(ref),
  /** Boundary commits that the repository is to note. */
  shallow: z.array(z.string().regex(/^[0-9a-f]{40,64}$/)),
  /** Git LFS objects that the storage is to get. */
  lfs: z.array(z.strictObject({ oid: z.string().regex(/^[0-9a-f]{64}$/), size: z.number().int().nonnegative() })),
  packs: z.array(z.string().regex(/^pack-[0-9a-f]+$/)),
  /** The worktree's state before, when it existed. */
  previous: z.strictObject({
    tip: z.string(), head: z.string().nullable(), branch: z.string().nullable(), snapshot: ref,
    /** Its files, its index or what is beside them may have been changed. */
    changing: z.boolean().default(true),
  }).nullable(),
});
export type UndoRecord = z.infer<typeof undoRecord>;

const NAME = 'undo.json';

export async function writeUndoRecord(directory: string, record: UndoRecord): Promise<void> {
  await writeDurably(path.join(directory, NAME), JSON.stringify(record, null, 1));
}

/** Null when nothing was begun. */
export async function readUndoRecord(directory: string): Promise<UndoRecord | null> {
  const text = await readFile(path.join(directory, NAME), 'utf8').catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  });
  if (text === null) return null;
  const parsed = undoRecord.safeParse(JSON.parse(text));
  if (!parsed.success) throw new GitError('failed', `${path.join(directory, NAME)} is not what a restore writes; the worktree it speaks of must be looked at by hand.`);
  return parsed.data;
}
