import type { DivergenceChoice, Finding, HandoffPhase, HandoffPreflight, HandoffResult, IncludedList } from '../host/protocol';
import { byteText, durationText, plainLabel, type Translate } from './displayText';

/** One line of the preflight as it is shown: a fact about what would travel, or a finding. */
export interface PreflightLine {
  readonly label: string;
  readonly description: string;
  /** Id of a codicon. */
  readonly icon: string;
}

export interface PreflightText {
  /** No blocker: the handoff may be started. */
  readonly mayStart: boolean;
  readonly action: PreflightLine;
  readonly facts: readonly PreflightLine[];
  readonly findings: readonly PreflightLine[];
  /** Ignored files that could travel too: whether they do, and their names. Null where none is listed. */
  readonly included: { readonly choice: PreflightLine; readonly refused: boolean; readonly files: readonly PreflightLine[] } | null;
}

const findingOrder: readonly Finding['level'][] = ['blocker', 'warning', 'ok'];
const findingIcons: Readonly<Record<Finding['level'], string>> = { blocker: 'error', warning: 'warning', ok: 'pass' };

/** What a preflight found, in the order in which it matters: whether one may go on, what would travel, then the findings with the worst first. */
export function preflightText(preflight: HandoffPreflight, t: Translate, withIncluded = false): PreflightText {
  const blockers = preflight.findings.filter((finding) => finding.level === 'blocker').length;
  const warnings = preflight.findings.filter((finding) => finding.level === 'warning').length;
  const name = plainLabel(preflight.destinationName, 64);
  const mayStart = blockers === 0;
  const fact = (label: string, value: string, icon: string): PreflightLine => ({ label, description: value, icon });
  return {
    mayStart,
    action: mayStart
      ? { icon: 'arrow-right', label: t('Hand off to {0}', name), description: warnings === 0 ? '' : warnings === 1 ? t('with 1 warning') : t('with {0} warnings', warnings) }
      : { icon: 'circle-slash', label: t('Cannot hand off to {0}', name), description: blockers === 1 ? t('1 blocker') : t('{0} blockers', blockers) },
    facts: [
      fact(t('Destination'), name, 'vm-active'),
      ...(preflight.worktree === null ? [] : [fact(t('Worktree'), plainLabel(preflight.worktree, 400), 'repo')]),
      fact(t('Branch'), preflight.branch === null ? t('detached HEAD') : plainLabel(preflight.branch), 'git-branch'),
      fact(t('Commits'), String(preflight.commits), 'git-commit'),
      fact(t('Files'), String(preflight.files), 'files'),
      fact(t('Size'), t('about {0}', byteText(preflight.bytes)), 'database'),
    ],
    findings: preflight.findings
      .toSorted((a, b) => findingOrder.indexOf(a.level) - findingOrder.indexOf(b.level))
      .map((finding) => ({ icon: findingIcons[finding.level], label: plainLabel(finding.message, 1000), description: levelText(finding.level, t) })),
    included: preflight.included == null ? null : includedText(preflight.included, withIncluded, t),
  };
}

/** The choices where both sides of a thread changed since its last handoff; nothing where they did not. */
export function divergenceText(preflight: HandoffPreflight, chosen: DivergenceChoice | undefined, t: Translate): (PreflightLine & { readonly choice: DivergenceChoice | 'abort' })[] {
  const { choices = [], destinationName } = preflight;
  if (choices.length === 0) return [];
  const name = plainLabel(destinationName, 64);
  const line = (choice: DivergenceChoice, label: string) => ({ choice, label, icon: choice === chosen ? 'pass-filled' : 'circle-large-outline', description: choice === chosen ? t('chosen') : '' });
  return [
    ...(choices.includes('second-worktree') ? [line('second-worktree', t('Go on in a second worktree, and leave what {0} has as it is', name))] : []),
    ...(choices.includes('fork') ? [line('fork', t('Keep both: one of them becomes a thread of its own (a fork)'))] : []),
    { choice: 'abort', label: t('Hand nothing off'), icon: 'circle-slash', description: '' },
  ];
}

function includedText({ files, bytes, names, secrets, left, refused }: IncludedList, withIncluded: boolean, t: Translate): PreflightText['included'] {
  if (refused !== null) return { refused: true, choice: { icon: 'circle-slash', label: t('Ignored files cannot travel too'), description: plainLabel(refused, 600) }, files: [] };
  if (files === 0) return null;
  const label = files === 1 ? t('Also send 1 ignored file ({0})', byteText(bytes)) : t('Also send {0} ignored files ({1})', files, byteText(bytes));
  const secret = secrets.count === 0 ? t('off') : secrets.count === 1 ? t('off; 1 looks like a secret') : t('off; {0} look like secrets', secrets.count);
  const looksSecret = new Set(secrets.names);
  const file = (name: string): PreflightLine => (looksSecret.has(name) ? { icon: 'key', label: plainLabel(name, 400), description: t('looks like a secret') } : { icon: 'file', label: plainLabel(name, 400), description: '' });
  // Those that matter most may be beyond the names that are shown first.
  const shown = [...secrets.names, ...names.filter((name) => !looksSecret.has(name))];
  return {
    refused: false,
    choice: withIncluded ? { icon: 'pass-filled', label, description: t('on: they are sent to the other host') } : { icon: 'circle-large-outline', label, description: secret },
    files: [
      ...shown.map(file),
      ...(files > shown.length ? [{ icon: 'ellipsis', label: t('and {0} more', files - shown.length), description: '' }] : []),
      ...(left === null ? [] : [{ icon: 'info', label: t('Not among them: {0}', plainLabel(left, 600)), description: '' }]),
    ],
  };
}

function levelText(level: Finding['level'], t: Translate): string {
  switch (level) {
    case 'ok':
      return t('OK');
    case 'warning':
      return t('Warning');
    case 'blocker':
      return t('Blocker');
  }
}

/** A phase of a handoff in words, for a progress notification. */
export function phaseText(phase: HandoffPhase, t: Translate): string {
  switch (phase) {
    case 'preflight':
      return t('Checking both hosts');
    case 'quiesce':
      return t('Waiting for the turn to stop');
    case 'capture':
      return t('Capturing the working state');
    case 'transfer':
      return t('Transferring');
    case 'stage':
      return t('Restoring at the destination');
    case 'receipt':
      return t('Checking the receipt');
    case 'commit':
      return t('Committing');
    case 'activate':
      return t('Activating the thread');
  }
}

/** Summary of a finished handoff in one sentence, and its notes. */
export function resultText(result: HandoffResult, title: string, destination: string, t: Translate): string {
  const branch = result.branch === null ? t('detached HEAD') : plainLabel(result.branch, 80);
  const summary = t(
    '“{0}” is now on {1}: {2}, commits: {3}, files: {4}, {5} sent in {6}.',
    plainLabel(title, 60),
    plainLabel(destination, 64),
    branch,
    result.commits,
    result.files,
    byteText(result.bytesSent),
    durationText(result.milliseconds),
  );
  return [summary, ...result.notes.map((note) => plainLabel(note, 600))].join(' ');
}
