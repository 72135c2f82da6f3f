import { execFile } from 'node:child_process';
import { copyFile, mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { noSshServer } from '../fixtures/sshServer';
import { startSshGround, type SshGround } from '../integration/sshGround';
import { installExtension, openWindow, type TestWindow } from './window';
import type { Workbench } from './workbench';

const vscode = inject('vscode');
const screenshots = resolve(import.meta.dirname, '../../.cache/screenshots');
const SHOWN_MS = 60_000;
const box = /\bbox\b(?!-).*@127\.0\.0\.1:\d+/;

describe.skipIf(vscode === null || noSshServer !== null)(`a host of the ssh configuration, in VS Code${noSshServer === null ? '' : ` (skipped: ${noSshServer})`}`, () => {
  let ground: SshGround;
  let window: TestWindow;
  let workbench: Workbench;
  const ends: (() => Promise<void>)[] = [];
  // What a terminal shows can be read from the page.
  const settings = (more: Readonly<Record<string, unknown>> = {}) => ({ 'workbench.colorTheme': 'Default Dark Modern', 'terminal.integrated.gpuAcceleration': 'off', ...more });
  const picture = (name: string) => workbench.page.screenshot({ path: join(screenshots, `${name}.png`) });
  const connected = async () => {
    await workbench.showBaton();
    await workbench.row('Hosts', /this host, Codex /).waitFor();
  };
  const add = async (alias: RegExp) => {
    await workbench.runCommand('Baton: Add SSH Host…');
    await workbench.choose(alias);
  };
  const answerInTerminal = async (question: RegExp, text: string) => {
    await workbench.page.locator('.terminal-wrapper.active .xterm-rows').filter({ hasText: question }).waitFor();
    await workbench.page.keyboard.type(text);
    await picture(`ssh-terminal-${text}`);
    await workbench.page.keyboard.press('Enter');
  };

  beforeAll(async () => {
    if (vscode === null || noSshServer !== null) return;
    await mkdir(screenshots, { recursive: true });
    ground = await startSshGround();
    ends.push(() => ground.close());
    const data = join(ground.directory, 'vscode');
    await installExtension(vscode, data, inject('vsix'));
    window = await openWindow(vscode, { data, folder: ground.laptop.checkout, env: ground.laptop.machine.env, settings: settings() });
    ends.push(() => window.close());
    ({ workbench } = window);
    workbench.page.setDefaultTimeout(SHOWN_MS);
    await connected();
  });
  afterAll(async () => {
    for (const end of ends.reverse()) await end();
  });
  beforeEach(({ onTestFailed, task }) => {
    onTestFailed(async () => {
      await picture(`failed ${task.name}`).catch(() => undefined);
    });
  });

  it('is offered with where it leads, and says what is missing there', async () => {
    await ground.provide('node', 'git');
    await workbench.runCommand('Baton: Add SSH Host…');
    await workbench.option(box);
    await picture('ssh-aliases');
    await workbench.choose(box);
    expect(await workbench.dialog.innerText()).toMatch(/box cannot be a host yet\. Nothing was changed there\.[^]*There is no codex .*npm install -g @openai\/codex/);
    await picture('ssh-codex-missing');
    await workbench.dialog.getByRole('button', { name: 'Cancel' }).click();
    await ground.provide('node', 'git', 'codex');
  });

  it('that ssh has not met is asked about in a terminal, then added with the words that it notes as well', async () => {
    await ground.configure({ hostKey: null, asks: true });
    await add(box);
    expect(await workbench.dialog.innerText()).toMatch(/ssh has to ask before box can be added/);
    await picture('ssh-asks');
    await workbench.dialog.getByRole('button', { name: 'Open Terminal' }).click();
    await answerInTerminal(/continue connecting/, 'yes');
    await workbench.dialog.filter({ hasText: 'is a host of this one now' }).waitFor();
    const said = await workbench.dialog.innerText();
    await picture('ssh-added');
    await workbench.page.keyboard.press('Enter');
    await workbench.row('Hosts', /^Host (?!.*this host).*, online, Codex/).waitFor();
    await ground.endShared();
    await ground.box.attach();
    const [, words] = /these words, too: (.+)/.exec(said) ?? [];
    expect(ground.box.audit()).toContainEqual(expect.objectContaining({ type: 'device-paired', deviceId: ground.laptop.hostId, words }));
  });

  it('whose key has a passphrase is asked for it in a terminal, and is the host that it was', async () => {
    const locked = join(ground.directory, 'locked');
    await copyFile(join(ground.directory, 'sshd', 'user'), locked);
    await promisify(execFile)('ssh-keygen', ['-q', '-p', '-P', '', '-N', 'sesame', '-f', locked]);
    await ground.configure({ identity: locked });
    await add(/box-by-another-name/);
    await workbench.dialog.getByRole('button', { name: 'Open Terminal' }).click();
    await answerInTerminal(/Enter passphrase/, 'sesame');
    await workbench.notification(/is a host of this one, as it was before/).waitFor();
    await ground.endShared();
  });

  it.each([['light', 'Default Light Modern'], ['high-contrast', 'Default High Contrast']])('can be chosen in %s', async (name, theme) => {
    await window.reload(settings({ 'workbench.colorTheme': theme }));
    await connected();
    await workbench.runCommand('Baton: Add SSH Host…');
    await workbench.option(/\bbox\b(?!-).*Known as/);
    await picture(`ssh-aliases-${name}`);
    await workbench.page.keyboard.press('Escape');
  });
});
