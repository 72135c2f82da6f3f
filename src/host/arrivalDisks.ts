import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { readRepository } from '../git/repository';
import { objectDirectory } from '../git/shadow';
import type { Disk, DiskUse } from '../handoff/disks';
import { freeBytes } from './incomingHandoff';

/**
 * The file systems to which a thread goes that arrives.
 *
 * @param to `arriving`: of Baton's, what is kept until the handoff is over; `kept`: bytes of it that are there from one that broke off;
 *   `place`: null where it is not known yet
 */
export async function arrivalDisks(to: { readonly arriving: string; readonly kept: number; readonly codexHome: string; readonly place: { readonly projectRoot: string; readonly worktree: string } | null }): Promise<Disk[]> {
  const { arriving, kept, codexHome, place } = to;
  const places: [DiskUse, string][] = [['arriving', arriving], ['conversation', join(codexHome, 'sessions')]];
  if (place !== null) places.push(['worktree', place.worktree], ['objects', objectDirectory(await readRepository(place.projectRoot))]);
  const disks = await Promise.all(places.map(([use, path]) => diskOf(use, path)));
  const spool = disks.find(({ use }) => use === 'arriving')?.device;
  return disks.map((disk) => (disk.device === spool ? { ...disk, freeBytes: disk.freeBytes + kept } : disk));
}

/** Of a place that is yet to be made, that of the folder in which it will be. */
async function diskOf(use: DiskUse, path: string): Promise<Disk> {
  let there = path;
  while (!existsSync(there) && dirname(there) !== there) there = dirname(there);
  return { use, path: there, device: String((await stat(there)).dev), freeBytes: await freeBytes(there) };
}
