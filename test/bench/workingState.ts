/** Capture, transfer and restore of small changes in repositories of growing size, beside git's own commands in the same run. */
import { execFile, spawn } from 'node:child_process';
import { appendFile, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { createBundle, listTips } from '../../src/git/bundle';
import { captureWorkingState } from '../../src/git/capture';
import { estimateTransfer } from '../../src/git/estimate';
import { receiveBundle } from '../../src/git/quarantine';
import { finishRestore, restoreWorkingState } from '../../src/git/restore';
import { measureCapture, type CaptureCosts } from './captureProcess';
import type { LoopbackSsh } from './loopbackSsh';
import { quietDisk } from './quietDisk';
import { stashByHand } from './stashByHand';
import { timed } from './statistics';

const execute = promisify(execFile);
const FILES_PER_FOLDER = 100;
const THREAD = '00000000-0000-4000-8000-000000000000';

/** Milliseconds of one round; `bytes` is the bundle's length. */
export interface ScaleRun {
  readonly capture: number;
  readonly estimate: number;
  readonly bundle: number;
  readonly bytes: number;
  readonly worktreeAdd: number;
  readonly receive: number;
  readonly restore: number;
  /** Stash, push, worktree and apply instead. */
  readonly byHand: number;
  /** Captured again after a restore, bundled, received and restored into the worktree that is there. */
  readonly again: number;
}

export interface ScaleMeasurement {
  readonly files: number;
  readonly costs: CaptureCosts;
  readonly runs: readonly ScaleRun[];
}

/** Plain git, whoever runs this. */
export async function git(directory: string, ...args: string[]): Promise<void> {
  await execute('git', ['-c', 'gc.auto=0', '-c', 'maintenance.auto=false', ...args], { cwd: directory, env: { PATH: process.env['PATH'], HOME: directory, LC_ALL: 'C', GIT_CONFIG_NOSYSTEM: '1', GIT_AUTHOR_NAME: 'A', GIT_AUTHOR_EMAIL: 'a@example.org', GIT_COMMITTER_NAME: 'A', GIT_COMMITTER_EMAIL: 'a@example.org' }, maxBuffer: 1 << 28 });
}

const fileName = (number: number) => join('tree', `folder${Math.floor(number / FILES_PER_FOLDER)}`, `file${number}.txt`);

/** Written by fast-import as one pack, as a clone of a real repository has it. */
export async function makeRepository(directory: string, files: number): Promise<string> {
  const origin = join(directory, 'origin.git');
  await git(directory, 'init', '-q', '--bare', '-b', 'main', origin);
  const importing = spawn('git', ['fast-import', '--quiet'], { cwd: origin, stdio: ['pipe', 'ignore', 'inherit'] });
  const ended = new Promise<void>((fulfil, reject) => {
    importing.once('error', reject);
    importing.once('exit', (code) => { if (code === 0) fulfil(); else reject(new Error(`git fast-import ended with ${code ?? 'a signal'}.`)); });
  });
  await pipeline(contents(files), importing.stdin);
  await ended;
  return origin;
}

function* contents(files: number): Generator<string> {
  yield 'commit refs/heads/main\ncommitter Ada <ada@example.com> 1700000000 +0000\ndata 6\nFiles\n';
  for (let number = 0; number < files; number++) {
    const text = Array.from({ length: 20 }, (_, line) => `line ${line} of file ${number}: ${(number * 7919 + line * 1299709) % 1000003}\n`).join('');
    yield `M 100644 inline ${fileName(number)}\ndata ${text.length}\n${text}\n`;
  }
}

/** Ten changed files, two of them staged, one commit of its own, three untracked files. */
export async function work(checkout: string, files: number): Promise<void> {
  const chosen = Array.from({ length: 10 }, (_, index) => fileName(Math.floor((index * files) / 10)));
  await appendFile(join(checkout, chosen[0] ?? ''), 'committed\n');
  await git(checkout, 'commit', '-qam', 'Own commit');
  for (const name of chosen) await appendFile(join(checkout, name), 'changed\n');
  await git(checkout, 'add', '--', ...chosen.slice(1, 3));
  for (const index of [1, 2, 3]) await writeFile(join(checkout, `note ${index}.txt`), `Note ${index}\n`.repeat(50));
}

/**
 * Measures rounds of a repository of `files` files below `directory`, which is made and removed.
 *
 * @throws when what was restored is not what was captured
 */
export async function measureScale(directory: string, files: number, rounds: number, ground: { readonly program: string; readonly ssh: LoopbackSsh | string }): Promise<ScaleMeasurement> {
  await mkdir(directory, { recursive: true });
  try {
    const origin = await makeRepository(directory, files);
    const checkout = join(directory, 'laptop', 'app');
    const clone = join(directory, 'server', 'app');
    await git(directory, 'clone', '-q', origin, checkout);
    await git(directory, 'clone', '-q', '--no-checkout', origin, clone);
    await work(checkout, files);
    await settle(checkout);
    await quietDisk();
    const costs = await measureCapture(ground.program, checkout, join(directory, 'captures'), Math.max(rounds, 10));
    const runs: ScaleRun[] = [];
    for (let round = 0; round < rounds; round++) runs.push(await measureRound(join(directory, `round-${round}`), checkout, clone, ground.ssh));
    return { files, costs, runs };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Git looks at everything once, a while after the last write, and trusts what it knows from then on. */
async function settle(checkout: string): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 1100));
  await git(checkout, 'status');
}

async function measureRound(directory: string, checkout: string, clone: string, ssh: LoopbackSsh | string): Promise<ScaleRun> {
  await mkdir(directory);
  const capture = await timed(() => captureWorkingState({ root: checkout, spool: join(directory, 'spool') }));
  const haves = await listTips(clone);
  const estimate = await timed(() => estimateTransfer({ capture: capture.value, haves }));
  const file = join(directory, 'bundle');
  const bundle = await timed(() => createBundle({ capture: capture.value, haves, file }));
  const byGit = join(directory, 'by-git');
  await quietDisk();
  const add = await timed(() => git(clone, 'worktree', 'add', '--quiet', '--detach', byGit, 'HEAD'));
  const { bytes, sha256 } = bundle.value;
  const worktree = join(directory, 'restored');
  const arrived = { root: clone, sha256, bytes, file, tip: capture.value.commits.manifest, quarantine: join(directory, 'quarantine') };
  await quietDisk();
  const received = await timed(() => receiveBundle(arrived));
  const restored = await timed(() => restoreWorkingState({ root: clone, quarantine: received.value, worktree, threadId: THREAD, carriedBranch: 'refs/heads/main' }));
  if (restored.value.fingerprint !== capture.value.fingerprint) throw new Error('What was restored is not what was captured.');
  await finishRestore(arrived.quarantine);
  const again = await timed(() => carryAgain(directory, checkout, clone, worktree, restored.value.fingerprint));
  for (const path of [byGit, worktree]) await git(clone, 'worktree', 'remove', '--force', path);
  await git(clone, 'update-ref', '-d', `refs/baton/threads/${THREAD}`);
  await quietDisk();
  const byHand = await stashByHand(ssh, checkout, clone, join(directory, 'by-hand'));
  await settle(checkout);
  await rm(directory, { recursive: true, force: true });
  return { capture: capture.milliseconds, estimate: estimate.milliseconds, bundle: bundle.milliseconds, bytes, worktreeAdd: add.milliseconds, receive: received.milliseconds, restore: restored.milliseconds, byHand, again: again.milliseconds };
}

async function carryAgain(directory: string, checkout: string, clone: string, worktree: string, expectedFingerprint: string): Promise<void> {
  const capture = await captureWorkingState({ root: checkout, spool: join(directory, 'spool-again') });
  const file = join(directory, 'bundle-again');
  const { bytes, sha256 } = await createBundle({ capture, haves: await listTips(clone), file });
  const quarantine = await receiveBundle({ root: clone, sha256, bytes, file, tip: capture.commits.manifest, quarantine: join(directory, 'quarantine-again') });
  const restored = await restoreWorkingState({ root: clone, quarantine, worktree, threadId: THREAD, carriedBranch: 'refs/heads/main', existing: { expectedFingerprint } });
  if (restored.fingerprint !== capture.fingerprint) throw new Error('What was restored is not what was captured.');
  await finishRestore(quarantine.directory);
}
