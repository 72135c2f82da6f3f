import * as vscode from 'vscode';
import type { HostClient } from '../host/hostClient';
import type { Thread } from '../host/protocol';
import type { HostConnection } from './hostConnection';
import { HostTree, treeItem } from './hostTree';
import type { OpenRepositories } from './openRepositories';
import type { PendingApprovals } from './pendingApprovals';
import { listThreads } from './threadList';
import { t } from './translate';
import { contextValue, threadText } from './treeText';

export interface ThreadNode {
  readonly kind: 'thread';
  readonly thread: Thread;
}
interface GroupNode {
  readonly kind: 'group';
  readonly id: 'open' | 'others';
  readonly label: string;
  readonly threads: readonly Thread[];
}

/** The threads of this host; with a repository open, its threads first and the others in a group of their own. */
export class ThreadTree extends HostTree<ThreadNode | GroupNode> {
  constructor(
    connection: HostConnection,
    log: vscode.LogOutputChannel,
    private readonly repositories: OpenRepositories,
    private readonly approvals: PendingApprovals,
  ) {
    super('baton.threads', connection, log);
  }

  protected async roots(client: HostClient): Promise<(ThreadNode | GroupNode)[]> {
    const threads = await listThreads(client);
    const inOpen = await Promise.all(threads.map((thread) => this.repositories.includes(thread.cwd)));
    const open = threads.filter((_, index) => inOpen[index]);
    const others = threads.filter((_, index) => !inOpen[index]);
    if (open.length === 0 || others.length === 0) return threads.map(threadNode);
    return [
      { kind: 'group', id: 'open', label: t('This Repository'), threads: open },
      { kind: 'group', id: 'others', label: t('Other Repositories'), threads: others },
    ];
  }

  protected override childrenOf(parent: ThreadNode | GroupNode): ThreadNode[] {
    return parent.kind === 'group' ? parent.threads.map(threadNode) : [];
  }

  getTreeItem(node: ThreadNode | GroupNode): vscode.TreeItem {
    if (node.kind === 'group') {
      const item = new vscode.TreeItem(node.label, vscode.TreeItemCollapsibleState.Expanded);
      item.id = `group:${node.id}`;
      item.contextValue = contextValue('group', {});
      item.accessibilityInformation = { label: node.threads.length === 1 ? t('{0}, 1 thread', node.label) : t('{0}, {1} threads', node.label, node.threads.length) };
      return item;
    }
    const item = treeItem(threadText(node.thread, this.approvals.countOf(node.thread.id), t));
    item.command = { command: 'baton.openThread', title: t('Open Thread'), arguments: [node] };
    return item;
  }
}

function threadNode(thread: Thread): ThreadNode {
  return { kind: 'thread', thread };
}
