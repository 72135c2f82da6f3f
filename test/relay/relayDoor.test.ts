import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { connect as connectPlain, createServer, type AddressInfo } from 'node:net';
import { connect, type TLSSocket } from 'node:tls';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { generateKeyPair, hostIdOf } from '../../src/relay/keys';
import { AddressSet, clientAddress, shareOf } from '../../src/relay/relayAddress';
import { FollowedFiles } from '../../src/relay/relayFiles';
import type { RelayEvent } from '../../src/relay/relayLog';
import { startRelay } from '../../src/relay/relayServer';
import { makeCertificate } from './certificate';
import { channelsThrough, closers, dial, host, registered, relay, statusOf } from './relayLaboratory';
import { bundle, endProcess } from '../fixtures/machine';
import { failureOf, ManualClock, receivedBy } from './channelPair';

async function temporary(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'baton-door-'));
  closers.push(() => rm(directory, { recursive: true }));
  return directory;
}

async function secretFile(): Promise<string> {
  const path = join(await temporary(), 'secret');
  await writeFile(path, 's'.repeat(40));
  return path;
}

function get(port: number, path: string, headers: Record<string, string> = {}): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    request({ port, host: '127.0.0.1', path, headers }, (response) => {
      let body = '';
      response.on('data', (chunk: Buffer) => (body += chunk.toString())).on('end', () => resolve({ status: response.statusCode ?? 0, body }));
    }).on('error', reject).end();
  });
}

describe('TLS', () => {
  it('takes a renewed certificate for new connections and keeps those that are open', async () => {
    const directory = await temporary();
    const [first, second] = [makeCertificate(directory, 'first'), makeCertificate(directory, 'second')];
    const live = { cert: join(directory, 'live.crt'), key: join(directory, 'live.key') };
    const install = async ({ cert, key }: typeof first) => {
      await writeFile(live.key, readFileSync(key));
      // Renewed as certbot does it: a new file in the place of the old one.
      await writeFile(`${live.cert}.tmp`, readFileSync(cert));
      await rename(`${live.cert}.tmp`, live.cert);
    };
    await install(first);
    const events: RelayEvent[] = [];
    let read: () => void = () => undefined;
    const running = await relay({ tls: live, log: (event) => { events.push(event); if (event.event === 'settings-read') read(); } });
    expect(running.url).toMatch(/^wss:/);
    const name = async (): Promise<string> => {
      const socket: TLSSocket = connect({ port: running.port, host: '127.0.0.1', rejectUnauthorized: false });
      await once(socket, 'secureConnect');
      const { subject } = socket.getPeerCertificate();
      socket.destroy();
      return String(subject.CN);
    };
    expect(await name()).toBe('first');
    const open = new WebSocket(`${running.url}/v1/register/${hostIdOf(generateKeyPair().publicKey)}`, { ca: readFileSync(first.cert) });
    closers.push(() => open.terminate());
    await once(open, 'message');
    const renewed = new Promise<void>((resolve) => (read = resolve));
    await install(second);
    await renewed;
    expect(await name()).toBe('second');
    // Pinged and answered over the connection from before.
    open.ping();
    await once(open, 'pong');
    const refused = new WebSocket(`${running.url}/v1/register/${hostIdOf(generateKeyPair().publicKey)}`, { ca: readFileSync(first.cert) });
    await expect(once(refused, 'open')).rejects.toThrow();
  });

  it('does not start with a key that belongs to another certificate', async () => {
    const directory = await temporary();
    const tls = { cert: makeCertificate(directory, 'one').cert, key: makeCertificate(directory, 'two').key };
    await expect(startRelay({ host: '127.0.0.1', port: 0, tls })).rejects.toMatchObject({ reason: 'setting-invalid', message: expect.stringContaining(tls.key) as string });
  });

  it('ends a connection that never finishes its handshake', async () => {
    const running = await relay({ tls: makeCertificate(await temporary(), 'slow'), limits: { headersTimeoutMs: 300 } });
    const silent = connectPlain(running.port, '127.0.0.1').on('error', () => undefined);
    await once(silent.resume(), 'close');
    while (running.statistics().connections > 0) await new Promise((resolve) => setImmediate(resolve));
  });
});

describe('a relay that others can reach', () => {
  it.each(['0.0.0.0', '::', '192.0.2.1'])('does not start on %s without knowing whom to let in', async (address) => {
    await expect(startRelay({ host: address, port: 0 })).rejects.toMatchObject({ reason: 'setting-invalid', message: expect.stringContaining('--secret-file') as string });
  });

  it('does not start behind a proxy without it either, nor with a secret that could be guessed', async () => {
    await expect(startRelay({ host: '127.0.0.1', port: 0, trustedProxies: ['127.0.0.1'] })).rejects.toMatchObject({ reason: 'setting-invalid' });
    await expect(startRelay({ host: '127.0.0.1', port: 0, admission: { secret: 'short' } })).rejects.toMatchObject({ reason: 'setting-invalid' });
    await expect(startRelay({ host: '127.0.0.1', port: 0, admission: { secretFile: '/nowhere' } })).rejects.toMatchObject({ reason: 'setting-invalid' });
  });

  it('starts with a secret', async () => {
    const running = await relay({ host: '0.0.0.0', admission: { secretFile: await secretFile() } });
    expect((await get(running.port, '/healthz')).status).toBe(200);
  });
});

describe('the address of a client', () => {
  const proxies = new AddressSet(['10.0.0.0/8', '::1']);
  it.each([
    ['10.0.0.1', '203.0.113.9', '203.0.113.9'],
    ['10.0.0.1', '198.51.100.66, 203.0.113.9, 10.2.2.2', '203.0.113.9'],
    ['::ffff:10.0.0.1', '::ffff:203.0.113.9', '203.0.113.9'],
    ['::1', '2001:db8::7', '2001:db8::7'],
    ['10.0.0.1', undefined, '10.0.0.1'],
    ['10.0.0.1', 'localhost', undefined],
    ['10.0.0.1', '203.0.113.9:443', undefined],
    ['203.0.113.9', '127.0.0.1', '203.0.113.9'],
    ['192.168.0.1', '10.0.0.1', '192.168.0.1'],
  ])('from %s that forwards %s is %s', (remote, forwarded, expected) => {
    expect(clientAddress(remote, forwarded, proxies)).toBe(expected);
  });

  it.each([
    ['203.0.113.9', '203.0.113.9'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
    ['2001:0db8:1:2::', '2001:db8:1:2'],
    ['2001:db8::1', '2001:db8:0:0'],
    ['::1', '0:0:0:0'],
    ['fe80::1%eth0', 'fe80:0:0:0'],
  ])('%s counts as %s', (address, share) => {
    expect(shareOf(address)).toBe(share);
  });

  it.each(['10.0.0.0/33', '::/129', 'example.org', '10.0.0.0/8/8', '10.0.0.0/', ''])('is not taken from the list %s', (entry) => {
    expect(() => new AddressSet([entry])).toThrow(expect.objectContaining({ reason: 'setting-invalid' }));
  });
});

describe('behind a proxy', () => {
  it('limits count the address that the proxy forwards, for each client by itself', async () => {
    const { url } = await relay({ admission: { secretFile: await secretFile() }, trustedProxies: ['127.0.0.0/8'], limits: { maxProofsPerMinutePerAddress: 2 } });
    const ask = (address: string) => statusOf(`${url}/v1/token/${hostIdOf(generateKeyPair().publicKey)}`, { 'x-forwarded-for': address });
    expect([await ask('203.0.113.1'), await ask('203.0.113.1'), await ask('203.0.113.1')]).toEqual([101, 101, 429]);
    expect(await ask('203.0.113.2')).toBe(101);
    expect(await ask('198.51.100.1, 203.0.113.1')).toBe(429);
    expect(await ask('nonsense')).toBe(400);
  });

  it('connections of one client are bounded, and the proxy may bring more than one client has', async () => {
    const running = await relay({ admission: { secretFile: await secretFile() }, trustedProxies: ['127.0.0.1'], limits: { maxConnectionsPerAddress: 2 } });
    const { url } = running;
    const open = async (address: string): Promise<number> => {
      const socket = new WebSocket(`${url}/v1/token/${hostIdOf(generateKeyPair().publicKey)}`, { headers: { 'x-forwarded-for': address } });
      closers.push(() => socket.terminate());
      socket.on('error', () => undefined);
      return new Promise((resolve) => {
        socket.once('unexpected-response', (_request, response) => resolve(response.statusCode ?? 0)).once('open', () => resolve(101));
      });
    };
    for (const client of ['203.0.113.1', '203.0.113.2', '203.0.113.3']) expect([await open(client), await open(client), await open(client)]).toEqual([101, 101, 429]);
    expect(running.statistics().connections).toBeGreaterThanOrEqual(6);
  });

  it('from whom no proxy is expected the header means nothing', async () => {
    const { url } = await relay({ admission: { secretFile: await secretFile() }, limits: { maxProofsPerMinutePerAddress: 1 } });
    const ask = (address: string) => statusOf(`${url}/v1/token/${hostIdOf(generateKeyPair().publicKey)}`, { 'x-forwarded-for': address });
    expect([await ask('203.0.113.1'), await ask('203.0.113.2')]).toEqual([101, 429]);
  });
});

describe('before a proxy that it was not told of', () => {
  it.each([{ 'x-forwarded-for': '203.0.113.1' }, { 'X-Forwarded-For': '' }, { forwarded: 'for=203.0.113.1' }])('a relay that lets everybody in lets nobody in whom it brings: %o', async (headers) => {
    const events: RelayEvent[] = [];
    const { url, port } = await relay({ log: (event) => events.push(event) });
    const { hostId } = await host(url);
    for (const action of ['register', 'dial', 'accept']) expect(await statusOf(`${url}/v1/${action}/${hostId}`, headers)).toBe(403);
    expect(await get(port, '/metrics', headers)).toEqual({ status: 403, body: expect.stringContaining('--trust-proxy') as string });
    expect(events.filter(({ event }) => event === 'proxy-refused')).toEqual([{ event: 'proxy-refused', message: expect.stringContaining('--trust-proxy') as string }]);
    await dial(url, hostId);
  });

  it('a relay with a secret still tells others nothing of its metrics', async () => {
    const { port } = await relay({ admission: { secretFile: await secretFile() } });
    expect((await get(port, '/metrics', { 'x-forwarded-for': '203.0.113.1' })).status).toBe(404);
    expect((await get(port, '/metrics')).status).toBe(200);
  });
});

describe('the log', () => {
  it('has the first refusal of a kind in each minute, and the metrics have all', async () => {
    const clock = new ManualClock();
    const lines: RelayEvent[] = [];
    const { url, port } = await relay({ clock, log: (event) => lines.push(event) });
    const absent = () => statusOf(`${url}/v1/dial/${hostIdOf(generateKeyPair().publicKey)}`);
    const refused = () => lines.filter(({ event }) => event === 'dial-refused').length;
    for (let count = 0; count < 20; count++) expect(await absent()).toBe(404);
    expect(refused()).toBe(1);
    clock.advance(60_000);
    await absent();
    expect(refused()).toBe(2);
    expect((await get(port, '/metrics')).body).toContain('baton_relay_events_total{event="dial-refused",status="404"} 21\n');
  });

  it('says where it begins that the network can see what lets hosts in', async () => {
    const began = async (options: Parameters<typeof relay>[0]): Promise<RelayEvent | undefined> => {
      const lines: RelayEvent[] = [];
      await relay({ ...options, log: (event) => lines.push(event) });
      return lines[0];
    };
    const admission = { secretFile: await secretFile() };
    expect(await began({ admission })).toEqual({ event: 'listening', message: expect.stringContaining('--tls-cert') as string });
    for (const options of [{}, { admission, trustedProxies: ['127.0.0.1'] }, { admission, tls: makeCertificate(await temporary(), 'closed') }]) expect(await began(options)).toEqual({ event: 'listening' });
  });
});

describe('files that are followed', () => {
  it('are read again until that succeeds, and one problem is told once', async () => {
    const clock = new ManualClock();
    const path = await secretFile();
    let problem: string | undefined;
    let readings = 0;
    const files = new FollowedFiles([path], () => {
      readings += 1;
      return problem === undefined ? Promise.resolve() : Promise.reject(new Error(problem));
    });
    await files.load();
    const told: (string | undefined)[] = [];
    files.follow(clock, 1000, (said) => told.push(said));
    closers.push(() => files.stop());
    const look = async (): Promise<void> => {
      clock.advance(1000);
      // Two turns of the file system, and more than enough.
      await new Promise((resolve) => setTimeout(resolve, 50));
    };
    problem = 'the disk does not answer';
    await writeFile(path, 'n'.repeat(40));
    for (let looks = 0; looks < 3; looks++) await look();
    expect([told, readings]).toEqual([['the disk does not answer'], 4]);
    problem = undefined;
    for (let looks = 0; looks < 3; looks++) await look();
    expect([told, readings]).toEqual([['the disk does not answer', undefined], 5]);
  });
});

describe('a web page', () => {
  it('is let through only from an origin that the relay was told of', async () => {
    const { url, port } = await relay({ allowedOrigins: ['https://baton.example.org'] });
    const { hostId } = await host(url);
    const ask = (origin: string) => statusOf(`${url}/v1/dial/${hostId}`, { origin });
    expect(await ask('https://baton.example.org')).toBe(101);
    for (const origin of ['https://evil.example', 'http://baton.example.org', 'https://baton.example.org.evil.example', 'null', '']) expect(await ask(origin)).toBe(403);
    expect((await get(port, '/metrics', { origin: 'https://evil.example' })).status).toBe(403);
  });
});

describe('/metrics', () => {
  it('tells this machine what the relay has and had, in the form that Prometheus reads', async () => {
    const { url, port } = await relay();
    const { near, far } = await channelsThrough(url);
    near.end('x'.repeat(5000));
    await receivedBy(far);
    await statusOf(`${url}/v1/dial/${hostIdOf(generateKeyPair().publicKey)}`);
    const { status, body } = await get(port, '/metrics');
    expect(status).toBe(200);
    for (const line of body.trimEnd().split('\n')) expect(line).toMatch(/^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9.e+-]+)$/);
    expect(body).toContain('baton_relay_hosts 1\n');
    expect(body).toContain('baton_relay_pairs 1\n');
    expect(body).toContain('baton_relay_events_total{event="dial-refused",status="404"} 1\n');
    expect(Number(/baton_relay_forwarded_bytes_total (\d+)/.exec(body)?.[1])).toBeGreaterThan(5000);
    expect(body).not.toMatch(/127\.0\.0\.1/);
  });

  it('tells others nothing, also when a proxy of this machine brings them, unless they were named', async () => {
    const admission = { secretFile: await secretFile() };
    const closed = await relay({ admission, trustedProxies: ['127.0.0.1'] });
    expect((await get(closed.port, '/metrics', { 'x-forwarded-for': '203.0.113.1' })).status).toBe(404);
    expect((await get(closed.port, '/metrics', { 'x-forwarded-for': '127.0.0.1' })).status).toBe(404);
    expect((await get(closed.port, '/metrics')).status).toBe(404);
    const named = await relay({ admission, trustedProxies: ['127.0.0.1'], metricsFrom: ['203.0.113.0/24'] });
    expect((await get(named.port, '/metrics', { 'x-forwarded-for': '203.0.113.1' })).status).toBe(200);
  });
});

describe('a relay that is told to end', () => {
  it('says so, takes nothing new, sends its hosts elsewhere, and lets a pair end', async () => {
    const running = await relay();
    const elsewhere = await relay();
    const { near, far } = await channelsThrough(running.url);
    const server = await host(running.url);
    const away = new Promise<void>((resolve) => server.client.onStatusChange(() => server.client.status === 'errored' && resolve()));
    const drained = running.drain();
    await away;
    expect(server.client.statusMessage).toContain('about to end');
    expect(await get(running.port, '/readyz')).toEqual({ status: 503, body: '{"status":"draining"}\n' });
    expect(await get(running.port, '/healthz')).toEqual({ status: 200, body: '{"status":"draining"}\n' });
    expect((await get(running.port, '/metrics')).body).toContain('baton_relay_draining 1\n');
    await expect(dial(running.url, server.hostId)).rejects.toMatchObject({ reason: 'relay-refused' });
    expect(await statusOf(`${running.url}/v1/register/${server.hostId}`)).toBe(503);
    await dial(elsewhere.url, (await host(elsewhere.url, server.keyPair)).hostId);
    near.end('still carried');
    expect((await receivedBy(far)).toString()).toBe('still carried');
    far.end();
    await receivedBy(near);
    await drained;
    await expect(get(running.port, '/healthz')).rejects.toThrow();
  });

  it('waits no longer when the last dial has ended that its host did not come for', async () => {
    const clock = new ManualClock();
    const running = await relay({ clock });
    const { socket, hostId } = await registered(running.url);
    const dialling = dial(running.url, hostId).catch((error: unknown) => error);
    await once(socket, 'message');
    const drained = running.drain();
    // Long before those 30 s for which a pair would be waited for.
    clock.advance(10_000);
    await drained;
    expect(await dialling).toMatchObject({ reason: 'timeout' });
  });

  it('ends at once while it still waits for NATS', async () => {
    const nats = createServer().listen(0, '127.0.0.1');
    await once(nats, 'listening');
    closers.push(() => void nats.close());
    const child = spawn(process.execPath, [bundle, 'relay', '--listen', '127.0.0.1:0', '--nats', `nats://127.0.0.1:${(nats.address() as AddressInfo).port}`, '--public-url', 'ws://127.0.0.1:1'], { stdio: 'ignore' });
    closers.push(() => endProcess(child, 'SIGKILL'));
    await once(nats, 'connection');
    child.kill('SIGTERM');
    // By its own doing: process 1 of a container is not ended by a signal that it does not handle.
    expect(await once(child, 'exit')).toEqual([0, null]);
  });

  it('does not wait for a pair beyond its bound', async () => {
    const running = await relay({ limits: { drainTimeoutMs: 200 } });
    const { near, far } = await channelsThrough(running.url);
    const broken = Promise.all([failureOf(near), failureOf(far)]);
    await running.drain();
    await broken;
    expect(running.statistics()).toMatchObject({ pairs: 0, hosts: 0 });
  });
});
