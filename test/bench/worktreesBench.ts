/** Fifty managed worktrees: their inventory, a sweep and the way back, beside git's own commands and du(1) for the same. */
import { execFile, type ChildProcess } from 'node:child_process';
import diagnostics from 'node:diagnostics_channel';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { inventory } from '../../src/host/worktreeSurvey';
import { DAY, openKept, type Kept } from '../host/keptWorktrees';
import { quietDisk } from './quietDisk';
import { summarise, timed } from './statistics';
import { formatTable, milliseconds, ratio, spread } from './table';
import { git, makeRepository, work } from './workingState';

const run = promisify(execFile);
const WORKTREES = 50;
const FILES = 1000;
const SWEPT = 10;
/** So many git processes at once, by hand as in the inventory. */
const AT_ONCE = 4;

/** Milliseconds of one round. */
export interface WorktreesRun {
  readonly inventory: number;
  /** Processes that the inventory started. */
  readonly processes: number;
  readonly statuses: number;
  readonly sizes: number;
  readonly statusesAndDu: number;
  readonly sweep: number;
  readonly remove: number;
  readonly stashAndRemove: number;
  readonly restore: number;
  readonly addAndApply: number;
}

/** Measures below `directory`, which is made and removed. */
export async function measureWorktrees(directory: string, runs: number): Promise<WorktreesRun[]> {
  await mkdir(directory);
  const checkout = join(directory, 'checkout');
  await git(directory, 'clone', '-q', await makeRepository(directory, FILES), checkout);
  const kept = await openKept(join(directory, 'home'), checkout);
  for (let made = 0; made < WORKTREES; made++) {
    const { path } = await kept.make();
    // What others have as well would not count as its own.
    await git(path, 'commit', '-q', '--allow-empty', '-m', `Begun ${made}`);
    await work(path, FILES);
  }
  const measured: WorktreesRun[] = [];
  for (let round = 0; round < runs; round++) measured.push({ ...(await look(kept)), ...(await sweepAndRestore(kept, directory)) });
  await rm(directory, { recursive: true });
  return measured;
}

async function look(kept: Kept): Promise<Pick<WorktreesRun, 'inventory' | 'processes' | 'statuses' | 'sizes' | 'statusesAndDu'>> {
  await quietDisk();
  const places = kept.worktrees.all().map(({ path }) => path);
  const statuses = async () => {
    await git(kept.checkout, 'worktree', 'list', '--porcelain');
    const waiting = [...places];
    await Promise.all(Array.from({ length: AT_ONCE }, async () => {
      for (let place = waiting.shift(); place !== undefined; place = waiting.shift()) await git(place, 'status', '--porcelain');
    }));
  };
  // Whoever comes first finds the files in the cache no more than who comes second.
  await statuses();
  const byGit = await timed(statuses);
  const counted = await countingProcesses(() => timed(() => inventory(kept.worktrees, kept.keeper, false)));
  if (counted.value.value.filter(({ dirty, unpushed }) => dirty && unpushed === 2).length !== WORKTREES) throw new Error('The inventory is not of what was made.');
  const sizes = await timed(() => inventory(kept.worktrees, kept.keeper, true));
  const withDu = await timed(async () => {
    await statuses();
    await run('du', ['-s', ...places], { maxBuffer: 1 << 28 });
  });
  return { inventory: counted.value.milliseconds, processes: counted.count, statuses: byGit.milliseconds, sizes: sizes.milliseconds, statusesAndDu: withDu.milliseconds };
}

async function countingProcesses<T>(act: () => Promise<T>): Promise<{ readonly value: T; readonly count: number }> {
  const started = new Set<ChildProcess>();
  const note = (message: unknown) => void started.add((message as { process: ChildProcess }).process);
  diagnostics.subscribe('child_process', note);
  try {
    return { value: await act(), count: started.size };
  } finally {
    diagnostics.unsubscribe('child_process', note);
  }
}

async function sweepAndRestore(kept: Kept, directory: string): Promise<Pick<WorktreesRun, 'sweep' | 'remove' | 'stashAndRemove' | 'restore' | 'addAndApply'>> {
  const byHand = async (kind: string) => {
    const places = Array.from({ length: SWEPT }, (_, number) => join(directory, kind, `${number}`));
    for (const place of places) {
      await git(kept.checkout, 'worktree', 'add', '-q', '--detach', place);
      await work(place, FILES);
    }
    await quietDisk();
    return places;
  };
  const toRemove = await byHand('removed');
  const remove = await timed(async () => {
    for (const place of toRemove) await git(kept.checkout, 'worktree', 'remove', '--force', place);
  });
  const toStash = await byHand('stashed');
  const stash = await timed(async () => {
    for (const [position, place] of toStash.entries()) {
      // Two stashes of one second with equal content and message are one commit, and the second is not listed.
      await git(place, 'stash', 'push', '-q', '--include-untracked', '--message', `${position}`);
      await git(kept.checkout, 'worktree', 'remove', '--force', place);
    }
  });
  await quietDisk();
  const apply = await timed(async () => {
    for (const [position, place] of toStash.entries()) {
      const name = `stash@{${SWEPT - 1 - position}}`;
      await git(kept.checkout, 'worktree', 'add', '-q', '--detach', place, `${name}^`);
      await git(place, 'stash', 'apply', '-q', '--index', name);
    }
  });
  for (const place of toStash) await git(kept.checkout, 'worktree', 'remove', '--force', place);
  await git(kept.checkout, 'stash', 'clear');

  kept.later(DAY);
  kept.retention.keep = WORKTREES - SWEPT;
  await quietDisk();
  const sweep = await timed(() => kept.sweep.sweep());
  if (sweep.value.removed.length !== SWEPT) throw new Error(`The sweep removed ${sweep.value.removed.length} worktrees: ${JSON.stringify(sweep.value.kept)}`);
  await quietDisk();
  const restore = await timed(async () => {
    for (const { id } of sweep.value.removed) await kept.keeper.restore(id, 'local');
  });
  return { sweep: sweep.milliseconds, remove: remove.milliseconds, stashAndRemove: stash.milliseconds, restore: restore.milliseconds, addAndApply: apply.milliseconds };
}

export function worktreesTable(runs: readonly WorktreesRun[]): string {
  const of = (name: keyof WorktreesRun) => summarise(runs.map((each) => each[name]));
  const row = (name: string, key: keyof WorktreesRun, against?: keyof WorktreesRun) => {
    const { median, least, most } = of(key);
    return [name, milliseconds(median), spread(least, most), against === undefined ? '' : ratio(of(against).median, median)];
  };
  const table = formatTable([
    [`${WORKTREES} worktrees of ${FILES} files, all changed`, 'time', 'spread', 'Baton is'],
    row('inventory', 'inventory'),
    row('  worktree list, status in each', 'statuses', 'inventory'),
    row('inventory with sizes', 'sizes'),
    row('  the same, and du', 'statusesAndDu', 'sizes'),
    row(`sweep that removes ${SWEPT}`, 'sweep'),
    row('  stash -u, worktree remove', 'stashAndRemove', 'sweep'),
    row('  worktree remove --force', 'remove', 'sweep'),
    row(`${SWEPT} restored`, 'restore'),
    row('  worktree add, stash apply', 'addAndApply', 'restore'),
  ]);
  return `${table}\nThe inventory started ${of('processes').median} processes. A sweep looks at all ${WORKTREES}, verifies each\nsnapshot and keeps reflogs too; remove --force keeps nothing of the changes.`;
}
