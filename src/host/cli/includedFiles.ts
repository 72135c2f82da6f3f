import { createInterface } from 'node:readline/promises';
import { HostError } from '../hostError';
import type { HandoffPreflight, IncludedList } from '../protocol';
import { inertLine } from './inertText';
import { bytesText, counted, wrap } from './layout';
import { UsageError, type Session } from './session';

/** The ignored files that would cross, as the user has to see them before saying so. */
export function includedText({ files, bytes, names, secrets, left, refused }: IncludedList, destinationName: string, width: number): string {
  const line = (level: string, text: string) => `  ${level.padEnd(8)}${wrap(inertLine(text), width, 10)}`;
  const one = secrets.count === 1;
  return [
    `${counted(files, 'ignored file')} (${bytesText(bytes)}) listed in .worktreeinclude would travel too:`,
    ...names.map((name) => `  ${inertLine(name)}`),
    ...(files > names.length ? [`  … and ${files - names.length} more`] : []),
    ...(secrets.count === 0 ? [] : [line('warning', `${secrets.count} of them ${one ? 'looks like a secret' : 'look like secrets'}: ${secrets.names.join(', ')}${secrets.count > secrets.names.length ? ', …' : ''}. Whoever can read files on ${destinationName} can read ${one ? 'it' : 'them'} there.`)]),
    ...(left === null ? [] : [line('note', `Not among them: ${left}.`)]),
    ...(refused === null ? [] : [line('blocker', refused)]),
  ].join('\n');
}

/**
 * Shows the ignored files that would cross with a handoff, and asks. Gives the digest of the list that was agreed to.
 *
 * @throws {HostError} `preflight-blocked` where none can travel, `cancelled` where the user does not want it
 */
export async function agreeToIncluded(session: Session, { included, destinationName }: HandoffPreflight, yes: boolean): Promise<string> {
  if (included == null) throw new HostError('preflight-blocked', 'There is no .worktreeinclude at the root of the thread\'s checkout, so it lists no ignored files. Hand off without `--with-included`, or write one.');
  if (included.refused !== null) throw new HostError('preflight-blocked', included.refused);
  if (included.files === 0) throw new HostError('preflight-blocked', 'None of the ignored files in the thread\'s checkout is listed in its .worktreeinclude, so there is nothing to send with `--with-included`.');
  if (!session.json) session.note(includedText(included, destinationName, session.columns));
  if (yes) return included.digest;
  if (session.json || !session.stdin.isTTY) throw new UsageError('`--with-included` asks before it sends ignored files. Look at them with `--dry-run`, then say `--yes`.');
  if (!(await isAgreed(session, `Send ${included.files === 1 ? 'it' : 'them'} to ${inertLine(destinationName)}? [y/N] `))) throw new HostError('cancelled', 'Nothing was sent. The thread stays where it is.');
  return included.digest;
}

async function isAgreed({ stdin, stderr }: Session, question: string): Promise<boolean> {
  const lines = createInterface({ input: stdin, output: stderr });
  // Ctrl-C and Ctrl-D leave a question without an answer.
  const ended = new Promise<string>((resolve) => lines.once('SIGINT', () => lines.close()).once('close', () => resolve('')));
  const answered = lines.question(question);
  answered.catch(() => undefined);
  try {
    return /^\s*y(es)?\s*$/i.test(await Promise.race([answered, ended]));
  } finally {
    lines.close();
  }
}
