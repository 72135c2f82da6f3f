/** All that a relay sees of a pairing and of a handoff there and back, searched for what it must not see. */
import { deflateSync } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { tapWire, type WireTap } from '../fixtures/wireTap';
import { explainFailures, said, startPair, type PairedHosts } from './pairedHosts';

let tap: WireTap;
let pair: PairedHosts;

beforeAll(async () => {
  pair = await startPair({
    async wayTo(relayUrl) {
      tap = await tapWire(Number(new URL(relayUrl).port));
      return `ws://127.0.0.1:${tap.port}`;
    },
  });
});
beforeEach(() => explainFailures(pair));
afterAll(async () => {
  await pair.close();
  tap.close();
});

/** The spellings in which bytes could hide in a stream: as they are, in UTF-16, in hexadecimal digits, and in base64 at each of its three offsets. */
function spellings(text: string): Buffer[] {
  const bytes = Buffer.from(text);
  const base64 = [0, 1, 2].map((before) => Buffer.concat([Buffer.alloc(before), bytes]).toString('base64').slice(before === 0 ? 0 : before + 1).replace(/=+$/, '').slice(0, -1));
  return [bytes, Buffer.from(text, 'utf16le'), Buffer.from(bytes.toString('hex')), ...base64.flatMap((digits) => [Buffer.from(digits), Buffer.from(digits.replaceAll('+', '-').replaceAll('/', '_'))])];
}

it('learns who meets whom, how much and when, and nothing of what is said, moved or named', async () => {
  const { laptop, server: there } = pair;
  const threadId = await laptop.begin(said.hello);
  await laptop.say(threadId, said.plan);
  await laptop.client.codex('thread/name/set', { threadId, name: 'Where the comets went' });
  const { worktree } = await laptop.handOff({ threadId, to: there.hostId });
  await there.say(threadId, 'And now?');
  await laptop.handOff({ threadId, to: laptop.hostId, from: there.hostId });
  const { invite } = await laptop.client.call('host/invite', {});

  const seen = tap.streams();
  const finds = (text: string): boolean => spellings(text).some((spelling) => seen.some((stream) => stream.includes(spelling)));
  // So the search does find what is there.
  for (const metadata of [laptop.hostId, there.hostId, '/v1/dial/', '"type":"registered"']) expect(finds(metadata)).toBe(true);
  const secret = [
    said.hello, said.plan, 'ephemeris-42', 'The plan stands', 'And now?', threadId, 'Where the comets went',
    'comets.js', 'planet7.js', 'README.md', 'Halley', 'refs/heads', 'comets', 'Orrery', 'ada@example.com', 'Count the comets',
    laptop.checkout, there.checkout, worktree, pair.directory, 'laptop', 'jsonrpc', 'handoff/', 'host/hello', 'git bundle', 'PACK\0',
    invite.slice('baton:'.length, 200),
  ];
  expect(secret.filter(finds)).toEqual([]);
  // What passes cannot be made smaller, so it is not clear text in some other dress. The relay sends on just what it gets, so each stream is tried by itself.
  const large = seen.filter(({ length }) => length > 8 * 1024);
  const ratios = large.map((stream) => deflateSync(stream).length / stream.length);
  console.info(`The relay saw ${seen.length} streams, ${seen.reduce((bytes, { length }) => bytes + length, 0)} bytes in all. The ${large.length} large ones deflate to ${ratios.map((ratio) => ratio.toFixed(3)).join(', ')}.`);
  expect(large.length).toBeGreaterThan(2);
  expect(Math.min(...ratios)).toBeGreaterThan(0.97);
});
