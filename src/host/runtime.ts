import { execFile } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { delimiter, isAbsolute, join } from 'node:path';
import { promisify } from 'node:util';
import type { Environment } from './home';

/** A program that runs a script as Node does, and what its environment needs for that. */
export type Runtime = { readonly program: string; readonly env: Readonly<Record<string, string>> };

/** The lowest Node that runs a host; `engines` of package.json says the same. */
export const LOWEST_NODE = [20, 17] as const;

/** True for the version of a Node, as `node --version` prints it, that can run a host. */
export function isUsableNode(version: string): boolean {
  const [, major, minor] = /^v(\d+)\.(\d+)\./.exec(version.trim()) ?? [];
  if (major === undefined || minor === undefined) return false;
  return Number(major) > LOWEST_NODE[0] || (Number(major) === LOWEST_NODE[0] && Number(minor) >= LOWEST_NODE[1]);
}

/**
 * What runs a host: this program where it is a plain Node; under Electron a real `node` from PATH, whose crypto has the
 * channel's cipher and which does not end with VS Code's updates; failing that Electron itself, told to be Node.
 */
export async function chooseRuntime(env: Environment, self: { readonly execPath: string; readonly electron: boolean } = { execPath: process.execPath, electron: 'electron' in process.versions }): Promise<Runtime> {
  if (!self.electron) return { program: self.execPath, env: {} };
  for (const program of await findOnPath('node', env)) {
    try {
      const { stdout } = await promisify(execFile)(program, ['--version'], { timeout: 10_000, windowsHide: true });
      if (isUsableNode(stdout)) return { program, env: {} };
    } catch {
      // A shim that is not set up, or a program that is no Node: the next one may be.
    }
  }
  return { program: self.execPath, env: { ELECTRON_RUN_AS_NODE: '1' } };
}

/** Executables of this name on PATH, in its order. Relative entries are passed over: they would find programs in whatever folder is open. */
export async function findOnPath(name: string, env: Environment): Promise<string[]> {
  const windows = process.platform === 'win32';
  const path = windows ? (env['Path'] ?? env['PATH']) : env['PATH'];
  const found: string[] = [];
  for (const directory of (path ?? '').split(delimiter)) {
    if (!isAbsolute(directory)) continue;
    const program = join(directory, windows ? `${name}.exe` : name);
    if (await access(program, constants.X_OK).then(() => true, () => false)) found.push(program);
  }
  return found;
}

/** Variables that tie a process to one window, one repository or one command, none of which a host should depend on or outlive. */
const TIED = [
  /^(ELECTRON|VSCODE|CHROME)_/,
  // VS Code's askpass talks to the window that set it; git asks nobody in a host.
  /^(GIT|SSH)_ASKPASS/,
  // The connection over which a host was started ends before it.
  /^SSH_(CONNECTION|CLIENT|TTY|ORIGINAL_COMMAND)$/,
  // `git rev-parse --local-env-vars`: set inside hooks, they would send every git of the host to that one repository.
  /^GIT_(ALTERNATE_OBJECT_DIRECTORIES|CONFIG|CONFIG_PARAMETERS|CONFIG_COUNT|CONFIG_KEY_\d+|CONFIG_VALUE_\d+|OBJECT_DIRECTORY|DIR|WORK_TREE|IMPLICIT_WORK_TREE|GRAFT_FILE|INDEX_FILE|NO_REPLACE_OBJECTS|REPLACE_REF_BASE|PREFIX|SHALLOW_FILE|COMMON_DIR|QUARANTINE_PATH|REFLOG_ACTION)$/,
  // A debugger's preload, or the channel to a parent that is not the host's.
  /^NODE_(OPTIONS|CHANNEL_FD|CHANNEL_SERIALIZATION_MODE|UNIQUE_ID)$/,
  // The secret of a relay that is run beside it is none of the host's.
  /^BATON_RELAY_SECRET$/,
  // The command may be run by an agent inside a thread; the host is not part of that thread.
  /^CODEX_(THREAD_ID|SANDBOX.*|CI)$/,
];

/** The environment for a host that outlives its starter: the user's, without what is tied to the starter. */
export function hostEnvironment(env: Environment): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) {
    if (value !== undefined && !TIED.some((pattern) => pattern.test(name))) kept[name] = value;
  }
  return kept;
}
