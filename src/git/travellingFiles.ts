import { createHash } from 'node:crypto';
import { lstat, mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { absolutePath, pathForPeople, sortedPaths, type BytePath } from './bytePath';
import { includedFiles, INCLUDE_FILE, readIncludeList, reportSpecialFiles } from './includedFiles';
import { IncludeTally, skipsText, type Skip } from './includeTally';
import { looksSecret } from './secretNames';

export interface TravelLimits {
  readonly files: number;
  readonly bytes: number;
}

/** What may cross to another host at once. */
export const travelLimits: TravelLimits = { files: 100_000, bytes: 8 * 1024 ** 3 };

/** The ignored files of a checkout that would cross to another host, as its user is shown them. */
export interface TravellingFiles {
  /** In git's order. */
  readonly names: readonly BytePath[];
  readonly bytes: number;
  /** Those whose names look like secrets. */
  readonly secrets: readonly BytePath[];
  /** What the list names as well and cannot travel, in words; null where there is none. */
  readonly left: string | null;
  /** One sentence: why none of it may travel. Null where it may. */
  readonly refused: string | null;
}

/** Hashes a list that is shown, so that a wish for it is a wish for nothing else. `about`: what else the wish is bound to. */
export function digestOfNames(about: readonly string[], names: readonly BytePath[]): string {
  return createHash('sha256').update(JSON.stringify(about)).update('\0').update(names.join('\0'), 'latin1').digest('hex');
}

/**
 * The files that `.worktreeinclude` of a working tree lists and that could cross to another host: ignored there, untracked,
 * and plain. Null where there is no list.
 *
 * @throws {Error} with a sentence, for a list that is no plain file or is too long
 */
export async function travellingFiles(root: string, limits: TravelLimits = travelLimits, signal?: AbortSignal): Promise<TravellingFiles | null> {
  const tally = new IncludeTally();
  const { names, more } = (await listedNames(root, limits.files, tally.skip, signal)) ?? { names: null, more: false };
  if (names === null) return null;
  const plain: BytePath[] = [];
  for (let start = 0; start < names.length; start += 64) {
    const some = names.slice(start, start + 64);
    const looks = await Promise.all(some.map((name) => lstat(absolutePath(root, name)).catch(() => null)));
    for (const [position, name] of some.entries()) {
      const found = looks[position] ?? null;
      if (found?.isFile() === true && (found.mode & 0o6000) === 0) {
        plain.push(name);
        tally.bytes += found.size;
      } else tally.skip(name, found === null ? 'changed' : found.isSymbolicLink() ? 'symbolic-link' : found.isFile() ? 'set-user-id' : 'special-file');
    }
  }
  let refused: string | null = null;
  if (more) refused = `${INCLUDE_FILE} lists more than ${limits.files} files, which is more than may cross to another host at once. Make its patterns narrower.`;
  else if (tally.bytes > limits.bytes) refused = `What ${INCLUDE_FILE} lists has ${tally.bytes} bytes; at most ${limits.bytes} may cross to another host at once. Make its patterns narrower.`;
  return { names: plain, bytes: tally.bytes, secrets: plain.filter(looksSecret), left: tally.skipped === 0 ? null : skipsText(tally.skipped, tally.named), refused };
}

/** The paths that the list of a working tree names, at most `limit` of them. Null where there is no list. */
export async function listedNames(root: string, limit: number, skip: Skip, signal?: AbortSignal): Promise<{ readonly names: readonly BytePath[]; readonly more: boolean } | null> {
  const patterns = await readIncludeList(root);
  if (patterns === null) return null;
  const temporary = await mkdtemp(path.join(os.tmpdir(), 'baton-include-'));
  try {
    const names: BytePath[] = [];
    for await (const name of includedFiles(root, patterns, temporary, skip, signal)) {
      if (names.length === limit) return { names, more: true };
      names.push(name);
    }
    await reportSpecialFiles(root, patterns, temporary, skip, signal);
    return { names: sortedPaths(names), more: false };
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

/** The first few of some names, quoted for people. */
export function firstNames(names: readonly BytePath[], limit = 5): string {
  return `${names.slice(0, limit).map(pathForPeople).join(', ')}${names.length > limit ? ` and ${names.length - limit} more` : ''}`;
}
