/** What packaging/ says, tried as far as it goes without systemd and docker. */
import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { bundle, endProcess } from '../fixtures/machine';
import { makeCertificate } from './certificate';
import { closers, relay } from './relayLaboratory';

const packaging = (name: string): string => readFileSync(resolve(import.meta.dirname, '../../packaging', name), 'utf8');
const has = (program: string, ...args: string[]): boolean => {
  try {
    execFileSync(program, args, { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
};

/** The calls in a set of systemd's, such as `@system-service`, with those of the sets in it. */
function callsIn(set: string): string[] {
  const lines = execFileSync('systemd-analyze', ['syscall-filter', '--no-pager', set], { encoding: 'utf8' }).split('\n').map((line) => line.trim());
  return lines.slice(1).filter((line) => line !== '' && !line.startsWith('#')).flatMap((line) => (line.startsWith('@') ? callsIn(line) : [line]));
}

describe('the unit of systemd', () => {
  // strace is of no use where it may trace nothing, as in some containers.
  const missing = [...(has('strace', '-o', '/dev/null', 'true') ? [] : ['strace']), ...(has('systemd-analyze', '--version') ? [] : ['systemd-analyze'])];

  it.skipIf(missing.length > 0)('allows each system call that a relay makes', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'baton-unit-'));
    closers.push(() => rm(directory, { recursive: true }));
    const trace = join(directory, 'trace');
    const child = spawn('strace', ['-f', '-qq', '-o', trace, process.execPath, bundle, 'relay', '--listen', '127.0.0.1:0', '--json'], { stdio: ['ignore', 'pipe', 'ignore'] });
    closers.push(() => endProcess(child, 'SIGKILL'));
    const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
    const { url } = JSON.parse(line) as { url: string };
    expect((await fetch(`${url.replace('ws:', 'http:')}/healthz`)).status).toBe(200);
    // strace passes no signal on: its child is the first that it writes of.
    process.kill(Number(/^\d+/.exec(await readFile(trace, 'utf8'))?.[0]), 'SIGTERM');
    await once(child, 'exit');
    const used = new Set([...(await readFile(trace, 'utf8')).matchAll(/^\d+ +([a-z_0-9]+)\(/gm)].map(([, call]) => call ?? ''));
    expect(used.size).toBeGreaterThan(20);
    const filters = [...packaging('baton-relay.service').matchAll(/^SystemCallFilter=(~?)(.+)$/gm)].map(([, not, sets = '']) => ({ not: not === '~', calls: sets.split(' ').flatMap(callsIn) }));
    const allowed = new Set(callsIn('@default'));
    for (const { not, calls } of filters) for (const call of calls) if (not) allowed.delete(call); else allowed.add(call);
    expect([...used].filter((call) => !allowed.has(call))).toEqual([]);
  });
  if (missing.length > 0) console.info(`Which system calls the unit allows was not compared: this machine has no use of ${missing.join(' and ')}.`);
});

describe('the image', () => {
  it.each(['http', 'https'])('knows whether the relay in it is well over %s', async (scheme) => {
    const directory = await mkdtemp(join(tmpdir(), 'baton-image-'));
    closers.push(() => rm(directory, { recursive: true }));
    const running = await relay(scheme === 'https' ? { tls: makeCertificate(directory, 'image') } : {});
    const [program = '', ...args] = JSON.parse(/^HEALTHCHECK .* CMD (\[.*\])$/m.exec(packaging('Dockerfile'))?.[1] ?? '[]') as string[];
    const ask = (port: number) => promisify(execFile)(program, args.map((arg) => arg.replace('7440', String(port))));
    await ask(running.port);
    await running.close();
    await expect(ask(running.port)).rejects.toMatchObject({ code: 1 });
  });
});
