import type { Translate } from '../../src/views/displayText';

/** What `vscode.l10n.t` does without a translation: fills the places. */
export const translate: Translate = (message, ...args) => message.replace(/\{(\d+)\}/g, (_, index: string) => String(args[Number(index)]));
