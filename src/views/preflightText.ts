import type { Finding, HandoffPhase, HandoffPreflight, HandoffResult } from '../host/protocol';
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
}

const findingOrder: readonly Finding['level'][] = ['blocker', 'warning', 'ok'];
const findingIcons: Readonly<Record<Finding['level'], string>> = { blocker: 'error', warning: 'warning', ok: 'pass' };

/** What a preflight found, in the order in which it matters: whether one may go on, what would travel, then the findings with the worst first. */
export function preflightText(preflight: HandoffPreflight, t: Translate): PreflightText {
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
  return [summary, ...result.notes.map((note) => plainLabel(note, 300))].join(' ');
}
