import { join } from 'node:path';
import { z } from 'zod';
import { hostId, hostName, threadId } from './identifiers';
import { JsonStore } from './jsonStore';

const device = z.object({
  /** Its public key, which is its identity; spelled as a host id is, and a host may be a device of another host. */
  deviceId: hostId,
  name: hostName,
  role: z.enum(['viewer', 'approver', 'operator']),
  /** The only thread that it may see and steer; null for all. */
  threadId: threadId.nullable(),
  addedAt: z.iso.datetime(),
  /** When its trust ends by itself; null for never. */
  expiresAt: z.iso.datetime().nullable(),
});
/** A controller with a key of its own that this host trusts, and for what. */
export type Device = z.infer<typeof device>;
const devicesFile = z.object({ version: z.literal(1), devices: z.array(device).max(1000) });

/** The devices that this host trusts: `devices.json`. */
export class DeviceStore {
  private constructor(private readonly store: JsonStore<typeof devicesFile>) {}

  /** Throws `state-invalid` for a file that cannot be understood. */
  static async open(batonHome: string): Promise<DeviceStore> {
    return new DeviceStore(await JsonStore.open(join(batonHome, 'devices.json'), devicesFile, { version: 1, devices: [] }));
  }

  list(): readonly Device[] {
    return this.store.value.devices;
  }

  get(id: string): Device | undefined {
    return this.list().find(({ deviceId }) => deviceId === id);
  }

  /** Adds a device; a key that is known already has the new role and limits from then on, and not the earlier ones. */
  async save(entry: Device): Promise<void> {
    await this.store.update((file) => ({ ...file, devices: [...file.devices.filter(({ deviceId }) => deviceId !== entry.deviceId), entry] }));
  }

  /** Ends the trust in a device. False where it was not known. */
  async remove(id: string): Promise<boolean> {
    const known = this.get(id) !== undefined;
    if (known) await this.store.update((file) => ({ ...file, devices: file.devices.filter(({ deviceId }) => deviceId !== id) }));
    return known;
  }
}
