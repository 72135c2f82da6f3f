import { mkdir, rm, rmdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { AuditEvent, AuditLog } from './audit';
import { HostError } from './hostError';
import type { Log } from './log';
import type { ManagedWorktrees } from './managedWorktrees';
import { describeError } from './wireError';

export interface KeeperPorts {
  readonly worktrees: ManagedWorktrees;
  /** Directory of the keeper's own, for captures and for what takes a restore back. */
  readonly directory: string;
  readonly audit: Pick<AuditLog, 'append'>;
  readonly log: Log;
  /** Why a thread keeps its worktree from being removed: its turn runs, an approval waits; null where it is at rest. */
  inUse(threadId: string): Promise<string | null>;
  /** What is under way with a thread, a handoff above all; null where nothing is. */
  underWay(threadId: string): string | null;
  now(): Date;
  onChanged(): void;
}

export type WorktreeActor = Extract<AuditEvent, { worktreeId: string }>['by'];

/** A recursive `mkdir` calls a file system that can only be read a missing directory (Node.js), so this is none. */
export async function makeKeepersDirectory(directory: string): Promise<void> {
  await mkdir(directory, { mode: 0o700 }).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw new HostError('worktree-kept', `Nothing was changed, since Baton cannot write to ${directory}: ${describeError(error).message}`, { cause: error });
  });
}

/** Runs `act` with an empty directory of the keeper's own, which is gone afterwards. */
export async function withSpool<T>(directory: string, name: string, act: (spool: string) => Promise<T>): Promise<T> {
  const spool = join(directory, name);
  await makeKeepersDirectory(directory);
  await rm(spool, { recursive: true, force: true });
  await mkdir(spool, { mode: 0o700 });
  try {
    return await act(spool);
  } finally {
    await rm(spool, { recursive: true, force: true });
  }
}

/** The directory that a worktree had to itself, if nothing else is in it. */
export async function removeIfEmpty(directory: string, base: string): Promise<void> {
  if (dirname(directory) === base && /^[0-9a-f]{8}$/.test(basename(directory))) await rmdir(directory).catch(() => undefined);
}
