/** How long it takes to come to a host and have a first answer, by each way, beside `ssh HOST true`; and to have an approval decided from elsewhere. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdir, rm, writeFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { HostClient } from '../../src/host/hostClient';
import { silentLog } from '../../src/host/log';
import { PeerLink } from '../../src/host/peerLink';
import { PROTOCOL_VERSION } from '../../src/host/protocol';
import { joinFar } from '../../src/host/ssh/farSide';
import { Ssh } from '../../src/host/ssh/ssh';
import { parseInvite } from '../../src/relay/invite';
import { generateKeyPair, publicKeyOf, type KeyPair } from '../../src/relay/keys';
import { openChannel, pairChannel } from '../../src/relay/openChannel';
import { dialThroughRelay } from '../../src/relay/relayDial';
import { cloneOf, makeOrigin } from '../fixtures/checkout';
import { bundle, Machine } from '../fixtures/machine';
import { writeCodexConfig } from '../fixtures/scriptedModel';
import { noSshServer, startSshServer } from '../fixtures/sshServer';
import { median, summarise, timed } from './statistics';
import { formatTable, milliseconds, ratio } from './table';

const CONNECTIONS = 20;
const APPROVALS = 10;
const clientInfo = { name: 'bench', version: '0' };

/** Ways to a host; that over ssh is there where an sshd is. */
const ways = ['local socket', 'relay', ...(noSshServer === null ? (['ssh'] as const) : [])] as const;
type Way = 'local socket' | 'relay' | 'ssh';
type Times = Partial<Record<Way, number>>;

/** Medians in milliseconds. */
export interface ConnectRun {
  readonly connect: Readonly<Times>;
  /** `ssh HOST true`; null where there is no ssh. */
  readonly ssh: number | null;
  /** From the question at the host until the command that it was about has run, decided by each way. */
  readonly approval: Readonly<Times>;
}

interface Place {
  readonly laptop: Machine;
  readonly hostId: string;
  readonly relayUrl: string;
  readonly device: KeyPair;
  readonly near: NearSsh | null;
}

/** An sshd on loopback that leads to the host's own machine, and its configuration for `ssh -F`. */
interface NearSsh {
  readonly config: string;
  readonly ssh: Ssh;
  close(): Promise<void>;
}

async function startNearSsh(laptop: Machine, directory: string): Promise<NearSsh | null> {
  if (noSshServer !== null) return null;
  await mkdir(directory, { mode: 0o700 });
  await mkdir(join(laptop.batonHome, 'bin'), { recursive: true });
  await copyFile(bundle, join(laptop.batonHome, 'bin', 'baton.js'));
  await writeFile(join(laptop.directory, '.profile'), `PATH='${dirname(process.execPath)}':$PATH\nBATON_HOME='${laptop.batonHome}'\nCODEX_HOME='${laptop.codexHome}'\nexport PATH BATON_HOME CODEX_HOME\n`);
  const server = await startSshServer(directory, { env: { HOME: laptop.directory, SHELL: '/bin/sh' } });
  const config = join(directory, 'config');
  await writeFile(join(directory, 'known_hosts'), `[127.0.0.1]:${server.port} ${server.hostKey}\n`);
  await writeFile(config, [
    'Host near', 'HostName 127.0.0.1', `Port ${server.port}`, `User ${userInfo().username}`, `IdentityFile ${server.identity}`, 'IdentitiesOnly yes', 'IdentityAgent none',
    `UserKnownHostsFile ${join(directory, 'known_hosts')}`, 'GlobalKnownHostsFile none', 'StrictHostKeyChecking yes', '',
  ].join('\n  '));
  const ssh = new Ssh({ env: { ...process.env, BATON_SSH_CONFIG: config }, log: silentLog });
  return {
    config, ssh,
    close: async () => {
      ssh.dispose();
      await server.close();
    },
  };
}

export async function measureConnect(relayUrl: string, modelUrl: string, directory: string, runs: number): Promise<ConnectRun[]> {
  await mkdir(directory);
  const laptop = new Machine('laptop', join(directory, 'laptop'));
  await writeCodexConfig(laptop.codexHome, { modelUrl, approvalPolicy: 'on-request', sandboxMode: 'workspace-write' });
  const checkout = await cloneOf(await makeOrigin(directory), join(laptop.directory, 'checkout'));
  const { hostId } = await laptop.startHost(relayUrl);
  let near: NearSsh | null = null;
  try {
    near = await startNearSsh(laptop, join(directory, 'sshd'));
    const place: Place = { laptop, hostId, relayUrl, device: generateKeyPair(), near };
    await letIn(place);
    const measured: ConnectRun[] = [];
    for (let run = 0; run < runs; run++) {
      const times: Record<Way | 'ssh HOST true', number[]> = { 'local socket': [], relay: [], ssh: [], 'ssh HOST true': [] };
      // One after the other and not one by one, so that what else the machine does is shared.
      for (let attempt = 0; attempt < CONNECTIONS; attempt++) {
        for (const way of ways) times[way].push((await timed(() => firstAnswer(place, way))).milliseconds);
        const { config } = place.near ?? {};
        if (config !== undefined) times['ssh HOST true'].push((await timed(() => throughSsh(config))).milliseconds);
      }
      measured.push({
        connect: mediansOf(times),
        ssh: near === null ? null : median(times['ssh HOST true']),
        approval: await approvals(place, checkout),
      });
    }
    return measured;
  } finally {
    await near?.close();
    await laptop.stopHost();
    await rm(directory, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** Pairs the bench's own key as a device that may decide. */
async function letIn({ laptop, relayUrl, device }: Place): Promise<void> {
  const { invite } = await laptop.json<{ invite: string }>('invite', '--role', 'approver');
  const { hostId, psk, room } = parseInvite(invite);
  const channel = await pairChannel(await dialThroughRelay({ url: relayUrl, hostId }), { keyPair: device, remoteKey: publicKeyOf(hostId), psk, room });
  const link = new PeerLink(channel, hostId, Buffer.from(channel.handshakeHash).toString('hex'), {}, silentLog);
  await link.call('host/hello', { protocolVersion: PROTOCOL_VERSION, name: 'bench', relayUrl, relayGrant: null });
  link.dispose();
}

async function reach({ laptop, hostId, relayUrl, device, near }: Place, way: Way): Promise<HostClient> {
  if (way === 'local socket') return HostClient.connect({ batonHome: laptop.batonHome, clientInfo });
  const stream = way === 'relay' || near === null ? await dialThroughRelay({ url: relayUrl, hostId }) : (await joinFar(near.ssh, 'near', [])).stream;
  const channel = await openChannel(stream, { keyPair: device, remoteKey: publicKeyOf(hostId), purpose: 'control' });
  channel.on('error', () => undefined);
  return HostClient.over(channel, { clientInfo });
}

const mediansOf = (times: Readonly<Record<Way, readonly number[]>>): Times => Object.fromEntries(ways.map((way) => [way, median(times[way])]));

async function firstAnswer(place: Place, way: Way): Promise<void> {
  const client = await reach(place, way);
  await client.call('host/read');
  client.dispose();
}

async function throughSsh(config: string): Promise<void> {
  const child = spawn('ssh', ['-F', config, 'near', 'true'], { stdio: ['ignore', 'ignore', 'inherit'] });
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) throw new Error(`ssh ended with ${code ?? 'a signal'}.`);
}

const started = z.looseObject({ thread: z.looseObject({ id: z.string() }) });
const ranCommand = z.looseObject({ threadId: z.string(), item: z.looseObject({ type: z.literal('commandExecution') }) });
const ended = z.looseObject({ threadId: z.string() });

/** Decides the same question by each way in turn. A local controller that only looks on tells when it was asked, and when the command has run. */
async function approvals(place: Place, checkout: string): Promise<ConnectRun['approval']> {
  const observer = await reach(place, 'local socket');
  const deciders = new Map<Way, HostClient>();
  try {
    const { thread } = started.parse(await observer.codex('thread/start', { cwd: checkout, approvalPolicy: 'on-request', sandbox: 'workspace-write' }));
    for (const way of ways) deciders.set(way, await reach(place, way));
    const times: Record<Way, number[]> = { 'local socket': [], relay: [], ssh: [] };
    for (let round = 0; round < APPROVALS; round++) {
      for (const [way, decider] of deciders) times[way].push(await decideOnce(observer, decider, thread.id));
    }
    return mediansOf(times);
  } finally {
    for (const client of [observer, ...deciders.values()]) client.dispose();
  }
}

async function decideOnce(observer: HostClient, decider: HostClient, threadId: string): Promise<number> {
  const stops: (() => void)[] = [];
  try {
    return await new Promise<number>((fulfil, reject) => {
      let askedAt = 0;
      let took = 0;
      stops.push(
        observer.on('approval/requested', () => (askedAt = performance.now())),
        decider.on('approval/requested', ({ approval: { id, digest } }) => void decider.call('approval/decide', { id, digest, decision: 'accept' }).catch(reject)),
        observer.onCodex((method, params) => {
          if (method === 'item/completed' && ranCommand.safeParse(params).data?.threadId === threadId) took = performance.now() - askedAt;
          if (method === 'turn/completed' && ended.safeParse(params).data?.threadId === threadId) fulfil(took);
        }),
        observer.onClose(() => reject(new Error('The host went away while a turn ran.'))),
      );
      observer.codex('turn/start', { threadId, input: [{ type: 'text', text: 'Publish the ephemeris.', text_elements: [] }] }).catch(reject);
    });
  } finally {
    for (const stop of stops) stop();
  }
}

export function connectTable(runs: readonly ConnectRun[]): string {
  const of = (pick: (run: ConnectRun) => number | null): number => summarise(runs.flatMap((run) => pick(run) ?? [])).median;
  const hasSsh = runs.some(({ ssh }) => ssh !== null);
  const local = of(({ approval }) => approval['local socket'] ?? null);
  return formatTable([
    ['Connect and first answer', 'Baton', 'ssh HOST true', 'Baton is'],
    ...ways.map((way) => {
      const time = of(({ connect }) => connect[way] ?? null);
      return [way, milliseconds(time), ...(hasSsh ? [milliseconds(of(({ ssh }) => ssh)), ratio(time, of(({ ssh }) => ssh))] : ['-', '-'])];
    }),
    [],
    ['Approval, from the question to the command having run', 'time', 'local socket', 'is'],
    ...ways.map((way) => {
      const time = of(({ approval }) => approval[way] ?? null);
      return [`decided over ${way === 'ssh' ? 'ssh' : `the ${way}`}`, milliseconds(time), milliseconds(local), ratio(time, local)];
    }),
  ]);
}
