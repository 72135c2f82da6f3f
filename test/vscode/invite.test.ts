import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Frame } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { hasScanner, scan } from '../fixtures/scanner';
import { startTwoMachines, type TwoMachines } from './twoMachines';
import { installExtension, openWindow, type TestWindow } from './window';
import type { Workbench } from './workbench';

const vscode = inject('vscode');
const screenshots = resolve(import.meta.dirname, '../../.cache/screenshots');
const SHOWN_MS = 60_000;

describe.skipIf(vscode === null)('an invite made in VS Code', () => {
  let machines: TwoMachines;
  let window: TestWindow;
  let workbench: Workbench;
  let page: Frame;
  const ends: (() => Promise<void>)[] = [];
  const settings = (more: Readonly<Record<string, unknown>> = {}) => ({ 'baton.relayUrl': machines.relayUrl, 'workbench.colorTheme': 'Default Dark Modern', ...more });
  const picture = (name: string) => workbench.page.screenshot({ path: join(screenshots, `${name}.png`) });
  const text = async (selector: string) => (await page.locator(selector).innerText()).trim();
  const title = (name: RegExp) => page.getByRole('heading', { level: 1, name }).waitFor();

  /** Waits until the window is connected to its host: commands for that are not there before. */
  const connected = async () => {
    await workbench.showBaton();
    await workbench.row('Hosts', /this host, Codex .*relay connected/).waitFor();
  };
  /** Opens the panel at its form. */
  const openForm = async () => {
    await workbench.runCommand('Baton: Invite Host or Device…');
    page = await workbench.webview('baton-invite form');
  };
  const make = async () => {
    await page.locator('vscode-button.make').click();
    await page.locator('.qr svg').waitFor();
  };
  const again = async () => {
    await page.locator('vscode-button.again').click();
    await page.locator('form').waitFor();
  };

  beforeAll(async () => {
    if (vscode === null) return;
    await mkdir(screenshots, { recursive: true });
    machines = await startTwoMachines([{ user: /./, answers: [[{ message: 'The comets are back.' }]] }]);
    ends.push(() => machines.close());
    const data = join(machines.directory, 'vscode');
    await installExtension(vscode, data, inject('vsix'));
    window = await openWindow(vscode, { data, folder: machines.laptopCheckout, env: machines.laptop.env, settings: settings() });
    ends.push(() => window.close());
    ({ workbench } = window);
    workbench.page.setDefaultTimeout(SHOWN_MS);
    await connected();
    await machines.laptop.json('new', machines.laptopCheckout, 'Where are the comets?');
    await workbench.row('Threads', /^Thread Where are the comets\?, idle/).waitFor();
  });
  afterAll(async () => {
    for (const end of ends.reverse()) await end();
  });
  beforeEach(({ onTestFailed, task }) => {
    onTestFailed(async () => {
      await picture(`failed ${task.name}`).catch(() => undefined);
    });
  });

  it('is what the form says: for whom, for which thread, for how long', async () => {
    await openForm();
    expect(await page.locator('.role').allInnerTexts()).toHaveLength(4);
    expect(await page.locator('[name=thread]').isDisabled()).toBe(true);
    await picture('invite-form');
    await page.getByRole('radio', { name: /^Viewer/ }).check();
    await page.locator('[name=thread]').selectOption({ label: 'Where are the comets?' });
    await page.locator('[name=access]').selectOption({ label: 'For 1 hour' });
    await make();
    expect(await text('.facts')).toMatch(/Threads\s+Where are the comets\?\s+Lets in\s+For 1 hour\s+Works for\s+(10:00|9:\d\d)/);
    const { invites } = await machines.laptop.json<{ invites: { role: string; accessMs: number; threadId: string | null; state: string }[] }>('invite', 'list');
    expect(invites).toMatchObject([{ role: 'viewer', accessMs: 3_600_000, threadId: expect.any(String) as string, state: 'open' }]);
  });

  it.skipIf(!hasScanner)('is scanned from the window, dark on white in any theme, and its link is the one beside it', async () => {
    const file = join(screenshots, 'invite-scanned.png');
    await page.locator('.qr').screenshot({ path: file });
    expect(await scan(file)).toBe(await text('.link'));
    await page.locator('vscode-button.copy-link').click();
    await page.getByRole('button', { name: 'Copied' }).waitFor();
  });

  it('is of no use once it is cancelled there', async () => {
    const link = await text('.link');
    await page.locator('vscode-button.cancel').click();
    await title(/The invite is cancelled/);
    expect(await page.content()).not.toContain(link);
    await picture('invite-cancelled');
    expect(await machines.server.failure('join', link)).toMatchObject({ reason: 'invite-used' });
    await again();
  });

  it('says when a wrong code is tried, and who was let in with which words', async () => {
    await make();
    const code = await text('.code');
    expect(code).toMatch(/^[A-Z]+-[A-Z]+-\d{4}$/);
    const wrong = `${code.startsWith('ABLE-') ? 'ZOO' : 'ABLE'}-${code.split('-').slice(1).join('-')}`;
    await machines.server.failure('join', wrong);
    await page.locator('.banner').waitFor();
    expect(await text('.banner')).toContain('A wrong code was tried once');
    await picture('invite-wrong-code');
    const { words } = await machines.server.json<{ words: string }>('join', code.toLowerCase());
    await title(/server was let in/);
    expect(await text('.words')).toBe(words);
    await picture('invite-claimed');
    await workbench.row('Hosts', /^Host server, online, Codex/).waitFor();
  });

  it('ends the trust in who was let in, after a question', async () => {
    await page.locator('vscode-button.revoke').click();
    expect(await workbench.dialog.innerText()).toContain('Revoke server?');
    await workbench.dialog.getByRole('button', { name: 'Revoke' }).click();
    await title(/server is not trusted any more/);
    expect((await machines.laptop.json<{ devices: unknown[] }>('devices')).devices).toEqual([]);
  });

  it.each([['light', 'Default Light Modern'], ['high-contrast', 'Default High Contrast'], ['high-contrast-light', 'Default High Contrast Light'], ['dark', 'Default Dark Modern']])('can be read and scanned in %s', async (name, theme) => {
    await window.reload(settings({ 'workbench.colorTheme': theme }));
    await connected();
    // What was shown is secret, so it does not come back by itself.
    await openForm();
    await picture(`invite-form-${name}`);
    await make();
    await picture(`invite-${name}`);
    if (hasScanner) expect(await scan(join(screenshots, `invite-${name}.png`))).toBe(await text('.link'));
    await page.locator('vscode-button.cancel').click();
    await title(/The invite is cancelled/);
  });

  it('is not made where that is not allowed, and the host is told', async () => {
    await window.reload(settings({ 'baton.allowRemoteControl': false }));
    await connected();
    await workbench.runCommand('Baton: Invite Host or Device…');
    await workbench.notification(/Invites are turned off by the setting/).waitFor();
    expect(await machines.laptop.failure('invite', '--role', 'viewer')).toMatchObject({ reason: 'remote-control-disabled' });
  });
});
