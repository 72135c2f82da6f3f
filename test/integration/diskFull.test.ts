import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, expect, it, type TestContext } from 'vitest';
import { untouchedState } from '../fixtures/checkout';
import { explainFailures, refusal, said, startPair, type PairedHosts, type Site } from './pairedHosts';

const run = promisify(execFile);
/** Room for what preflight asks for, and little more. */
const SIZE = '128m';

let pair: PairedHosts | null = null;
/** Why no small file system could be made here; null where there is one. */
let missing: string | null = null;
const mounted: string[] = [];

beforeAll(async () => {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) {
    missing = 'a small file system can only be mounted by root on Linux';
    return;
  }
  pair = await startPair({
    prepare: async ({ name, batonHome, codexHome }) => {
      if (name !== 'server') return;
      try {
        for (const place of [batonHome, join(codexHome, 'sessions')]) {
          await mkdir(place, { recursive: true, mode: 0o700 });
          await run('mount', ['-t', 'tmpfs', '-o', `size=${SIZE},mode=0700`, 'tmpfs', place]);
          mounted.push(place);
        }
      } catch (error) {
        missing = `mount was refused here: ${(error as Error).message}`;
      }
    },
  });
});
beforeEach(() => {
  if (pair !== null) explainFailures(pair);
});
afterAll(async () => {
  await pair?.server.stop();
  for (const place of mounted) await run('umount', [place]);
  await pair?.close();
});

function sites(context: TestContext): { laptop: Site; server: Site } {
  if (pair === null || missing !== null) return context.skip(missing ?? 'no hosts');
  return pair;
}

/** Writes to the server's file system until it takes no more. */
async function fill(path: string): Promise<void> {
  const endless = Readable.from((function* () {
    for (;;) yield Buffer.alloc(64 * 1024);
  })());
  await expect(pipeline(endless, createWriteStream(path))).rejects.toMatchObject({ code: 'ENOSPC' });
}

it('a destination whose disk is too small says so before anything moves', async (context) => {
  const { laptop, server } = sites(context);
  const threadId = await laptop.begin(said.hello);
  const before = await server.traces();
  const large = join(laptop.checkout, 'large.bin');
  await writeFile(large, randomBytes(60_000_000));
  const { code, reason, message } = await laptop.machine.failure('handoff', threadId, '--to', 'server');
  await rm(large);
  expect({ code, reason }).toEqual({ code: 3, reason: 'preflight-blocked' });
  expect(message).toMatch(/server has .* free on the disk of \S+baton\S* and .* and needs .* there for what arrives and the worktree, .* more; free some space there/);
  expect(await server.traces()).toEqual(before);
  expect(await laptop.say(threadId, said.hello)).toBe('completed');
});

it('a destination says which of its disks is short: that of the Codex home, where the conversation goes', async (context) => {
  const { laptop, server } = sites(context);
  const threadId = await laptop.begin(said.hello);
  const sessions = join(server.machine.codexHome, 'sessions');
  const disk = async () => (await laptop.client.call('handoff/preflight', { threadId, to: server.hostId })).findings.filter(({ code }) => code.startsWith('disk'));
  expect((await disk()).map(({ code }) => code)).toEqual(['disk']);
  await fill(join(sessions, 'filler'));
  const [short, ...more] = await disk();
  expect(more).toEqual([]);
  expect(short).toMatchObject({ level: 'blocker', code: 'disk-full' });
  expect(short?.message).toContain(`server has 0.0 kB free on the disk of ${sessions} and needs `);
  expect(short?.message).toMatch(/ there for the conversation, .* more; free some space there\.$/);
  await rm(join(sessions, 'filler'));
  expect(await laptop.handOff({ threadId, to: server.hostId })).toMatchObject({ threadId });
});

it('a destination whose disk fills up meanwhile survives it, and the thread stays usable at the source', async (context) => {
  const { laptop, server } = sites(context);
  const threadId = await laptop.begin(said.hello);
  const before = await server.traces();
  const filler = join(server.machine.batonHome, 'filler');
  const large = join(laptop.checkout, 'large.bin');
  await writeFile(large, randomBytes(8_000_000));
  const checkout = untouchedState(laptop.checkout);

  const sending = laptop.heard('handoff/progress', ({ phase, bytesDone }) => phase === 'transfer' && bytesDone !== null);
  const { handoffId } = await laptop.client.call('handoff/start', { threadId, to: server.hostId });
  const outcome = refusal(laptop.client.call('handoff/wait', { handoffId }));
  await sending;
  await fill(filler);
  expect((await outcome).reason).toBe('disk-full');

  expect(untouchedState(laptop.checkout)).toEqual(checkout);
  expect((await laptop.thread(threadId)).baton).toMatchObject({ owner: laptop.hostId, movedTo: null, moving: false });
  expect(await laptop.say(threadId, said.hello)).toBe('completed');
  // The host there still answers; once there is room again it clears away what it could not write down while there was none.
  expect((await server.client.call('host/read', {})).name).toBe('server');
  await rm(filler);
  await server.stop();
  await server.start();
  await server.until(async () => ((await server.traces())['handoffs'] as string[]).length === 0);
  expect(await server.traces()).toEqual(before);
  expect(await laptop.handOff({ threadId, to: server.hostId })).toMatchObject({ threadId, epoch: 1 });
  expect(await server.say(threadId, said.hello)).toBe('completed');
});
