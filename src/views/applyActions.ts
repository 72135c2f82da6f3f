import * as vscode from 'vscode';
import type { HostClient } from '../host/hostClient';
import type { ApplyResult, Thread } from '../host/protocol';
import { applyLines, type ApplyChoice } from './applyText';
import { pickStep, type StepItem } from './pickSteps';
import { t } from './translate';
import { threadTitle } from './treeText';

/**
 * Baton: Apply to My Checkout…: shows which files of the user's checkout would change, applies the thread's working state when the
 * user says so, and offers to take it back.
 */
export async function applyToCheckout(client: HostClient, thread: Thread): Promise<void> {
  const title = t('Apply “{0}” to Your Checkout', threadTitle(thread, t));
  const plan = await agreeTo(client, thread.id, title, false);
  if (plan === undefined) return;
  const done = await client.call('worktree/apply', { threadId: thread.id, merge: plan.merge, plan: plan.shown.plan });
  const undo = t('Undo');
  const message = done.changeCount === 1 ? t('One path of {0} was changed. The thread goes on in its worktree.', done.checkout) : t('{0} paths of {1} were changed. The thread goes on in its worktree.', done.changeCount, done.checkout);
  // The message may stay for long, and its answer must not hold up the command.
  void vscode.window.showInformationMessage(message, undo).then((action) => {
    if (action === undo) void vscode.commands.executeCommand('baton.undoApply', { thread });
  });
}

/** Takes the last apply of a thread back, after a modal dialog that says how much changes. */
export async function undoLastApply(client: HostClient, thread: Thread): Promise<void> {
  const { directory, changeCount } = await client.call('worktree/undoApply', { threadId: thread.id, dryRun: true, restore: true });
  const verb = t('Undo');
  const detail = t('{0} paths of {1} go back to what they were before. What you changed since in other files stays.', changeCount, directory);
  if ((await vscode.window.showWarningMessage(t('Take back the last apply of “{0}”?', threadTitle(thread, t)), { modal: true, detail }, verb)) !== verb) return;
  await client.call('worktree/undoApply', { threadId: thread.id });
  void vscode.window.showInformationMessage(t('{0} is as it was before the apply.', directory));
}

/** Shows the plan. Undefined where the user agreed to nothing. */
async function agreeTo(client: HostClient, threadId: string, title: string, merge: boolean): Promise<{ shown: ApplyResult; merge: boolean } | undefined> {
  let shown: ApplyResult | undefined;
  const items = client.call('worktree/apply', { threadId, dryRun: true, restore: true, merge }).then((result) => {
    shown = result;
    return applyLines(result, t).map(({ icon, label, ...rest }): StepItem<ApplyChoice> => ({ label: `$(${icon}) ${label}`, ...rest }));
  });
  const picked = await pickStep<ApplyChoice>({ title, step: 1, totalSteps: 1, placeholder: t('Nothing has changed yet. Check what would.'), items });
  if (picked.kind !== 'picked' || shown === undefined) return undefined;
  return picked.value === 'merge' ? await agreeTo(client, threadId, title, true) : { shown, merge };
}
