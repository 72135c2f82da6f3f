/** Finds the host of a home, or starts one that outlives whoever asked for it. */
import { spawn, type ChildProcess } from 'node:child_process';
import { watch } from 'node:fs';
import { open, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { ensurePrivateDirectory, type Environment } from './home';
import { HostClient, type ClientInfo } from './hostClient';
import { HostError, type HostErrorReason } from './hostError';
import type { Log } from './log';
import { chooseRuntime, hostEnvironment, type Runtime } from './runtime';

/** A first start may have to scan a large Codex home before it answers. */
const START_TIMEOUT_MS = 60_000;
const MAX_LOG_BYTES = 8 * 1024 * 1024;

export type LaunchOptions = {
  readonly batonHome: string;
  readonly codexHome: string;
  /** Absolute path of `baton.js`. */
  readonly entry: string;
  readonly env: Environment;
  readonly clientInfo: ClientInfo;
  /** The Node that runs the host; chosen by `chooseRuntime` if left out. */
  readonly runtime?: Runtime;
  readonly log?: Log;
  readonly startTimeoutMs?: number;
};

/** What a detached host says, over the pipe to its starter, once it has started or failed. */
export const startReport = z.union([
  z.object({ ready: z.literal(true), hostId: z.string(), name: z.string() }),
  z.object({ error: z.object({ reason: z.string(), message: z.string() }) }),
]);

/**
 * Connects to the running host of `batonHome`, or starts one detached and connects to that. Many callers at once end up with
 * the same host. Throws `host-start-failed` with the reason from the host's log, or the host's own error (`codex-not-found`, …).
 */
export async function ensureHost(options: LaunchOptions): Promise<HostClient> {
  const deadline = AbortSignal.timeout(options.startTimeoutMs ?? START_TIMEOUT_MS);
  const connect = () => HostClient.connect({ ...options, signal: deadline });
  const running = await connect().catch(unlessUnreachable);
  if (running !== undefined) return running;
  await ensurePrivateDirectory(options.batonHome);
  // Watch before starting: the winner of two starts may appear while the loser is still ending.
  const home = watchHome(options.batonHome, deadline);
  try {
    await startDetached(options, deadline);
    for (;;) {
      const changed = home.nextChange();
      const client = await connect().catch(unlessUnreachable);
      if (client !== undefined) return client;
      await changed;
      deadline.throwIfAborted();
    }
  } catch (error) {
    if (!deadline.aborted) throw error;
    throw new HostError('host-start-failed', `The host of ${options.batonHome} did not become ready in time. See ${logPath(options.batonHome)}, and run \`baton doctor\`.`, { cause: error });
  } finally {
    home.close();
  }
}

const logPath = (batonHome: string) => join(batonHome, 'host.log');

function unlessUnreachable(error: unknown): undefined {
  if (!HostError.is(error, 'host-unreachable')) throw error;
}

/**
 * Starts a host in a session of its own, its output going to `host.log`. Resolves when it is ready, and also when it found
 * that another host was faster.
 */
async function startDetached(options: LaunchOptions, signal: AbortSignal): Promise<void> {
  const runtime = options.runtime ?? (await chooseRuntime(options.env));
  await keepOneOldLog(logPath(options.batonHome));
  const log = await open(logPath(options.batonHome), 'a', 0o600);
  const { size: logStart } = await log.stat();
  let child: ChildProcess;
  let outcome: Promise<string | undefined>;
  try {
    child = spawn(runtime.program, [options.entry, 'host'], {
      cwd: options.batonHome,
      detached: true,
      windowsHide: true,
      stdio: ['ignore', log.fd, log.fd, 'ipc'],
      env: { ...hostEnvironment(options.env), ...runtime.env, BATON_HOME: options.batonHome, CODEX_HOME: options.codexHome },
    });
    // At once: a program that is not there is told of before the next await is over.
    outcome = outcomeOf(child, signal);
    outcome.catch(() => undefined);
  } finally {
    await log.close();
  }
  try {
    const ended = await outcome;
    if (ended === undefined) return;
    throw new HostError('host-start-failed', `The host could not be started (${ended}). ${await tailOf(options.batonHome, logStart)}Run \`baton doctor\` to see what is missing.`);
  } finally {
    if (child.connected) child.disconnect();
    child.unref();
  }
}

/** A log that has grown long becomes `host.log.1`, in place of the one before it. A host that another start finds running goes on writing to its own. */
async function keepOneOldLog(path: string): Promise<void> {
  const { size } = await stat(path).catch(() => ({ size: 0 }));
  if (size > MAX_LOG_BYTES) await rename(path, `${path}.1`);
}

/** Undefined when a host is ready; else how the child ended without a word. Throws the error that the child reported. */
function outcomeOf(child: ChildProcess, signal: AbortSignal): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, signalName) => resolve(signalName ?? `exit code ${String(code)}`));
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
    child.on('message', (message) => {
      const report = startReport.safeParse(message);
      if (!report.success) return;
      if ('ready' in report.data || report.data.error.reason === 'host-already-running') resolve(undefined);
      else reject(new HostError(report.data.error.reason as HostErrorReason, report.data.error.message));
    });
  });
}

async function tailOf(batonHome: string, start: number): Promise<string> {
  const file = await open(logPath(batonHome), 'r');
  try {
    const { size } = await file.stat();
    const from = Math.max(start, size - 1000);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(size - from), 0, size - from, from);
    const last = buffer.toString('utf8', 0, bytesRead).trim().split('\n').at(-1) ?? '';
    return last === '' ? '' : `Its log ends with: ${last} `;
  } finally {
    await file.close();
  }
}

/** Pipes of Windows are no files that could be watched; there the loser of two starts looks again this often. */
const PIPE_INTERVAL_MS = 100;

/**
 * Tells when something changes in a home: a host that is ready puts its socket there, or the note where its socket is.
 * `nextChange` is to be asked before looking; it resolves at the deadline too.
 */
function watchHome(batonHome: string, deadline: AbortSignal): { nextChange(): Promise<void>; close(): void } {
  let wake: (() => void) | undefined;
  const onChange = () => wake?.();
  const watcher = watch(batonHome, onChange);
  const timer = process.platform === 'win32' ? setInterval(onChange, PIPE_INTERVAL_MS) : undefined;
  deadline.addEventListener('abort', onChange, { once: true });
  return {
    nextChange: () =>
      new Promise((resolve) => {
        wake = resolve;
        if (deadline.aborted) resolve();
      }),
    close: () => {
      watcher.close();
      clearInterval(timer);
    },
  };
}
