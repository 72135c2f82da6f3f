import { resolve } from 'node:path';
import { InvalidArgumentError, Option, type Command } from 'commander';
import type { z } from 'zod';
import { HostError } from '../hostError';
import type { startReport } from '../launchHost';
import { streamLog } from '../log';
import { readRelayRight } from '../relayAccess';
import { tokenName } from '../identifiers';
import { takeTokens } from '../tokens';
import type { CommandTable } from './commandTable';
import { ended } from './ended';
import { untilInterrupted } from './foreground';
import { inertLine } from './inertText';
import { parseAddress, parseRelayUrl } from './relayCommand';
import { UsageError } from './session';

function parseName(text: string): string {
  if (text.length === 0 || text.length > 64 || inertLine(text) !== text) throw new InvalidArgumentError('It has 1 to 64 visible characters.');
  return text;
}

export function parseTokenName(text: string): string {
  if (!tokenName.safeParse(text).success) throw new InvalidArgumentError('It is BATON_TOKEN, or begins with BATON_TOKEN_, in capitals.');
  return text;
}

function rightOf({ relaySecretFile, relayGrantFile }: { relaySecretFile?: string; relayGrantFile?: string }) {
  if (relaySecretFile !== undefined) return { secretFile: resolve(relaySecretFile) };
  return relayGrantFile === undefined ? undefined : { grantFile: resolve(relayGrantFile) };
}

/** Tells the process that started this one how the start went; nothing where nobody waits. */
function reportStart(report: z.input<typeof startReport>): Promise<void> {
  return new Promise((resolve) => {
    if (process.send === undefined || !process.connected) {
      resolve();
      return;
    }
    process.send(report, undefined, {}, () => {
      if (process.connected) process.disconnect();
      resolve();
    });
  });
}

/** Gives the command `host`, which others are put below. */
export function addHostCommands({ program, session }: CommandTable): Command {
  const host = program
    .command('host')
    .description("run this account's host in the foreground; all options are remembered")
    .option('--relay <URL>', 'the relay where this host can be met', parseRelayUrl)
    .addOption(new Option('--relay-secret-file <FILE>', "file with the relay's secret").conflicts('relayGrantFile'))
    .option('--relay-grant-file <FILE>', "file with an issuer's token for the relay")
    .option('--listen <ADDR:PORT>', 'let other hosts in there, behind TLS of your own; "off" for nowhere', (text: string) => (text === 'off' ? null : parseAddress(text)))
    .option('--listen-token-env <NAME>', 'environment variable with the token that they show', parseTokenName)
    .option('--name <NAME>', 'the name that others see', parseName)
    .action(async (options: { relay?: string; name?: string; relaySecretFile?: string; relayGrantFile?: string; listen?: { host: string; port: number } | null; listenTokenEnv?: string }) => {
      const relayRight = rightOf(options);
      // A file that is of no use should be heard of by who names it, not later in a log.
      if (relayRight !== undefined) await readRelayRight(relayRight);
      const { listen, listenTokenEnv: tokenEnv } = options;
      if (listen != null && tokenEnv === undefined) throw new UsageError('Say with --listen-token-env which variable has the token: BATON_TOKEN, or BATON_TOKEN_… .');
      const { runHost } = await import('../service');
      const log = streamLog(session.stderr);
      const running = await runHost({
        batonHome: session.batonHome,
        codexHome: session.codexHome,
        ...(options.relay === undefined ? {} : { relayUrl: options.relay }),
        ...(options.name === undefined ? {} : { name: options.name }),
        ...(relayRight === undefined ? {} : { relayRight }),
        ...(listen === undefined ? {} : { listen: listen === null || tokenEnv === undefined ? null : { ...listen, tokenEnv } }),
        tokens: takeTokens(process.env),
        env: session.env,
        entry: session.entry,
        log,
      }).catch(async (error: unknown) => {
        const reason = error instanceof Error && 'reason' in error && typeof error.reason === 'string' ? error.reason : 'internal';
        await reportStart({ error: { reason, message: error instanceof Error ? error.message : String(error) } });
        throw error;
      });
      const { hostId, name } = running;
      // Before it says that it is ready: whoever waits for that may end it at once.
      const interrupted = untilInterrupted();
      await reportStart({ ready: true, hostId, name });
      session.result({ ready: true, hostId, name }, () => `The host "${inertLine(name)}" (${hostId}) is ready. Ctrl-C ends it.`);
      await Promise.race([interrupted, running.closed]);
      await running.close();
    });

  program
    .command('stop')
    .description('end the running host cleanly')
    .action(async () => {
      const client = await session.runningHost();
      if (client === undefined) {
        session.result({ stopped: true }, () => 'No host is running.');
        return;
      }
      const { pid } = await client.call('host/read');
      await client.call('host/stop').catch((error: unknown) => {
        // It may be gone before its answer is here.
        if (!HostError.is(error, 'connection-lost')) throw error;
      });
      await ended(pid);
      session.result({ stopped: true }, () => 'The host has ended.');
    });
  return host;
}
