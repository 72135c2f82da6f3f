import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { canManageCodex, managedCodex } from '../fixtures/managedCodex';
import { CodexClient } from './codexClient';
import { codex, explainFailures, pairForAll, refusal, said, saying, startPair, type PairedHosts, type Site } from './pairedHosts';

interface Status { status: string; serverName: string; installationId: string; environmentId: string | null }
interface Clients { data: { clientId: string; displayName: string; lastSeenAt: number | null }[]; nextCursor: string | null }

/** Lets `visitor` in at `site` as an operator, and opens a client of Codex's protocol there, through the relay. */
async function operate(site: Site, visitor: Site): Promise<CodexClient> {
  const { invite } = await site.client.call('host/invite', { role: 'operator' });
  await visitor.client.call('host/join', { invite });
  const { socketPath } = await visitor.client.call('tunnel/open', { host: site.hostId });
  return CodexClient.open(socketPath);
}

const statusOf = async (client: CodexClient): Promise<Status> => (await client.request('remoteControl/status/read')).result as Status;

describe('remote control', () => {
  let pair: PairedHosts;
  let laptop: Site;
  let server: Site;
  let schemas: string;
  let client: CodexClient;
  pairForAll((started) => {
    pair = started;
    ({ laptop, server } = pair);
    schemas = join(pair.directory, 'schemas');
    mkdirSync(schemas);
    execFileSync(codex, ['app-server', 'generate-json-schema', '--experimental', '--out', schemas], { env: { ...process.env, CODEX_HOME: laptop.machine.codexHome }, stdio: 'ignore' });
  });
  beforeEach(async () => {
    client = await operate(laptop, server);
  });

  /** Whether a value is what the real Codex says that its own is, with no member that it does not know. */
  const fits = (name: string, value: unknown): void => {
    const schema = JSON.parse(readFileSync(join(schemas, 'v2', `${name}.json`), 'utf8')) as { properties?: Record<string, unknown> };
    expect(() => z.fromJSONSchema(schema as never).parse(value), `${name}: ${JSON.stringify(value)}`).not.toThrow();
    expect(Object.keys(schema.properties ?? {}), name).toEqual(expect.arrayContaining(Object.keys(value as object)));
  };

  it('answers a client that was written for Codex as the schema of the real Codex says', async () => {
    const greeting = (await client.hears('remoteControl/status/changed')).params;
    fits('RemoteControlStatusChangedNotification', greeting);
    expect(greeting).toMatchObject({ status: 'connected', serverName: 'laptop', environmentId: laptop.hostId, installationId: saying(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/) });
    const results: Record<string, unknown> = {};
    for (const [method, params, schema] of [
      ['remoteControl/status/read', null, 'RemoteControlStatusReadResponse'],
      ['remoteControl/enable', null, 'RemoteControlEnableResponse'],
      ['remoteControl/enable', { ephemeral: true }, 'RemoteControlEnableResponse'],
      ['remoteControl/pairing/start', { manualCode: true }, 'RemoteControlPairingStartResponse'],
      ['remoteControl/client/list', { environmentId: laptop.hostId, cursor: null, limit: 100, order: 'asc' }, 'RemoteControlClientsListResponse'],
    ] as const) {
      const answer = await client.request(method, params);
      expect(answer.error, method).toBeUndefined();
      fits(schema, answer.result);
      results[method] = answer.result;
    }
    const { pairingCode, manualPairingCode } = results['remoteControl/pairing/start'] as { pairingCode: string; manualPairingCode: string };
    const status = await client.request('remoteControl/pairing/status', { pairingCode, manualPairingCode: null });
    fits('RemoteControlPairingStatusResponse', status.result);
    expect((await client.request('remoteControl/pairing/status', { pairingCode, manualPairingCode })).error).toMatchObject({ data: { reason: 'invalid-params' } });
    expect((await client.request('remoteControl/pairing/status', {})).error).toMatchObject({ data: { reason: 'invalid-params' } });
    for (const limit of [0, 101]) expect((await client.request('remoteControl/client/list', { environmentId: laptop.hostId, limit })).error).toMatchObject({ data: { reason: 'invalid-params' } });
    expect((await client.request('remoteControl/client/list', { environmentId: server.hostId })).error).toMatchObject({ data: { reason: 'invalid-params' } });
  });

  it('pairs by either code, says when that was done, and lists and revokes who came in', async () => {
    const { pairingCode, manualPairingCode, expiresAt } = (await client.request('remoteControl/pairing/start', { manualCode: true })).result as { pairingCode: string; manualPairingCode: string; expiresAt: number };
    expect(manualPairingCode).toMatch(/^[A-Z]+-[A-Z]+-\d{4}$/);
    // In seconds, not in milliseconds.
    expect(new Date(expiresAt * 1000).getFullYear()).toBe(new Date().getFullYear());
    const claimed = async (code: object) => ((await client.request('remoteControl/pairing/status', code)).result as { claimed: boolean }).claimed;
    expect([await claimed({ pairingCode }), await claimed({ manualPairingCode })]).toEqual([false, false]);
    const phone = await pair.join('phone');
    await phone.client.call('host/join', { invite: manualPairingCode.toLowerCase() });
    expect([await claimed({ pairingCode }), await claimed({ manualPairingCode: ` ${manualPairingCode.replaceAll('-', ' ')}` })]).toEqual([true, true]);
    expect((await client.request('remoteControl/pairing/status', { manualPairingCode: 'wolf-maple-0000' })).error).toMatchObject({ data: { reason: 'no-such-invite' } });

    const list = async (params: object = {}) => (await client.request('remoteControl/client/list', { environmentId: laptop.hostId, ...params })).result as Clients;
    expect((await list()).data.map(({ displayName }) => displayName).sort()).toEqual(['phone', 'server']);
    const first = await list({ limit: 1, order: 'asc' });
    const second = await list({ limit: 1, order: 'asc', cursor: first.nextCursor });
    expect([...first.data, ...second.data].map(({ clientId }) => clientId).sort()).toEqual([phone.hostId, server.hostId].sort());
    expect([first.nextCursor === null, second.nextCursor]).toEqual([false, null]);
    expect((await list({ limit: 1, order: 'desc' })).data).toEqual(second.data);
    expect((await list()).data.find(({ clientId }) => clientId === server.hostId)?.lastSeenAt).toEqual(expect.any(Number));

    expect((await client.request('remoteControl/client/revoke', { environmentId: laptop.hostId, clientId: phone.hostId })).result).toEqual({});
    expect((await list()).data.map(({ displayName }) => displayName)).toEqual(['server']);
    expect((await client.request('remoteControl/client/revoke', { environmentId: laptop.hostId, clientId: phone.hostId })).error).toMatchObject({ data: { reason: 'no-such-device' } });
    expect((await laptop.client.call('audit/list')).events).toContainEqual(expect.objectContaining({ type: 'device-revoked', deviceId: phone.hostId, by: `host:${server.hostId}` }));
  }, 60_000);

  it('that is disabled ends what is open and lets nobody in, and revokes nothing', async () => {
    const invited = await laptop.client.call('host/invite', { role: 'viewer' });
    const told = laptop.heard('remoteControl/status/changed', ({ status }) => status === 'disabled');
    expect(await laptop.machine.json('remote-control', 'disable')).toMatchObject({ status: 'disabled' });
    await told;
    await client.closed;
    const refused = await CodexClient.open((await server.client.call('tunnel/open', { host: laptop.hostId }).catch(() => ({ socketPath: null }))).socketPath).catch(() => null);
    expect(refused).toBeNull();
    expect((await laptop.client.call('invite/list')).invites).toContainEqual(expect.objectContaining({ id: invited.id, state: 'cancelled' }));
    expect(await refusal(laptop.client.call('host/invite', { role: 'approver' }))).toMatchObject({ reason: 'remote-control-disabled' });
    expect((await laptop.client.call('device/list')).devices).toContainEqual(expect.objectContaining({ id: server.hostId, role: 'operator' }));
    // It steers nothing any more, and is still a peer: it may hand over, and not take what is not its own.
    const threadId = await laptop.begin(said.hello);
    expect(await refusal(server.client.call('host/ask', { host: laptop.hostId, method: 'worktree/list' }))).toMatchObject({ reason: 'not-permitted' });
    expect(await refusal(server.client.call('handoff/preflight', { threadId, from: laptop.hostId, to: server.hostId }))).toMatchObject({ reason: 'not-permitted' });
    expect((await server.handOff({ threadId: await server.begin(said.hello), to: laptop.hostId })).to).toBe(laptop.hostId);

    // For good: also after a restart.
    await laptop.stop();
    await laptop.start();
    expect(await laptop.client.call('remoteControl/status/read')).toMatchObject({ status: 'disabled' });
    expect((await laptop.machine.json<{ checks: object[] }>('doctor')).checks).toContainEqual(expect.objectContaining({ name: 'remote', level: 'warning', message: saying('baton remote-control enable') }));
    await laptop.client.call('remoteControl/enable', { ephemeral: true });
    await laptop.until(async () => (await laptop.client.call('remoteControl/status/read')).status === 'connected');
    client = await CodexClient.open((await server.client.call('tunnel/open', { host: laptop.hostId })).socketPath);
    expect(await statusOf(client)).toMatchObject({ status: 'connected' });
    await laptop.stop();
    await laptop.start();
    expect(await laptop.client.call('remoteControl/status/read')).toMatchObject({ status: 'disabled' });
    await laptop.client.call('remoteControl/enable');
    expect(laptop.audit().map(({ type }) => type)).toEqual(expect.arrayContaining(['remote-control-disabled', 'remote-control-enabled']));
  }, 60_000);
});

describe.skipIf(!canManageCodex())('an administrator who forbids remote control', () => {
  let directory: string;
  let pair: PairedHosts;
  let laptop: Site;
  let server: Site;
  const allow = (allowed: boolean) => writeFileSync(join(directory, 'etc', 'codex', 'requirements.toml'), `allow_remote_control = ${allowed}\n`);

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'baton-managed-'));
    pair = await startPair({ clean: true, laptopEnv: { BATON_CODEX: managedCodex(directory, codex, 'allow_remote_control = true\n') } });
    ({ laptop, server } = pair);
  });
  beforeEach(() => explainFailures(pair));
  afterAll(async () => {
    await pair.close();
    rmSync(directory, { recursive: true });
  });

  it('is obeyed at once: what is open ends, nobody is invited, and all is refused in a sentence', async () => {
    const client = await operate(laptop, server);
    const invited = await laptop.client.call('host/invite', { role: 'peer' });
    allow(false);
    const refused = await refusal(laptop.client.call('remoteControl/status/read'));
    expect(refused).toMatchObject({ reason: 'remote-control-forbidden', message: saying('An administrator has turned remote control off') });
    await client.closed;
    expect((await laptop.client.call('invite/list')).invites).toContainEqual(expect.objectContaining({ id: invited.id, state: 'cancelled' }));
    for (const role of ['peer', 'operator', 'viewer'] as const) expect(await refusal(laptop.client.call('host/invite', { role }))).toMatchObject({ reason: 'remote-control-forbidden' });
    const { hostId: environmentId } = laptop;
    for (const [method, params] of [['remoteControl/enable', {}], ['remoteControl/disable', {}], ['remoteControl/pairing/start', {}], ['remoteControl/client/list', { environmentId }]] as const) {
      expect(await refusal(laptop.client.call(method, params as never)), method).toMatchObject({ reason: 'remote-control-forbidden' });
    }
    expect((await laptop.machine.json<{ checks: object[] }>('doctor')).checks).toContainEqual(expect.objectContaining({ name: 'remote', level: 'warning', message: saying('allow_remote_control = false') }));
    expect(await refusal(server.client.call('host/ask', { host: laptop.hostId, method: 'worktree/list' }))).toMatchObject({ reason: 'not-permitted' });
    // The account itself still looks after whom it trusts.
    expect((await laptop.client.call('device/list')).devices).toContainEqual(expect.objectContaining({ id: server.hostId }));
  });

  it('does not stand between hosts that are paired: they hand threads to each other', async () => {
    expect((await server.handOff({ threadId: await server.begin(said.hello), to: laptop.hostId })).to).toBe(laptop.hostId);
  });

  it('keeps a host away from the relay that nobody may come to, also after a restart, until it is allowed again', async () => {
    await laptop.client.call('device/revoke', { id: server.hostId });
    const { relay } = await laptop.client.call('host/read');
    expect(relay).toEqual({ url: pair.relay.url, status: 'disabled', message: saying('allow_remote_control') });
    await laptop.stop();
    await laptop.start();
    expect((await laptop.client.call('host/read')).relay).toEqual(relay);
    expect(laptop.machine.hostLog).not.toContain('Relay: connected');
    allow(true);
    await laptop.client.call('remoteControl/status/read');
    await laptop.until(async () => (await laptop.client.call('remoteControl/status/read')).status === 'connected');
  });
});
