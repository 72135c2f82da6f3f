import { fingerprintOf, publicKeyOf } from '../../relay/keys';
import { parseInvite } from '../../relay/invite';
import { looksLikeCode } from '../../relay/inviteForms';
import { HostError } from '../hostError';
import type { CommandTable } from './commandTable';
import { asked, confirmed } from './confirm';
import { inertLine } from './inertText';
import { labelled, table, wrap } from './layout';
import { parseRelayUrl } from './relayCommand';
import { UsageError } from './session';

export function addPairingCommands({ program, session }: CommandTable): void {
  program
    .command('join')
    .argument('[INVITE]', 'its code, or its link; without it, join asks, or reads what is piped in: then no list of processes shows it')
    .option('--relay <URL>', 'where the host that made a code is to be met; this host\'s own relay unless given', parseRelayUrl)
    .option('--yes', 'do not ask')
    .description('pair with the host that made an invite; both then know each other')
    .action(async (given: string | undefined, options: { relay?: string; yes?: true }) => {
      const invite = given ?? (await asked(session, 'Paste the link of the invite, or type its code: '));
      if (invite === '') throw new UsageError('There is no invite. Give its code, or paste or pipe in its link.');
      const host = await session.host();
      if (!session.json && options.yes !== true && session.stdin.isTTY && !looksLikeCode(invite)) {
        const { name, hostId, relayUrl } = parseInvite(invite);
        session.print(labelled([['Host', inertLine(name)], ['Key', fingerprintOf(publicKeyOf(hostId))], ['Relay', inertLine(relayUrl)]], session.columns));
        session.print(wrap('A host that you pair with may hand threads to this one, and they run here. Only go on if you know who made this invite.', session.columns, 0));
        if (!(await confirmed(session, 'Pair with it? Type yes: '))) throw new HostError('cancelled', 'Nothing was done; the invite can still be used.');
      }
      const joined = await host.call('host/join', { invite, relayUrl: options.relay });
      session.result(joined, () => `Paired with "${inertLine(joined.name)}" (${joined.hostId}), which lets this host in as ${joined.role}${joined.threadId === null ? '' : ` for the thread ${joined.threadId}`}${joined.expiresAt === null ? '' : ` until ${new Date(joined.expiresAt).toLocaleString()}`}. The other side must show these words, too:\n\n  ${inertLine(joined.words)}`);
    });

  program
    .command('hosts')
    .description('list this host and those that it knows')
    .action(async () => {
      const { hosts } = await (await session.host()).call('host/list');
      session.result({ hosts }, () =>
        [
          table(
            ['NAME', 'STATE', 'CODEX', 'ID'],
            hosts.map((host) => [inertLine(host.name), host.self ? 'here' : host.online ? 'online' : 'offline', inertLine(host.codexVersion ?? '-'), host.hostId]),
            session.columns,
          ),
          ...hosts.flatMap(({ note }) => (note == null ? [] : ['', wrap(inertLine(note), session.columns, 0)])),
        ].join('\n'),
      );
    });
}
