import { existsSync } from 'node:fs';
import { appendFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, it, vi } from 'vitest';
import type { ManagedWorktree } from '../../src/host/protocol';
import { git, workingState } from '../fixtures/checkout';
import type { ScriptRule } from '../fixtures/scriptedModel';
import { startTwoMachines, type TwoMachines } from './twoMachines';
import { installExtension, openWindow, type TestWindow } from './window';
import type { Workbench } from './workbench';

const vscode = inject('vscode');
const screenshots = resolve(import.meta.dirname, '../../.cache/screenshots');
const SHOWN_MS = 60_000;
const script: readonly ScriptRule[] = [{ user: /./, answers: [[{ message: 'The orbits are computed.' }]] }];

describe.skipIf(vscode === null)('worktrees in VS Code', () => {
  let machines: TwoMachines;
  let window: TestWindow;
  let workbench: Workbench;
  let threadId: string;
  /** The thread's, after it came from the server. */
  let worktree: string;
  const ends: (() => Promise<void>)[] = [];
  // Menus of the desktop itself could not be clicked.
  const settings = () => ({ 'baton.relayUrl': machines.relayUrl, 'workbench.colorTheme': 'Default Dark Modern', 'window.menuStyle': 'custom' });
  const picture = (name: string) => workbench.page.screenshot({ path: join(screenshots, `${name}.png`) });
  const inventory = async () => (await machines.laptop.json<{ worktrees: ManagedWorktree[] }>('worktrees')).worktrees;
  const at = async (path: string) => (await inventory()).find((each) => each.path === path);
  const own = () => workbench.row('Worktrees', /^Worktree Compute the orbits/).first();
  const thread = () => workbench.row('Threads', /^Thread Compute/);

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
    await workbench.showBaton();
    await workbench.row('Hosts', /this host, Codex .*relay connected/).waitFor();

    // A thread of the server's comes here, into a worktree of its own.
    await machines.laptop.json('project', 'add', machines.laptopCheckout);
    const { invite } = await machines.server.json<{ invite: string }>('invite');
    await machines.laptop.json('join', invite);
    ({ threadId } = await machines.server.json<{ threadId: string }>('new', machines.serverCheckout, 'Compute the orbits.'));
    // Codex lists a thread once its first turn is on disk.
    await vi.waitFor(async () => expect((await machines.server.json<{ threads: { id: string }[] }>('threads')).threads).toMatchObject([{ id: threadId }]), { timeout: SHOWN_MS, interval: 200 });
    await writeFile(join(machines.serverCheckout, 'orbits.txt'), 'computed\n');
    const client = await machines.laptop.client();
    const { hostId } = await client.call('host/read', {});
    client.dispose();
    await machines.server.json('handoff', threadId, '--to', hostId);
    const [record] = await inventory();
    worktree = record?.path ?? '';
    await thread().waitFor();
    await own().waitFor();
  });
  afterAll(async () => {
    for (const end of ends.reverse()) await end();
  });
  beforeEach(({ onTestFailed, task }) => {
    onTestFailed(async () => {
      await picture(`failed ${task.name}`).catch(() => undefined);
    });
  });

  it('are pinned and kept for good from their menu, and are then not to be removed', async () => {
    expect(await workbench.menuOf(own())).toEqual(['Open Worktree in New Window', 'Pin Worktree', 'Keep Worktree for Good', 'Remove Worktree…']);
    await picture('worktree-menu');
    await workbench.chooseFromMenu('Pin Worktree');
    await workbench.row('Worktrees', /pinned/).waitFor();
    expect(await at(worktree)).toMatchObject({ pinned: true });
    expect(await workbench.menuOf(own())).toEqual(['Open Worktree in New Window', 'Unpin Worktree', 'Keep Worktree for Good']);
    await workbench.chooseFromMenu('Unpin Worktree');
    await workbench.row('Worktrees', /pinned/).waitFor({ state: 'detached' });
    await workbench.menuOf(own());
    await workbench.chooseFromMenu('Keep Worktree for Good');
    await workbench.row('Worktrees', /permanent/).waitFor();
    expect(await at(worktree)).toMatchObject({ permanent: true, pinned: false });
    expect(await workbench.menuOf(own())).not.toContain('Remove Worktree…');
    await workbench.chooseFromMenu('Stop Keeping Worktree for Good');
    await workbench.row('Worktrees', /permanent/).waitFor({ state: 'detached' });
    expect(await at(worktree)).toMatchObject({ permanent: false });
  });

  it('are removed after a dialog that says what is kept, and restored with every byte', async () => {
    await workbench.row('Worktrees', /^Worktree Compute the orbits\., changed, used/).waitFor();
    await appendFile(join(worktree, 'orbits.txt'), 'and more\n');
    const before = await workingState(worktree);
    await workbench.menuOf(own());
    await workbench.chooseFromMenu('Remove Worktree…');
    expect(await workbench.dialog.innerText()).toMatch(/A snapshot keeps its commits, staged and unstaged changes and untracked files/);
    await picture('worktree-remove');
    await workbench.dialog.getByRole('button', { name: 'Cancel' }).click();
    await workbench.dialog.waitFor({ state: 'detached' });
    expect(existsSync(worktree)).toBe(true);

    await workbench.menuOf(own());
    await workbench.chooseFromMenu('Remove Worktree…');
    await workbench.dialog.getByRole('button', { name: 'Remove Worktree' }).click();
    await workbench.row('Worktrees', /removed, kept in a snapshot/).waitFor();
    expect(existsSync(worktree)).toBe(false);
    const { snapshots } = await machines.laptop.json<{ snapshots: { path: string }[] }>('snapshots');
    expect(snapshots).toMatchObject([{ path: worktree }]);

    expect(await workbench.menuOf(own())).toEqual(['Open Worktree in New Window', 'Restore Worktree']);
    await workbench.chooseFromMenu('Restore Worktree');
    await workbench.row('Worktrees', /changed/).waitFor();
    expect(await workingState(worktree)).toEqual(before);
  });

  it('give what their thread has made to the checkout, shown first, and take it back', async () => {
    const { laptopCheckout } = machines;
    const mine = await workingState(laptopCheckout);
    expect(await workbench.menuOf(thread())).toEqual(expect.arrayContaining(['Apply to My Checkout…', 'Undo Last Apply…']));
    await workbench.chooseFromMenu('Apply to My Checkout…');
    // The user works here: nothing is overwritten, and a merge is offered.
    await workbench.option(/It cannot be applied as it is/);
    expect(await workbench.quickInput.innerText()).toContain('has changes of its own in');
    await picture('apply-refused');
    await workbench.page.keyboard.press('Escape');
    expect(await workingState(laptopCheckout)).toEqual(mine);

    // Clean, and at the commit at which the thread's own branch is.
    await git(laptopCheckout, 'stash', '-u', '-q');
    await git(laptopCheckout, 'checkout', '-q', '--detach', (await git(worktree, 'rev-parse', 'HEAD')).trim());
    const clean = await workingState(laptopCheckout);
    await workbench.menuOf(thread());
    await workbench.chooseFromMenu('Apply to My Checkout…');
    await workbench.option(/orbits\.txt/);
    await picture('apply');
    expect(await workingState(laptopCheckout)).toEqual(clean);
    await workbench.choose(/Apply to /);
    const told = workbench.notification(/changed\. The thread goes on in its worktree/);
    await told.waitFor();
    expect(await readFile(join(laptopCheckout, 'orbits.txt'), 'utf8')).toBe('computed\nand more\n');
    expect(await workingState(laptopCheckout)).toEqual(await workingState(worktree));

    await told.hover();
    await told.getByRole('button', { name: 'Undo' }).click();
    expect(await workbench.dialog.innerText()).toMatch(/What you changed since in other files stays/);
    await workbench.dialog.getByRole('button', { name: 'Undo' }).click();
    await workbench.notification(/is as it was before the apply/).waitFor();
    expect(await workingState(laptopCheckout)).toEqual(clean);
  });

  it('say whose they are and how they stand, in any theme', async () => {
    const create = async (branch: string, ...options: string[]) =>
      (await machines.laptop.json<{ worktree: ManagedWorktree }>('worktree', 'create', machines.laptopCheckout, '--branch', branch, ...options)).worktree;
    await machines.laptop.json('worktree', 'remove', (await create('tides')).id);
    await machines.laptop.json('worktree', 'pin', (await create('transits')).id);
    const eclipses = await create('eclipses', '--permanent');
    await workbench.row('Worktrees', /^Worktree eclipses, clean/).waitFor();
    // What is written to one, as in a window of its own, is seen when one comes back to the view.
    await writeFile(join(eclipses.path, 'corona.txt'), 'visible\n');
    await workbench.showExplorer();
    await workbench.showBaton();
    await workbench.row('Worktrees', /^Worktree eclipses, changed/).waitFor();
    for (const [name, theme] of [['worktrees-light', 'Default Light Modern'], ['worktrees-high-contrast', 'Default High Contrast'], ['worktrees-dark', 'Default Dark Modern']] as const) {
      await window.reload({ ...settings(), 'workbench.colorTheme': theme });
      await workbench.row('Worktrees', /removed, kept in a snapshot/).waitFor();
      await own().hover();
      await picture(name);
    }
    const rows = (await workbench.rows('Worktrees')).map((row) => row.replace(/used (just now|\d+ min ago)/, 'used lately'));
    expect(rows.sort()).toEqual([
      'Worktree Compute the orbits., changed, used lately, main',
      'Worktree eclipses, changed, permanent, used lately',
      'Worktree tides, removed, kept in a snapshot, used lately',
      'Worktree transits, clean, pinned, used lately',
    ]);
  });

  it('hand their ignored files over where the user turns that on, with the list in view', async () => {
    await writeFile(join(worktree, '.worktreeinclude'), '.env\n');
    await writeFile(join(worktree, '.env'), 'KEY=of the laptop\n');
    await workbench.menuOf(thread());
    await workbench.chooseFromMenu('Hand Off Thread…');
    await workbench.choose(/^.*server.*online/);
    const choice = await workbench.option(/Also send 1 ignored file .*off; 1 looks like a secret/);
    await workbench.option(/\.env.*looks like a secret/);
    await picture('preflight-ignored-off');
    await choice.click();
    await workbench.option(/Also send 1 ignored file .*on: they are sent to the other host/);
    await picture('preflight-ignored-on');
    await workbench.choose(/Hand off to server/);
    await workbench.notification(/“Compute the orbits\.” is now on server/).waitFor();
    const { threads } = await machines.server.json<{ threads: { id: string; cwd: string }[] }>('threads');
    const there = threads.find(({ id }) => id === threadId)?.cwd ?? '';
    expect(there).not.toBe('');
    expect(await readFile(join(there, '.env'), 'utf8')).toBe('KEY=of the laptop\n');
    expect(await git(there, 'status', '--porcelain', '--ignored', '.env')).toBe('!! .env\n');
  });
});
