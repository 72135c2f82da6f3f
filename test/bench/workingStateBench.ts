/** Capture and restore beside what git itself needs to look at a working tree and to make one. */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createBundle, listTips } from '../../src/git/bundle';
import { captureWorkingState } from '../../src/git/capture';
import { receiveBundle } from '../../src/git/quarantine';
import { finishRestore, restoreWorkingState } from '../../src/git/restore';
import { git } from '../fixtures/checkout';
import { cloneWithoutFiles } from './handoffBench';
import { quietDisk } from './quietDisk';
import { timed } from './statistics';
import type { BenchSubject } from './subjects';

/** Milliseconds of one run. */
export interface WorkingStateRun {
  readonly gitStatus: number;
  readonly capture: number;
  readonly bundle: number;
  readonly worktreeAdd: number;
  /** Unpacking and checking in quarantine. */
  readonly receive: number;
  /** Building the worktree and reading it back for the receipt. */
  readonly restore: number;
}

/** Takes the working state of a checkout to another clone, without hosts, below `directory`, which is made and removed. */
export async function moveWorkingState(subject: BenchSubject, origin: string, checkout: string, directory: string): Promise<WorkingStateRun> {
  await mkdir(directory, { recursive: true });
  try {
    const clone = await cloneWithoutFiles(origin, join(directory, 'destination'));
    const status = await timed(() => git(checkout, 'status', '--porcelain=v2', '--untracked-files=all', '-z'));
    const capture = await timed(() => captureWorkingState({ root: checkout, spool: join(directory, 'spool') }));
    const haves = await listTips(clone);
    const file = join(directory, 'bundle');
    const bundle = await timed(() => createBundle({ capture: capture.value, haves, file }));

    await quietDisk();
    const add = await timed(() => git(clone, 'worktree', 'add', '--quiet', '--detach', join(directory, 'by-git'), 'HEAD'));
    await quietDisk();
    const quarantine = join(directory, 'quarantine');
    const { bytes, sha256 } = bundle.value;
    const received = await timed(() => receiveBundle({ root: clone, file, sha256, bytes, tip: capture.value.commits.manifest, quarantine }));
    const restored = await timed(() =>
      restoreWorkingState({ root: clone, quarantine: received.value, worktree: join(directory, 'restored'), threadId: '00000000-0000-4000-8000-000000000000', carriedBranch: subject.branch }),
    );
    await finishRestore(quarantine);
    if (restored.value.fingerprint !== capture.value.fingerprint) throw new Error('What was restored is not what was captured.');
    return { gitStatus: status.milliseconds, capture: capture.milliseconds, bundle: bundle.milliseconds, worktreeAdd: add.milliseconds, receive: received.milliseconds, restore: restored.milliseconds };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
