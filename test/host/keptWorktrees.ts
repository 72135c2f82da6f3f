/** A host's worktrees on real git, without the host: its keeper and its sweep, with a clock that the test moves. */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { readApplyRecord } from '../../src/git/applyRecord';
import { createWorktree } from '../../src/git/worktreeCreate';
import { JsonStore } from '../../src/host/jsonStore';
import { silentLog } from '../../src/host/log';
import { ManagedWorktrees, worktreeRecords, type WorktreeRecord } from '../../src/host/managedWorktrees';
import type { WorktreeRetention } from '../../src/host/protocol';
import { WorktreeKeeper } from '../../src/host/worktreeKeeper';
import { WorktreeSweep } from '../../src/host/worktreeSweep';
import { inventory } from '../../src/host/worktreeSurvey';
import { git, observe, write } from '../git/laboratory';

export const HOUR = 3_600_000;
export const DAY = 24 * HOUR;

export interface Kept {
  readonly home: string;
  readonly base: string;
  readonly checkout: string;
  readonly worktrees: ManagedWorktrees;
  readonly keeper: WorktreeKeeper;
  readonly sweep: WorktreeSweep;
  readonly retention: WorktreeRetention;
  /** Threads that are not at rest, with the reason. */
  readonly running: Map<string, string>;
  readonly underWay: Map<string, string>;
  readonly audited: { type: string }[];
  /** What its log warns of. */
  readonly warned: string[];
  /** Moves the clock on. */
  later(milliseconds: number): void;
  /** Makes a worktree, on a branch of its own unless told otherwise. */
  make(options?: { readonly threads?: readonly string[]; readonly branch?: string | null }): Promise<WorktreeRecord>;
  list(): ReturnType<typeof inventory>;
}

/** Opens the records in `home`, as a host that starts does; `recover` is the test's to call. `ids` are the next that chance gives. */
export async function openKept(home: string, checkout: string, options: { readonly afterMs?: number; readonly ids?: readonly string[] } = {}): Promise<Kept> {
  mkdirSync(home, { recursive: true });
  let ahead = options.afterMs ?? 0;
  const now = () => new Date(Date.now() + ahead);
  const base = path.join(home, 'worktrees');
  const ids = [...(options.ids ?? [])];
  const worktrees = new ManagedWorktrees(base, await JsonStore.open(path.join(home, 'worktrees.json'), worktreeRecords, []), now, options.ids === undefined ? undefined : () => ids.shift() ?? '');

  const [running, underWay] = [new Map<string, string>(), new Map<string, string>()];
  const audited: { type: string }[] = [];
  const warned: string[] = [];
  const retention: WorktreeRetention = { keep: 0, snapshotDays: 30 };
  const ports = {
    worktrees, now, log: { ...silentLog, warn: (message: string) => { warned.push(message); } },
    directory: path.join(home, 'snapshots'),
    audit: { append: (event: { type: string }) => { audited.push(event); return Promise.resolve(); } },
    inUse: (id: string) => Promise.resolve(running.get(id) ?? null),
    underWay: (id: string) => underWay.get(id) ?? null,
    onChanged: () => undefined,
  };
  const keeper = new WorktreeKeeper(ports);
  const sweep = new WorktreeSweep({ ...ports, retention: () => retention, checkouts: () => [checkout], lastApply: async (id) => (await readApplyRecord(path.join(home, 'applies', id)))?.change ?? null }, keeper);
  return {
    home, base, checkout, worktrees, keeper, sweep, retention, running, underWay, audited, warned,
    later: (milliseconds) => { ahead += milliseconds; },
    make: async ({ threads = [], branch } = {}) => {
      const { id, path: place } = await worktrees.plan(checkout);
      const gitDir = await createWorktree({ root: checkout, path: place, branch: branch === undefined ? `work-${id}` : branch });
      return worktrees.save({ id, path: place, gitDir, projectRoot: checkout, threadIds: [...threads] });
    },
    list: () => inventory(worktrees, keeper, false),
  };
}

/** What is in a worktree, and the branch that it is on. */
export function contentOf(worktree: string): Record<string, unknown> {
  return { ...observe(worktree), branch: git(worktree, 'symbolic-ref', '-q', '--short', 'HEAD') };
}

/** Changes of every kind. */
export function work(root: string): void {
  write(root, 'n', 'committed\n');
  git(root, 'add', 'n');
  git(root, 'commit', '-qm', 'made here');
  write(root, 'a.txt', 'staged\n');
  git(root, 'add', 'a.txt');
  write(root, 'a.txt', 'staged and more\n');
  write(root, 'untracked/u.txt', 'u\n');
}
