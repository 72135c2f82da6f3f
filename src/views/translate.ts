import * as vscode from 'vscode';
import type { Translate } from './displayText';

/** `vscode.l10n.t`, as the parts that know no `vscode` are handed it. */
export const t: Translate = (message, ...args) => vscode.l10n.t(message, ...args);
