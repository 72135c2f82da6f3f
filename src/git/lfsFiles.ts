import { readFile } from 'node:fs/promises';
import { absolutePath, type BytePath } from './bytePath';
import { indexEntries, type IndexEntry } from './indexListing';
import { pointerText, readPointers, type LfsObject } from './lfsPointer';
import { hashFile } from './lfsStore';
import type { ObjectId } from './repository';
import { inShadow, type Shadow } from './shadow';
import type { Sighting } from './worktreeScan';

/** A file that holds the content of an LFS object, where the repository has a pointer. */
export interface LfsFile extends LfsObject {
  readonly path: BytePath;
}

/** What the files that Git LFS looks after are in the working tree. */
export interface LfsReading {
  /** Hold the content that the index points to. They travel as their pointers. */
  readonly files: readonly LfsFile[];
  /** Of these, the ones whose content had to be read to know it, with the pointer's blob: git may call them changed. */
  readonly read: ReadonlyMap<BytePath, ObjectId>;
  /** Something else: to be taken byte by byte, as any file. */
  readonly raw: readonly BytePath[];
  /** Every pointer of the index, conflict stages included. */
  readonly named: readonly LfsFile[];
}

/**
 * Tells the LFS files of a working tree apart. One that git holds for unchanged, and that is as long as the object, is what
 * git-lfs wrote; where git is in doubt the content's hash decides. So the answer is the same before and after a handoff,
 * whatever times the files have.
 *
 * @param candidates tracked paths with `filter=lfs`
 * @param unmerged entries with conflict stages
 * @param differing paths that git does not hold for unchanged
 * @param sightings what lies at the candidates
 */
export async function readLfsFiles(shadow: Shadow, candidates: ReadonlySet<BytePath>, unmerged: readonly IndexEntry[], differing: ReadonlySet<BytePath>, sightings: ReadonlyMap<BytePath, Sighting>, signal?: AbortSignal): Promise<LfsReading> {
  const files: LfsFile[] = [];
  const read = new Map<BytePath, ObjectId>();
  const raw: BytePath[] = [];
  const entries = await indexEntries(shadow, candidates, signal);
  const listed = [...entries.values(), ...unmerged.filter((entry) => candidates.has(entry.path))].filter(isRegular);
  const pointers = await readPointers(listed.map((entry) => entry.oid), inShadow(shadow, { signal }));
  const named = listed.flatMap(({ path, oid }) => { const pointer = pointers.get(oid); return pointer === undefined ? [] : [{ path, ...pointer }]; });
  for (const name of candidates) {
    const entry = entries.get(name);
    const pointer = entry === undefined || !isRegular(entry) ? undefined : pointers.get(entry.oid);
    const sighting = sightings.get(name);
    if (sighting?.kind !== 'file') continue;
    const unsure = differing.has(name);
    if (entry === undefined || pointer === undefined) {
      if (!unsure) raw.push(name);
      continue;
    }
    const file = absolutePath(shadow.worktree, name);
    const text = pointerText(pointer);
    const asLong = sighting.bytes === pointer.size;
    if (asLong && !unsure && sighting.bytes !== text.length) files.push({ path: name, ...pointer });
    else if (asLong && (await hashFile(file, signal).catch(() => '')) === pointer.oid) {
      files.push({ path: name, ...pointer });
      read.set(name, entry.oid);
    } else if (!unsure && !(sighting.bytes === text.length && (await readFile(file, 'latin1').catch(() => '')) === text)) raw.push(name);
  }
  return { files, read, raw, named };
}

function isRegular(entry: IndexEntry): boolean {
  return entry.mode === '100644' || entry.mode === '100755';
}
