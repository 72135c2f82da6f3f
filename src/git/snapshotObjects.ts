import { createHash } from 'node:crypto';
import { gitText, lines, streamGit } from './git';
import { GitError } from './gitError';
import { revisions } from './haves';
import { inRepository } from './inRepository';
import type { ObjectFormat, ObjectId, Repository } from './repository';

/**
 * Everything that a tip has and none of `base` has is in the repository, and is what its name says.
 *
 * @throws {GitError} `missing-objects`, or `failed` for an object with other content than its name says
 */
export async function expectWhole(repository: Pick<Repository, 'commonDir' | 'objectFormat'>, tip: ObjectId, base: readonly ObjectId[], signal?: AbortSignal): Promise<void> {
  const options = inRepository(repository.commonDir, signal);
  const names = streamGit(['rev-list', '--objects', '--no-object-names', '--stdin'], { ...options, input: revisions([tip], base) });
  for await (const { oid, actual } of hashed(streamGit(['cat-file', '--batch', '--buffer'], { ...options, input: names }), repository.objectFormat)) {
    if (oid !== actual) throw new GitError('failed', `The object ${oid} of a snapshot in ${repository.commonDir} is damaged. Nothing was removed; look at the disk, and at "git fsck".`);
  }
}

/** The objects of a `cat-file --batch`, each with the name that its content has (gitformat: `type size NUL content`). */
async function* hashed(chunks: AsyncIterable<Buffer>, format: ObjectFormat): AsyncGenerator<{ oid: string; actual: string }, void, undefined> {
  let header = Buffer.alloc(0);
  let current: { oid: string; hash: ReturnType<typeof createHash>; left: number } | null = null;
  for await (const chunk of chunks) {
    for (let rest = chunk; rest.length > 0;) {
      if (current === null) {
        const end = rest.indexOf(0x0a);
        header = Buffer.concat([header, end === -1 ? rest : rest.subarray(0, end)]);
        if (end === -1) break;
        rest = rest.subarray(end + 1);
        const [oid = '', type = '', size] = header.toString('latin1').split(' ');
        if (size === undefined) throw new GitError('missing-objects', `The object ${oid} of a snapshot is not in the repository.`);
        header = Buffer.alloc(0);
        current = { oid, hash: createHash(format).update(`${type} ${size}\0`), left: Number(size) };
      } else {
        // The line feed after the content ends the object.
        const taken = rest.subarray(0, current.left);
        current.hash.update(taken);
        current.left -= taken.length;
        rest = rest.subarray(taken.length);
        if (current.left > 0 || rest.length === 0) continue;
        rest = rest.subarray(1);
        yield { oid: current.oid, actual: current.hash.digest('hex') };
        current = null;
      }
    }
  }
  if (current !== null || header.length > 0) throw new GitError('failed', 'git ended in the middle of an object.');
}

/** What came with an apply, and what it came to: only there to undo it and to merge the next one. And what a handoff under way would put back. */
const PASSING = /^refs\/baton\/snapshots\/(apply\/[^/]+\/[^/]+\/(given|after)|[^/]+\/before-handoff)$/;

/**
 * Whether a snapshot in a repository reaches a commit, a blob, or the whole tree of its index or its files, that no other ref there
 * reaches. (Work that only moves, deletes or changes modes is in no blob.)
 *
 * @param manifest of its working state
 * @param commits further ones, besides those of the working state, that count
 */
export async function isOnlyHere(commonDir: string, { ref, manifest }: { readonly ref: string; readonly manifest: ObjectId }, commits: readonly ObjectId[], signal?: AbortSignal): Promise<boolean> {
  const options = inRepository(commonDir, signal);
  const others = (await gitText(['for-each-ref', '--format=%(refname) %(objectname)'], options)).split('\n').flatMap((line) => {
    const [name, oid] = line.split(' ');
    return oid === undefined || name === undefined || name === ref || PASSING.test(name) ? [] : [oid];
  });
  // Baton's own three commits and the manifest are there for the snapshot's sake.
  const own = new Set((await gitText(['rev-parse', manifest, `${manifest}^1`, `${manifest}^1^1`, `${manifest}:manifest.json`], options)).split('\n'));
  const roots = new Set((await gitText(['rev-parse', `${manifest}^1^{tree}`, `${manifest}^1^1^{tree}`], options)).split('\n'));
  const names = streamGit(['rev-list', '--objects', '--no-object-names', '--ignore-missing', '--stdin'], { ...options, input: revisions([manifest, ...commits], others) });
  for await (const line of lines(streamGit(['cat-file', '--batch-check=%(objectname) %(objecttype)'], { ...options, input: names }))) {
    const [oid = '', type = ''] = line.split(' ');
    if (type === 'tree' ? roots.has(oid) : !own.has(oid)) return true;
  }
  return false;
}
