import { mkdtempSync, rmSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { canManageCodex, managedCodex } from '../fixtures/managedCodex';
import { codex, explainFailures, refusal, said, saying, startPair, type PairedHosts, type Site } from './pairedHosts';

/** A machine whose own threads may do anything, reach the network, and write elsewhere. */
const permissive = { approvalPolicy: 'never', sandboxMode: 'danger-full-access', extra: '[sandbox_workspace_write]\nnetwork_access = true\nwritable_roots = ["/opt"]\n' } as const;

/** What a thread may do, as Codex says when the thread is opened. */
async function asRun(site: Site, threadId: string) {
  const { approvalPolicy, sandbox } = (await site.client.codex('thread/resume', { threadId, excludeTurns: true })) as { approvalPolicy: string; sandbox: Record<string, unknown> };
  return { approvalPolicy, ...sandbox };
}
const confined = { approvalPolicy: 'on-request', type: 'workspaceWrite', networkAccess: false, writableRoots: [] };

/** Has Codex drop a thread from memory, as it does with one that nobody looks at. */
async function atTop(codexHome: string, line: string): Promise<void> {
  const path = join(codexHome, 'config.toml');
  await writeFile(path, `${line}\n${await readFile(path, 'utf8')}`);
}

async function unload(site: Site, threadId: string): Promise<void> {
  const closed = new Promise<void>((fulfil) => {
    const stop = site.client.onCodex((method, params) => {
      if (method !== 'thread/closed' || (params as { threadId: string }).threadId !== threadId) return;
      stop();
      fulfil();
    });
  });
  await site.client.codex('thread/unsubscribe', { threadId });
  await closed;
}

/** What the model was offered with the last request, of what an administrator can take away. */
function lastTools({ model }: PairedHosts): { shell: boolean; web: string } {
  const tools = model.requests.at(-1)?.['tools'] as { type: string; name?: string; external_web_access?: boolean }[];
  const web = tools.find(({ type }) => type === 'web_search');
  return { shell: tools.some(({ name }) => name === 'exec_command'), web: web === undefined ? 'disabled' : web.external_web_access === true ? 'live' : 'cached' };
}

describe('what a thread may do', () => {
  let pair: PairedHosts;
  let laptop: Site;
  let server: Site;

  beforeAll(async () => {
    pair = await startPair({
      clean: true,
      server: permissive,
      prepare: async ({ name, codexHome }) => {
        if (name !== 'server') return;
        await atTop(codexHome, 'approvals_reviewer = "user"');
      },
    });
    ({ laptop, server } = pair);
  });
  beforeEach(() => explainFailures(pair));
  afterAll(() => pair.close());

  it('stays so when Codex loads the thread again, and after a restart of the host', async () => {
    const threadId = await laptop.begin(said.hello);
    await laptop.handOff({ threadId, to: server.hostId });
    expect(await asRun(server, threadId)).toMatchObject(confined);
    await unload(server, threadId);
    expect(await asRun(server, threadId)).toMatchObject(confined);
    await server.stop();
    await server.start(pair.relay.url);
    expect(await server.say(threadId, said.hello)).toBe('completed');
    expect(await asRun(server, threadId)).toMatchObject(confined);
    // A thread of the server's own is what its configuration says.
    expect(await asRun(server, await server.begin(said.hello))).toMatchObject({ approvalPolicy: 'never', type: 'dangerFullAccess' });
  });

  it('is decided on by a person where either side wants that, which preflight says', async () => {
    const { thread } = (await laptop.client.codex('thread/start', { cwd: laptop.checkout, approvalsReviewer: 'auto_review' })) as { thread: { id: string } };
    await laptop.say(thread.id, said.hello);
    const reviewer = async (site: Site) => ((await site.client.codex('thread/resume', { threadId: thread.id, excludeTurns: true })) as { approvalsReviewer: string }).approvalsReviewer;
    expect(await reviewer(laptop)).toBe('auto_review');
    const { findings } = await laptop.client.call('handoff/preflight', { threadId: thread.id, to: server.hostId });
    expect(findings.find(({ code }) => code === 'reviewer-narrowed')).toMatchObject({ level: 'warning', message: saying('At server a person decides') });
    await laptop.handOff({ threadId: thread.id, to: server.hostId });
    expect(await reviewer(server)).toBe('user');
    await unload(server, thread.id);
    expect(await reviewer(server)).toBe('user');
  });

  it('is inherited by a fork of the thread', async () => {
    const threadId = await laptop.begin(said.hello);
    await laptop.handOff({ threadId, to: server.hostId });
    const { thread } = (await server.client.codex('thread/fork', { threadId })) as { thread: { id: string } };
    await server.say(thread.id, said.hello);
    await unload(server, thread.id);
    expect(await asRun(server, thread.id)).toMatchObject(confined);
  });

  it('is what the last turn changed it to, not what the thread began with', async () => {
    const threadId = await laptop.begin(said.hello);
    const rest = laptop.rest(threadId);
    await laptop.client.codex('turn/start', { threadId, input: [{ type: 'text', text: said.hello, text_elements: [] }], approvalPolicy: 'untrusted', sandboxPolicy: { type: 'readOnly', networkAccess: false } });
    await rest;
    await laptop.handOff({ threadId, to: server.hostId });
    expect(await asRun(server, threadId)).toMatchObject({ approvalPolicy: 'untrusted', type: 'readOnly' });
  });

  it('keeps temporary directories out of the sandbox where they were out of it', async () => {
    const threadId = await laptop.begin(said.hello);
    const rest = laptop.rest(threadId);
    await laptop.client.codex('turn/start', {
      threadId,
      input: [{ type: 'text', text: said.hello, text_elements: [] }],
      sandboxPolicy: { type: 'workspaceWrite', writableRoots: [], networkAccess: false, excludeTmpdirEnvVar: true, excludeSlashTmp: true },
    });
    await rest;
    await laptop.handOff({ threadId, to: server.hostId });
    expect(await asRun(server, threadId)).toMatchObject({ ...confined, excludeTmpdirEnvVar: true, excludeSlashTmp: true });
  });

  it('may be changed by its user where it is, and that lasts', async () => {
    const threadId = await laptop.begin(said.hello);
    await laptop.handOff({ threadId, to: server.hostId });
    const rest = server.rest(threadId);
    await server.client.codex('turn/start', { threadId, input: [{ type: 'text', text: said.hello, text_elements: [] }], sandboxPolicy: { type: 'readOnly', networkAccess: false } });
    await rest;
    await unload(server, threadId);
    expect(await asRun(server, threadId)).toMatchObject({ approvalPolicy: 'on-request', type: 'readOnly' });
  });

  it('is as before after a handoff that was cancelled, whatever the configuration says', async () => {
    const threadId = await server.begin(said.hello, { approvalPolicy: 'on-request', sandbox: 'workspace-write' });
    const reached = server.phase('transfer', threadId);
    const { handoffId } = await server.client.call('handoff/start', { threadId, to: laptop.hostId });
    const outcome = refusal(server.client.call('handoff/wait', { handoffId }));
    await reached;
    await server.client.call('handoff/cancel', { handoffId });
    await outcome;
    expect(await asRun(server, threadId)).toMatchObject({ approvalPolicy: 'on-request', type: 'workspaceWrite' });
  });
});

describe.skipIf(!canManageCodex())('the requirements of an administrator', () => {
  let directory: string;
  let pair: PairedHosts;
  let laptop: Site;
  let server: Site;
  let audit: Site;

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'baton-managed-'));
    const requirements = `
allowed_sandbox_modes = ["read-only", "workspace-write"]
allowed_approval_policies = ["untrusted", "on-request"]
allowed_web_search_modes = ["cached"]
enforce_residency = "us"
[features]
shell_tool = false
[mcp_servers.docs]
identity = { command = "docs-server" }
`;
    pair = await startPair({
      clean: true,
      laptopEnv: { BATON_CODEX: managedCodex(directory, codex, requirements) },
      server: permissive,
      prepare: async ({ name, codexHome }) => {
        if (name === 'server') await atTop(codexHome, 'web_search = "live"');
      },
    });
    ({ laptop, server } = pair);
    audit = await pair.join('audit', permissive);
  });
  beforeEach(() => explainFailures(pair));
  afterAll(async () => {
    await pair.close();
    rmSync(directory, { recursive: true, force: true });
  });

  it('travel along a ring of hosts that have none, bind at each, and hold still when the thread is home', async () => {
    const threadId = await laptop.begin(said.hello);
    const text = [{ type: 'text', text: said.hello, text_elements: [] }];
    let at = laptop;
    for (const to of [server, audit, laptop]) {
      await at.handOff({ threadId, to: to.hostId });
      at = to;
      expect(await asRun(at, threadId)).toMatchObject(confined);
      for (const beyond of [
        { method: 'turn/start', params: { input: text, sandboxPolicy: { type: 'dangerFullAccess' } } },
        { method: 'turn/start', params: { input: text, approvalPolicy: 'never' } },
        { method: 'thread/resume', params: { sandbox: 'danger-full-access' } },
        { method: 'thread/resume', params: { config: { sandbox_mode: 'danger-full-access' } } },
        { method: 'thread/fork', params: { sandbox: 'danger-full-access' } },
      ]) {
        expect((await refusal(at.client.codex(beyond.method, { threadId, ...beyond.params }))).reason).toBe('policy-refused');
      }
      expect(await at.say(threadId, said.hello)).toBe('completed');
      expect(lastTools(pair)).toEqual({ shell: false, web: 'cached' });
      expect(await asRun(at, threadId)).toMatchObject(confined);
    }
    expect((await laptop.thread(threadId)).baton).toMatchObject({ owner: laptop.hostId, epoch: 3 });
  });

  it('of web search and features bind at the third host also when its user says something else of the policy', async () => {
    const threadId = await laptop.begin(said.hello);
    await laptop.handOff({ threadId, to: server.hostId });
    await server.handOff({ threadId, to: audit.hostId });
    await audit.client.codex('thread/resume', { threadId, sandbox: 'read-only', approvalPolicy: 'untrusted' });
    expect(await audit.say(threadId, said.hello)).toBe('completed');
    expect(lastTools(pair)).toEqual({ shell: false, web: 'cached' });
    const { thread } = (await audit.client.codex('thread/fork', { threadId })) as { thread: { id: string } };
    expect(await audit.say(thread.id, said.hello)).toBe('completed');
    expect(lastTools(pair)).toEqual({ shell: false, web: 'cached' });
    // A thread of that host's own is bound by nothing of it.
    await server.begin(said.hello);
    expect(lastTools(pair)).toEqual({ shell: true, web: 'live' });
  });

  it('to which no thread can be held are told of, also from the second host to the third', async () => {
    const threadId = await laptop.begin(said.hello);
    const loose = async (from: Site, to: Site) => (await from.client.call('handoff/preflight', { threadId, to: to.hostId })).findings.find(({ code }) => code === 'requirements-not-held');
    const expected = { level: 'warning', message: saying('demands enforce_residency, mcp_servers, to which Baton cannot hold it at') };
    expect(await loose(laptop, server)).toMatchObject(expected);
    await laptop.handOff({ threadId, to: server.hostId });
    expect(await loose(server, audit)).toMatchObject(expected);
    expect(await loose(server, laptop)).toBeUndefined();
  });

  it('are noticed where they make the destination stricter than the thread', async () => {
    const threadId = await server.begin(said.hello);
    const { findings } = await server.client.call('handoff/preflight', { threadId, to: laptop.hostId });
    expect(findings.find(({ code }) => code === 'policy-narrowed')?.message).toContain('on-request approvals, workspace-write');
    const { notes } = await server.handOff({ threadId, to: laptop.hostId });
    expect(notes.join(' ')).toContain('laptop is stricter');
    expect(await asRun(laptop, threadId)).toMatchObject({ approvalPolicy: 'on-request', type: 'workspaceWrite' });
  });
});
