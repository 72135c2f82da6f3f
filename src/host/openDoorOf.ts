import { openDoor } from './openDoor';
import { PROTOCOL_VERSION } from './protocol';
import type { HostService } from './service';
import { requireToken } from './tokens';
import { batonVersion } from './version';
import { describeError } from './wireError';

/** Lets other hosts in where the user wants that and the token is there; gives what ends it. Throws only what a user should hear who asks for it just now. */
export async function openDoorOf(host: HostService): Promise<() => Promise<void>> {
  const { listen } = host.settings.value;
  const { log, tokens = {}, listen: asked } = host.options;
  if (listen === null) return () => Promise.resolve();
  try {
    const door = await openDoor({
      ...listen, log,
      token: requireToken(tokens, listen.tokenEnv),
      greet: async (meet) => {
        if (meet !== null) await host.remoteControl.requireInvitable('peer');
        return {
          hostId: host.hostId, name: host.name, protocolVersion: PROTOCOL_VERSION, running: batonVersion, file: batonVersion, relayUrl: host.settings.value.relayUrl, kept: null,
          meeting: meet === null ? null : await host.network.pairing.meeting({ hostId: meet, by: `host:${meet}` }),
        };
      },
      take: (stream, what) => host.network.take(stream, what),
    });
    log.info(`Other hosts are let in at ${listen.host}:${door.port} with the token in ${listen.tokenEnv}.`);
    return () => door.close();
  } catch (error) {
    if (asked != null) throw error;
    log.error(`Nothing listens for other hosts: ${describeError(error).message}`);
    return () => Promise.resolve();
  }
}
