import { z } from 'zod';
import { runGit, gitText } from './git';
import { GitError } from './gitError';
import { inRepository } from './inRepository';
import type { ObjectId } from './repository';
import { inShadow, type Shadow } from './shadow';
import type { WorktreeTraces } from './worktreeTraces';

const oid = z.string().regex(/^[0-9a-f]{40,64}$/);

/** Where a submodule of a worktree is while the worktree is there, and where its snapshot is. */
export const keptSubmodule = z.object({
  /** In the checkout (bytes). */
  place: z.string(),
  /** Its Git directory in the worktree that the snapshot is of: an entry of `repository`, or the repository itself. */
  gitDir: z.string(),
  /** Its repository once the worktree is removed. Differs from `gitDir`, where that is the repository, if that would be removed with the worktree. */
  repository: z.string(),
  linked: z.boolean(),
  /** `core.worktree` of a repository that is not linked, as it was. */
  workTree: z.string().nullable(),
  ref: z.string().startsWith('refs/baton/snapshots/'),
  tip: oid,
  fingerprint: z.string(),
  head: oid.nullable(),
  branch: z.string().nullable(),
});
export type KeptSubmodule = z.output<typeof keptSubmodule>;

const lfsObject = z.object({ oid: z.string().regex(/^[0-9a-f]{64}$/), size: z.number().int().nonnegative() });
const snapshotRecord = z.object({
  version: z.literal(1),
  refs: z.array(z.tuple([z.string(), oid])),
  /** Names below the worktree's Git directory of the files that lie in `files/`, in their order there. */
  files: z.array(z.string()),
  /** Git LFS objects of which the snapshot has copies (snapshotLfs.ts). */
  lfs: z.array(lfsObject),
  submodules: z.array(keptSubmodule),
});
/** What a snapshot holds beside a working state. */
export type SnapshotRecord = z.output<typeof snapshotRecord>;

/**
 * Makes the tip of a snapshot in the shadow: a commit upon the manifest, with what the snapshot holds besides the state, and
 * with the commits that the worktree's reflogs and own refs name as further parents.
 */
export async function commitRecord(shadow: Shadow, manifest: ObjectId, traces: WorktreeTraces, beside: Pick<SnapshotRecord, 'lfs' | 'submodules'>, signal?: AbortSignal): Promise<ObjectId> {
  const record: SnapshotRecord = { version: 1, refs: traces.refs.map(([name, at]) => [name, at]), files: traces.files.map(({ name }) => name), ...beside };
  const seconds = await gitText(['show', '-s', '--format=%ct', manifest], inShadow(shadow, { signal }));
  const message = 'baton: snapshot\n';
  const blob = (name: string, content: Buffer) => [Buffer.from(`M 100644 inline ${name}\ndata ${content.length}\n`), content, Buffer.from('\n')];
  const { stdout } = await runGit(['-c', 'fastimport.unpackLimit=0', 'fast-import', '--quiet', '--done', '--date-format=raw'], { ...inShadow(shadow, { signal }), input: [
    Buffer.from(`commit refs/heads/snapshot\nmark :1\ncommitter Baton <baton@localhost> ${seconds} +0000\ndata ${message.length}\n${message}from ${manifest}\n${traces.commits.map((commit) => `merge ${commit}\n`).join('')}deleteall\n`),
    ...blob(RECORD, Buffer.from(`${JSON.stringify(record, null, 1)}\n`)),
    ...traces.files.flatMap(({ content }, position) => blob(`files/${position}`, content)),
    Buffer.from('\nget-mark :1\ndone\n'),
  ] });
  return stdout.toString('latin1').trim();
}

const RECORD = 'snapshot.json';

/** @throws {GitError} `missing-objects` where a tip is not that of a snapshot as this Baton writes them, damaged, or not there */
export async function readRecord(commonDir: string, tip: ObjectId, signal?: AbortSignal): Promise<SnapshotRecord> {
  const text = await gitText(['cat-file', 'blob', `${tip}:${RECORD}`], { ...inRepository(commonDir, signal), answers: [128] });
  const parsed = snapshotRecord.safeParse(jsonOf(text));
  if (!parsed.success) throw new GitError('missing-objects', `What the snapshot ${tip.slice(0, 12)} in ${commonDir} holds cannot be read: another version of Baton took it, or it is damaged, which "git fsck" there tells.`);
  return parsed.data;
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** The files that a snapshot holds of its worktree's Git directory. */
export async function readKeptFiles(commonDir: string, tip: ObjectId, { files }: SnapshotRecord, signal?: AbortSignal): Promise<WorktreeTraces['files']> {
  return Promise.all(files.map(async (name, position) => ({ name, content: (await runGit(['cat-file', 'blob', `${tip}:files/${position}`], inRepository(commonDir, signal))).stdout })));
}

/** The commits that a snapshot's tip stands on: the manifest of its state first, then those of its reflogs. */
export async function parentsOfTip(commonDir: string, tip: ObjectId, signal?: AbortSignal): Promise<readonly [ObjectId, ...ObjectId[]]> {
  const [manifest, ...others] = (await gitText(['show', '-s', '--format=%P', tip], { ...inRepository(commonDir, signal), answers: [128] })).split(' ').filter((name) => name !== '');
  if (manifest === undefined) throw new GitError('missing-objects', `The snapshot ${tip} is not in ${commonDir}. Look at "git fsck" there.`);
  return [manifest, ...others];
}
