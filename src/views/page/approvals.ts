import { html, nothing, type TemplateResult } from 'lit';
import { repeat } from 'lit/directives/repeat.js';
import type { Approval, ApprovalDecision } from '../../host/protocol';
import { visibleText } from '../displayText';
import { diffView } from './diff';

/** What the user decided on an approval; `answers` by the id of the question. */
export type Decide = (approval: Approval, decision: ApprovalDecision, answers?: Record<string, string[]>) => void;

const titles: Readonly<Record<Approval['kind'], string>> = {
  command: 'Run this command?',
  fileChange: 'Change these files?',
  permissions: 'Grant these permissions?',
  userInput: 'The agent asks',
  elicitation: 'A tool asks',
};

/**
 * The pending approvals. Each shows all that is decided on: host, directory, the full command or diff, and the start of
 * the digest that the decision will name. `busy` holds the ids of those whose decision is on its way.
 */
export function approvalCards(approvals: readonly Approval[], hostName: string, busy: ReadonlySet<string>, decide: Decide): TemplateResult {
  return html`${repeat(
    approvals,
    (approval) => approval.id,
    (approval) => approvalCard(approval, hostName, busy.has(approval.id), decide),
  )}`;
}

function approvalCard(approval: Approval, hostName: string, busy: boolean, decide: Decide): TemplateResult {
  const heading = `approval-${approval.id}`;
  return html`<form class="approval" aria-labelledby=${heading} data-approval-id=${approval.id} @submit=${(event: Event) => event.preventDefault()}>
    <h2 id=${heading}>${titles[approval.kind]}</h2>
    ${approval.reason === null ? nothing : html`<p class="reason">${visibleText(approval.reason)}</p>`}
    ${approval.command === null ? nothing : html`<pre class="approval-command" tabindex="0" aria-label="Command">${visibleText(approval.command)}</pre>`}
    ${approval.changes.map(({ path, kind, movePath, diff }) => diffView({ path: visibleText(path), diff: visibleText(diff), change: kind, movedTo: movePath === null ? null : visibleText(movePath) }, approval.cwd ?? '', true))}
    ${isUnseen(approval) ? html`<p>The changes could not be found out, so they can only be rejected.</p>` : nothing}
    ${approval.request === null ? nothing : html`<pre class="approval-request" tabindex="0" aria-label="Request">${visibleText(approval.request)}</pre>`}
    ${approval.questions.map((question) => questionView(approval.id, question))}
    <dl class="facts">
      <dt>Host</dt>
      <dd>${hostName}</dd>
      ${approval.cwd === null ? nothing : html`<dt>Directory</dt><dd class="path">${visibleText(approval.cwd)}</dd>`}
      <dt>Digest</dt>
      <dd><code title=${approval.digest}>${approval.digest.slice(0, 12)}</code></dd>
    </dl>
    ${approval.carriedOver ? html`<p class="muted">It was pending when the thread moved here.</p>` : nothing}
    <div class="buttons">${approval.questions.length > 0 ? answerButtons(approval, busy, decide) : decisionButtons(approval, busy, decide)}</div>
  </form>`;
}

/** Nobody accepts changes that are not shown; Codex asks for none without any. */
const isUnseen = ({ kind, changes }: Approval): boolean => kind === 'fileChange' && changes.length === 0;

function decisionButtons(approval: Approval, busy: boolean, decide: Decide): TemplateResult {
  const reject = html`<vscode-button secondary ?disabled=${busy} @click=${() => decide(approval, 'decline')}>Reject</vscode-button>`;
  if (isUnseen(approval)) return reject;
  return html`
    <vscode-button ?disabled=${busy} @click=${() => decide(approval, 'accept')}>Approve</vscode-button>
    ${approval.kind === 'elicitation' ? nothing : html`<vscode-button secondary ?disabled=${busy} @click=${() => decide(approval, 'acceptForSession')}>Approve for Session</vscode-button>`}
    ${reject}
  `;
}

function answerButtons(approval: Approval, busy: boolean, decide: Decide): TemplateResult {
  const send = (event: Event) => {
    const form = (event.currentTarget as HTMLElement).closest('form');
    if (form === null) return;
    const answers = Object.fromEntries(approval.questions.map(({ id }) => [id, answersOf(form, fieldName(approval.id, id))]));
    const missing = approval.questions.find(({ id }) => answers[id]?.length === 0);
    if (missing === undefined) decide(approval, 'accept', answers);
    else form.querySelector<HTMLElement>(`[name="${CSS.escape(fieldName(approval.id, missing.id))}"]`)?.focus();
  };
  return html`<vscode-button ?disabled=${busy} @click=${send}>Answer</vscode-button> <vscode-button secondary ?disabled=${busy} @click=${() => decide(approval, 'decline')}>Do Not Answer</vscode-button>`;
}

function questionView(approvalId: string, question: Approval['questions'][number]): TemplateResult {
  const name = fieldName(approvalId, question.id);
  return html`<fieldset class="question">
    <legend>${visibleText(question.header === '' ? question.question : `${question.header}: ${question.question}`)}</legend>
    ${question.options.map((option) => html`<label><input type="radio" name=${name} .value=${option} /> ${visibleText(option)}</label>`)}
    <input class="answer" type=${question.secret ? 'password' : 'text'} autocomplete="off" name=${name} aria-label=${question.options.length === 0 ? 'Answer' : 'Another answer'} placeholder=${question.options.length === 0 ? 'Answer' : 'Another answer'} />
  </fieldset>`;
}

function fieldName(approvalId: string, questionId: string): string {
  return `${approvalId}/${questionId}`;
}

/** What was typed, else what was chosen. */
function answersOf(form: HTMLFormElement, name: string): string[] {
  const fields = [...form.querySelectorAll<HTMLInputElement>(`input[name="${CSS.escape(name)}"]`)];
  const typed = fields.find((field) => field.type !== 'radio')?.value.trim() ?? '';
  if (typed !== '') return [typed];
  return fields.filter((field) => field.type === 'radio' && field.checked).map((field) => field.value);
}
