import * as vscode from 'vscode';

/** The environment that the host is found and started with: the extension host's, and Baton's settings over it. */
export function launchEnvironment(environment: Readonly<Record<string, string | undefined>>): Record<string, string | undefined> {
  const home = setting('home');
  const codexPath = setting('codexPath');
  return { ...environment, ...(home === undefined ? {} : { BATON_HOME: home }), ...(codexPath === undefined ? {} : { BATON_CODEX: codexPath }) };
}

/** The relay that the user set for this machine's host; undefined where the host's own choice holds. */
export function relayUrl(): string | undefined {
  return setting('relayUrl');
}

function setting(name: 'home' | 'codexPath' | 'relayUrl'): string | undefined {
  const value = vscode.workspace.getConfiguration('baton').get<string>(name)?.trim();
  return value === undefined || value === '' ? undefined : value;
}
