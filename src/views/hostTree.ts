import * as vscode from 'vscode';
import type { HostClient } from '../host/hostClient';
import type { HostConnection } from './hostConnection';
import type { TreeText } from './treeText';

const COALESCE_MS = 150;

/**
 * A tree view of what the connected host has. It reads the host again only when told that something changed, and only
 * while it can be seen; a hidden one notes it and reads when it is shown.
 */
export abstract class HostTree<Node> implements vscode.TreeDataProvider<Node>, vscode.Disposable {
  readonly #changed = new vscode.EventEmitter<undefined>();
  readonly onDidChangeTreeData = this.#changed.event;
  protected readonly view: vscode.TreeView<Node>;
  #stale = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  protected constructor(
    viewId: string,
    private readonly connection: HostConnection,
    protected readonly log: vscode.LogOutputChannel,
  ) {
    this.view = vscode.window.createTreeView(viewId, { treeDataProvider: this });
    this.view.onDidChangeVisibility(({ visible }) => {
      if (visible && this.#stale) this.refresh();
    });
  }

  /** Something that the view shows may have changed. Changes that come close together are one. */
  refresh(): void {
    if (!this.view.visible) {
      this.#stale = true;
      return;
    }
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#stale = false;
      this.#changed.fire(undefined);
    }, COALESCE_MS);
  }

  async getChildren(parent?: Node): Promise<Node[]> {
    const { state } = this.connection;
    if (state.kind !== 'connected') {
      this.view.message = '';
      return [];
    }
    try {
      const children = parent === undefined ? await this.roots(state.client) : this.childrenOf(parent);
      if (parent === undefined) this.view.message = this.messageFor(children);
      return children;
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.log.warn(`${this.view.title ?? 'View'}: ${message}`);
      this.view.message = message;
      return [];
    }
  }

  abstract getTreeItem(node: Node): vscode.TreeItem;

  /** Reads the top level of the tree from the host. */
  protected abstract roots(client: HostClient): Promise<Node[]>;

  protected childrenOf(_parent: Node): Node[] {
    return [];
  }

  /** A line above the tree, where something is worth saying; empty where nothing is. */
  protected messageFor(_roots: readonly Node[]): string {
    return '';
  }

  dispose(): void {
    clearTimeout(this.#timer);
    this.view.dispose();
    this.#changed.dispose();
  }
}

/** A tree item that shows `text`. Its tooltip is plain text: what agents and other hosts say is never Markdown here. */
export function treeItem(text: TreeText, collapsible = vscode.TreeItemCollapsibleState.None): vscode.TreeItem {
  const item = new vscode.TreeItem(text.label, collapsible);
  item.id = text.id;
  item.description = text.description;
  item.tooltip = text.tooltip;
  item.iconPath = new vscode.ThemeIcon(text.icon, text.tint === undefined ? undefined : new vscode.ThemeColor(text.tint));
  item.contextValue = text.contextValue;
  item.accessibilityInformation = { label: text.accessibilityLabel };
  return item;
}
