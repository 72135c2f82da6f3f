import { threadId as threadIdSchema, type Finding, type HandoffPreflight, type HandoffResult, type HostSummary, type ParamsOf } from '../protocol';
import type { HostClient } from '../hostClient';
import { HostError } from '../hostError';
import type { CommandTable } from './commandTable';
import { showProgress } from './handoffProgress';
import { agreeToIncluded, includedText } from './includedFiles';
import { inertLine } from './inertText';
import { bytesText, counted, labelled, secondsText, wrap } from './layout';
import { findHandoff, handoffText } from './ownershipCommands';
import { resolveHost, resolveThread } from './resolve';
import { UsageError, type Session } from './session';
import { listThreads } from './threadList';

export function addHandoffCommand({ program, session, exitWith }: CommandTable): void {
  const command = program
    .command('handoff')
    .argument('<THREAD>', 'its id, a unique prefix of one, or its name')
    // Not required as such: commander would then ask for it with `resume` and `abort` too.
    .option('--to <HOST>', 'the destination: a name, an id, or `here`')
    .option('--from <HOST>', 'with `--to here`: the host that has the thread now')
    .option('--with-included', 'also send the ignored files that .worktreeinclude lists; shows them and asks')
    .option('--second-worktree', 'where the thread\'s worktree or branch there was changed since: leave it alone and go on beside it')
    .option('--fork', 'where both sides changed since the last handoff: keep what the destination has as a thread of its own')
    .option('--yes', 'with `--with-included`: send them without asking')
    .option('--dry-run', 'show what would travel and what stands in the way, and stop')
    .description('hand a thread and its working state to another host')
    .action(async (word: string, options: { to?: string; from?: string; withIncluded?: true; secondWorktree?: true; fork?: true; yes?: true; dryRun?: true }) => {
      if (options.to === undefined) throw new UsageError("required option '--to <HOST>' not specified");
      const client = await session.host();
      const { hosts } = await client.call('host/list');
      const to = resolveHost(options.to, hosts);
      if (to.self !== (options.from !== undefined)) throw new UsageError('`--to here` needs `--from HOST`, and `--from` is for `--to here` only: it asks that host to hand its thread to this one.');
      const from = options.from === undefined ? undefined : resolveHost(options.from, hosts);
      if (from?.self === true) throw new HostError('same-host', 'The thread is on this host already. `--from` names the other one.');
      const threadId = await threadOf(client, word, from);
      if (options.secondWorktree === true && options.fork === true) throw new UsageError('`--second-worktree` and `--fork` are two ways to go on; choose one.');
      const choice = options.secondWorktree === true ? 'second-worktree' : options.fork === true ? 'fork' : undefined;
      const route = { threadId, to: to.hostId, ...(from === undefined ? {} : { from: from.hostId }), ...(choice === undefined ? {} : { choice } as const) };
      const withIncluded = options.withIncluded === true;
      if (options.yes === true && !withIncluded) throw new UsageError('`--yes` is for `--with-included`: nothing else is asked.');
      const look = () => client.call('handoff/preflight', { ...route, ...(withIncluded ? { included: true } : {}) });
      if (options.dryRun === true) {
        const preflight = await look();
        if (preflight.findings.some((finding) => finding.level === 'blocker') || (preflight.included?.refused ?? null) !== null) exitWith(3);
        session.result(preflight, () => preflightText(preflight, session.columns));
        return;
      }
      // Codex says to the commands of a thread which thread they run in.
      const askedBy = session.env['CODEX_THREAD_ID'];
      const included = withIncluded ? await agreeToIncluded(session, await look(), options.yes === true) : undefined;
      const result = await handOff(session, client, { ...route, ...(askedBy === undefined ? {} : { askedBy }), ...(included === undefined ? {} : { included }) });
      session.result(result, () => resultText(result, hosts, session.columns));
    });
  command
    .command('resume')
    .argument('<ID>', 'a handoff of `baton handoffs`: its id or a unique prefix of one')
    .description('try at once what is left to be done about a handoff')
    .action(async (word: string) => {
      const client = await session.host();
      const { handoffId } = await findHandoff(client, word);
      const { handoff } = await client.call('handoff/resume', { handoffId });
      session.result(handoff, () => handoffText(handoff, new Map(), session.columns));
    });
  command
    .command('abort')
    .argument('<ID>', 'a handoff of `baton handoffs`: its id or a unique prefix of one')
    .description('give up a handoff that is not committed yet; the thread stays where it was')
    .action(async (word: string) => {
      const client = await session.host();
      const { handoffId } = await findHandoff(client, word);
      const result = await client.call('handoff/abort', { handoffId });
      if (!result.aborted) exitWith(1);
      session.result(result, () => `${result.aborted ? 'Given up.' : 'It cannot be given up here.'}\n${handoffText(result.handoff, new Map(), session.columns)}`);
    });
}

/** A thread on another host is known here only if it was here before; else its whole id names it. */
async function threadOf(client: HostClient, word: string, from: HostSummary | undefined): Promise<string> {
  if (from !== undefined && threadIdSchema.safeParse(word).success) return word;
  return resolveThread(word, await listThreads(client)).id;
}

async function handOff(session: Session, client: HostClient, route: ParamsOf<'handoff/start'> & { threadId: string }): Promise<HandoffResult> {
  const progress = showProgress(session, client, route.threadId);
  let interrupt: () => void = () => undefined;
  const interrupted = new Promise<void>((resolve) => (interrupt = resolve));
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  try {
    const { handoffId } = await client.call('handoff/start', route);
    const waiting = client.call('handoff/wait', { handoffId });
    // Before the commit point a handoff can be cancelled; after it, it goes on in the host, and its end is worth waiting for.
    const cancelling = interrupted.then(async () => {
      const { cancelled } = await client.call('handoff/cancel', { handoffId });
      session.note(cancelled ? 'Cancelling; the thread stays where it was.' : 'It is too late to cancel: the destination owns the thread. Finishing.');
    });
    // A cancellation that cannot be sent leaves the wait, which fails for the same cause.
    cancelling.catch(() => undefined);
    return await waiting;
  } finally {
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
    progress.end();
  }
}

function findingLines(findings: readonly Finding[], width: number): string {
  return findings.map((finding) => `  ${finding.level.padEnd(8)}${wrap(inertLine(finding.message), width, 10)}`).join('\n');
}

function preflightText(preflight: HandoffPreflight, width: number): string {
  const summary = labelled(
    [
      ['Destination', inertLine(preflight.destinationName)],
      ['Branch', inertLine(preflight.branch ?? '(detached)')],
      ['Worktree', inertLine(preflight.worktree ?? 'a new one')],
      ['Would move', `${counted(preflight.commits, 'commit')}, ${counted(preflight.files, 'file')}, about ${bytesText(preflight.bytes)}`],
    ],
    width,
  );
  const included = preflight.included == null ? '' : includedText(preflight.included, preflight.destinationName, width);
  return [summary, findingLines(preflight.findings, width), included].filter((part) => part !== '').join('\n\n');
}

function resultText(result: HandoffResult, hosts: readonly HostSummary[], width: number): string {
  const name = (id: string) => inertLine(hosts.find((host) => host.hostId === id)?.name ?? id);
  const summary = labelled(
    [
      ['Thread', result.threadId],
      ['Hosts', `${name(result.from)} → ${name(result.to)}, epoch ${result.epoch}`],
      ['Branch', inertLine(result.branch ?? '(detached)')],
      ['Worktree', inertLine(result.worktree)],
      ['Moved', `${counted(result.commits, 'commit')}, ${counted(result.files, 'file')}`],
      ['Sent', `${bytesText(result.bytesSent)}, with ${bytesText(result.rolloutBytesSent)} of conversation compressed in it, in ${secondsText(result.milliseconds)}`],
      ['Receipt', result.receipt],
    ],
    width,
  );
  return [`${name(result.to)} has the thread now.`, summary, ...result.notes.map((note) => `  ${wrap(inertLine(note), width, 2)}`)].join('\n');
}
