import * as vscode from 'vscode';
import { t } from './translate';

/** How a step of a multi-step pick ended. Cancelling is a result, not an error. */
export type StepResult<T> = { readonly kind: 'picked'; readonly value: T } | { readonly kind: 'back' } | { readonly kind: 'cancelled' };

/** An entry of a pick; without a `value` it can be read and not chosen. */
export interface StepItem<T> extends vscode.QuickPickItem {
  readonly value?: T;
}

export interface Step {
  readonly title: string;
  readonly step: number;
  readonly totalSteps: number;
  readonly placeholder: string;
}

/** Shows a quick pick as one step of several. `items` may still be on their way; if they fail, so does the step. */
export async function pickStep<T>(options: Step & { readonly items: Promise<readonly StepItem<T>[]> }): Promise<StepResult<T>> {
  const pick = vscode.window.createQuickPick<StepItem<T>>();
  pick.title = options.title;
  // "(1/1)" would say nothing.
  if (options.totalSteps > 1) Object.assign(pick, { step: options.step, totalSteps: options.totalSteps });
  pick.placeholder = options.placeholder;
  pick.ignoreFocusOut = true;
  pick.matchOnDescription = true;
  pick.matchOnDetail = true;
  if (options.step > 1) pick.buttons = [vscode.QuickInputButtons.Back];
  pick.busy = true;
  try {
    return await new Promise<StepResult<T>>((resolve, reject) => {
      pick.onDidAccept(() => {
        const value = pick.selectedItems[0]?.value;
        if (value !== undefined) resolve({ kind: 'picked', value });
      });
      pick.onDidTriggerButton(() => resolve({ kind: 'back' }));
      pick.onDidHide(() => resolve({ kind: 'cancelled' }));
      options.items.then((items) => {
        pick.items = items;
        pick.busy = false;
      }, reject);
      pick.show();
    });
  } finally {
    pick.dispose();
  }
}

/** Asks for a text as one step of several. An empty text is not accepted. */
export async function inputStep(options: Step & { readonly prompt: string; readonly value: string }): Promise<StepResult<string>> {
  const input = vscode.window.createInputBox();
  input.title = options.title;
  input.step = options.step;
  input.totalSteps = options.totalSteps;
  input.placeholder = options.placeholder;
  input.prompt = options.prompt;
  input.value = options.value;
  input.ignoreFocusOut = true;
  if (options.step > 1) input.buttons = [vscode.QuickInputButtons.Back];
  try {
    return await new Promise<StepResult<string>>((resolve) => {
      input.onDidAccept(() => {
        const value = input.value.trim();
        if (value === '') input.validationMessage = t('Write what the agent is to do.');
        else resolve({ kind: 'picked', value });
      });
      input.onDidChangeValue(() => (input.validationMessage = undefined));
      input.onDidTriggerButton(() => resolve({ kind: 'back' }));
      input.onDidHide(() => resolve({ kind: 'cancelled' }));
      input.show();
    });
  } finally {
    input.dispose();
  }
}
