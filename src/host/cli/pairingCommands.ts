import { Option } from 'commander';
import type { CommandTable } from './commandTable';
import { inertLine } from './inertText';
import { table } from './layout';

export function addPairingCommands({ program, session }: CommandTable): void {
  program
    .command('invite')
    .description('make a one-time invite, valid 10 minutes')
    .addOption(new Option('--role <ROLE>', 'what the one who joins may do').choices(['peer', 'operator']).default('peer'))
    .action(async (options: { role: 'peer' | 'operator' }) => {
      const made = await (await session.host()).call('host/invite', { role: options.role });
      session.result(made, () => `Run this on the other machine, until ${new Date(made.expiresAt).toLocaleTimeString()}:\n\n  baton join '${inertLine(made.invite)}'\n\nThe invite works once. Who has it can pair with this host: send it by a way you trust.`);
    });

  program
    .command('join')
    .argument('<INVITE>')
    .description('pair with the host that made an invite; both then know each other')
    .action(async (invite: string) => {
      const joined = await (await session.host()).call('host/join', { invite });
      session.result(joined, () => `Paired with "${inertLine(joined.name)}" (${joined.hostId}).`);
    });

  program
    .command('hosts')
    .description('list this host and those that it knows')
    .action(async () => {
      const { hosts } = await (await session.host()).call('host/list');
      session.result({ hosts }, () =>
        table(
          ['NAME', 'STATE', 'CODEX', 'ID'],
          hosts.map((host) => [inertLine(host.name), host.self ? 'here' : host.online ? 'online' : 'offline', inertLine(host.codexVersion ?? '-'), host.hostId]),
          session.columns,
        ),
      );
    });
}
