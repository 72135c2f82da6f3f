/** A transfer that breaks near its end goes on there. What counts is how much was sent, not how long it took. */
import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, it, vi } from 'vitest';
import { startCountingProxy, type CountingProxy } from '../bench/countingProxy';
import { growRollout } from '../bench/growRollout';
import { untouchedState, workingState } from '../fixtures/checkout';
import { explainFailures, refusal, said, startPair, type PairedHosts, type Site } from './pairedHosts';

const SIZE = 48_000_000;
/** Where it breaks. */
const NEARLY = 0.9 * SIZE;
/** Most that is on its way when a connection breaks: in the sockets of four processes, and in the relay. */
const UNDER_WAY = 24_000_000;
/** All that is not the large file. */
const REST = 1_000_000;

// Half a gigabyte passes through both hosts, the relay and git.
vi.setConfig({ testTimeout: 180_000 });

let pair: PairedHosts;
let laptop: Site;
let server: Site;
let wire: CountingProxy;

beforeAll(async () => {
  pair = await startPair({
    wayTo: async (relayUrl) => {
      wire = await startCountingProxy({ host: '127.0.0.1', port: Number(new URL(relayUrl).port) });
      return `ws://127.0.0.1:${wire.port}`;
    },
  });
  ({ laptop, server } = pair);
});
beforeEach(async () => {
  explainFailures(pair);
  // Another one each time: the server keeps what arrived in its repository.
  await writeFile(join(laptop.checkout, 'large.bin'), randomBytes(SIZE));
});
afterAll(async () => {
  await pair.close();
  await wire.close();
});

/** Begins a handoff to the server and halts the wire when most of it has passed. */
async function nearlySent(): Promise<{ threadId: string; handoffId: string }> {
  const threadId = await laptop.begin(said.hello);
  const halted = wire.haltAfter(NEARLY);
  const { handoffId } = await laptop.client.call('handoff/start', { threadId, to: server.hostId });
  await halted;
  return { threadId, handoffId };
}

/** Kills the laptop's host, and starts it again once the wire passes; waits until its thread is its own, and both are at the relay. */
async function killSource(threadId: string): Promise<void> {
  await laptop.stop('SIGKILL');
  wire.mend();
  await laptop.start();
  await laptop.until(async () => (await laptop.thread(threadId)).baton?.moving === false);
  await Promise.all([laptop, server].map((site) => site.until(async () => (await site.client.call('host/read', {})).relay.status === 'connected')));
  await server.until(async () => ((await server.traces())['handoffs'] as string[]).length === 0);
}

/** How much of the large file the server has noted as safe. */
async function safeAtServer(directory: string): Promise<number> {
  const place = join(server.machine.batonHome, directory);
  const notes = (await readdir(place, { recursive: true })).filter((name) => name.endsWith('.safe'));
  expect(notes).toHaveLength(1);
  const safe = Number(await readFile(join(place, notes[0] ?? ''), 'utf8'));
  expect(safe).toBeGreaterThan(0);
  return safe;
}

/** What a handoff that broke off has left for another one. */
const kept = () => ({ arrived: existsSync(join(server.machine.batonHome, 'arrived')), sealed: existsSync(join(laptop.machine.batonHome, 'sealed')) });
const nothing = { arrived: false, sealed: false };

/** The thread runs at the server, with the very file. */
async function expectMoved(threadId: string, worktree: string, sent: Record<string, unknown>): Promise<void> {
  const hash = async (directory: string) => createHash('sha256').update(await readFile(join(directory, 'large.bin'))).digest('hex');
  expect(await workingState(worktree)).toEqual(sent);
  expect(await hash(worktree)).toBe(await hash(laptop.checkout));
  expect(await server.say(threadId, said.hello)).toBe('completed');
  expect(kept()).toEqual(nothing);
  for (const site of [laptop, server]) expect((await site.traces())['handoffs']).toEqual([]);
}

it('a connection that breaks comes back, only the rest is sent, and who worked on meanwhile hears that it stayed', async () => {
  const sent = await workingState(laptop.checkout);
  const { threadId, handoffId } = await nearlySent();
  const lost = laptop.heard('handoff/progress', ({ message }) => message === 'Connection lost; waiting for server');
  await writeFile(join(laptop.checkout, 'later.txt'), 'later\n');
  wire.mend();
  expect(await lost).toMatchObject({ threadId, phase: 'transfer' });
  const { bytesSent, worktree, notes } = await laptop.client.call('handoff/wait', { handoffId });
  expect(bytesSent).toBeLessThan(SIZE + UNDER_WAY);
  expect(notes).toContainEqual(`Something changed in ${laptop.checkout} after it had been captured: "later.txt". That stayed there; server has what was there before.`);
  await rm(join(laptop.checkout, 'later.txt'));
  await expectMoved(threadId, worktree, sent);
});

it('a conversation of 60 MB goes on where it broke', async () => {
  await rm(join(laptop.checkout, 'large.bin'));
  const threadId = await laptop.begin(said.hello);
  const conversation = 60_000_000;
  await growRollout(laptop.machine, threadId, conversation, 1);
  // Noise as text, of which a quarter is compressed away.
  const onWire = conversation * 3 / 4;
  const halted = wire.haltAfter(0.9 * onWire);
  const { handoffId } = await laptop.client.call('handoff/start', { threadId, to: server.hostId });
  await halted;
  wire.mend();
  const { bytesSent, rolloutBytesSent } = await laptop.client.call('handoff/wait', { handoffId });
  expect(rolloutBytesSent).toBeGreaterThan(conversation);
  expect(bytesSent).toBeLessThan(onWire + UNDER_WAY);
  expect(await server.say(threadId, said.hello)).toBe('completed');
  for (const site of [laptop, server]) expect((await site.traces())['handoffs']).toEqual([]);
});

it('a destination that was killed goes on with what it had noted', async () => {
  const sent = await workingState(laptop.checkout);
  const { threadId, handoffId } = await nearlySent();
  await server.stop('SIGKILL');
  const safe = await safeAtServer('handoffs');
  const before = wire.bytes().fromClients;
  wire.mend();
  await server.start();
  const { worktree } = await laptop.client.call('handoff/wait', { handoffId });
  expect(wire.bytes().fromClients - before).toBeLessThan(SIZE - safe + REST);
  await expectMoved(threadId, worktree, sent);
});

it('a source that was killed has its thread back, and the next handoff sends the rest', async () => {
  const checkout = untouchedState(laptop.checkout);
  const sent = await workingState(laptop.checkout);
  const { threadId } = await nearlySent();
  await killSource(threadId);
  expect(await laptop.say(threadId, said.hello)).toBe('completed');
  expect(untouchedState(laptop.checkout)).toEqual(checkout);
  const safe = await safeAtServer('arrived');
  const { bytesSent, worktree } = await laptop.handOff({ threadId, to: server.hostId });
  expect(bytesSent).toBeLessThan(SIZE - safe + REST);
  await expectMoved(threadId, worktree, sent);
});

it('a source that changed meanwhile sends what it is now, and nothing is mixed', async () => {
  const { threadId } = await nearlySent();
  await killSource(threadId);
  await writeFile(join(laptop.checkout, 'later.txt'), 'later\n');
  const sent = await workingState(laptop.checkout);
  const { bytesSent, worktree } = await laptop.handOff({ threadId, to: server.hostId });
  expect(bytesSent).toBeGreaterThan(SIZE);
  await rm(join(laptop.checkout, 'later.txt'));
  await expectMoved(threadId, worktree, sent);
});

it('a handoff whose connection hangs can be cancelled at once', async () => {
  const before = await server.traces();
  const { threadId, handoffId } = await nearlySent();
  const outcome = refusal(laptop.client.call('handoff/wait', { handoffId }));
  // The destination cannot be told, and the thread is here nevertheless.
  expect(await laptop.client.call('handoff/cancel', { handoffId })).toEqual({ cancelled: true });
  expect((await outcome).reason).toBe('cancelled');
  expect((await laptop.thread(threadId)).baton).toMatchObject({ owner: laptop.hostId, moving: false });
  wire.mend();
  await server.until(async () => ((await server.traces())['handoffs'] as string[]).length === 0);
  expect(await server.traces()).toEqual(before);
  expect(kept().sealed).toBe(false);
});
