/** What a relay can do to those who meet at it: refuse, delay and cut. */
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Channel } from '../../src/relay/channel';
import { generateKeyPair, hostIdOf, type KeyPair } from '../../src/relay/keys';
import { acceptChannel, openChannel } from '../../src/relay/openChannel';
import { encodePreamble, type ChannelPurpose } from '../../src/relay/preamble';
import { dialThroughRelay } from '../../src/relay/relayDial';
import { failureOf, ManualClock, receivedBy } from './channelPair';
import { hostileRelay, type Hostility } from './hostileRelay';
import { closers, dial, host, relay } from './relayLaboratory';

type Purpose = Exclude<ChannelPurpose, 'pairing'>;
type Host = Awaited<ReturnType<typeof host>>;
const dialer = generateKeyPair();
const turn = () => new Promise((resolve) => setImmediate(resolve));

/** A channel may break before anybody asks how it is. */
const watched = (channel: Channel): Channel => channel.on('error', () => undefined);
const open = (stream: Duplex, remoteKey: Uint8Array, purpose: Purpose = 'control', clock?: ManualClock): Promise<Channel> => openChannel(stream, { keyPair: dialer, remoteKey, purpose, clock }).then(watched);
const accept = async (stream: Promise<Duplex>, keyPair: KeyPair, clock?: ManualClock): Promise<Channel> =>
  acceptChannel(await stream, { keyPair, clock, isTrusted: (key) => Buffer.compare(key, dialer.publicKey) === 0, pskForRoom: () => undefined }).then(watched);

/** Both ends of a channel to a host by way of some relay. */
async function meet(url: string, server: Host, purpose: Purpose = 'control', clock?: ManualClock): Promise<{ near: Channel; far: Channel }> {
  const stream = await dial(url, server.hostId);
  const [near, far] = await Promise.all([open(stream, server.keyPair.publicKey, purpose, clock), accept(server.incoming(), server.keyPair, clock)]);
  closers.push(() => [near, far].forEach((channel) => channel.destroy()));
  return { near, far };
}

/** What has come over a channel so far. */
function heard(channel: Channel): () => string {
  const chunks: Buffer[] = [];
  channel.on('data', (chunk: Buffer) => chunks.push(chunk));
  return () => Buffer.concat(chunks).toString();
}

describe('a relay that meddles with what passes', () => {
  const faults = ['drop', 'repeat', 'change', 'shorten', 'lengthen', 'hold back', 'replay the first', 'reflect', 'end', 'cut'] as const;
  const schedule = fc.array(fc.record({ fault: fc.constantFrom(...faults), at: fc.integer({ min: 0, max: 14 }), toHost: fc.boolean(), where: fc.nat() }), { minLength: 1, maxLength: 3 });

  it('can break a channel, but nothing else: each side has a beginning of what the other sent, and all of it where it was told that this is all', async () => {
    const running = await relay();
    const server = await host(running.url);
    const outcomes = { refused: 0, broken: 0, whole: 0 };
    const runs = 150;
    await fc.assert(fc.asyncProperty(schedule, async (plan) => {
      const clock = new ManualClock();
      const url = await hostileRelay(running.url, { meddle: meddling(plan) });
      const stream = await dial(url, server.hostId);
      // No word may be waited for longer than the clock says, and it goes on whenever nothing happens.
      const over = { is: false };
      const ticking = (async () => {
        for (let quiet = 0; !over.is; quiet++) {
          await turn();
          if (quiet % 50 === 49) clock.advance(5000);
        }
      })();
      const [opened, accepted] = await Promise.allSettled([open(stream, server.keyPair.publicKey, 'control', clock), accept(server.incoming(), server.keyPair, clock)]);
      const sides = [opened, accepted].map((side) => (side.status === 'fulfilled' ? { channel: side.value, text: heard(side.value) } : undefined));
      for (const [index, side] of sides.entries()) {
        if (side === undefined) continue;
        const said = index === 0 ? 'from the dialer' : 'from the host';
        for (let line = 0; line < 4 && !side.channel.destroyed; line++) {
          side.channel.write(`${said} ${line}\n`);
          await turn();
        }
        if (!side.channel.destroyed) side.channel.end();
      }
      while (sides.some((side) => side !== undefined && !side.channel.destroyed)) await turn();
      over.is = true;
      await ticking;
      for (const [index, side] of sides.entries()) {
        if (side === undefined) continue;
        const whole = [0, 1, 2, 3].map((line) => `${index === 0 ? 'from the host' : 'from the dialer'} ${line}\n`).join('');
        expect(whole.startsWith(side.text())).toBe(true);
        if (side.channel.readableEnded) expect(side.text()).toBe(whole);
      }
      outcomes[sides.includes(undefined) ? 'refused' : sides.every((side) => side?.channel.readableEnded === true) ? 'whole' : 'broken'] += 1;
    }), { numRuns: runs });
    console.info(`A relay meddled with ${runs} channels: ${outcomes.refused} were never made, ${outcomes.broken} were broken, ${outcomes.whole} were left whole.`);
    expect(outcomes.refused + outcomes.broken).toBeGreaterThan(0);
  });

  function meddling(plan: readonly { fault: (typeof faults)[number]; at: number; toHost: boolean; where: number }[]): NonNullable<Hostility['meddle']> {
    const first = new Map<boolean, Buffer>();
    const other = new Map<boolean, Buffer>();
    const held: Buffer[] = [];
    return (message, index, toHost) => {
      if (index === 0) first.set(toHost, Buffer.from(message));
      other.set(toHost, Buffer.from(message));
      const { fault, where } = plan.find((entry) => entry.at === index && entry.toHost === toHost) ?? {};
      const at = (where ?? 0) % message.length;
      switch (fault) {
        case undefined:
          return [message, ...held.splice(0)];
        case 'drop':
          return [];
        case 'repeat':
          return [message, message];
        case 'change':
          message[at] = (message[at] ?? 0) ^ 1;
          return [message];
        case 'shorten':
          return [message.subarray(0, at)];
        case 'lengthen':
          return [message, Buffer.alloc(at + 1)];
        case 'hold back':
          held.push(message);
          return [];
        case 'replay the first':
          return [first.get(toHost) ?? message, message];
        case 'reflect':
          return [other.get(!toHost) ?? message];
        case 'end':
        case 'cut':
          return fault;
      }
    };
  }
});

describe('a relay that connects others than were meant', () => {
  it('splices two channels of the same two hosts: both end with an error, and neither hears a word of the other', async () => {
    const running = await relay();
    const server = await host(running.url);
    let isSpliced = false;
    const url = await hostileRelay(running.url, { splice: (pair) => (isSpliced ? 1 - pair : pair) });
    const [control, transfer] = [await meet(url, server, 'control'), await meet(url, server, 'transfer')];
    isSpliced = true;
    const failures = Promise.all([failureOf(control.far), failureOf(transfer.far)]);
    const heardBy = [heard(control.far), heard(transfer.far)];
    for (const { near } of [control, transfer]) near.write('an order of its own');
    expect((await failures).map(({ reason }) => reason)).toEqual(['channel-corrupt', 'channel-corrupt']);
    expect(heardBy.map((text) => text())).toEqual(['', '']);
  });

  it('brings a dial to another host, or answers it itself: no channel comes of it, on either side', async () => {
    const running = await relay();
    const [meant, other] = [await host(running.url), await host(running.url)];
    const url = await hostileRelay(running.url, { route: () => other.hostId });
    const [opened, accepted] = await Promise.allSettled([
      open(await dial(url, meant.hostId), meant.keyPair.publicKey),
      accept(other.incoming(), other.keyPair),
    ]);
    expect([opened, accepted]).toMatchObject([{ reason: { reason: expect.stringMatching(/^(handshake-failed|channel-closed)$/) as string } }, { reason: { reason: 'handshake-failed' } }]);
  });

  it('says of a host that is there that it is not, and of one that is not that it is: a dial fails, and that is all', async () => {
    const running = await relay();
    const [server, impostor] = [await host(running.url), await host(running.url)];
    const denying = await hostileRelay(running.url, { route: () => 404 });
    await expect(dialThroughRelay({ url: denying, hostId: server.hostId })).rejects.toMatchObject({ reason: 'host-offline' });
    const gone = generateKeyPair();
    const pretending = await hostileRelay(running.url, { route: () => impostor.hostId });
    const opening = open(await dial(pretending, hostIdOf(gone.publicKey)), gone.publicKey);
    // It has the key that was asked for, and not what belongs to it.
    const pretended = accept(impostor.incoming(), { publicKey: gone.publicKey, secretKey: impostor.keyPair.secretKey });
    const results = await Promise.allSettled([opening, pretended]);
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  });
});

describe('a relay that keeps what passed', () => {
  /** All that one channel of a purpose sent to the host. */
  async function recorded(server: Host, honestUrl: string, purpose: Purpose): Promise<Buffer[]> {
    const kept: Buffer[] = [];
    const url = await hostileRelay(honestUrl, { meddle: (message, _index, toHost) => { if (toHost) kept.push(Buffer.from(message)); return [message]; } });
    const { near, far } = await meet(url, server, purpose);
    near.end('do it once');
    far.end();
    expect(String(await receivedBy(far))).toBe('do it once');
    await receivedBy(near);
    return kept;
  }

  it('and plays a whole channel to the host again, as it was or as one of another purpose, has nothing done', async () => {
    const running = await relay();
    const server = await host(running.url);
    const kept = await recorded(server, running.url, 'control');
    for (const purpose of ['control', 'transfer', 'tunnel'] as const) {
      const preamble = encodePreamble({ pattern: 'KK', purpose, initiatorKey: dialer.publicKey, room: '' });
      const stream = await dial(running.url, server.hostId);
      stream.on('error', () => undefined);
      const accepted = accept(server.incoming(), server.keyPair);
      const all = Buffer.concat(kept);
      all.set(preamble, 2);
      stream.write(all);
      await expect(accepted).rejects.toMatchObject({ reason: 'handshake-failed' });
    }
  });

  it('and puts what it kept into a new channel of the same two hosts breaks that channel, before any of it is heard', async () => {
    const running = await relay();
    const server = await host(running.url);
    for (const purpose of ['control', 'transfer', 'tunnel'] as const) {
      const kept = await recorded(server, running.url, 'control');
      // After the preamble, the first handshake message and the confirmation.
      const url = await hostileRelay(running.url, { meddle: (message, index, toHost) => (toHost && index >= 3 ? kept.slice(3) : [message]) });
      const { near, far } = await meet(url, server, purpose);
      const failure = failureOf(far);
      const text = heard(far);
      near.write('something else');
      expect((await failure).reason).toBe('channel-corrupt');
      expect(text()).toBe('');
    }
  });

  it('and swaps a purpose under way lets no host take a channel for what it is not', async () => {
    const running = await relay();
    const server = await host(running.url);
    const purposes = ['control', 'transfer', 'tunnel'] as const;
    for (const [index, purpose] of purposes.entries()) {
      const other = encodePreamble({ pattern: 'KK', purpose: purposes[(index + 1) % 3] ?? 'control', initiatorKey: dialer.publicKey, room: '' });
      const url = await hostileRelay(running.url, { meddle: (message, number, toHost) => { if (toHost && number === 0) message.set(other, 2); return [message]; } });
      const stream = await dial(url, server.hostId);
      const results = await Promise.allSettled([open(stream, server.keyPair.publicKey, purpose), accept(server.incoming(), server.keyPair)]);
      expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    }
  });

  it('gets no more of a host by cutting it off: it dials again, and what was said before is not said again by anybody', async () => {
    const running = await relay();
    const server = await host(running.url);
    let isCutting = false;
    const url = await hostileRelay(running.url, { meddle: (message) => (isCutting ? 'cut' : [message]) });
    const before = await meet(url, server);
    isCutting = true;
    const failure = failureOf(before.near);
    before.near.write('lost');
    expect((await failure).reason).toMatch(/^channel-/);
    isCutting = false;
    const after = await meet(url, server);
    after.near.write('said once');
    expect(String((await once(after.far, 'data'))[0])).toBe('said once');
  });
});
