import { createHash } from 'node:crypto';
import { z } from 'zod';
import { sortedPaths, type BytePath } from './bytePath';
import { comparable, hasOperationForm, isOperationFile, isOperationRef, neutralise } from './operationFiles';
import type { ObjectFormat, ObjectId } from './repository';

/** What trees cannot say about a working state. Written as JSON into the tip commit; the format is in README.md. */
const objectId = z.string().regex(/^([0-9a-f]{40}|[0-9a-f]{64})$/);
/** One character per byte. */
// eslint-disable-next-line no-control-regex -- every byte but NUL is allowed
const byteString = z.string().max(64 * 1024 * 1024).regex(/^[\u0000-\u00ff]*$/);
// eslint-disable-next-line no-control-regex -- every byte but NUL is allowed
const path = z.string().min(1).max(4096).regex(/^[\u0001-\u00ff]+$/);
const branchName = z.string().max(1024).startsWith('refs/heads/');
const list = <T extends z.ZodType>(item: T) => z.array(item).max(1_000_000);

export const manifestSchema = z.strictObject({
  version: z.literal(1),
  objectFormat: z.enum(['sha1', 'sha256']),
  head: objectId.nullable(),
  branch: branchName.nullable(),
  intentToAdd: list(z.tuple([path, z.enum(['100644', '100755', '120000', '160000'])])),
  flags: list(z.strictObject({ path, assumeUnchanged: z.boolean(), skipWorktree: z.boolean(), present: z.boolean() })),
  emptyDirectories: list(path),
  /** Files with the content of a Git LFS object, in whose place the worktree tree has the pointer: path, SHA-256, size. */
  lfsFiles: list(z.tuple([path, z.string().regex(/^[0-9a-f]{64}$/), z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER)])),
  /** The tip holds the tree of `AUTO_MERGE`. */
  autoMerge: z.boolean(),
  operation: z.strictObject({
    kind: z.enum(['merge', 'rebase', 'cherry-pick', 'revert', 'am', 'bisect']).nullable(),
    files: z.array(z.tuple([z.string().refine(isOperationFile, 'not a file of a Git operation'), byteString])).max(100_000)
      .refine((files) => files.every(([name, content]) => neutralise(name, content).content === null || hasOperationForm(name, content)), 'a file of a Git operation has a form that git does not write'),
    refs: z.array(z.tuple([z.string().max(1024).refine(isOperationRef, 'not a ref of a Git operation'), objectId])).max(100_000),
    branch: z.strictObject({ name: branchName, oid: objectId }).nullable(),
  }),
  /** Settings that decide whether git calls the carried bytes changed. */
  conversion: z.strictObject({ autocrlf: z.string().max(16), eol: z.string().max(16) }),
  /** Populated submodules: working states of their own, which travel beside this one and are bound by their fingerprints. */
  submodules: z.array(z.strictObject({ path, fingerprint: z.string().regex(/^[0-9a-f]{64}$/) })).max(1000),
  sparse: z.strictObject({ cone: z.boolean(), patterns: byteString }).nullable(),
});
export type Manifest = z.infer<typeof manifestSchema>;

/** Trees of a captured state; unmerged and resolved entries lie below `1/`, `2/`, `3/` of theirs. */
export interface StateTrees {
  readonly index: ObjectId;
  readonly worktree: ObjectId;
  readonly stages: ObjectId | null;
  readonly resolved: ObjectId | null;
}

/**
 * SHA-256, hex, of a description of a working state that is the same on every host that has it: names of branches and
 * directories, times and inode numbers are no part of it, nor are lines that a destination takes out of an operation.
 */
export function fingerprintOf(manifest: Manifest, trees: StateTrees): string {
  const byName = <T extends readonly [string, unknown]>(items: readonly T[]) => [...items].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  const description = [
    'baton working state 1', manifest.objectFormat, manifest.head,
    trees.index, trees.worktree, trees.stages, trees.resolved,
    byName(manifest.intentToAdd),
    [...manifest.flags].sort((a, b) => (a.path < b.path ? -1 : 1)).map((flag) => [flag.path, flag.assumeUnchanged, flag.skipWorktree, flag.present]),
    manifest.operation.kind,
    byName(manifest.operation.files.flatMap(([name, content]): [string, string][] => {
      const kept = comparable(name, content);
      return kept === null ? [] : [[name, kept]];
    })),
    byName(manifest.operation.refs),
    byName(manifest.submodules.map(({ path: place, fingerprint }): [string, string] => [place, fingerprint])),
    byName(manifest.lfsFiles.map(([name, ...object]) => [name, object] as const)),
  ];
  return createHash('sha256').update(JSON.stringify(description)).digest('hex');
}

/** Everything of one kind in a manifest names a path; these are all of them. */
export function pathsOf(manifest: Manifest): BytePath[] {
  return sortedPaths([...manifest.intentToAdd.map(([name]) => name), ...manifest.flags.map((flag) => flag.path), ...manifest.emptyDirectories, ...manifest.lfsFiles.map(([name]) => name)]);
}

/** The object name of nothing, as ref updates and index lines write it. */
export function zeroId(format: ObjectFormat): ObjectId {
  return '0'.repeat(format === 'sha1' ? 40 : 64);
}
