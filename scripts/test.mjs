// npm test: everything that must hold, from a fresh clone: types, lint, unused code, unit and integration tests, VS Code tests.
// `npm test -- unit` or `npm test -- vscode` runs one of the last two; what follows `unit` goes to vitest, as in `npm test -- unit test/git`.
import { runNode, setUp } from './setUp.mjs';

const only = process.argv[2];
setUp();
if (only === undefined) {
  const bin = (path) => `node_modules/${path}`;
  for (const project of ['tsconfig.json', 'tsconfig.views.json', 'tsconfig.browser.json']) runNode(bin('typescript/bin/tsc'), '-p', project);
  runNode(bin('eslint/bin/eslint.js'), '.');
  runNode(bin('knip/bin/knip.js'));
}
if (only !== 'vscode') runNode('node_modules/vitest/vitest.mjs', 'run', ...process.argv.slice(3));
if (only !== 'unit') runNode('node_modules/vitest/vitest.mjs', 'run', '--config', 'test/vscode/vitest.config.mjs');
