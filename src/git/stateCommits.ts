import { constants } from 'node:fs';
import { open, readlink } from 'node:fs/promises';
import { absolutePath, type BytePath } from './bytePath';
import { runGit } from './git';
import type { ObjectId } from './repository';
import { inShadow, type Shadow } from './shadow';
import { changed, type PathToStore, type WorktreeReading } from './worktreeReading';
import { sightingOf, unreadable } from './worktreeScan';

export interface StateToCommit {
  readonly head: ObjectId | null;
  /** Unix time of all three commits. */
  readonly seconds: number;
  /** Tree of the index; the working tree is described as the difference from it. */
  readonly index: ObjectId;
  readonly worktree: Pick<WorktreeReading, 'store' | 'remove'>;
  /** Text of the manifest, and the trees that lie beside it. */
  readonly manifest: string;
  readonly trees: readonly (readonly [name: string, tree: ObjectId])[];
  /** Further parents of the tip. */
  readonly commits: readonly ObjectId[];
}

export interface StateCommits {
  readonly index: ObjectId;
  readonly worktree: ObjectId;
  readonly manifest: ObjectId;
  /** Tree of the working tree. */
  readonly tree: ObjectId;
}

const who = 'Baton <baton@localhost>';
/** Files up to this size are read ahead, several at a time; larger ones pass through in pieces. */
const READ_AHEAD_BYTES = 256 * 1024;
const READ_AHEAD_FILES = 32;
/** From here on speed counts for more than the last tenth of compression. */
const BULK_BYTES = 64 * 1024 * 1024;

/**
 * Stores the files of a working state as they are, and the three commits on top of HEAD, as one pack of the shadow: a single
 * git (git-fast-import(1)) that only loads the directories in which something changed. Author and time are fixed, so that the
 * same state gives the same commits; the time is that of HEAD, since git's walks stop early only among commits whose times
 * rise (git-rev-list(1)).
 *
 * @throws {GitError} `changed-while-capturing` when a file is not the one that was seen
 */
export async function commitState(shadow: Shadow, state: StateToCommit, signal?: AbortSignal): Promise<StateCommits> {
  const bytes = state.worktree.store.reduce((sum, entry) => sum + (entry.object === null ? entry.sighting.bytes : 0), 0);
  const compression = bytes > BULK_BYTES ? ['-c', 'pack.compression=1'] : [];
  const { stdout } = await runGit(['-c', 'fastimport.unpackLimit=0', ...compression, 'fast-import', '--quiet', '--done', '--depth=0', '--force', '--date-format=raw'], { ...inShadow(shadow, { signal }), input: stream(shadow, state) });
  const [index = '', worktree = '', manifest = '', listed = ''] = stdout.toString('latin1').split('\n');
  return { index, worktree, manifest, tree: listed.split(/[ \t]/)[2] ?? '' };
}

async function* stream(shadow: Shadow, state: StateToCommit): AsyncGenerator<Buffer, void, undefined> {
  const text = (value: string) => Buffer.from(value, 'latin1');
  const commit = (name: string, mark: number, from: string | null) => {
    const message = `baton: ${name}\n`;
    return `commit refs/heads/${name}\nmark :${mark}\nauthor ${who} ${state.seconds} +0000\ncommitter ${who} ${state.seconds} +0000\ndata ${message.length}\n${message}${from === null ? '' : `from ${from}\n`}`;
  };
  yield* blobs(shadow.worktree, state.worktree.store.filter((entry) => entry.object === null));
  yield text(`${commit('index', 1, state.head)}M 040000 ${state.index} ""\n\n`);
  yield text(commit('worktree', 2, ':1'));
  for (const name of state.worktree.remove) yield text(`D ${quoted(name)}\n`);
  let mark = FIRST_BLOB;
  for (const entry of state.worktree.store) yield text(`M ${entry.mode} ${entry.object ?? `:${mark++}`} ${quoted(entry.path)}\n`);
  const manifest = Buffer.from(state.manifest, 'utf8');
  yield text(`\n${commit('manifest', 3, ':2')}${state.commits.map((oid) => `merge ${oid}\n`).join('')}deleteall\nM 100644 inline manifest.json\ndata ${manifest.length}\n`);
  yield manifest;
  yield text(`\n${state.trees.map(([name, tree]) => `M 040000 ${tree} ${name}\n`).join('')}\nget-mark :1\nget-mark :2\nget-mark :3\nls :2 ""\ndone\n`);
}

const FIRST_BLOB = 4;

async function* blobs(root: string, entries: readonly PathToStore[]): AsyncGenerator<Buffer, void, undefined> {
  const ahead: Promise<Buffer | null>[] = [];
  const start = (entry: PathToStore | undefined) => {
    if (entry === undefined) return;
    const reading = entry.sighting.bytes > READ_AHEAD_BYTES ? Promise.resolve(null) : readWhole(root, entry);
    // Seen where its turn comes; until then it must not count as unhandled.
    reading.catch(() => undefined);
    ahead.push(reading);
  };
  for (const entry of entries.slice(0, READ_AHEAD_FILES)) start(entry);
  for (const [position, entry] of entries.entries()) {
    const content = await ahead.shift();
    start(entries[position + READ_AHEAD_FILES]);
    const length = entry.sighting.bytes;
    yield Buffer.from(`blob\nmark :${FIRST_BLOB + position}\ndata ${length}\n`);
    if (content === null || content === undefined) yield* readPieces(root, entry);
    else yield content;
    yield Buffer.from('\n');
  }
}

/** All of a file, or the target of a link. */
async function readWhole(root: string, entry: PathToStore): Promise<Buffer> {
  if (entry.sighting.kind !== 'symlink') {
    const pieces: Buffer[] = [];
    for await (const piece of readPieces(root, entry)) pieces.push(piece);
    return Buffer.concat(pieces);
  }
  const target = await readlink(absolutePath(root, entry.path), { encoding: 'buffer' }).catch(() => null);
  if (target?.length !== entry.sighting.bytes) throw changed(root, 'A symbolic link');
  return target;
}

/** Exactly as many bytes as were announced, of exactly the file that was seen. */
async function* readPieces(root: string, entry: PathToStore): AsyncGenerator<Buffer, void, undefined> {
  // Where a platform lacks one of the flags it is undefined, which counts as no bit.
  const handle = await open(absolutePath(root, entry.path), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch((error: unknown) => {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ELOOP') throw changed(root, 'A file');
    throw unreadable(root, entry.path, (error as Error).message, error);
  });
  try {
    if (sightingOf(await handle.stat({ bigint: true })).signature !== entry.sighting.signature) throw changed(root, 'A file');
    for (let left = entry.sighting.bytes; left > 0;) {
      const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(Math.min(left, 1024 * 1024)), 0);
      if (bytesRead === 0) throw changed(root, 'A file');
      left -= bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await handle.close();
  }
}

/** A path as fast-import reads it: quoted as in C, since a bare one may not begin with a quote or hold a line feed. */
function quoted(name: BytePath): string {
  return `"${name.replace(/[^ !#-[\]-~]/g, (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`)}"`;
}
