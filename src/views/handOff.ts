import * as vscode from 'vscode';
import type { HostClient } from '../host/hostClient';
import { HostError } from '../host/hostError';
import type { DivergenceChoice, HandoffProgress, HandoffResult, HostSummary, ParamsOf, Thread } from '../host/protocol';
import { byteText, plainLabel } from './displayText';
import { destinationItems, subjectItems, type HandoffSubject } from './handOffPicks';
import type { HostConnection } from './hostConnection';
import type { OpenRepositories } from './openRepositories';
import type { PendingApprovals } from './pendingApprovals';
import { inputStep, pickStep, type StepResult } from './pickSteps';
import { preflightStep, type AgreedPreflight } from './preflightStep';
import { phaseText, resultText } from './preflightText';
import { t } from './translate';
import { threadTitle } from './treeText';

export interface HandOffContext {
  readonly connection: HostConnection;
  readonly repositories: OpenRepositories;
  readonly approvals: PendingApprovals;
  readonly log: vscode.LogOutputChannel;
}

interface Choices {
  subject?: HandoffSubject;
  destination?: HostSummary;
  prompt?: string;
  agreed?: AgreedPreflight;
}
type StepName = 'subject' | 'destination' | 'prompt' | 'preflight';

/**
 * Baton: Hand Off Thread…: asks what is to be handed off and to which host, shows the preflight, runs the handoff with
 * progress, and says how it ended. `chosen` is the thread where one was chosen already (from the tree).
 */
export async function handOff(context: HandOffContext, chosen: Thread | undefined): Promise<void> {
  const { client } = context.connection;
  const choices: Choices = chosen === undefined ? {} : { subject: { kind: 'thread', thread: chosen } };
  const agreed = await askForChoices(context, client, choices, chosen === undefined);
  if (!agreed || choices.subject === undefined || choices.destination === undefined) return;
  const { subject, destination, prompt } = choices;
  const title = subject.kind === 'thread' ? threadTitle(subject.thread, t) : plainLabel(prompt ?? '', 60);
  const result = await runHandoff(context, client, t('Handing off “{0}” to {1}', title, plainLabel(destination.name, 64)), { ...subjectParams(subject), ...(prompt === undefined ? {} : { prompt }), to: destination.hostId, ...choices.agreed });
  if (result !== undefined) await sayResult(result, title, destination, subject.kind === 'thread' ? subject.thread : undefined);
}

/**
 * Brings a thread that moved to another host back to this one: shows the preflight, which the other host makes, and goes
 * on where it is agreed to. Where only a saved project is missing here, the open repository can be saved on the way.
 */
export async function bringBack(context: HandOffContext, thread: Thread): Promise<void> {
  const { client } = context.connection;
  const from = thread.baton?.movedTo ?? null;
  const self = (await client.call('host/list', {})).hosts.find((host) => host.self);
  if (from === null || self === undefined) return;
  const title = threadTitle(thread, t);
  const params = { threadId: thread.id, to: self.hostId, from: from.hostId };
  const saveProject = async (): Promise<void> => {
    await vscode.commands.executeCommand('baton.saveProject');
  };
  const look = (choice?: DivergenceChoice) => client.call('handoff/preflight', { ...params, included: true, choice });
  const agreed = await preflightStep({ title: t('Bring Back Thread'), step: 1, totalSteps: 1, placeholder: t('Nothing has moved yet. Check what would travel.') }, look, context.repositories.all.length > 0 ? saveProject : undefined);
  if (agreed.kind !== 'picked') return;
  const result = await runHandoff(context, client, t('Bringing “{0}” back from {1}', title, plainLabel(from.name, 64)), { ...params, ...agreed.value });
  if (result !== undefined) await sayResult(result, title, self, thread);
}

async function askForChoices(context: HandOffContext, client: HostClient, choices: Choices, asksSubject: boolean): Promise<boolean> {
  let at = 0;
  for (;;) {
    const steps: StepName[] = [...(asksSubject ? (['subject'] as const) : []), 'destination', ...(choices.subject?.kind === 'directory' ? (['prompt'] as const) : []), 'preflight'];
    const name = steps[at];
    if (name === undefined) return true;
    const result = await askStep(name, { title: t('Hand Off Thread'), step: at + 1, totalSteps: steps.length }, context, client, choices);
    if (result.kind === 'cancelled') return false;
    at += result.kind === 'back' ? -1 : 1;
  }
}

async function askStep(name: StepName, step: { title: string; step: number; totalSteps: number }, context: HandOffContext, client: HostClient, choices: Choices): Promise<StepResult<unknown>> {
  switch (name) {
    case 'subject': {
      const result = await pickStep({ ...step, placeholder: t('Which thread?'), items: subjectItems(client, context.repositories, context.approvals) });
      if (result.kind === 'picked') choices.subject = result.value;
      return result;
    }
    case 'destination': {
      const result = await pickStep({ ...step, placeholder: t('To which host?'), items: destinationItems(client) });
      if (result.kind === 'picked') choices.destination = result.value;
      return result;
    }
    case 'prompt': {
      const result = await inputStep({ ...step, placeholder: t('First message to the agent'), prompt: t('The thread begins at {0} with this message.', plainLabel(choices.destination?.name ?? '', 64)), value: choices.prompt ?? '' });
      if (result.kind === 'picked') choices.prompt = result.value;
      return result;
    }
    case 'preflight': {
      const { subject, destination } = choices;
      if (subject === undefined || destination === undefined) return { kind: 'cancelled' };
      const look = (choice?: DivergenceChoice) => client.call('handoff/preflight', { ...subjectParams(subject), to: destination.hostId, included: true, choice });
      const result = await preflightStep({ ...step, placeholder: t('Nothing has moved yet. Check what would travel.') }, look);
      if (result.kind === 'picked') choices.agreed = result.value;
      return result;
    }
  }
}

function subjectParams(subject: HandoffSubject): { threadId: string } | { directory: string } {
  return subject.kind === 'thread' ? { threadId: subject.thread.id } : { directory: subject.repository.root };
}

/** Runs a handoff under a progress notification. Undefined where the user cancelled it; errors are the host's. */
async function runHandoff(
  { log }: HandOffContext,
  client: HostClient,
  title: string,
  params: ParamsOf<'handoff/start'>,
): Promise<HandoffResult | undefined> {
  return await vscode.window.withProgress({ location: vscode.ProgressLocation.Notification, cancellable: true, title }, async (progress, token) => {
    let handoffId: string | undefined;
    // Progress may arrive before the answer that names the handoff.
    const early: HandoffProgress[] = [];
    const show = (event: HandoffProgress) => {
      if (handoffId === undefined) early.push(event);
      else if (event.handoffId === handoffId) progress.report({ message: progressText(event) });
    };
    const stopListening = client.on('handoff/progress', show);
    const started = Date.now();
    try {
      ({ handoffId } = await client.call('handoff/start', params));
      for (const event of early) show(event);
      const id = handoffId;
      const cancel = async () => {
        const { cancelled } = await client.call('handoff/cancel', { handoffId: id });
        if (!cancelled) progress.report({ message: t('Past the point of no return; finishing') });
      };
      token.onCancellationRequested(() => void cancel().catch((error: unknown) => log.warn(`Cancelling handoff ${id}: ${String(error)}`)));
      if (token.isCancellationRequested) await cancel();
      const result = await client.call('handoff/wait', { handoffId });
      log.info(`Handoff ${id} done in ${Date.now() - started} ms.`);
      return result;
    } catch (error) {
      log.info(`Handoff ${handoffId ?? '(not started)'} ended: ${HostError.is(error) ? error.reason : 'error'}.`);
      if (HostError.is(error, 'cancelled')) return undefined;
      throw error;
    } finally {
      stopListening();
    }
  });
}

function progressText(event: HandoffProgress): string {
  const phase = phaseText(event.phase, t);
  if (event.bytesDone === null || event.bytesTotal === null || event.bytesTotal === 0) return phase;
  return t('{0}: {1} of {2}', phase, byteText(event.bytesDone), byteText(event.bytesTotal));
}

async function sayResult(result: HandoffResult, title: string, destination: HostSummary, thread: Thread | undefined): Promise<void> {
  const openThread = t('Open Thread');
  const openWorktree = t('Open Worktree');
  // What is on another machine can be shown as a thread that moved, and not as a folder.
  const actions = destination.self ? [openThread, openWorktree] : thread === undefined ? [] : [openThread];
  const action = await vscode.window.showInformationMessage(resultText(result, title, destination.name, t), ...actions);
  if (action === openThread) await vscode.commands.executeCommand('baton.openThread', result.threadId);
  if (action === openWorktree) await vscode.commands.executeCommand('vscode.openFolder', vscode.Uri.file(result.worktree), { forceNewWindow: true });
}
