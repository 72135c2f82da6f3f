import type { Implementations } from './controllers';
import { listHandoffs } from './handoffList';
import type { HostService } from './service';

type Method = 'host/aliases' | 'host/add' | 'host/ssh' | 'host/meeting' | 'host/stopIfIdle';

/** How hosts come to know each other over ssh, and make room for a newer Baton. */
export function sshMethods(host: HostService): Pick<Implementations, Method> {
  return {
    'host/aliases': () => host.sshHosts.aliases(),
    'host/add': async ({ alias, role, url, tokenEnv }, { ended }) => {
      const added = url !== undefined && tokenEnv !== undefined ? await host.openHosts.add({ url, tokenEnv }, ended) : await host.sshHosts.add(alias ?? '', role, ended);
      host.changed('hosts', 'devices');
      return added;
    },
    'host/ssh': async ({ alias }) => {
      const { program, args } = await host.sshHosts.inTheOpen(alias);
      return { program, args: [...args] };
    },
    'host/meeting': async (wish, { by }) => {
      await host.remoteControl.requireInvitable(wish.role ?? 'peer');
      return host.network.pairing.meeting({ ...wish, by });
    },
    'host/stopIfIdle': async () => {
      // From here on nothing begins that would be cut off.
      host.threads.retiring = true;
      const busy = await busyWith(host).catch(() => 'Codex there cannot say whether it works.');
      if (busy !== null) {
        host.threads.retiring = false;
        return { stopped: false, busy };
      }
      setImmediate(() => void host.close());
      return { stopped: true, busy: null };
    },
  };
}

async function busyWith(host: HostService): Promise<string | null> {
  const handoff = listHandoffs(host.ledger).find(({ open }) => open);
  return handoff === undefined ? host.threads.busy() : `A handoff is under way: ${handoff.description}`;
}
