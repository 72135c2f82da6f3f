import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkClock, checkDisk, checkGit, machineProbes, runDoctor, type DoctorProbes } from '../../src/host/doctor';

const healthy: DoctorProbes = {
  gitVersion: () => Promise.resolve('git version 2.39.5\n'),
  codex: () => Promise.resolve({ command: '/bin/codex', version: '0.169.0' }),
  relayTime: () => Promise.resolve(1000),
  now: () => 2000,
  freeBytes: () => Promise.resolve(50e9),
  exposure: () => undefined,
};
const subject = { batonHome: '/h', relayUrl: 'wss://relay', closedBecause: null };
const levels = async (probes: Partial<DoctorProbes>, relayUrl: string | null = subject.relayUrl) =>
  Object.fromEntries((await runDoctor({ ...subject, relayUrl }, { ...healthy, ...probes })).map(({ name, level }) => [name, level]));
const fail = () => Promise.reject(new Error('gone'));

describe('the doctor', () => {
  it('finds nothing wrong with a healthy machine', async () => {
    expect(await levels({})).toEqual({ git: 'ok', codex: 'ok', relay: 'ok', clock: 'ok', remote: 'ok', disk: 'ok', permissions: 'ok', socket: 'ok' });
  });

  it.each([
    ['git', { gitVersion: fail }], ['codex', { codex: fail }], ['relay', { relayTime: fail }], ['disk', { freeBytes: fail }], ['permissions', { exposure: () => 'its mode is 0755, not 0700' }],
  ] as const)('says that %s is wrong and goes on with the rest', async (name, probes) => {
    const found = await levels(probes);
    expect(found[name]).toBe('error');
    expect(Object.entries(found).filter(([other, level]) => other !== name && level !== 'ok')).toEqual([]);
  });

  it('says why nobody is let in, and that handoffs go on', async () => {
    const checks = await runDoctor({ ...subject, closedBecause: 'It is off.' }, healthy);
    expect(checks).toContainEqual({ name: 'remote', level: 'warning', message: 'It is off. Hosts that are paired can still hand threads to each other.' });
  });

  it('takes a missing relay for a warning, unless hosts are reached without one', async () => {
    expect(await levels({}, null)).toMatchObject({ relay: 'warning' });
    expect((await runDoctor({ ...subject, relayUrl: null, otherWays: true }, healthy)).find(({ name }) => name === 'relay')).toMatchObject({ level: 'ok' });
  });

  it.each([['git version 2.34.0', 'ok'], ['git version 2.33.8', 'error'], ['git version 2.50.1.windows.1', 'ok'], ['git version 3.0.0 (Apple Git-1)', 'ok'], ['what?', 'error']])('judges "%s" %s', (output, level) => {
    expect(checkGit(output).level).toBe(level);
  });
  it.each([[0, 'ok'], [29_000, 'ok'], [-60_000, 'warning'], [3_600_000, 'error']])('judges a clock that is off by %d ms %s', (off, level) => {
    expect(checkClock(1e12 + off, 1e12).level).toBe(level);
  });
  it.each([[50e9, 'ok'], [1e9, 'warning'], [1e8, 'error']])('judges %d free bytes %s', (bytes, level) => {
    expect(checkDisk(bytes, '/').level).toBe(level);
  });

  it('looks at the real machine', async () => {
    const server = createServer((_, response) => response.writeHead(426).end()).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const checks = await runDoctor({ ...subject, batonHome: join(tmpdir(), 'not', 'there'), relayUrl: url }, machineProbes(process.env, healthy.codex));
    server.close();
    expect(checks.map(({ name, level }) => [name, level === 'error' ? checks : 'fine'])).toEqual(['git', 'codex', 'relay', 'clock', 'remote', 'disk', 'permissions', 'socket'].map((name) => [name, 'fine']));
  });

  it('says which relay does not answer', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}`;
    server.close();
    await once(server, 'close');
    const checks = await runDoctor({ ...subject, batonHome: tmpdir(), relayUrl: url }, machineProbes(process.env, healthy.codex));
    expect(checks.find(({ name }) => name === 'relay')).toMatchObject({ level: 'error', message: expect.stringContaining(url) as string });
  });
});
