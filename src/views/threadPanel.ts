import * as vscode from 'vscode';
import { plainLabel } from './displayText';
import type { ConnectionState, HostConnection } from './hostConnection';
import { showPage } from './showPage';
import { messageFromPage, type MessageFromPage, type MessageToPage, type ThreadDelta } from './threadMessages';
import { ThreadSession } from './threadSession';
import { t } from './translate';

/** One thread in one webview panel. A hidden page is thrown away; when it is shown again it says `ready` and gets a snapshot. */
export class ThreadPanel implements vscode.Disposable {
  #session: ThreadSession | undefined;
  #unavailable: string | undefined;
  #pageReady = false;
  #disposed = false;
  readonly #stopWatching: () => void;

  constructor(
    private readonly panel: vscode.WebviewPanel,
    private readonly threadId: string,
    extensionUri: vscode.Uri,
    connection: HostConnection,
    private readonly log: vscode.LogOutputChannel,
  ) {
    const media = vscode.Uri.joinPath(extensionUri, 'media');
    const { webview } = panel;
    panel.iconPath = { light: vscode.Uri.joinPath(media, 'thread-light.svg'), dark: vscode.Uri.joinPath(media, 'thread-dark.svg') };
    webview.onDidReceiveMessage((message: unknown) => void this.#received(message));
    panel.onDidDispose(() => this.dispose());
    panel.onDidChangeViewState(() => {
      if (!panel.visible) this.#pageReady = false;
    });
    this.#stopWatching = connection.onChange((state) => void this.#connectionChanged(state));
    showPage(webview, extensionUri, { name: 'panel', styles: ['page.css', 'panel.css'], title: 'Thread', element: 'baton-thread', attributes: { 'data-thread-id': threadId } });
    void this.#connectionChanged(connection.state);
  }

  reveal(): void {
    this.panel.reveal();
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#stopWatching();
    this.#session?.dispose();
    this.panel.dispose();
  }

  async #connectionChanged(state: ConnectionState): Promise<void> {
    if (state.kind !== 'connected') {
      this.#session?.disconnected();
      if (this.#session === undefined && state.kind !== 'connecting') this.#fail(t('Baton is not connected to the host of this machine. Start it from the Threads view.'));
      return;
    }
    const { client } = state;
    const session = new ThreadSession(client, this.threadId, client.host.baton.name, t, {
      onDelta: (sequence, delta) => this.#changed(session, sequence, delta),
      onReplaced: () => {
        if (session === this.#session) this.#sendSnapshot();
      },
    });
    try {
      await session.open();
    } catch (error) {
      session.dispose();
      const message = error instanceof Error ? error.message : String(error);
      this.log.warn(`Thread ${this.threadId} cannot be shown: ${message}`);
      if (this.#session === undefined) this.#fail(message);
      return;
    }
    if (this.#disposed) {
      session.dispose();
      return;
    }
    this.#session?.dispose();
    this.#session = session;
    this.#unavailable = undefined;
    this.#sendSnapshot();
  }

  #changed(session: ThreadSession, sequence: number, delta: ThreadDelta): void {
    if (session !== this.#session) return;
    if (delta.type === 'titleChanged') this.panel.title = plainLabel(delta.title, 40);
    if (this.#pageReady) this.#post({ type: 'delta', sequence, delta });
  }

  #sendSnapshot(): void {
    const snapshot = this.#session?.snapshot;
    if (snapshot !== undefined) {
      this.panel.title = plainLabel(snapshot.state.title, 40);
      if (this.#pageReady) this.#post({ type: 'snapshot', ...snapshot });
    } else if (this.#unavailable !== undefined && this.#pageReady) {
      this.#post({ type: 'unavailable', message: this.#unavailable });
    }
  }

  #fail(message: string): void {
    this.#unavailable = message;
    this.#sendSnapshot();
  }

  #post(message: MessageToPage): void {
    void this.panel.webview.postMessage(message);
  }

  async #received(raw: unknown): Promise<void> {
    const parsed = messageFromPage.safeParse(raw);
    if (!parsed.success) {
      this.log.warn(`The thread panel's page sent a message that is none of its own: ${parsed.error.issues[0]?.message ?? ''}`);
      return;
    }
    const message = parsed.data;
    if (message.type === 'ready' || message.type === 'resync') {
      this.#pageReady = true;
      this.#sendSnapshot();
      return;
    }
    let failure: string | null = null;
    try {
      await this.#act(message);
    } catch (error) {
      failure = error instanceof Error ? error.message : String(error);
      this.log.warn(`Thread ${this.threadId}, ${message.type}: ${failure}`);
    }
    this.#post({ type: 'settled', requestId: message.requestId, error: failure });
  }

  #act(message: Exclude<MessageFromPage, { type: 'ready' | 'resync' }>): Promise<void> {
    const session = this.#session;
    if (session === undefined) return Promise.reject(new Error(t('The thread is not loaded yet.')));
    switch (message.type) {
      case 'send':
        return session.send(message.text);
      case 'interrupt':
        return session.interrupt();
      case 'loadEarlier':
        return session.loadEarlier();
      case 'decide':
        return session.decide({ id: message.id, digest: message.digest, decision: message.decision, answers: message.answers });
    }
  }
}
