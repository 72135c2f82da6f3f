import type { CommandTable } from './commandTable';
import { untilInterrupted } from './foreground';
import { inertLine } from './inertText';
import { resolveHost } from './resolve';

export function addTunnelCommand({ program, session }: CommandTable): void {
  program
    .command('tunnel')
    .argument('<HOST>', 'a host that lets this one in as viewer, approver or operator: its name or id')
    .description("bring another host's Codex here, for `codex --remote`, until Ctrl-C")
    .action(async (word: string) => {
      const client = await session.host();
      const { hostId, name } = resolveHost(word, (await client.call('host/list')).hosts);
      const interrupted = untilInterrupted();
      const lost = new Promise<void>((resolve) => client.onClose(resolve));
      // It is open for as long as this connection to the host is.
      const tunnel = await client.call('tunnel/open', { host: hostId });
      session.result({ hostId, ...tunnel }, () => [
        `The Codex of "${inertLine(name)}" can be used from here as ${tunnel.role}, until Ctrl-C:`,
        '',
        ...(tunnel.socketPath === null ? [] : [`  codex --remote unix://${tunnel.socketPath}`, '', 'or, where a WebSocket is wanted:', '']),
        `  BATON_TUNNEL_TOKEN=$(cat '${tunnel.tokenFile}') codex --remote ${tunnel.url} --remote-auth-token-env BATON_TUNNEL_TOKEN`,
      ].join('\n'));
      await Promise.race([interrupted, lost]);
    });
}
