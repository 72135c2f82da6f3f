import { nulRecords, runGit, streamGit } from './git';
import { GitError } from './gitError';
import { bytePath, type BytePath } from './bytePath';
import type { ObjectId } from './repository';
import { inShadow, type Shadow } from './shadow';

export interface IndexEntry {
  readonly path: BytePath;
  /** Octal, as git prints it: 100644, 100755, 120000, 160000. */
  readonly mode: string;
  readonly oid: ObjectId;
  readonly stage: 0 | 1 | 2 | 3;
}

export interface FlaggedPath {
  readonly path: BytePath;
  readonly assumeUnchanged: boolean;
  readonly skipWorktree: boolean;
}

/** What of an index a tree cannot say. The plain entries, which are nearly all, are not kept. */
export interface IndexListing {
  readonly unmerged: readonly IndexEntry[];
  readonly intentToAdd: readonly IndexEntry[];
  readonly flagged: readonly FlaggedPath[];
  readonly gitlinks: readonly IndexEntry[];
  /** `.gitattributes` files. */
  readonly attributeFiles: readonly IndexEntry[];
  /** Records of conflicts that have been resolved (gitformat-index(5), "resolve undo"). */
  readonly resolved: readonly IndexEntry[];
}

const EMPTY_BLOBS = new Set(['e69de29bb2d1d6434b8b29ae775ad8c2e48c5391', '473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813']);
/** `CE_INTENT_TO_ADD` in git's cache.h, as `ls-files --debug` prints it. */
const INTENT_TO_ADD = 0x2000_0000;

/** Reads an index of a shadow. */
export async function listIndex(shadow: Shadow, signal?: AbortSignal, index = 'index'): Promise<IndexListing> {
  // Awaited with the others below; one that fails first must not count as unhandled until then.
  const resolved = listResolved(shadow, index, signal);
  resolved.catch(() => undefined);
  const unmerged: IndexEntry[] = [];
  const flagged: FlaggedPath[] = [];
  const gitlinks: IndexEntry[] = [];
  const attributeFiles: IndexEntry[] = [];
  const empty: IndexEntry[] = [];
  for await (const record of nulRecords(streamGit(['ls-files', '-s', '-v', '-z'], inShadow(shadow, { index, signal })))) {
    const text = bytePath(record);
    const entry = parseStaged(text.slice(2));
    const tag = text.charAt(0);
    if (entry.stage !== 0) unmerged.push(entry);
    else {
      const assumeUnchanged = tag !== tag.toUpperCase();
      const skipWorktree = tag.toUpperCase() === 'S';
      if (assumeUnchanged || skipWorktree) flagged.push({ path: entry.path, assumeUnchanged, skipWorktree });
      if (EMPTY_BLOBS.has(entry.oid)) empty.push(entry);
    }
    if (entry.mode === '160000') gitlinks.push(entry);
    if (entry.path === '.gitattributes' || entry.path.endsWith('/.gitattributes')) attributeFiles.push(entry);
  }
  return { unmerged, flagged, gitlinks, attributeFiles, intentToAdd: await intentToAddOf(shadow, index, empty, signal), resolved: await resolved };
}

function parseStaged(text: string): IndexEntry {
  const match = /^(\d{6}) ([0-9a-f]{40,64}) ([0-3])\t([^]+)$/.exec(text);
  const [, mode, oid, stage, path] = match ?? [];
  if (mode === undefined || oid === undefined || stage === undefined || path === undefined) {
    throw new GitError('failed', `git ls-files wrote a record that is none of its format: ${JSON.stringify(text.slice(0, 80))}`);
  }
  return { path, mode, oid, stage: Number(stage) as IndexEntry['stage'] };
}

/** An entry that is intended to be added holds the empty blob's name, so only those with it need a second look. */
async function intentToAddOf(shadow: Shadow, index: string, candidates: readonly IndexEntry[], signal?: AbortSignal): Promise<IndexEntry[]> {
  if (candidates.length === 0) return [];
  // Arguments are text; names that are not UTF-8, and long lists, are found in the whole listing instead.
  // eslint-disable-next-line no-control-regex -- ASCII is what is asked for
  const named = candidates.length <= 200 && candidates.every((entry) => /^[\u0001-\u007f]*$/.test(entry.path));
  const { stdout } = await runGit(['ls-files', '--debug', '-z', ...(named ? ['--', ...candidates.map((entry) => entry.path)] : [])], { ...inShadow(shadow, { index, signal }), maxOutputBytes: 1024 * 1024 * 1024 });
  const intended = new Set<BytePath>();
  const text = bytePath(stdout);
  for (let start = 0; start < text.length;) {
    const nul = text.indexOf('\0', start);
    const flags = /flags: ([0-9a-f]+)\n/y;
    const at = text.indexOf('flags: ', nul);
    if (nul === -1 || at === -1) break;
    flags.lastIndex = at;
    const value = flags.exec(text)?.[1];
    if (value === undefined) break;
    if ((Number.parseInt(value, 16) & INTENT_TO_ADD) !== 0) intended.add(text.slice(start, nul));
    start = flags.lastIndex;
  }
  return candidates.filter((entry) => intended.has(entry.path));
}

async function listResolved(shadow: Shadow, index: string, signal?: AbortSignal): Promise<IndexEntry[]> {
  const { stdout } = await runGit(['ls-files', '--resolve-undo', '-z'], inShadow(shadow, { index, signal }));
  return bytePath(stdout).split('\0').filter((record) => record !== '').map(parseStaged);
}

/** Names written by a git command with `-z`, one after the other. */
export async function pathList(args: readonly string[], options: Parameters<typeof streamGit>[1]): Promise<BytePath[]> {
  const names: BytePath[] = [];
  for await (const record of nulRecords(streamGit(args, options))) names.push(bytePath(record));
  return names;
}

/** Lines for `update-index -z --index-info`. */
export function indexInfo(entries: Iterable<Pick<IndexEntry, 'path' | 'mode' | 'oid' | 'stage'>>): Buffer {
  const lines = [...entries].map((entry) => `${entry.mode} ${entry.oid} ${entry.stage}\t${entry.path}\0`);
  return Buffer.from(lines.join(''), 'latin1');
}
