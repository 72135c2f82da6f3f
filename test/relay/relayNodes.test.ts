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
import { describe, expect, it } from 'vitest';
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

async function startNode(natsPort: number): Promise<Node> {
  const port = await freePort();
  const node = await startRelayProcess(`127.0.0.1:${port}`, ['--nats', `nats://127.0.0.1:${natsPort}`, '--public-url', `ws://127.0.0.1:${port}`, '--max-dials-per-minute-per-address', '1000000', '--max-proofs-per-minute-per-address', '1000000']);
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

async function health(port: number): Promise<string> {
  return new Promise((resolve) => {
    request({ port, host: '127.0.0.1', path: '/healthz' }, (response) => {
      let body = '';
      response.on('data', (chunk: Buffer) => (body += chunk.toString())).on('end', () => resolve(`${response.statusCode ?? 0} ${body.trim()}`));
    }).on('error', () => resolve('unreachable')).end();
  });
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await turn();
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
async function echoHost(url: string): Promise<{ hostId: string; client: RelayClient }> {
  const keyPair = generateKeyPair();
  const client = new RelayClient({ url, keyPair, onIncoming: (stream) => void stream.on('error', () => undefined).pipe(stream).on('error', () => undefined) });
  closers.push(() => client.dispose());
  client.start();
  await client.whenConnected();
  return { hostId: hostIdOf(keyPair.publicKey), client };
}

describe('a relay of several nodes', () => {
  it('sends a dial that reaches the wrong node to the right one', async () => {
    const { nodes } = await startNodes(3);
    const hosts = await Promise.all(nodes.map(({ url }) => echoHost(url)));
    for (const { url } of nodes) for (const { hostId } of hosts) await until(() => echoes(url, hostId, `for ${hostId}`));
    expect(nodes.map(({ log }) => log().includes('"event":"dial-redirected"'))).toEqual([true, true, true]);
    // A host that leaves is gone at every node.
    hosts[0]?.client.dispose();
    const absent = hosts[0]?.hostId ?? '';
    for (const { url } of nodes) await until(async () => (await dialThroughRelay({ url, hostId: absent }).then(() => false, (error: unknown) => RelayError.is(error, 'host-offline'))));
  });

  it('joins a dialer with a host whose own connections come through a load balancer', async () => {
    const { nodes } = await startNodes(3);
    const url = await balance(nodes);
    const hosts = await Promise.all(Array.from({ length: 6 }, () => echoHost(url)));
    for (const { hostId } of hosts) for (let times = 0; times < 3; times++) await until(() => echoes(url, hostId, `${times}`));
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
    expect(rival.statusMessage).toContain('Another host process');
    expect(await canBeDialled(one, server.hostId)).toBe(true);
    server.client.dispose();
    await rival.whenConnected();
  });

  it('loses one node under load: its hosts come back on the others within seconds, and what runs on those goes on', async () => {
    const { nodes } = await startNodes(3);
    const url = await balance(nodes);
    const hosts = await Promise.all(Array.from({ length: 30 }, () => echoHost(url)));
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
    const calls = hosts.map(async ({ hostId }) => {
      let made = 0;
      while (!stop.signal.aborted) {
        await echoes(url, hostId, 'load');
        made += 1;
      }
      return made;
    });
    const killedAt = performance.now();
    victim.child.kill('SIGKILL');
    await once(victim.child, 'exit');
    for (const { hostId } of hosts) for (const node of left) await until(() => echoes(node.url, hostId, 'after'));
    const seconds = (performance.now() - killedAt) / 1000;
    stop.abort();
    await load;
    expect((await Promise.all(calls)).every((made) => made > 0)).toBe(true);
    await until(() => received === sent);
    expect(stream.destroyed).toBe(false);
    console.info(`30 hosts were reachable through both nodes ${seconds.toFixed(1)} s after the third was killed; ${(sent / 2 ** 20).toFixed(0)} MiB went on meanwhile.`);
    expect(seconds).toBeLessThan(30);
  });

  it('does what it can while NATS is gone, says so, and finds everybody again when it is back with nothing remembered', async () => {
    const { nodes: [first, second], nats, natsPort } = await startNodes(2) as { nodes: [Node, Node]; nats: ChildProcess; natsPort: number };
    const server = await echoHost(first.url);
    await until(() => echoes(second.url, server.hostId, 'before'));
    await endProcess(nats, 'SIGKILL');
    await until(async () => (await health(first.port)) === '503 {"status":"no-presence"}' && (await health(second.port)) === '503 {"status":"no-presence"}');
    expect(await echoes(first.url, server.hostId, 'here')).toBe(true);
    // What it knew of the others holds for some seconds; then it cannot tell any more.
    await until(async () => dialThroughRelay({ url: second.url, hostId: server.hostId }).then((stream) => void stream.on('error', () => undefined).destroy(), (error: unknown) => RelayError.is(error, 'relay-refused')).then((refused) => refused === true));
    await startNats(natsPort);
    await until(async () => (await health(first.port)).startsWith('200') && (await health(second.port)).startsWith('200'));
    await until(() => echoes(second.url, server.hostId, 'again'));
  });

  it('does not start without NATS, or with a password in its command line', async () => {
    const port = await freePort();
    const start = (nats: string) => promisify(execFile)(process.execPath, [bundle, 'relay', '--listen', '127.0.0.1:0', '--nats', nats, '--public-url', 'ws://127.0.0.1:1']);
    await expect(start(`nats://127.0.0.1:${port}`)).rejects.toThrow('NATS with JetStream cannot be used');
    await expect(start(`nats://user:password@127.0.0.1:${port}`)).rejects.toThrow('must not hold a password');
  });
});
