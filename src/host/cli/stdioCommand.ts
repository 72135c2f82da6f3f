import type { Command } from 'commander';
import { finished } from 'node:stream/promises';
import { InvalidArgumentError, Option } from 'commander';
import type { z } from 'zod';
import { HostError } from '../hostError';
import { bringTo } from '../localDoor';
import { PROTOCOL_VERSION } from '../protocol';
import { compareVersions, type greeting } from '../ssh/greeting';
import { batonVersion } from '../version';
import { describeError } from '../wireError';
import type { CommandTable } from './commandTable';
import { ended } from './ended';
import type { Session } from './session';

interface StdioOptions {
  readonly callback?: string;
  readonly meet?: string;
  readonly role?: 'peer' | 'operator';
  readonly renew?: true;
}

const of = (pattern: RegExp) => (text: string): string => {
  if (!pattern.test(text)) throw new InvalidArgumentError('It has another form.');
  return text;
};

/** `baton host stdio`: the far end of a connection that another host made here over ssh. People have no use for it. */
export function addStdioCommand({ session, exitWith }: CommandTable, host: Command): void {
  host
    .command('stdio', { hidden: true })
    .description('join standard input and output to the host, which is started if it does not run')
    .option('--callback <TICKET>', 'the host asked to be called, and begins the channel', of(/^[0-9a-f]{32}$/))
    .option('--meet <ID>', 'let the host with this key in', of(/^[A-Za-z0-9_-]{43}$/))
    .addOption(new Option('--role <ROLE>', 'as what it is let in').choices(['peer', 'operator']))
    .option('--renew', 'end a host of an older version that is not at work, and start this one')
    .action(async (options: StdioOptions) => {
      const say = (line: z.input<typeof greeting>) => void session.stdout.write(`${JSON.stringify(line)}\n`);
      try {
        const kept = options.renew === true ? await renew(session) : null;
        const client = await session.host();
        const { hostId, name, batonVersion: running, relay } = await client.call('host/read');
        const meeting = options.meet === undefined ? null : await client.call('host/meeting', { hostId: options.meet, ...(options.role === undefined ? {} : { role: options.role }) });
        const stream = await bringTo(session.batonHome, options.callback === undefined ? { kind: 'channel' } : { kind: 'callback', ticket: options.callback });
        say({ hostId, name, protocolVersion: PROTOCOL_VERSION, running, file: batonVersion, relayUrl: relay.url, kept, meeting });
        await session.dispose();
        session.stdin.pipe(stream);
        stream.pipe(session.stdout);
        // What the connection was for has ended when the host here says so, or the other machine is gone.
        await finished(stream).catch(() => undefined);
        session.stdin.destroy();
      } catch (error) {
        const { reason, message } = describeError(error);
        say({ error: { reason, message: message.slice(0, 4096) } });
        session.stdin.destroy();
        exitWith(1);
      }
    });
}

/** Puts this version in the place of an older host that runs. Says why not, where it is at work or cannot be asked; null where nothing stands in the way. */
async function renew(session: Session): Promise<string | null> {
  const client = await session.runningHost();
  if (client === undefined) return null;
  const { batonVersion: running, pid } = await client.call('host/read');
  if (compareVersions(running, batonVersion) >= 0) return null;
  let answer;
  try {
    answer = await client.call('host/stopIfIdle');
  } catch (error) {
    if (HostError.is(error, 'unknown-method')) return `Baton ${running} cannot say whether it is at work. End it there with "baton stop" when it is not.`;
    // It may be gone before its answer is here.
    if (!HostError.is(error, 'connection-lost')) throw error;
    answer = { stopped: true, busy: null };
  }
  if (!answer.stopped) return `${answer.busy ?? 'It is at work.'} It is renewed when it rests.`;
  await ended(pid);
  await session.nextHost();
  return null;
}
