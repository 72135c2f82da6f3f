import { readFileSync } from 'node:fs';
import { cp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { HandoffPreflight, ParamsOf, Thread } from '../../src/host/protocol';
import { git, workingState } from '../fixtures/checkout';
import { askCodex, pairForAll, refusal, said, saying, type PairedHosts, type Site } from './pairedHosts';
import { codexExec } from './untouchedCodex';

let pair: PairedHosts;
let laptop: Site;
let server: Site;

pairForAll((started) => {
  pair = started;
  ({ laptop, server } = pair);
});

const toServer = (threadId: string, choice?: ParamsOf<'handoff/start'>['choice']) => laptop.handOff({ threadId, to: server.hostId, choice });
const toLaptop = (threadId: string, choice?: ParamsOf<'handoff/start'>['choice']) => laptop.handOff({ threadId, to: laptop.hostId, from: server.hostId, choice });
const baton = async (site: Site, threadId: string) => (await site.thread(threadId)).baton;
const worktreeOf = async (site: Site, threadId: string) => (await site.client.call('worktree/list', {})).worktrees.find(({ threadIds }) => threadIds.includes(threadId))?.path ?? '';
const bodyOf = async (site: Site, threadId: string) => readFileSync((await site.thread(threadId) as unknown as { path: string }).path, 'utf8').replace(/^[^\n]*\n/, '');
const blockers = ({ findings }: HandoffPreflight) => findings.filter(({ level }) => level === 'blocker').map(({ code }) => code);
/** The id of the thread as which something was kept, by what a site's audit log says. */
const forkAt = (site: Site, threadId: string) => site.audit().findLast((event) => event['type'] === 'thread-set-aside' && event['threadId'] === threadId)?.['fork'] as string;

describe('a worktree that was changed while its thread was away', () => {
  let threadId: string;
  let worktree: string;
  let kept: Record<string, unknown>;

  beforeAll(async () => {
    threadId = await laptop.begin(said.hello);
    ({ worktree } = await toServer(threadId));
    await toLaptop(threadId);
    await laptop.say(threadId, 'Something happens at home too.');
    await writeFile(join(worktree, 'unforeseen.txt'), 'written while the thread was away\n');
    kept = await workingState(worktree);
  });

  it('is noticed before anything changes, on both sides, with the choices named', async () => {
    const before = [await laptop.traces(), await server.traces()];
    const preflight = await laptop.client.call('handoff/preflight', { threadId, to: server.hostId });
    expect(blockers(preflight)).toEqual(['worktree-diverged']);
    expect(preflight.choices).toEqual(['second-worktree', 'fork']);
    expect(preflight.findings.find(({ code }) => code === 'worktree-diverged')?.message).toContain(worktree);
    expect(await refusal(toServer(threadId))).toMatchObject({ reason: 'preflight-blocked', message: saying(/--second-worktree .*--fork .*hand nothing off/) });
    const { code, stderr } = await laptop.machine.cli('handoff', threadId, '--to', 'server');
    expect([code, stderr]).toEqual([3, saying(/--second-worktree/)]);
    expect([await laptop.traces(), await server.traces()]).toEqual(before);
    expect(await workingState(worktree)).toEqual(kept);
    expect(await baton(laptop, threadId)).toMatchObject({ owner: laptop.hostId, moving: false });
  });

  it('stays as it is where a second one is chosen; the thread goes on in that', async () => {
    const dry = await laptop.machine.json<HandoffPreflight>('handoff', threadId, '--to', 'server', '--second-worktree', '--dry-run');
    expect(blockers(dry)).toEqual([]);
    const { worktree: second } = await toServer(threadId, 'second-worktree');
    expect(second).not.toBe(worktree);
    expect(await workingState(worktree)).toEqual(kept);
    expect(await worktreeOf(server, threadId)).toBe(second);
    expect(await server.say(threadId, said.hello)).toBe('completed');
    expect((await server.client.call('worktree/list', {})).worktrees.map(({ path }) => path).sort()).toEqual([worktree, second].sort());
  });
});

describe('an archived copy that was resumed with plain Codex while its thread was away', () => {
  let threadId: string;
  let worktree: string;
  let there: { body: string; state: Record<string, unknown> };

  beforeAll(async () => {
    threadId = await laptop.begin(said.hello);
    ({ worktree } = await toServer(threadId));
    await toLaptop(threadId);
    await laptop.say(threadId, 'Said at home.');
    await askCodex(server, 'thread/unarchive', { threadId });
    expect(await codexExec(server, worktree, 'resume', threadId, 'Said behind its back.')).toContain('ephemeris-42');
    await writeFile(join(worktree, 'made-there.txt'), 'by the resumed copy\n');
    there = { body: await bodyOf(server, threadId), state: await workingState(worktree) };
    expect(there.body).toContain('Said behind its back.');
  });

  it('is noticed before anything changes; a second worktree would not do', async () => {
    const before = [await laptop.traces(), await server.traces()];
    const preflight = await laptop.client.call('handoff/preflight', { threadId, to: server.hostId, choice: 'second-worktree' });
    expect(blockers(preflight).sort()).toEqual(['conversation-diverged', 'worktree-diverged']);
    expect(preflight.choices).toEqual(['fork']);
    expect((await refusal(toServer(threadId, 'second-worktree'))).reason).toBe('preflight-blocked');
    expect([await laptop.traces(), await server.traces()]).toEqual(before);
    expect(await laptop.say(threadId, said.hello)).toBe('completed');
  });

  it('a handoff that is given up leaves it alone, fork or no fork', async () => {
    const staged = laptop.phase('stage', threadId);
    const { handoffId } = await laptop.client.call('handoff/start', { threadId, to: server.hostId, choice: 'fork' });
    const ended = refusal(laptop.client.call('handoff/wait', { handoffId }));
    await staged;
    await laptop.client.call('handoff/cancel', { handoffId });
    expect((await ended).reason).toBe('cancelled');
    expect(await bodyOf(server, threadId)).toBe(there.body);
    expect(await worktreeOf(server, threadId)).toBe(worktree);
    expect(await workingState(worktree)).toEqual(there.state);
  });

  it('goes on as a fork with its worktree, and the thread beside it with all that it had', async () => {
    const before = await bodyOf(laptop, threadId);
    const result = await toServer(threadId, 'fork');
    const fork = forkAt(server, threadId);
    expect(result.notes.join(' ')).toContain(`What server had of the thread is kept there as the thread ${fork}, with the worktree ${worktree}.`);
    expect(await bodyOf(server, fork)).toBe(there.body);
    expect(await worktreeOf(server, fork)).toBe(worktree);
    expect(await workingState(worktree)).toEqual(there.state);
    expect((await bodyOf(server, threadId)).startsWith(before)).toBe(true);
    expect(result.worktree).not.toBe(worktree);
    const asked = pair.model.requests.length;
    expect(await server.say(threadId, 'What was said?')).toBe('completed');
    expect(JSON.stringify(pair.model.requests[asked]?.input)).toContain('Said at home.');
    expect(JSON.stringify(pair.model.requests[asked]?.input)).not.toContain('Said behind its back.');
    expect(await server.say(fork, 'And what here?')).toBe('completed');
    expect(JSON.stringify(pair.model.requests[asked + 1]?.input)).toContain('Said behind its back.');
    expect(await baton(server, threadId)).toMatchObject({ owner: server.hostId, epoch: 3 });
    expect(server.audit()).toContainEqual(expect.objectContaining({ type: 'thread-set-aside', threadId, fork, peer: laptop.hostId, epoch: 3 }));
    // And home again, past what is there.
    expect((await toLaptop(threadId)).epoch).toBe(4);
  });
});

it('a branch that got commits of its own while the thread was away is noticed, and keeps them', async () => {
  const threadId = await laptop.begin(said.hello);
  const { worktree } = await toServer(threadId);
  await git(worktree, 'commit', '-qam', 'On the server');
  const before = await git(laptop.checkout, 'rev-parse', 'comets');
  await git(laptop.checkout, 'commit', '-q', '--allow-empty', '-m', 'On the laptop');
  const moved = await git(laptop.checkout, 'rev-parse', 'comets');
  try {
    const preflight = await laptop.client.call('handoff/preflight', { threadId, to: laptop.hostId, from: server.hostId });
    expect(blockers(preflight)).toEqual(['branch-diverged']);
    expect((await refusal(toLaptop(threadId))).reason).toBe('preflight-blocked');
    expect(await baton(laptop, threadId)).toMatchObject({ owner: server.hostId });
    const back = await toLaptop(threadId, 'second-worktree');
    expect(back.notes.join(' ')).toContain(`The branch comets is checked out in ${laptop.checkout}`);
    expect(await git(laptop.checkout, 'rev-parse', 'comets')).toBe(moved);
    expect(await git(back.worktree, 'log', '-1', '--format=%s')).toBe('On the server\n');
    expect(await laptop.say(threadId, said.hello)).toBe('completed');
  } finally {
    await git(laptop.checkout, 'reset', '-q', '--soft', before.trim());
  }
});

describe('a backup that was restored', () => {
  /** Puts both homes of a site back as they were when `act` began. */
  async function restoredAfter(site: Site, act: () => Promise<void>): Promise<void> {
    const homes = [site.machine.batonHome, site.machine.codexHome];
    await site.stop();
    for (const home of homes) await cp(home, `${home}.backup`, { recursive: true, filter: (path) => !path.endsWith('.sock') });
    await site.start(pair.relay.url);
    await act();
    await site.stop();
    for (const home of homes) {
      await rm(home, { recursive: true, force: true });
      await cp(`${home}.backup`, home, { recursive: true });
      await rm(`${home}.backup`, { recursive: true, force: true });
    }
    await site.start(pair.relay.url);
  }

  it('at the host that the thread is to come back to: its own user may have what is there kept, and nobody else', async () => {
    const threadId = await laptop.begin(said.hello);
    await restoredAfter(laptop, async () => {
      await toServer(threadId);
      await server.say(threadId, 'Said on the server.');
    });
    expect(await baton(laptop, threadId)).toMatchObject({ owner: laptop.hostId, epoch: 0 });
    await laptop.say(threadId, 'Said after the backup.');
    const kept = await bodyOf(laptop, threadId);

    const pushed = await server.client.call('handoff/preflight', { threadId, to: laptop.hostId, choice: 'fork' });
    expect(blockers(pushed)).toEqual(['thread-owned']);
    expect((await refusal(server.handOff({ threadId, to: laptop.hostId, choice: 'fork' }))).message).toContain(`baton handoff ${threadId} --to here --from server --fork`);
    expect((await refusal(toLaptop(threadId))).reason).toBe('preflight-blocked');
    expect(await bodyOf(laptop, threadId)).toBe(kept);

    expect(blockers(await laptop.client.call('handoff/preflight', { threadId, to: laptop.hostId, from: server.hostId, choice: 'fork' }))).toEqual([]);
    expect((await toLaptop(threadId, 'fork')).epoch).toBe(2);
    const fork = forkAt(laptop, threadId);
    expect(await bodyOf(laptop, fork)).toBe(kept);
    expect(await bodyOf(laptop, threadId)).toContain('Said on the server.');
    expect(await laptop.say(threadId, said.hello)).toBe('completed');
    expect(await laptop.say(fork, said.hello)).toBe('completed');
  });

  it('at the host that would hand the thread off again: what it has goes as a thread of its own', async () => {
    const threadId = await laptop.begin(said.hello);
    await restoredAfter(laptop, async () => {
      await toServer(threadId);
      await server.say(threadId, 'Said on the server.');
    });
    await laptop.say(threadId, 'Said after the backup.');
    const there = await bodyOf(server, threadId);

    const preflight = await laptop.client.call('handoff/preflight', { threadId, to: server.hostId });
    expect(blockers(preflight)).toEqual(['thread-owned']);
    expect(preflight.choices).toEqual(['fork']);
    expect((await refusal(toServer(threadId))).reason).toBe('preflight-blocked');
    expect(blockers(await laptop.client.call('handoff/preflight', { threadId, to: server.hostId, choice: 'fork' }))).toEqual([]);

    const result = await toServer(threadId, 'fork');
    expect(result.threadId).not.toBe(threadId);
    expect(await bodyOf(server, result.threadId)).toContain('Said after the backup.');
    expect(await bodyOf(server, threadId)).toBe(there);
    expect(await server.say(result.threadId, said.hello)).toBe('completed');
    expect(await server.say(threadId, said.hello)).toBe('completed');
    expect(laptop.audit()).toContainEqual(expect.objectContaining({ type: 'thread-superseded', threadId, peer: server.hostId, by: 'local' }));
    const { data } = (await laptop.client.codex('thread/list')) as { data: Thread[] };
    expect(data.filter(({ baton: of }) => of?.owner === laptop.hostId).map(({ id }) => id)).not.toContain(threadId);
  });
});
