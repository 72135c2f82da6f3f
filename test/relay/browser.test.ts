/** A channel between a page in a real Chromium and Node, through a real relay: one source on both sides. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { build } from 'esbuild';
import { chromium, type Browser, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Channel } from '../../src/relay/channel';
import { createInvite, parseInvite } from '../../src/relay/invite';
import { generateKeyPair, hostIdOf, type KeyPair } from '../../src/relay/keys';
import { acceptChannel, openChannel } from '../../src/relay/openChannel';
import { chromiumArguments, findChromium } from '../fixtures/chromium';
import type * as peer from './browserPeer';
import { receivedBy } from './channelPair';
import { dial, host, relay } from './relayLaboratory';

declare global {
  var batonPeer: typeof peer;
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
let browser: Browser;
let page: Page;
let origin: string;
let directory: string;
const server = createServer((_request, response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>peer</title>'));

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'baton-page-'));
  const outfile = join(directory, 'peer.js');
  await build({ entryPoints: [join(import.meta.dirname, 'browserPeer.ts')], outfile, bundle: true, platform: 'browser', format: 'iife', globalName: 'batonPeer', target: 'es2022', logLevel: 'error' });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  browser = await chromium.launch({ executablePath: await findChromium(), args: chromiumArguments });
  page = await browser.newPage();
  await page.goto(origin);
  await page.addScriptTag({ content: await readFile(outfile, 'utf8') });
}, 120_000);

afterAll(async () => {
  await browser.close();
  server.closeAllConnections();
  server.close();
  await rm(directory, { recursive: true, force: true });
});

/** Answers a dial in Node, and sends something back once all has come. */
async function answerInNode(incoming: Promise<Duplex>, keyPair: KeyPair, answer: Uint8Array, psk?: Uint8Array): Promise<{ channel: Channel; received: Buffer }> {
  const channel = await acceptChannel(await incoming, { keyPair, isTrusted: () => psk === undefined, pskForRoom: () => psk });
  return { channel, received: await exchange(channel, answer) };
}

async function exchange(channel: Channel, sent: Uint8Array): Promise<Buffer> {
  channel.end(sent);
  return receivedBy(channel);
}

describe('a page in Chromium', () => {
  // More than one Noise message, and more than one WebSocket message of the relay.
  const [toPage, fromPage] = [randomBytes(300_001), randomBytes(400_001)];

  it('opens a channel to a host that knows its key, through the relay', async () => {
    const running = await relay({ allowedOrigins: [origin] });
    const node = await host(running.url);
    const key = generateKeyPair();
    const [inPage, inNode] = await Promise.all([
      page.evaluate((options) => batonPeer.dial(options), { url: running.url, secretKey: hex(key.secretKey), remoteKey: hex(node.keyPair.publicKey), sent: hex(fromPage) }),
      answerInNode(node.incoming(), node.keyPair, toPage),
    ]);
    expect(inNode.received.equals(fromPage)).toBe(true);
    expect(inNode.channel.remoteHostId).toBe(hostIdOf(key.publicKey));
    expect(inPage).toEqual({ handshakeHash: hex(inNode.channel.handshakeHash), remoteKey: hex(node.keyPair.publicKey), received: hex(toPage) });
  });

  it('pairs with the secret of an invite', async () => {
    const running = await relay({ allowedOrigins: [origin] });
    const node = await host(running.url);
    const { psk, room } = parseInvite(createInvite({ relayUrl: running.url, hostId: node.hostId, name: 'laptop', lifetimeMs: 60_000 }).invite);
    const key = generateKeyPair();
    const [inPage, inNode] = await Promise.all([
      page.evaluate((options) => batonPeer.dial(options), { url: running.url, secretKey: hex(key.secretKey), remoteKey: hex(node.keyPair.publicKey), sent: hex(fromPage), room, psk: hex(psk) }),
      answerInNode(node.incoming(), node.keyPair, toPage, psk),
    ]);
    expect([inNode.channel.pattern, inNode.channel.remoteHostId, inNode.received.equals(fromPage)]).toEqual(['XXpsk3', hostIdOf(key.publicKey), true]);
    expect(inPage.received).toBe(hex(toPage));
  });

  it('answers a host that dials it', async () => {
    const [key, keyPair] = [generateKeyPair(), generateKeyPair()];
    let registered: () => void = () => undefined;
    const isRegistered = new Promise<void>((resolve) => (registered = resolve));
    const running = await relay({ allowedOrigins: [origin], log: ({ event }) => event === 'registered' && registered() });
    const answering = page.evaluate((options) => batonPeer.answer(options), { url: running.url, secretKey: hex(key.secretKey), sent: hex(fromPage) });
    await isRegistered;
    const channel = await openChannel(await dial(running.url, hostIdOf(key.publicKey)), { keyPair, remoteKey: key.publicKey, purpose: 'transfer' });
    const [inPage, received] = await Promise.all([answering, exchange(channel, toPage)]);
    expect(received.equals(fromPage)).toBe(true);
    expect(inPage).toEqual({ handshakeHash: hex(channel.handshakeHash), remoteKey: hex(keyPair.publicKey), received: hex(toPage) });
  });

  it('that a host does not know gets no word, and hears only that the connection is closed', async () => {
    const running = await relay({ allowedOrigins: [origin] });
    const node = await host(running.url);
    const dialling = page.evaluate((options) => batonPeer.dial(options).catch((error: unknown) => String(error)), { url: running.url, secretKey: hex(generateKeyPair().secretKey), remoteKey: hex(node.keyPair.publicKey), sent: '' });
    const answered = acceptChannel(await node.incoming(), { keyPair: node.keyPair, isTrusted: () => false, pskForRoom: () => undefined });
    await expect(answered).rejects.toMatchObject({ reason: 'handshake-failed' });
    expect(await dialling).toContain('The connection was closed.');
  });
});
