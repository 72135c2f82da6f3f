import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { listFiles, PackageManager } from '@vscode/vsce';
import { afterAll, describe, expect, inject, it } from 'vitest';
import { runExtensionTests } from './extensionTests';

const root = resolve(import.meta.dirname, '../..');
const vscode = inject('vscode');

describe.skipIf(vscode === null)('the packaged extension', () => {
  it('is smaller than 2 MB', () => {
    expect(statSync(inject('vsix')).size).toBeLessThan(2_000_000);
  });

  it('holds the bundles, the pictures and the papers, and nothing else', async () => {
    const files = await listFiles({ cwd: root, packageManager: PackageManager.None });
    expect(files.sort()).toEqual([
      'LICENSE', ...['CHANGELOG.md', 'README.md'].filter((paper) => files.includes(paper)),
      'dist/baton.js', 'dist/extension.js', 'dist/invite.js', 'dist/panel.js',
      'media/baton.svg', 'media/icon.png', 'media/invite.css', 'media/page.css', 'media/panel.css', 'media/thread-dark.svg', 'media/thread-light.svg', 'package.json',
    ].sort());
  });
});

describe.skipIf(vscode === null)('the extension inside the extension host', () => {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'baton-vscode-')));
  // A path at which no Codex is: the extension has to come up all the same.
  const env = { PATH: process.env['PATH'], HOME: directory, BATON_HOME: join(directory, 'baton'), CODEX_HOME: join(directory, 'codex'), BATON_CODEX: join(directory, 'no-codex') };
  afterAll(() => {
    // The extension started its host detached, as it should.
    execFileSync(process.execPath, [join(import.meta.dirname, '../../dist/baton.js'), 'stop'], { env });
    rmSync(directory, { recursive: true, force: true });
  });

  it('activates, registers what it declares and finds the open repository', async () => {
    if (vscode === null) return;
    const folder = join(directory, 'repository');
    mkdirSync(folder);
    execFileSync('git', ['init', '-q', folder]);
    const data = join(directory, 'data');
    mkdirSync(data);
    const logs = await runExtensionTests(vscode, { data, folder, env });
    expect(logs.join('\n')).toContain('checks passed');
  });
});
