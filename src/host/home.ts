import { lstatSync } from 'node:fs';
import { chmod, mkdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { HostError } from './hostError';

/** Environment variables of a process, as `process.env` holds them. */
export type Environment = Readonly<Record<string, string | undefined>>;

const set = (value: string | undefined): value is string => value !== undefined && value !== '';

/** Absolute path of Baton's state: `$BATON_HOME`, else `~/.baton`. It decides which host a command talks to. */
export function batonHome(env: Environment): string {
  return set(env['BATON_HOME']) ? resolve(env['BATON_HOME']) : join(homedir(), '.baton');
}

/** Absolute path of Codex's state: `$CODEX_HOME`, else `~/.codex`. */
export function codexHome(env: Environment): string {
  return set(env['CODEX_HOME']) ? resolve(env['CODEX_HOME']) : join(homedir(), '.codex');
}

/**
 * Why others than this account could read or replace what is in `directory`; undefined where they cannot. Windows keeps
 * profiles private by access lists that a mode does not show, so there it only has to be a directory.
 */
export function exposureOf(directory: string): string | undefined {
  const stats = lstatSync(directory);
  if (!stats.isDirectory()) return 'it is not a directory';
  if (process.getuid === undefined) return undefined;
  if (stats.uid !== process.getuid()) return 'it belongs to another account';
  const mode = stats.mode & 0o777;
  return (mode & 0o077) === 0 ? undefined : `its mode is 0${mode.toString(8)}, not 0700`;
}

/**
 * Makes `directory` with mode 0700, and closes one of this account's that is open to others. Throws `state-invalid`
 * for one that belongs to somebody else or is no directory.
 */
export async function ensurePrivateDirectory(directory: string): Promise<void> {
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const stats = lstatSync(directory);
    if (stats.isDirectory() && stats.uid === process.getuid?.() && (stats.mode & 0o077) !== 0) await chmod(directory, 0o700);
  } catch (error) {
    throw new HostError('state-invalid', `Cannot make the directory ${directory}: ${(error as Error).message}. Choose another with BATON_HOME.`, { cause: error });
  }
  const exposure = exposureOf(directory);
  if (exposure !== undefined) {
    throw new HostError('state-invalid', `${directory} cannot hold private state: ${exposure}. Choose a directory of your own with BATON_HOME.`);
  }
}
