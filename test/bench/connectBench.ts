/** How long it takes to come to a host and have a first answer, by each way, beside `ssh HOST true`; and to have an approval decided from elsewhere. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { HostClient } from '../../src/host/hostClient';
import { silentLog } from '../../src/host/log';
import { PeerLink } from '../../src/host/peerLink';
import { PROTOCOL_VERSION } from '../../src/host/protocol';
import { parseInvite } from '../../src/relay/invite';
import { generateKeyPair, publicKeyOf, type KeyPair } from '../../src/relay/keys';
import { openChannel, pairChannel } from '../../src/relay/openChannel';
import { dialThroughRelay } from '../../src/relay/relayDial';
import { cloneOf, makeOrigin } from '../fixtures/checkout';
import { Machine } from '../fixtures/machine';
import { writeCodexConfig } from '../fixtures/scriptedModel';
import type { LoopbackSsh } from './loopbackSsh';
import { median, summarise, timed } from './statistics';
import { formatTable, milliseconds, ratio } from './table';

const CONNECTIONS = 20;
const APPROVALS = 10;
const clientInfo = { name: 'bench', version: '0' };

/** A way to a host. SSH will be one of them: here is the list, and everything else follows it. */
const ways = ['local socket', 'relay'] as const;
type Way = (typeof ways)[number];

/** Medians in milliseconds. */
export interface ConnectRun {
  readonly connect: Readonly<Record<Way, number>>;
  /** `ssh HOST true`; null where there is no ssh. */
  readonly ssh: number | null;
  /** From the question at the host until the command that it was about has run, decided by each way. */
  readonly approval: Readonly<Record<Way, number>>;
}

interface Place {
  readonly laptop: Machine;
  readonly hostId: string;
  readonly relayUrl: string;
  readonly device: KeyPair;
}

export async function measureConnect(relayUrl: string, modelUrl: string, ssh: LoopbackSsh | string, directory: string, runs: number): Promise<ConnectRun[]> {
  await mkdir(directory);
  const laptop = new Machine('laptop', join(directory, 'laptop'));
  await writeCodexConfig(laptop.codexHome, { modelUrl, approvalPolicy: 'on-request', sandboxMode: 'workspace-write' });
  const checkout = await cloneOf(await makeOrigin(directory), join(laptop.directory, 'checkout'));
  const { hostId } = await laptop.startHost(relayUrl);
  try {
    const place: Place = { laptop, hostId, relayUrl, device: generateKeyPair() };
    await letIn(place);
    const measured: ConnectRun[] = [];
    for (let run = 0; run < runs; run++) {
      const times: Record<Way | 'ssh', number[]> = { 'local socket': [], relay: [], ssh: [] };
      // One after the other and not one by one, so that what else the machine does is shared.
      for (let attempt = 0; attempt < CONNECTIONS; attempt++) {
        for (const way of ways) times[way].push((await timed(() => firstAnswer(place, way))).milliseconds);
        if (typeof ssh !== 'string') times.ssh.push((await timed(() => throughSsh(ssh))).milliseconds);
      }
      measured.push({
        connect: { 'local socket': median(times['local socket']), relay: median(times.relay) },
        ssh: typeof ssh === 'string' ? null : median(times.ssh),
        approval: await approvals(place, checkout),
      });
    }
    return measured;
  } finally {
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

async function reach({ laptop, hostId, relayUrl, device }: Place, way: Way): Promise<HostClient> {
  switch (way) {
    case 'local socket':
      return HostClient.connect({ batonHome: laptop.batonHome, clientInfo });
    case 'relay': {
      const channel = await openChannel(await dialThroughRelay({ url: relayUrl, hostId }), { keyPair: device, remoteKey: publicKeyOf(hostId), purpose: 'control' });
      channel.on('error', () => undefined);
      return HostClient.over(channel, { clientInfo });
    }
  }
}

async function firstAnswer(place: Place, way: Way): Promise<void> {
  const client = await reach(place, way);
  await client.call('host/read');
  client.dispose();
}

async function throughSsh(ssh: LoopbackSsh): Promise<void> {
  const child = spawn('ssh', ['-F', ssh.config, ...ssh.direct, 'server', 'true'], { stdio: ['ignore', 'ignore', 'inherit'] });
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) throw new Error(`ssh ended with ${code ?? 'a signal'}.`);
}

const started = z.looseObject({ thread: z.looseObject({ id: z.string() }) });
const ranCommand = z.looseObject({ threadId: z.string(), item: z.looseObject({ type: z.literal('commandExecution') }) });
const ended = z.looseObject({ threadId: z.string() });

/** Decides the same question by each way in turn. A local controller that only looks on tells when it was asked, and when the command has run. */
async function approvals(place: Place, checkout: string): Promise<ConnectRun['approval']> {
  const observer = await reach(place, 'local socket');
  const deciders = { 'local socket': await reach(place, 'local socket'), relay: await reach(place, 'relay') };
  try {
    const { thread } = started.parse(await observer.codex('thread/start', { cwd: checkout, approvalPolicy: 'on-request', sandbox: 'workspace-write' }));
    const times: Record<Way, number[]> = { 'local socket': [], relay: [] };
    for (let round = 0; round < APPROVALS; round++) {
      for (const way of ways) times[way].push(await decideOnce(observer, deciders[way], thread.id));
    }
    return { 'local socket': median(times['local socket']), relay: median(times.relay) };
  } finally {
    for (const client of [observer, ...Object.values(deciders)]) client.dispose();
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
  const local = of(({ approval }) => approval['local socket']);
  return formatTable([
    ['Connect and first answer', 'Baton', 'ssh HOST true', 'Baton is'],
    ...ways.map((way) => {
      const time = of(({ connect }) => connect[way]);
      return [way, milliseconds(time), ...(hasSsh ? [milliseconds(of(({ ssh }) => ssh)), ratio(time, of(({ ssh }) => ssh))] : ['-', '-'])];
    }),
    [],
    ['Approval, from the question to the command having run', 'time', 'local socket', 'is'],
    ...ways.map((way) => [`decided over ${way === 'relay' ? 'the relay' : 'the local socket'}`, milliseconds(of(({ approval }) => approval[way])), milliseconds(local), ratio(of(({ approval }) => approval[way]), local)]),
  ]);
}
