/** Finding a Codex that can be run, and its version. */
import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access, readFile, realpath, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, delimiter, dirname, extname, isAbsolute, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { CodexError } from './codexError';

/**
 * The oldest app-server that Baton drives. Thread attachments, paginated rollouts and the release of an idle thread were
 * measured on this version; older ones lack some of it, and would fail in the middle of a handoff instead of before it.
 */
export const MINIMUM_CODEX_VERSION = '0.169.0';

export type CodexExecutable = {
  /** Absolute path of a program that can be spawned without a shell. */
  command: string;
  /** Arguments to put before Codex's own. */
  args: readonly string[];
  /** As `--version` says it, e.g. `0.169.0`. */
  version: string;
  source: 'BATON_CODEX' | 'PATH' | 'package';
};

export type ResolveCodexOptions = {
  env: Readonly<Record<string, string | undefined>>;
  /** Folders from which the npm package `@openai/codex` is looked up as a last resort. Default: that of the running script. */
  packageRoots?: readonly string[];
};

/**
 * Finds Codex: `BATON_CODEX` (a path or a name on PATH), then `codex` on PATH, then the npm package. A JavaScript launcher or
 * a Windows `.cmd` shim is replaced by the native program that it would start, so that signals and the process's end are Codex's own.
 * @throws CodexError `codex-not-found`, `codex-too-old`
 */
export async function resolveCodex(options: ResolveCodexOptions): Promise<CodexExecutable> {
  const { env } = options;
  const named = env['BATON_CODEX'];
  if (named !== undefined && named !== '') {
    const found = isAbsolute(named) || /[/\\]/.test(named) ? await runnable(resolve(named)) : await onPath(named, env);
    if (found === null) throw new CodexError('codex-not-found', `BATON_CODEX names "${named}", which is not a program that can be run. Set it to the path of the codex executable, or unset it to search PATH.`);
    return withVersion(found, 'BATON_CODEX');
  }
  const fromPath = await onPath('codex', env);
  if (fromPath !== null) return withVersion(fromPath, 'PATH');
  const script = process.argv[1];
  const roots = options.packageRoots ?? (script === undefined ? [] : [dirname(await realpath(script).catch(() => script))]);
  for (const root of roots) {
    const launcher = resolvePackage(join(root, 'noop.js'), '@openai/codex/package.json');
    const native = launcher === null ? null : await nativeOfPackage(dirname(launcher));
    if (native !== null) return withVersion(native, 'package');
  }
  throw new CodexError('codex-not-found', 'No codex executable was found on PATH. Install it (npm install -g @openai/codex), or set BATON_CODEX to its path.');
}

async function onPath(name: string, env: ResolveCodexOptions['env']): Promise<string | null> {
  const windows = process.platform === 'win32';
  const extensions = windows && extname(name) === '' ? (env['PATHEXT'] ?? '.EXE;.CMD;.BAT;.COM').split(';').filter(Boolean) : [''];
  // An empty entry of PATH means the working directory, which belongs to a repository more often than to the user.
  for (const directory of (env['PATH'] ?? env['Path'] ?? '').split(delimiter).filter((entry) => isAbsolute(entry))) {
    for (const extension of extensions) {
      const found = await runnable(join(directory, name + extension.toLowerCase()));
      if (found !== null) return found;
    }
  }
  return null;
}

/** What to spawn for a file that was found, or null if it cannot be run. */
async function runnable(path: string): Promise<string | null> {
  const file = await stat(path).catch(() => null);
  if (file?.isFile() !== true) return null;
  if (/\.(cmd|bat)$/i.test(path)) {
    // npm's shim: "%dp0%\node_modules\@openai\codex\bin\codex.js"; pnpm's and yarn's differ in the variable only.
    const target = /"%(?:~dp0|dp0%)\\?([^"%]+?codex\.js)"/i.exec(await readFile(path, 'utf8'))?.[1];
    return target === undefined ? null : nativeOfLauncher(resolve(dirname(path), target.replaceAll('\\', '/')));
  }
  const real = await realpath(path);
  if (basename(real) === 'codex.js') return nativeOfLauncher(real);
  if (process.platform === 'win32') return /\.(exe|com)$/i.test(real) ? real : null;
  return access(path, constants.X_OK).then(() => path, () => null);
}

async function nativeOfLauncher(launcher: string): Promise<string | null> {
  const real = await realpath(launcher).catch(() => launcher);
  return nativeOfPackage(dirname(dirname(real)));
}

const targets: Readonly<Record<string, string>> = {
  'linux-x64': 'x86_64-unknown-linux-musl',
  'linux-arm64': 'aarch64-unknown-linux-musl',
  'darwin-x64': 'x86_64-apple-darwin',
  'darwin-arm64': 'aarch64-apple-darwin',
  'win32-x64': 'x86_64-pc-windows-msvc',
  'win32-arm64': 'aarch64-pc-windows-msvc',
};

/** The native program of the npm package at `packageRoot`, found as its own launcher does: in the package of the platform, or in its own `vendor`. */
async function nativeOfPackage(packageRoot: string): Promise<string | null> {
  const platform = `${process.platform}-${process.arch}`;
  const target = targets[platform];
  if (target === undefined) return null;
  const platformPackage = resolvePackage(join(packageRoot, 'bin', 'codex.js'), `@openai/codex-${platform}/package.json`);
  for (const root of [platformPackage === null ? null : dirname(platformPackage), packageRoot]) {
    if (root === null) continue;
    const program = join(root, 'vendor', target, 'bin', process.platform === 'win32' ? 'codex.exe' : 'codex');
    if ((await stat(program).catch(() => null))?.isFile() === true) return program;
  }
  return null;
}

function resolvePackage(from: string, id: string): string | null {
  try {
    return createRequire(from).resolve(id);
  } catch {
    return null;
  }
}

async function withVersion(command: string, source: CodexExecutable['source']): Promise<CodexExecutable> {
  let output: string;
  try {
    ({ stdout: output } = await promisify(execFile)(command, ['--version'], { encoding: 'utf8', timeout: 20_000, windowsHide: true }));
  } catch (cause) {
    throw new CodexError('codex-not-found', `${command} was found, but "${command} --version" failed. Reinstall Codex, or set BATON_CODEX to another executable.`, { cause });
  }
  const version = /(\d+\.\d+\.\d+\S*)/.exec(output)?.[1];
  if (version === undefined) throw new CodexError('codex-not-found', `${command} does not say that it is Codex (its --version printed "${output.trim().slice(0, 100)}"). Set BATON_CODEX to the codex executable.`);
  requireSupported(version, command);
  return { command, args: [], version, source };
}

/** @throws CodexError `codex-too-old` when `version` is below {@link MINIMUM_CODEX_VERSION}. */
export function requireSupported(version: string, what: string): void {
  const [have, need] = [version, MINIMUM_CODEX_VERSION].map((text) => text.split(/[-+]/)[0]?.split('.').map(Number) ?? []);
  for (let index = 0; index < 3; index += 1) {
    const difference = (have?.[index] ?? 0) - (need?.[index] ?? 0);
    if (difference > 0) return;
    if (difference < 0) throw new CodexError('codex-too-old', `${what} is Codex ${version}; Baton needs ${MINIMUM_CODEX_VERSION} or later, whose app-server can attach notes to a thread and release an idle one. Update it (npm install -g @openai/codex), or set BATON_CODEX to a newer one.`);
  }
}
