import { spawn, type ChildProcessByStdio } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { GitError, reasonFromStderr } from './gitError';

export interface GitOptions {
  readonly cwd: string;
  /** Added to the fixed environment; this is the only way for a `GIT_*` variable to get in. */
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: Buffer | string | Iterable<Buffer> | AsyncIterable<Buffer>;
  readonly signal?: AbortSignal | undefined;
  /** Exit codes that are an answer rather than a failure; 0 always is. */
  readonly answers?: readonly number[];
}

export interface GitResult {
  readonly stdout: Buffer;
  readonly exitCode: number;
}

/** What a child needs of this process's environment to run at all; nothing that steers git. */
const passedOn = ['PATH', 'HOME', 'USER', 'LOGNAME', 'TMPDIR', 'TMP', 'TEMP', 'XDG_CONFIG_HOME', 'SystemRoot', 'SYSTEMROOT', 'USERPROFILE', 'HOMEDRIVE', 'HOMEPATH', 'APPDATA', 'LOCALAPPDATA', 'ProgramData', 'ComSpec', 'PATHEXT'];

/**
 * No hook, file system monitor, transport, pager or background maintenance, whatever the repository's config says.
 * Refs are on disk before what they replace goes (durable.ts). Large files are streamed instead of being held in memory (see README.md, "Large files").
 */
const fixedConfig = [
  'core.fsmonitor=false', 'core.hooksPath=/dev/null', 'protocol.allow=never', 'gc.auto=0', 'maintenance.auto=false',
  'core.bigFileThreshold=16m', 'core.fsync=reference', 'core.quotePath=false', 'advice.detachedHead=false', 'submodule.recurse=false', 'color.ui=false',
].flatMap((setting) => ['-c', setting]);

const DEFAULT_OUTPUT_LIMIT = 64 * 1024 * 1024;
const STDERR_LIMIT = 16 * 1024;

function gitEnvironment(extra: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  const environment: NodeJS.ProcessEnv = {
    LC_ALL: 'C',
    GIT_OPTIONAL_LOCKS: '0',
    GIT_TERMINAL_PROMPT: '0',
    GIT_LITERAL_PATHSPECS: '1',
    GIT_NO_REPLACE_OBJECTS: '1',
    // Git before 2.44 does not know it, and runs a fetch for an object that a partial clone lacks: no protocol is allowed to it, whatever the config says of single ones.
    GIT_NO_LAZY_FETCH: '1',
    GIT_ALLOW_PROTOCOL: 'none',
    GIT_EDITOR: ':',
    GIT_PAGER: 'cat',
  };
  for (const name of passedOn) {
    const value = process.env[name];
    if (value !== undefined) environment[name] = value;
  }
  return { ...environment, ...extra };
}

interface RunningGit {
  readonly child: ChildProcessByStdio<Writable, Readable, Readable>;
  /** Resolves to the exit code; rejects with a {@link GitError}. */
  readonly ended: Promise<number>;
}

function startGit(args: readonly string[], options: GitOptions): RunningGit {
  const { signal } = options;
  if (signal?.aborted === true) throw cancelled(args);
  const child = spawn('git', [...fixedConfig, ...args], {
    cwd: options.cwd,
    env: gitEnvironment(options.env),
    stdio: ['pipe', 'pipe', 'pipe'],
    windowsHide: true,
  });
  let stderr = '';
  child.stderr.setEncoding('utf8');
  child.stderr.on('data', (text: string) => {
    if (stderr.length < STDERR_LIMIT) stderr += text;
  });
  const onAbort = () => { child.kill('SIGTERM'); };
  signal?.addEventListener('abort', onAbort, { once: true });

  const exited = new Promise<number>((resolve, reject) => {
    child.once('error', (error: NodeJS.ErrnoException) => {
      reject(error.code === 'ENOENT'
        ? new GitError('git-not-found', `Could not run git in ${options.cwd}: neither the program on PATH nor the directory may be missing. Install git 2.34 or later.`, { cause: error })
        : new GitError('failed', `Could not run git: ${error.message}`, { cause: error }));
    });
    child.once('close', (code, killedBy) => {
      if (signal?.aborted === true) reject(cancelled(args));
      else if (code === 0 || (code !== null && options.answers?.includes(code) === true)) resolve(code);
      else reject(failure(args, options.cwd, code, killedBy, stderr));
    });
  }).finally(() => signal?.removeEventListener('abort', onAbort));

  // A child that ends without reading all of its input breaks the pipe; its exit code and message say more than EPIPE.
  let inputFailure: unknown;
  const fed = feed(child.stdin, options.input).catch((error: unknown) => {
    if (isBrokenPipe(error)) return;
    inputFailure = error;
    child.kill('SIGTERM');
  });
  const ended = exited.then(
    async (code) => {
      await fed;
      if (inputFailure !== undefined) throw asError(inputFailure);
      return code;
    },
    (error: unknown) => {
      throw asError(inputFailure ?? error);
    },
  );
  return { child, ended };
}

async function feed(stdin: Writable, input: GitOptions['input']): Promise<void> {
  if (input === undefined || typeof input === 'string' || Buffer.isBuffer(input)) {
    await new Promise<void>((resolve, reject) => {
      stdin.once('error', reject);
      stdin.end(input ?? '', resolve);
    });
    return;
  }
  await pipeline(input, stdin);
}

function isBrokenPipe(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException | null)?.code;
  return code === 'EPIPE' || code === 'ECONNRESET' || code === 'ERR_STREAM_PREMATURE_CLOSE' || code === 'ERR_STREAM_DESTROYED' || code === 'EOF';
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

function cancelled(args: readonly string[]): GitError {
  return new GitError('cancelled', `git ${subcommand(args)} was cancelled.`);
}

function failure(args: readonly string[], cwd: string, code: number | null, killedBy: NodeJS.Signals | null, stderr: string): GitError {
  const said = stderr.trim().split('\n').slice(0, 3).join(' ').slice(0, 600);
  const how = code === null ? `was ended by ${killedBy ?? 'a signal'}` : `ended with ${code}`;
  return new GitError(reasonFromStderr(stderr), `git ${subcommand(args)} ${how} in ${cwd}${said === '' ? '.' : `: ${quoteForPeople(said)}`}`, { exitCode: code ?? -1, stderr });
}

/** The subcommand of an argument list that may begin with `-c name=value` and the like. */
function subcommand(args: readonly string[]): string {
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] ?? '';
    if (arg === '-c' || arg === '-C') i++;
    else if (!arg.startsWith('-')) return arg;
  }
  return '';
}

/** Text for messages and logs: control characters, which a terminal would obey, become `\xNN`. */
export function quoteForPeople(text: string): string {
  // eslint-disable-next-line no-control-regex -- control characters are what is looked for
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

/**
 * Runs `git` with plain arguments and returns what it wrote.
 *
 * @param options.answers exit codes besides 0 that are not failures
 * @param maxOutputBytes cap on standard output, 64 MiB unless given
 * @throws {GitError} `git-not-found`, `cancelled`, `too-large` for output beyond the cap, or what standard error speaks of
 */
export async function runGit(args: readonly string[], options: GitOptions & { readonly maxOutputBytes?: number }): Promise<GitResult> {
  const limit = options.maxOutputBytes ?? DEFAULT_OUTPUT_LIMIT;
  const { child, ended } = startGit(args, options);
  const chunks: Buffer[] = [];
  let length = 0;
  child.stdout.on('data', (chunk: Buffer) => {
    length += chunk.length;
    if (length <= limit) chunks.push(chunk);
    else child.kill('SIGTERM');
  });
  try {
    return { exitCode: await ended, stdout: Buffer.concat(chunks) };
  } catch (error) {
    throw length > limit ? new GitError('too-large', `git ${subcommand(args)} wrote more than ${limit} bytes in ${options.cwd}.`, { cause: error }) : error;
  }
}

/** {@link runGit}, decoded as UTF-8 without the final line feed. For output that holds no file names. */
export async function gitText(args: readonly string[], options: GitOptions): Promise<string> {
  return (await runGit(args, options)).stdout.toString('utf8').replace(/\n$/, '');
}

/**
 * Runs `git` and yields its standard output as it comes; a slow reader slows git down. Leaving the loop early ends git.
 *
 * @throws {GitError} as {@link runGit}, after the last chunk
 */
export async function* streamGit(args: readonly string[], options: GitOptions): AsyncGenerator<Buffer, void, undefined> {
  const { child, ended } = startGit(args, options);
  // Seen below, where the reader is told; until then it must not count as unhandled.
  ended.catch(() => undefined);
  let complete = false;
  try {
    for await (const chunk of child.stdout) yield chunk as Buffer;
    complete = true;
  } finally {
    if (!complete) child.kill('SIGTERM');
  }
  await ended;
}

/** Splits a stream into NUL-terminated records, whatever way its chunks are cut. A last record without NUL is yielded too. */
export async function* nulRecords(chunks: AsyncIterable<Buffer> | Iterable<Buffer>): AsyncGenerator<Buffer, void, undefined> {
  for await (const batch of nulBatches(chunks)) yield* batch;
}

/** {@link nulRecords} that yields all records that a chunk completes at once: a hundred thousand steps of a stream take longer than what is done in them. */
export async function* nulBatches(chunks: AsyncIterable<Buffer> | Iterable<Buffer>): AsyncGenerator<Buffer[], void, undefined> {
  let rest: Buffer[] = [];
  for await (const chunk of chunks) {
    const batch: Buffer[] = [];
    let start = 0;
    for (let end = chunk.indexOf(0, start); end !== -1; end = chunk.indexOf(0, start)) {
      const piece = chunk.subarray(start, end);
      batch.push(rest.length === 0 ? piece : Buffer.concat([...rest, piece]));
      rest = [];
      start = end + 1;
    }
    if (start < chunk.length) rest.push(chunk.subarray(start));
    yield batch;
  }
  if (rest.length > 0) yield [Buffer.concat(rest)];
}

/** Splits a stream into lines of one character per byte; what follows the last line feed is dropped. */
export async function* lines(chunks: AsyncIterable<Buffer>): AsyncGenerator<string, void, undefined> {
  for await (const batch of lineBatches(chunks)) yield* batch;
}

/** {@link lines} that yields all lines that a chunk completes at once. */
export async function* lineBatches(chunks: AsyncIterable<Buffer>): AsyncGenerator<string[], void, undefined> {
  let rest = '';
  for await (const chunk of chunks) {
    const pieces = (rest + chunk.toString('latin1')).split('\n');
    rest = pieces.pop() ?? '';
    yield pieces;
  }
}

/** The version of the `git` on PATH, as numbers. @throws {GitError} `git-not-found` */
export async function gitVersion(): Promise<{ readonly text: string; readonly major: number; readonly minor: number }> {
  const text = (await gitText(['version'], { cwd: process.cwd() })).replace(/^git version /, '');
  const [major = 0, minor = 0] = text.split('.').map((part) => Number.parseInt(part, 10));
  return { text, major, minor };
}

/** Lowest git with which all tests pass: `add --sparse` is of 2.34, `rev-parse --path-format` and `rev-list --disk-usage` are of 2.31. */
const LOWEST_GIT = { major: 2, minor: 34 };
/** The same in words. */
export const lowestGit = `${LOWEST_GIT.major}.${LOWEST_GIT.minor}`;

/** Whether a git of this version has what Baton needs. */
export function isGitSupported({ major, minor }: { readonly major: number; readonly minor: number }): boolean {
  return major > LOWEST_GIT.major || (major === LOWEST_GIT.major && minor >= LOWEST_GIT.minor);
}

/** @param host what people call this machine @throws {GitError} `git-too-old`, `git-not-found` */
export async function requireGit(host: string): Promise<void> {
  const { text, ...version } = await gitVersion();
  if (!isGitSupported(version)) {
    throw new GitError('git-too-old', `git ${text} on ${host} is too old: Baton needs ${lowestGit} or later. Install a newer git there and put it first on PATH.`);
  }
}
