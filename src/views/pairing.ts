import * as vscode from 'vscode';
import type { HostClient } from '../host/hostClient';
import { looksLikeCode, looksLikeLink } from '../host/protocol';
import { plainLabel } from './displayText';
import { t } from './translate';

/** Asks for an invite and pairs with the host that made it. */
export async function joinHost(client: HostClient): Promise<void> {
  const invite = await vscode.window.showInputBox({
    title: t('Join Host'),
    prompt: t('Paste the invite that “Baton: Invite Host” or `baton invite` made on the other machine.'),
    placeHolder: 'baton:join#…',
    ignoreFocusOut: true,
    // An invite is a secret for as long as it works.
    password: true,
    validateInput: (value) => (value.trim() === '' || looksLikeLink(value) || looksLikeCode(value) ? undefined : t('An invite begins with “baton:join#”, or is two words and four digits.')),
  });
  if (invite === undefined || invite.trim() === '' || !(await isKnown(client, invite))) return;
  const { name, words } = await vscode.window.withProgress({ location: vscode.ProgressLocation.Notification, title: t('Joining host') }, async () => await client.call('host/join', { invite: invite.trim() }));
  showWords(t('This host and {0} now know each other.', plainLabel(name, 64)), words);
}

/** Says who was let in, with the words that both sides show. In the way, as a message in the corner cuts them off. */
export function showWords(message: string, words: string, notes: readonly string[] = []): void {
  const detail = [t('The other side must show these words, too: {0}', plainLabel(words, 80)), ...notes.map((note) => plainLabel(note, 400))].join('\n\n');
  void vscode.window.showInformationMessage(message, { modal: true, detail });
}

/** Shows whose invite a link is, and whether the user knows them; a code says nothing of that beforehand. */
async function isKnown(client: HostClient, invite: string): Promise<boolean> {
  if (!looksLikeLink(invite)) return true;
  const { name, fingerprint, relayUrl } = await client.call('invite/read', { invite: invite.trim() });
  const pair = t('Pair');
  const detail = [t('Key: {0}', fingerprint), t('Relay: {0}', plainLabel(relayUrl, 512)), t('A host that you pair with may hand threads to this one, and they run here. Only go on if you know who made this invite.')].join('\n\n');
  return (await vscode.window.showWarningMessage(t('Pair with {0}?', plainLabel(name, 64)), { modal: true, detail }, pair)) === pair;
}
