import * as vscode from 'vscode';
import { HostError } from '../host/hostError';
import { thread, type Thread } from '../host/protocol';
import { applyToCheckout, undoLastApply } from './applyActions';
import { plainLabel } from './displayText';
import { bringBack, handOff, type HandOffContext } from './handOff';
import type { InvitePanel } from './invitePanel';
import { joinHost } from './pairing';
import { pickStep } from './pickSteps';
import { allowsRemoteControl } from './settings';
import { addSshHost } from './sshHosts';
import { listThreads } from './threadList';
import type { ThreadPanels } from './threadPanels';
import { t } from './translate';
import { threadText } from './treeText';
import { openWorktree, removeWorktree, repairWorktree, restoreWorktree, worktreeOf } from './worktreeActions';

export interface CommandContext extends HandOffContext {
  readonly panels: ThreadPanels;
  readonly invitePanel: InvitePanel;
  refresh(): void;
}

/** Every command of package.json, by its id. A test compares the two. */
export function commandHandlers(context: CommandContext): Readonly<Record<string, (argument: unknown) => Promise<void>>> {
  const { connection, invitePanel, log, panels, repositories } = context;
  return {
    'baton.handOff': async (argument) => await handOff(context, threadOf(argument)),
    'baton.bringBack': async (argument) => {
      const moved = threadOf(argument);
      if (moved !== undefined) await bringBack(context, moved);
    },
    'baton.applyToCheckout': async (argument) => {
      const chosen = threadOf(argument);
      if (chosen !== undefined) await applyToCheckout(connection.client, chosen);
    },
    'baton.undoApply': async (argument) => {
      const chosen = threadOf(argument);
      if (chosen !== undefined) await undoLastApply(connection.client, chosen);
    },
    'baton.openThread': async (argument) => {
      const id = typeof argument === 'string' ? argument : (threadOf(argument) ?? (await pickThread(context)))?.id;
      if (id !== undefined) panels.open(id);
    },
    'baton.openWorktree': async (argument) => {
      const worktree = worktreeOf(argument);
      if (worktree !== undefined) await openWorktree(connection.client, worktree);
    },
    'baton.pinWorktree': async (argument) => {
      const worktree = worktreeOf(argument);
      if (worktree !== undefined) await connection.client.call('worktree/pin', { id: worktree.id });
    },
    'baton.unpinWorktree': async (argument) => {
      const worktree = worktreeOf(argument);
      if (worktree !== undefined) await connection.client.call('worktree/unpin', { id: worktree.id });
    },
    'baton.keepWorktree': async (argument) => {
      const worktree = worktreeOf(argument);
      if (worktree !== undefined) await connection.client.call('worktree/permanent', { id: worktree.id, permanent: true });
    },
    'baton.releaseWorktree': async (argument) => {
      const worktree = worktreeOf(argument);
      if (worktree !== undefined) await connection.client.call('worktree/permanent', { id: worktree.id, permanent: false });
    },
    'baton.removeWorktree': async (argument) => {
      const worktree = worktreeOf(argument);
      if (worktree !== undefined) await removeWorktree(connection.client, worktree);
    },
    'baton.restoreWorktree': async (argument) => {
      const worktree = worktreeOf(argument);
      if (worktree !== undefined) await restoreWorktree(connection.client, worktree);
    },
    'baton.repairWorktree': async (argument) => {
      const worktree = worktreeOf(argument);
      if (worktree !== undefined) await repairWorktree(connection.client, worktree);
    },
    'baton.inviteHost': async () => {
      if (!allowsRemoteControl()) throw new HostError('remote-control-forbidden', t('Invites are turned off by the setting baton.allowRemoteControl.'));
      await invitePanel.open();
    },
    'baton.joinHost': async () => await joinHost(connection.client),
    'baton.addSshHost': async () => await addSshHost(connection.client),
    'baton.saveProject': async () => {
      const directory = repositories.all[0]?.root;
      if (directory === undefined) throw new HostError('not-a-repository', t('No Git repository is open in this window. Open the folder of one and try again.'));
      const { project } = await connection.client.call('project/add', { directory });
      void vscode.window.showInformationMessage(t('{0} is saved: threads of this repository can be handed to this host.', project.root));
    },
    'baton.startHost': async () => await connection.start(),
    'baton.refresh': async () => {
      await connection.start();
      context.refresh();
    },
    'baton.showLog': () => {
      log.show();
      return Promise.resolve();
    },
  };
}

/** Registers `commandHandlers`; an error of one is shown to the user who ran it. */
export function registerCommands(context: CommandContext): vscode.Disposable[] {
  return Object.entries(commandHandlers(context)).map(([id, handler]) =>
    vscode.commands.registerCommand(id, async (argument: unknown) => {
      try {
        await handler(argument);
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        context.log.error(`${id}: ${message}`);
        offerWayOut(context, error, message);
      }
    }),
  );
}

/** Shows an error with what can be done about it. Does not wait for the answer: a message may stay for long. */
function offerWayOut({ log, repositories }: CommandContext, error: unknown, message: string): void {
  const saveProject = t('Save Open Repository as Project');
  const isMissing = HostError.is(error) && (error.reason === 'no-matching-project' || (error.details.findings ?? []).some(({ code }) => code === 'no-matching-project'));
  const actions = [...(isMissing && repositories.all.length > 0 ? [saveProject] : []), t('Show Log')];
  const blockers = HostError.is(error) ? (error.details.findings ?? []).filter(({ level }) => level === 'blocker') : [];
  // A message in the corner has room for one sentence; each finding has its own way out.
  const detail = blockers.map((finding) => plainLabel(finding.message, 400)).join('\n\n');
  void vscode.window.showErrorMessage(message, blockers.length === 0 ? {} : { modal: true, detail }, ...actions).then((action) => {
    if (action === saveProject) void vscode.commands.executeCommand('baton.saveProject');
    else if (action !== undefined) log.show();
  });
}

/** Any extension can run a command, so its argument is checked like anything received. */
function threadOf(argument: unknown): Thread | undefined {
  return typeof argument === 'object' && argument !== null && 'thread' in argument ? thread.safeParse(argument.thread).data : undefined;
}

async function pickThread({ connection, approvals }: CommandContext): Promise<Thread | undefined> {
  const items = listThreads(connection.client).then((threads) =>
    threads.map((value) => {
      const { label, description, icon } = threadText(value, approvals.countOf(value.id), t);
      return { label: `$(${icon}) ${label}`, description, value };
    }),
  );
  const result = await pickStep({ title: t('Open Thread'), step: 1, totalSteps: 1, placeholder: t('Which thread?'), items });
  return result.kind === 'picked' ? result.value : undefined;
}
