import * as vscode from 'vscode';
import type { HostClient } from '../host/hostClient';
import { HostError } from '../host/hostError';
import { managedWorktree, type ManagedWorktree } from '../host/protocol';
import { plainLabel } from './displayText';
import { t } from './translate';

/** The worktree that a command was run on. Any extension can run a command, so its argument is checked like anything received. */
export function worktreeOf(argument: unknown): ManagedWorktree | undefined {
  return managedWorktree.safeParse(argument).data;
}

/** Asks, and removes a worktree: first without its ignored files that nothing else has; those go only after a second word. */
export async function removeWorktree(client: HostClient, worktree: ManagedWorktree): Promise<void> {
  const { id, path, ignored } = worktree;
  const remove = t('Remove Worktree');
  const own = ignored !== null && ignored.count > 0;
  const lost = own ? t('These ignored files are nowhere else and would be lost: {0}', plainLabel([...ignored.names.slice(0, 8), ...(ignored.count > 8 ? ['…'] : [])].join(', '), 600)) : t('Ignored files that can be made again (dependencies, build output) go with it.');
  const detail = [
    t('A snapshot keeps its commits, staged and unstaged changes and untracked files. Opening one of its threads, or “Restore”, brings it back as it is now.'),
    lost,
    ...(worktree.safeToRemove || own ? [] : [t('It may be refused: {0}', plainLabel(worktree.reason, 400))]),
  ].join('\n\n');
  const verb = own ? t('Remove, and Lose Those Files') : remove;
  if ((await vscode.window.showWarningMessage(t('Remove the worktree {0}?', plainLabel(path, 200)), { modal: true, detail }, verb)) !== verb) return;
  const { notes } = await client.call('worktree/remove', { id, ...(own ? { discardIgnored: ignored.digest } : {}) });
  if (notes.length > 0) void vscode.window.showWarningMessage(plainLabel(notes.join(' '), 1000));
}

export async function restoreWorktree(client: HostClient, { id, path }: ManagedWorktree): Promise<void> {
  const { notes } = await vscode.window.withProgress({ location: vscode.ProgressLocation.Notification, title: t('Restoring {0}', plainLabel(path, 200)) }, async () => await client.call('worktree/restore', { id }));
  if (notes.length > 0) void vscode.window.showInformationMessage(plainLabel(notes.join(' '), 1000));
}

/** Mends a worktree that was moved or deleted by hand; asks which of the two it was where the host cannot tell. */
export async function repairWorktree(client: HostClient, { id, path, state }: ManagedWorktree): Promise<void> {
  const params = state === 'gone' ? await movedOrDeleted(path) : {};
  if (params === undefined) return;
  const { done } = await client.call('worktree/repair', { id, ...params });
  void vscode.window.showInformationMessage(plainLabel(done, 600));
}

async function movedOrDeleted(path: string): Promise<{ directory: string } | { anew: true } | undefined> {
  const [moved, deleted] = [t('I Moved It…'), t('Make It Again')];
  const answer = await vscode.window.showWarningMessage(
    t('{0} is not there any more.', plainLabel(path, 200)),
    { modal: true, detail: t('If you moved it, choose the folder where it is now. If you deleted it, it can be made again from what git still has: its commits, and what was staged.') },
    moved, deleted,
  );
  if (answer === deleted) return { anew: true };
  if (answer !== moved) return undefined;
  const [folder] = (await vscode.window.showOpenDialog({ canSelectFiles: false, canSelectFolders: true, openLabel: t('This Is the Worktree') })) ?? [];
  return folder === undefined ? undefined : { directory: folder.fsPath };
}

/** Opens a worktree in a window of its own; a removed one is brought back first. */
export async function openWorktree(client: HostClient, worktree: ManagedWorktree): Promise<void> {
  if (worktree.state === 'removed') await restoreWorktree(client, worktree);
  else if (worktree.state !== 'here' && worktree.state !== 'foreign') throw new HostError('worktree-kept', plainLabel(worktree.reason, 600));
  await vscode.commands.executeCommand('vscode.openFolder', vscode.Uri.file(worktree.path), { forceNewWindow: true });
}
