import type * as vscode from 'vscode';
import type { HostClient } from '../host/hostClient';
import type { HostDetails, HostSummary } from '../host/protocol';
import type { HostConnection } from './hostConnection';
import { HostTree, treeItem } from './hostTree';
import { t } from './translate';
import { hostText } from './treeText';

/** This host and the hosts it knows. */
export class HostsTree extends HostTree<HostSummary> {
  #self: HostDetails | undefined;

  constructor(connection: HostConnection, log: vscode.LogOutputChannel) {
    super('baton.hosts', connection, log);
  }

  protected async roots(client: HostClient): Promise<HostSummary[]> {
    const [self, { hosts }] = await Promise.all([client.call('host/read', {}), client.call('host/list', {})]);
    this.#self = self;
    return hosts.toSorted((a, b) => Number(b.self) - Number(a.self) || a.name.localeCompare(b.name));
  }

  protected override messageFor(hosts: readonly HostSummary[]): string {
    return hosts.some((host) => !host.self) ? '' : t('No other host yet. Invite one, join one with its invite, or add one of your ssh configuration, to hand threads off.');
  }

  getTreeItem(host: HostSummary): vscode.TreeItem {
    return treeItem(hostText(host, this.#self, t));
  }
}
