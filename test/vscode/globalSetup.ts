import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type {} from 'vitest';
import type { TestProject } from 'vitest/node';
import { installVsCode, type InstalledVsCode } from './installedVsCode';
import { run } from './run';

declare module 'vitest' {
  interface ProvidedContext {
    /** Null where no VS Code can run here; the tests then say that they were skipped. */
    vscode: InstalledVsCode | null;
    vsix: string;
  }
}

const root = resolve(import.meta.dirname, '../..');
const cache = join(root, '.cache');

/** Finds a VS Code and packages the extension, once for all tests. */
export async function setup({ provide }: TestProject): Promise<void> {
  await mkdir(cache, { recursive: true });
  const vsix = join(cache, 'baton.vsix');
  provide('vsix', vsix);
  let vscode: InstalledVsCode;
  try {
    vscode = await installVsCode(cache);
  } catch (error) {
    if (process.env['CI'] === 'true') throw error;
    console.warn(`VS Code tests are SKIPPED: ${error instanceof Error ? error.message : String(error)}`);
    provide('vscode', null);
    return;
  }
  provide('vscode', vscode);
  await run(process.execPath, ['scripts/build.mjs', '--production'], { cwd: root, timeoutMs: 120_000 });
  await run(process.execPath, [join(root, 'node_modules', '@vscode', 'vsce', 'vsce'), 'package', '--no-dependencies', '--allow-missing-repository', '--no-rewrite-relative-links', '--out', vsix], { cwd: root, timeoutMs: 120_000 });
}
