/** What preload.mjs does to a host, and what it says of it: two files in a directory of the machine's. */
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

export interface Orders {
  /** Counting begins anew with every id. */
  readonly id: string;
  /** Every point that is passed is written down. */
  readonly record?: true;
  /** Where the host ends itself by SIGKILL: at the `nth` time that it passes `point`; without one, at the `nth` point of all. */
  readonly kill?: { readonly point?: string; readonly nth: number };
  /** The `nth` call whose name begins so fails. */
  readonly fail?: { readonly call: string; readonly nth: number; readonly code: 'EIO' | 'ENOSPC' };
  /** So much time has passed at once, by the monotonic clock: the host was suspended, or nothing was heard for so long. */
  readonly sleptMs?: number;
  /** The wall clock differs by so much; the monotonic one does not. */
  readonly clockShiftMs?: number;
}

const heardLine = z.object({ id: z.string(), point: z.string().optional(), killed: z.string().optional(), failed: z.string().optional() });
export type Heard = z.infer<typeof heardLine>;

/** Read at the host's next call, whole: it is renamed into its place. */
export function giveOrders(directory: string, orders: Orders): void {
  const file = join(directory, 'orders.json');
  writeFileSync(`${file}.next`, JSON.stringify(orders));
  renameSync(`${file}.next`, file);
}

export function heardOf(directory: string, id: string): Heard[] {
  const file = join(directory, 'heard.jsonl');
  if (!existsSync(file)) return [];
  // The last line may be half a one: its host was killed from outside.
  const lines = readFileSync(file, 'utf8').split('\n').slice(0, -1);
  return lines.map((line) => heardLine.parse(JSON.parse(line))).filter((line) => line.id === id);
}

/** How often each point was passed under the orders of that id. */
export function countPoints(directory: string, id: string): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { point } of heardOf(directory, id)) if (point !== undefined) counts.set(point, (counts.get(point) ?? 0) + 1);
  return counts;
}
