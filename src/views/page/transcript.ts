import { html, nothing, type TemplateResult } from 'lit';
import { guard } from 'lit/directives/guard.js';
import { repeat } from 'lit/directives/repeat.js';
import type { RunStatus, ViewItem, ViewTurn } from '../threadMessages';
import { diffView } from './diff';
import { markdownFragment } from './markdown';

/** The turns of a thread that works in `cwd`. An item is rendered again only when it changed: items are never changed in place. */
export function transcript(turns: readonly ViewTurn[], cwd: string): TemplateResult {
  return html`${repeat(
    turns,
    (turn) => turn.id,
    (turn) => html`<section class="turn" aria-label="Turn, ${turnWords[turn.status]}">
      ${repeat(
        turn.items,
        (item) => item.id,
        (item) => guard([item], () => itemView(item, cwd)),
      )}
      ${turnEnd(turn)}
    </section>`,
  )}`;
}

const turnWords = { inProgress: 'running', completed: 'completed', interrupted: 'interrupted', failed: 'failed' } as const;
const statusWords: Readonly<Record<RunStatus, string>> = { inProgress: 'running', completed: 'done', failed: 'failed', declined: 'rejected' };

function turnEnd(turn: ViewTurn): TemplateResult | typeof nothing {
  switch (turn.status) {
    case 'completed':
      return nothing;
    case 'inProgress':
      return html`<p class="working"><vscode-progress-ring aria-label="The turn is running"></vscode-progress-ring> <span class="muted">Working…</span></p>`;
    case 'interrupted':
      return html`<p class="turn-end muted">Interrupted</p>`;
    case 'failed':
      return html`<p class="turn-end error">${turn.error ?? 'The turn failed.'}</p>`;
  }
}

function itemView(item: ViewItem, cwd: string): TemplateResult {
  switch (item.kind) {
    case 'userMessage':
      return html`<article class="message user" aria-label="You">${markdownFragment(item.text)}</article>`;
    case 'agentMessage':
      return html`<article class="message agent" aria-label="Agent">${markdownFragment(item.text)}</article>`;
    case 'reasoning':
      return html`<details class="reasoning"><summary>Reasoning</summary><div class="message">${markdownFragment(item.text)}</div></details>`;
    case 'plan':
      return html`<article class="message proposed-plan" aria-label="Proposed plan">${markdownFragment(item.text)}</article>`;
    case 'command':
      return commandView(item);
    case 'fileChange':
      return html`<div class="file-change">
        ${item.status === 'completed' ? nothing : html`<span class="status ${item.status}">File change ${statusWords[item.status]}</span>`} ${item.changes.map((change) => diffView(change, cwd, false))}
      </div>`;
    case 'note':
      return html`<p class="note muted">${item.label}${item.status === null ? nothing : html` <span class="status ${item.status}">${statusWords[item.status]}</span>`}</p>`;
  }
}

function commandView(item: Extract<ViewItem, { kind: 'command' }>): TemplateResult {
  const outcome = item.exitCode !== null && item.exitCode !== 0 ? `exit code ${item.exitCode}` : statusWords[item.status];
  const head = html`<code class="command-line">${item.command}</code> <span class="status ${item.status}">${outcome}</span>`;
  if (item.output === '') return html`<div class="command">${head}</div>`;
  return html`<details class="command">
    <summary>${head}</summary>
    ${item.omittedCharacters > 0 ? html`<p class="muted">${item.omittedCharacters} characters before this are not shown.</p>` : nothing}
    <pre class="output" tabindex="0" aria-label="Output of ${item.command}">${item.output}</pre>
  </details>`;
}
