/** Captures in a process of their own beside `git status`: time on the clock, time of processors, and memory. */
import { fork, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { captureWorkingState } from '../../src/git/capture';
import { timed } from './statistics';

/** The first argument that makes the bench's program this process. */
export const CAPTURE_PROCESS = 'capture-process';

export interface Cost {
  readonly milliseconds: number;
  /** Of processors, git's processes included; null where the system does not tell. */
  readonly processor: number | null;
}

/** Mebibytes; null where the system does not tell. */
export interface Memory {
  /** Most that the capturing process had, and what it had before it began. */
  readonly own: number;
  readonly ownBefore: number;
  /** Most that any git of a capture had. */
  readonly git: number | null;
  /** Most that `git status` had. */
  readonly status: number | null;
}

export interface CaptureCosts {
  readonly status: Cost;
  readonly capture: Cost;
  readonly memory: Memory;
}

/** How git looks at a checkout for its user. */
export const statusArguments = ['-c', 'gc.auto=0', '-c', 'maintenance.auto=false', 'status', '--porcelain=v2', '--untracked-files=all', '-z'];

/** Plays the part: `root`, a directory for spools, and how often. Answers with one message. */
export async function playCaptureProcess([root = '', spool = '', rounds = '1']: readonly string[]): Promise<void> {
  const status = () => new Promise<void>((fulfil, reject) => {
    const git = spawn('git', statusArguments, { cwd: root, stdio: ['ignore', 'pipe', 'inherit'], env: { PATH: process.env['PATH'], HOME: spool, LC_ALL: 'C', GIT_CONFIG_NOSYSTEM: '1', GIT_OPTIONAL_LOCKS: '0' } });
    git.stdout.resume();
    git.once('error', reject);
    git.once('close', (code) => (code === 0 ? fulfil() : reject(new Error(`git status ended with ${String(code)}.`))));
  });
  let number = 0;
  const capture = async () => {
    const directory = join(spool, `capture-${number++}`);
    const captured = await timed(() => captureWorkingState({ root, spool: directory }));
    await rm(directory, { recursive: true });
    return captured.milliseconds;
  };
  const measured = async (act: () => Promise<number>): Promise<Cost> => {
    const before = processorTime();
    const times: number[] = [];
    for (let round = 0; round < Number(rounds); round++) times.push(await act());
    const after = processorTime();
    return { milliseconds: times.sort((a, b) => a - b)[Math.floor(times.length / 2)] ?? 0, processor: before === null || after === null ? null : (after - before) / times.length };
  };
  const ownBefore = process.resourceUsage().maxRSS / 1024;
  // Often, since a small git can come and go between two looks.
  const memory = { status: await peakOfChildren(() => repeat(status, 8)), git: await peakOfChildren(() => repeat(capture, 4)) };
  const own = process.resourceUsage().maxRSS / 1024;
  const costs: CaptureCosts = { status: await measured(async () => (await timed(status)).milliseconds), capture: await measured(capture), memory: { ...memory, own, ownBefore } };
  process.send?.(costs);
}

async function repeat(act: () => Promise<unknown>, times: number): Promise<void> {
  for (let time = 0; time < times; time++) await act();
}

/** Runs {@link playCaptureProcess} in a process of its own. `program` is the bench's bundle. */
export async function measureCapture(program: string, root: string, spool: string, rounds: number): Promise<CaptureCosts> {
  const child = fork(program, [CAPTURE_PROCESS, root, spool, String(rounds)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  return new Promise((fulfil, reject) => {
    let costs: CaptureCosts | null = null;
    child.once('message', (message) => { costs = message as CaptureCosts; });
    child.once('error', reject);
    child.once('exit', (code) => { if (code === 0 && costs !== null) fulfil(costs); else reject(new Error(`Capturing ended with ${String(code)}.`)); });
  });
}

/** Milliseconds of processors, of this process and of its children that have ended: proc(5), in hundredths of a second. */
function processorTime(): number | null {
  try {
    const fields = readFileSync('/proc/self/stat', 'latin1').split(') ')[1]?.split(' ') ?? [];
    return [11, 12, 13, 14].reduce((sum, field) => sum + Number(fields[field]), 0) * 10;
  } catch {
    return null;
  }
}

/** The most memory that a child of this process had while something ran, in mebibytes: looked up often, since children are short-lived. */
async function peakOfChildren(act: () => Promise<unknown>): Promise<number | null> {
  let peak: number | null = null;
  const look = () => {
    try {
      for (const pid of readFileSync(`/proc/self/task/${process.pid}/children`, 'latin1').trim().split(' ')) {
        const kibibytes = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1];
        const isGit = /^Name:\s+git$/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'));
        if (kibibytes !== undefined && isGit) peak = Math.max(peak ?? 0, Number(kibibytes) / 1024);
      }
    } catch {
      // A child that has ended in between, or a system that has no such files.
    }
  };
  // With one core to share, looking would be all that is done.
  const timer = setInterval(look, availableParallelism() > 1 ? 1 : 5);
  try {
    await act();
  } finally {
    clearInterval(timer);
  }
  return peak;
}
