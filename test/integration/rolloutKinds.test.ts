import { readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { listRollouts } from '../../src/codex/rolloutFamily';
import type { Thread } from '../../src/host/protocol';
import { userText } from '../fixtures/scriptedModel';
import { askCodex, explainFailures, said, startPair, type PairedHosts, type Site } from './pairedHosts';

let pair: PairedHosts;
let laptop: Site;
let server: Site;

beforeAll(async () => {
  pair = await startPair({ clean: true });
  ({ laptop, server } = pair);
});
beforeEach(() => explainFailures(pair));
afterAll(() => pair.close());

const toServer = (threadId: string) => laptop.handOff({ threadId, to: server.hostId });
const toLaptop = (threadId: string) => laptop.handOff({ threadId, to: laptop.hostId, from: server.hostId });
/** What the model hears of the user when it is told this. */
async function heardWith(site: Site, threadId: string, words: string): Promise<(string | null)[]> {
  const asked = pair.model.requests.length;
  expect(await site.say(threadId, words)).toBe('completed');
  return pair.model.requests[asked]?.input.map(userText).filter((text) => text !== null) ?? [];
}
/** What the user said to a thread, as its turns show it. */
async function shown(site: Site, threadId: string): Promise<string[]> {
  await askCodex(site, 'thread/resume', { threadId, excludeTurns: true });
  const { data } = (await site.client.codex('thread/turns/list', { threadId, itemsView: 'full', sortDirection: 'asc' })) as { data: { items: { type: string; content?: { text?: string }[] }[] }[] };
  return data.flatMap(({ items }) => items.filter(({ type }) => type === 'userMessage').map(({ content }) => content?.[0]?.text ?? ''));
}
async function begin(historyMode: string): Promise<string> {
  const { thread } = (await laptop.client.codex('thread/start', { cwd: laptop.checkout, historyMode })) as { thread: Thread };
  await laptop.say(thread.id, said.hello);
  return thread.id;
}
const filesOf = async (site: Site, threadId: string) => (await listRollouts(site.machine.codexHome)).get(threadId) ?? [];
const firstLine = (path: string) => JSON.parse(readFileSync(path, 'utf8').split('\n')[0] ?? '') as { payload: Record<string, unknown> };

/** Codex compresses what a site has of a thread, as it does with what is old. */
async function compress(site: Site, threadId: string): Promise<void> {
  await site.stop();
  for (const { path } of await filesOf(site, threadId)) utimesSync(path, new Date('2026-01-01'), new Date('2026-01-01'));
  const config = join(site.machine.codexHome, 'config.toml');
  const plain = readFileSync(config, 'utf8');
  writeFileSync(config, `${plain}\n[features]\nlocal_thread_store_compression = true\n`);
  // It would not do it twice in a day.
  for (const name of ['compression', 'maintenance']) rmSync(join(site.machine.codexHome, '.tmp', `rollout-${name}.lock`), { force: true });
  await site.start(pair.relay.url);
  await askCodex(site, 'rollout/compress', {});
  while (!(await filesOf(site, threadId)).every(({ compressed }) => compressed));
  writeFileSync(config, plain);
}

describe('a legacy thread', () => {
  it('goes and comes back, with all that was said, and stays one', async () => {
    const threadId = await begin('legacy');
    expect(firstLine((await filesOf(laptop, threadId))[0]?.path ?? '').payload['history_mode'] ?? 'legacy').toBe('legacy');
    await toServer(threadId);
    expect(await shown(server, threadId)).toEqual([said.hello]);
    expect(await heardWith(server, threadId, 'Said there.')).toEqual([said.hello, 'Said there.']);
    const { worktree } = await toLaptop(threadId);
    expect(await shown(laptop, threadId)).toEqual([said.hello, 'Said there.']);
    expect(await heardWith(laptop, threadId, 'Said at home.')).toEqual([said.hello, 'Said there.', 'Said at home.']);
    const [file, ...more] = await filesOf(laptop, threadId);
    expect(more).toEqual([]);
    expect(firstLine(file?.path ?? '').payload).toMatchObject({ cwd: worktree });
    expect(firstLine(file?.path ?? '').payload['history_mode'] ?? 'legacy').toBe('legacy');
  });

  it('was forked: the fork goes with what it builds on', async () => {
    const parent = await begin('legacy');
    const { thread } = (await laptop.client.codex('thread/fork', { threadId: parent })) as { thread: Thread };
    await laptop.say(thread.id, 'In the fork.');
    await laptop.say(parent, 'The parent goes on.');
    await toServer(thread.id);
    expect(await heardWith(server, thread.id, 'Do you remember?')).toEqual([said.hello, 'In the fork.', 'Do you remember?']);
    expect(await shown(server, thread.id)).toEqual([said.hello, 'In the fork.', 'Do you remember?']);
  });
});

describe('a thread that was reverted', () => {
  it('goes and comes back in all its segments, also when it is reverted again where it went', async () => {
    const threadId = await begin('paginated');
    const revert = async (site: Site) => {
      const { data } = (await askCodex(site, 'thread/turns/list', { threadId, limit: 1 })) as { data: { id: string }[] };
      await askCodex(site, 'thread/revert', { threadId, beforeTurnId: data[0]?.id });
    };
    await laptop.say(threadId, 'A wrong turn.');
    await revert(laptop);
    await laptop.say(threadId, 'A better turn.');
    expect(await filesOf(laptop, threadId)).toHaveLength(2);
    const { findings } = await laptop.client.call('handoff/preflight', { threadId, to: server.hostId });
    expect(findings.find(({ code }) => code === 'reverted')?.message).toContain('since the last revert');
    await toServer(threadId);
    expect(await heardWith(server, threadId, 'Another wrong turn.')).toEqual([said.hello, 'A better turn.', 'Another wrong turn.']);
    await revert(server);
    expect(await heardWith(server, threadId, 'The right turn.')).toEqual([said.hello, 'A better turn.', 'The right turn.']);
    await toLaptop(threadId);
    expect(await heardWith(laptop, threadId, 'Said at home.')).toEqual([said.hello, 'A better turn.', 'The right turn.', 'Said at home.']);
    // Codex shows no turns of segments that came from elsewhere.
    expect(await shown(laptop, threadId)).toEqual(['The right turn.', 'Said at home.']);
    await toServer(threadId);
    expect(await heardWith(server, threadId, 'And there.')).toEqual([said.hello, 'A better turn.', 'The right turn.', 'Said at home.', 'And there.']);
  });
});

describe('a thread that another version of Codex made', () => {
  it.each(['0.140.0', '0.150.0', '0.171.0'])('goes and comes back: %s', async (version) => {
    const text = (await readFile(join(import.meta.dirname, '..', 'fixtures', 'rollouts', `codex-${version}.jsonl`), 'utf8')).replaceAll('/home/me/orrery', JSON.stringify(laptop.checkout).slice(1, -1));
    const { id: threadId, timestamp, cli_version: madeBy } = (JSON.parse(text.split('\n')[0] ?? '') as { payload: { id: string; timestamp: string; cli_version: string } }).payload;
    expect(madeBy).toBe(version);
    const [, year = '', month = '', day = ''] = /^(\d+)-(\d+)-(\d+)T/.exec(timestamp) ?? [];
    const folder = join(laptop.machine.codexHome, 'sessions', year, month, day);
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, `rollout-${timestamp.slice(0, 19).replaceAll(':', '-')}-${threadId}.jsonl`), text);

    const { worktree } = await toServer(threadId);
    expect(await shown(server, threadId)).toEqual([said.hello]);
    const asked = pair.model.requests.length;
    expect(await heardWith(server, threadId, 'Do you remember?')).toEqual([said.hello, 'Do you remember?']);
    const heard = JSON.stringify(pair.model.requests[asked]?.input);
    expect(heard).toContain('comet');
    expect(heard).toContain(`It now works in ${worktree}`);
    await toLaptop(threadId);
    expect(await heardWith(laptop, threadId, 'Said at home.')).toEqual([said.hello, 'Do you remember?', 'Said at home.']);
    expect(await shown(laptop, threadId)).toEqual([said.hello, 'Do you remember?', 'Said at home.']);
  });
});

describe('a rollout that Codex has compressed', () => {
  it.each(['paginated', 'legacy'])('of a %s thread goes, and comes back compressed there too', async (historyMode) => {
    const threadId = await begin(historyMode);
    await compress(laptop, threadId);
    await toServer(threadId);
    expect(await heardWith(server, threadId, 'Said there.')).toEqual([said.hello, 'Said there.']);
    await compress(server, threadId);
    await toLaptop(threadId);
    expect(await heardWith(laptop, threadId, 'Said at home.')).toEqual([said.hello, 'Said there.', 'Said at home.']);
    expect(await shown(laptop, threadId)).toEqual([said.hello, 'Said there.', 'Said at home.']);
    expect((await filesOf(laptop, threadId)).map(({ archived, compressed }) => [archived, compressed])).toEqual([[false, false]]);
  });
});
