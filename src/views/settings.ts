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

/** False where the user or an administrator does not let devices and operators come in from elsewhere. */
export function allowsRemoteControl(): boolean {
  return vscode.workspace.getConfiguration('baton').get<boolean>('allowRemoteControl') !== false;
}

/** What the user set for this machine's host to keep; members are missing where the host's own choice holds. */
export function retention(): { keep?: number; snapshotDays?: number } {
  const keep = chosen('worktrees.keep');
  const snapshotDays = chosen('snapshots.days');
  return { ...(keep === undefined ? {} : { keep }), ...(snapshotDays === undefined ? {} : { snapshotDays }) };
}

/** A number that the user has set; a default of package.json is not one. */
function chosen(name: 'worktrees.keep' | 'snapshots.days'): number | undefined {
  const { globalValue } = vscode.workspace.getConfiguration('baton').inspect<number>(name) ?? {};
  return typeof globalValue === 'number' && Number.isInteger(globalValue) ? globalValue : undefined;
}

function setting(name: 'home' | 'codexPath' | 'relayUrl'): string | undefined {
  const value = vscode.workspace.getConfiguration('baton').get<string>(name)?.trim();
  return value === undefined || value === '' ? undefined : value;
}
