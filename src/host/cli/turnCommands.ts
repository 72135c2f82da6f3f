import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Option } from 'commander';
import { z } from 'zod';
import { HostError } from '../hostError';
import type { CommandTable } from './commandTable';
import { inertLine } from './inertText';
import { checked, findThread } from './threadList';
import { TurnWatch } from './turnWatch';

const started = z.looseObject({ thread: z.looseObject({ id: z.string() }) });
const turnStarted = z.looseObject({ turn: z.looseObject({ id: z.string(), status: z.string() }) });
const input = (text: string) => [{ type: 'text', text, text_elements: [] }];

export function addTurnCommands({ program, session, exitWith }: CommandTable): void {
  program
    .command('new')
    .argument('<DIR|TEXT>', 'the folder that the thread works in, or, alone, the text')
    .argument('[TEXT]', 'what the agent is to do; the folder is then the first argument, else the current one')
    .addOption(new Option('--approval-policy <POLICY>', 'when to ask').choices(['untrusted', 'on-request', 'never']))
    .addOption(new Option('--sandbox <MODE>', 'what commands may touch').choices(['read-only', 'workspace-write', 'danger-full-access']))
    .option('--model <MODEL>', 'the model to use')
    .description('start a thread with a first turn')
    .action(async (first: string, second: string | undefined, options: { approvalPolicy?: string; sandbox?: string; model?: string }) => {
      const [directory, text] = second === undefined ? ['.', first] : [first, second];
      const cwd = resolve(directory);
      if ((await stat(cwd).catch(() => undefined))?.isDirectory() !== true) throw new HostError('invalid-params', `${cwd} is not a folder. A thread needs one to work in.`);
      const client = await session.host();
      const { thread } = checked(started, await client.codex('thread/start', { cwd, ...options }), 'thread/start');
      const { turn } = checked(turnStarted, await client.codex('turn/start', { threadId: thread.id, input: input(text) }), 'turn/start');
      session.result({ threadId: thread.id, turnId: turn.id }, () => `Started the thread ${inertLine(thread.id)} in ${inertLine(cwd)}.`);
    });

  program
    .command('send')
    .argument('<THREAD>', 'its id, a unique prefix of one, or its name')
    .argument('<TEXT>', 'what to tell the agent')
    .option('--wait', 'wait until the turn ends or needs an approval')
    .description('start a turn, or steer the one that runs')
    .action(async (word: string, text: string, options: { wait?: true }) => {
      const client = await session.host();
      const { id: threadId } = await findThread(client, word);
      // Listen before the turn starts: it may end before its own reply is here.
      const watch = new TurnWatch(client, threadId);
      try {
        // Resuming loads the thread and subscribes this connection to it.
        await client.codex('thread/resume', { threadId, excludeTurns: true });
        // While a turn runs, Codex takes this as steering and answers with the running turn.
        const { turn } = checked(turnStarted, await client.codex('turn/start', { threadId, input: input(text) }), 'turn/start');
        const status = options.wait === true ? await watch.settled(turn.id) : 'inProgress';
        if (status === 'failed') exitWith(1);
        session.result({ turnId: turn.id, status }, () => `${{ completed: 'The turn is complete.', interrupted: 'The turn was interrupted.', failed: 'The turn failed.', waitingOnApproval: 'The turn waits for an approval: see `baton approvals`.', inProgress: 'The turn is running.' }[status]} \`baton show ${threadId}\` shows it.`);
      } finally {
        watch.dispose();
      }
    });
}
