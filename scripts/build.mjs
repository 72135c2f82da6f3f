// Builds the bundles of dist/. `--watch` keeps building; `--production` minifies (what the VSIX carries).
import { rm } from 'node:fs/promises';
import { context, build } from 'esbuild';
import { readFileSync } from 'node:fs';

const production = process.argv.includes('--production');
const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));

const shared = {
  bundle: true,
  minify: production,
  sourcemap: production ? false : 'linked',
  legalComments: 'none',
  logLevel: 'warning',
  absWorkingDir: new URL('..', import.meta.url).pathname,
  define: { BATON_VERSION: JSON.stringify(version) },
};
// bufferutil and utf-8-validate are optional natives of ws; a bundle cannot carry them.
const node = { ...shared, platform: 'node', format: 'cjs', target: 'node20', external: ['vscode', 'bufferutil', 'utf-8-validate'] };
const browser = { ...shared, platform: 'browser', format: 'iife', target: 'es2022' };

const bundles = [
  { ...node, entryPoints: { extension: 'src/extension.ts' }, outdir: 'dist' },
  { ...node, entryPoints: { baton: 'src/host/cli/main.ts' }, outdir: 'dist', banner: { js: '#!/usr/bin/env node' } },
  { ...browser, entryPoints: { panel: 'src/views/page/panel.ts' }, outdir: 'dist' },
];

if (process.argv.includes('--watch')) {
  for (const bundle of bundles) await (await context(bundle)).watch();
} else {
  await rm(new URL('../dist', import.meta.url), { recursive: true, force: true });
  await Promise.all(bundles.map((bundle) => build(bundle)));
}
