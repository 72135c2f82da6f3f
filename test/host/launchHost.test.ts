import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { HostClient } from '../../src/host/hostClient';
import { ensureHost } from '../../src/host/launchHost';
import { chooseRuntime, hostEnvironment, isUsableNode } from '../../src/host/runtime';
import { bundleProgram } from '../fixtures/bundle';

const clientInfo = { name: 'test', version: '1' };

describe('starting a host', () => {
  let directory: string;
  let entry: string;
  let home: string;
  const clients: HostClient[] = [];
  const ensure = async (env: Record<string, string> = {}) => {
    const client = await ensureHost({ batonHome: home, codexHome: join(home, 'codex'), entry, env: { PATH: process.env['PATH'], ...env }, clientInfo });
    clients.push(client);
    return client;
  };
  const seen = async (client: HostClient) => {
    const { projects } = await client.call('project/list');
    return { pid: Number(projects[0]?.id), env: JSON.parse(projects[0]?.root ?? '{}') as Record<string, string> };
  };
  const starts = () => readFileSync(join(home, 'starts'), 'utf8').trim().split('\n');

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'baton-launch-'));
    entry = await bundleProgram('test/fixtures/detachedHost.ts', directory);
    return () => rm(directory, { recursive: true, force: true });
  });
  beforeEach(async () => {
    home = join(await mkdtemp(join(tmpdir(), 'baton-launched-')), 'home');
  });
  afterEach(async () => {
    const [first, ...others] = clients.splice(0);
    for (const client of others) client.dispose();
    if (first !== undefined) {
      const gone = new Promise<void>((resolve) => first.onClose(resolve));
      // The host may be gone before its answer is here.
      await first.call('host/stop').catch(() => undefined);
      await gone;
    }
    await rm(join(home, '..'), { recursive: true, force: true });
  });

  it('starts one detached in its own session, and finds it again the next time', async () => {
    const { pid } = await seen(await ensure());
    expect(pid).not.toBe(process.pid);
    expect((await seen(await ensure())).pid).toBe(pid);
    expect(starts()).toEqual([String(pid)]);
    if (process.platform === 'linux') {
      const session = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ')[3];
      expect(session).toBe(String(pid));
    }
  });

  it('starts just one for many callers at once', async () => {
    const pids = await Promise.all(Array.from({ length: 4 }, async () => (await seen(await ensure())).pid));
    expect(new Set(pids).size).toBe(1);
    expect(starts()).toHaveLength(1);
  });

  it('gives the host an environment that is tied to no window and no repository', async () => {
    const { env } = await seen(await ensure({ KEPT: 'yes', VSCODE_IPC_HOOK: 'x', ELECTRON_RUN_AS_NODE: '1', GIT_ASKPASS: '/x', GIT_DIR: '/x', GIT_SSH_COMMAND: 'ssh -v', CODEX_THREAD_ID: 't' }));
    expect(env).toMatchObject({ KEPT: 'yes', GIT_SSH_COMMAND: 'ssh -v', BATON_HOME: home, CODEX_HOME: join(home, 'codex') });
    for (const name of ['VSCODE_IPC_HOOK', 'ELECTRON_RUN_AS_NODE', 'GIT_ASKPASS', 'GIT_DIR', 'CODEX_THREAD_ID']) expect(env).not.toHaveProperty(name);
  });

  it('passes on the reason that a host gave for not starting', async () => {
    await expect(ensure({ TEST_FAIL: 'with-a-word' })).rejects.toMatchObject({ reason: 'identity-invalid', message: 'The key is bad.' });
  });

  it('shows the end of the log of a host that died without a word', async () => {
    await expect(ensure({ TEST_FAIL: 'silently' })).rejects.toMatchObject({ reason: 'host-start-failed', message: expect.stringMatching(/exit code 3.*Segmentation fault, as it were/) as string });
  });

  it('says that a program cannot be run', async () => {
    const starting = ensureHost({ batonHome: home, codexHome: home, entry, env: {}, clientInfo, runtime: { program: join(directory, 'missing'), env: {} } });
    await expect(starting).rejects.toMatchObject({ reason: 'host-start-failed', message: expect.stringContaining('ENOENT') as string });
  });
});

describe('choosing what runs a host', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'baton-runtime-'));
  });
  afterEach(() => rm(directory, { recursive: true, force: true }));
  const nodeThatSays = async (folder: string, version: string) => {
    await mkdir(join(directory, folder));
    writeFileSync(join(directory, folder, 'node'), `#!/bin/sh\necho ${version}\n`);
    chmodSync(join(directory, folder, 'node'), 0o755);
    return join(directory, folder);
  };

  it('is this program where it is a plain Node', async () => {
    expect(await chooseRuntime({}, { execPath: '/usr/bin/node', electron: false })).toEqual({ program: '/usr/bin/node', env: {} });
  });

  it('is, under Electron, the first node on PATH that is recent enough', async () => {
    const [old, good] = [await nodeThatSays('old', 'v18.0.0'), await nodeThatSays('good', 'v22.1.0')];
    expect(await chooseRuntime({ PATH: `.:${old}:${good}` }, { execPath: '/code', electron: true })).toEqual({ program: join(good, 'node'), env: {} });
  });

  it('is Electron itself where there is no such node', async () => {
    const old = await nodeThatSays('old', 'v18.0.0');
    expect(await chooseRuntime({ PATH: old }, { execPath: '/code', electron: true })).toEqual({ program: '/code', env: { ELECTRON_RUN_AS_NODE: '1' } });
  });

  it.each([['v20.17.0', true], ['v20.16.9', false], ['v24.0.0', true], ['v9.99.0', false], ['bun 1.2', false]])('takes %s for usable: %s', (version, usable) => {
    expect(isUsableNode(version)).toBe(usable);
  });

  it('keeps the user\'s variables', () => {
    expect(hostEnvironment({ HTTPS_PROXY: 'p', SSH_AUTH_SOCK: 's', OPENAI_API_KEY: 'k', UNSET: undefined })).toEqual({ HTTPS_PROXY: 'p', SSH_AUTH_SOCK: 's', OPENAI_API_KEY: 'k' });
  });
});
