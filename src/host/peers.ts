import { join } from 'node:path';
import { z } from 'zod';
import { JsonStore } from './jsonStore';
import { hostId, hostName, role } from './protocol';
import { isAlias } from './ssh/sshConfig';
import { tokenName } from './identifiers';

/** Where a host has an open door, and the environment variable that holds the token for it. */
const address = z.object({ url: z.url({ protocol: /^wss?$/ }).max(1024), tokenEnv: tokenName });
export type Address = z.infer<typeof address>;

const peer = z.object({
  hostId,
  name: hostName,
  /** What it may do here; `none` where it let this host in for less than handoffs, so that it can be reached and may do nothing here. */
  role: z.enum([...role.options, 'none']),
  /** When the trust in it ends by itself; null for never. */
  expiresAt: z.iso.datetime().nullable().default(null),
  /** Where the peer can be met, if not at this host's own relay. */
  relayUrl: z.url({ protocol: /^wss?$/ }).nullable(),
  addedAt: z.iso.datetime(),
  /** Names under which ssh finds it; the newest first. */
  ssh: z.array(z.string().refine(isAlias)).max(16).default([]),
  address: address.nullable().default(null),
  /** It reaches this host over ssh or through an open door, and can be asked to. */
  comes: z.boolean().default(false),
});
/** A host that this host trusts, and for what. */
export type Peer = z.infer<typeof peer>;
export type NewPeer = z.input<typeof peer>;
const peersFile = z.object({ version: z.literal(1), peers: z.array(peer).max(1000) });

/** The hosts that this host trusts: `peers.json`. */
export class PeerStore {
  private constructor(private readonly store: JsonStore<typeof peersFile>) {}

  /** Throws `state-invalid` for a file that cannot be understood. */
  static async open(batonHome: string): Promise<PeerStore> {
    return new PeerStore(await JsonStore.open(join(batonHome, 'peers.json'), peersFile, { version: 1, peers: [] }));
  }

  list(): readonly Peer[] {
    return this.store.value.peers;
  }

  get(id: string): Peer | undefined {
    return this.list().find((known) => known.hostId === id);
  }

  /** Adds a peer, or puts it in place of what was known of it; the ways to it stay, unless there are others now. */
  async save(entry: NewPeer): Promise<void> {
    await this.#change((peers) => {
      const { ssh = [], address: at = null, comes = false } = peers.find((known) => known.hostId === entry.hostId) ?? {};
      return [...peers.filter((known) => known.hostId !== entry.hostId), { ssh, address: at, comes, ...entry }];
    });
  }

  /** Notes that a known peer has an open door at an address, which from now on is no other's. */
  async findAt(id: string, at: Address): Promise<void> {
    await this.#change((peers) => peers.map((entry) => (entry.hostId === id ? { ...entry, address: at } : entry.address?.url === at.url ? { ...entry, address: null } : entry)));
  }

  /** Notes that ssh finds a known peer under a name, which from now on is no other's. */
  async findBySsh(id: string, alias: string): Promise<void> {
    await this.#change((peers) => peers.map((entry) => {
      const others = entry.ssh.filter((known) => known !== alias);
      return entry.hostId === id ? { ...entry, ssh: [alias, ...others].slice(0, 16) } : { ...entry, ssh: others };
    }));
  }

  /** Notes that a known peer has another name now; nothing is written for one that is unknown or has it already. */
  async rename(id: string, name: string): Promise<void> {
    const known = this.get(id);
    if (known === undefined || known.name === name) return;
    await this.#change((peers) => peers.map((entry) => (entry.hostId === id ? { ...entry, name } : entry)));
  }

  /** Ends the trust in a peer. False where it was not known. */
  async remove(id: string): Promise<boolean> {
    if (this.get(id) === undefined) return false;
    await this.#change((peers) => peers.filter((known) => known.hostId !== id));
    return true;
  }

  async #change(change: (peers: Peer[]) => NewPeer[]): Promise<void> {
    await this.store.update((file) => ({ ...file, peers: change(file.peers) }));
  }
}
