import { isUnseen } from '../../handoff/approval';
import type { Approval } from '../protocol';
import { inertBlock, inertLine } from './inertText';
import { labelled } from './layout';

const indented = (text: string) => inertBlock(text).split('\n').map((line) => `    ${line}`).join('\n');

/** All that a decision is about: nothing of a command or a diff is left out or shortened. */
export function approvalText(approval: Approval, hostName: string, width: number): string {
  const pairs: [string, string][] = [
    ['Thread', approval.threadId],
    ['Host', `${inertLine(hostName)} (${approval.hostId})`],
    ['Folder', inertLine(approval.cwd ?? '-')],
  ];
  if (approval.reason !== null) pairs.push(['Reason', inertLine(approval.reason)]);
  pairs.push(['Digest', approval.digest]);
  const subject = [
    ...(approval.command === null ? [] : [`  Command\n${indented(approval.command)}`]),
    ...approval.changes.map((change) => `  ${change.kind} ${inertLine(change.path)}${change.movePath === null ? '' : ` → ${inertLine(change.movePath)}`}\n${indented(change.diff)}`),
    ...(isUnseen(approval) ? ['  The changes could not be found out, so they can only be declined.'] : []),
    ...approval.questions.map((question) => `  ${inertLine(question.header)} (${inertLine(question.id)})\n${indented(question.question)}${question.options.map((option) => `\n    - ${inertLine(option)}`).join('')}`),
    ...(approval.request === null ? [] : [`  Request\n${indented(approval.request)}`]),
  ];
  return [`Approval ${inertLine(approval.id)}: ${approval.kind}${approval.carriedOver ? ', carried over from the host before' : ''}`, labelled(pairs, width), ...subject].join('\n');
}
