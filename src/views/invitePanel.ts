import * as vscode from 'vscode';
import { plainLabel } from './displayText';
import type { HostConnection } from './hostConnection';
import { inviteFromPage, type InviteFromPage, type InviteToPage, type InviteViewState } from './inviteMessages';
import { InviteSession } from './inviteSession';
import { showWords } from './pairing';
import { showPage } from './showPage';
import { t } from './translate';

const VIEW_TYPE = 'baton.invite';

/**
 * The panel in which somebody is invited; there is one. It does not come back after a reload of the window: what it shows is secret. The invite
 * outlives it, as it may have been sent, and then a notification says who used it.
 */
export class InvitePanel implements vscode.Disposable {
  #panel: vscode.WebviewPanel | undefined;
  #session: InviteSession | undefined;
  #pageReady = false;

  constructor(
    private readonly extensionUri: vscode.Uri,
    private readonly connection: HostConnection,
    private readonly log: vscode.LogOutputChannel,
  ) {}

  /** Shows the panel: with the invite that is open, or to make one. Throws HostError `host-unreachable`. */
  async open(): Promise<void> {
    const { client } = this.connection;
    if (this.#session?.state.kind !== 'open') {
      this.#session?.dispose();
      this.#session = new InviteSession(client, (state) => this.#changed(state));
    }
    if (this.#panel === undefined) this.#create();
    else this.#panel.reveal();
    this.#post();
    if (this.#session.state.kind === 'form') await this.#session.begin();
  }

  dispose(): void {
    this.#session?.dispose();
    this.#panel?.dispose();
  }

  #create(): void {
    const panel = vscode.window.createWebviewPanel(VIEW_TYPE, t('Invite'), vscode.ViewColumn.Active);
    this.#panel = panel;
    panel.webview.onDidReceiveMessage((message: unknown) => void this.#received(message));
    panel.onDidChangeViewState(() => {
      if (!panel.visible) this.#pageReady = false;
    });
    panel.onDidDispose(() => {
      this.#panel = undefined;
      this.#pageReady = false;
    });
    showPage(panel.webview, this.extensionUri, { name: 'invite', styles: ['page.css', 'invite.css'], title: 'Invite', element: 'baton-invite' });
  }

  #changed(state: InviteViewState): void {
    this.#post();
    if (state.kind !== 'ended' || state.claimedBy === null || state.revoked || this.#panel?.visible === true) return;
    showWords(t('{0} was let in.', plainLabel(state.claimedBy.name, 64)), state.claimedBy.words);
  }

  #post(): void {
    if (this.#pageReady && this.#session !== undefined) void this.#panel?.webview.postMessage({ type: 'state', state: this.#session.state } satisfies InviteToPage);
  }

  async #received(raw: unknown): Promise<void> {
    const parsed = inviteFromPage.safeParse(raw);
    if (!parsed.success) {
      this.log.warn(`The invite panel's page sent a message that is none of its own: ${parsed.error.issues[0]?.message ?? ''}`);
      return;
    }
    try {
      await this.#act(parsed.data);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.log.error(`Invite, ${parsed.data.type}: ${message}`);
      void vscode.window.showErrorMessage(message);
    }
  }

  async #act(message: InviteFromPage): Promise<void> {
    const session = this.#session;
    switch (message.type) {
      case 'ready':
        this.#pageReady = true;
        this.#post();
        return;
      case 'make':
        return session?.make(message.wish);
      case 'copy':
        return this.#copy(message.what);
      case 'cancel':
        return session?.cancel();
      case 'revoke':
        return this.#revoke();
      case 'again':
        return session?.again();
    }
  }

  async #copy(what: 'link' | 'code'): Promise<void> {
    const state = this.#session?.state;
    const text = state?.kind === 'open' ? state[what] : null;
    if (text !== null) await vscode.env.clipboard.writeText(text);
  }

  async #revoke(): Promise<void> {
    const session = this.#session;
    if (session?.state.kind !== 'ended' || session.state.claimedBy === null) return;
    const revoke = t('Revoke');
    const chosen = await vscode.window.showWarningMessage(t('Revoke {0}?', session.state.claimedBy.name), { modal: true, detail: t('It is not let in any more, and whatever it has open on this host ends at once. To let it in again, make a new invite.') }, revoke);
    if (chosen === revoke) await session.revoke();
  }
}
