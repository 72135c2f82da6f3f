import { writeFile } from 'node:fs/promises';
import { Option } from 'commander';
import type { InviteSummary, MadeInvite } from '../deviceSchemas';
import { HostError } from '../hostError';
import { threadId as threadIdSchema, type Role } from '../protocol';
import { qrSvg, qrText } from '../qr';
import type { CommandTable } from './commandTable';
import { parseDuration } from './duration';
import { inertLine } from './inertText';
import { columnsOf, table, wrap } from './layout';
import type { Session } from './session';
import { findThread } from './threadList';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

interface InviteOptions {
  readonly role: Role;
  readonly thread?: string;
  readonly for?: number;
  readonly expires?: number;
  readonly svg?: string;
  readonly wait?: true;
}

const mayDo: Record<Role, string> = {
  peer: 'hand threads to this host and take back what came from there',
  operator: 'do all that you can do on this host',
  approver: 'see threads and decide on approvals',
  viewer: 'see threads',
};

export function addInviteCommands({ program, session }: CommandTable): void {
  const invite = program
    .command('invite')
    .description('make a one-time invite: a QR code, a link, and a code to type')
    .addOption(new Option('--role <ROLE>', 'what whoever joins may do').choices(['peer', 'operator', 'approver', 'viewer']).default('peer'))
    .option('--thread <THREAD>', 'let them in for this thread only')
    .option('--for <TIME>', 'let them in for so long only, such as 1h', parseDuration(365 * 24 * HOUR_MS))
    .option('--expires <TIME>', 'how long the invite can be used: 10m unless given, at most 1h', parseDuration(HOUR_MS))
    .option('--svg <FILE>', 'also write the QR code as a picture')
    .option('--wait', 'wait until it was used, and say by whom')
    .action(async (options: InviteOptions) => {
      const client = await session.host();
      const threadId = options.thread === undefined || threadIdSchema.safeParse(options.thread).success ? options.thread : (await findThread(client, options.thread)).id;
      const made = await client.call('host/invite', { role: options.role, threadId, accessMs: options.for, lifetimeMs: options.expires });
      // Who reads it can use it.
      if (options.svg !== undefined) await writeFile(options.svg, qrSvg(made.invite), { mode: 0o600 });
      session.result(made, () => inviteText(made, session));
      if (options.wait !== true) return;
      const ended = await client.call('invite/wait', { id: made.id });
      session.result(ended, () => endedText(ended));
      if (ended.state !== 'claimed') throw new HostError(ended.state === 'expired' ? 'invite-expired' : 'invite-used', `Nobody was let in: the invite is ${ended.state}.`);
    });

  invite
    .command('list')
    .description('list the invites that were made since the host was started')
    .action(async () => {
      const { invites } = await (await session.host()).call('invite/list');
      session.result({ invites }, () => (invites.length === 0 ? 'No invite was made since this host was started.' : invitesText(invites, session.columns)));
    });

  invite
    .command('cancel')
    .argument('<INVITE>', 'its id')
    .description('make an invite useless before it is used')
    .action(async (id: string) => {
      const { cancelled } = await (await session.host()).call('invite/cancel', { id });
      session.result({ id, cancelled }, () => (cancelled ? 'The invite is cancelled.' : 'That invite had been used, or had ended, already. "baton devices" lists whom this host trusts.'));
    });
}

function inviteText(made: MadeInvite, session: Session): string {
  const { columns } = session;
  const colour = session.stdout.isTTY;
  const fits = columnsOf(qrText(made.invite, false).split('\n')[0] ?? '') <= columns;
  const limits = [made.threadId === null ? '' : ` of the thread ${made.threadId}`, made.accessMs === null ? '' : `, for ${timeText(made.accessMs)} from then on`].join('');
  return [
    ...(fits ? [qrText(made.invite, colour), ''] : colour ? ['This terminal is too narrow for the QR code; --svg FILE writes it as a picture.', ''] : []),
    `Until ${new Date(made.expiresAt).toLocaleTimeString()}, on the other machine:`,
    '',
    ...(made.code === null ? [] : [`  baton join ${made.code}`, '']),
    `${made.code === null ? 'Run' : 'or'} \`baton join\` and paste this link:`,
    '',
    `  ${inertLine(made.invite)}`,
    '',
    wrap(`Whoever uses it first may ${mayDo[made.role]}${limits}. It works once: send it by a way you trust. Both sides then show the same four words. \`baton invite cancel ${made.id}\` makes it useless.`, columns, 0),
    ...(made.code === null ? ['The relay gave no place for a code, so only the link works.'] : []),
  ].join('\n');
}

function endedText({ state, claimedBy }: InviteSummary): string {
  if (state !== 'claimed' || claimedBy === null) return '';
  return `"${inertLine(claimedBy.name)}" (${claimedBy.id}) was let in. The other side must show these words, too:\n\n  ${inertLine(claimedBy.words)}\n\nIf it shows others, or you do not know it: baton device revoke ${claimedBy.id.slice(0, 8)}`;
}

function invitesText(invites: readonly InviteSummary[], width: number): string {
  return table(
    ['ID', 'ROLE', 'STATE', 'EXPIRES', 'USED BY'],
    invites.map(({ id, role, state, expiresAt, claimedBy }) => [id, role, state, new Date(expiresAt).toLocaleTimeString(), claimedBy === null ? '-' : `${inertLine(claimedBy.name)} (${inertLine(claimedBy.words)})`]),
    width,
  );
}

const timeText = (milliseconds: number): string =>
  milliseconds % (24 * HOUR_MS) === 0 ? `${milliseconds / (24 * HOUR_MS)} d` : milliseconds % HOUR_MS === 0 ? `${milliseconds / HOUR_MS} h` : milliseconds % MINUTE_MS === 0 ? `${milliseconds / MINUTE_MS} min` : `${milliseconds / 1000} s`;
