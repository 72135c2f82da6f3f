import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { safeLength, safeNote, unlessMissing, type ArrivingFile } from './arrivingFiles';
import type { KeptPlaces } from './keptPlaces';

/** Most files of one thread; what is beyond them is sent again. */
const MOST_FILES = 4096;

/**
 * At the destination: what arrived in handoffs that broke off, a file for each content, named by its hash and length. A peer
 * finds only what came from it.
 */
export class KeptTransfers {
  constructor(readonly places: KeptPlaces) {}

  /** Takes over files of a handoff as far as they have come, if they are worth it. */
  async keep(peer: string, threadId: string, files: readonly ArrivingFile[]): Promise<void> {
    const { leastBytes, bytes: most } = this.places.limits;
    const arrived: ArrivingFile[] = [];
    let bytes = 0;
    for (const file of files) {
      const length = await safeLength(file);
      if (length > 0) arrived.push(file);
      bytes += length;
    }
    if (bytes < leastBytes || bytes > most) return;
    const place = await this.places.make(peer, threadId);
    for (const file of arrived.slice(0, MOST_FILES)) await move(file, named(place, file));
    await this.places.bound(peer);
  }

  /** Puts what is kept of files' contents where they belong. */
  async take(peer: string, files: readonly ArrivingFile[]): Promise<void> {
    for (const place of await this.places.list(peer)) {
      for (const file of files) {
        const kept = named(place, file);
        if ((await safeLength(kept)) > (await safeLength(file))) await move(kept, file);
      }
    }
  }
}

function named(place: string, { bytes, sha256 }: ArrivingFile): ArrivingFile {
  return { path: join(place, `${sha256}-${bytes}`), bytes, sha256 };
}

/** The note comes after its file: without one, less of the file counts, never more. */
async function move(from: ArrivingFile, to: ArrivingFile): Promise<void> {
  await rm(safeNote(to.path), { force: true });
  await rename(from.path, to.path);
  await rename(safeNote(from.path), safeNote(to.path)).catch(unlessMissing(undefined));
}
