import * as vscode from 'vscode';
import type { HostClient } from '../host/hostClient';
import { HostError } from '../host/hostError';
import { plainLabel } from './displayText';
import { showWords } from './pairing';
import { pickStep, type StepItem } from './pickSteps';
import { t } from './translate';

/** Lets the user choose a host of the ssh configuration, and makes it one of this host's. What ssh has to ask, it asks in a terminal. */
export async function addSshHost(client: HostClient): Promise<void> {
  const picked = await pickStep({ title: t('Add SSH Host'), step: 1, totalSteps: 1, placeholder: t('Which host of your ssh configuration?'), items: aliasItems(client) });
  if (picked.kind !== 'picked') return;
  const alias = picked.value;
  try {
    await add(client, alias);
  } catch (error) {
    if (!HostError.is(error, 'ssh-refused') && !HostError.is(error, 'ssh-host-key')) throw error;
    const openTerminal = t('Open Terminal');
    const action = await vscode.window.showErrorMessage(t('ssh has to ask before {0} can be added.', plainLabel(alias, 64)), { modal: true, detail: plainLabel(error.message, 1000) }, openTerminal);
    if (action === openTerminal && (await inTerminal(client, alias))) await add(client, alias);
  }
}

async function add(client: HostClient, alias: string): Promise<void> {
  const { name, words, known, notes } = await vscode.window.withProgress({ location: vscode.ProgressLocation.Notification, title: t('Adding {0}', plainLabel(alias, 64)) }, async () => await client.call('host/add', { alias }));
  if (known) void vscode.window.showInformationMessage([t('{0} is a host of this one, as it was before.', plainLabel(name, 64)), ...notes.map((note) => plainLabel(note, 400))].join(' '));
  else showWords(t('{0} is a host of this one now.', plainLabel(name, 64)), words, notes);
}

async function aliasItems(client: HostClient): Promise<StepItem<string>[]> {
  const [{ aliases }, { hosts }] = await Promise.all([client.call('host/aliases', {}), client.call('host/list', {})]);
  if (aliases.length === 0) return [{ label: t('Your ssh configuration names no host.'), description: '~/.ssh/config' }];
  return aliases.map(({ alias, target, hostId, file }) => {
    const host = hosts.find((each) => each.hostId === hostId);
    return {
      label: `$(remote) ${plainLabel(alias, 64)}`,
      description: target === null ? t('ssh does not take this name') : plainLabel(`${target.user}@${target.hostName}:${target.port}`),
      detail: host === undefined ? plainLabel(file) : t('Known as {0}', plainLabel(host.name, 64)),
      value: alias,
    };
  });
}

/** Runs ssh where it can ask. True once it has got through. */
async function inTerminal(client: HostClient, alias: string): Promise<boolean> {
  const { program, args } = await client.call('host/ssh', { alias });
  const terminal = vscode.window.createTerminal({ name: `ssh ${plainLabel(alias, 64)}`, shellPath: program, shellArgs: args, isTransient: true });
  terminal.show();
  return await new Promise((resolve) => {
    const closing = vscode.window.onDidCloseTerminal((closed) => {
      if (closed !== terminal) return;
      closing.dispose();
      resolve(closed.exitStatus?.code === 0);
    });
  });
}
