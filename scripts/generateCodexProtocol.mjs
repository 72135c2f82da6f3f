// Writes src/codex/protocol.generated.ts: the types of Codex's app-server protocol that Baton uses, rolled up from
// `codex app-server generate-ts --experimental` of the Codex in node_modules. Run it after changing that version:
//   node scripts/generateCodexProtocol.mjs
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';

const requests = [
  'initialize',
  'thread/start', 'thread/resume', 'thread/fork', 'thread/list', 'thread/read', 'thread/loaded/list', 'thread/turns/list', 'thread/items/list',
  'thread/unsubscribe', 'thread/archive', 'thread/unarchive', 'thread/delete', 'thread/name/set', 'thread/compact/start', 'thread/inject_items',
  'thread/attachment/add', 'thread/attachment/list', 'thread/attachment/remove', 'thread/goal/get', 'thread/goal/set', 'thread/queue/list', 'thread/queue/add', 'thread/queue/delete', 'thread/queue/start', 'command/exec',
  'thread/backgroundTerminals/list', 'thread/backgroundTerminals/clean',
  'turn/start', 'turn/steer', 'turn/interrupt',
  'model/list', 'modelProvider/list', 'config/read', 'configRequirements/read',
];
const serverRequests = [
  'item/commandExecution/requestApproval', 'item/fileChange/requestApproval', 'item/permissions/requestApproval',
  'item/tool/requestUserInput', 'mcpServer/elicitation/request',
];
const notifications = [
  'error', 'warning', 'configWarning', 'serverRequest/resolved',
  'thread/started', 'thread/status/changed', 'thread/closed', 'thread/archived', 'thread/unarchived', 'thread/deleted', 'thread/name/updated',
  'turn/started', 'turn/completed', 'turn/plan/updated', 'turn/diff/updated',
  'item/started', 'item/completed', 'item/agentMessage/delta', 'item/commandExecution/outputDelta',
];
// Large trees of which Baton reads a field or two, behind its own schemas, or only passes on.
const opaque = new Set(['ResponseItem', 'v2/Config', 'v2/ConfigLayer', 'v2/ConfigLayerMetadata', 'v2/ConfigRequirements', 'serde_json/JsonValue', 'v2/McpElicitationSchema']);

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const codex = join(root, 'node_modules', '@openai', 'codex', 'bin', 'codex.js');
const directory = mkdtempSync(join(tmpdir(), 'baton-codex-protocol-'));
const declarations = new Map();

function source(module) {
  return readFileSync(join(directory, `${module}.ts`), 'utf8');
}

/** The import lines of a generated module: local name → module path relative to the output folder. */
function importsOf(module) {
  const found = new Map();
  for (const [, names, from] of source(module).matchAll(/^import type \{ ([^}]+) \} from "([^"]+)";$/gm)) {
    for (const name of names.split(',')) found.set(name.trim(), posix.join(posix.dirname(module), from));
  }
  return found;
}

/** A module's name in the rolled-up file. A few names exist both at the top and in v2; v2 keeps the plain one. */
function nameOf(module) {
  const base = posix.basename(module);
  return !module.includes('/') && declarations.has(`v2/${base}`) ? `${base}V1` : base;
}

function visit(module) {
  if (declarations.has(module)) return;
  const imports = importsOf(module);
  if (opaque.has(module)) {
    declarations.set(module, { imports: new Map(), body: null });
    return;
  }
  const text = source(module);
  const body = text.slice(text.search(/^export type /m)).replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '').replace(/\s+/g, ' ').trim();
  declarations.set(module, { imports, body });
  for (const used of imports.values()) visit(used);
}

/** Method → params type, from one of the big unions of the generated code. */
function methodsOf(union) {
  const found = new Map();
  for (const [, method, params] of source(union).matchAll(/"method": "([^"]+)",(?: id: RequestId,)? "?params"?: (\w+)/g)) found.set(method, params);
  return found;
}

function table(name, about, methods, row) {
  return `/** ${about} */\nexport type ${name} = {\n${methods.map(row).join('\n')}\n};\n`;
}

try {
  execFileSync(process.execPath, [codex, 'app-server', 'generate-ts', '--experimental', '--out', directory], { stdio: 'inherit' });
  const version = execFileSync(process.execPath, [codex, '--version'], { encoding: 'utf8' }).trim().split(' ').at(-1);

  const lookUp = (union, methods) => {
    const params = methodsOf(union);
    const imports = importsOf(union);
    return methods.map((method) => {
      const type = params.get(method);
      if (type === undefined) throw new Error(`${union} of Codex ${version} has no ${method}`);
      return { method, module: type === 'undefined' ? null : imports.get(type) };
    });
  };
  const responseOf = { 'turn/start': 'v2/TurnStartResponse', initialize: 'InitializeResponse', 'configRequirements/read': 'v2/ConfigRequirementsReadResponse' };
  const requestRows = lookUp('ClientRequest', requests).map((row) => ({ ...row, response: responseOf[row.method] ?? row.module.replace(/Params$/, 'Response') }));
  const serverRows = lookUp('ServerRequest', serverRequests).map((row) => ({ ...row, response: row.module.replace(/Params$/, 'Response') }));
  const notificationRows = lookUp('ServerNotification', notifications);

  for (const row of [...requestRows, ...serverRows, ...notificationRows]) {
    for (const module of [row.module, row.response]) if (module) visit(module);
  }

  const types = [...declarations].sort(([a], [b]) => (nameOf(a) < nameOf(b) ? -1 : 1)).map(([module, { imports, body }]) => {
    if (body === null) return `export type ${nameOf(module)} = unknown;`;
    let text = body;
    for (const [local, used] of imports) text = text.replace(new RegExp(`\\b${local}\\b(?!")(?!\\??:)`, 'g'), nameOf(used));
    return text.replace(/^export type \w+/, `export type ${nameOf(module)}`);
  });
  const parts = [
    `// GENERATED by scripts/generateCodexProtocol.mjs from codex ${version} (app-server generate-ts --experimental). Do not edit.\n`,
    `export const GENERATED_FROM_CODEX = '${version}';\n`,
    table('ClientRequests', 'What a client asks of the app-server.', requestRows, (row) => `  '${row.method}': { params: ${row.module ? nameOf(row.module) : 'undefined'}; result: ${nameOf(row.response)} };`),
    table('ServerRequests', 'What the app-server asks of its clients.', serverRows, (row) => `  '${row.method}': { params: ${nameOf(row.module)}; result: ${nameOf(row.response)} };`),
    table('ServerNotifications', 'What the app-server tells its clients.', notificationRows, (row) => `  '${row.method}': ${nameOf(row.module)};`),
    `${types.join('\n')}\n`,
  ];
  writeFileSync(join(root, 'src', 'codex', 'protocol.generated.ts'), parts.join('\n'));
} finally {
  rmSync(directory, { recursive: true, force: true });
}
