import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { makeOrigin } from '../fixtures/checkout';
import { freePort } from '../fixtures/freePort';
import { startScriptedModel } from '../fixtures/scriptedModel';
import { endLeftAppServer, makeSite, refusal, said, saying, script, type Site } from './pairedHosts';

const token = randomBytes(33).toString('base64');

describe('a host with an open door', () => {
  let laptop: Site;
  let box: Site;
  let url: string;
  beforeAll(async () => {
    const directory = await mkdtemp(join(tmpdir(), 'baton-door-'));
    const model = await startScriptedModel({ script });
    const origin = await makeOrigin(directory);
    laptop = await makeSite({ directory, name: 'laptop', origin, model, env: { BATON_TOKEN_BOX: token, BATON_TOKEN_WRONG: 'x'.repeat(44), BATON_TOKEN_SHORT: 'short' } });
    box = await makeSite({ directory, name: 'box', origin, model, env: { BATON_TOKEN: token } });
    const port = await freePort();
    url = `ws://127.0.0.1:${port}`;
    await box.machine.startHost(undefined, ['--listen', `127.0.0.1:${port}`, '--listen-token-env', 'BATON_TOKEN']);
    await box.attach();
    await laptop.start();
    for (const { client, checkout } of [laptop, box]) await client.call('project/add', { directory: checkout });
    return async () => {
      for (const site of [laptop, box]) {
        await site.stop();
        endLeftAppServer(site.machine);
      }
      await model.close();
      await rm(directory, { recursive: true, force: true, maxRetries: 5 });
    };
  });

  const add = (tokenEnv: string, at = url) => laptop.client.call('host/add', { url: at, tokenEnv });
  /** The status with which the door refuses a WebSocket. */
  const statusOf = (path: string, headers: Record<string, string>) =>
    new Promise<number>((resolve, reject) => {
      const socket = new WebSocket(`${url}${path}`, { headers });
      socket.once('unexpected-response', (_, response) => {
        resolve(response.statusCode ?? 0);
        response.destroy();
      });
      socket.once('open', () => reject(new Error('It was let in.')));
      socket.on('error', () => undefined);
    });

  it('answers nothing without the token', async () => {
    expect(await statusOf('/v1/host/channel', {})).toBe(401);
    expect(await statusOf(`/v1/host/meet/${laptop.hostId}`, { authorization: `Bearer ${'x'.repeat(44)}` })).toBe(401);
    expect(await statusOf('/v1/host/channel', { authorization: `Bearer ${token}`, origin: 'https://example.org' })).toBe(403);
    expect(await statusOf('/v1/host/else', { authorization: `Bearer ${token}` })).toBe(404);
    expect(await refusal(add('BATON_TOKEN_WRONG'))).toMatchObject({ reason: 'token-refused', message: expect.not.stringContaining('xxxx') as string });
    expect(await refusal(add('BATON_TOKEN_SHORT'))).toMatchObject({ reason: 'token-missing', message: expect.not.stringContaining('short,') as string });
    expect(await refusal(add('BATON_TOKEN_NONE'))).toMatchObject({ reason: 'token-missing' });
    expect(await refusal(add('HOME'))).toMatchObject({ reason: 'invalid-params' });
    expect(await refusal(add('BATON_TOKEN_BOX', 'ws://192.0.2.1:1'))).toMatchObject({ reason: 'invalid-params', message: saying(/Use wss/) });
  });

  it('is met with it, and takes a thread and hands it back', async () => {
    const added = await laptop.machine.json<{ hostId: string; words: string }>('host', 'add', url, '--token-env', 'BATON_TOKEN_BOX');
    expect(added.hostId).toBe(box.hostId);
    expect(box.audit()).toContainEqual(expect.objectContaining({ type: 'device-paired', deviceId: laptop.hostId, words: added.words }));
    const threadId = await laptop.begin(said.hello);
    await laptop.handOff({ threadId, to: box.hostId });
    expect(await box.say(threadId, said.hello)).toBe('completed');
    expect(await box.handOff({ threadId, to: laptop.hostId })).toMatchObject({ threadId, epoch: 2 });
    expect(await laptop.say(threadId, said.hello)).toBe('completed');
  });

  it('shows the token to nothing that the hosts start, and writes it nowhere', async () => {
    for (const { machine } of [laptop, box]) {
      for (const file of ['peers.json', 'settings.json']) expect(await readFile(join(machine.batonHome, file), 'utf8')).not.toContain(token);
      expect(machine.hostLog).not.toContain(token);
      if (process.platform !== 'linux') continue;
      const { pid } = JSON.parse(await readFile(join(machine.batonHome, 'app-server.json'), 'utf8')) as { pid: number };
      expect(await readFile(`/proc/${pid}/environ`, 'latin1')).not.toContain('BATON_TOKEN');
    }
  });
});
