/** How many bytes a bundle takes between clones of one repository that know different parts of its history. */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { costOf, makePool, relate, relations, type Cost } from '../fixtures/relatedClones';
import { bytes, formatTable, ratio } from './table';

const FILES = 20_000;
const COMMITS = 400;

export interface BytesRun extends Cost {
  readonly relation: string;
}

/** Ten changed files of 20,000 for each relation, below `directory`, which is made and removed. Counted once: the bytes hardly differ. */
export async function measureBytes(directory: string): Promise<BytesRun[]> {
  await mkdir(directory, { recursive: true });
  try {
    const pool = await makePool(directory, FILES, COMMITS);
    const runs: BytesRun[] = [];
    for (const relation of relations) {
      const place = join(directory, `pair-${runs.length}`);
      runs.push({ relation: relation.name, ...(await costOf(await relate(pool, relation, place))) });
      await rm(place, { recursive: true, force: true });
    }
    return runs;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

export function bytesTable(runs: readonly BytesRun[]): string {
  const table = formatTable([
    [`Bundle, 10 of ${FILES} files`, 'sent', 'of new', 'of ideal', 'unasked', 'asks'],
    ...runs.map(({ relation, ...cost }) => [relation, bytes(cost.bytes), ratio(cost.bytes, cost.newData), ratio(cost.bytes, cost.ideal), bytes(cost.unasked), String(cost.questions)]),
  ]);
  return `${table}\nNew: contents of files that the destination lacks, each deflated; goal 1.1 x.\nWhere commits are lacking too, these and their trees come on top. Ideal: made\nwith all knowledge of both sides. Unasked: from the destination's tips alone.`;
}
