import * as vscode from 'vscode';

/** The context keys that package.json's `when` clauses read, and the values of each. */
export interface ContextKeys {
  'baton.connection': 'connecting' | 'connected' | 'stopped' | 'failed';
  'baton.codex': 'unknown' | 'found' | 'missing';
}

export function setContextKey<K extends keyof ContextKeys>(key: K, value: ContextKeys[K]): void {
  void vscode.commands.executeCommand('setContext', key, value);
}
