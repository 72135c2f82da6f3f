import { spawn } from 'node:child_process';
import { Option, type Command } from 'commander';
import { HostError } from '../hostError';
import type { CommandTable } from './commandTable';
import { inertLine } from './inertText';
import { parseTokenName } from './hostCommands';
import { table, wrap } from './layout';
import { UsageError } from './session';

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
    .argument('<ALIAS>', 'a host of your ssh configuration, or the wss:// address of one that listens')
    .option('--token-env <NAME>', 'for an address: environment variable with the token', parseTokenName)
    .addOption(new Option('--role <ROLE>', 'what this host may do there: take part in handoffs, or all that you may').choices(['peer', 'operator']))
    .description('copy Baton to a machine that ssh finds, start its host, and pair with it')
    .action(async (alias: string, { role, tokenEnv }: { role?: 'peer' | 'operator'; tokenEnv?: string }) => {
      const isAddress = /^wss?:\/\//.test(alias);
      if (isAddress !== (tokenEnv !== undefined)) throw new UsageError(isAddress ? 'Say with --token-env which variable has the token.' : '--token-env is for addresses that begin with wss://.');
      if (isAddress && role !== undefined) throw new UsageError('--role is for machines that ssh finds; what others may do, their invites say.');
      const client = await session.host();
      if (!session.json) session.remark(`Looking at ${inertLine(alias)} …`);
      const wish = tokenEnv === undefined ? { alias, ...(role === undefined ? {} : { role }) } : { url: alias, tokenEnv };
      const added = await client.call('host/add', wish).catch(async (error: unknown) => {
        // Where somebody sits at a terminal, ssh may ask there what it may not ask in the background.
        if (isAddress || session.json || !session.stdin.isTTY || !session.stdout.isTTY || !(HostError.is(error, 'ssh-refused') || HostError.is(error, 'ssh-host-key'))) throw error;
        if (!(await inTheOpen(await client.call('host/ssh', { alias })))) throw error;
        return client.call('host/add', wish);
      });
      session.result(added, () => [
        wrap(`"${inertLine(added.name)}" (${added.hostId}) is a host of this one${added.known ? ', as it was before,' : ''} and lets it in as ${added.role}. ${isAddress ? '' : `${added.copied ? 'Baton was copied there' : 'Baton was there already'}: ~/.baton/bin/baton.js. `}Both hosts note these words:`, session.columns, 0),
        '',
        `  ${inertLine(added.words)}`,
        ...added.notes.flatMap((note) => ['', wrap(inertLine(note), session.columns, 0)]),
        '',
        wrap('Save the clone that threads may move to with "baton project add" there.', session.columns, 0),
      ].join('\n'));
    });
}

/** Runs ssh at this terminal, so that it can ask. True where it got through. */
function inTheOpen({ program, args }: { readonly program: string; readonly args: readonly string[] }): Promise<boolean> {
  return new Promise((resolve) => {
    const child = spawn(program, args, { stdio: 'inherit' });
    child.once('error', () => resolve(false));
    child.once('exit', (code) => resolve(code === 0));
  });
}
