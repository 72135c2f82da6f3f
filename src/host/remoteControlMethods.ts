import { parseInvite } from '../relay/invite';
import { equalBytes } from '../relay/keys';
import { parseCode } from '../relay/pairingCode';
import type { Implementations } from './controllers';
import { revokeTrust } from './deviceMethods';
import type { DeviceSummary } from './deviceSchemas';
import { HostError } from './hostError';
import type { Invite } from './invites';
import type { MethodName } from './protocol';
import type { RemoteControlClient } from './remoteControlSchemas';
import type { HostService } from './service';

type RemoteControlMethod = Extract<MethodName, `remoteControl/${string}`>;
export type RemoteControlMethods = Pick<Implementations, RemoteControlMethod>;

const names: Readonly<Record<RemoteControlMethod, true>> = {
  'remoteControl/status/read': true, 'remoteControl/enable': true, 'remoteControl/disable': true, 'remoteControl/pairing/start': true,
  'remoteControl/pairing/status': true, 'remoteControl/client/list': true, 'remoteControl/client/revoke': true,
};
export const isRemoteControl = (method: string): method is RemoteControlMethod => Object.hasOwn(names, method);

const MOST_CLIENTS = 100;
const USUAL_CLIENTS = 50;

/** Codex's remote control, by Baton's own means: an invite for an operator is a pairing, and whoever may steer this host is a client. */
export function remoteControlMethods(host: HostService): RemoteControlMethods {
  const requireHere = (environmentId: string) => {
    if (environmentId !== host.hostId) throw new HostError('invalid-params', `This host's environmentId is ${host.hostId}.`);
  };
  const clients = (): DeviceSummary[] => host.trust.list().filter(({ kind, role, expired }) => !expired && (kind === 'device' || role === 'operator'));
  return {
    'remoteControl/status/read': async () => {
      await host.remoteControl.requireAllowed();
      return host.remoteControl.status();
    },
    'remoteControl/enable': (params, { by }) => host.remoteControl.enable(by, params?.ephemeral === true),
    'remoteControl/disable': (params, { by }) => host.remoteControl.disable(by, params?.ephemeral === true),
    'remoteControl/pairing/start': async ({ manualCode }, { by }) => {
      await host.remoteControl.requireInvitable('operator');
      const { invite, code, expiresAt } = await host.network.pairing.invite({ role: 'operator', by });
      return { pairingCode: invite, manualPairingCode: manualCode === true ? code : null, environmentId: host.hostId, expiresAt: Math.floor(Date.parse(expiresAt) / 1000) };
    },
    'remoteControl/pairing/status': async ({ pairingCode, manualPairingCode }) => {
      if ((pairingCode == null) === (manualPairingCode == null)) throw new HostError('invalid-params', 'remoteControl/pairing/status takes either pairingCode or manualPairingCode.');
      await host.remoteControl.requireAllowed();
      const invite = host.network.pairing.invites.find(pairingCode == null ? hasCode(manualPairingCode ?? '') : hasLink(pairingCode));
      if (invite === undefined) throw new HostError('no-such-invite', 'There is no such pairing. It is forgotten when the host ends.');
      return { claimed: invite.state === 'claimed' };
    },
    'remoteControl/client/list': async ({ environmentId, cursor, limit, order }) => {
      requireHere(environmentId);
      const most = limit ?? USUAL_CLIENTS;
      if (most < 1 || most > MOST_CLIENTS) throw new HostError('invalid-params', `The limit of remoteControl/client/list is between 1 and ${MOST_CLIENTS}.`);
      await host.remoteControl.requireAllowed();
      return pageOf(clients(), order ?? 'desc', cursor ?? null, most, (id) => host.trust.lastSeen(id));
    },
    'remoteControl/client/revoke': async ({ environmentId, clientId }, { by }) => {
      requireHere(environmentId);
      await host.remoteControl.requireAllowed();
      if (!clients().some(({ id }) => id === clientId)) throw new HostError('no-such-device', `No client ${clientId.slice(0, 64)} is paired with this host.`);
      await revokeTrust(host, clientId, by);
      return {};
    },
  };
}

/** Throws RelayError `invite-invalid` for what is no link. */
function hasLink(text: string): (invite: Invite) => boolean {
  const { room, psk } = parseInvite(text);
  return (invite) => invite.room === room && equalBytes(invite.psk, psk);
}

/** Throws RelayError `invite-invalid` for what is no code. */
function hasCode(text: string): (invite: Invite) => boolean {
  const code = parseCode(text).text;
  return (invite) => invite.code?.text === code;
}

/** Clients by when they were paired. A cursor is the place of the last one that was given, so that one that comes or goes meanwhile moves no other. */
function pageOf(clients: readonly DeviceSummary[], order: 'asc' | 'desc', cursor: string | null, limit: number, lastSeen: (id: string) => number | null): { data: RemoteControlClient[]; nextCursor: string | null } {
  const place = ({ addedAt, id }: DeviceSummary) => `${addedAt}|${id}`;
  const forwards = (left: string, right: string) => (left < right ? -1 : left > right ? 1 : 0) * (order === 'asc' ? 1 : -1);
  const rest = clients.filter((client) => cursor === null || forwards(cursor, place(client)) < 0).sort((left, right) => forwards(place(left), place(right)));
  const page = rest.slice(0, limit);
  const last = page.at(-1);
  return { data: page.map((client) => clientOf(client, lastSeen(client.id))), nextCursor: last !== undefined && rest.length > page.length ? place(last) : null };
}

function clientOf({ id, name }: DeviceSummary, seenAt: number | null): RemoteControlClient {
  return { clientId: id, displayName: name, deviceType: null, platform: null, osVersion: null, deviceModel: null, appVersion: null, lastSeenAt: seenAt === null ? null : Math.floor(seenAt / 1000) };
}
