import { InvalidArgumentError } from 'commander';
import type { CommandTable } from './commandTable';
import { untilInterrupted } from './foreground';
import { inertJson } from './inertText';

const DEFAULT_ADDRESS = '127.0.0.1:7440';

/** Parses `ADDR:PORT`; an IPv6 address stands in brackets. */
function parseAddress(text: string): { host: string; port: number } {
  const [, bracketed, plain, digits] = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  if (host === undefined || Number(digits) > 65_535) throw new InvalidArgumentError('It has the form ADDR:PORT, such as 127.0.0.1:7440 or [::1]:7440; port 0 chooses one.');
  return { host, port: Number(digits) };
}

export function addRelayCommand({ program, session }: CommandTable): void {
  program
    .command('relay')
    .description('run a relay in the foreground')
    .option('--listen <ADDR:PORT>', 'where to listen', parseAddress, parseAddress(DEFAULT_ADDRESS))
    .action(async (options: { listen: { host: string; port: number } }) => {
      const { startRelay } = await import('../../relay/relayServer');
      const relay = await startRelay({ ...options.listen, log: (event) => session.note(`${new Date().toISOString()} ${inertJson(event)}`) });
      // Before it says that it is ready: whoever waits for that may end it at once.
      const interrupted = untilInterrupted();
      session.result({ ready: true, url: relay.url }, () => `The relay is ready at ${relay.url}. Ctrl-C ends it.`);
      await interrupted;
      await relay.close();
    });
}
