import { html, type TemplateResult } from 'lit';
import type { ViewChange } from '../threadMessages';

interface DiffLine {
  readonly kind: 'added' | 'removed' | 'context' | 'hunk';
  readonly text: string;
}

/** The lines of one file's change: a unified diff, or the bare content that Codex gives for an added or deleted file. */
export function diffLines({ diff, change }: Pick<ViewChange, 'diff' | 'change'>): DiffLine[] {
  const lines = diff.replace(/\r?\n$/, '').split(/\r?\n/);
  const isUnified = lines.some((line) => line.startsWith('@@'));
  if (!isUnified && change !== 'update') return lines.map((text) => ({ kind: change === 'add' ? 'added' : 'removed', text }));
  let inHunk = false;
  return lines.flatMap<DiffLine>((line) => {
    if (line.startsWith('@@')) {
      inHunk = true;
      return [{ kind: 'hunk', text: line }];
    }
    // Before the first hunk stand the names of the files, which the heading shows already.
    if (!inHunk) return [];
    if (line.startsWith('+')) return [{ kind: 'added', text: line.slice(1) }];
    if (line.startsWith('-')) return [{ kind: 'removed', text: line.slice(1) }];
    return line.startsWith('\\') ? [] : [{ kind: 'context', text: line.slice(1) }];
  });
}

const changeWords = { add: 'added', delete: 'deleted', update: 'changed' } as const;
const signs = { added: '+', removed: '−', context: ' ', hunk: '' } as const;

/** One file's change with a heading; `open` shows its lines at once. */
export function diffView(change: ViewChange, open: boolean): TemplateResult {
  const lines = diffLines(change);
  const added = lines.filter((line) => line.kind === 'added').length;
  const removed = lines.filter((line) => line.kind === 'removed').length;
  return html`<details class="diff" ?open=${open}>
    <summary>
      <span class="path">${change.path}</span>${change.movedTo === null ? null : html` <span class="path">→ ${change.movedTo}</span>`}
      <span class="muted">${changeWords[change.change]}</span>
      <span class="added-count" aria-label="${added} lines added">+${added}</span>
      <span class="removed-count" aria-label="${removed} lines removed">−${removed}</span>
    </summary>
    <div class="diff-lines" tabindex="0" role="region" aria-label="Diff of ${change.path}">
      ${lines.map((line) => html`<div class="diff-line ${line.kind}"><span class="sign">${signs[line.kind]}</span><span class="text">${line.text}</span></div>`)}
    </div>
  </details>`;
}
