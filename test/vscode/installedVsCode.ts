import { join } from 'node:path';
import { downloadAndUnzipVSCode } from '@vscode/test-electron';
import { findChromium } from '../fixtures/chromium';
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
