import { HostError } from '../hostError';
import type { ApprovalDecision } from '../protocol';
import { approvalText } from './approvalText';
import type { CommandTable } from './commandTable';
import { resolveApproval } from './resolve';
import { UsageError } from './session';

type DecideOptions = { readonly digest?: string; readonly answer?: readonly string[] };

/** `QUESTION=TEXT` for each answer; several of one question are several answers to it. */
function answersOf(options: readonly string[]): Record<string, string[]> {
  const answers = new Map<string, string[]>();
  for (const option of options) {
    const at = option.indexOf('=');
    if (at <= 0) throw new UsageError(`--answer has the form QUESTION=TEXT, which "${option}" has not.`);
    const question = option.slice(0, at);
    answers.set(question, [...(answers.get(question) ?? []), option.slice(at + 1)]);
  }
  return Object.fromEntries(answers);
}

export function addApprovalCommands({ program, session }: CommandTable): void {
  async function decide(word: string, decision: ApprovalDecision, { digest, answer = [] }: DecideOptions): Promise<void> {
    const answers = answersOf(answer);
    const client = await session.host();
    const approval = resolveApproval(word, (await client.call('approval/list')).approvals);
    if (digest !== undefined && digest !== approval.digest) {
      throw new HostError('approval-outdated', `Approval ${approval.id} now asks for something else than what has the digest ${digest}. Look at it again with \`baton approvals\`.`);
    }
    if (!session.json) session.print(approvalText(approval, client.host.baton.name, session.columns));
    // The digest binds the decision to what was just shown: if the request changes meanwhile, the host refuses it.
    await client.call('approval/decide', { id: approval.id, digest: approval.digest, decision, ...(answer.length === 0 ? {} : { answers }) });
    session.result({ decided: true, id: approval.id, decision, digest: approval.digest }, () => (decision === 'accept' || decision === 'acceptForSession' ? '\nApproved.' : '\nRejected.'));
  }

  program
    .command('approvals')
    .description('list the approvals that threads of this host wait for')
    .action(async () => {
      const client = await session.host();
      const { approvals } = await client.call('approval/list');
      session.result({ approvals }, () => (approvals.length === 0 ? 'No approval is pending.' : approvals.map((approval) => approvalText(approval, client.host.baton.name, session.columns)).join('\n\n')));
    });

  const collect = (value: string, before: readonly string[] = []) => [...before, value];
  program
    .command('approve')
    .argument('<ID>', 'an approval, by id or unique prefix')
    .option('--for-session', 'do not ask again for the same while the thread is loaded')
    .option('--digest <DIGEST>', 'approve only what has this digest')
    .option('--answer <QUESTION=TEXT>', 'an answer to a question that is asked; repeatable', collect)
    .description('let a thread do what it asks for')
    .action((word: string, options: DecideOptions & { forSession?: true }) => decide(word, options.forSession === true ? 'acceptForSession' : 'accept', options));
  program
    .command('reject')
    .argument('<ID>', 'an approval, by id or unique prefix')
    .option('--interrupt', 'end the turn as well; otherwise the thread goes on without it')
    .option('--digest <DIGEST>', 'reject only what has this digest')
    .description('refuse what a thread asks for')
    .action((word: string, options: DecideOptions & { interrupt?: true }) => decide(word, options.interrupt === true ? 'cancel' : 'decline', options));
}
