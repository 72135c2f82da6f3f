import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { writeDurably } from './durable';
import { GitError } from './gitError';

const objectId = z.string().regex(/^([0-9a-f]{40}|[0-9a-f]{64})$/);
const kept = z.strictObject({ tip: objectId, fingerprint: z.string() });
/** A state that both checkouts held. */
const common = kept.extend({ stamp: z.string() });

/** One change of a checkout, written to disk before anything of it is done, so that it can be taken back at any time after. */
const change = z.strictObject({
  /**
   * `preparing`: nothing was changed yet. `changing` and `undoing`: what is there is a mixture. `done`: it can be undone.
   * `undone`: only `common` still counts.
   */
  phase: z.enum(['preparing', 'changing', 'done', 'undoing', 'undone']),
  source: z.string(),
  target: z.string(),
  /** Names the refs. */
  stamp: z.string().regex(/^[0-9TZ]{16,24}$/),
  /** The target's state before. Null while it is not kept yet. */
  before: kept.extend({ head: objectId.nullable(), branch: z.string().nullable() }).nullable(),
  /** Tree of the working tree that the target is to have; with `before` it says which paths change. */
  tree: objectId.nullable(),
  /** Digests of the index and of the operation in progress that the target is to have; null where nothing is known of them. */
  standing: z.strictObject({ index: z.string(), operation: z.string() }).nullable().default(null),
  /** Where HEAD goes; null where it stays. A branch by its full name, or null when it is detached. */
  head: z.strictObject({ branch: z.string().nullable(), before: objectId, after: objectId }).nullable(),
  /** The target's ORIG_HEAD before: no part of a state unless an operation has it. */
  origHead: objectId.nullable(),
  /** The target's state afterwards, as it was read back. */
  after: kept.nullable(),
  packs: z.array(z.string().regex(/^pack-[0-9a-f]+$/)),
  commonBefore: common.nullable(),
  common: common.nullable(),
});
export type ApplyChange = z.infer<typeof change>;

const applyRecord = z.strictObject({
  version: z.literal(1),
  threadId: z.string(),
  change,
  /** The change before this one, while this one can still fail. */
  previous: change.nullable(),
});
export type ApplyRecord = z.infer<typeof applyRecord>;

const NAME = 'apply.json';

/** Durable when this returns. */
export async function writeApplyRecord(directory: string, record: ApplyRecord): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await writeDurably(path.join(directory, NAME), JSON.stringify(record, null, 1));
}

/** Null where nothing was ever applied. @throws {GitError} `failed` for a file that cannot be understood */
export async function readApplyRecord(directory: string): Promise<ApplyRecord | null> {
  const file = path.join(directory, NAME);
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  });
  if (text === null) return null;
  const parsed = applyRecord.safeParse(JSON.parse(text));
  if (!parsed.success) throw new GitError('failed', `${file} is not what "baton apply" writes; the checkout that it speaks of must be looked at by hand.`);
  return parsed.data;
}
