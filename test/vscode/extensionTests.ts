import { join, resolve } from 'node:path';
import { runTests } from '@vscode/test-electron';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';
import { chromiumArguments } from '../fixtures/chromium';
import type { InstalledVsCode } from './installedVsCode';
import { startVsCodeServer } from './vscodeServer';

const root = resolve(import.meta.dirname, '../..');

/** Bundles the suite in `extensionHost/` and runs it inside VS Code's extension host. Returns what it logged. @throws where a check failed. */
export async function runExtensionTests(vscode: InstalledVsCode, options: { data: string; folder: string; env: NodeJS.ProcessEnv }): Promise<string[]> {
  const tests = join(options.data, 'extensionHostTests.cjs');
  await build({ entryPoints: [join(root, 'test/vscode/extensionHost/index.ts')], outfile: tests, bundle: true, platform: 'node', format: 'cjs', target: 'node20', external: ['vscode'], logLevel: 'error' });
  return vscode.kind === 'server' ? await runInBrowser(vscode, tests, options) : await runOnDesktop(vscode, tests, options);
}

async function runOnDesktop(vscode: Extract<InstalledVsCode, { kind: 'desktop' }>, tests: string, { data, folder, env }: { data: string; folder: string; env: NodeJS.ProcessEnv }): Promise<string[]> {
  const code = await runTests({ vscodeExecutablePath: vscode.executable, extensionDevelopmentPath: root, extensionTestsPath: tests, launchArgs: [folder, '--user-data-dir', data, '--disable-workspace-trust'], extensionTestsEnv: env });
  return code === 0 ? ['extension host: checks passed'] : Promise.reject(new Error(`The extension host tests ended with code ${code}.`));
}

/** VS Code's own web test runner listens to the same two functions of the page. */
async function runInBrowser(vscode: Extract<InstalledVsCode, { kind: 'server' }>, tests: string, { data, folder, env }: { data: string; folder: string; env: NodeJS.ProcessEnv }): Promise<string[]> {
  const server = await startVsCodeServer(vscode.server, { data, env, trustWorkspaces: true, extensionTests: true });
  const browser = await chromium.launch({ executablePath: vscode.chromium, args: chromiumArguments });
  try {
    const page = await browser.newPage();
    const logs: string[] = [];
    const ended = new Promise<number>((resolveCode) => {
      void page.exposeFunction('codeAutomationExit', (code: number) => resolveCode(code));
    });
    await page.exposeFunction('codeAutomationLog', (_type: string, args: readonly unknown[]) => void logs.push(args.map(String).join(' ')));
    const authority = new URL(server.url).host;
    const remote = (path: string) => `vscode-remote://${authority}${path}`;
    const payload = [['extensionDevelopmentPath', remote(root)], ['extensionTestsPath', remote(tests)]];
    await page.goto(`${server.url}/?folder=${encodeURIComponent(folder)}&payload=${encodeURIComponent(JSON.stringify(payload))}`);
    const code = await ended;
    if (code !== 0) throw new Error(`The extension host tests ended with code ${code}:\n${logs.join('\n')}`);
    return logs;
  } finally {
    await browser.close();
    await server.close();
  }
}
