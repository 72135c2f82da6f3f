import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { Duplex } from 'node:stream';
import { finished } from 'node:stream/promises';
import { afterEach, describe, expect, it } from 'vitest';
import type { Channel } from '../../src/relay/channel';
import { hostIdOf } from '../../src/relay/keys';
import { channelsOver, failureOf, ManualClock, meddledPair, receivedBy, socketPair, type Meddle } from './channelPair';

const closers: (() => void)[] = [];
afterEach(() => closers.splice(0).forEach((close) => close()));

async function channels(options: Parameters<typeof channelsOver>[2] = {}, connect: () => Promise<{ near: Duplex; far: Duplex; close: () => void }> = socketPair) {
  const pair = await connect();
  const both = await channelsOver(pair.near, pair.far, options);
  closers.push(() => {
    both.initiator.destroy();
    both.responder.destroy();
    pair.close();
  });
  return { ...both, pair };
}

const meddled = (meddle: Meddle) => channels({}, () => meddledPair(meddle));
/** Frames of a KK handshake: preamble, message 1 and the confirmation go to the responder, message 2 comes back. */
const TRANSPORT_STARTS = 3;

async function sendBlocks(channel: Channel, block: Buffer, count: number): Promise<string> {
  const hash = createHash('sha256');
  for (let index = 0; index < count; index++) {
    hash.update(block);
    if (!channel.write(block)) await once(channel, 'drain');
  }
  channel.end();
  await finished(channel, { readable: false });
  return hash.digest('hex');
}

/** Resolves when a connection that takes nothing any more has stopped taking. */
async function stalled(stream: Duplex): Promise<void> {
  for (let quiet = 0, before = -1; quiet < 200; quiet++) {
    await new Promise((resolve) => setImmediate(resolve));
    if (stream.writableLength !== before) quiet = 0;
    before = stream.writableLength;
  }
}

/** A stream that has room for nothing while it sends, one write after the other. Time goes on by 5 s with each frame of data. */
class FullLink extends Duplex {
  constructor(private readonly inner: Duplex, private readonly clock: ManualClock) {
    super({ writableHighWaterMark: 1 });
    inner.on('data', (chunk: Buffer) => this.push(chunk)).on('end', () => this.push(null));
  }

  override _read(): void {
    this.inner.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: () => void): void {
    this.inner.write(chunk);
    // Long enough for the signs of life of the other side to come, and before there is room again.
    setTimeout(() => {
      if (chunk.length > 60_000) this.clock.advance(5000);
      callback();
    }, 2);
  }

  override _final(callback: () => void): void {
    this.inner.end(callback);
  }
}

async function hashOf(channel: Channel): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of channel.iterator({ destroyOnReturn: false })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

describe('a channel', () => {
  it('names both keys, the purpose and one binding alike on both sides', async () => {
    const { initiator, responder } = await channels({ purpose: 'control' });
    expect(initiator.handshakeHash).toEqual(responder.handshakeHash);
    expect([initiator.purpose, responder.purpose, initiator.pattern, responder.pattern, initiator.role, responder.role]).toEqual(['control', 'control', 'KK', 'KK', 'initiator', 'responder']);
    expect(responder.remoteHostId).toBe(hostIdOf(responder.remoteKey));
    const other = await channels();
    expect(other.initiator.handshakeHash).not.toEqual(initiator.handshakeHash);
  });

  it('carries 160 MiB one way and 8 MiB the other unchanged, with new keys on the way', async () => {
    const { initiator, responder } = await channels();
    const block = randomBytes(1024 * 1024 - 7);
    const [forward, back, sentForward, sentBack] = await Promise.all([hashOf(responder), hashOf(initiator), sendBlocks(initiator, block, 160), sendBlocks(responder, block, 8)]);
    expect([forward, back]).toEqual([sentForward, sentBack]);
    expect(initiator.rekeys).toBe(2);
    expect(responder.rekeys).toBe(0);
    expect(initiator.bytesSent).toBe(responder.bytesReceived);
    expect(responder.bytesSent).toBe(initiator.bytesReceived);
  });

  it('can be ended one way and still carry the other', async () => {
    const { initiator, responder } = await channels();
    initiator.end('question');
    expect((await receivedBy(responder)).toString()).toBe('question');
    await finished(initiator, { readable: false });
    responder.end('a late answer');
    expect((await receivedBy(initiator)).toString()).toBe('a late answer');
    await Promise.all([finished(initiator), finished(responder)]);
    expect([initiator.errored, responder.errored]).toEqual([null, null]);
  });

  it('finishes only when the other side has everything', async () => {
    const { initiator, responder } = await channels();
    let isFinished = false;
    initiator.once('finish', () => (isFinished = true));
    const block = Buffer.alloc(1024 * 1024, 7);
    for (let index = 0; index < 64; index++) initiator.write(block);
    initiator.end();
    await once(responder, 'readable');
    // The responder holds the first bytes and reads no more: the end cannot have reached it.
    responder.read(1);
    await once(responder, 'readable');
    expect(isFinished).toBe(false);
    expect((await receivedBy(responder)).length).toBe(64 * 1024 * 1024 - 1);
    await finished(initiator, { readable: false });
  });

  it('holds little for a reader that does not read', async () => {
    const { initiator, responder, pair } = await channels();
    const block = Buffer.alloc(256 * 1024);
    let accepted = 0;
    const fill = (): void => {
      while (initiator.writableLength < 1024 * 1024 && accepted < 512) {
        accepted += 1;
        initiator.write(block, () => fill());
      }
    };
    fill();
    await once(responder, 'readable');
    // Once the kernel's buffers are full, nothing on either side grows any more.
    while (!pair.near.writableNeedDrain || responder.readableLength < responder.readableHighWaterMark) await new Promise(setImmediate);
    expect(responder.readableLength).toBeLessThanOrEqual(1024 * 1024);
    expect(pair.near.writableLength).toBeLessThanOrEqual(1024 * 1024);
    expect(accepted).toBeLessThan(512);
  });

  it.each([0, 1, 65_518, 65_519, 262_072, 262_073])('carries a single write of %i bytes', async (length) => {
    const { initiator, responder } = await channels();
    const bytes = randomBytes(length);
    initiator.end(bytes);
    expect((await receivedBy(responder)).equals(bytes)).toBe(true);
  });
});

describe('a hostile middle', () => {
  it.each<[string, Meddle, string]>([
    ['changes a byte', (frame, index, toFar) => { if (toFar && index === TRANSPORT_STARTS + 1) frame[9] = (frame[9] ?? 0) ^ 1; return [frame]; }, 'channel-corrupt'],
    ['drops a message', (frame, index, toFar) => (toFar && index === TRANSPORT_STARTS + 1 ? [] : [frame]), 'channel-corrupt'],
    ['repeats a message', (frame, index, toFar) => (toFar && index === TRANSPORT_STARTS + 1 ? [frame, frame] : [frame]), 'channel-corrupt'],
    ['cuts the stream between two messages', (frame, index, toFar) => (toFar && index === TRANSPORT_STARTS + 2 ? 'cut' : [frame]), 'channel-truncated'],
    ['withholds the end', (frame, _index, toFar) => (toFar && frame.length === 19 ? 'cut' : [frame]), 'channel-truncated'],
    ['makes up an empty message', (frame, index, toFar) => (toFar && index === TRANSPORT_STARTS + 1 ? [Buffer.from([0, 0]), frame] : [frame]), 'channel-corrupt'],
  ])('that %s ends the channel with an error', async (_what, meddle, reason) => {
    let live = false;
    let confirmed = false;
    const { initiator, responder } = await meddled((frame, index, toFar) => {
      // The confirmation has the size of an end; the handshake must pass.
      if (toFar && index === TRANSPORT_STARTS - 1) confirmed = true;
      return live && confirmed ? meddle(frame, index, toFar) : [frame];
    });
    live = true;
    const failure = failureOf(responder);
    initiator.on('error', () => undefined);
    for (let index = 0; index < 4; index++) initiator.write(randomBytes(1000 + index));
    initiator.end(randomBytes(200_000));
    expect((await failure).reason).toBe(reason);
    expect(responder.readableEnded).toBe(false);
  });

  it('that exchanges two messages ends the channel with an error', async () => {
    let first: Buffer | undefined;
    const { initiator, responder } = await meddled((frame, index, toFar) => {
      if (!toFar || index < TRANSPORT_STARTS || index > TRANSPORT_STARTS + 1) return [frame];
      if (first === undefined) {
        first = Buffer.from(frame);
        return [];
      }
      return [frame, first];
    });
    initiator.on('error', () => undefined);
    const failure = failureOf(responder);
    initiator.write('one');
    initiator.write('two');
    initiator.write('three');
    expect((await failure).reason).toBe('channel-corrupt');
  });

  it('that splices one channel into another ends it with an error', async () => {
    const recorded: Buffer[] = [];
    const source = await meddled((frame, index, toFar) => {
      if (toFar && index >= TRANSPORT_STARTS) recorded.push(Buffer.from(frame));
      return [frame];
    });
    source.initiator.end('of another channel');
    await receivedBy(source.responder);
    const { initiator, responder } = await meddled((frame, index, toFar) => (toFar && index === TRANSPORT_STARTS ? recorded : [frame]));
    initiator.on('error', () => undefined);
    const failure = failureOf(responder);
    initiator.write('mine');
    expect((await failure).reason).toBe('channel-corrupt');
  });

  it('that sends a message back to whoever wrote it ends the channel with an error', async () => {
    const pair = await socketPair();
    const { initiator, responder } = await channelsOver(pair.near, pair.far);
    closers.push(() => [initiator, responder, pair.near, pair.far].forEach((stream) => stream.destroy()));
    responder.on('error', () => undefined);
    const failure = failureOf(initiator);
    // The far end of the connection now echoes what it gets, without the responder seeing it.
    pair.far.removeAllListeners('data').on('data', (chunk: Buffer) => pair.far.write(chunk));
    initiator.write('to the other side');
    expect((await failure).reason).toBe('channel-corrupt');
  });
});

describe('a channel whose other side falls silent', () => {
  it('ends within 30 s, and not while the other side gives signs of life', async () => {
    const clock = new ManualClock();
    let forward = true;
    const { initiator, responder } = await channels({ clock }, () => meddledPair((frame) => (forward ? [frame] : [])));
    for (let second = 0; second < 120; second += 5) {
      const before = [initiator.bytesReceived, responder.bytesReceived];
      clock.advance(5000);
      // Each sign of life is on its way before time moves on.
      if (second % 10 === 5) while (initiator.bytesReceived === before[0] || responder.bytesReceived === before[1]) await new Promise((resolve) => setImmediate(resolve));
    }
    expect([initiator.destroyed, responder.destroyed]).toEqual([false, false]);
    forward = false;
    const failure = failureOf(initiator);
    responder.on('error', () => undefined);
    clock.advance(30_000);
    expect((await failure).reason).toBe('channel-dead');
  });

  it('replaces its key after ten minutes in which it was used, in both directions, and what is sent then arrives', async () => {
    const clock = new ManualClock();
    const { initiator, responder } = await channels({ clock });
    for (let second = 0; second < 610; second += 5) {
      const before = [initiator.bytesReceived, responder.bytesReceived];
      clock.advance(5000);
      if (second % 10 === 5) while (initiator.bytesReceived === before[0] || responder.bytesReceived === before[1]) await new Promise((resolve) => setImmediate(resolve));
    }
    expect([initiator.rekeys, responder.rekeys]).toEqual([1, 1]);
    initiator.end('with another key');
    responder.end('here too');
    expect((await Promise.all([receivedBy(responder), receivedBy(initiator)])).map(String)).toEqual(['with another key', 'here too']);
  });

  it('replaces its key after ten minutes on a link, too, that always has more to send than it takes', async () => {
    const clock = new ManualClock();
    const { initiator, responder } = await channels({ clock }, async () => {
      const { near, far, close } = await socketPair();
      return { near: new FullLink(near, clock), far, close };
    });
    const received = hashOf(responder);
    // Frames for 625 s, and far less than what replaces a key by volume.
    const sent = await sendBlocks(initiator, randomBytes(64 * 1024), 125);
    expect(await received).toBe(sent);
    expect(initiator.rekeys).toBe(1);
  });

  it('ends after ten minutes in which the other side, though alive, took nothing', async () => {
    const clock = new ManualClock();
    const { initiator, responder, pair } = await channels({ clock });
    const failure = failureOf(initiator);
    responder.on('error', () => undefined);
    // More than all buffers hold, and a reader that reads nothing of it.
    const block = Buffer.alloc(1024 * 1024);
    for (let count = 0; count < 32; count++) initiator.write(block, () => undefined);
    await once(responder, 'readable');
    while (!pair.near.writableNeedDrain) await new Promise((resolve) => setImmediate(resolve));
    await stalled(pair.near);
    const isOver = () => initiator.destroyed;
    for (let second = 0; second < 600 && !isOver(); second += 5) {
      const { bytesReceived } = initiator;
      clock.advance(5000);
      if (second % 10 === 5) while (!isOver() && initiator.bytesReceived === bytesReceived) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await failure).toMatchObject({ reason: 'channel-dead', message: expect.stringContaining('ten minutes') as string });
  });

  it('ends soon after a sleep through which the other side did not wait', async () => {
    const clock = new ManualClock();
    const { initiator, responder } = await channels({ clock }, () => meddledPair((frame, index) => (index < TRANSPORT_STARTS ? [frame] : [])));
    const failures = Promise.all([failureOf(initiator), failureOf(responder)]);
    // Both have begun to listen.
    await new Promise((resolve) => setImmediate(resolve));
    clock.advance(8 * 3_600_000);
    expect((await failures).map(({ reason }) => reason)).toEqual(['channel-dead', 'channel-dead']);
  });
});
