import { readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import writeFileAtomic from 'write-file-atomic';
import { z } from 'zod';
import type { CreatedBundle, EarlierBundle } from '../git/bundle';
import { unlessMissing } from './arrivingFiles';
import type { KeptPlaces } from './keptPlaces';

const objectIds = z.array(z.string().regex(/^([0-9a-f]{40}|[0-9a-f]{64})$/));
const note = z.object({ tip: z.string().regex(/^([0-9a-f]{40}|[0-9a-f]{64})$/), bytes: z.number().int().positive(), sha256: z.string().regex(/^[0-9a-f]{64}$/), commits: z.number().int().nonnegative(), prerequisites: objectIds, shallow: objectIds });

const noteOf = (bundle: string): string => `${bundle}.json`;

/**
 * At the source: bundles of handoffs that broke off. Git packs the same objects into other bytes each time, so only the same file
 * goes on where the destination's part of it ends.
 */
export class SealedBundles {
  constructor(readonly places: KeptPlaces) {}

  /** Notes what a bundle in a handoff's spool was made from, so that it can be kept also after a crash. */
  async note(bundle: string, tip: string, { bytes, sha256, commits, prerequisites, shallow, repeatable }: CreatedBundle): Promise<void> {
    if (repeatable && bytes >= this.places.limits.leastBytes) await writeFileAtomic(noteOf(bundle), JSON.stringify({ tip, bytes, sha256, commits, prerequisites, shallow }), { mode: 0o600, fsync: true });
  }

  /** Takes over the bundles of a handoff's spool that were noted, in place of those that were kept of the thread before. */
  async keep(peer: string, threadId: string, spool: string): Promise<void> {
    const bundles = (await readdir(spool).catch(unlessMissing([]))).filter((name) => /^bundle-\d+\.json$/.test(name)).map((name) => join(spool, name.slice(0, -5)));
    if (bundles.length === 0) return;
    await this.places.forget(peer, threadId);
    const place = await this.places.make(peer, threadId);
    for (const bundle of bundles) {
      const made = await readNote(bundle);
      if (made === null) continue;
      await rename(bundle, join(place, made.tip));
      await rename(noteOf(bundle), noteOf(join(place, made.tip)));
    }
    await this.places.bound(peer);
  }

  /** The bundle of a tip that was made for a peer, if it is still there. */
  async find(peer: string, tip: string): Promise<EarlierBundle | null> {
    for (const place of await this.places.list(peer)) {
      const file = join(place, tip);
      const made = await readNote(file);
      if (made === null) continue;
      // The note goes first: what is taken is nobody else's.
      return {
        made,
        take: async (to) => {
          await rm(noteOf(file), { force: true });
          await rename(file, to);
        },
      };
    }
    return null;
  }
}

/** What a bundle was made from; null where it is not there whole. */
async function readNote(bundle: string): Promise<(CreatedBundle & { tip: string }) | null> {
  const text = await readFile(noteOf(bundle), 'utf8').catch(unlessMissing(null));
  if (text === null) return null;
  const made = note.parse(JSON.parse(text));
  const { size } = await stat(bundle).catch(unlessMissing({ size: -1 }));
  return size === made.bytes ? { ...made, repeatable: true } : null;
}
