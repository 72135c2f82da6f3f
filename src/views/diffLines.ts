import type { ViewChange } from './threadMessages';

export interface DiffLine {
  readonly kind: 'added' | 'removed' | 'context' | 'hunk';
  readonly text: string;
}

/**
 * The lines of one file's change: a unified diff, or the bare content that Codex gives for an added or deleted file. Content
 * is shown whole whatever it looks like: an agent could else hide lines of a file that is to be approved above one that begins with `@@`.
 */
export function diffLines({ diff, change }: Pick<ViewChange, 'diff' | 'change'>): DiffLine[] {
  const lines = diff.replace(/\r?\n$/, '').split(/\r?\n/);
  if (change !== 'update') return lines.map((text) => ({ kind: change === 'add' ? 'added' : 'removed', text }));
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
