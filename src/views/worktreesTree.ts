import * as vscode from 'vscode';
import type { HostClient } from '../host/hostClient';
import type { ManagedWorktree } from '../host/protocol';
import type { HostConnection } from './hostConnection';
import { HostTree, treeItem } from './hostTree';
import { listThreads } from './threadList';
import { t } from './translate';
import { threadTitle, worktreeText } from './treeText';

/** The managed worktrees of this host. */
export class WorktreesTree extends HostTree<ManagedWorktree> {
  /** By thread, those updated last first. */
  #titles = new Map<string, string>();
  #severalRepositories = false;
  readonly #focus: vscode.Disposable;

  constructor(connection: HostConnection, log: vscode.LogOutputChannel) {
    super('baton.worktrees', connection, log);
    // Nobody says when a worktree is written to, least of all from the window in which it was opened: read it again on coming back.
    this.#focus = vscode.window.onDidChangeWindowState(({ focused }) => {
      if (focused) this.refresh();
    });
    this.view.onDidChangeVisibility(({ visible }) => {
      if (visible) this.refresh();
    });
  }

  protected async roots(client: HostClient): Promise<ManagedWorktree[]> {
    const { worktrees } = await client.call('worktree/list', {});
    if (worktrees.length > 0) await this.readTitles(client);
    this.#severalRepositories = new Set(worktrees.map(({ project }) => project).filter((project) => project !== null)).size > 1;
    return worktrees;
  }

  /** Without Codex there are no threads to list, and worktrees all the same. */
  private async readTitles(client: HostClient): Promise<void> {
    try {
      this.#titles = new Map((await listThreads(client)).map((thread) => [thread.id, threadTitle(thread, t)]));
    } catch (error) {
      this.log.warn(`Titles of the worktrees' threads: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  getTreeItem(worktree: ManagedWorktree): vscode.TreeItem {
    const own = new Set(worktree.threadIds);
    const threads = [...this.#titles].filter(([id]) => own.has(id)).map(([, title]) => title);
    return treeItem(worktreeText(worktree, { threads, severalRepositories: this.#severalRepositories, now: new Date() }, t));
  }

  override dispose(): void {
    this.#focus.dispose();
    super.dispose();
  }
}
