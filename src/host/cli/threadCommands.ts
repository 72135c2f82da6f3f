import { z } from 'zod';
import type { Thread } from '../protocol';
import { approvalText } from './approvalText';
import type { CommandTable } from './commandTable';
import { inertLine } from './inertText';
import { inWords, table, wrap } from './layout';
import { shortIds } from './resolve';
import { checked, findThread, listThreads, readPages, statusOf } from './threadList';
import { transcript, turn } from './transcript';

const turnPage = z.looseObject({ data: z.array(turn), nextCursor: z.string().nullish() });
const threadRead = z.looseObject({ thread: z.looseObject({ turns: z.array(turn).optional() }) });

/** What `baton threads --json` says of a thread. */
function summary(each: Thread) {
  const { id, name, preview, cwd, baton } = each;
  return { id, name: name ?? null, preview, cwd, status: statusOf(each), owner: baton?.owner ?? null, epoch: baton?.epoch ?? 0, movedTo: baton?.movedTo ?? null };
}

export function addThreadCommands({ program, session }: CommandTable): void {
  program
    .command('threads')
    .description('list the threads of this host')
    .action(async () => {
      const threads = await listThreads(await session.host());
      session.result({ threads: threads.map(summary) }, () => {
        if (threads.length === 0) return 'There is no thread. `baton new TEXT` starts one.';
        const short = shortIds(threads.map((each) => each.id));
        const title = (each: Thread) => inertLine(each.name ?? each.preview);
        const state = (each: Thread) => (each.baton?.moving === true ? 'moving' : each.baton?.movedTo ? `moved to ${inertLine(each.baton.movedTo.name)}` : inWords(statusOf(each)));
        return table(['ID', 'STATE', 'THREAD'], threads.map((each) => [short.get(each.id) ?? each.id, state(each), title(each)]), session.columns);
      });
    });

  program
    .command('show')
    .argument('<THREAD>', 'its id, a unique prefix of one, or its name')
    .description("show a thread's transcript, plan and approvals")
    .action(async (word: string) => {
      const client = await session.host();
      const { id } = await findThread(client, word);
      const { thread, plan, approvals } = await client.call('host/thread', { threadId: id });
      let turns = await readPages(client, 'thread/turns/list', { threadId: id, itemsView: 'full', sortDirection: 'asc' }, turnPage);
      // A thread that was never loaded here has no turn index yet; its file is read whole instead.
      if (turns.length === 0) turns = checked(threadRead, await client.codex('thread/read', { threadId: id, includeTurns: true }), 'thread/read').thread.turns ?? [];
      session.result({ thread, turns, plan, approvals }, () => {
        const width = session.columns;
        const steps = (plan?.steps ?? []).map(({ step, status }) => `  ${{ completed: '[x]', inProgress: '[>]', pending: '[ ]' }[status]} ${wrap(inertLine(step), width, 6)}`);
        return [
          `${inertLine(thread.name ?? thread.preview)}\n${id} · ${inWords(statusOf(thread))} · ${inertLine(thread.cwd)}`,
          ...transcript(turns, width),
          ...(steps.length === 0 ? [] : [['Plan', ...steps].join('\n')]),
          ...approvals.map((approval) => approvalText(approval, client.host.baton.name, width)),
        ].join('\n\n');
      });
    });
}
