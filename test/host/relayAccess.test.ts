import type { ChildProcess } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { watch } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DeviceStore } from '../../src/host/devices';
import { silentLog } from '../../src/host/log';
import type { PeerHandlers } from '../../src/host/peerLink';
import { PeerNetwork } from '../../src/host/peerNetwork';
import { PeerStore } from '../../src/host/peers';
import { PROTOCOL_VERSION } from '../../src/host/protocol';
import { RelayAccess, readRelayRight } from '../../src/host/relayAccess';
import { hostEnvironment } from '../../src/host/runtime';
import { Trust } from '../../src/host/trust';
import { generateKeyPair, hostIdOf } from '../../src/relay/keys';
import { startRelay, type RunningRelay } from '../../src/relay/relayServer';
import { endProcess, Machine, startRelayProcess } from '../fixtures/machine';
import { tapWire } from '../fixtures/wireTap';

const secret = 'the-relay-secret-of-this-test-0123456789';
let directory: string;
let secretFile: string;
const closers: (() => void | Promise<void>)[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'baton-access-'));
  secretFile = join(directory, 'secret');
  await writeFile(secretFile, `${secret}\n`);
});
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
  await rm(directory, { recursive: true });
});

async function closedRelay(): Promise<RunningRelay> {
  const running = await startRelay({ host: '127.0.0.1', port: 0, admission: { secretFile } });
  closers.push(() => running.close());
  return running;
}

interface Member {
  readonly home: string;
  readonly access: RelayAccess;
  readonly network: PeerNetwork;
}

async function member(name: string): Promise<Member> {
  const home = join(directory, name);
  await mkdir(home);
  const keyPair = generateKeyPair();
  const access = await RelayAccess.open(home, keyPair);
  const hello: PeerHandlers['host/hello'] = () => Promise.resolve({ protocolVersion: PROTOCOL_VERSION, name, batonVersion: '0', codexVersion: null });
  const network = new PeerNetwork({ keyPair, name: () => name, trust: new Trust(await PeerStore.open(home), await DeviceStore.open(home)), relays: access, handlers: { 'host/hello': hello } as PeerHandlers, onTransfer: () => undefined, onController: () => undefined, onTunnel: () => undefined, audit: { append: () => Promise.resolve() }, onProgress: () => undefined, onChanged: () => undefined, log: silentLog });
  closers.push(() => network.dispose());
  return { home, access, network };
}

/** A member at a relay by right of its secret. */
async function holder(name: string, url: string): Promise<Member> {
  const made = await member(name);
  await made.access.save(url, { secretFile });
  made.network.setRelay(url);
  await made.network.registered();
  return made;
}

/** Everything that stands in the files of a directory. */
async function contentOf(home: string): Promise<string> {
  const names = await readdir(home, { recursive: true });
  const texts = await Promise.all(names.map(async (name) => ((await stat(join(home, name))).isFile() ? readFile(join(home, name), 'latin1') : '')));
  return texts.join('\n');
}

describe('a host that is invited to a relay with a secret', () => {
  it('comes in by the invite, stays in by a grant, and never learns the secret', async () => {
    const { url } = await closedRelay();
    const laptop = await holder('laptop', url);
    const server = await member('server');
    const { invite } = await laptop.network.pairing.invite({ role: 'peer', by: 'local' });
    expect(Buffer.from(invite.slice('baton:join#'.length), 'base64url').toString('latin1')).not.toContain(secret);
    await server.network.pairing.join(invite);
    server.network.setRelay(url);
    await server.network.registered();
    expect((await laptop.network.connect(server.network.hostId)).hostId).toBe(server.network.hostId);
    // What it has lets it invite others too.
    const third = await member('third');
    await third.network.pairing.join((await server.network.pairing.invite({ role: 'peer', by: 'local' })).invite);
    third.network.setRelay(url);
    await third.network.registered();
    for (const { home } of [laptop, server, third]) expect(await contentOf(home)).not.toContain(secret);
  });

  it('finds its grant again when it is started again', async () => {
    const { url } = await closedRelay();
    const laptop = await holder('laptop', url);
    const keyPair = generateKeyPair();
    const home = join(directory, 'server');
    await mkdir(home);
    const grant = await laptop.access.at(url).grantFor(hostIdOf(keyPair.publicKey));
    await (await RelayAccess.open(home, keyPair)).save(url, { grant: grant ?? '' });
    await expect((await RelayAccess.open(home, keyPair)).at(url).token()).resolves.toHaveLength(98);
  });

  it('and the host that invites let each other in where each has a relay of its own', async () => {
    const [first, second] = [await closedRelay(), await closedRelay()];
    const laptop = await holder('laptop', first.url);
    const server = await holder('server', second.url);
    await server.network.pairing.join((await laptop.network.pairing.invite({ role: 'peer', by: 'local' })).invite);
    expect((await server.network.connect(laptop.network.hostId)).hostId).toBe(laptop.network.hostId);
    expect((await laptop.network.connect(server.network.hostId)).hostId).toBe(server.network.hostId);
  });
});

describe('a right at a relay', () => {
  it('that takes the place of another is used at once, however the URL is spelled', async () => {
    const { url } = await closedRelay();
    const { access } = await member('laptop');
    await access.save(url, { grant: 'A'.repeat(98) });
    await expect(access.at(url).token()).rejects.toMatchObject({ reason: 'not-admitted' });
    await access.save(`${url}/`, { secretFile });
    const token = access.at(url).token();
    expect(await token).toMatch(/^[A-Za-z0-9_-]{98}$/);
    expect(await access.at(`${url}/`).token()).toBe(await token);
  });
});

describe('a host', () => {
  it('asks for no token where the relay wants none, whatever it was told of it', async () => {
    const open = await startRelay({ host: '127.0.0.1', port: 0 });
    closers.push(() => open.close());
    const { network } = await holder('laptop', open.url);
    expect(network.relayStatus.status).toBe('connected');
    await network.pairing.invite({ role: 'peer', by: 'local' });
  });

  it('takes the secret that is in the file at the time', async () => {
    const { url } = await closedRelay();
    const { access } = await member('laptop');
    const file = join(directory, 'later');
    await access.save(url, { secretFile: file });
    await expect(access.at(url).token()).rejects.toMatchObject({ reason: 'state-invalid', message: expect.stringContaining(file) as string });
    await writeFile(file, 'short');
    const refused: unknown = await readRelayRight({ secretFile: file }).catch((error: unknown) => error);
    expect(refused).toMatchObject({ reason: 'state-invalid' });
    expect(String(refused)).not.toContain('short.');
    await writeFile(file, secret);
    await expect(access.at(url).token()).resolves.toHaveLength(98);
  });

  it('does not hand the secret of a relay beside it to what it starts', () => {
    expect(hostEnvironment({ BATON_RELAY_SECRET: secret, PATH: '/bin' })).toEqual({ PATH: '/bin' });
  });
});

describe('the secret of a relay, and that of an invite', () => {
  it('is in no command line, log, request line, invite, home or report of a crash, where relay and hosts are processes', async () => {
    const reports = join(directory, 'reports');
    const reporting = { NODE_OPTIONS: `--report-on-signal --report-directory=${reports}` };
    await mkdir(reports);
    const relay = await startRelayProcess('127.0.0.1:0', [], { BATON_RELAY_SECRET: secret, ...reporting });
    closers.push(() => endProcess(relay.child));
    const tap = await tapWire(Number(new URL(relay.url).port));
    closers.push(() => tap.close());
    // Pairing needs no Codex.
    const machines = ['laptop', 'server'].map((name) => new Machine(name, join(directory, name), { BATON_CODEX: join(directory, 'no-codex'), ...reporting }));
    const [laptop, server] = machines as [Machine, Machine];
    for (const machine of machines) closers.push(() => machine.stopHost());
    await laptop.startHost(`ws://127.0.0.1:${tap.port}`, ['--relay-secret-file', secretFile]);
    await server.startHost();
    const connected = async (machine: Machine) => {
      for (;;) {
        const { relay: state } = await (await clientOf(machine)).call('host/read');
        if (state.status === 'connected') return;
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    await connected(laptop);
    const made = await laptop.json<{ invite: string }>('invite');
    expect(await server.fed(`${made.invite}\n`, 'join')).toMatchObject({ code: 0, stdout: expect.stringContaining('Paired with "laptop"') as string });
    expect((await server.fed('', 'join', '--json')).code).toBe(2);
    await connected(server);
    const said = [relay.log(), laptop.hostLog, server.hostLog, Buffer.from(made.invite.slice('baton:join#'.length), 'base64url').toString('latin1'), ...(await Promise.all(machines.map(({ batonHome }) => contentOf(batonHome).catch(() => ''))))];
    const requests = tap.streams().flatMap((stream) => /^[A-Z]+ [^\r\n]* HTTP\/1\.1/.exec(stream.toString('latin1')) ?? []);
    expect(requests).toContainEqual(expect.stringContaining('/v1/dial/'));
    expect(requests.filter((line) => line.includes('?'))).toEqual([]);
    said.push(...requests);
    if (process.platform !== 'win32') {
      for (const child of [relay.child, ...machines.map(({ hostProcess }) => hostProcess)]) said.push(await crashReport(child, reports));
    }
    if (process.platform === 'linux') {
      for (const child of [relay.child, laptop.hostProcess, server.hostProcess]) said.push(await readFile(`/proc/${String(child.pid)}/cmdline`, 'latin1'));
      for (const { hostProcess } of machines) said.push(await readFile(`/proc/${String(hostProcess.pid)}/environ`, 'latin1'));
    }
    expect(relay.log()).toContain('"event":"permit-given"');
    expect(said.join('\n')).not.toContain(secret);
    expect(said.join('\n')).not.toContain(made.invite.slice('baton:join#'.length));
  });
});

/** What Node writes of a process, as when it crashes: its command line and environment among it. */
async function crashReport({ pid = 0 }: ChildProcess, reports: string): Promise<string> {
  const events = new EventEmitter();
  const watcher = watch(reports, () => events.emit('written'));
  try {
    process.kill(pid, 'SIGUSR2');
    for (;;) {
      const written = once(events, 'written');
      const name = (await readdir(reports)).find((each) => each.includes(`.${pid}.`));
      const text = name === undefined ? '' : await readFile(join(reports, name), 'utf8');
      // It is written piece by piece.
      if (text.trimEnd().endsWith('\n}')) return text;
      await written;
    }
  } finally {
    watcher.close();
  }
}

const clients = new Map<Machine, Awaited<ReturnType<Machine['client']>>>();
async function clientOf(machine: Machine) {
  const client = clients.get(machine) ?? (await machine.client());
  if (!clients.has(machine)) closers.push(() => client.dispose());
  clients.set(machine, client);
  return client;
}
