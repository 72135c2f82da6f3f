import { randomBytes } from 'node:crypto';
import { dirname, join } from 'node:path';
import type { Implementations } from './controllers';
import { HostClient } from './hostClient';
import { HostError } from './hostError';
import { localSocketPath } from './localSocket';
import type { HostService } from './service';
import { openTunnel } from './tunnel';
import { batonVersion } from './version';

/** How long the other host may take to say as what it lets this one in: it may have to start its Codex first. */
const ANSWER_TIMEOUT_MS = 60_000;

/** Tunnels to the Codex of other hosts, each for as long as the controller that asked for it is connected. */
export function tunnelMethods(host: HostService): Pick<Implementations, 'tunnel/open'> {
  return {
    'tunnel/open': async ({ host: hostId }, { ended }) => {
      const { network, options: { batonHome, log } } = host;
      const name = host.trust.peers.get(hostId)?.name ?? hostId.slice(0, 8);
      if (hostId === host.hostId) throw new HostError('same-host', 'That is this host: its Codex needs no tunnel.');
      const trial = await network.openTunnel(hostId);
      let role;
      try {
        role = (await HostClient.over(trial, { clientInfo: { name: 'baton-tunnel', version: batonVersion }, signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS), log })).host.baton.role;
      } catch (cause) {
        if (!HostError.is(cause, 'connection-lost')) throw cause;
        throw new HostError('not-permitted', `${name} does not let this host use its Codex: it knows it for handoffs only, or not any more. Make an invite there with "baton invite --role viewer", approver or operator, and join it here.`, { cause });
      } finally {
        trial.destroy();
      }
      const tunnel = await openTunnel({ directory: join(dirname(localSocketPath(batonHome)), 't'), id: randomBytes(4).toString('hex'), open: () => network.openTunnel(hostId), log });
      const close = () => void tunnel.close().catch((error: unknown) => log.error(`A tunnel could not be closed: ${String(error)}`));
      ended.addEventListener('abort', close, { once: true });
      if (ended.aborted) close();
      return { role, socketPath: tunnel.socketPath, url: tunnel.url, tokenFile: tunnel.tokenFile };
    },
  };
}
