import { html, type TemplateResult } from 'lit';
import { diffLines } from '../diffLines';
import type { ViewChange } from '../threadMessages';

const changeWords = { add: 'added', delete: 'deleted', update: 'changed' } as const;
const signs = { added: '+', removed: '−', context: ' ', hunk: '' } as const;

/** One file's change with a heading; `open` shows its lines at once. Paths below `cwd` are shown from there. */
export function diffView(change: ViewChange, cwd: string, open: boolean): TemplateResult {
  const lines = diffLines(change);
  const added = lines.filter((line) => line.kind === 'added').length;
  const removed = lines.filter((line) => line.kind === 'removed').length;
  return html`<details class="diff" ?open=${open}>
    <summary>
      <span class="path">${below(cwd, change.path)}</span>${change.movedTo === null ? null : html` <span class="path">→ ${below(cwd, change.movedTo)}</span>`}
      <span class="muted">${changeWords[change.change]}</span>
      <span class="added-count" aria-label="${added} lines added">+${added}</span>
      <span class="removed-count" aria-label="${removed} lines removed">−${removed}</span>
    </summary>
    <div class="diff-lines" tabindex="0" role="region" aria-label="Diff of ${change.path}">
      ${lines.map((line) => html`<div class="diff-line ${line.kind}"><span class="sign">${signs[line.kind]}</span><span class="text">${line.text}</span></div>`)}
    </div>
  </details>`;
}

function below(cwd: string, path: string): string {
  return cwd !== '' && path.startsWith(cwd) && /^[/\\]./.test(path.slice(cwd.length)) ? path.slice(cwd.length + 1) : path;
}
