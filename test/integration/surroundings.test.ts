import { mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { git, workingState } from '../fixtures/checkout';
import { explainFailures, said, startPair, type PairedHosts, type Site } from './pairedHosts';

const DAY_MS = 24 * 60 * 60 * 1000;
let pair: PairedHosts;
let laptop: Site;
let server: Site;

beforeAll(async () => {
  const clock = join(await realpath(await mkdtemp(join(tmpdir(), 'baton-clock-'))), 'shift');
  pair = await startPair({
    laptop: {
      extra: `
[shell_environment_policy]
include_only = ["PATH", "HOME", "ORRERY_*"]
set = { STAR_CATALOGUE = "of no concern to others" }
[mcp_servers.almanac]
command = "/opt/almanac/serve"
args = ["--token", "also of no concern"]
[[hooks.PreToolUse]]
matcher = "Bash"
[[hooks.PreToolUse.hooks]]
type = "command"
command = "/opt/hooks/check --key not-yours"
`,
    },
    laptopEnv: { ORRERY_KEY: 'a value that stays here' },
    serverEnv: { NODE_OPTIONS: `--import=${pathToFileURL(join(import.meta.dirname, '../fixtures/shiftedClock.mjs')).href}`, BATON_TEST_CLOCK: clock },
    atEnd: () => rm(dirname(clock), { recursive: true }),
    prepare: async ({ name, codexHome }) => {
      if (name !== 'laptop') return;
      await mkdir(join(codexHome, 'skills', 'brew'), { recursive: true });
      await writeFile(join(codexHome, 'skills', 'brew', 'SKILL.md'), '---\nname: brew\ndescription: makes coffee\n---\nDo it.\n');
      await writeFile(join(codexHome, 'AGENTS.md'), 'Always measure twice.\n');
    },
  });
  ({ laptop, server } = pair);
  // Paired while the clocks agreed: an invite lives for minutes only.
  await writeFile(clock, String(DAY_MS));
  await server.stop();
  await server.start(pair.relay.url);
});
beforeEach(() => explainFailures(pair));
afterAll(() => pair.close());

describe('a preflight', () => {
  it('tells what the thread will miss, by names, and tells no value, argument or content to the other host', async () => {
    const threadId = await laptop.begin(said.hello);
    await writeFile(join(laptop.checkout, '.env'), 'SECRET=1\n');
    const { findings } = await laptop.client.call('handoff/preflight', { threadId, to: server.hostId });
    const said_ = new Map(findings.map(({ code, level, message }) => [code, `${level}: ${message}`]));
    expect(said_.get('mcp-server-missing')).toMatch(/^warning: server has no MCP server of the name almanac/);
    expect(said_.get('hook-missing')).toMatch(/preToolUse: \/opt\/hooks\/check;/);
    expect(said_.get('skill-missing')).toContain('brew');
    expect(said_.get('instructions-differ')).toContain('laptop has an AGENTS.md in its CODEX_HOME, and server has none');
    expect(said_.get('environment-missing')).toMatch(/variables STAR_CATALOGUE, ORRERY_KEY on laptop/);
    expect(said_.get('ignored-files-missing')).toContain('.env');
    expect(said_.get('clock-skew')).toMatch(/server is 8640\d s ahead of that of laptop/);
    expect(findings.filter(({ level }) => level === 'blocker')).toEqual([]);
    for (const told of [JSON.stringify(findings), server.machine.hostLog]) expect(told).not.toMatch(/of no concern|not-yours|stays here|SECRET|measure twice/);
  });

  it('tells nothing of what is there as well', async () => {
    const threadId = await laptop.begin(said.hello);
    await mkdir(join(server.machine.codexHome, 'skills', 'brew'), { recursive: true });
    await writeFile(join(server.machine.codexHome, 'skills', 'brew', 'SKILL.md'), '---\nname: brew\ndescription: makes coffee\n---\nDo it.\n');
    await writeFile(join(server.machine.codexHome, 'AGENTS.md'), 'Always measure twice.\n');
    await writeFile(join(server.checkout, '.env'), 'SECRET=2\n');
    await server.stop();
    await server.start(pair.relay.url);
    const { findings } = await laptop.client.call('handoff/preflight', { threadId, to: server.hostId });
    const codes = findings.map(({ code }) => code);
    for (const code of ['skill-missing', 'instructions-differ', 'ignored-files-missing']) expect(codes).not.toContain(code);
  });
});

it('clocks that are a day apart keep no thread from going there and back, and the epochs, not the dates, say what is newer', async () => {
  const threadId = await laptop.begin(said.hello);
  const sent = await workingState(laptop.checkout);
  const there = await laptop.handOff({ threadId, to: server.hostId });
  expect(await workingState(there.worktree)).toEqual(sent);
  expect(await server.say(threadId, said.hello)).toBe('completed');
  await git(there.worktree, 'commit', '-qam', 'Tomorrow');
  const back = await laptop.handOff({ threadId, to: laptop.hostId, from: server.hostId });
  expect(back).toMatchObject({ threadId, epoch: 2, commits: 1 });
  expect(await laptop.say(threadId, said.hello)).toBe('completed');
  expect((await laptop.handOff({ threadId, to: server.hostId })).worktree).toBe(there.worktree);
  const { events } = await server.client.call('audit/list', { threadId });
  expect(events.at(-1)?.type).toBe('handoff-activated');
});
