import { Option, type Command } from 'commander';
import type { CommandTable } from './commandTable';
import { inertLine } from './inertText';
import { table, wrap } from './layout';

export function addSshCommands({ session }: CommandTable, host: Command): void {
  host
    .command('aliases')
    .description('list the hosts of your ssh configuration, and which of them are hosts already')
    .action(async () => {
      const client = await session.host();
      const [{ aliases }, { hosts }] = [await client.call('host/aliases'), await client.call('host/list')];
      session.result({ aliases }, () => {
        if (aliases.length === 0) return 'The ssh configuration names no host. Write one into ~/.ssh/config, or name a machine as "ssh" would take it.';
        const nameOf = (id: string | null) => (id === null ? '-' : (hosts.find(({ hostId }) => hostId === id)?.name ?? id.slice(0, 8)));
        return table(
          ['ALIAS', 'HOST', 'LEADS TO'],
          aliases.map(({ alias, hostId, target }) => [inertLine(alias), inertLine(nameOf(hostId)), target === null ? 'ssh does not take it' : inertLine(`${target.user}@${target.hostName}:${target.port}`)]),
          session.columns,
        );
      });
    });

  host
    .command('add')
    .argument('<ALIAS>', 'a host of your ssh configuration')
    .addOption(new Option('--role <ROLE>', 'what this host may do there: take part in handoffs, or all that you may').choices(['peer', 'operator']))
    .description('copy Baton to a machine that ssh finds, start its host, and pair with it')
    .action(async (alias: string, { role }: { role?: 'peer' | 'operator' }) => {
      const client = await session.host();
      if (!session.json) session.remark(`Looking at ${inertLine(alias)} …`);
      const added = await client.call('host/add', { alias, ...(role === undefined ? {} : { role }) });
      session.result(added, () => [
        wrap(`"${inertLine(added.name)}" (${added.hostId}) is a host of this one${added.known ? ', as it was before,' : ''} and lets it in as ${added.role}. ${added.copied ? 'Baton was copied there' : 'Baton was there already'}: ~/.baton/bin/baton.js. Both hosts note these words:`, session.columns, 0),
        '',
        `  ${inertLine(added.words)}`,
        ...added.notes.flatMap((note) => ['', wrap(inertLine(note), session.columns, 0)]),
        '',
        wrap('Save the clone that threads may move to with "baton project add" there.', session.columns, 0),
      ].join('\n'));
    });
}
