import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { resolveCliArgsFromVSCodeExecutablePath } from '@vscode/test-electron';
import { _electron, chromium, type Page } from 'playwright-core';
import { chromiumArguments } from '../fixtures/chromium';
import type { InstalledVsCode } from './installedVsCode';
import { run } from './run';
import { installVsix, startVsCodeServer } from './vscodeServer';
import { Workbench } from './workbench';

/** A window of VS Code on a folder. `data` holds its settings and extensions and outlives it. */
export interface WindowOptions {
  readonly data: string;
  readonly folder: string;
  readonly env: NodeJS.ProcessEnv;
  readonly settings: Readonly<Record<string, unknown>>;
}

export interface TestWindow {
  readonly workbench: Workbench;
  /** Loads the window again, with other settings. */
  reload(settings: Readonly<Record<string, unknown>>): Promise<void>;
  /** Closes the window and all that VS Code runs for it. */
  close(): Promise<void>;
}

/** Nothing in the way of what is tested: no welcome page, no chat side bar, no restore prompts. */
const QUIET = { 'workbench.startupEditor': 'none', 'workbench.secondarySideBar.defaultVisibility': 'hidden', 'chat.disableAIFeatures': true, 'telemetry.telemetryLevel': 'off', 'update.mode': 'none', 'security.workspace.trust.enabled': false };
const SIZE = { width: 1280, height: 800 };

/** Installs the packaged extension into `data` as a user would. */
export async function installExtension(vscode: InstalledVsCode, data: string, vsix: string): Promise<void> {
  if (vscode.kind === 'server') {
    await installVsix(vscode.server, data, vsix);
    return;
  }
  const [cli, ...args] = resolveCliArgsFromVSCodeExecutablePath(vscode.executable);
  if (cli === undefined) throw new Error(`VS Code at ${vscode.executable} has no command line.`);
  await run(cli, [...args, ...desktopDirectories(data), '--install-extension', vsix]);
}

export async function openWindow(vscode: InstalledVsCode, options: WindowOptions): Promise<TestWindow> {
  await writeSettings(vscode, options.data, options.settings);
  return vscode.kind === 'server' ? await openInBrowser(vscode, options) : await openOnDesktop(vscode, options);
}

async function openInBrowser(vscode: Extract<InstalledVsCode, { kind: 'server' }>, { data, folder, env }: WindowOptions): Promise<TestWindow> {
  const server = await startVsCodeServer(vscode.server, { data, env, trustWorkspaces: true, extensionTests: false });
  const browser = await chromium.launch({ executablePath: vscode.chromium, args: chromiumArguments });
  const close = async () => {
    await browser.close();
    await server.close();
  };
  try {
    const page = await browser.newPage({ viewport: SIZE });
    await page.goto(`${server.url}/?folder=${encodeURIComponent(folder)}`);
    return await shownWindow(page, close, vscode, data);
  } catch (error) {
    await close();
    throw error;
  }
}

async function openOnDesktop(vscode: Extract<InstalledVsCode, { kind: 'desktop' }>, { data, folder, env }: WindowOptions): Promise<TestWindow> {
  const application = await _electron.launch({
    executablePath: vscode.executable,
    args: [...desktopDirectories(data), '--no-sandbox', '--disable-updates', '--skip-welcome', '--skip-release-notes', '--disable-workspace-trust', folder],
    env: Object.fromEntries(Object.entries({ ...env, DISPLAY: process.env['DISPLAY'] }).filter((entry): entry is [string, string] => entry[1] !== undefined)),
  });
  try {
    return await shownWindow(await application.firstWindow(), () => application.close(), vscode, data);
  } catch (error) {
    await application.close();
    throw error;
  }
}

async function shownWindow(page: Page, close: () => Promise<void>, vscode: InstalledVsCode, data: string): Promise<TestWindow> {
  const workbench = new Workbench(page);
  await workbench.ready();
  return {
    workbench,
    reload: async (settings) => {
      await writeSettings(vscode, data, settings);
      // By VS Code's own command, which saves what is open first.
      const loaded = page.waitForEvent('load');
      await workbench.runCommand('Developer: Reload Window');
      await loaded;
      await workbench.ready();
    },
    close,
  };
}

async function writeSettings(vscode: InstalledVsCode, data: string, settings: Readonly<Record<string, unknown>>): Promise<void> {
  // The server's user settings live in the browser; its machine's are a file.
  const file = vscode.kind === 'server' ? join(data, 'data', 'Machine', 'settings.json') : join(data, 'User', 'settings.json');
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, JSON.stringify({ ...QUIET, ...settings }));
}

function desktopDirectories(data: string): string[] {
  return ['--user-data-dir', data, '--extensions-dir', join(data, 'extensions')];
}
