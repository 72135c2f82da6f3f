// Builds the bundles of dist/. `--watch` keeps building; `--production` minifies (what the VSIX carries).
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, context } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const dist = join(root, 'dist');

const production = process.argv.includes('--production');
const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));

const shared = {
  bundle: true,
  minify: production,
  sourcemap: production ? false : 'linked',
  legalComments: 'none',
  logLevel: 'warning',
  absWorkingDir: root,
  define: { BATON_VERSION: JSON.stringify(version) },
};
// bufferutil and utf-8-validate are optional natives of ws; a bundle cannot carry them.
const node = { ...shared, platform: 'node', format: 'cjs', target: 'node20', external: ['vscode', 'bufferutil', 'utf-8-validate'] };
const browser = { ...shared, platform: 'browser', format: 'iife', target: 'es2022' };

const bundles = [
  { ...node, entryPoints: { extension: 'src/extension.ts' }, outdir: 'dist' },
  { ...node, entryPoints: { baton: 'src/host/cli/main.ts' }, outdir: 'dist', banner: { js: '#!/usr/bin/env node' } },
  { ...browser, entryPoints: { panel: 'src/views/page/panel.ts', invite: 'src/views/page/invite.ts' }, outdir: 'dist' },
];

if (process.argv.includes('--watch')) {
  for (const bundle of bundles) await (await context(bundle)).watch();
} else {
  // Each bundle is put in its place whole, so that a program that starts from dist/ meanwhile finds the earlier one.
  await mkdir(join(root, '.cache'), { recursive: true });
  const fresh = await mkdtemp(join(root, '.cache', 'build-'));
  try {
    await Promise.all(bundles.map((bundle) => build({ ...bundle, outdir: fresh })));
    await mkdir(dist, { recursive: true });
    const built = await readdir(fresh);
    for (const name of built) await rename(join(fresh, name), join(dist, name));
    for (const name of await readdir(dist)) if (!built.includes(name)) await rm(join(dist, name), { recursive: true });
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
}
