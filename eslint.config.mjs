import js from '@eslint/js';
import globals from 'globals';
import tseslint from 'typescript-eslint';

/**
 * The arrows of ARCHITECTURE.md: each folder of src/ and the folders it may import from.
 * `extension → views → (host protocol)`; `host → handoff, git, codex, relay`; `handoff → nothing`.
 */
const folders = ['handoff', 'git', 'codex', 'relay', 'host', 'views', 'phone'];
const allowed = {
  handoff: [],
  git: [],
  codex: [],
  relay: [],
  host: ['handoff', 'git', 'codex', 'relay'],
  // Only the client side of the host: its protocol, its client, how to start one, and the picture of an invite.
  views: ['host/protocol', 'host/qr', 'host/hostClient', 'host/launchHost', 'host/hostError'],
  phone: ['host/protocol', 'relay', 'views/page'],
};

function arrows(folder) {
  const forbidden = folders
    .filter((other) => other !== folder && !allowed[folder].includes(other))
    .map((other) => {
      const exceptions = allowed[folder].filter((path) => path.startsWith(`${other}/`));
      return {
        regex: `^(\\.\\./)+${other}/${exceptions.length === 0 ? '' : `(?!(${exceptions.map((path) => path.slice(other.length + 1)).join('|')})(/|$))`}`,
        message: `src/${folder} may import from ${allowed[folder].join(', ') || 'no other folder'} only (ARCHITECTURE.md).`,
      };
    });
  const vscode = folder === 'views' ? [] : [{ regex: '^vscode$', message: 'Only src/views and src/extension.ts import vscode.' }];
  return {
    files: [`src/${folder}/**/*.ts`],
    rules: { 'no-restricted-imports': ['error', { patterns: [...forbidden, ...vscode] }] },
  };
}

export default tseslint.config(
  { ignores: ['dist', 'node_modules', '.cache', 'src/codex/protocol.generated.ts'] },
  js.configs.recommended,
  ...tseslint.configs.strictTypeChecked,
  ...tseslint.configs.stylisticTypeChecked,
  {
    languageOptions: {
      parserOptions: {
        project: ['./tsconfig.json', './tsconfig.views.json', './tsconfig.browser.json'],
        tsconfigRootDir: import.meta.dirname,
      },
    },
    rules: {
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/no-non-null-assertion': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/consistent-type-definitions': 'off',
      '@typescript-eslint/unified-signatures': 'off',
      'no-restricted-exports': ['error', { restrictDefaultExports: { direct: true } }],
      // `== null` is the one that means both null and undefined.
      eqeqeq: ['error', 'always', { null: 'ignore' }],
    },
  },
  ...Object.keys(allowed).map(arrows),
  {
    files: ['src/extension.ts'],
    rules: { 'no-restricted-imports': ['error', { patterns: [{ regex: '^\\./(handoff|git|codex|relay|phone)/', message: 'The extension talks to the host only.' }] }] },
  },
  {
    files: ['**/*.mjs', '**/*.js'],
    extends: [tseslint.configs.disableTypeChecked],
    languageOptions: { globals: globals.node },
    rules: { 'no-restricted-exports': 'off' },
  },
);
