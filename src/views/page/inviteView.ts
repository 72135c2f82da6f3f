import { html, LitElement, nothing, type TemplateResult } from 'lit';
import { qrSvg } from '../../host/qr';
import type { InviteFromPage, InviteToPage, InviteViewState } from '../inviteMessages';
import { inviteForm } from './inviteForm';
import { durationWords, mayDo, remaining } from './inviteText';
import type { Extension } from './vscodeApi';

type Open = Extract<InviteViewState, { kind: 'open' }>;
type Ended = Extract<InviteViewState, { kind: 'ended' }>;

const SECOND_MS = 1000;

/** The page of the invite panel: what to invite to, then the invite, then what became of it. */
export class InviteView extends LitElement {
  #extension: Extension<InviteFromPage, InviteToPage> | undefined;
  #state: InviteViewState | undefined;
  #announcement = '';
  #copied: 'link' | 'code' | null = null;
  /** The picture of the link that is shown; it is made once. */
  #picture: { readonly link: string; readonly element: Element } | undefined;
  #tick: number | undefined;

  protected override createRenderRoot(): HTMLElement {
    return this;
  }

  start(extension: Extension<InviteFromPage, InviteToPage>): void {
    this.#extension = extension;
    extension.onMessage(({ state }) => this.#received(state));
    extension.post({ type: 'ready' });
  }

  protected override render(): TemplateResult {
    return html`<main>${this.#body()}</main><div class="screen-reader-only" role="status" aria-live="polite">${this.#announcement}</div>`;
  }

  #body(): TemplateResult {
    const state = this.#state;
    if (state === undefined) return html`<vscode-progress-ring aria-label="Loading"></vscode-progress-ring>`;
    switch (state.kind) {
      case 'unavailable':
        return html`<p role="alert">${state.message}</p>`;
      case 'form':
        return inviteForm(state, (wish) => this.#extension?.post({ type: 'make', wish }));
      case 'open':
        return this.#open(state);
      case 'ended':
        return this.#ended(state);
    }
  }

  #open({ invite, link, code, hostName, claiming }: Open): TemplateResult {
    return html`
      <h1 tabindex="-1">Invite to ${hostName}</h1>
      <p class="muted">Whoever uses it first may ${mayDo[invite.role]}. It works once: send it by a way you trust.</p>
      <div class="invite">
        <figure class="qr" role="img" aria-label="QR code of the link">${this.#pictureOf(link)}</figure>
        <div class="ways">
          ${code === null ? html`<p class="muted">The relay gave no place for a code, so only the link works.</p>` : html`<section><h2>Type this code</h2><p class="code" aria-label="Code">${code}</p>${this.#copyButton('code', 'Copy Code')}<p class="muted hint"><code>baton join ${code}</code></p></section>`}
          <section><h2>Or use this link</h2><p class="link" tabindex="0" aria-label="Link">${link}</p>${this.#copyButton('link', 'Copy Link')}</section>
          ${facts(invite, html`<dt>Works for</dt><dd class="countdown" role="timer">${remaining(invite.expiresAt, Date.now())}</dd>`)}
        </div>
      </div>
      <p class="progress" role="status">${claiming ? 'Somebody is using it…' : 'Waiting until somebody uses it.'}</p>
      ${this.#tried(invite.wrongCodes)}
      <div class="buttons"><vscode-button class="cancel" secondary @click=${() => this.#extension?.post({ type: 'cancel' })}>Cancel Invite</vscode-button></div>
    `;
  }

  #ended({ invite, outcome, claimedBy, hostName, revoked }: Ended): TemplateResult {
    const again = html`<vscode-button class="again" ?secondary=${!revoked && claimedBy !== null} @click=${() => this.#extension?.post({ type: 'again' })}>New Invite</vscode-button>`;
    if (claimedBy === null) return html`<h1 tabindex="-1">${endings[outcome].title}</h1><p>${endings[outcome].text}</p>${this.#tried(invite.wrongCodes)}<div class="buttons">${again}</div>`;
    return html`
      <h1 tabindex="-1">${revoked ? `${claimedBy.name} is not trusted any more` : `${claimedBy.name} was let in`}</h1>
      ${revoked
        ? html`<p>Whatever it had open at ${hostName} has ended.</p>`
        : html`<p>It may ${mayDo[invite.role]}. The other side must show these words, too:</p>
            <p class="words" aria-label="Words that both sides show">${claimedBy.words}</p>
            <p>If it shows others, or you do not know it, somebody else has used the invite: revoke it at once.</p>`}
      ${facts(invite, html`<dt>Key</dt><dd class="key">${claimedBy.id}</dd>`)} ${this.#tried(invite.wrongCodes)}
      <div class="buttons">${revoked ? nothing : html`<vscode-button class="revoke" secondary @click=${() => this.#extension?.post({ type: 'revoke' })}>Revoke…</vscode-button>`}${again}</div>
    `;
  }

  #tried(wrongCodes: number): TemplateResult | typeof nothing {
    if (wrongCodes === 0) return nothing;
    return html`<p class="banner" role="alert">${wrongCodes === 1 ? 'A wrong code was tried once' : `Wrong codes were tried ${wrongCodes} times`}. If that was no slip of whom you invited, somebody else is trying to get in. After three the invite is void.</p>`;
  }

  #copyButton(what: 'link' | 'code', label: string): TemplateResult {
    return html`<vscode-button class="copy-${what}" secondary @click=${() => this.#copy(what)}>${this.#copied === what ? 'Copied' : label}</vscode-button>`;
  }

  #copy(what: 'link' | 'code'): void {
    this.#extension?.post({ type: 'copy', what });
    this.#copied = what;
    this.#announcement = what === 'code' ? 'The code is on the clipboard.' : 'The link is on the clipboard.';
    this.requestUpdate();
  }

  #pictureOf(link: string): Element {
    if (this.#picture?.link !== link) {
      const { documentElement } = new DOMParser().parseFromString(qrSvg(link), 'image/svg+xml');
      this.#picture = { link, element: document.importNode(documentElement, true) };
    }
    return this.#picture.element;
  }

  #received(state: InviteViewState): void {
    const isNew = state.kind !== this.#state?.kind;
    this.#state = state;
    if (isNew) {
      this.#copied = null;
      this.#announcement = state.kind === 'open' ? 'The invite is made.' : state.kind === 'ended' ? endings[state.outcome].title : '';
      if (state.kind !== 'open') this.#picture = undefined;
    }
    window.clearInterval(this.#tick);
    if (state.kind === 'open') this.#tick = window.setInterval(() => this.requestUpdate(), SECOND_MS);
    this.requestUpdate();
    // What had the focus is gone with what was shown before.
    if (isNew) void this.updateComplete.then(() => this.querySelector<HTMLElement>('h1')?.focus());
  }
}

const endings: Readonly<Record<Ended['outcome'], { title: string; text: string }>> = {
  claimed: { title: 'The invite was used', text: '' },
  expired: { title: 'The invite has expired', text: 'Nobody used it in time, and nobody can use it any more.' },
  cancelled: { title: 'The invite is cancelled', text: 'Nobody was let in, and nobody can use it any more.' },
  void: { title: 'The invite is void', text: 'It was tried with something wrong: with three wrong codes, or with a link that was cut off or changed. Nobody was let in.' },
  lost: { title: 'The invite is gone', text: 'The host ended, and its invites with it. Nobody can use it any more.' },
};

function facts({ thread, accessMs }: Open['invite'], more: TemplateResult): TemplateResult {
  return html`<dl class="facts">
    <dt>Threads</dt><dd>${thread ?? 'All'}</dd>
    <dt>Lets in</dt><dd>${accessMs === null ? 'For good, until revoked' : `For ${durationWords(accessMs)}`}</dd>
    ${more}
  </dl>`;
}
