import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Thread } from '../../src/host/protocol';
import { userText } from '../fixtures/scriptedModel';
import { hasTmux, type TmuxScreen } from '../fixtures/tmuxScreen';
import { explainFailures, refusal, said, saying, startPair, type PairedHosts, type Site } from './pairedHosts';
import { codexExec, endDaemon, keepsItsModel, leaveTui, openTui, stopDaemon } from './untouchedCodex';

let pair: PairedHosts;
let laptop: Site;
let server: Site;
const screens: TmuxScreen[] = [];

beforeAll(async () => {
  const config = { extra: keepsItsModel };
  pair = await startPair({ clean: true, laptop: config, server: config, script: [{ user: /Where are you/, answers: [[{ command: 'pwd >> where.txt' }], [{ message: 'Written down.' }]] }] });
  ({ laptop, server } = pair);
});
beforeEach(() => explainFailures(pair));
afterAll(async () => {
  for (const screen of screens) await screen.close();
  for (const site of [laptop, server]) await endDaemon(site);
  await pair.close();
});

async function tui(site: Site, cwd: string, ...args: string[]): Promise<TmuxScreen> {
  const screen = await openTui(site, cwd, ...args);
  screens.push(screen);
  return screen;
}

/** What the model heard when it was last told this. The TUI asks it for a title, too. */
const heardWith = (words: string) => pair.model.requests.map(({ input }) => input.map(userText).filter((text) => text !== null)).findLast((sayings) => sayings.at(-1) === words);
const where = (directory: string) => readFileSync(join(directory, 'where.txt'), 'utf8').trim().split('\n');

describe('the untouched Codex', () => {
  it('goes on with the thread by `codex exec resume` at the destination and, handed back, at the source', async () => {
    const threadId = await laptop.begin(said.hello);
    const { worktree } = await laptop.handOff({ threadId, to: server.hostId });
    expect(await codexExec(server, worktree, 'resume', threadId, 'Where are you?')).toContain('Written down.');
    expect(heardWith('Where are you?')).toEqual([said.hello, 'Where are you?']);
    expect(where(worktree)).toEqual([worktree]);

    const back = await laptop.handOff({ threadId, to: laptop.hostId, from: server.hostId });
    expect(await codexExec(laptop, back.worktree, 'resume', threadId, 'Where are you now? Where are you?')).toContain('Written down.');
    expect(heardWith('Where are you now? Where are you?')).toEqual([said.hello, 'Where are you?', 'Where are you now? Where are you?']);
    expect(where(back.worktree)).toEqual([worktree, back.worktree]);
    expect(await laptop.say(threadId, said.hello)).toBe('completed');
    const listed = (await laptop.client.codex('thread/list', { cwd: back.worktree })) as { data: Thread[] };
    expect(listed.data.map(({ id, cwd }) => [id, cwd])).toEqual([[threadId, back.worktree]]);
  });

  it.skipIf(!hasTmux)('goes on with it by `codex resume` at the destination and, handed back, at the source; what a terminal left open is said with its way out, and hinders no handoff', async () => {
    const threadId = await laptop.begin(said.hello);
    const { worktree } = await laptop.handOff({ threadId, to: server.hostId });
    const there = await tui(server, worktree, 'resume', threadId, 'Where are you?');
    expect(await there.shows(/Written down\./)).toContain('ephemeris-42');
    expect(heardWith('Where are you?')).toEqual([said.hello, 'Where are you?']);
    expect(where(worktree)).toEqual([worktree]);
    await leaveTui(there);
    if (process.platform === 'linux') expect(await refusal(server.say(threadId, said.hello))).toMatchObject({ reason: 'thread-in-use', message: saying(/codex app-server daemon stop/) });

    const back = await laptop.handOff({ threadId, to: laptop.hostId, from: server.hostId });
    const home = await tui(laptop, back.worktree, 'resume', threadId, 'Where are you now? Where are you?');
    expect(await home.shows(/now\?[^]*Written down\./)).toContain('ephemeris-42');
    expect(heardWith('Where are you now? Where are you?')).toEqual([said.hello, 'Where are you?', 'Where are you now? Where are you?']);
    expect(where(back.worktree)).toEqual([worktree, back.worktree]);
    await leaveTui(home);
    await expect(laptop.say(threadId, said.hello)).rejects.toThrow();
    await stopDaemon(laptop);
    expect(await laptop.say(threadId, said.hello)).toBe('completed');
  });

  it.skipIf(!hasTmux)('writes to no thread that a controller has open, but joins the host\'s Codex, and goes on by itself once the thread is closed there', async () => {
    const threadId = await laptop.begin(said.hello);
    const { worktree } = await laptop.handOff({ threadId, to: server.hostId });
    await server.client.codex('thread/resume', { threadId });
    await expect(codexExec(server, worktree, 'resume', threadId, 'Said beside it.')).rejects.toThrow(/already has an active writer/);
    const screen = await tui(server, worktree, 'resume', threadId);
    expect(await screen.shows(/open in another app/)).toContain('ephemeris-42');
    const beside = await tui(server, worktree, '--remote', `unix://${join(server.machine.batonHome, 'codex.sock')}`, 'resume', threadId, 'Where are you?');
    expect(await beside.shows(/Written down\./)).toContain('ephemeris-42');
    expect(where(worktree)).toEqual([worktree]);
    await leaveTui(beside);
    await server.client.codex('thread/unsubscribe', { threadId });
    await screen.press('r');
    await screen.shows(/Ask Codex to do anything/);
    await leaveTui(screen);
    expect(heardWith('Said beside it.')).toBeUndefined();
    await stopDaemon(server);
    expect(await server.say(threadId, said.hello)).toBe('completed');
  });

  it('that resumed the thread in another directory is told of before that one is handed off', async () => {
    const threadId = await laptop.begin(said.hello);
    const { worktree } = await laptop.handOff({ threadId, to: server.hostId });
    const elsewhere = async () => (await server.client.call('handoff/preflight', { threadId, to: laptop.hostId })).findings.find(({ code }) => code === 'works-elsewhere');
    expect(await elsewhere()).toBeUndefined();
    await codexExec(server, server.checkout, 'resume', threadId, 'Where are you?');
    expect(existsSync(join(worktree, 'where.txt'))).toBe(false);
    expect(where(server.checkout)).toEqual([server.checkout]);
    const finding = await elsewhere();
    expect(finding).toMatchObject({ level: 'warning', message: saying(worktree) });
    expect(finding?.message).toContain(server.checkout);
    await codexExec(server, worktree, 'resume', threadId, 'Where are you?');
    expect(await elsewhere()).toBeUndefined();
  });
});
