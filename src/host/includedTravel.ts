/**
 * Ignored files that cross hosts at the user's wish. The wish is for a list that the user was shown: it is kept here, under its digest,
 * until the handoff takes from it what it may send.
 */
import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import writeFileAtomic from 'write-file-atomic';
import { pathForPeople, type BytePath } from '../git/bytePath';
import { digestOfNames, travellingFiles, type TravellingFiles } from '../git/travellingFiles';
import { HostError } from './hostError';
import type { Finding, HandoffPreflight, IncludedList } from './protocol';
import { describeError } from './wireError';

/** `show`: the user wants to see the list; a digest: wants the files of the list that was shown under it. */
export type IncludedWish = 'show' | { readonly digest: string } | null;

interface About {
  /** Top level of the checkout. */
  readonly root: string;
  readonly to: string;
  readonly wish: IncludedWish;
}

const PREFIX = 'shown-';
/** Nobody decides for longer. */
const KEPT_MS = 24 * 60 * 60 * 1000;
const NAMED = 20;

/** What a preflight says of the ignored files that could cross, or are to. */
export interface ConsideredFiles {
  /** Bytes of those that are to cross. */
  readonly travelling: number;
  /** @param facts.taken whether the destination's Baton knows of such files */
  conclude(facts: { readonly findings: readonly Finding[]; readonly taken: boolean; readonly destinationName: string }): Pick<HandoffPreflight, 'findings' | 'included'>;
}

/**
 * Looks at the ignored files that could cross, and keeps the list as the user is about to see it.
 *
 * @param directory `handoffs/` of the Baton home
 */
export async function considerIncluded(directory: string, about: About, signal?: AbortSignal): Promise<ConsideredFiles> {
  const { root, to, wish } = about;
  if (wish === null) return { travelling: 0, conclude: ({ findings }) => ({ findings: [...findings] }) };
  const found = await travellingFiles(root, undefined, signal).catch((error: unknown) => {
    signal?.throwIfAborted();
    // A list that cannot be read is a matter of what it lists, and not of the handoff.
    return { names: [], bytes: 0, secrets: [], left: null, refused: describeError(error).message };
  });
  const wished = wish !== 'show';
  const unknown = wished ? await agreedNames(directory, about).then(() => null, (error: unknown) => (HostError.is(error, 'included-outdated') ? error.message : Promise.reject(error as Error))) : null;
  if (!wished && found !== null) await keep(directory, digestOfNames([root, to], found.names), found.names);
  return {
    travelling: wished ? (found?.bytes ?? 0) : 0,
    conclude: ({ findings, taken, destinationName }) => {
      const refused = unknown ?? found?.refused ?? (taken ? null : `The Baton of ${destinationName} is too old to take ignored files. Update it there, or hand off without them.`);
      return {
        findings: [...findings, ...(wished && refused !== null ? [{ level: 'blocker' as const, code: 'included-refused', message: refused }] : [])],
        included: found === null ? null : listOf(found, digestOfNames([root, to], found.names), refused),
      };
    },
  };
}

function listOf({ names, bytes, secrets, left }: TravellingFiles, digest: string, refused: string | null): IncludedList {
  return { digest, files: names.length, bytes, names: names.slice(0, NAMED).map(pathForPeople), secrets: { count: secrets.length, names: secrets.slice(0, NAMED).map(pathForPeople) }, left, refused };
}

/**
 * The paths that the user has agreed to; null where nothing ignored is wished to cross.
 *
 * @throws {HostError} `included-outdated` where no such list was shown, for this checkout and destination, in the last day
 */
export async function agreedNames(directory: string, { root, to, wish }: About): Promise<ReadonlySet<BytePath> | null> {
  if (wish === null || wish === 'show') return null;
  const text = await readFile(join(directory, `${PREFIX}${wish.digest}`), 'latin1').catch(() => null);
  const names = text === null || text === '' ? [] : text.split('\0');
  if (text === null || digestOfNames([root, to], names) !== wish.digest) throw new HostError('included-outdated', 'The list of ignored files that was agreed to is not known here any more. Look at the list again, then start the handoff.');
  return new Set(names);
}

async function keep(directory: string, digest: string, names: readonly BytePath[]): Promise<void> {
  for (const name of await readdir(directory)) {
    if (!name.startsWith(PREFIX)) continue;
    const kept = await stat(join(directory, name)).catch(() => null);
    if (kept !== null && Date.now() - kept.mtimeMs > KEPT_MS) await rm(join(directory, name), { force: true });
  }
  await writeFileAtomic(join(directory, `${PREFIX}${digest}`), Buffer.from(names.join('\0'), 'latin1'), { mode: 0o600 });
}
