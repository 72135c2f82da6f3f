import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { FollowedHost } from '../../src/host/followSchemas';
import { bundle, endProcess, startRelayProcess } from '../fixtures/machine';
import { explainFailures, said, saying, startPair, type PairedHosts, type Site } from './pairedHosts';

describe('another host that is followed', () => {
  let pair: PairedHosts;
  let laptop: Site;
  let server: Site;
  let threadId: string;
  /** Each turn of the server's thread that the laptop heard end, and what it heard of the connection. */
  const turns: string[] = [];
  const states: FollowedHost[] = [];

  beforeAll(async () => {
    pair = await startPair({ clean: true });
    ({ laptop, server } = pair);
    laptop.client.on('host/followed', (state) => void states.push(state));
    laptop.client.on('host/heard', ({ hostId, method, params }) => {
      const { threadId: of, turn } = params as { threadId?: string; turn?: { id: string } };
      if (hostId === server.hostId && method === 'turn/completed' && of === threadId && turn !== undefined) turns.push(turn.id);
    });
    threadId = await server.begin(said.hello);
    return () => pair.close();
  });
  beforeEach(() => explainFailures(pair));

  const follow = () => laptop.client.call('host/follow', { host: server.hostId });
  /** Asked for before what causes it. */
  const comes = (state: FollowedHost['state']) => laptop.heard('host/followed', (now) => now.state === state);
  const turnsThere = async () => ((await server.client.codex('thread/turns/list', { threadId, limit: 100, sortDirection: 'asc' })) as { data: { id: string }[] }).data.map(({ id }) => id);
  /** The server's thread works, and the laptop hears of just this turn. */
  const works = async () => {
    await server.say(threadId, said.hello);
    const turn = (await turnsThere()).at(-1) ?? '';
    await new Promise<void>((resolve) => {
      const look = () => {
        if (turns.includes(turn)) resolve();
      };
      laptop.client.on('host/heard', look);
      look();
    });
  };

  it('has to let this one see its threads: to be a peer is not enough', async () => {
    const refused = comes('refused');
    expect(await follow()).toMatchObject({ state: 'connecting' });
    expect(await refused).toMatchObject({ message: saying(/for handoffs, not to see its threads.*--role viewer/) });
  });

  it('is connected to as soon as it does, and heard from', async () => {
    const connected = comes('connected');
    const { invite } = await server.client.call('host/invite', { role: 'viewer' });
    await laptop.client.call('host/join', { invite });
    expect(await connected).toMatchObject({ hostId: server.hostId, missed: false });
    await works();
    expect(turns).toEqual((await turnsThere()).slice(1));
    // It is still a peer: control channels of both kinds are told apart.
    const handedOff = await server.handOff({ threadId: await server.begin(said.hello), to: laptop.hostId });
    expect(handedOff).toMatchObject({ epoch: 1 });
  });

  it('is heard to the end, each thing once, over a relay that was killed while things happened', async () => {
    const waiting = comes('waiting');
    await endProcess(pair.relay.child, 'SIGKILL');
    expect(await waiting).toMatchObject({ message: expect.any(String) as string, retryAt: expect.any(String) as string });
    await server.say(threadId, said.hello);
    await server.say(threadId, said.hello);
    const connected = comes('connected');
    pair.relay = await startRelayProcess(new URL(pair.relay.url).host);
    expect(await connected).toMatchObject({ missed: false });
    await works();
    expect(turns).toEqual((await turnsThere()).slice(1));
  });

  it('is heard from on when it was killed and runs again, and says that something was missed', async () => {
    await server.stop('SIGKILL');
    const connected = comes('connected');
    await server.start();
    expect(await connected).toMatchObject({ missed: true });
    const before = turns.length;
    await works();
    expect(turns.slice(before)).toEqual((await turnsThere()).slice(-1));
  });

  describe('at the command line', () => {
    let watching: ChildProcess;
    const lines: string[] = [];
    let wake: () => void = () => undefined;
    const says = async (what: RegExp) => {
      while (!lines.some((line) => what.test(line))) await new Promise<void>((resolve) => (wake = resolve));
    };
    afterAll(() => endProcess(watching, 'SIGINT'));

    it('shows what happens there, and how the connection is', async () => {
      watching = spawn(process.execPath, [bundle, 'watch', '--host', 'server'], { env: laptop.machine.env, stdio: ['ignore', 'pipe', 'pipe'] });
      for (const stream of [watching.stdout, watching.stderr]) {
        if (stream !== null) createInterface({ input: stream }).on('line', (line) => {
          lines.push(line);
          wake();
        });
      }
      await says(/^Connected to "server"\.$/);
      const short = threadId.slice(0, 8);
      await server.say(threadId, said.risky);
      await says(new RegExp(`^\\d\\d:\\d\\d:\\d\\d  thread ${short}  works$`));
      await says(new RegExp(`^\\d\\d:\\d\\d:\\d\\d  thread ${short}  asks for an approval: .*published by the agent`));
      const [approval] = await server.approvals(threadId);
      const rest = server.rest(threadId);
      await server.client.call('approval/decide', { id: approval?.id ?? '', digest: approval?.digest ?? '', decision: 'accept' });
      await rest;
      await says(new RegExp(`thread ${short}  has its answer: accept`));
      await says(new RegExp(`thread ${short}  rests: its turn is completed`));
    });

    it('ends with what is wrong where the other host lets this one in no more', async () => {
      const gone = comes('waiting');
      await server.client.call('device/revoke', { id: laptop.hostId });
      await gone;
      await says(/^The connection to "server" waits/);
      expect(lines.filter((line) => line.startsWith('The connection'))).toHaveLength(1);
      const closed = once(watching, 'exit');
      watching.kill('SIGINT');
      expect(await closed).toEqual([0, null]);
    });
  });

  it('is let go of with the last who follows it', async () => {
    expect(await laptop.client.call('host/unfollow', { host: server.hostId })).toEqual({ followed: true });
    expect(await laptop.client.call('host/unfollow', { host: server.hostId })).toEqual({ followed: false });
    expect(states.filter(({ state }) => state === 'connected')).toHaveLength(3);
  });
});
