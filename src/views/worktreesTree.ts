import type * as vscode from 'vscode';
import type { HostClient } from '../host/hostClient';
import type { ManagedWorktree } from '../host/protocol';
import type { HostConnection } from './hostConnection';
import { HostTree, treeItem } from './hostTree';
import { listThreads } from './threadList';
import { t } from './translate';
import { threadTitle, worktreeText } from './treeText';

/** The managed worktrees of this host. */
export class WorktreesTree extends HostTree<ManagedWorktree> {
  #titles = new Map<string, string>();

  constructor(connection: HostConnection, log: vscode.LogOutputChannel) {
    super('baton.worktrees', connection, log);
  }

  protected async roots(client: HostClient): Promise<ManagedWorktree[]> {
    const { worktrees } = await client.call('worktree/list', {});
    if (worktrees.length > 0) this.#titles = new Map((await listThreads(client)).map((thread) => [thread.id, threadTitle(thread, t)]));
    return worktrees;
  }

  getTreeItem(worktree: ManagedWorktree): vscode.TreeItem {
    return treeItem(worktreeText(worktree, worktree.threadIds.map((id) => this.#titles.get(id) ?? id), t));
  }
}
