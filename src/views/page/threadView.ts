import { html, LitElement, nothing, type PropertyValues, type TemplateResult } from 'lit';
import { live } from 'lit/directives/live.js';
import type { Approval, ApprovalDecision } from '../../host/protocol';
import type { Activity, MessageFromPage, MessageToPage, ThreadDelta, ThreadViewState } from '../threadMessages';
import { applyDelta } from '../threadViewState';
import { approvalCards } from './approvals';
import { planView } from './plan';
import { transcript } from './transcript';
import type { ThreadExtension } from './vscodeApi';

const activityWords: Readonly<Record<Activity, string>> = {
  idle: 'idle',
  running: 'running',
  waitingOnApproval: 'approval pending',
  waitingOnUserInput: 'waiting for an answer',
  moving: 'moving to another host',
  moved: 'moved',
  failed: 'failed',
};
/** A view this close to its end follows what is added. */
const FOLLOW_WITHIN_PX = 48;

type Action = MessageFromPage extends infer M ? (M extends { requestId: number } ? Omit<M, 'requestId'> : never) : never;

/** The page of a thread panel: transcript, plan, pending approvals and composer, in the light DOM under one style sheet. */
export class ThreadView extends LitElement {
  #extension: ThreadExtension | undefined;
  #state: ThreadViewState | undefined;
  #sequence = 0;
  #unavailable: string | undefined;
  #problem: string | undefined;
  #announcement = '';
  #draft = '';
  #nextRequest = 0;
  #follows = true;
  #observed: Element | null = null;
  /** Controls take their size after the render, so it is the content's size that is followed. */
  readonly #resized = new ResizeObserver(() => {
    const main = this.querySelector('main');
    if (main !== null && this.#follows) main.scrollTop = main.scrollHeight;
  });
  readonly #busyApprovals = new Set<string>();
  readonly #waiting = new Map<number, (error: string | null) => void>();

  protected override createRenderRoot(): HTMLElement {
    return this;
  }

  start(extension: ThreadExtension): void {
    this.#extension = extension;
    this.#draft = extension.draft();
    this.#keep();
    extension.onMessage((message) => this.#received(message));
    extension.post({ type: 'ready' });
  }

  protected override render(): TemplateResult {
    if (this.#unavailable !== undefined && this.#state === undefined) return html`<main class="unavailable" role="alert"><p>${this.#unavailable}</p></main>`;
    const state = this.#state;
    if (state === undefined) return html`<main class="loading"><vscode-progress-ring aria-label="Loading the thread"></vscode-progress-ring></main>`;
    return html`
      <header>
        <h1>${state.title}</h1>
        <p class="muted"><span class="activity ${state.activity}">${state.movedTo === null ? activityWords[state.activity] : `moved to ${state.movedTo}`}</span> · ${state.hostName} · <span class="path">${state.cwd}</span></p>
        ${state.connected ? nothing : html`<p class="banner" role="status">Not connected to the host. What is shown may be old.</p>`} ${state.plan === null || state.plan.steps.length === 0 ? nothing : planView(state.plan)}
      </header>
      <main aria-label="Transcript" tabindex="-1" @scroll=${this.#scrolled}>
        <div class="content">
          ${state.hasEarlierTurns ? html`<p class="earlier"><vscode-button secondary @click=${() => void this.#act({ type: 'loadEarlier' })}>Show Earlier Turns</vscode-button></p>` : nothing}
          ${state.turns.length === 0 ? html`<p class="muted">No turns yet.</p>` : transcript(state.turns, state.cwd)}
          ${approvalCards(state.approvals, state.hostName, this.#busyApprovals, (approval, decision, answers) => void this.#decide(approval, decision, answers))}
        </div>
      </main>
      <footer>${this.#problem === undefined ? nothing : html`<p class="error" role="alert">${this.#problem}</p>`} ${this.#composer(state)}</footer>
      <div class="screen-reader-only" role="status" aria-live="polite">${this.#announcement}</div>
    `;
  }

  protected override updated(changed: PropertyValues): void {
    super.updated(changed);
    const content = this.querySelector('.content');
    if (content === this.#observed) return;
    this.#resized.disconnect();
    this.#observed = content;
    if (content !== null) this.#resized.observe(content);
  }

  #composer(state: ThreadViewState): TemplateResult {
    if (state.movedTo !== null) return html`<p class="muted">This thread is now on ${state.movedTo}. What is shown here is the copy that stayed.</p>`;
    const running = state.activity === 'running' || state.activity === 'waitingOnApproval' || state.activity === 'waitingOnUserInput';
    const blocked = !state.connected || state.activity === 'moving';
    return html`<div class="composer">
      <textarea
        aria-label="Message to the agent"
        placeholder=${running ? 'Steer the running turn' : 'Message to the agent'}
        .value=${live(this.#draft)}
        ?disabled=${blocked}
        @input=${this.#typed}
        @keydown=${this.#key}
      ></textarea>
      <div class="buttons">
        <vscode-button ?disabled=${blocked} @click=${() => void this.#send()}>Send</vscode-button>
        ${running ? html`<vscode-button secondary ?disabled=${blocked} @click=${() => void this.#act({ type: 'interrupt' })}>Stop</vscode-button>` : nothing}
      </div>
    </div>`;
  }

  #received(message: MessageToPage): void {
    switch (message.type) {
      case 'snapshot':
        this.#state = message.state;
        this.#sequence = message.sequence;
        this.#unavailable = undefined;
        break;
      case 'delta':
        if (this.#state === undefined || message.sequence <= this.#sequence) return;
        if (message.sequence !== this.#sequence + 1) {
          this.#extension?.post({ type: 'resync' });
          return;
        }
        this.#sequence = message.sequence;
        this.#announce(message.delta);
        this.#state = applyDelta(this.#state, message.delta);
        break;
      case 'unavailable':
        this.#unavailable = message.message;
        break;
      case 'settled':
        this.#waiting.get(message.requestId)?.(message.error);
        this.#waiting.delete(message.requestId);
        break;
    }
    this.requestUpdate();
  }

  /** Says aloud what a user waits for; everything else can be read in the transcript. */
  #announce(delta: ThreadDelta): void {
    if (delta.type === 'turnEnded') this.#announcement = `The turn ${delta.status === 'completed' ? 'has ended' : delta.status === 'failed' ? 'has failed' : 'was interrupted'}.`;
    if (delta.type === 'approvalRequested') this.#announcement = `Approval requested: ${delta.approval.command ?? delta.approval.reason ?? delta.approval.kind}`;
  }

  /** Sends an action to the extension and waits for its end; resolves to whether it worked. */
  async #act(action: Action): Promise<boolean> {
    const requestId = (this.#nextRequest += 1);
    this.#problem = undefined;
    const error = await new Promise<string | null>((resolve) => {
      this.#waiting.set(requestId, resolve);
      this.#extension?.post({ ...action, requestId });
    });
    this.#problem = error ?? undefined;
    this.requestUpdate();
    return error === null;
  }

  async #send(): Promise<void> {
    const text = this.#draft.trim();
    if (text === '') return;
    this.#follows = true;
    this.#setDraft('');
    // Nothing that was written is lost where it could not be sent.
    if (!(await this.#act({ type: 'send', text })) && this.#draft === '') this.#setDraft(text);
  }

  async #decide(approval: Approval, decision: ApprovalDecision, answers?: Record<string, string[]>): Promise<void> {
    if (this.#busyApprovals.has(approval.id)) return;
    this.#busyApprovals.add(approval.id);
    this.requestUpdate();
    const decided = await this.#act({ type: 'decide', id: approval.id, digest: approval.digest, decision, ...(answers === undefined ? {} : { answers }) });
    this.#busyApprovals.delete(approval.id);
    this.requestUpdate();
    if (!decided) return;
    // The button that had the focus is gone with its card.
    await this.updateComplete;
    (this.querySelector<HTMLElement>('.approval vscode-button') ?? this.querySelector('textarea'))?.focus();
  }

  readonly #typed = (event: Event): void => {
    this.#draft = (event.target as HTMLTextAreaElement).value;
    this.#keep();
  };

  readonly #key = (event: KeyboardEvent): void => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    void this.#send();
  };

  readonly #scrolled = (event: Event): void => {
    const main = event.currentTarget as HTMLElement;
    this.#follows = main.scrollHeight - main.scrollTop - main.clientHeight < FOLLOW_WITHIN_PX;
  };

  #setDraft(text: string): void {
    this.#draft = text;
    this.#keep();
    this.requestUpdate();
  }

  #keep(): void {
    this.#extension?.keep({ threadId: this.dataset['threadId'] ?? '', draft: this.#draft });
  }
}
