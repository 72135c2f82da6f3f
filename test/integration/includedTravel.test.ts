import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { HandoffPreflight, IncludedList } from '../../src/host/protocol';
import { untouchedState, workingState } from '../fixtures/checkout';
import { explainFailures, refusal, said, saying, startPair, type PairedHosts, type Site } from './pairedHosts';
import { attemptHandoff, honestAttempt, sha256, StrangePeer } from './strangePeer';

let pair: PairedHosts;
let laptop: Site;
let server: Site;

beforeAll(async () => {
  pair = await startPair();
  ({ laptop, server } = pair);
});
beforeEach(async () => {
  explainFailures(pair);
  await writeFile(join(laptop.checkout, '.worktreeinclude'), '.env\nbuild/\n');
  await writeFile(join(laptop.checkout, '.env'), 'KEY=of the laptop\n');
  await chmod(join(laptop.checkout, '.env'), 0o600);
  await mkdir(join(laptop.checkout, 'build'), { recursive: true });
  await writeFile(join(laptop.checkout, 'build', 'tool'), Buffer.alloc(300_000, 't'), { mode: 0o755 });
});
afterAll(() => pair.close());

const shownFor = async (subject: { threadId: string; from?: string }, from: Site, to: Site): Promise<IncludedList> => {
  const { included } = await from.client.call('handoff/preflight', { ...subject, to: to.hostId, included: true });
  if (included == null) throw new Error('There is a list.');
  return included;
};

describe('ignored files cross to another host', () => {
  it('only at the user\'s word, which names the list that was shown; they are ignored files there too, and part of the receipt', async () => {
    const threadId = await laptop.begin(said.hello);
    const sent = await workingState(laptop.checkout);
    const checkout = untouchedState(server.checkout);
    const plain = await laptop.client.call('handoff/preflight', { threadId, to: server.hostId });
    expect(plain).not.toHaveProperty('included');
    const list = await shownFor({ threadId }, laptop, server);
    expect(list).toMatchObject({ files: 2, bytes: 18 + 300_000, names: ['".env"', '"build/tool"'], secrets: { count: 1, names: ['".env"'] }, left: null, refused: null });

    await writeFile(join(laptop.checkout, 'build/later'), 'SECRET=of later\n');
    const result = await laptop.handOff({ threadId, to: server.hostId, included: list.digest });
    expect(await workingState(result.worktree)).toEqual(sent);
    expect(untouchedState(server.checkout)).toEqual(checkout);
    expect(await readFile(join(result.worktree, '.env'), 'utf8')).toBe('KEY=of the laptop\n');
    expect(statSync(join(result.worktree, '.env')).mode & 0o777).toBe(0o600);
    expect(readFileSync(join(result.worktree, 'build/tool')).equals(readFileSync(join(laptop.checkout, 'build/tool')))).toBe(true);
    expect(statSync(join(result.worktree, 'build/tool')).mode & 0o777).toBe(0o755);
    expect(existsSync(join(result.worktree, 'build/later'))).toBe(false);
    expect(result.notes).toContain('Not sent, because the list that you saw did not have it yet: "build/later".');
    expect(result.notes).toContain('2 ignored files (300018 bytes) came from laptop, as you wished.');
    const journal = readFileSync(join(laptop.machine.batonHome, 'ledger', `${threadId}.jsonl`), 'utf8');
    expect(journal).toMatch(/"type":"receipt".*"included":"[0-9a-f]{64}"/);
    await rm(join(laptop.checkout, 'build/later'));

    // On the way home, asked for from there: what differs there stays as it is, and is named.
    await writeFile(join(result.worktree, '.env'), 'KEY=changed on the server\n');
    await writeFile(join(result.worktree, 'build/new'), 'made on the server\n');
    const home = await shownFor({ threadId, from: server.hostId }, laptop, laptop);
    expect(home).toMatchObject({ files: 3, names: ['".env"', '"build/new"', '"build/tool"'] });
    const back = await laptop.handOff({ threadId, to: laptop.hostId, from: server.hostId, included: home.digest });
    expect(await readFile(join(back.worktree, 'build/new'), 'utf8')).toBe('made on the server\n');
    await writeFile(join(back.worktree, '.env'), 'KEY=changed at home\n');

    const again = await shownFor({ threadId }, laptop, server);
    const third = await laptop.handOff({ threadId, to: server.hostId, included: again.digest });
    expect(third.worktree).toBe(result.worktree);
    expect(await readFile(join(third.worktree, '.env'), 'utf8')).toBe('KEY=changed on the server\n');
    expect(third.notes).toContain('1 of the ignored files from laptop was not placed: ".env" (there already).');
  });

  it('and never without', async () => {
    const threadId = await laptop.begin(said.hello);
    await shownFor({ threadId }, laptop, server);
    const { worktree, notes } = await laptop.handOff({ threadId, to: server.hostId });
    expect([existsSync(join(worktree, '.env')), existsSync(join(worktree, 'build'))]).toEqual([false, false]);
    expect(notes.join()).not.toMatch(/ignored/);
  });

  it('not for a list that nobody was shown', async () => {
    const threadId = await laptop.begin(said.hello);
    expect(await refusal(laptop.handOff({ threadId, to: server.hostId, included: '0'.repeat(64) }))).toMatchObject({ reason: 'preflight-blocked', message: saying(/agreed to is not known here any more.*Look at the list again/) });
    expect((await laptop.thread(threadId)).baton).toMatchObject({ owner: laptop.hostId, moving: false });
  });

  it('not where the list cannot be read, which is said and stops nothing else', async () => {
    const threadId = await laptop.begin(said.hello);
    await writeFile(join(laptop.checkout, '.worktreeinclude'), '*\n'.repeat(600_000));
    expect(await shownFor({ threadId }, laptop, server)).toMatchObject({ files: 0, refused: saying(/longer than 1048576 bytes/) });
    await writeFile(join(laptop.checkout, '.worktreeinclude'), '.env\n');
  });
});

it('a handoff that fails after they were placed takes them back out of a worktree that was there before', async () => {
  const threadId = await laptop.begin(said.hello);
  const { worktree } = await laptop.handOff({ threadId, to: server.hostId });
  await laptop.handOff({ threadId, to: laptop.hostId, from: server.hostId });
  await laptop.say(threadId, said.hello);
  await writeFile(join(worktree, '.env'), 'KEY=of the server\n');
  const before = await server.traces();
  // What the server kept of the conversation is no longer a beginning of what comes, so staging it fails, after the files were placed.
  const kept = (before['rollouts'] as string[]).find((name) => name.includes(threadId)) ?? '';
  const file = ['archived_sessions', 'sessions'].map((folder) => join(server.machine.codexHome, folder, kept)).find((path) => existsSync(path)) ?? '';
  const original = await readFile(file, 'utf8');
  await writeFile(file, original.replace(/ephemeris/, 'ephemerit'));
  const source = (await laptop.thread(threadId)).cwd;
  await mkdir(join(source, 'build/deep'), { recursive: true });
  await writeFile(join(source, 'build/deep/x'), 'x\n');
  await writeFile(join(source, '.env'), 'KEY=another\n');

  const list = await shownFor({ threadId }, laptop, server);
  expect(list.names).toContain('"build/deep/x"');
  await refusal(laptop.handOff({ threadId, to: server.hostId, included: list.digest }));
  expect(await server.traces()).toEqual(before);
  expect([readdirSync(worktree).includes('build'), await readFile(join(worktree, '.env'), 'utf8')]).toEqual([false, 'KEY=of the server\n']);

  await writeFile(file, original);
  await laptop.handOff({ threadId, to: server.hostId, included: list.digest });
  expect(await readFile(join(worktree, 'build/deep/x'), 'utf8')).toBe('x\n');
});

describe('a peer that is old, or hostile', () => {
  it('an older destination is refused in preflight, in words; without them the thread can go', async () => {
    const threadId = await laptop.begin(said.hello);
    const old = await StrangePeer.join((await laptop.client.call('host/invite', {})).invite, 'old');
    try {
      await old.answer({
        'host/hello': () => Promise.resolve({ protocolVersion: 1, name: 'old', batonVersion: '0', codexVersion: null }),
        'handoff/offer': () => Promise.resolve({ findings: [], worktree: null, parts: [] }),
        'handoff/negotiate': () => Promise.resolve({ commits: [] }),
      }, (channel) => channel.destroy());
      const preflight = (params: { included?: boolean }): Promise<HandoffPreflight> => laptop.client.call('handoff/preflight', { threadId, to: old.hostId, ...params });
      const { included, findings } = await preflight({ included: true });
      expect(included?.refused).toBe('The Baton of old is too old to take ignored files. Update it there, or hand off without them.');
      expect(findings.filter(({ level }) => level === 'blocker')).toEqual([]);
      expect(await refusal(laptop.handOff({ threadId, to: old.hostId, included: included?.digest }))).toMatchObject({ reason: 'preflight-blocked', message: included?.refused });
      // A word for one destination is none for another.
      expect(await refusal(laptop.handOff({ threadId, to: server.hostId, included: included?.digest }))).toMatchObject({ reason: 'preflight-blocked', message: saying(/not known here/) });
    } finally {
      old.dispose();
    }
  });

  it('what a hostile source sends as ignored files is refused whole, and nothing of its handoff stays', async () => {
    const threadId = await laptop.begin(said.hello);
    const { path: rolloutPath } = (await laptop.thread(threadId)) as unknown as { path: string };
    const mallory = await StrangePeer.join((await server.client.call('host/invite', {})).invite, 'mallory');
    try {
      const link = await mallory.connect();
      const before = await server.traces();
      for (const [path, reason] of [['../../../../escaped', 'hostile-content'], ['.git/hooks/x', 'hostile-content'], ['.env', 'corrupt-bundle']] as const) {
        const attempt = await honestAttempt({ threadId, checkout: laptop.checkout, rolloutPath, spool: join(pair.directory, `spool-${path.length}`) });
        const header = Buffer.from(JSON.stringify({ path, mode: 0o644, mtimeMs: 0, bytes: 1, directories: [...path.matchAll(/\//g)].map(() => 0o755) }));
        const length = Buffer.alloc(4);
        length.writeUInt32BE(header.length);
        const archive = Buffer.concat([length, header, Buffer.from('x')]);
        attempt.manifest.included = { bytes: archive.length, files: 1, contentBytes: 1, sha256: sha256(Buffer.from('another')) };
        attempt.bytes = Buffer.concat([attempt.bytes, archive]);
        expect((await refusal(attemptHandoff(mallory, link, attempt))).reason).toBe(reason);
        expect(await server.traces()).toEqual(before);
      }
    } finally {
      mallory.dispose();
    }
  });
});
