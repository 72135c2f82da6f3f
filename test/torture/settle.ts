import type { Site } from '../integration/pairedHosts';
import { standingOf } from './evidence';
import type { Ground } from './ground';

/** Both sides have done what was left to do, and can reach each other. Hosts that die meanwhile by their orders are started again. */
export async function settle(ground: Ground, threadId: string): Promise<void> {
  const quiet = async (site: Site) => {
    const { handoffs } = await site.traces();
    if ((handoffs as string[]).length > 0 || !standingOf(site, threadId, site === ground.pair.laptop).settled) return false;
    return (await site.client.call('host/read', {})).relay.status === 'connected';
  };
  for (;;) {
    await ground.revive();
    try {
      await Promise.all(ground.sites.map((site) => site.until(() => quiet(site))));
      if (ground.sites.every((site) => ground.isAlive(site))) return;
    } catch (error) {
      // Its client notices before this process hears that its child has ended.
      const dying = ground.sites.filter((site) => String(error).includes(`host of ${site.machine.name} went away`));
      if (dying.length === 0) throw error;
      await Promise.all(dying.map((site) => ground.death(site)));
    }
  }
}
