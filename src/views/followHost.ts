import * as vscode from 'vscode';
import type { HostClient } from '../host/hostClient';
import { setContextKey } from './contextKeys';
import type { ConnectionState, HostConnection } from './hostConnection';
import type { HostTree } from './hostTree';
import type { OpenRepositories } from './openRepositories';
import type { PendingApprovals } from './pendingApprovals';
import { allowsRemoteControl, relayUrl, retention } from './settings';
import type { StatusBar } from './statusBar';

export interface FollowContext {
  readonly connection: HostConnection;
  readonly repositories: OpenRepositories;
  readonly approvals: PendingApprovals;
  readonly log: vscode.LogOutputChannel;
  readonly statusBar: StatusBar;
  readonly trees: { readonly threads: Pick<HostTree<unknown>, 'refresh'>; readonly hosts: Pick<HostTree<unknown>, 'refresh'>; readonly worktrees: Pick<HostTree<unknown>, 'refresh'> };
}

/** Codex's notifications after which the list of threads shows something else. */
const THREAD_LIST_CHANGES = new Set(['thread/started', 'thread/status/changed', 'thread/name/updated', 'thread/archived', 'thread/unarchived', 'thread/deleted', 'thread/closed']);

/** Those after which a worktree may hold something else, or its thread has another name. */
const WORKTREE_CHANGES = new Set(['turn/completed', 'thread/name/updated']);

/** Keeps trees, status bar and context keys up with the host and with the open repositories. */
export function followHost({ connection, repositories, approvals, log, statusBar, trees }: FollowContext): vscode.Disposable[] {
  const showStatus = () => statusBar.show(connection.state, connection.state.kind === 'connected' ? connection.state.client.host.baton.name : '');
  const refreshAll = () => {
    trees.threads.refresh();
    trees.hosts.refresh();
    trees.worktrees.refresh();
  };
  const failed = (what: string) => (error: unknown) => log.warn(`${what}: ${error instanceof Error ? error.message : String(error)}`);

  const connected = (client: HostClient) => {
    // These end with the client.
    client.on('host/changed', ({ what }) => {
      if (what.includes('threads')) trees.threads.refresh();
      if (what.includes('hosts') || what.includes('relay')) trees.hosts.refresh();
      if (what.includes('worktrees')) trees.worktrees.refresh();
    });
    client.on('handoff/ended', refreshAll);
    client.onCodex((method) => {
      if (THREAD_LIST_CHANGES.has(method)) trees.threads.refresh();
      if (WORKTREE_CHANGES.has(method)) trees.worktrees.refresh();
    });
    readCodex(client).catch(failed('Reading the host'));
    applyRelay(client).catch(failed('Setting the relay'));
    applyRetention(client).catch(failed('Setting what is kept'));
    client.on('remoteControl/status/changed', ({ status }) => {
      if (status !== 'disabled') applyRemoteControl(client).catch(failed('Turning remote control off'));
    });
    applyRemoteControl(client).catch(failed('Turning remote control off'));
  };
  const changed = (state: ConnectionState) => {
    setContextKey('baton.connection', state.kind);
    if (state.kind === 'connected') connected(state.client);
    approvals.follow(state.kind === 'connected' ? state.client : undefined).catch(failed('Reading the pending approvals'));
    showStatus();
    refreshAll();
  };

  changed(connection.state);
  const ends = [
    connection.onChange(changed),
    approvals.onChange(() => {
      showStatus();
      trees.threads.refresh();
    }),
  ];
  return [
    repositories.onDidChange(() => trees.threads.refresh()),
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (connection.state.kind !== 'connected') return;
      const { client } = connection.state;
      if (event.affectsConfiguration('baton.relayUrl')) applyRelay(client).catch(failed('Setting the relay'));
      if (event.affectsConfiguration('baton.allowRemoteControl')) applyRemoteControl(client).catch(failed('Turning remote control off'));
      if (event.affectsConfiguration('baton.worktrees') || event.affectsConfiguration('baton.snapshots')) applyRetention(client).catch(failed('Setting what is kept'));
    }),
    new vscode.Disposable(() => {
      for (const end of ends) end();
    }),
  ];
}

async function readCodex(client: HostClient): Promise<void> {
  const { codexVersion } = await client.call('host/read', {});
  setContextKey('baton.codex', codexVersion === null ? 'missing' : 'found');
}

async function applyRetention(client: HostClient): Promise<void> {
  const wanted = retention();
  if (Object.keys(wanted).length > 0) await client.call('worktree/retention', wanted);
}

/** Only what is forbidden has to be brought about: whether to use what is allowed is the user's to say, to the host. */
async function applyRemoteControl(client: HostClient): Promise<void> {
  if (!allowsRemoteControl()) await client.call('remoteControl/disable', {});
}

async function applyRelay(client: HostClient): Promise<void> {
  const url = relayUrl();
  if (url === undefined) return;
  const { relay } = await client.call('host/read', {});
  if (relay.url !== url) await client.call('host/setRelay', { url });
}
