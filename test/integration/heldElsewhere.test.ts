import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { RpcConnection } from '../../src/codex/rpc';
import { lockers } from '../../src/codex/threadHolder';
import { connectUnix } from '../../src/codex/transport';
import type { Thread } from '../../src/host/protocol';
import { appears } from '../fixtures/appears';
import { codex, explainFailures, refusal, riskyCommand, said, saying, startPair, type PairedHosts, type Site } from './pairedHosts';

let pair: PairedHosts;
let laptop: Site;
let server: Site;
const started: ChildProcess[] = [];

beforeAll(async () => {
  // A model that Codex does not know may spawn agents, but not patch files: that one is named where it is needed.
  const config = { model: 'scripted-model' };
  pair = await startPair({
    laptop: config,
    server: config,
    script: [
      { user: /Risky errand/, answers: [[{ command: 'echo "published by a sub-agent" >> errand.txt', escalate: 'It writes where the sandbox does not let me.' }], [{ message: 'Done.' }]] },
      { user: /Delegate the risk/, answers: [[{ call: 'spawn_agent', namespace: 'multi_agent_v1', args: { message: 'Risky errand.' } }], [{ command: riskyCommand, escalate: 'It writes where the sandbox does not let me.' }], [{ message: 'Published.' }]] },
      { user: /Mend the file/, answers: [[{ patch: '*** Begin Patch\n*** Add File: mended.txt\n+mended by the agent\n*** End Patch' }], [{ message: 'Mended.' }]] },
    ],
  });
  ({ laptop, server } = pair);
});
beforeEach(() => explainFailures(pair));
afterAll(async () => {
  for (const child of started) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    // Codex's launcher passes this on to the program itself; a SIGKILL would end the launcher alone.
    child.kill('SIGTERM');
    await once(child, 'exit');
  }
  await pair.close();
});

/** Codex with these arguments in the laptop's home, as its user would run it. */
function runCodex(...args: string[]): ChildProcess {
  const child = spawn(codex, args, { cwd: laptop.checkout, env: { ...process.env, CODEX_HOME: laptop.machine.codexHome, FAKE_KEY: 'x' }, stdio: ['ignore', 'pipe', 'pipe'] });
  started.push(child);
  return child;
}

/** The app-server that the laptop user's terminals and editors share. */
let shared: Promise<string> | undefined;
async function startShared(): Promise<string> {
  const socket = join(laptop.machine.codexHome, 'app-server-control', 'app-server-control.sock');
  await mkdir(dirname(socket), { recursive: true, mode: 0o700 });
  runCodex('app-server', '--listen', 'unix://');
  await appears(socket);
  return socket;
}

/** What one of them sees of it. */
async function openTerminal(): Promise<RpcConnection> {
  const socket = await (shared ??= startShared());
  const rpc = new RpcConnection(await connectUnix(socket), { notification: () => undefined, request: (id, _method, params) => asked(id, params as { threadId: string }), closed: () => undefined });
  await rpc.request('initialize', { clientInfo: { name: 'a-terminal', title: null, version: '0' }, capabilities: { experimentalApi: true } });
  rpc.notify('initialized');
  return rpc;
}
let asked: (id: unknown, params: { threadId: string }) => void = () => undefined;

it('a thread that another program has open, and that cannot be asked for, is refused in preflight with who has it', async () => {
  const running = runCodex('exec', '--skip-git-repo-check', said.slowly);
  const locks = join(laptop.machine.codexHome, 'thread-writer-locks');
  await appears(locks);
  let threadId: string | undefined;
  while (threadId === undefined) threadId = (await readdir(locks)).find((name) => /^[0-9a-f-]{36}\.lock$/.test(name))?.replace('.lock', '');
  const known = () => refusalOrNull(laptop.client.codex('thread/read', { threadId }));
  while ((await known()) !== null);

  const { findings } = await laptop.client.call('handoff/preflight', { threadId, to: server.hostId });
  const blocker = findings.find(({ level }) => level === 'blocker');
  expect(blocker?.code).toBe('thread-in-use');
  expect(blocker?.message).toMatch(process.platform === 'linux' ? /^codex \(process \d+\) has the thread/ : /does not tell the name/);
  expect((await refusal(laptop.handOff({ threadId, to: server.hostId }))).reason).toBe('preflight-blocked');
  expect(await refusal(laptop.client.codex('turn/start', { threadId, input: [{ type: 'text', text: said.hello, text_elements: [] }] }))).toMatchObject({ message: saying(/has the thread .* open on this machine\. Close it there/) });

  running.kill('SIGTERM');
  await once(running, 'exit');
  expect(await laptop.handOff({ threadId, to: server.hostId })).toMatchObject({ threadId, epoch: 1 });
});

it('one that the shared app-server has, behind a terminal, is stopped there and goes along with what it waits for', async () => {
  const terminal = await openTerminal();
  const waits = new Promise((resolve) => (asked = resolve));
  const { thread } = (await terminal.request('thread/start', { cwd: laptop.checkout, approvalPolicy: 'on-request', sandbox: 'workspace-write' })) as { thread: Thread };
  await terminal.request('turn/start', { threadId: thread.id, input: [{ type: 'text', text: said.risky, text_elements: [] }] });
  await waits;

  const { findings } = await laptop.client.call('handoff/preflight', { threadId: thread.id, to: server.hostId });
  expect(findings.filter(({ level }) => level === 'blocker')).toEqual([]);
  expect(findings).toContainEqual({ level: 'warning', code: 'held-elsewhere', message: saying(/has the thread open.*stops the thread there/) });

  await laptop.handOff({ threadId: thread.id, to: server.hostId });
  const [pending, ...more] = await server.approvals(thread.id);
  expect(more).toEqual([]);
  expect(pending).toMatchObject({ kind: 'command', carriedOver: true });
  expect(pending?.command).toContain(riskyCommand);
  expect(await laptop.approvals(thread.id)).toEqual([]);
  const rest = server.rest(thread.id);
  await server.client.call('approval/decide', { id: pending?.id ?? '', digest: pending?.digest ?? '', decision: 'accept' });
  expect(await rest).toBe('completed');
  // The terminal sees where it went, and runs nothing on it any more.
  await expect(terminal.request('turn/start', { threadId: thread.id, input: [{ type: 'text', text: said.hello, text_elements: [] }] })).rejects.toThrow();
  terminal.close();
});

it('what a thread and its sub-agent ask for on the shared app-server goes along, of both', async () => {
  const terminal = await openTerminal();
  const askers = new Set<string>();
  const both = new Promise<void>((resolve) => {
    asked = (_, { threadId }) => {
      if (askers.add(threadId).size === 2) resolve();
    };
  });
  const { thread } = (await terminal.request('thread/start', { cwd: laptop.checkout, approvalPolicy: 'on-request', sandbox: 'workspace-write' })) as { thread: Thread };
  await terminal.request('turn/start', { threadId: thread.id, input: [{ type: 'text', text: 'Delegate the risk.', text_elements: [] }] });
  await both;
  await laptop.handOff({ threadId: thread.id, to: server.hostId });
  for (const id of askers) expect(await server.approvals(id)).toMatchObject([{ kind: 'command', carriedOver: true }]);
  terminal.close();
});

it('changes that one asks for on the shared app-server go along with their diff', async () => {
  const terminal = await openTerminal();
  const waits = new Promise<void>((resolve) => (asked = () => resolve()));
  const { thread } = (await terminal.request('thread/start', { cwd: laptop.checkout, model: 'gpt-5.5', approvalPolicy: 'on-request', sandbox: 'read-only' })) as { thread: Thread };
  await terminal.request('turn/start', { threadId: thread.id, input: [{ type: 'text', text: 'Mend the file.', text_elements: [] }] });
  await waits;
  await laptop.handOff({ threadId: thread.id, to: server.hostId });
  expect(await server.approvals(thread.id)).toMatchObject([{ kind: 'fileChange', carriedOver: true, changes: [{ path: 'mended.txt', kind: 'add', diff: 'mended by the agent\n' }] }]);
  terminal.close();
});

it('one that the shared app-server has stays usable, with its question, when the handoff is cancelled', async () => {
  const terminal = await openTerminal();
  const waits = new Promise((resolve) => (asked = resolve));
  const { thread } = (await terminal.request('thread/start', { cwd: laptop.checkout, approvalPolicy: 'on-request', sandbox: 'workspace-write' })) as { thread: Thread };
  await terminal.request('turn/start', { threadId: thread.id, input: [{ type: 'text', text: said.risky, text_elements: [] }] });
  await waits;
  const captured = laptop.phase('capture', thread.id);
  const { handoffId } = await laptop.client.call('handoff/start', { threadId: thread.id, to: server.hostId });
  const ended = refusal(laptop.client.call('handoff/wait', { handoffId }));
  await captured;
  await laptop.client.call('handoff/cancel', { handoffId });
  expect((await ended).reason).toBe('cancelled');
  expect(await laptop.approvals(thread.id)).toMatchObject([{ kind: 'command', carriedOver: true }]);
  expect(await laptop.say(thread.id, said.hello)).toBe('completed');
  terminal.close();
});

it('locks are read as the system writes them', () => {
  const text = '1: FLOCK  ADVISORY  WRITE 16494 fe:00:2146526 0 EOF\n2: POSIX  ADVISORY  READ 10041 fe:00:2163256 128 128\n3: -> FLOCK  ADVISORY  WRITE 7 fe:00:2146526 0 EOF\n';
  expect(lockers(text, 2146526)).toEqual([16494]);
  expect(lockers(text, 2163256)).toEqual([10041]);
  expect(lockers(text, 1)).toEqual([]);
});

const refusalOrNull = (attempt: Promise<unknown>) => attempt.then(() => null, (error: unknown) => error);
