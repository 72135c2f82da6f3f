/** Builds the objects and registers them. Activation starts nothing but the connection to this machine's host. */
import { join } from 'node:path';
import * as vscode from 'vscode';
import { batonHome, codexHome } from './host/home';
import { HostClient } from './host/hostClient';
import { ensureHost } from './host/launchHost';
import { registerCommands } from './views/commands';
import { followHost } from './views/followHost';
import { HostConnection } from './views/hostConnection';
import { HostsTree } from './views/hostsTree';
import { InvitePanel } from './views/invitePanel';
import { OpenRepositories } from './views/openRepositories';
import { PendingApprovals } from './views/pendingApprovals';
import { launchEnvironment } from './views/settings';
import { StatusBar } from './views/statusBar';
import { ThreadPanels } from './views/threadPanels';
import { ThreadTree } from './views/threadTree';
import { WorktreesTree } from './views/worktreesTree';

declare const BATON_VERSION: string;

export function activate(context: vscode.ExtensionContext): void {
  const log = vscode.window.createOutputChannel('Baton', { log: true });
  const clientInfo = { name: 'baton-vscode', title: 'Baton for VS Code', version: BATON_VERSION };
  const connection = new HostConnection((how) => {
    const env = launchEnvironment(process.env);
    const options = { batonHome: batonHome(env), codexHome: codexHome(env), entry: join(context.extensionPath, 'dist', 'baton.js'), env, clientInfo, log };
    return how === 'start' ? ensureHost(options) : HostClient.connect(options);
  }, log);
  const approvals = new PendingApprovals();
  const repositories = new OpenRepositories();
  const panels = new ThreadPanels(context.extensionUri, connection, log);
  const invitePanel = new InvitePanel(context.extensionUri, connection, log);
  const threads = new ThreadTree(connection, log, repositories, approvals);
  const hosts = new HostsTree(connection, log);
  const worktrees = new WorktreesTree(connection, log);
  const statusBar = new StatusBar(approvals);
  const trees = { threads, hosts, worktrees };
  const refresh = () => {
    for (const tree of Object.values(trees)) tree.refresh();
  };
  context.subscriptions.push(
    log, connection, approvals, repositories, panels, invitePanel, threads, hosts, worktrees, statusBar,
    ...registerCommands({ connection, repositories, approvals, log, panels, invitePanel, refresh }),
    ...followHost({ connection, repositories, approvals, log, statusBar, trees }),
  );
  repositories.connect().catch((error: unknown) => log.warn(`VS Code's Git extension is not available: ${String(error)}`));
  void connection.start();
}
