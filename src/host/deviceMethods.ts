import type { Implementations } from './controllers';
import { listHandoffs } from './handoffList';
import type { HostService } from './service';

/** Whom this host trusts, and the end of that. */
export function deviceMethods(host: HostService): Pick<Implementations, 'device/list' | 'device/revoke'> {
  const { trust } = host;
  return {
    'device/list': () => Promise.resolve({ devices: trust.list() }),
    'device/revoke': async ({ id }, { by }) => {
      const known = trust.list().filter((entry) => entry.id === id);
      // Written first: what has taken effect must be in the log.
      for (const { name, kind } of known) await host.audit.append({ type: 'device-revoked', deviceId: id, name, kind, by });
      const channels = await trust.revoke(id);
      if (channels !== null) host.changed('devices', 'hosts');
      return { revoked: channels !== null, channels: channels ?? 0, openHandoffs: listHandoffs(host.ledger).filter(({ open, peer }) => open && peer.hostId === id).length };
    },
  };
}
