import * as vscode from 'vscode';
import type { ConnectionState } from './hostConnection';
import type { PendingApprovals } from './pendingApprovals';
import { t } from './translate';

/** Baton's one status bar item: the state of this machine's host and the number of pending approvals. */
export class StatusBar implements vscode.Disposable {
  readonly #item = vscode.window.createStatusBarItem('baton.status', vscode.StatusBarAlignment.Left, 0);

  constructor(private readonly approvals: PendingApprovals) {
    this.#item.name = 'Baton';
    this.#item.command = 'baton.threads.focus';
  }

  show(state: ConnectionState, hostName: string): void {
    const pending = this.approvals.all.length;
    const { text, words } = this.#describe(state, hostName, pending);
    this.#item.text = text;
    this.#item.tooltip = words;
    this.#item.accessibilityInformation = { label: words };
    this.#item.backgroundColor = pending > 0 && state.kind === 'connected' ? new vscode.ThemeColor('statusBarItem.warningBackground') : undefined;
    this.#item.show();
  }

  #describe(state: ConnectionState, hostName: string, pending: number): { text: string; words: string } {
    switch (state.kind) {
      case 'connecting':
        return { text: '$(loading~spin) Baton', words: t('Baton: connecting to the host') };
      case 'stopped':
        return { text: '$(debug-disconnect) Baton', words: t('Baton: the host has stopped') };
      case 'failed':
        return { text: '$(error) Baton', words: t('Baton: the host cannot be reached') };
      case 'connected':
        if (pending === 0) return { text: '$(arrow-swap) Baton', words: t('Baton: host {0} is running', hostName) };
        return {
          text: `$(bell-dot) Baton: ${pending}`,
          words: pending === 1 ? t('Baton: host {0} is running, 1 approval pending', hostName) : t('Baton: host {0} is running, {1} approvals pending', hostName, pending),
        };
    }
  }

  dispose(): void {
    this.#item.dispose();
  }
}
