import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { downloadAndUnzipVSCode } from '@vscode/test-electron';
import { run } from './run';
import { installVsCodeServer, type VsCodeServer } from './vscodeServer';

/** The VS Code that the tests drive: a desktop one, or the server's workbench in Chromium. */
export type InstalledVsCode = { readonly kind: 'desktop'; readonly executable: string } | { readonly kind: 'server'; readonly server: VsCodeServer; readonly chromium: string };

const DESKTOP_VERSION = '1.105.0';
const DOWNLOAD_PROBE = 'https://update.code.visualstudio.com/api/releases/stable';
const PROBE_TIMEOUT_MS = 5_000;

/**
 * Finds or installs a VS Code under `cache`: the desktop one where it can be downloaded and shown, else the server and
 * Chromium. @throws with the reason where neither works here.
 */
export async function installVsCode(cache: string): Promise<InstalledVsCode> {
  const why: string[] = [];
  if (process.platform === 'linux' && process.env['DISPLAY'] === undefined && process.env['WAYLAND_DISPLAY'] === undefined) why.push('desktop: no display');
  else if (!(await canDownload())) why.push('desktop: its download server cannot be reached');
  else return { kind: 'desktop', executable: await downloadAndUnzipVSCode({ version: DESKTOP_VERSION, cachePath: join(cache, 'vscode-desktop') }) };
  try {
    const chromium = await findChromium();
    return { kind: 'server', server: await installVsCodeServer(cache), chromium };
  } catch (error) {
    why.push(`server: ${error instanceof Error ? error.message : String(error)}`);
  }
  throw new Error(`There is no VS Code to test in (${why.join('; ')}).`);
}

async function canDownload(): Promise<boolean> {
  return await fetch(DOWNLOAD_PROBE, { method: 'HEAD', signal: AbortSignal.timeout(PROBE_TIMEOUT_MS) }).then(
    (response) => response.ok,
    () => false,
  );
}

const CHROMIUM_PATHS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome', '/usr/bin/google-chrome-stable'];

/** Path of a Chromium; on Debian, as root, it is installed where it is missing. `CHROMIUM` names another. */
async function findChromium(): Promise<string> {
  const find = async () => {
    for (const path of [process.env['CHROMIUM'] ?? '', ...CHROMIUM_PATHS]) if (path !== '' && (await exists(path))) return path;
    return undefined;
  };
  const found = await find();
  if (found !== undefined) return found;
  if (process.getuid?.() === 0 && (await exists('/usr/bin/apt-get'))) {
    await run('apt-get', ['install', '--yes', '--no-install-recommends', 'chromium'], { timeoutMs: 300_000 });
    const installed = await find();
    if (installed !== undefined) return installed;
  }
  throw new Error('no Chromium; install one, or name it with CHROMIUM');
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
