import { execFile } from 'node:child_process';
import { appendFile, mkdir, mkdtemp, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { git, workingState } from '../fixtures/checkout';
import { codex, explainFailures, said, startPair, type PairedHosts, type Site } from './pairedHosts';

const DAY_MS = 24 * 60 * 60 * 1000;
let pair: PairedHosts;
let laptop: Site;
let server: Site;

/** Has the Codex of a home know all models that it was built with but one. */
async function forgetModel(codexHome: string, env: NodeJS.ProcessEnv, name: string): Promise<void> {
  const { stdout } = await promisify(execFile)(codex, ['debug', 'models'], { env, maxBuffer: 2 ** 26 });
  const { models } = JSON.parse(stdout) as { models: { slug: string }[] };
  const known = models.filter(({ slug }) => slug !== name);
  expect(known).toHaveLength(models.length - 1);
  const catalogue = join(codexHome, 'models.json');
  await writeFile(catalogue, JSON.stringify({ models: known }));
  const config = join(codexHome, 'config.toml');
  await writeFile(config, `model_catalog_json = ${JSON.stringify(catalogue)}\n${await readFile(config, 'utf8')}`);
}

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
    prepare: async ({ name, codexHome, env }) => {
      if (name !== 'laptop') return forgetModel(codexHome, env, 'gpt-5.5');
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
    // Codex takes no blank one.
    await writeFile(join(server.machine.codexHome, 'AGENTS.override.md'), ' \n');
    await writeFile(join(server.checkout, '.env'), 'SECRET=2\n');
    await server.stop();
    await server.start(pair.relay.url);
    const { findings } = await laptop.client.call('handoff/preflight', { threadId, to: server.hostId });
    const codes = findings.map(({ code }) => code);
    for (const code of ['skill-missing', 'instructions-differ', 'ignored-files-missing']) expect(codes).not.toContain(code);
  });
});

describe('of instructions that Git ignores, a preflight', () => {
  const override = 'AGENTS.override.md';
  const about = async () => {
    const threadId = await laptop.begin(said.hello);
    const { findings } = await laptop.client.call('handoff/preflight', { threadId, to: server.hostId });
    return findings.filter(({ code }) => code.startsWith('instructions-') && code !== 'instructions-differ').map(({ code, level, message }) => `${level} ${code}: ${message}`);
  };
  const at = (site: Site, name: string) => join(site.checkout, name);

  beforeAll(async () => {
    for (const site of [laptop, server]) await appendFile(at(site, '.git/info/exclude'), `${override}\n`);
    await writeFile(at(laptop, override), 'Answer in verse.\n');
  });
  afterAll(async () => {
    for (const site of [laptop, server]) for (const name of [override, '.worktreeinclude']) await rm(at(site, name), { force: true });
  });

  it('tells that they stay behind, and not of those that travel', async () => {
    await writeFile(at(laptop, 'AGENTS.md'), 'This one travels.\n');
    expect(await about()).toEqual([expect.stringMatching(/^warning instructions-missing: The agent follows "AGENTS\.override\.md" on laptop/) as string]);
    await rm(at(laptop, override));
    expect(await about()).toEqual([]);
    await writeFile(at(laptop, override), 'Answer in verse.\n');
    await rm(at(laptop, 'AGENTS.md'));
  });

  it('tells of those that a worktree at the destination gets from its checkout, unless they say the same', async () => {
    await writeFile(at(server, override), 'Answer in prose.\n');
    expect((await about()).map((text) => text.split(':')[0])).toEqual(['warning instructions-missing']);
    await writeFile(at(server, '.worktreeinclude'), `${override}\n`);
    expect((await about()).map((text) => text.split(':')[0])).toEqual(['warning instructions-missing', 'warning instructions-added']);
    await writeFile(at(server, override), 'Answer in verse.\n');
    expect(await about()).toEqual([]);
  });
});

describe('of the model, a preflight', () => {
  const about = async (from: Site, threadId: string, to: Site) => (await from.client.call('handoff/preflight', { threadId, to: to.hostId })).findings.filter(({ code }) => code.startsWith('model')).map(({ code, level, message }) => [code, level, message]);

  it('tells when only the Codex of the source knows it, and that does not stand in the way', async () => {
    const threadId = await laptop.begin(said.hello);
    expect(await about(laptop, threadId, server)).toContainEqual(['model-unknown', 'warning', expect.stringContaining('Codex on server does not list the model gpt-5.5') as string]);
    await laptop.handOff({ threadId, to: server.hostId });
    expect(await about(server, threadId, laptop)).toContainEqual(['model', 'ok', 'Codex on laptop knows the model gpt-5.5.']);
    expect(await server.say(threadId, said.hello)).toBe('completed');
  });

  it('gives no false alarm of one that only its provider knows', async () => {
    const { thread } = (await laptop.client.codex('thread/start', { cwd: laptop.checkout, model: 'orrery-large' })) as { thread: { id: string } };
    await laptop.say(thread.id, said.hello);
    expect((await about(laptop, thread.id, server)).map(([code]) => code)).toEqual(['model-provider']);
  });

  it('knows the providers that Codex brings along as well as those of config.toml', async () => {
    const { thread } = (await laptop.client.codex('thread/start', { cwd: laptop.checkout, modelProvider: 'ollama', model: 'llama' })) as { thread: { id: string } };
    // Its model cannot be had here: Codex goes on trying meanwhile.
    await laptop.client.codex('turn/start', { threadId: thread.id, input: [{ type: 'text', text: said.hello, text_elements: [] }] });
    expect((await about(laptop, thread.id, server)).map(([code, level]) => `${level} ${code}`)).toEqual(['ok model-provider']);
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
