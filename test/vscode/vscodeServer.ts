import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from './run';

// code-server carries VS Code's own server: workbench, extension host, Git extension and webviews. Pinned, so that a
// test that fails today failed yesterday. It is not a dependency of the project: its install script compiles for minutes.
const CODE_SERVER = 'code-server@4.139.1';
const NODE_MAJOR = 24;
const INSTALL_TIMEOUT_MS = 300_000;

/** A VS Code server on this machine: its Node and its entry script. */
export interface VsCodeServer {
  readonly node: string;
  readonly entry: string;
}

/** Finds the VS Code server in `cache`, or installs it there from the npm registry. Linux x64 and arm64 only. */
export async function installVsCodeServer(cache: string): Promise<VsCodeServer> {
  if (process.platform !== 'linux') throw new Error(`The VS Code server is installed on Linux only, not on ${process.platform}.`);
  const directory = join(cache, CODE_SERVER.replace('@', '-'));
  const vscode = join('node_modules', 'code-server', 'lib', 'vscode');
  const nodePackage = `node-linux-${process.arch}`;
  const server = { node: join(directory, 'node_modules', nodePackage, 'bin', 'node'), entry: join(directory, vscode, 'out', 'server-main.js') };
  const complete = join(directory, '.complete');
  if (await exists(complete)) return server;
  // Installed beside and renamed when whole, so that an install that was cut off is never used.
  const staging = `${directory}.${process.pid}`;
  await rm(staging, { recursive: true, force: true });
  await mkdir(staging, { recursive: true });
  const options = { timeoutMs: INSTALL_TIMEOUT_MS };
  await run('npm', ['install', '--prefix', staging, '--ignore-scripts', '--no-audit', '--no-fund', CODE_SERVER, `${nodePackage}@${NODE_MAJOR}`], options);
  await run('npm', ['install', '--omit=dev', '--ignore-scripts', '--no-audit', '--no-fund'], { ...options, cwd: join(staging, vscode) });
  await writeFile(join(staging, '.complete'), '');
  await rm(directory, { recursive: true, force: true });
  await rename(staging, directory);
  return server;
}

/** Installs a VSIX into `data` as a user would. */
export async function installVsix(server: VsCodeServer, data: string, vsix: string): Promise<void> {
  await run(server.node, [server.entry, '--accept-server-license-terms', '--server-data-dir', data, '--install-extension', vsix], { timeoutMs: 60_000 });
}

/** A running VS Code server: `url` is its origin. */
export interface RunningServer {
  readonly url: string;
  close(): Promise<void>;
}

/** Starts a VS Code server with its own data directory and environment on a free port of loopback. */
export async function startVsCodeServer(server: VsCodeServer, options: { data: string; env: NodeJS.ProcessEnv; trustWorkspaces: boolean; extensionTests: boolean }): Promise<RunningServer> {
  const child = spawn(
    server.node,
    [
      server.entry, '--accept-server-license-terms', '--without-connection-token', '--host', '127.0.0.1', '--port', '0',
      '--server-data-dir', options.data, '--disable-telemetry', ...(options.trustWorkspaces ? ['--disable-workspace-trust'] : []),
      // Only with the driver does the page take the paths of extension tests; but with it, it shows no notification.
      ...(options.extensionTests ? ['--enable-smoke-test-driver'] : []),
    ],
    { env: options.env, stdio: ['ignore', 'pipe', 'pipe'], detached: true },
  );
  try {
    const port = await listeningPort(child);
    return { url: `http://127.0.0.1:${port}`, close: () => endGroup(child) };
  } catch (error) {
    await endGroup(child);
    throw error;
  }
}

async function listeningPort(child: ChildProcess): Promise<number> {
  let output = '';
  return await new Promise((resolve, reject) => {
    const read = (chunk: Buffer) => {
      output += chunk.toString('utf8');
      const port = /Extension host agent listening on (\d+)/.exec(output)?.[1];
      if (port !== undefined) resolve(Number(port));
    };
    child.stdout?.on('data', read);
    child.stderr?.on('data', read);
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`The VS Code server ended with code ${String(code)}:\n${output}`)));
  });
}

/** Ends the server and the extension hosts that it started: its process group. */
async function endGroup(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const exited = once(child, 'exit');
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    child.kill('SIGKILL');
  }
  await exited;
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
