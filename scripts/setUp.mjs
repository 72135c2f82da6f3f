// Everything that a command needs before it can run, so that it works on a fresh clone: dependencies, and the bundles.
import { spawnSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { basename, delimiter, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Runs a program of Node's with this Node; ends this process where it fails. */
export function runNode(...args) {
  const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
}

function npm(...args) {
  const cli = process.env.npm_execpath;
  const [program, given] = cli === undefined ? [process.platform === 'win32' ? 'npm.cmd' : 'npm', args] : [process.execPath, [cli, ...args]];
  const { status } = spawnSync(program, given, { cwd: root, stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
}

/** Puts the directory that BATON_TEST_GIT names first on PATH, so that another git is used: by what ships and by the tests. */
function useOtherGit() {
  const directory = process.env.BATON_TEST_GIT;
  if (directory === undefined || directory === '') return;
  const { stdout, status } = spawnSync(resolve(directory, 'git'), ['version'], { encoding: 'utf8' });
  if (status !== 0) {
    console.error(`BATON_TEST_GIT is ${directory}, in which there is no git that runs.`);
    process.exit(1);
  }
  process.env.PATH = `${resolve(directory)}${delimiter}${process.env.PATH ?? ''}`;
  console.log(`${stdout.trim()} (${directory})`);
}

/** Installs the locked dependencies unless they are there, and builds dist/. */
export function setUp() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 17)) {
    console.error(`Baton needs Node 20.17 or later; this is ${process.versions.node}.`);
    process.exit(1);
  }
  const installed = `${root}node_modules/.package-lock.json`;
  if (!existsSync(installed) || statSync(installed).mtimeMs < statSync(`${root}package-lock.json`).mtimeMs) {
    npm('ci', '--no-audit', '--no-fund', '--loglevel=error');
  }
  useOtherGit();
  runNode('scripts/build.mjs');
}

/** Bundles a program of test/ into .cache/ and runs it. Its modules find the fixtures' folder as `import.meta.dirname`. */
export async function runTypeScript(entry, args) {
  const { build } = await import('esbuild');
  const outfile = join(root, '.cache', basename(dirname(entry)), 'main.mjs');
  await build({
    entryPoints: [join(root, entry)],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    logLevel: 'warning',
    // The helpers of the tests that a program uses import vitest, whose functions it does not call.
    external: ['bufferutil', 'utf-8-validate', 'vitest'],
    // Some dependencies are CommonJS: they call require() and name themselves.
    banner: { js: "import { createRequire as nodeRequire } from 'node:module'; const require = nodeRequire(import.meta.url); const __filename = import.meta.filename;" },
    define: { 'import.meta.dirname': JSON.stringify(join(root, 'test', 'fixtures')) },
  });
  runNode(outfile, ...args);
}
