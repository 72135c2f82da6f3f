import { html, nothing, type TemplateResult } from 'lit';
import type { Role } from '../../host/protocol';
import type { InviteViewState, InviteWish } from '../inviteMessages';
import { durationWords, mayDo } from './inviteText';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

const roles: readonly (readonly [role: Role, label: string, about: string])[] = [
  ['peer', 'Host of your own', `May ${mayDo.peer}`],
  ['viewer', 'Viewer', `May ${mayDo.viewer}, and change nothing`],
  ['approver', 'Approver', `May ${mayDo.approver}`],
  ['operator', 'Operator', `May ${mayDo.operator}`],
];
const accessTimes = [null, HOUR_MS, 8 * HOUR_MS, DAY_MS, 7 * DAY_MS, 30 * DAY_MS];
const lifetimes = [5 * MINUTE_MS, 10 * MINUTE_MS, 30 * MINUTE_MS, HOUR_MS];
const USUAL_LIFETIME_MS = 10 * MINUTE_MS;

/** The choice of what an invite is to be: as `baton invite` offers it. */
export function inviteForm({ hostName, threads, busy, problem }: Extract<InviteViewState, { kind: 'form' }>, make: (wish: InviteWish) => void): TemplateResult {
  const submit = (event: Event) => {
    event.preventDefault();
    const form = (event.currentTarget as HTMLElement).closest('form');
    if (form !== null && !busy) make(wishOf(new FormData(form)));
  };
  // For another host there is nothing to limit: it takes part in handoffs of whatever thread.
  const roleChosen = (event: Event) => {
    const { value, form } = event.currentTarget as HTMLInputElement;
    const thread = form?.querySelector<HTMLSelectElement>('[name=thread]');
    if (thread == null) return;
    thread.disabled = value === 'peer';
    if (thread.disabled) thread.value = '';
  };
  return html`
    <h1 tabindex="-1">Invite to ${hostName}</h1>
    <form @submit=${submit}>
      <fieldset>
        <legend>Whom</legend>
        ${roles.map(([role, label, about], index) => html`<label class="role"><input type="radio" name="role" value=${role} ?checked=${index === 0} @change=${roleChosen} /><span><strong>${label}</strong><span class="muted">${about}</span></span></label>`)}
      </fieldset>
      <div class="choices">
        <label>Threads<select name="thread" disabled><option value="">All threads</option>${threads.map(({ id, name }) => html`<option value=${id}>${name}</option>`)}</select></label>
        <label>Lets in<select name="access">${accessTimes.map((time) => html`<option value=${time ?? ''}>${time === null ? 'For good' : `For ${durationWords(time)}`}</option>`)}</select></label>
        <label>Can be used for<select name="lifetime">${lifetimes.map((time) => html`<option value=${time} ?selected=${time === USUAL_LIFETIME_MS}>${durationWords(time)}</option>`)}</select></label>
      </div>
      ${problem === null ? nothing : html`<p class="error" role="alert">${problem}</p>`}
      <div class="buttons"><vscode-button class="make" type="button" ?disabled=${busy} @click=${submit}>${busy ? 'Making the Invite…' : 'Make Invite'}</vscode-button></div>
    </form>
  `;
}

function wishOf(given: FormData): InviteWish {
  const text = (name: string): string => {
    const value = given.get(name);
    return typeof value === 'string' ? value : '';
  };
  return { role: text('role') as Role, threadId: text('thread') === '' ? null : text('thread'), accessMs: text('access') === '' ? null : Number(text('access')), lifetimeMs: Number(text('lifetime')) };
}
