/** The app-server's process: starting one that outlives us, knowing it again after our own restart, and ending it. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { open, readFile, rm } from 'node:fs/promises';
import { promisify } from 'node:util';
import writeFileAtomic from 'write-file-atomic';
import { z } from 'zod';
import { CodexError } from './codexError';
import type { CodexExecutable } from './executable';

export type SpawnServer = {
  codex: CodexExecutable;
  socketPath: string;
  /** Where the process id is kept; its log lies beside it, as `<stateFile>.log`. */
  stateFile: string;
  /** The whole environment of the server, `CODEX_HOME` included. */
  env: Readonly<Record<string, string>>;
  config: readonly string[];
};

const serverState = z.object({ pid: z.number().int().positive(), socketPath: z.string(), codexHome: z.string(), version: z.string() });
export type ServerState = z.infer<typeof serverState>;

const overrides = (config: readonly string[]) => config.flatMap((override) => ['-c', override]);
const logOf = (stateFile: string) => `${stateFile}.log`;

/** Starts `codex app-server` on a Unix socket, in a process group of its own so that neither our end nor a Ctrl-C in our terminal ends it. */
export async function spawnOnSocket(options: SpawnServer): Promise<ChildProcess> {
  // A file, not a pipe: a Rust program that prints to a pipe without a reader panics, and we may end before it.
  const log = await open(logOf(options.stateFile), 'w', 0o600);
  try {
    const args = [...options.codex.args, 'app-server', ...overrides(options.config), '--listen', `unix://${options.socketPath}`];
    const child = spawn(options.codex.command, args, { env: options.env, stdio: ['ignore', log.fd, log.fd], detached: true, windowsHide: true });
    await started(child, options.codex);
    child.unref();
    const state: ServerState = { pid: child.pid ?? 0, socketPath: options.socketPath, codexHome: options.env['CODEX_HOME'] ?? '', version: options.codex.version };
    await writeFileAtomic(options.stateFile, `${JSON.stringify(state)}\n`, { mode: 0o600 }).catch((error: unknown) => {
      // Without the note nobody could ever end it.
      child.kill('SIGKILL');
      throw error;
    });
    return child;
  } finally {
    await log.close();
  }
}

/** Starts `codex app-server` on its standard streams. It ends when its input does, so with us. */
export async function spawnOnStdio(options: Omit<SpawnServer, 'socketPath'>): Promise<ChildProcess> {
  const log = await open(logOf(options.stateFile), 'w', 0o600);
  try {
    const child = spawn(options.codex.command, [...options.codex.args, 'app-server', ...overrides(options.config)], { env: options.env, stdio: ['pipe', 'pipe', log.fd], windowsHide: true });
    await started(child, options.codex);
    return child;
  } finally {
    await log.close();
  }
}

function started(child: ChildProcess, codex: CodexExecutable): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (cause) => reject(new CodexError('codex-not-found', `${codex.command} could not be started: ${cause.message}. Reinstall Codex, or set BATON_CODEX to another executable.`, { cause })));
  });
}

/** The last lines that the server logged, for a message about why it did not come up. */
export async function lastLogLines(stateFile: string): Promise<string> {
  const text = await readFile(logOf(stateFile), 'utf8').catch(() => '');
  // Codex colours its log in a file as well, and ends a failure with a backtrace of nameless frames.
  // eslint-disable-next-line no-control-regex
  const plain = text.replace(/\u001b\[[0-9;]*m/g, '').split('\n').filter((line) => line.trim() !== '' && !/^\s*(\d+: <unknown>|Stack backtrace:)/.test(line));
  return plain.slice(-5).join('\n');
}

/** What is known of a server that an earlier run started, if the process is still that one. Process ids are reused, so its command line must name the socket. */
export async function livingServer(stateFile: string, socketPath: string): Promise<ServerState | null> {
  const text = await readFile(stateFile, 'utf8').catch(() => null);
  if (text === null) return null;
  let state;
  try {
    state = serverState.safeParse(JSON.parse(text));
  } catch {
    return null;
  }
  if (!state.success || state.data.socketPath !== socketPath || !isAlive(state.data.pid)) return null;
  const { stdout } = await promisify(execFile)('ps', ['-ww', '-o', 'args=', '-p', String(state.data.pid)], { encoding: 'utf8' }).catch(() => ({ stdout: '' }));
  return stdout.includes(`unix://${socketPath}`) ? state.data : null;
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/**
 * Ends a server on a socket. The first SIGTERM lets running turns finish, one that waits for an approval for ever; the
 * second ends it at once. So interrupt turns before, and it needs no second.
 */
export async function endServer(pid: number, stateFile: string, graceMs: number): Promise<void> {
  for (const signal of ['SIGTERM', 'SIGTERM', 'SIGKILL'] as const) {
    if (!isAlive(pid)) break;
    try {
      process.kill(pid, signal);
    } catch {
      break;
    }
    if (await gone(pid, graceMs)) break;
  }
  await rm(stateFile, { force: true });
}

/** Whether a process has gone within `ms`. It need not be our child, so the only way to know is to ask. */
export async function gone(pid: number, ms: number): Promise<boolean> {
  const end = Date.now() + ms;
  while (isAlive(pid)) {
    if (Date.now() > end) return false;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return true;
}
