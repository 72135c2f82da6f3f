/** Pairing as people do it: at a terminal, by camera, by link, by typing; and what others make of what they see (transfer.md, H17, H23). */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createInvite, parseInvite } from '../../src/relay/invite';
import { fingerprintOf, publicKeyOf } from '../../src/relay/keys';
import { chromiumArguments } from '../fixtures/chromium';
import { bundle, endProcess, Machine, startRelayProcess, type Relay } from '../fixtures/machine';
import { photograph } from '../fixtures/photograph';
import { hasScanner, scan } from '../fixtures/scanner';
import { hasTmux, TmuxScreen } from '../fixtures/tmuxScreen';

interface Devices { devices: { id: string; name: string; role: string; threadId: string | null }[] }
interface Made { id: string; invite: string; code: string }

const browser = ['/usr/bin/chromium', '/usr/bin/google-chrome'].find((path) => existsSync(path));
let directory: string;
let relay: Relay;
let laptop: Machine;
let server: Machine;
let thief: Machine;

beforeEach(async () => {
  directory = await realpath(await mkdtemp(join(tmpdir(), 'baton-pairing-')));
  relay = await startRelayProcess();
  // Pairing needs no Codex.
  const machine = (name: string) => new Machine(name, join(directory, name), { BATON_CODEX: join(directory, 'no-codex') });
  [laptop, server, thief] = [machine('laptop'), machine('server'), machine('thief')];
  await Promise.all([laptop, server, thief].map((each) => each.startHost(relay.url)));
}, 60_000);
afterEach(async () => {
  await Promise.all([laptop, server, thief].map((each) => each.stopHost()));
  await endProcess(relay.child);
  await rm(directory, { recursive: true });
}, 60_000);

const devices = async (machine: Machine) => (await machine.json<Devices>('devices')).devices;
/** A `baton` command in a terminal that is tall enough for a QR code. */
const terminal = async (machine: Machine, ...args: string[]) => {
  const place = await mkdtemp(join(directory, 'terminal-'));
  return TmuxScreen.open(place, `'${process.execPath}' '${bundle}' ${args.map((arg) => `'${arg}'`).join(' ')}`, machine.env, { columns: 120, rows: 80 });
};

if (!hasScanner || !hasTmux) console.warn('Pairing by a camera at a terminal is SKIPPED: it needs zbarimg (zbar-tools) and tmux.');

describe.skipIf(!hasScanner || !hasTmux)('an invite on the screen of a terminal', () => {
  it('is read by a camera off the terminal and off the picture, and pairs', async () => {
    const svg = join(directory, 'invite.svg');
    const screen = await terminal(laptop, 'invite', '--svg', svg);
    let scanned: string;
    try {
      const shown = await screen.shows(/makes it\s+useless/);
      scanned = await scan(await photograph(join(directory, 'screen.pgm'), shown, 255, 0));
      expect(shown.replace(/\s+/g, '')).toContain(`batonjoin\`andpastethislink:${scanned}`);
    } finally {
      await screen.close();
    }
    expect(statSync(svg).mode & 0o077).toBe(0);
    if (browser !== undefined) {
      const running = await chromium.launch({ executablePath: browser, args: chromiumArguments });
      try {
        const page = await running.newPage();
        await page.setContent(`<body style="background:#000">${readFileSync(svg, 'utf8').replace('<svg ', '<svg width="500" ')}</body>`);
        await page.locator('svg').screenshot({ path: join(directory, 'svg.png') });
      } finally {
        await running.close();
      }
      expect(await scan(join(directory, 'svg.png'))).toBe(scanned);
    }
    const { words } = await server.json<{ words: string }>('join', scanned);
    expect((await laptop.json<{ invites: object[] }>('invite', 'list')).invites).toMatchObject([{ state: 'claimed', claimedBy: { name: 'server', words } }]);
  });

  it('shows whose it is before it is used: name, key and relay; and "no" uses nothing up', async () => {
    const { invite, id } = await laptop.json<Made>('invite');
    const { hostId } = parseInvite(invite);
    const key = fingerprintOf(publicKeyOf(hostId));
    const screen = await terminal(server, 'join', invite);
    try {
      const shown = await screen.shows(/Type yes/);
      expect(shown).toMatch(/Host\s+laptop/);
      expect(shown).toContain(relay.url);
      expect(shown).toContain(key);
      await screen.press('n', 'o', 'Enter');
      await screen.shows(/can still be used/);
    } finally {
      await screen.close();
    }
    expect((await laptop.json<{ invites: object[] }>('invite', 'list')).invites).toMatchObject([{ id, state: 'open' }]);
    expect(await devices(server)).toEqual([]);
    await server.json('join', invite);
  });
});

describe('an invite that somebody else has seen', () => {
  it('and used first is seen by who made it, with other words than the guest\'s, and is revoked; the guest is told', async () => {
    const { invite, id } = await laptop.json<Made>('invite', '--role', 'operator');
    const { words } = await thief.json<{ words: string }>('join', invite);
    const refused = await server.failure('join', invite);
    expect(refused.reason).toBe('invite-used');
    expect(refused.message).toContain('somebody else may have');
    const { invites } = await laptop.json<{ invites: { id: string; claimedBy: { id: string; name: string; words: string } }[] }>('invite', 'list');
    expect(invites).toMatchObject([{ id, state: 'claimed', claimedBy: { name: 'thief', words } }]);
    const { events } = await laptop.json<{ events: object[] }>('audit');
    expect(events).toContainEqual(expect.objectContaining({ type: 'invite-refused', inviteId: id, why: 'claimed' }));
    await laptop.json('device', 'revoke', invites[0]?.claimedBy.id ?? '');
    expect(await devices(laptop)).toEqual([]);
  });

  it('is no link of another kind: pages, handlers and other programs\' schemes are not joined', async () => {
    const { invite } = await laptop.json<Made>('invite');
    const fragment = invite.slice('baton:join#'.length);
    for (const link of [`https://baton.example/join#${fragment}`, `http://127.0.0.1/join#${fragment}`, `vscode://baton.baton/join#${fragment}`, `baton:join?${fragment}`, `baton://join#${fragment}`, `baton:join#${fragment}&relay=wss://evil.example`, `BATON:JOIN#${fragment}`]) {
      expect(await server.failure('join', link), link).toMatchObject({ reason: 'invite-invalid' });
    }
    // None of that has used it up.
    await server.json('join', invite);
  }, 60_000);

  it('whose relay was changed reaches nobody who has its secret, and tells that relay none of it', async () => {
    const { invite } = await laptop.json<Made>('invite');
    const real = parseInvite(invite);
    const evil = await startRelayProcess();
    try {
      const forged = createInvite({ relayUrl: evil.url, hostId: real.hostId, name: real.name, lifetimeMs: 60_000 });
      expect((await server.failure('join', forged.invite)).reason).toMatch(/host-offline|invite-used/);
    } finally {
      await endProcess(evil.child);
    }
    expect(await devices(laptop)).toEqual([]);
    expect(await devices(server)).toEqual([]);
  });
});
