/** What a relay costs: bytes per second, a whole pack, the round trip of a call, a crowd of connections, and everybody coming back at once. */
import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Duplex, Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { WebSocket } from 'ws';
import type { Channel } from '../../src/relay/channel';
import { generateKeyPair, publicKeyOf } from '../../src/relay/keys';
import { openChannel } from '../../src/relay/openChannel';
import { dialThroughRelay } from '../../src/relay/relayDial';
import { clientOptions } from '../../src/relay/webSocketStream';
import { git } from '../fixtures/checkout';
import { endProcess, startRelayProcess } from '../fixtures/machine';
import { chunk, measureChannel, startRole, volume, type ChannelRun } from './channelBench';
import type { LoopbackSsh } from './loopbackSsh';
import { summarise } from './statistics';
import { formatTable, milliseconds, ratio } from './table';

const PACK_BYTES = 255 * 1024 * 1024;
const BLOB_BYTES = 64 * 1024;
const CALLS = 1000;
const CROWD = { idle: 10_000, busy: 1000, storm: 5000 };
const BUSY_WINDOW_MS = 10_000;
const unlimited = ['connections', 'connections-per-address', 'dials-per-minute-per-address', 'dials-per-minute-per-host', 'proofs-per-minute-per-address'].flatMap((limit) => [`--max-${limit}`, '1000000']);

export interface RelayRun extends ChannelRun {
  /** MiB per second through `ssh`, where there is one. */
  readonly ssh: number | null;
  /** Milliseconds of a pack through the relay into `git index-pack`, and through a pipe. */
  readonly pack: number;
  readonly packLocal: number;
  /** Median milliseconds of a small call through the relay, and over one bare WebSocket. */
  readonly call: number;
  readonly bareCall: number;
}

export interface CrowdRun {
  readonly idle: number;
  readonly busy: number;
  /** Resident memory of the relay for each connection, in bytes: of those that are idle, and of those that are busy. */
  readonly idleBytes: number;
  readonly busyBytes: number;
  /** Median milliseconds of a call with nobody else there, and in the crowd. */
  readonly callAlone: number;
  readonly callInCrowd: number;
  /** Share of one core that the relay takes: with the idle ones, and with the busy ones. */
  readonly idleCpu: number;
  readonly busyCpu: number;
  readonly storm: number;
  /** From the start of the new relay until all are registered again. */
  readonly stormMilliseconds: number;
}

export async function measureRelay(relayUrl: string, program: string, ssh: LoopbackSsh | string, directory: string, runs: number): Promise<RelayRun[]> {
  const repository = await packOf(directory);
  const measured: RelayRun[] = [];
  for (let run = 0; run < runs; run++) {
    const { channel, bareTcp } = await measureChannel(relayUrl, program);
    const sshSpeed = typeof ssh === 'string' ? null : await throughSsh(ssh);
    const packLocal = await timed(() => indexed(packing(repository).stdout, join(directory, `local-${run}`)));
    const pack = await packThroughRelay(relayUrl, program, repository, join(directory, `relayed-${run}`));
    measured.push({ channel, bareTcp, ssh: sshSpeed, pack, packLocal, call: await callThroughRelay(relayUrl, program), bareCall: await bareCall(program) });
  }
  return measured;
}

async function timed(action: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await action();
  return performance.now() - begun;
}

async function throughSsh(ssh: LoopbackSsh): Promise<number> {
  const child = spawn('ssh', ['-F', ssh.config, ...ssh.direct, 'server', 'echo ready; cat > /dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  const milliseconds = await timed(async () => {
    for (let sent = 0; sent < volume; sent += chunk.length) if (!child.stdin.write(chunk)) await once(child.stdin, 'drain');
    child.stdin.end();
    await once(child, 'exit');
  });
  return volume / 1024 / 1024 / (milliseconds / 1000);
}

/** A repository whose one pack cannot be made smaller: the most bytes for the least work of git. */
async function packOf(directory: string): Promise<string> {
  const repository = join(directory, 'large');
  await mkdir(repository, { recursive: true });
  await git(repository, 'init', '-q');
  for (let at = 0; at < PACK_BYTES / BLOB_BYTES; at++) await writeFile(join(repository, `blob-${at}`), randomBytes(BLOB_BYTES));
  await git(repository, '-c', 'core.compression=0', 'add', '-A');
  await git(repository, 'commit', '-qm', 'Large');
  await git(repository, '-c', 'pack.window=0', 'repack', '-adq');
  return repository;
}

function packing(repository: string): { stdout: Readable } {
  const child = spawn('git', ['pack-objects', '--revs', '--stdout', '-q', '--delta-base-offset'], { cwd: repository, stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.end('HEAD\n');
  return child;
}

async function emptyRepository(directory: string): Promise<string> {
  await mkdir(directory);
  await git(directory, 'init', '-q');
  return directory;
}

async function indexed(pack: Readable, directory: string): Promise<void> {
  const child = spawn('git', ['index-pack', '--stdin', '--fix-thin', '--strict'], { cwd: await emptyRepository(directory), stdio: ['pipe', 'ignore', 'inherit'] });
  const exited = once(child, 'exit');
  await pipeline(pack, child.stdin);
  await exited;
}

async function packThroughRelay(relayUrl: string, program: string, repository: string, directory: string): Promise<number> {
  const host = startRole(program, { role: 'packHost', relayUrl, repository: await emptyRepository(directory) });
  try {
    const { hostId = '' } = await host.next('ready');
    const channel = await channelTo(relayUrl, hostId);
    const received = host.next('received');
    return await timed(async () => {
      packing(repository).stdout.pipe(channel);
      await received;
    });
  } finally {
    await host.end();
  }
}

async function channelTo(relayUrl: string, hostId: string): Promise<Channel> {
  const channel = await openChannel(await dialThroughRelay({ url: relayUrl, hostId }), { keyPair: generateKeyPair(), remoteKey: publicKeyOf(hostId), purpose: 'control' });
  return channel.on('error', () => undefined);
}

/** Median milliseconds of small messages that come back, one after the other. */
async function medianCall(send: (call: Buffer) => void, answers: AsyncIterator<unknown>, calls = CALLS): Promise<number> {
  const call = Buffer.from(JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'host/hello', params: { name: 'x'.repeat(100) } }));
  const times: number[] = [];
  for (let made = 0; made < calls; made++) {
    const begun = performance.now();
    send(call);
    await answers.next();
    times.push(performance.now() - begun);
  }
  return summarise(times).median;
}

const callOver = (stream: Duplex, calls?: number): Promise<number> => medianCall((call) => stream.write(call), stream.iterator({ destroyOnReturn: false }), calls);

async function callThroughRelay(relayUrl: string, program: string): Promise<number> {
  const host = startRole(program, { role: 'echoHost', relayUrl });
  try {
    const { hostId = '' } = await host.next('ready');
    const channel = await channelTo(relayUrl, hostId);
    const median = await callOver(channel);
    channel.destroy();
    return median;
  } finally {
    await host.end();
  }
}

async function bareCall(program: string): Promise<number> {
  const server = startRole(program, { role: 'bareEcho' });
  try {
    const socket = new WebSocket(`ws://127.0.0.1:${(await server.next('ready')).port ?? 0}`, clientOptions);
    await once(socket, 'open');
    const answers = { next: () => once(socket, 'message').then((value) => ({ done: false as const, value })) };
    const median = await medianCall((call) => socket.send(call), answers);
    socket.terminate();
    return median;
  } finally {
    await server.end();
  }
}

/** A relay of its own with a crowd at it, of which half then has to come back to another one at the same place. Linux only: it reads what the system says of the process. */
export async function measureCrowd(program: string): Promise<CrowdRun> {
  let relay = await startRelayProcess('127.0.0.1:0', unlimited);
  const url = relay.url;
  const echo = startRole(program, { role: 'echoHost', relayUrl: url });
  let crowd: ReturnType<typeof startRole> | undefined;
  try {
    const { hostId = '' } = await echo.next('ready');
    const channel = await channelTo(url, hostId);
    const callAlone = await callOver(channel);
    const empty = await residentBytes(relay.child);
    crowd = startRole(program, { role: 'crowd', relayUrl: url, ...CROWD });
    const busy = crowd.next('busy');
    await crowd.next('ready');
    const withIdle = await residentBytes(relay.child);
    const idleCpu = await cpuShare(relay.child);
    await busy;
    const busyCpu = await cpuShare(relay.child);
    const withBusy = await residentBytes(relay.child);
    const callInCrowd = await callOver(channel);
    channel.destroy();
    const quiet = crowd.next('quiet');
    crowd.tell({ stay: CROWD.storm });
    await quiet;
    const returned = crowd.next('returned');
    await endProcess(relay.child, 'SIGKILL');
    const begun = performance.now();
    relay = await startRelayProcess(new URL(url).host, unlimited);
    await returned;
    return { ...CROWD, idleBytes: (withIdle - empty) / CROWD.idle, busyBytes: Math.max(0, withBusy - withIdle) / CROWD.busy, callAlone, callInCrowd, idleCpu, busyCpu, stormMilliseconds: performance.now() - begun };
  } finally {
    await crowd?.end();
    await echo.end();
    await endProcess(relay.child);
  }
}

async function residentBytes({ pid = 0 }: ChildProcess): Promise<number> {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;
}

/** Share of one core over some seconds. */
async function cpuShare({ pid = 0 }: ChildProcess): Promise<number> {
  // Fields 14 and 15 of stat, counted after the name in brackets: ticks in user and system mode, 100 in a second.
  const ticks = async (): Promise<number> => {
    const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).replace(/^.*\) /s, '').split(' ');
    return Number(fields[11]) + Number(fields[12]);
  };
  const before = await ticks();
  const begun = performance.now();
  await new Promise((resolve) => setTimeout(resolve, BUSY_WINDOW_MS));
  return ((await ticks()) - before) / 100 / ((performance.now() - begun) / 1000);
}

export function relayTable(runs: readonly RelayRun[]): string {
  const of = (name: keyof RelayRun): number => summarise(runs.flatMap((run) => run[name] ?? [])).median;
  const speed = (value: number): string => `${value.toFixed(0)} MiB/s`;
  const rows = [['Relay', 'Baton', 'against', 'it', 'Baton is'], ['encrypted transfer', speed(of('channel')), 'bare TCP relay', speed(of('bareTcp')), ratio(of('channel'), of('bareTcp'))]];
  if (runs.some(({ ssh }) => ssh !== null)) rows.push(['', speed(of('channel')), 'ssh', speed(of('ssh')), ratio(of('channel'), of('ssh'))]);
  rows.push(
    ['pack of 255 MB', milliseconds(of('pack')), 'local pipe', milliseconds(of('packLocal')), ratio(of('pack'), of('packLocal'))],
    ['call', `${of('call').toFixed(2)} ms`, 'bare WebSocket', `${of('bareCall').toFixed(2)} ms`, ratio(of('call'), of('bareCall'))],
  );
  return formatTable(rows);
}

export function crowdTable({ idle, busy, idleBytes, busyBytes, callAlone, callInCrowd, idleCpu, busyCpu, storm, stormMilliseconds }: CrowdRun): string {
  const percent = (share: number): string => `${(share * 100).toFixed(0)} %`;
  return formatTable([
    ['Relay with a crowd', 'connections', 'memory of each', 'core'],
    ['idle hosts', String(idle), `${(idleBytes / 1024).toFixed(1)} KiB`, percent(idleCpu)],
    ['and busy ones, 1 KiB there and back each 0.1 s', String(busy), `${(busyBytes / 1024).toFixed(1)} KiB`, percent(busyCpu)],
  ]) + `\nA call takes ${callInCrowd.toFixed(2)} ms among them, ${callAlone.toFixed(2)} ms alone.\n${storm} hosts whose relay was killed are all back ${milliseconds(stormMilliseconds)} after it was started again.`;
}
