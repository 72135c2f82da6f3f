import { parseInvite } from '../relay/invite';
import { fingerprintOf, publicKeyOf } from '../relay/keys';
import type { Actor } from './audit';
import type { Implementations } from './controllers';
import { listHandoffs } from './handoffList';
import type { HostService } from './service';

/** Ends the trust in a key, and what it has open. Gives how many channels that were, or null where the key was not trusted. */
export async function revokeTrust(host: HostService, id: string, by: Actor): Promise<number | null> {
  const known = host.trust.list().filter((entry) => entry.id === id);
  // Written first: what has taken effect must be in the log.
  for (const { name, kind } of known) await host.audit.append({ type: 'device-revoked', deviceId: id, name, kind, by });
  const channels = await host.trust.revoke(id);
  if (channels !== null) host.changed('devices', 'hosts');
  return channels;
}

/** Whom this host trusts, and the end of that. */
export function deviceMethods(host: HostService): Pick<Implementations, 'device/list' | 'device/revoke' | 'invite/list' | 'invite/read' | 'invite/cancel' | 'invite/wait'> {
  const { trust } = host;
  return {
    'invite/list': () => Promise.resolve({ invites: host.network.pairing.invites.list() }),
    'invite/read': async ({ invite }) => {
      const { name, hostId, relayUrl, expiresAt } = await Promise.resolve(invite).then(parseInvite);
      return { name, hostId, fingerprint: fingerprintOf(publicKeyOf(hostId)), relayUrl, expiresAt: expiresAt.toISOString() };
    },
    'invite/cancel': ({ id }) => Promise.resolve({ cancelled: host.network.pairing.invites.end(id, 'cancelled') }),
    'invite/wait': ({ id }) => host.network.pairing.invites.wait(id),
    'device/list': () => Promise.resolve({ devices: trust.list() }),
    'device/revoke': async ({ id }, { by }) => {
      const channels = await revokeTrust(host, id, by);
      return { revoked: channels !== null, channels: channels ?? 0, openHandoffs: listHandoffs(host.ledger).filter(({ open, peer }) => open && peer.hostId === id).length };
    },
  };
}
