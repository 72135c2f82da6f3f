/** A relay of three real nodes, each a process, with a real nats-server between them and a real load balancer before them. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { connect, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import type { Duplex } from 'node:stream';
import { promisify } from 'node:util';
import { Kvm } from '@nats-io/kv';
import { connect as connectToNats } from '@nats-io/transport-node';
import { beforeEach, describe, expect, it } from 'vitest';
import { generateKeyPair, hostIdOf } from '../../src/relay/keys';
import { RelayClient } from '../../src/relay/relayClient';
import { dialThroughRelay } from '../../src/relay/relayDial';
import { RelayError } from '../../src/relay/relayError';
import { bundle, endProcess, startRelayProcess, type Relay } from '../fixtures/machine';
import { closers, dial, host } from './relayLaboratory';

const turn = () => new Promise((resolve) => setImmediate(resolve));

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Debian puts it where only root looks. */
const env = { ...process.env, PATH: [process.env['PATH'], '/usr/sbin'].join(delimiter) };

/** A nats-server with JetStream in memory only, at a port of its own. */
async function startNats(port: number): Promise<ChildProcess> {
  const directory = await mkdtemp(join(tmpdir(), 'baton-nats-'));
  const child = spawn('nats-server', ['-a', '127.0.0.1', '-p', String(port), '-js', '-sd', directory], { env, stdio: ['ignore', 'ignore', 'pipe'] });
  closers.push(async () => {
    await endProcess(child, 'SIGKILL');
    await rm(directory, { recursive: true, force: true });
  });
  await new Promise<void>((resolve, reject) => {
    let said = '';
    child.once('error', reject).once('exit', () => reject(new Error(`nats-server ended: ${said}`)));
    child.stderr.on('data', (chunk: Buffer) => {
      said += chunk.toString();
      if (said.includes('Server is ready')) resolve();
    });
  });
  return child;
}

interface Node extends Relay {
  readonly port: number;
}

/** What is tried until it works is tried more often than these allow, and a refusal for that would be taken for another. */
const unhurried = ['dials-per-minute-per-address', 'dials-per-minute-per-host', 'proofs-per-minute-per-address', 'pairs-per-host'].flatMap((limit) => [`--max-${limit}`, '1000000']);

async function startNode(natsPort: number): Promise<Node> {
  const port = await freePort();
  const node = await startRelayProcess(`127.0.0.1:${port}`, ['--nats', `nats://127.0.0.1:${natsPort}`, '--public-url', `ws://127.0.0.1:${port}`, ...unhurried]);
  closers.push(() => endProcess(node.child, 'SIGKILL'));
  return { ...node, port };
}

async function startNodes(count: number): Promise<{ nodes: Node[]; nats: ChildProcess; natsPort: number }> {
  const natsPort = await freePort();
  const nats = await startNats(natsPort);
  const nodes = await Promise.all(Array.from({ length: count }, () => startNode(natsPort)));
  return { nodes, nats, natsPort };
}

/** Passes each connection on to the next node that takes it. */
async function balance(nodes: readonly Node[]): Promise<string> {
  let next = 0;
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    const attempt = (left: number): void => {
      const onward = connect(nodes[next++ % nodes.length]?.port ?? 0, '127.0.0.1');
      onward.once('connect', () => {
        socket.pipe(onward).pipe(socket);
        onward.once('close', () => socket.destroy());
        socket.once('close', () => onward.destroy());
      });
      onward.on('error', () => (onward.connecting || left === 0 ? socket.destroy() : attempt(left - 1)));
    };
    attempt(nodes.length);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  closers.push(() => void server.close());
  return `ws://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function readiness(port: number): Promise<string> {
  return new Promise((resolve) => {
    request({ port, host: '127.0.0.1', path: '/readyz', signal: AbortSignal.timeout(5000) }, (response) => {
      let body = '';
      response.on('data', (chunk: Buffer) => (body += chunk.toString())).on('end', () => resolve(`${response.statusCode ?? 0} ${body.trim()}`));
    }).on('error', () => resolve('unreachable')).end();
  });
}

/** When a wait gives up: before the test itself would be ended, which would not say what it was waiting for. */
let giveUpAt = 0;
beforeEach(() => {
  giveUpAt = performance.now() + 50_000;
});

/** Tries until it holds. Throws with what was waited for, and what the nodes said last, where the test has no more time. */
async function until(what: string, holds: () => boolean | Promise<boolean>, nodes: readonly Node[] = []): Promise<void> {
  while (!(await holds())) {
    if (performance.now() > giveUpAt) throw new Error([`There was no more time to wait until ${what}.`, ...nodes.map(({ log }) => log().slice(-500))].join('\n'));
    await turn();
  }
}

/** Sends one line to a host that answers with what it hears, over one connection. What was joined while its node was lost may never answer. */
async function echoes(url: string, hostId: string, text: string): Promise<boolean> {
  let stream: Duplex;
  try {
    stream = await dialThroughRelay({ url, hostId, timeoutMs: 5000 });
  } catch (error) {
    if (RelayError.is(error)) return false;
    throw error;
  }
  stream.on('error', () => undefined);
  try {
    stream.write(text);
    const [answer] = (await once(stream, 'data', { signal: AbortSignal.timeout(5000) })) as [Buffer];
    return answer.toString() === text;
  } catch {
    return false;
  } finally {
    stream.destroy();
  }
}

/** Whether a host can be dialled at all. */
async function canBeDialled(url: string, hostId: string): Promise<boolean> {
  const stream = await dialThroughRelay({ url, hostId });
  stream.on('error', () => undefined).destroy();
  return true;
}

/** A host that sends back whatever it is sent. */
async function echoHost(url: string): Promise<{ hostId: string; client: RelayClient; failures: () => number }> {
  const keyPair = generateKeyPair();
  const client = new RelayClient({ url, keyPair, onIncoming: (stream) => void stream.on('error', () => undefined).pipe(stream).on('error', () => undefined) });
  let failures = 0;
  client.onStatusChange(() => (failures += Number(client.status === 'errored')));
  closers.push(() => client.dispose());
  client.start();
  await client.whenConnected();
  return { hostId: hostIdOf(keyPair.publicKey), client, failures: () => failures };
}

describe('a relay of several nodes', () => {
  it('sends a dial that reaches the wrong node to the right one', async () => {
    const { nodes } = await startNodes(3);
    const hosts = await Promise.all(nodes.map(({ url }) => echoHost(url)));
    for (const { url } of nodes) for (const { hostId } of hosts) await until('each host answers through each node', () => echoes(url, hostId, `for ${hostId}`), nodes);
    expect(nodes.map(({ log }) => log().includes('"event":"dial-redirected"'))).toEqual([true, true, true]);
    // A host that leaves is gone at every node.
    hosts[0]?.client.dispose();
    const absent = hosts[0]?.hostId ?? '';
    for (const { url } of nodes) await until('a host that has left is at no node', () => dialThroughRelay({ url, hostId: absent }).then(() => false, (error: unknown) => RelayError.is(error, 'host-offline')), nodes);
  });

  it('joins a dialer with a host whose own connections come through a load balancer', async () => {
    const { nodes } = await startNodes(3);
    const url = await balance(nodes);
    const hosts = await Promise.all(Array.from({ length: 6 }, () => echoHost(url)));
    for (const { hostId } of hosts) for (let times = 0; times < 3; times++) await until('each host answers through the load balancer', () => echoes(url, hostId, `${times}`), nodes);
  });

  it('keeps a host where it is when another connection with the same key comes to another node, until it is gone there', async () => {
    const { nodes: [first, second] } = await startNodes(2);
    const [one, other] = [first?.url ?? '', second?.url ?? ''];
    const keyPair = generateKeyPair();
    const server = await host(one, keyPair);
    const rival = new RelayClient({ url: other, keyPair, onIncoming: () => undefined });
    closers.push(() => rival.dispose());
    const refused = new Promise<void>((resolve) => rival.onStatusChange(() => rival.status === 'errored' && resolve()));
    rival.start();
    await refused;
    expect(rival.statusMessage).toContain('identity.json was copied');
    expect(await canBeDialled(one, server.hostId)).toBe(true);
    server.client.dispose();
    await rival.whenConnected();
  });

  it('loses one node under load: its hosts come back on the others with their first attempts, and what runs on those goes on', async () => {
    const { nodes } = await startNodes(3);
    const url = await balance(nodes);
    const hosts = await Promise.all(Array.from({ length: 15 }, () => echoHost(url)));
    const [victim, ...left] = nodes as [Node, ...Node[]];
    // One long stream on a node that stays.
    const steady = await host(left[0]?.url ?? '');
    const stream = await dial(left[0]?.url ?? '', steady.hostId);
    const far = await steady.incoming();
    let sent = 0;
    let received = 0;
    far.on('data', (chunk: Buffer) => (received += chunk.length));
    const stop = new AbortController();
    const load = (async () => {
      while (!stop.signal.aborted) {
        sent += 64 * 1024;
        if (!stream.write(Buffer.alloc(64 * 1024))) await once(stream, 'drain');
        await turn();
      }
    })();
    // And calls to all hosts, through all nodes, all the time.
    const calls = Array.from({ length: 3 }, async (_, caller) => {
      let made = 0;
      for (; !stop.signal.aborted; made++) await echoes(url, hosts[(caller * 5 + made) % hosts.length]?.hostId ?? '', 'load');
      return made;
    });
    const killedAt = performance.now();
    victim.child.kill('SIGKILL');
    await once(victim.child, 'exit');
    for (const { hostId } of hosts) for (const node of left) await until('each host answers through each node that is left', () => echoes(node.url, hostId, 'after'), left);
    const seconds = (performance.now() - killedAt) / 1000;
    // The loss itself and two attempts in vain: 7 s by what a host waits in between, however slow this machine is.
    for (const { failures } of hosts) expect(failures()).toBeLessThanOrEqual(3);
    expect(hosts.some(({ failures }) => failures() > 0)).toBe(true);
    stop.abort();
    await load;
    expect((await Promise.all(calls)).every((made) => made > 0)).toBe(true);
    await until('the long stream has arrived', () => received === sent);
    expect(stream.destroyed).toBe(false);
    console.info(`${hosts.length} hosts were reachable through both nodes ${seconds.toFixed(1)} s after the third was killed; ${(sent / 2 ** 20).toFixed(0)} MiB went on meanwhile.`);
  });

  it('does what it can while NATS is gone, says so, and finds everybody again when it is back with nothing remembered', async () => {
    const { nodes, nats, natsPort } = await startNodes(2);
    const [first, second] = nodes as [Node, Node];
    const server = await echoHost(first.url);
    await until('the host answers through the other node', () => echoes(second.url, server.hostId, 'before'), nodes);
    await endProcess(nats, 'SIGKILL');
    for (const { port } of nodes) await until('both nodes say that NATS is gone', async () => (await readiness(port)) === '503 {"status":"no-presence"}', nodes);
    expect(await echoes(first.url, server.hostId, 'here')).toBe(true);
    // What it knew of the others holds for some seconds; then it cannot tell any more.
    await until('the other node cannot tell where the host is', async () => !(await echoes(second.url, server.hostId, 'gone')) && second.log().includes('"status":503'), nodes);
    await startNats(natsPort);
    for (const { port } of nodes) await until('both nodes say that NATS is back', async () => (await readiness(port)).startsWith('200'), nodes);
    await until('the host answers through the other node again', () => echoes(second.url, server.hostId, 'again'), nodes);
  });

  it('waits for no answer of a NATS that has stopped giving any, and says everything again where the bucket was removed', async () => {
    const { nodes, nats, natsPort } = await startNodes(2);
    const [first, second] = nodes as [Node, Node];
    const server = await echoHost(first.url);
    await until('the host answers through the other node', () => echoes(second.url, server.hostId, 'before'), nodes);
    nats.kill('SIGSTOP');
    for (const { port } of nodes) await until('both nodes say that NATS does not answer', async () => (await readiness(port)) === '503 {"status":"no-presence"}', nodes);
    expect(await echoes(first.url, server.hostId, 'here')).toBe(true);
    nats.kill('SIGCONT');
    for (const { port } of nodes) await until('both nodes say that NATS answers again', async () => (await readiness(port)).startsWith('200'), nodes);
    await until('the host answers through the other node again', () => echoes(second.url, server.hostId, 'again'), nodes);

    const connection = await connectToNats({ servers: `nats://127.0.0.1:${natsPort}` });
    closers.push(() => connection.close());
    await (await new Kvm(connection).open('baton-relay')).destroy();
    for (const { log } of nodes) await until('both nodes have noticed', () => log().split('"event":"presence-lost"').length === 3, nodes);
    await until('the host answers through the other node once more', () => echoes(second.url, server.hostId, 'once more'), nodes);
    await until('both nodes are at one again', async () => (await readiness(first.port)).startsWith('200') && (await readiness(second.port)).startsWith('200'), nodes);
  });

  it('does not start without NATS, or with a password in its command line', async () => {
    const port = await freePort();
    const start = (nats: string) => promisify(execFile)(process.execPath, [bundle, 'relay', '--listen', '127.0.0.1:0', '--nats', nats, '--public-url', 'ws://127.0.0.1:1']);
    await expect(start(`nats://127.0.0.1:${port}`)).rejects.toThrow('NATS with JetStream cannot be used');
    await expect(start(`nats://user:password@127.0.0.1:${port}`)).rejects.toThrow('must not hold a password');
  });
});
