import type { HostClient } from '../hostClient';
import { HostError } from '../hostError';
import { threadId as threadIdSchema, type HandoffSummary, type ReclaimReport, type VerifyReport } from '../protocol';
import type { CommandTable } from './commandTable';
import { confirmed } from './confirm';
import { inertLine } from './inertText';
import { labelled, wrap } from './layout';
import { resolveHandoff, resolveThread } from './resolve';
import { UsageError } from './session';
import { listThreads } from './threadList';

/** What is done about handoffs that are stuck, and about threads whose host is gone. `handoff resume|abort` is in handoffCommand.ts. */
export function addOwnershipCommands({ program, session, exitWith }: CommandTable): void {
  program
    .command('handoffs')
    .option('--all', 'also those that are over: the last one of each thread, to and from this host')
    .description('list the handoffs of this host that are not over, and what is still possible')
    .action(async ({ all }: { all?: true }) => {
      const client = await session.host();
      const { handoffs } = await client.call('handoff/list', { all: all === true });
      const titles = session.json || handoffs.length === 0 ? new Map<string, string>() : await titlesOf(client);
      session.result({ handoffs }, () => (handoffs.length === 0 ? `No handoff ${all === true ? 'has been made' : 'is under way'} on this host.` : handoffs.map((handoff) => handoffText(handoff, titles, session.columns)).join('\n\n')));
    });

  program
    .command('reclaim')
    .argument('<THREAD>', 'a thread that moved away: its id, a unique prefix of one, or its name')
    .option('--yes', 'do not ask')
    .option('--force', 'also from a host that is online and could hand it back')
    .option('--dry-run', 'show what would be left behind, and stop')
    .description('take a thread back from a host that will not return')
    .action(async (word: string, options: { yes?: true; force?: true; dryRun?: true }) => {
      const client = await session.host();
      const threadId = await threadOf(client, word);
      const force = options.force === true;
      const report = await client.call('handoff/reclaim', { threadId, dryRun: true });
      if (options.dryRun === true) {
        session.result(report, () => reclaimText(report, session.columns));
        return;
      }
      if (options.yes !== true) {
        if (session.json || !session.stdin.isTTY) throw new UsageError('A reclaim leaves things behind: look at `baton reclaim THREAD --dry-run`, then add `--yes`.');
        session.print(reclaimText(report, session.columns));
        if (!(await confirmed(session, `\nTake the thread back from ${inertLine(report.from.name)}? Type yes: `))) throw new HostError('cancelled', 'Nothing was changed.');
      }
      const done = await client.call('handoff/reclaim', { threadId, force });
      session.result(done, () => wrap(`The thread is this host's again, at epoch ${done.epoch}. ${inertLine(done.from.name)} is told as soon as it can be reached.`, session.columns, 0));
    });

  program
    .command('verify')
    .argument('<THREAD>', 'its id, a unique prefix of one, or its name')
    .description("compute the hashes of a thread's last receipt anew, from what is here now")
    .action(async (word: string) => {
      const client = await session.host();
      const report = await client.call('handoff/verify', { threadId: await threadOf(client, word) });
      if (!report.intact) exitWith(1);
      session.result(report, () => verifyText(report, session.columns));
    });
}

/** A thread that Codex does not list any more is known by its whole id. */
async function threadOf(client: HostClient, word: string): Promise<string> {
  return threadIdSchema.safeParse(word).success ? word : resolveThread(word, await listThreads(client)).id;
}

async function titlesOf(client: HostClient): Promise<Map<string, string>> {
  return new Map((await listThreads(client)).map((thread) => [thread.id, thread.name ?? thread.preview]));
}

/** HANDOFF of the command line: an id or a unique prefix of one. */
export async function findHandoff(client: HostClient, word: string): Promise<HandoffSummary> {
  return resolveHandoff(word, (await client.call('handoff/list', { all: true })).handoffs);
}

/** One handoff with its sentence, in as many lines as it takes. */
export function handoffText({ handoffId, threadId, direction, peer, epoch, state, since, description }: HandoffSummary, titles: ReadonlyMap<string, string>, width: number): string {
  const title = titles.get(threadId);
  const way = direction === 'out' ? `to ${inertLine(peer.name)}` : `from ${inertLine(peer.name)}`;
  return [
    `${handoffId.slice(0, 12)}  ${wrap(`${way}, epoch ${epoch}`, width, 14)}`,
    `  ${wrap(title === undefined ? threadId : inertLine(title), width, 2)}`,
    `  ${wrap(inertLine(description), width, 2)}`,
    `  ${inertLine(state)} since ${inertLine(since)}`,
  ].join('\n');
}

/** What a reclaim would mean. */
export function reclaimText({ threadId, from, since, online, epoch, losses }: ReclaimReport, width: number): string {
  const summary = labelled(
    [
      ['Thread', threadId],
      ['Held by', `${inertLine(from.name)}, ${online ? 'which is online' : 'which cannot be reached'}`],
      ['Since', inertLine(since ?? 'unknown')],
      ['Epoch', `${epoch} once it is taken back`],
    ],
    width,
  );
  const way = online ? [wrap(`${inertLine(from.name)} is online: \`baton handoff THREAD --to here --from ${inertLine(from.name)}\` brings the thread back with all of it.`, width, 0)] : [];
  return [summary, 'What is left behind:', ...losses.map((loss) => `  - ${wrap(inertLine(loss), width, 4)}`), ...way].join('\n');
}

/** A receipt and what became of each thing in it. */
export function verifyText({ receipt, handoffId, epoch, side, intact, checks }: VerifyReport, width: number): string {
  const summary = labelled([['Receipt', receipt], ['Handoff', `${handoffId.slice(0, 12)}, epoch ${epoch}; this host was its ${side}`]], width);
  const lines = checks.map(({ what, is, message }) => `  ${wrap(inertLine(what), width, 2)}\n    ${wrap(`${is}: ${inertLine(message)}`, width, 4)}`);
  return [intact ? 'All that the receipt covers is here, as far as it can still be compared.' : 'Something that the receipt covers is NOT here.', summary, ...lines].join('\n');
}
