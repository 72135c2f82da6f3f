import * as vscode from 'vscode';
import { z } from 'zod';
import { threadId as threadIdSchema } from '../host/protocol';
import type { HostConnection } from './hostConnection';
import { ThreadPanel } from './threadPanel';

const VIEW_TYPE = 'baton.thread';
/** What a page keeps across a reload of the window. */
const pageState = z.looseObject({ threadId: threadIdSchema });

/** The open thread panels: at most one for each thread, and each again after a reload of the window. */
export class ThreadPanels implements vscode.Disposable, vscode.WebviewPanelSerializer {
  readonly #panels = new Map<string, ThreadPanel>();
  readonly #serializer: vscode.Disposable;

  constructor(
    private readonly extensionUri: vscode.Uri,
    private readonly connection: HostConnection,
    private readonly log: vscode.LogOutputChannel,
  ) {
    this.#serializer = vscode.window.registerWebviewPanelSerializer(VIEW_TYPE, this);
  }

  /** Shows the panel of a thread, and makes it where there is none. */
  open(threadId: string): void {
    const known = this.#panels.get(threadId);
    if (known !== undefined) known.reveal();
    else this.#adopt(vscode.window.createWebviewPanel(VIEW_TYPE, 'Thread', vscode.ViewColumn.Active), threadId);
  }

  deserializeWebviewPanel(panel: vscode.WebviewPanel, state: unknown): Promise<void> {
    const restored = pageState.safeParse(state).data;
    if (restored === undefined) panel.dispose();
    else this.#adopt(panel, restored.threadId);
    return Promise.resolve();
  }

  dispose(): void {
    this.#serializer.dispose();
    for (const panel of [...this.#panels.values()]) panel.dispose();
  }

  #adopt(panel: vscode.WebviewPanel, threadId: string): void {
    const adopted = new ThreadPanel(panel, threadId, this.extensionUri, this.connection, this.log);
    this.#panels.set(threadId, adopted);
    panel.onDidDispose(() => this.#panels.delete(threadId));
  }
}
