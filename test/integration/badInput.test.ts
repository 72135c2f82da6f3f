import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createInvite } from '../../src/relay/invite';
import { git } from '../fixtures/checkout';
import { endProcess, startRelayProcess } from '../fixtures/machine';
import { scriptedProvider, writeCodexConfig } from '../fixtures/scriptedModel';
import { explainFailures, refusal, said, saying, startPair, type PairedHosts, type Site } from './pairedHosts';

let pair: PairedHosts;
let laptop: Site;
let server: Site;
let threadId: string;

beforeAll(async () => {
  pair = await startPair();
  ({ laptop, server } = pair);
  threadId = await laptop.begin(said.hello);
});
beforeEach(() => explainFailures(pair));
afterAll(() => pair.close());

/** Whatever was refused: the thread is where it was and goes on, and the other host is as it was. */
async function expectNothingHappened(before: Record<string, unknown>, thread = threadId): Promise<void> {
  expect(await server.traces()).toEqual(before);
  expect((await laptop.traces())['handoffs']).toEqual([]);
  expect((await laptop.thread(thread)).baton).toMatchObject({ owner: laptop.hostId, movedTo: null, moving: false });
  expect(await laptop.say(thread, said.hello)).toBe('completed');
}

/** Runs `baton handoff`, which is to fail as said, and looks at what it left. */
async function expectRefused(args: string[], expected: { code: number; reason: string; says: readonly (string | RegExp)[] }, thread = threadId): Promise<void> {
  const before = await server.traces();
  const { code, reason, message } = await laptop.machine.failure('handoff', ...args);
  expect({ code, reason }).toEqual({ code: expected.code, reason: expected.reason });
  for (const words of expected.says) expect(message).toMatch(words);
  await expectNothingHappened(before, thread);
}

describe('a handoff is refused, with the thread usable and nothing left behind, where', () => {
  it('there is no such thread', () => expectRefused(['0199abcd', '--to', 'server'], { code: 1, reason: 'no-such-thread', says: ['0199abcd', 'baton threads'] }));

  it('there is no such host', () => expectRefused([threadId, '--to', 'mars'], { code: 1, reason: 'no-such-host', says: ['mars', 'baton hosts'] }));

  it('the name means several threads, which are listed', async () => {
    const twins = [await laptop.begin(said.hello), await laptop.begin(said.hello)];
    for (const twin of twins) await laptop.client.codex('thread/name/set', { threadId: twin, name: 'Twins' });
    await expectRefused(['Twins', '--to', 'server'], { code: 1, reason: 'ambiguous-thread', says: [...twins, 'whole id'] });
  });

  it('the destination has no project of the repository, and it is said how to save one', async () => {
    const { projects } = await server.client.call('project/list', {});
    await server.client.call('project/remove', { id: projects[0]?.id ?? '' });
    try {
      await expectRefused([threadId, '--to', 'server'], { code: 3, reason: 'preflight-blocked', says: ['server', 'baton project add'] });
      const { findings } = await laptop.client.call('handoff/preflight', { threadId, to: server.hostId });
      expect(findings).toContainEqual(expect.objectContaining({ level: 'blocker', code: 'no-matching-project' }));
    } finally {
      await server.client.call('project/add', { directory: server.checkout });
    }
  });

  it("the destination's project is another repository by now", async () => {
    const aside = `${server.checkout}-aside`;
    await rename(server.checkout, aside);
    await mkdir(server.checkout);
    await git(server.checkout, 'init', '-q');
    try {
      const { code, reason, message } = await laptop.machine.failure('handoff', threadId, '--to', 'server');
      expect({ code, reason }).toEqual({ code: 3, reason: 'preflight-blocked' });
      expect(message).toContain('baton project add');
    } finally {
      await rm(server.checkout, { recursive: true });
      await rename(aside, server.checkout);
    }
    expect(await laptop.say(threadId, said.hello)).toBe('completed');
  });

  it("the destination's checkout is in a format that its git does not know", async () => {
    const config = join(server.checkout, '.git', 'config');
    const asItWas = await readFile(config);
    await git(server.checkout, 'config', 'core.repositoryFormatVersion', '1');
    await git(server.checkout, 'config', 'extensions.madeUp', 'true');
    const { code, reason, message } = await laptop.machine.failure('handoff', threadId, '--to', 'server').finally(() => writeFile(config, asItWas));
    expect({ code, reason }).toEqual({ code: 3, reason: 'preflight-blocked' });
    expect(message).toMatch(/server cannot use its project .* uses extensions\.madeup, which git [\d.]+ does not know/);
    expect(await laptop.say(threadId, said.hello)).toBe('completed');
  });

  it('the thread works in a subdirectory that is not saved there', async () => {
    const inSrc = await laptop.begin(said.hello, { cwd: join(laptop.checkout, 'src') });
    await expectRefused([inSrc, '--to', 'server'], { code: 3, reason: 'preflight-blocked', says: ['src', 'baton project add'] }, inSrc);
    const { findings } = await laptop.client.call('handoff/preflight', { threadId: inSrc, to: server.hostId });
    expect(findings).toContainEqual(expect.objectContaining({ level: 'blocker', code: 'other-subdirectory' }));
  });

  it('the thread is not in a Git repository', async () => {
    const elsewhere = join(laptop.machine.directory, 'no repository');
    await mkdir(elsewhere, { recursive: true });
    const thread = await laptop.begin(said.hello, { cwd: elsewhere });
    await expectRefused([thread, '--to', 'server'], { code: 1, reason: 'not-a-repository', says: [elsewhere, 'git init'] }, thread);
  });

  it('the thread asks for it itself', async () => {
    const before = await server.traces();
    laptop.machine.env['CODEX_THREAD_ID'] = threadId;
    try {
      const { code, reason, message } = await laptop.machine.failure('handoff', threadId, '--to', 'server');
      expect({ code, reason }).toEqual({ code: 1, reason: 'own-thread' });
      expect(message).toMatch(/outside the thread/);
    } finally {
      delete laptop.machine.env['CODEX_THREAD_ID'];
    }
    await expectNothingHappened(before);
  });

  it('the model provider is unknown there', async () => {
    const config = { modelUrl: pair.model.url };
    await writeCodexConfig(server.machine.codexHome, config);
    const file = join(server.machine.codexHome, 'config.toml');
    await writeFile(file, 'model = "gpt-5.5"\napproval_policy = "on-request"\nsandbox_mode = "workspace-write"\n');
    try {
      await expectRefused([threadId, '--to', 'server'], { code: 3, reason: 'preflight-blocked', says: [scriptedProvider, 'config.toml'] });
    } finally {
      await writeCodexConfig(server.machine.codexHome, config);
    }
  });

  it('it is fetched and did not come from here', async () => {
    const theirs = await server.begin(said.hello);
    const { code, reason, message } = await laptop.machine.failure('handoff', theirs, '--to', 'here', '--from', 'server');
    expect({ code, reason }).toEqual({ code: 1, reason: 'not-permitted' });
    expect(message).toContain('Hand it off on server');
    expect(await server.say(theirs, said.hello)).toBe('completed');
  });

  it('the destination is this host', () => expectRefused([threadId, '--to', 'laptop'], { code: 2, reason: 'usage', says: ['--from'] }));

  it('another handoff of the thread runs: one wins', async () => {
    const thread = await laptop.begin(said.hello);
    const attempts = await Promise.allSettled([1, 2].map(() => laptop.handOff({ threadId: thread, to: server.hostId })));
    const [won, lost] = [attempts.filter(({ status }) => status === 'fulfilled'), attempts.filter(({ status }) => status === 'rejected')];
    expect(won).toHaveLength(1);
    expect(lost).toMatchObject([{ reason: { reason: 'thread-moving' } }]);
    expect(await server.say(thread, said.hello)).toBe('completed');
    expect((await refusal(laptop.handOff({ threadId: thread, to: server.hostId }))).reason).toBe('thread-moved');
  });
});

describe('an invite is refused that', () => {
  const join_ = async (invite: string) => {
    const before = (await server.client.call('host/list', {})).hosts.map(({ hostId }) => hostId);
    const failure = await server.machine.failure('join', invite);
    expect((await server.client.call('host/list', {})).hosts.map(({ hostId }) => hostId)).toEqual(before);
    return failure;
  };

  it('was tampered with', async () => {
    const { invite } = await laptop.client.call('host/invite', {});
    const at = invite.length - 40;
    const tampered = `${invite.slice(0, at)}${invite[at] === 'A' ? 'B' : 'A'}${invite.slice(at + 1)}`;
    expect(await join_(tampered)).toMatchObject({ code: 1, reason: 'invite-invalid', message: saying('ask for a new one') });
    // The whole one still works.
    expect((await server.client.call('host/join', { invite })).hostId).toBe(laptop.hostId);
  });

  it('was used', async () => {
    const { invite } = await laptop.client.call('host/invite', {});
    await server.client.call('host/join', { invite });
    expect(await join_(invite)).toMatchObject({ code: 1, reason: 'invite-used', message: saying('baton invite') });
  });

  it('has another secret than the one that was given out', async () => {
    const forged = createInvite({ relayUrl: pair.relay.url, hostId: laptop.hostId, name: 'laptop', lifetimeMs: 60_000 });
    expect(await join_(forged.invite)).toMatchObject({ code: 1, reason: 'invite-used' });
  });

  it('has expired', async () => {
    const old = createInvite({ relayUrl: pair.relay.url, hostId: laptop.hostId, name: 'laptop', lifetimeMs: 1, now: Date.now() - 60_000 });
    expect(await join_(old.invite)).toMatchObject({ code: 1, reason: 'invite-expired', message: saying('Ask for a new one') });
  });

  it('is its own', async () => {
    const { invite } = await server.client.call('host/invite', {});
    expect(await join_(invite)).toMatchObject({ code: 1, reason: 'invite-own', message: saying('other machine') });
  });

  it('is no invite', async () => expect(await join_('baton:hello')).toMatchObject({ code: 1, reason: 'invite-invalid' }));

  it('names a host that is gone', async () => {
    const gone = createInvite({ relayUrl: pair.relay.url, hostId: 'A'.repeat(42) + 'E', name: 'nobody', lifetimeMs: 60_000 });
    expect(await join_(gone.invite)).toMatchObject({ code: 1, reason: 'host-offline' });
  });
});

describe('what breaks on the way leaves the thread usable and nothing behind:', () => {
  it('the relay goes away in the middle of the transfer, and nobody waits for it', async () => {
    // Enough bytes that the relay is surely killed before the last of them.
    await writeFile(join(laptop.checkout, 'large.bin'), randomBytes(6_000_000));
    const before = await server.traces();
    const { port } = new URL(pair.relay.url);
    const sending = laptop.heard('handoff/progress', ({ phase, bytesDone }) => phase === 'transfer' && bytesDone !== null);
    const { handoffId } = await laptop.client.call('handoff/start', { threadId, to: server.hostId });
    const outcome = refusal(laptop.client.call('handoff/wait', { handoffId }));
    await sending;
    const waits = laptop.heard('handoff/progress', ({ message }) => message === 'Connection lost; waiting for server');
    await endProcess(pair.relay.child, 'SIGKILL');
    await waits;
    expect(await laptop.client.call('handoff/cancel', { handoffId })).toEqual({ cancelled: true });
    expect((await outcome).reason).toBe('cancelled');
    await rm(join(laptop.checkout, 'large.bin'));
    expect((await laptop.thread(threadId)).baton).toMatchObject({ owner: laptop.hostId, movedTo: null, moving: false });
    expect(await laptop.say(threadId, said.hello)).toBe('completed');
    expect(await laptop.machine.failure('handoff', threadId, '--to', 'server')).toMatchObject({ code: 1, reason: 'relay-unreachable', message: saying(pair.relay.url) });

    // Once the relay is back the destination asks what became of it, and clears away what had come.
    const cleared = server.heard('host/changed', ({ what }) => what.includes('worktrees'));
    pair.relay = await startRelayProcess(`127.0.0.1:${port}`);
    await cleared;
    await expectNothingHappened(before);
  });

  it('the destination is offline', async () => {
    const before = await server.traces();
    await server.stop();
    expect(await laptop.machine.failure('handoff', threadId, '--to', 'server')).toMatchObject({ code: 1, reason: 'host-offline', message: saying(/server.*baton host/) });
    await server.start();
    await expectNothingHappened(before);
  });

  it('Codex is missing there', async () => {
    await server.stop();
    const { BATON_CODEX } = server.machine.env;
    server.machine.env['BATON_CODEX'] = join(pair.directory, 'nonexistent');
    await server.start();
    try {
      await expectRefused([threadId, '--to', 'server'], { code: 3, reason: 'preflight-blocked', says: ['Codex', 'BATON_CODEX'] });
      const { findings } = await laptop.client.call('handoff/preflight', { threadId, to: server.hostId });
      expect(findings).toContainEqual(expect.objectContaining({ level: 'blocker', code: 'codex-not-found' }));
    } finally {
      await server.stop();
      server.machine.env['BATON_CODEX'] = BATON_CODEX;
      await server.start();
    }
  });
});
