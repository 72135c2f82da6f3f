// npm run bench: how long a handoff takes, from a fresh clone. Arguments after `--` go to the bench.
import { runNode, setUp } from './setUp.mjs';

setUp();
const { build } = await import('esbuild');
const outfile = new URL('../.cache/bench/bench.mjs', import.meta.url).pathname;
await build({
  entryPoints: [new URL('../test/bench/main.ts', import.meta.url).pathname],
  outfile,
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  logLevel: 'warning',
  external: ['bufferutil', 'utf-8-validate'],
  // Some dependencies are CommonJS and call require().
  banner: { js: "import { createRequire as nodeRequire } from 'node:module'; const require = nodeRequire(import.meta.url);" },
  define: { 'import.meta.dirname': JSON.stringify(new URL('../test/fixtures', import.meta.url).pathname) },
});
runNode(outfile, ...process.argv.slice(2));
