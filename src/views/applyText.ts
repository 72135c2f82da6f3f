import type { ApplyResult } from '../host/protocol';
import { plainLabel, type Translate } from './displayText';

export type ApplyChoice = 'apply' | 'merge';

/** A line of what applying would do; one with a `value` can be chosen. `icon` is the id of a codicon. */
export interface ApplyLine {
  readonly icon: string;
  readonly label: string;
  readonly description?: string;
  readonly detail?: string;
  readonly value?: ApplyChoice;
}

/** So many paths are shown before the user agrees; the others are counted. */
const SHOWN_PATHS = 200;
const icons = { added: 'diff-added', changed: 'diff-modified', deleted: 'diff-removed' } as const;
/** What a merge can do something about. */
const mergeable = ['target-changed', 'target-ahead', 'diverged', 'other-branch'];

/** What can be chosen, and below it what would change, or why it cannot be. */
export function applyLines(plan: ApplyResult, t: Translate): ApplyLine[] {
  if (plan.how === 'same') return [{ icon: 'check', label: t('Your checkout has this state already.') }];
  if (plan.refused !== null) {
    return [
      { icon: 'error', label: t('It cannot be applied as it is.'), detail: plainLabel(plan.refused.message, 600) },
      ...(mergeable.includes(plan.refused.reason) && plan.how === 'replace' ? [{ icon: 'git-merge', label: t('Merge with what is there…'), value: 'merge' as const }] : []),
      ...plan.conflicts.slice(0, SHOWN_PATHS).map((path) => ({ icon: 'warning', label: plainLabel(path, 200) })),
    ];
  }
  const verb = plan.how === 'merge' ? t('Merge into {0}', plan.checkout) : t('Apply to {0}', plan.checkout);
  const branch = plainLabel(plan.head?.branch?.replace(/^refs\/heads\//, '') ?? 'HEAD', 80);
  const paths = plan.changes.slice(0, SHOWN_PATHS);
  return [
    { icon: 'check', label: plainLabel(verb, 200), description: plan.changeCount === 1 ? t('one path changes') : t('{0} paths change', plan.changeCount), value: 'apply' },
    ...(plan.head === null ? [] : [{ icon: 'git-commit', label: plan.head.commits === 1 ? t('{0} goes one commit forward', branch) : t('{0} goes {1} commits forward', branch, plan.head.commits) }]),
    ...plan.notes.map((note) => ({ icon: 'info', label: plainLabel(note, 300) })),
    ...paths.map(({ path, change }) => ({ icon: icons[change], label: plainLabel(path, 200) })),
    ...(plan.changeCount > paths.length ? [{ icon: 'ellipsis', label: t('and {0} more', plan.changeCount - paths.length) }] : []),
  ];
}
