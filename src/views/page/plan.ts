import { html, nothing, type TemplateResult } from 'lit';
import type { Plan } from '../../host/protocol';

const words = { pending: 'to do', inProgress: 'in progress', completed: 'done' } as const;
const marks = { pending: '○', inProgress: '◐', completed: '●' } as const;

/** The agent's plan: its steps with their states, in words for those who see no marks. */
export function planView(plan: Plan): TemplateResult {
  const done = plan.steps.filter((step) => step.status === 'completed').length;
  return html`<details class="plan" open>
    <summary>Plan <span class="muted">${done} of ${plan.steps.length} done</span></summary>
    ${plan.explanation === null || plan.explanation === '' ? nothing : html`<p class="muted">${plan.explanation}</p>`}
    <ol>
      ${plan.steps.map((step) => html`<li class="step ${step.status}"><span class="mark" aria-hidden="true">${marks[step.status]}</span><span>${step.step}<span class="screen-reader-only">, ${words[step.status]}</span></span></li>`)}
    </ol>
  </details>`;
}
