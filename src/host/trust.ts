import { systemClock, type Clock } from '../relay/clock';
import type { Access } from './access';
import type { DeviceSummary } from './deviceSchemas';
import type { Device, DeviceStore } from './devices';
import { HostError } from './hostError';
import type { Peer, PeerStore } from './peers';

/** Whether a time limit has passed is looked at no less often than this, as the machine may have slept. */
const LOOK_AGAIN_MS = 30_000;

/** A channel, as far as it matters here: it can be ended. */
interface Ending {
  destroy(error: Error): unknown;
  once(event: 'close', listener: () => void): unknown;
}

/** Which keys this host trusts, for what and until when, and the channels that they have open. */
export class Trust {
  /** Each channel with what looks whether its trust still holds. */
  private readonly open = new Map<string, Map<Ending, () => boolean>>();
  private readonly seen = new Map<string, number>();
  private admitsControllers: boolean | null = true;
  private waiting: (() => void)[] = [];

  constructor(
    readonly peers: PeerStore,
    readonly devices: DeviceStore,
    private readonly clock: Clock = systemClock,
    /** Milliseconds since 1970. */
    private readonly now: () => number = Date.now,
  ) {}

  /** Says whether any key may steer this host. Where none may, what they have open ends, and an operator is a peer; all stay trusted. Null while that is not known: until then none may. */
  admitControllers(admitted: boolean | null): void {
    this.admitsControllers = admitted;
    if (admitted !== null) for (const decided of this.waiting.splice(0)) decided();
    for (const channels of [...this.open.values()]) for (const holds of [...channels.values()]) holds();
  }

  /** Resolves once it is known whether any key may steer this host. Who is judged before would be taken for less than it is. */
  async decided(): Promise<void> {
    if (this.admitsControllers === null) await new Promise<void>((resolve) => this.waiting.push(resolve));
  }

  /** The other host with this key, where it may take part in handoffs now. */
  peer(id: string): Peer | undefined {
    const known = this.peers.get(id);
    if (known === undefined || known.role === 'none' || this.isOver(known)) return undefined;
    return this.admitsControllers === true ? known : { ...known, role: 'peer' };
  }

  /** As what a key may steer this host now; undefined where it may not. */
  access(id: string): Access | undefined {
    if (this.admitsControllers !== true) return undefined;
    const device = this.device(id);
    if (device !== undefined) return { by: `device:${id}`, role: device.role, threadId: device.threadId, temporary: device.expiresAt !== null };
    const peer = this.peer(id);
    return peer?.role === 'operator' ? { by: `host:${id}`, role: 'operator', threadId: null, temporary: peer.expiresAt !== null } : undefined;
  }

  /** Whether a key may open a channel to this host at all, or may turn out to. */
  knows(id: string): boolean {
    return this.peer(id) !== undefined || (this.admitsControllers !== false && this.device(id) !== undefined);
  }

  list(): DeviceSummary[] {
    const entry = (id: string, known: { name: string; addedAt: string; expiresAt: string | null }) => ({ id, name: known.name, addedAt: known.addedAt, expiresAt: known.expiresAt, expired: this.isOver(known), channels: this.open.get(id)?.size ?? 0 });
    return [
      ...this.peers.list().flatMap((peer) => (peer.role === 'none' ? [] : [{ ...entry(peer.hostId, peer), kind: 'host' as const, role: peer.role, threadId: null }])),
      ...this.devices.list().map((device) => ({ ...entry(device.deviceId, device), kind: 'device' as const, role: device.role, threadId: device.threadId })),
    ];
  }

  /**
   * Notes a channel with a key, whoever opened it, so that it ends with the trust: when that is revoked, and once `holds` says that its
   * time is over. False, and the channel has ended, where it holds no more already.
   */
  keep(id: string, channel: Ending, holds: () => boolean): boolean {
    const channels = this.open.get(id) ?? new Map<Ending, () => boolean>();
    this.open.set(id, channels);
    let stop: () => void = () => undefined;
    channel.once('close', () => {
      stop();
      channels.delete(channel);
      this.seen.set(id, this.now());
      if (channels.size === 0 && this.open.get(id) === channels) this.open.delete(id);
    });
    const watch = (): boolean => {
      stop();
      if (!holds()) {
        channel.destroy(ended());
        return false;
      }
      const limits = [this.peers.get(id)?.expiresAt, this.devices.get(id)?.expiresAt].flatMap((at) => (at == null ? [] : [Date.parse(at) - this.now()]));
      if (limits.length > 0) stop = this.clock.after(Math.max(1, Math.min(LOOK_AGAIN_MS, ...limits.filter((left) => left > 0))), watch);
      return true;
    };
    channels.set(channel, watch);
    return watch();
  }

  /** When a key last had a channel open, in milliseconds since 1970; null for one that had none since the host began. */
  lastSeen(id: string): number | null {
    return this.open.has(id) ? this.now() : (this.seen.get(id) ?? null);
  }

  /** Trusts a device from now on, with these limits in place of earlier ones: what it has open under those ends. */
  async trustDevice(entry: Device): Promise<void> {
    await this.devices.save(entry);
    this.endChannels(entry.deviceId);
  }

  /** Ends the trust in a key, and then its channels. Gives how many there were, or null where the key was not trusted. */
  async revoke(id: string): Promise<number | null> {
    const removed = await Promise.all([this.peers.remove(id), this.devices.remove(id)]);
    if (!removed.includes(true)) return null;
    return this.endChannels(id);
  }

  private device(id: string): Device | undefined {
    const known = this.devices.get(id);
    return known === undefined || this.isOver(known) ? undefined : known;
  }

  private endChannels(id: string): number {
    const channels = [...(this.open.get(id)?.keys() ?? [])];
    for (const channel of channels) channel.destroy(ended());
    return channels.length;
  }

  private isOver({ expiresAt }: { readonly expiresAt: string | null }): boolean {
    return expiresAt !== null && Date.parse(expiresAt) <= this.now();
  }
}

const ended = () => new HostError('not-permitted', 'The trust in the other side has ended.');
