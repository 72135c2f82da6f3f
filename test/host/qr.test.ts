import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { qrSvg, qrText } from '../../src/host/qr';
import { createInvite } from '../../src/relay/invite';
import { generateKeyPair, hostIdOf } from '../../src/relay/keys';
import { photograph } from '../fixtures/photograph';
import { hasScanner, scan } from '../fixtures/scanner';
import { hasTmux } from '../fixtures/tmuxScreen';

const execute = promisify(execFile);
const browser = ['/usr/bin/chromium', '/usr/bin/google-chrome'].find((path) => existsSync(path));

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'baton-qr-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const { invite } = createInvite({ relayUrl: 'wss://relay.example.org:7440', hostId: hostIdOf(generateKeyPair().publicKey), name: 'the big server', pass: 'A'.repeat(98), lifetimeMs: 60_000 });

describe.skipIf(!hasScanner)('the QR code of an invite is read back', () => {
  it.each([['dark', 255, 0, false], ['dark', 255, 0, true], ['light', 0, 255, true]] as const)('from a %s terminal', async (_, ink, paper, colour) => {
    expect(await scan(await photograph(join(directory, 'terminal.pgm'), qrText(invite, colour), ink, paper))).toBe(invite);
  });

  it.skipIf(!hasTmux)('from what a real terminal shows', async () => {
    const file = join(directory, 'code.txt');
    await writeFile(file, `${qrText(invite, true)}\n`);
    const tmux = (...args: string[]) => execute('tmux', ['-S', join(directory, 'tmux'), ...args], { env: { ...process.env, LANG: 'C.UTF-8' } });
    // `wait-for` and not a pause: the command says itself that everything is on the screen.
    await tmux('-u', 'new-session', '-d', '-x', '120', '-y', '60', `cat '${file}'; tmux -S '${join(directory, 'tmux')}' wait-for -S shown; cat`);
    try {
      await tmux('wait-for', 'shown');
      const { stdout } = await tmux('capture-pane', '-p');
      expect(await scan(await photograph(join(directory, 'terminal.pgm'), stdout.trimEnd(), 255, 0))).toBe(invite);
    } finally {
      await tmux('kill-server');
    }
  });

  it.skipIf(browser === undefined)('from the SVG, as a browser draws it', async () => {
    const running = await chromium.launch({ executablePath: browser ?? '', args: ['--no-sandbox'] });
    try {
      const page = await running.newPage();
      await page.setContent(`<body style="background:#123"><style>svg { width: 500px }</style>${qrSvg(invite)}</body>`);
      await page.locator('svg').screenshot({ path: join(directory, 'svg.png') });
      expect(await scan(join(directory, 'svg.png'))).toBe(invite);
    } finally {
      await running.close();
    }
  });
});

it('the SVG of an invite runs nothing and loads nothing', () => {
  expect(qrSvg(invite)).toMatch(/^<svg /);
  expect(qrSvg(invite)).not.toMatch(/script|href|style|url\(|on\w+=/i);
  expect(qrSvg(invite)).not.toContain(invite.slice(-20));
});

