import type { DivergenceChoice, HandoffPreflight, HostSummary, Thread } from '../host/protocol';
import * as vscode from 'vscode';
import type { HostClient } from '../host/hostClient';
import { plainLabel } from './displayText';
import type { OpenRepositories, OpenRepository } from './openRepositories';
import type { PendingApprovals } from './pendingApprovals';
import type { StepItem } from './pickSteps';
import { divergenceText, preflightText, type PreflightLine } from './preflightText';
import { hasMoved, listThreads } from './threadList';
import { t } from './translate';
import { hostText, threadText } from './treeText';

/** What is handed off: a thread, or an open repository in which none began yet. */
export type HandoffSubject = { readonly kind: 'thread'; readonly thread: Thread } | { readonly kind: 'directory'; readonly repository: OpenRepository };

/** The threads that can be handed off from here, those of the open repositories first, and the open repositories themselves. */
export async function subjectItems(client: HostClient, repositories: OpenRepositories, approvals: PendingApprovals): Promise<StepItem<HandoffSubject>[]> {
  const threads = (await listThreads(client)).filter((thread) => !hasMoved(thread));
  const inOpen = await Promise.all(threads.map((thread) => repositories.includes(thread.cwd)));
  const item = (thread: Thread): StepItem<HandoffSubject> => {
    const { label, description, icon } = threadText(thread, approvals.countOf(thread.id), t);
    return { label: `$(${icon}) ${label}`, description, detail: plainLabel(thread.cwd, 200), value: { kind: 'thread', thread } };
  };
  return [
    ...section(t('this repository'), [
      ...threads.filter((_, index) => inOpen[index]).map(item),
      ...repositories.all.map((repository) => ({
        label: `$(add) ${t('Start in this repository without a thread')}`,
        description: repository.branch === undefined ? t('detached HEAD') : plainLabel(repository.branch, 80),
        detail: plainLabel(repository.changes === 1 ? t('{0}, 1 changed file', repository.root) : t('{0}, {1} changed files', repository.root, repository.changes), 200),
        value: { kind: 'directory', repository } as const,
      })),
    ]),
    ...section(t('other repositories'), threads.filter((_, index) => !inOpen[index]).map(item)),
  ];
}

/** The hosts that a handoff can go to. An offline one is shown, so that nobody looks for it, and cannot be chosen. */
export async function destinationItems(client: HostClient): Promise<StepItem<HostSummary>[]> {
  const { hosts } = await client.call('host/list', {});
  const others = hosts.filter((host) => !host.self).sort((a, b) => Number(b.online) - Number(a.online) || a.name.localeCompare(b.name));
  if (others.length === 0) return [{ label: `$(info) ${t('No other host yet')}`, detail: t('Run “Baton: Invite Host” here and join with its invite on the other machine.') }];
  return others.map((host) => {
    const { label, description, icon } = hostText(host, undefined, t);
    const shown = { label: `$(${icon}) ${label}`, description };
    return host.online ? { ...shown, value: host } : shown;
  });
}

export type PreflightChoice = 'start' | 'toggle-included' | 'save-project' | 'abort' | DivergenceChoice;

/**
 * The preflight as a pick: the first entry starts the handoff, where no blocker forbids it; another turns on and off that ignored
 * files travel too; all others are there to be read.
 *
 * @param state `saves`: a project that is missing at the destination can be saved from this window; `chosen`: what is to become of what the
 *   destination has, where both sides changed
 */
export function preflightItems(preflight: HandoffPreflight, state: { readonly saves: boolean; readonly withIncluded: boolean; readonly chosen?: DivergenceChoice | undefined }): StepItem<PreflightChoice>[] {
  const text = preflightText(preflight, t, state.withIncluded);
  const line = ({ icon, label, description }: PreflightLine): StepItem<never> => ({ label: `$(${icon}) ${label}`, description });
  const action = line(text.action);
  const unsaved = state.saves && preflight.findings.some(({ code }) => code === 'no-matching-project');
  const choice: StepItem<PreflightChoice>[] = text.included === null ? [] : [{ ...line(text.included.choice), ...(text.included.refused ? {} : { value: 'toggle-included' as const }) }];
  return [
    text.mayStart ? { ...action, value: 'start' } : action,
    ...choice,
    ...(unsaved ? [{ label: `$(add) ${t('Save Open Repository as Project')}`, description: t('then look again'), value: 'save-project' } as const] : []),
    ...section(t('both sides changed since the last handoff'), divergenceText(preflight, state.chosen, t).map(({ choice, ...shown }) => ({ ...line(shown), value: choice }))),
    ...section(t('what would travel'), text.facts.map(line)),
    ...section(state.withIncluded ? t('ignored files that travel too') : t('ignored files that stay behind'), (text.included?.files ?? []).map(line)),
    ...section(t('findings'), text.findings.map(({ icon, label, description }): StepItem<never> => ({ label: `$(${icon}) ${description}`, detail: label }))),
  ];
}

function section<T>(label: string, items: readonly StepItem<T>[]): StepItem<T>[] {
  return items.length === 0 ? [] : [{ label, kind: vscode.QuickPickItemKind.Separator }, ...items];
}
