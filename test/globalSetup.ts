import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');

/** Latest change below a directory, milliseconds since 1970. */
function newest(directory: string): number {
  const times = readdirSync(directory, { recursive: true, withFileTypes: true }).map((entry) => statSync(join(entry.parentPath, entry.name)).mtimeMs);
  return Math.max(...times);
}

/**
 * Builds what ships, unless that was done since the last change, and gives the tests a copy of `dist/baton.js` in a folder of its
 * own: as on a server, it has to do without anything beside it, and a build during the tests does not pull it from under them.
 */
export function setup(): () => void {
  const built = join(root, 'dist', 'baton.js');
  const builtAt = statSync(built, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  if (builtAt < Math.max(newest(join(root, 'src')), statSync(join(root, 'scripts', 'build.mjs')).mtimeMs, statSync(join(root, 'package-lock.json')).mtimeMs)) {
    execFileSync(process.execPath, [join(root, 'scripts', 'build.mjs')], { stdio: 'inherit' });
  }
  const directory = mkdtempSync(join(tmpdir(), 'baton-bundle-'));
  process.env['BATON_TEST_BUNDLE'] = join(directory, 'baton.js');
  copyFileSync(built, process.env['BATON_TEST_BUNDLE']);
  return () => rmSync(directory, { recursive: true, force: true });
}
