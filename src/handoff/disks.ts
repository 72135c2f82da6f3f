/** Whether there is room for a thread at its destination: on each file system, for all that goes there. */
import type { Finding } from './finding';

/** What arrives of a thread, each at a place of its own, which may be on a file system of its own. */
export const diskUses = ['arriving', 'worktree', 'objects', 'conversation'] as const;
export type DiskUse = (typeof diskUses)[number];

/** The file system that something goes to. */
export interface Disk {
  readonly use: DiskUse;
  readonly path: string;
  /** Equal for places on one file system. */
  readonly device: string;
  readonly freeBytes: number;
}

export interface ArrivingBytes {
  /** All that is sent. */
  readonly bytes: number;
  /** What of it is the conversation. */
  readonly rolloutBytes: number;
  readonly worktreeBytes: number;
}

/** Left free for what else is written, such as the records of both programs. */
const AIR_BYTES = 64 * 1_048_576;

const what: Readonly<Record<DiskUse, string>> = { arriving: 'what arrives', worktree: 'the worktree', objects: "the repository's new objects", conversation: 'the conversation' };

export function diskFindings(host: string, { bytes, rolloutBytes, worktreeBytes }: ArrivingBytes, disks: readonly Disk[]): Finding[] {
  const spool = disks.find(({ use }) => use === 'arriving')?.device;
  const needs: Readonly<Record<DiskUse, (device: string) => number>> = {
    // As it was sent, and unpacked beside that until the handoff is over.
    arriving: () => 2 * bytes,
    worktree: () => worktreeBytes,
    objects: () => Math.max(0, bytes - rolloutBytes),
    // On the same file system it is moved.
    conversation: (device) => (device === spool ? 0 : rolloutBytes),
  };
  const found = [...new Set(disks.map(({ device }) => device))].map((device) => {
    const there = disks.filter((disk) => disk.device === device);
    const needed = there.reduce((sum, { use }) => sum + needs[use](device), AIR_BYTES);
    return { there, needed, free: Math.min(...there.map(({ freeBytes }) => freeBytes)) };
  });
  const short = found.filter(({ needed, free }) => free < needed);
  if (short.length === 0) {
    const told = found.map(({ there, free }) => (found.length === 1 ? `${inUnits(free)} free` : `${inUnits(free)} free for ${together(there.map(({ use }) => what[use]))}`));
    return [{ level: 'ok', code: 'disk', message: `${host} has ${together(told)}.` }];
  }
  return short.map(({ there, needed, free }) => {
    const places = together([...new Set(there.map(({ path }) => path))]);
    const uses = together(there.map(({ use }) => what[use]));
    return { level: 'blocker', code: 'disk-full', message: `${host} has ${inUnits(free)} free on the disk of ${places} and needs ${inUnits(needed)} there for ${uses}, ${inUnits(needed - free)} more; free some space there.` };
  });
}

const together = (all: readonly string[]): string => (all.length < 2 ? all.join() : `${all.slice(0, -1).join(', ')} and ${all.at(-1) ?? ''}`);

/** A number of bytes in decimal units, as disks are sold: `1.2 GB`. */
function inUnits(bytes: number): string {
  if (bytes < 1e6) return `${(bytes / 1e3).toFixed(1)} kB`;
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}
