import { createInterface } from 'node:readline/promises';
import type { HostClient } from '../hostClient';
import { HostError } from '../hostError';
import type { ApplyResult, ResultOf } from '../protocol';
import type { CommandTable } from './commandTable';
import { inertLine } from './inertText';
import { counted, labelled, wrap } from './layout';
import { UsageError, type Session } from './session';
import { findThread } from './threadList';

interface ApplyFlags {
  readonly toWorktree?: true;
  readonly merge?: true;
  readonly markers?: true;
  readonly fastForward?: true;
  readonly stop?: true;
  readonly undo?: true;
  readonly dryRun?: true;
  readonly yes?: true;
}

/** More are counted, unless the output is JSON. */
const SHOWN_PATHS = 20;

export function addApplyCommand({ program, session, exitWith }: CommandTable): void {
  program
    .command('apply')
    .argument('<THREAD>', 'its id, a unique prefix of one, or its name')
    .option('--to-worktree', 'the other way: from your checkout into the worktree')
    .option('--merge', 'merge with what is there')
    .option('--markers', 'with --merge: write conflict markers where both changed the same lines')
    .option('--fast-forward', 'move the branch there even if it has another name')
    .option('--stop', 'interrupt a turn that runs')
    .option('--undo', 'take the last apply back')
    .option('--dry-run', 'show what would change, and stop')
    .option('-y, --yes', 'do not ask')
    .description("put the working state of a thread's worktree into your checkout on this host")
    .action(async (word: string, options: ApplyFlags) => {
      if (options.undo === true && (options.toWorktree ?? options.merge ?? options.markers ?? options.fastForward) !== undefined) throw new UsageError('`--undo` takes back the last apply, whatever it was; of the other options only `--stop`, `--dry-run` and `--yes` go with it.');
      if (options.markers === true && options.merge !== true) throw new UsageError('`--markers` is for `--merge`.');
      const client = await session.host();
      const { id: threadId } = await findThread(client, word);
      if (options.undo === true) await undo(session, client, threadId, options);
      else if ((await apply(session, client, threadId, options)) === 'refused') exitWith(3);
    });
}

/** Shows what would happen, asks, and has it done: just what was shown. */
async function apply(session: Session, client: HostClient, threadId: string, options: ApplyFlags): Promise<'refused' | 'done'> {
  const wish = { threadId, to: options.toWorktree === true ? ('worktree' as const) : ('checkout' as const), merge: options.merge === true, markers: options.markers === true, fastForward: options.fastForward === true };
  const shown = await client.call('worktree/apply', { ...wish, dryRun: true, restore: options.dryRun !== true });
  if (options.dryRun === true || shown.how === 'same') {
    session.result(shown, () => planText(shown, session.columns));
    return shown.refused === null ? 'done' : 'refused';
  }
  if (shown.refused !== null) throw new HostError('apply-refused', shown.refused.message);
  await agree(session, options, planText(shown, session.columns));
  const done = await client.call('worktree/apply', { ...wish, stop: options.stop === true, plan: shown.plan });
  session.result(done, () => doneText(done, session.columns));
  return 'done';
}

async function undo(session: Session, client: HostClient, threadId: string, options: ApplyFlags): Promise<void> {
  const shown = await client.call('worktree/undoApply', { threadId, dryRun: true, restore: options.dryRun !== true });
  if (options.dryRun === true) {
    session.result(shown, () => undoText(shown, session.columns));
    return;
  }
  await agree(session, options, undoText(shown, session.columns));
  const undone = await client.call('worktree/undoApply', { threadId, stop: options.stop === true });
  session.result(undone, () => `${inertLine(undone.directory)} is as it was before the apply.`);
}

/** Shows what will happen and asks; without a terminal to ask in, `--yes` has to say it. */
async function agree(session: Session, { yes }: ApplyFlags, text: string): Promise<void> {
  if (yes === true) return;
  if (session.json || !session.stdin.isTTY) throw new UsageError('This changes files of a checkout. Add `--yes`, or look first with `--dry-run`.');
  session.note(text);
  const asking = createInterface({ input: session.stdin, output: session.stderr });
  try {
    const answer = await asking.question('Do it? [y/N] ');
    if (!/^y(es)?$/i.test(answer.trim())) throw new HostError('cancelled', 'Nothing was changed.');
  } finally {
    asking.close();
  }
}

const signs = { added: 'A', changed: 'M', deleted: 'D' } as const;

function pathLines({ changes, changeCount }: Pick<ApplyResult, 'changes' | 'changeCount'>): string[] {
  const lines = changes.slice(0, SHOWN_PATHS).map(({ path, change }) => `  ${signs[change]} ${inertLine(path)}`);
  return changeCount > lines.length ? [...lines, `  and ${counted(changeCount - lines.length, 'more path')}`] : lines;
}

const targetOf = ({ to, checkout, worktree }: ApplyResult) => (to === 'checkout' ? checkout : worktree);

/** What would happen, for a terminal of that many columns. */
export function planText(plan: ApplyResult, width: number): string {
  if (plan.how === 'same') return 'Your checkout and the worktree hold the same state already.';
  const head = plan.head === null ? [] : [['Branch', `${inertLine(plan.head.branch?.replace(/^refs\/heads\//, '') ?? '(detached)')} goes ${counted(plan.head.commits, 'commit')} forward, to ${plan.head.after.slice(0, 12)}`] as const];
  const how = plan.refused === null ? ([['How', plan.how === 'merge' ? 'merged with what is there' : 'just as it is'], ['Changes', counted(plan.changeCount, 'path')]] as const) : [];
  const summary = labelled([['From', inertLine(plan.to === 'checkout' ? plan.worktree : plan.checkout)], ['Into', inertLine(targetOf(plan))], ...how, ...head], width);
  const conflicts = plan.conflicts.slice(0, SHOWN_PATHS).map((path) => `  ! ${inertLine(path)}`);
  const notes = plan.notes.map((note) => `  ${wrap(inertLine(note), width, 2)}`);
  const refused = plan.refused === null ? [] : ['', `It would be refused. ${wrap(inertLine(plan.refused.message), width, 0)}`];
  return [summary, ...(plan.refused === null ? pathLines(plan) : []), ...conflicts, ...notes, ...refused].join('\n');
}

function doneText(done: ApplyResult, width: number): string {
  if (!done.applied) return planText(done, width);
  const conflicts = done.conflicts.length === 0 ? [] : [`Conflict markers are in: ${done.conflicts.map(inertLine).join(', ')}`];
  return [`Applied: ${counted(done.changeCount, 'path')} of ${inertLine(targetOf(done))} changed. \`baton apply ${done.threadId} --undo\` takes it back.`, ...pathLines(done), ...conflicts, ...done.notes.map((note) => `  ${wrap(inertLine(note), width, 2)}`)].join('\n');
}

function undoText(shown: ResultOf<'worktree/undoApply'>, width: number): string {
  return [labelled([['In', inertLine(shown.directory)], ['Goes back', counted(shown.changeCount, 'path')]], width), ...pathLines(shown)].join('\n');
}
