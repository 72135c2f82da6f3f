import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createConnection, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { answers, listenLocal, type LocalServer } from '../../src/host/localServer';
import { localSocketPath, socketPathFile } from '../../src/host/localSocket';
import { bundleScript } from '../fixtures/bundledScript';

const modeOf = (path: string) => statSync(path).mode & 0o777;

describe('the local socket of a host', () => {
  let home: string;
  const servers: LocalServer[] = [];
  const listen = async (batonHome = home, onConnection: (stream: NodeJS.WritableStream) => void = (stream) => stream.end('hello')) => {
    const server = await listenLocal({ batonHome, onConnection });
    servers.push(server);
    return server;
  };
  beforeEach(async () => {
    home = await mkdtemp(join(tmpdir(), 'baton-home-'));
  });
  afterEach(async () => {
    await Promise.all(servers.splice(0).map((server) => server.close()));
    await rm(home, { recursive: true, force: true });
  });

  it('accepts connections in a directory that only this account can enter', async () => {
    await chmod(home, 0o755);
    const { path } = await listen();
    expect([modeOf(home), modeOf(path)]).toEqual([0o700, 0o600]);
    const [chunk] = (await once(createConnection(path), 'data')) as [Buffer];
    expect(chunk.toString()).toBe('hello');
  });

  it('is held by one host at a time, and free again when that one has closed', async () => {
    const first = await listen();
    await expect(listen()).rejects.toMatchObject({ reason: 'host-already-running' });
    expect(await answers(first.path)).toBe(true);
    await first.close();
    expect(existsSync(first.path)).toBe(false);
    await listen();
  });

  it('goes to exactly one of several hosts that start at once over a dead one\'s socket', async () => {
    const { path } = await listen();
    await servers.splice(0)[0]?.close();
    await leaveStaleSocket(path);
    const starts = await Promise.allSettled(Array.from({ length: 8 }, () => listen()));
    expect(starts.filter((start) => start.status === 'fulfilled')).toHaveLength(1);
    expect(await answers(path)).toBe(true);
  });

  it('is one process\'s of several on one home, and the next one\'s when that was killed', async () => {
    const script = `
import { listenLocal } from './src/host/localServer';
process.stdin.resume();
const told = await listenLocal({ batonHome: process.argv[2], onConnection: (stream) => stream.end() }).then(() => 'listens', ({ reason }) => reason);
process.stdout.write(told);
`;
    const program = await bundleScript(script, join(home, 'host.mjs'));
    const hosts = await Promise.all(Array.from({ length: 3 }, async () => {
      const child = spawn(process.execPath, [program, home], { stdio: ['pipe', 'pipe', 'inherit'] });
      const [said] = (await once(child.stdout, 'data')) as [Buffer];
      return { child, said: said.toString() };
    }));
    expect(hosts.map(({ said }) => said).sort()).toEqual(['host-already-running', 'host-already-running', 'listens']);
    await expect(listen()).rejects.toMatchObject({ reason: 'host-already-running' });
    await Promise.all(hosts.map(async ({ child }) => {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }));
    const { path } = await listen();
    expect(await answers(path)).toBe(true);
  });

  it('replaces the socket of a host that was killed', async () => {
    await leaveStaleSocket(localSocketPath(home));
    const { path } = await listen();
    expect(await answers(path)).toBe(true);
  });

  it('leaves a socket alone that a live process answers on, whoever it is', async () => {
    const other = createServer();
    other.listen(localSocketPath(home));
    await once(other, 'listening');
    try {
      await expect(listen()).rejects.toMatchObject({ reason: 'host-already-running' });
    } finally {
      other.close();
    }
  });

  it('lies elsewhere, in a private directory that the home names, where the home is too deep for a socket', async () => {
    const deep = join(home, 'a'.repeat(100));
    await mkdir(deep);
    const { path, close } = await listen(deep);
    try {
      expect(Buffer.byteLength(path)).toBeLessThan(104);
      expect(readFileSync(socketPathFile(deep), 'utf8')).toBe(`${path}\n`);
      expect(localSocketPath(deep)).toBe(path);
      expect(modeOf(dirname(path))).toBe(0o700);
      expect(await answers(path)).toBe(true);
    } finally {
      await close();
      await rm(dirname(path), { recursive: true, force: true });
    }
  });

  it('ends its connections when it closes, twice as well as once', async () => {
    const { path, close } = await listen(home, () => undefined);
    const socket = createConnection(path);
    await once(socket, 'connect');
    const ended = once(socket, 'close');
    await Promise.all([close(), close()]);
    await ended;
  });

  it('is refused where the home is a file', async () => {
    const file = join(home, 'file');
    await writeFile(file, '');
    await expect(listen(file)).rejects.toMatchObject({ reason: 'state-invalid' });
  });
});

/** What a killed host leaves behind: a socket that nobody listens on. */
async function leaveStaleSocket(path: string): Promise<void> {
  const child = spawn(process.execPath, ['-e', 'require("net").createServer().listen(process.argv[1], () => process.kill(process.pid, "SIGKILL"))', path], { stdio: 'ignore' });
  await once(child, 'exit');
  expect(existsSync(path)).toBe(true);
}
