/** A worktree with a gigabyte of ignored files that `.worktreeinclude` lists, beside `cp -a` of the same files. */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, rm, statfs, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { copyIncluded } from '../../src/git/worktreeInclude';
import { cloneOf, git, makeOrigin } from '../fixtures/checkout';
import { quietDisk } from './quietDisk';
import { summarise, timed } from './statistics';
import { formatTable, milliseconds, ratio, spread } from './table';

const run = promisify(execFile);

export interface IncludeRun {
  /** Where it was measured. */
  readonly directory: string;
  /** Milliseconds of each. */
  readonly worktreeAdd: number;
  readonly include: number;
  /** Bytes of disk that Baton's copies took: next to none where they are clones. */
  readonly diskBytes: number;
  readonly copy: number;
  /** `cp -a --reflink=always`; null where the file system has no clones. */
  readonly clone: number | null;
}

const folders = 160;
const filesPerFolder = 25;
const fileBytes = 256 * 1024;

export async function measureInclude(directory: string, runs: number): Promise<IncludeRun[]> {
  await mkdir(directory);
  const checkout = await cloneOf(await makeOrigin(directory), join(directory, 'checkout'));
  await writeFile(join(checkout, '.worktreeinclude'), 'build/\n');
  for (let folder = 0; folder < folders; folder++) {
    await mkdir(join(checkout, 'build', `${folder}`), { recursive: true });
    for (let file = 0; file < filesPerFolder; file++) await writeFile(join(checkout, 'build', `${folder}`, `${file}.bin`), randomBytes(fileBytes));
  }
  const measured: IncludeRun[] = [];
  for (let index = 0; index < runs; index++) {
    const worktree = join(directory, 'worktree');
    await quietDisk();
    const add = await timed(() => git(checkout, 'worktree', 'add', '-q', '--detach', worktree));
    await quietDisk();
    const before = await freeBytes(directory);
    const include = await timed(() => copyIncluded({ from: checkout, to: worktree }));
    await quietDisk();
    const diskBytes = Math.max(0, before - (await freeBytes(directory)));
    if (include.value?.files !== folders * filesPerFolder) throw new Error(`Not all was copied: ${JSON.stringify(include.value)}`);
    await git(checkout, 'worktree', 'remove', '--force', worktree);
    const copied = await copyBy(checkout, join(directory, 'copy'), ['-a', '--reflink=never']);
    if (copied === null) throw new Error('cp failed.');
    measured.push({ directory: dirname(directory), diskBytes, worktreeAdd: add.milliseconds, include: include.milliseconds, copy: copied, clone: await copyBy(checkout, join(directory, 'clone'), ['-a', '--reflink=always']) });
  }
  await rm(directory, { recursive: true });
  return measured;
}

async function freeBytes(directory: string): Promise<number> {
  const { bfree, bsize } = await statfs(directory);
  return bfree * bsize;
}

async function copyBy(checkout: string, to: string, options: readonly string[]): Promise<number | null> {
  await quietDisk();
  try {
    return (await timed(() => run('cp', [...options, join(checkout, 'build'), to]))).milliseconds;
  } catch (error) {
    if ((error as { stderr?: string }).stderr?.includes('failed to clone') === true) return null;
    throw error;
  } finally {
    await rm(to, { recursive: true, force: true });
  }
}

export function includeTable(runs: readonly IncludeRun[]): string {
  const include = summarise(runs.map((each) => each.include));
  const row = (name: string, values: readonly number[]) => {
    const { median, least, most } = summarise(values);
    return [name, milliseconds(median), spread(least, most), ratio(include.median, median)];
  };
  const clones = runs.flatMap((each) => (each.clone === null ? [] : [each.clone]));
  const table = formatTable([
    [`.worktreeinclude: ${folders * filesPerFolder} files, 1 GiB`, 'time', 'spread', 'Baton is'],
    row('Baton', runs.map((each) => each.include)),
    row('cp -a (copies)', runs.map((each) => each.copy)),
    ...(clones.length === 0 ? [] : [row('cp -a (clones)', clones)]),
    row('git worktree add, without them', runs.map((each) => each.worktreeAdd)),
  ]);
  const taken = summarise(runs.map((each) => each.diskBytes)).median;
  const how = clones.length === 0 ? 'which cannot clone files' : 'which can clone files';
  return `${table}\nMeasured in ${runs[0]?.directory ?? ''}, ${how}; what Baton copied took ${(taken / 1e6).toFixed(0)} MB of it.`;
}
