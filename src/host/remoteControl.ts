import { createHash } from 'node:crypto';
import { systemClock, type Clock } from '../relay/clock';
import type { Actor, AuditLog } from './audit';
import { HostError } from './hostError';
import type { Log } from './log';
import type { PeerNetwork } from './peerNetwork';
import type { Role } from './protocol';
import type { RemoteControlStatus } from './remoteControlSchemas';
import type { Settings, SettingsStore } from './settings';
import type { Trust } from './trust';
import { describeError } from './wireError';

/** How often it is looked at what the administrator says, beside each time that it matters. */
const LOOK_AGAIN_MS = 60_000;

export interface RemoteControlPorts {
  readonly hostId: string;
  readonly settings: Pick<SettingsStore, 'value' | 'change'>;
  readonly trust: Pick<Trust, 'admitControllers' | 'peers'>;
  readonly network: Pick<PeerNetwork, 'setRelay' | 'relayStatus' | 'pairing'>;
  readonly audit: Pick<AuditLog, 'append'>;
  /** Whether the administrator of this machine allows it: `allow_remote_control` of Codex's requirements. Rejects where Codex cannot be asked. */
  allowed(): Promise<boolean>;
  onChanged(status: RemoteControlStatus): void;
  readonly log: Log;
  readonly clock?: Clock;
}

const forbidden = 'An administrator has turned remote control off on this machine (allow_remote_control = false in Codex\'s requirements.toml).';

/** Why nobody is let in from elsewhere, in a sentence; null where they are. */
export function closedBecause({ remoteControl, remoteControlForbidden }: Pick<Settings, 'remoteControl' | 'remoteControlForbidden'>): string | null {
  if (remoteControlForbidden) return forbidden;
  return remoteControl ? null : 'Remote control of this host is turned off; "baton remote-control enable" turns it on.';
}

/**
 * Whether controllers may come to this host from elsewhere: devices, and hosts that are its operators. The user turns that on and off, an
 * administrator can forbid it. To be trusted is another matter, and so are handoffs between paired hosts, which no controller steers.
 */
export class RemoteControl {
  private forbids: boolean;
  private enabled: boolean;
  /** Nobody comes in before it is known that they may. */
  private known = false;
  private told: string;
  private stopLooking: () => void = () => undefined;
  private disposed = false;

  constructor(private readonly ports: RemoteControlPorts) {
    const { remoteControl, remoteControlForbidden } = ports.settings.value;
    this.enabled = remoteControl;
    this.forbids = remoteControlForbidden;
    this.told = JSON.stringify(this.status());
  }

  get closedBecause(): string | null {
    return closedBecause({ remoteControl: this.enabled, remoteControlForbidden: this.forbids });
  }

  status(): RemoteControlStatus {
    const { hostId, settings, network } = this.ports;
    return { status: this.closedBecause === null ? network.relayStatus.status : 'disabled', serverName: settings.value.name, installationId: installationIdOf(hostId), environmentId: hostId };
  }

  /** Puts what is known into force: who may come in, and whether this host is at its relay. Anything that may have changed it may ask. */
  apply(): void {
    if (this.disposed) return;
    const { trust, network, settings } = this.ports;
    trust.admitControllers(this.known ? this.closedBecause === null : null);
    // Where nobody may be let in, a relay serves only hosts that are known already.
    const met = !this.forbids || trust.peers.list().some(({ role }) => role !== 'none');
    network.setRelay(met ? settings.value.relayUrl : null);
    const status = this.status();
    const text = JSON.stringify(status);
    if (text === this.told) return;
    this.told = text;
    this.ports.onChanged(status);
  }

  /** Asks what the administrator says now. Where that cannot be found out, what was said last holds. Never rejects. */
  async look(): Promise<void> {
    this.stopLooking();
    try {
      const forbids = !(await this.ports.allowed());
      if (forbids !== this.forbids) {
        this.forbids = forbids;
        if (forbids) this.ports.log.warn(forbidden);
        await this.ports.settings.change({ remoteControlForbidden: forbids });
      }
    } catch (error) {
      this.ports.log.info(`Whether remote control is allowed could not be asked: ${describeError(error).message}`);
    }
    this.known = true;
    if (this.disposed) return;
    if (this.forbids) this.cancelInvites(() => true);
    this.apply();
    this.stopLooking();
    this.stopLooking = (this.ports.clock ?? systemClock).after(LOOK_AGAIN_MS, () => void this.look());
  }

  /** Throws HostError `remote-control-forbidden` where the administrator has turned it off. */
  async requireAllowed(): Promise<void> {
    await this.look();
    if (this.forbids) throw new HostError('remote-control-forbidden', `${forbidden} Nobody can be invited, and only hosts that were paired before can still hand threads over.`);
  }

  /** Throws HostError `remote-control-forbidden`, and `remote-control-disabled` for an invite to steer or see while that is off. */
  async requireInvitable(role: Role): Promise<void> {
    await this.requireAllowed();
    if (role !== 'peer' && !this.enabled) throw new HostError('remote-control-disabled', 'Remote control of this host is turned off, so an invite could not be used. Turn it on with "baton remote-control enable".');
  }

  /** Throws HostError `remote-control-forbidden`, `relay-not-set`. */
  async enable(by: Actor, ephemeral: boolean): Promise<RemoteControlStatus> {
    await this.requireAllowed();
    if (this.ports.settings.value.relayUrl === null) throw new HostError('relay-not-set', 'Remote control needs a relay at which this host can be met. End this host with "baton stop" and start it with "baton host --relay URL".');
    return this.turn(true, by, ephemeral);
  }

  /** Ends what devices and operators have open, and their open invites. Throws HostError `remote-control-forbidden`. */
  async disable(by: Actor, ephemeral: boolean): Promise<RemoteControlStatus> {
    await this.requireAllowed();
    return this.turn(false, by, ephemeral);
  }

  dispose(): void {
    this.disposed = true;
    this.stopLooking();
  }

  private async turn(enabled: boolean, by: Actor, ephemeral: boolean): Promise<RemoteControlStatus> {
    if (enabled !== this.enabled) await this.ports.audit.append({ type: enabled ? 'remote-control-enabled' : 'remote-control-disabled', by });
    if (!ephemeral) await this.ports.settings.change({ remoteControl: enabled });
    this.enabled = enabled;
    if (!enabled) this.cancelInvites((role) => role !== 'peer');
    this.apply();
    return this.status();
  }

  private cancelInvites(fits: (role: Role) => boolean): void {
    const { invites } = this.ports.network.pairing;
    for (const { id, role, state } of invites.list()) if ((state === 'open' || state === 'claiming') && fits(role)) invites.end(id, 'cancelled');
  }
}

/** A UUID (RFC 9562, version 8) out of a host's id: Codex's clients expect one. */
function installationIdOf(hostId: string): string {
  const hex = createHash('sha256').update(`baton installation\0${hostId}`).digest('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), `8${hex.slice(13, 16)}`, `8${hex.slice(17, 20)}`, hex.slice(20, 32)].join('-');
}
