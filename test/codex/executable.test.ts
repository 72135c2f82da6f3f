import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, delimiter, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { codexEnvironment } from '../../src/codex/environment';
import { MINIMUM_CODEX_VERSION, requireSupported, resolveCodex } from '../../src/codex/executable';
import { GENERATED_FROM_CODEX } from '../../src/codex/protocol.generated';

const installed = join(process.cwd(), 'node_modules');
const native = process.platform === 'win32' ? 'codex.exe' : 'codex';
let folder: string;
beforeAll(async () => (folder = await mkdtemp(join(tmpdir(), 'baton-executable-'))));
afterAll(() => rm(folder, { recursive: true, force: true }));

/** A program that says, like Codex, which version it is. */
async function program(name: string, prints: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, `#!${process.execPath}\nconsole.log(${JSON.stringify(prints)});\n`);
  await chmod(path, 0o755);
  return path;
}

describe('finding Codex', () => {
  it('takes the native program of the npm package, not its JavaScript launcher', async () => {
    const codex = await resolveCodex({ env: { PATH: '' }, packageRoots: [process.cwd()] });
    expect(codex).toMatchObject({ args: [], version: GENERATED_FROM_CODEX, source: 'package' });
    expect(basename(codex.command)).toBe(native);
  });

  it('takes it from PATH before the package, through the link that npm made', async () => {
    const codex = await resolveCodex({ env: { PATH: ['relative', join(folder, 'nothing-here'), join(installed, '.bin')].join(delimiter) }, packageRoots: [] });
    expect(codex).toMatchObject({ version: GENERATED_FROM_CODEX, source: 'PATH' });
    expect(basename(codex.command)).toBe(native);
  });

  it('takes what BATON_CODEX names before both, by path or by name', async () => {
    const other = await program('other-codex', 'codex-cli 99.1.2-alpha.3');
    expect(await resolveCodex({ env: { BATON_CODEX: other, PATH: join(installed, '.bin') } })).toEqual({ command: other, args: [], version: '99.1.2-alpha.3', source: 'BATON_CODEX' });
    expect(await resolveCodex({ env: { BATON_CODEX: 'other-codex', PATH: folder } })).toMatchObject({ command: other });
  });

  it('looks through the shim that npm makes on Windows', async () => {
    const shim = join(folder, 'codex.cmd');
    await mkdir(join(folder, 'node_modules', '@openai'), { recursive: true });
    await symlink(join(installed, '@openai', 'codex'), join(folder, 'node_modules', '@openai', 'codex'), 'junction');
    await writeFile(shim, '@ECHO off\r\nSETLOCAL\r\nendLocal & goto #_undefined_# 2>NUL || title %COMSPEC% & "%_prog%"  "%dp0%\\node_modules\\@openai\\codex\\bin\\codex.js" %*\r\n');
    const codex = await resolveCodex({ env: { BATON_CODEX: shim } });
    expect(basename(codex.command)).toBe(native);
  });

  it.each([
    ['is not there', () => Promise.resolve('/no/such/codex'), 'codex-not-found'],
    ['is something else', () => program('something-else', 'hello'), 'codex-not-found'],
    ['is too old', () => program('old-codex', 'codex-cli 0.150.9'), 'codex-too-old'],
  ])('says so when what BATON_CODEX names %s', async (_, make, reason) => {
    await expect(resolveCodex({ env: { BATON_CODEX: await make() } })).rejects.toMatchObject({ reason });
  });

  it('says so when there is none at all', async () => {
    await expect(resolveCodex({ env: { PATH: '' }, packageRoots: [tmpdir()] })).rejects.toMatchObject({ reason: 'codex-not-found', message: expect.stringContaining('BATON_CODEX') as string });
  });
});

it.each([['0.168.99', false], [MINIMUM_CODEX_VERSION, true], [`${MINIMUM_CODEX_VERSION}-alpha.1`, true], ['0.1000.0', true], ['1.0.0', true], ['0.17.0', false]])('Codex %s is supported: %s', (version, supported) => {
  const check = () => requireSupported(version, 'codex');
  if (supported) expect(check).not.toThrow();
  else expect(check).toThrow(expect.objectContaining({ reason: 'codex-too-old' }));
});

it('gives Codex the user\'s environment without what an editor put there', () => {
  const env = { PATH: '/bin', HOME: '/home/me', OPENAI_API_KEY: 'k', GIT_AUTHOR_NAME: 'Me', GIT_ASKPASS: '/x', ELECTRON_RUN_AS_NODE: '1', VSCODE_IPC_HOOK: '/y', NODE_OPTIONS: '--inspect', GIT_DIR: '/z', BATON_HOME: '/b', CODEX_HOME: '/other', UNSET: undefined };
  expect(codexEnvironment(env, '/codex')).toEqual({ PATH: '/bin', HOME: '/home/me', OPENAI_API_KEY: 'k', GIT_AUTHOR_NAME: 'Me', CODEX_HOME: '/codex' });
});
