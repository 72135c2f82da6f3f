import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Frame } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import type { HostDetails } from '../../src/host/protocol';
import type { ScriptRule } from '../fixtures/scriptedModel';
import { startTwoMachines, type TwoMachines } from './twoMachines';
import { installExtension, openWindow, type TestWindow } from './window';
import type { Workbench } from './workbench';

const vscode = inject('vscode');
const screenshots = resolve(import.meta.dirname, '../../.cache/screenshots');
const SHOWN_MS = 60_000;

/** What a hostile agent might write to reach out of the page or to look like a part of it. */
const HOSTILE = 'Done, **all of it**.\n\n<script>document.title = "taken"</script><img src="https://example.org/x.png">\n\n![pixel](https://example.org/x.png) [run](command:workbench.action.closeWindow) [site](https://example.org/)';
const script: readonly ScriptRule[] = [
  {
    user: /Publish/,
    answers: [
      [{ plan: [{ step: 'Read the comets', status: 'completed' }, { step: 'Publish the ephemeris', status: 'in_progress' }] }],
      [{ command: 'git log --oneline -2' }],
      [{ patch: '*** Begin Patch\n*** Add File: src/ephemeris.js\n+export const ephemeris = [];\n*** End Patch' }],
      [{ command: 'echo published > published.txt', escalate: 'Publishing writes where the sandbox does not let me.' }],
      [{ message: 'The ephemeris is **published**.' }],
    ],
  },
  { user: /Thank/, answers: [[{ message: HOSTILE }]] },
  { user: /./, answers: [[{ message: 'I remember the ephemeris.' }]] },
];

describe.skipIf(vscode === null)('a thread handed off from VS Code', () => {
  let machines: TwoMachines;
  let window: TestWindow;
  let workbench: Workbench;
  const ends: (() => Promise<void>)[] = [];
  let threadId: string;
  let hostPid: number;
  const settings = () => ({ 'baton.relayUrl': machines.relayUrl, 'workbench.colorTheme': 'Default Dark Modern' });
  const picture = (name: string) => workbench.page.screenshot({ path: join(screenshots, `${name}.png`) });
  const panel = (): Promise<Frame> => workbench.webview('baton-thread h1');
  const hostDetails = async (): Promise<HostDetails> => {
    const client = await machines.laptop.client();
    try {
      return await client.call('host/read', {});
    } finally {
      client.dispose();
    }
  };

  beforeAll(async () => {
    if (vscode === null) return;
    await mkdir(screenshots, { recursive: true });
    machines = await startTwoMachines(script);
    ends.push(() => machines.close());
    const data = join(machines.directory, 'vscode');
    await installExtension(vscode, data, inject('vsix'));
    window = await openWindow(vscode, { data, folder: machines.laptopCheckout, env: machines.laptop.env, settings: settings() });
    ends.push(() => window.close());
    ({ workbench } = window);
    workbench.page.setDefaultTimeout(SHOWN_MS);
  });
  afterAll(async () => {
    for (const end of ends.reverse()) await end();
  });

  beforeEach(({ onTestFailed, task }) => {
    onTestFailed(async () => {
      await picture(`failed ${task.name}`).catch(() => undefined);
    });
  });

  it('begins with a host that the extension itself has started', async () => {
    await workbench.showBaton();
    await workbench.row('Hosts', /this host, Codex .*relay connected/).waitFor();
    await workbench.section('Threads').getByText('This host has no threads yet.').waitFor();
    await workbench.section('Worktrees').getByText('No managed worktrees.').waitFor();
    await workbench.section('Hosts').getByText('No other host yet.').waitFor();
    ({ pid: hostPid } = await hostDetails());
    await picture('empty');
  });

  it('needs another host, which is joined with its invite', async () => {
    const { invite } = await machines.server.json<{ invite: string }>('invite');
    await workbench.runCommand('Baton: Join Host…');
    await workbench.answer('baton:join#…', invite);
    // Whose invite it is is shown before it is used.
    expect(await workbench.dialog.innerText()).toMatch(/Pair with server\?[\s\S]*Key: [\s\S]*Relay: ws:/);
    await workbench.dialog.getByRole('button', { name: 'Pair' }).click();
    await workbench.dialog.filter({ hasText: /server now know each other[^]*must show these words, too: (\w+ ){3}\w+/ }).waitFor();
    await workbench.page.keyboard.press('Enter');
    await workbench.row('Hosts', /^Host server, online, Codex/).waitFor();
  });

  it('is in the tree, with what it waits for in words', async () => {
    ({ threadId } = await machines.laptop.json<{ threadId: string }>('new', machines.laptopCheckout, 'Publish the ephemeris.'));
    await workbench.row('Threads', /^Thread Publish the ephemeris\., approval pending/).waitFor();
    await workbench.page.locator('.statusbar [aria-label*="1 approval pending"]').first().waitFor();
  });

  it('opens with its transcript, its plan and the approval that it waits for', async () => {
    await workbench.row('Threads', /^Thread Publish/).click();
    const page = await panel();
    await page.locator('.approval').waitFor();
    expect((await page.locator('.plan li').allTextContents()).map((step) => step.replace(/\s+/g, ' '))).toEqual([expect.stringContaining('Read the comets, done'), expect.stringContaining('Publish the ephemeris, in progress')]);
    expect(await page.locator('.command').first().innerText()).toContain('git log --oneline -2');
    expect(await page.locator('.diff .path').first().innerText()).toBe('src/ephemeris.js');
    const approval = page.locator('.approval');
    expect(await approval.innerText()).toContain('echo published > published.txt');
    expect(await approval.innerText()).toContain('Publishing writes where the sandbox does not let me.');
    expect(await approval.locator('.facts').innerText()).toContain(machines.laptopCheckout);
    await picture('approval');
  });

  it('goes on when it is approved there', async () => {
    const page = await panel();
    await page.getByRole('button', { name: 'Approve', exact: true }).click();
    await page.getByText('The ephemeris is published.').waitFor();
    await page.locator('.approval').waitFor({ state: 'detached' });
    await workbench.row('Threads', /^Thread Publish the ephemeris\., idle/).waitFor();
    expect(await page.getByRole('status').last().textContent()).toBe('The turn has ended.');
  });

  it('answers what is written to it, and cannot put more than text into the page', async () => {
    const page = await panel();
    await page.getByRole('textbox', { name: 'Message to the agent' }).fill('Thank you.');
    await workbench.page.keyboard.press('Enter');
    const answer = page.locator('.message.agent', { hasText: 'all of it' });
    await answer.waitFor();
    expect(await answer.locator('strong').innerText()).toBe('all of it');
    expect(await answer.locator('script, img, [style]').count()).toBe(0);
    // An image is shown as a link to it, which nobody follows but the user; a command link as what was written.
    expect(await Promise.all((await answer.locator('a').all()).map((link) => link.getAttribute('href')))).toEqual(['https://example.org/x.png', 'https://example.org/']);
    expect(await answer.innerText()).toContain('[run](command:workbench.action.closeWindow)');
    expect(await answer.innerText()).toContain('<script>');
  });

  it('is there again after a reload of the window, in any theme', async () => {
    for (const [name, theme] of [['thread-light', 'Default Light Modern'], ['thread-high-contrast', 'Default High Contrast'], ['thread-dark', 'Default Dark Modern']] as const) {
      await window.reload({ ...settings(), 'workbench.colorTheme': theme });
      await (await panel()).getByText('The ephemeris is published.').waitFor();
      await workbench.row('Threads', /^Thread Publish/).waitFor();
      await picture(name);
    }
  });

  it('is handed off from the palette: thread, destination, preflight, progress, summary', async () => {
    await workbench.runCommand('Baton: Hand Off Thread…');
    await workbench.option(/Start in this repository without a thread/);
    await workbench.choose(/Publish the ephemeris/);
    await workbench.choose(/^.*server.*online/);
    const start = await workbench.option(/Hand off to server/);
    const preflight = await workbench.quickInput.innerText();
    for (const fact of ['Destination', 'Branch', 'comets', 'Commits', 'Files', 'Size']) expect(preflight).toContain(fact);
    await picture('preflight');
    await start.click();
    await workbench.notification(/Handing off “Publish the ephemeris\.” to server/).waitFor();
    await picture('progress');
    await workbench.notification(/“Publish the ephemeris\.” is now on server/).waitFor();
    await workbench.row('Threads', /^Thread Publish the ephemeris\., moved to server/).waitFor();
    expect(await (await panel()).locator('footer').innerText()).toContain('This thread is now on server.');
    await picture('handed-off');
    const { threads } = await machines.server.json<{ threads: { id: string; cwd: string }[] }>('threads');
    expect(threads.find(({ id }) => id === threadId)?.cwd).toContain(machines.server.batonHome);
  });

  it('comes back only to a project that is saved here, and says how to save it', async () => {
    await workbench.row('Threads', /moved to server/).hover();
    await workbench.row('Threads', /moved to server/).getByRole('button', { name: /Bring Back Thread/ }).click();
    await workbench.option(/Cannot hand off to .*1 blocker/);
    expect(await workbench.quickInput.innerText()).toContain('has no project of this repository');
    await workbench.choose(/Save Open Repository as Project/);
    await workbench.notification(/is saved: threads of this repository can be handed to this host/).waitFor();
    // And the preflight is made again.
    await workbench.option(/Hand off to /);
    await workbench.page.keyboard.press('Escape');
  });

  it('is brought back, and goes on in a managed worktree', async () => {
    await workbench.row('Threads', /moved to server/).hover();
    await workbench.row('Threads', /moved to server/).getByRole('button', { name: /Bring Back Thread/ }).click();
    await workbench.option(/Hand off to /);
    await picture('bring-back-preflight');
    await workbench.choose(/Hand off to /);
    await workbench.notification(/(?=.*“Publish the ephemeris\.” is now on ).*Open Worktree/s).waitFor();
    await workbench.row('Threads', /^Thread Publish the ephemeris\., idle/).waitFor();
    await workbench.row('Worktrees', /^Worktree Publish the ephemeris\., changed/).waitFor();
    const page = await panel();
    await page.locator('header .path', { hasText: join(machines.laptop.batonHome, 'worktrees') }).waitFor();
    await page.getByRole('textbox', { name: 'Message to the agent' }).fill('Do you remember?');
    await workbench.page.keyboard.press('Enter');
    await page.getByText('I remember the ephemeris.').waitFor();
    await picture('brought-back');
  });

  it('begins at the destination where the open repository has no thread yet', async () => {
    await workbench.runCommand('Baton: Hand Off Thread…');
    await workbench.choose(/Start in this repository without a thread/);
    await workbench.choose(/^.*server.*online/);
    await workbench.answer('First message to the agent', 'Compute the orbits.');
    await workbench.choose(/Hand off to server/);
    await workbench.notification(/“Compute the orbits\.” is now on server/).waitFor();
    const { threads } = await machines.server.json<{ threads: { preview: string; cwd: string }[] }>('threads');
    expect(threads.find(({ preview }) => preview === 'Compute the orbits.')?.cwd).toContain(machines.server.batonHome);
  });

  it('keeps its host when the window is closed', async () => {
    await window.close();
    expect((await hostDetails()).pid).toBe(hostPid);
    expect(machines.model.unanswered).toEqual([]);
  });
});
