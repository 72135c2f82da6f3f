import * as vscode from 'vscode';
import type { HostClient } from '../host/hostClient';
import { plainLabel } from './displayText';
import { t } from './translate';

/** Makes a one-time invite for another host, puts it on the clipboard and says until when it works. */
export async function inviteHost(client: HostClient): Promise<void> {
  const { invite, expiresAt } = await client.call('host/invite', { role: 'peer' });
  await vscode.env.clipboard.writeText(invite);
  const until = new Date(expiresAt).toLocaleTimeString(vscode.env.language, { hour: '2-digit', minute: '2-digit' });
  const again = t('Copy Again');
  void vscode.window
    .showInformationMessage(t('The invite is on the clipboard. It works once, until {0}. On the other machine run “Baton: Join Host” and paste it there.', until), again)
    .then(async (action) => {
      if (action === again) await vscode.env.clipboard.writeText(invite);
    });
}

/** Asks for an invite and pairs with the host that made it. */
export async function joinHost(client: HostClient): Promise<void> {
  const invite = await vscode.window.showInputBox({
    title: t('Join Host'),
    prompt: t('Paste the invite that “Baton: Invite Host” or `baton invite` made on the other machine.'),
    placeHolder: 'baton:join#…',
    ignoreFocusOut: true,
    // An invite is a secret for as long as it works.
    password: true,
    validateInput: (value) => (value.trim() === '' || value.trim().startsWith('baton:') || /^[A-Za-z]+[ -]+[A-Za-z]+[ -]+\d{4}$/.test(value.trim()) ? undefined : t('An invite begins with “baton:”, or is two words and four digits.')),
  });
  if (invite === undefined || invite.trim() === '') return;
  const { name } = await vscode.window.withProgress({ location: vscode.ProgressLocation.Notification, title: t('Joining host') }, async () => await client.call('host/join', { invite: invite.trim() }));
  void vscode.window.showInformationMessage(t('This host and {0} now know each other.', plainLabel(name, 64)));
}
