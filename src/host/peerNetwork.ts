import { Buffer } from 'node:buffer';
import type { Duplex } from 'node:stream';
import { acceptChannel, openChannel, pairChannel, type Channel } from '../relay/channel';
import { createInvite, parseInvite } from '../relay/invite';
import { hostIdOf, publicKeyOf, type KeyPair } from '../relay/keys';
import { RelayClient } from '../relay/relayClient';
import { dialThroughRelay } from '../relay/relayDial';
import { RelayError } from '../relay/relayError';
import { HostError } from './hostError';
import type { Log } from './log';
import { PeerLink, type PeerHandlers } from './peerLink';
import type { Peer } from './peers';
import type { RelayAccess } from './relayAccess';
import { PROTOCOL_VERSION, type HandoffProgress, type HostDetails } from './protocol';
import type { Access } from './access';
import type { Trust } from './trust';
import { describeError } from './wireError';

const INVITE_LIFETIME_MS = 10 * 60_000;
/** How long a peer may take to come to the relay and shake hands before it counts as offline. */
const CONNECT_TIMEOUT_MS = 15_000;
/** How long a peer may take to say who it is: it may have to start its Codex first, on a large Codex home. */
const HELLO_TIMEOUT_MS = 60_000;

interface PendingInvite {
  readonly psk: Uint8Array;
  readonly role: Peer['role'];
  readonly expiresAt: number;
}

export interface PeerNetworkOptions {
  readonly keyPair: KeyPair;
  readonly name: () => string;
  readonly trust: Trust;
  readonly relays: RelayAccess;
  readonly handlers: PeerHandlers;
  readonly onTransfer: (channel: Channel) => void;
  /** A paired device has opened a channel, on which it speaks the host protocol. */
  readonly onController: (channel: Channel, access: Access) => void;
  readonly onProgress: (progress: HandoffProgress) => void;
  /** The relay's status, or who is a peer, changed. */
  readonly onChanged: (what: 'relay' | 'hosts') => void;
  readonly log: Log;
}

/** This host among its peers: it is reachable through its relay, and reaches them through theirs. */
export class PeerNetwork {
  readonly hostId: string;
  private relay: RelayClient | null = null;
  private relayUrl: string | null = null;
  private readonly links = new Map<string, Promise<PeerLink>>();
  private readonly incoming = new Set<Duplex>();
  private readonly invites = new Map<string, PendingInvite>();
  private disposed = false;

  constructor(private readonly options: PeerNetworkOptions) {
    this.hostId = hostIdOf(options.keyPair.publicKey);
  }

  private get peers() {
    return this.options.trust.peers;
  }

  get relayStatus(): HostDetails['relay'] {
    if (this.relay === null) return { url: null, status: 'disabled', message: null };
    return { url: this.relayUrl, status: this.relay.status, message: this.relay.statusMessage };
  }

  /** Registers this host at a relay, in place of the one before; null goes offline. */
  setRelay(url: string | null): void {
    if (url === this.relayUrl || this.disposed) return;
    this.relay?.dispose();
    this.relayUrl = url;
    this.relay = url === null ? null : new RelayClient({ url, keyPair: this.options.keyPair, membership: this.options.relays.at(url), onIncoming: (stream) => void this.accept(stream), log: this.options.log });
    this.relay?.onStatusChange(() => this.options.onChanged('relay'));
    this.relay?.start();
    this.options.onChanged('relay');
  }

  /** Resolves once the relay has registered this host; at once where there is no relay. */
  async registered(signal?: AbortSignal): Promise<void> {
    await this.relay?.whenConnected(signal);
  }

  /** Makes a one-time invite. Throws HostError `relay-not-set` where nobody could use it, RelayError where the relay does not let in whom it invites. */
  async invite(role: Peer['role']): Promise<{ invite: string; expiresAt: string }> {
    if (this.relayUrl === null) throw new HostError('relay-not-set', 'An invite needs a relay at which this host can be met. End this host with "baton stop" and start it with "baton host --relay URL".');
    const pass = await this.options.relays.at(this.relayUrl).pass();
    const { invite, room, psk, expiresAt } = createInvite({ relayUrl: this.relayUrl, hostId: this.hostId, name: this.options.name(), pass, lifetimeMs: INVITE_LIFETIME_MS });
    for (const [old, pending] of this.invites) if (pending.expiresAt <= Date.now()) this.invites.delete(old);
    this.invites.set(room, { psk, role, expiresAt: expiresAt.getTime() });
    return { invite, expiresAt: expiresAt.toISOString() };
  }

  /** Pairs with the host that made an invite. Throws HostError `invite-invalid`, `invite-expired`, `invite-used`, `invite-own`, `host-offline`. */
  async join(text: string): Promise<{ hostId: string; name: string; relayUrl: string }> {
    const invite = parseInvite(text);
    if (invite.hostId === this.hostId) throw new HostError('invite-own', 'This invite was made by this host. Use it on the other machine.');
    const stream = await dialThroughRelay({ url: invite.relayUrl, hostId: invite.hostId, pass: invite.pass, membership: this.options.relays.at(invite.relayUrl), timeoutMs: CONNECT_TIMEOUT_MS });
    let channel: Channel;
    try {
      channel = await pairChannel(stream, { keyPair: this.options.keyPair, remoteKey: publicKeyOf(invite.hostId), psk: invite.psk, room: invite.room });
    } catch (cause) {
      throw new HostError('invite-used', `${invite.name} did not accept the invite: it was used already, or that host was restarted since. Make a new one there with "baton invite".`, { cause });
    }
    const link = this.link(channel, {});
    try {
      const ownUrl = this.relayUrl ?? invite.relayUrl;
      const hello = await link.call('host/hello', { ...this.hello(ownUrl), relayGrant: ownUrl === invite.relayUrl ? null : await this.grantFor(invite.hostId) });
      await this.keepGrant(invite.relayUrl, hello.relayGrant);
      await this.peers.save({ hostId: invite.hostId, name: hello.name, role: 'peer', relayUrl: invite.relayUrl, addedAt: new Date().toISOString() });
      this.options.onChanged('hosts');
      return { hostId: invite.hostId, name: hello.name, relayUrl: invite.relayUrl };
    } finally {
      link.dispose();
    }
  }

  /** The control channel to a peer, opened if there is none. Throws HostError `no-such-host`, `host-offline`, `cancelled`, RelayError `relay-unreachable`. */
  async connect(hostId: string, signal?: AbortSignal): Promise<PeerLink> {
    const open = this.links.get(hostId);
    if (open !== undefined) return unlessAborted(open, signal);
    const forget = () => {
      if (this.links.get(hostId) === opening) this.links.delete(hostId);
    };
    const opening = this.openLink(hostId, forget);
    this.links.set(hostId, opening);
    opening.catch(forget);
    return unlessAborted(opening, signal);
  }

  /** Opens a link for all who ask for it meanwhile, so no one caller's signal ends it, only limits of time. */
  private async openLink(hostId: string, onClose: () => void): Promise<PeerLink> {
    if (this.disposed) throw new HostError('connection-lost', 'This host is stopping.');
    const link = this.link(await this.open(hostId, 'control'), this.options.handlers);
    link.onClose(onClose);
    try {
      const hello = await link.call('host/hello', this.hello(this.relayUrl), AbortSignal.timeout(HELLO_TIMEOUT_MS));
      await this.peers.rename(hostId, hello.name);
      return link;
    } catch (error) {
      link.dispose();
      throw HostError.is(error, 'cancelled') ? new HostError('host-offline', `${this.peers.get(hostId)?.name ?? 'That host'} is at the relay but does not answer. Look at "baton doctor" there, and try again.`, { cause: error }) : error;
    }
  }

  /** Asks a peer who it is now; null where it cannot be reached. */
  async probe(hostId: string, signal: AbortSignal): Promise<{ name: string; codexVersion: string | null } | null> {
    try {
      const link = await this.connect(hostId, signal);
      return await link.call('host/hello', this.hello(this.relayUrl), signal);
    } catch (error) {
      this.options.log.info(`${hostId.slice(0, 8)} is not reachable: ${describeError(error).message}`);
      return null;
    }
  }

  openTransfer(hostId: string, signal?: AbortSignal): Promise<Channel> {
    return this.open(hostId, 'transfer', signal);
  }

  dispose(): void {
    this.disposed = true;
    this.relay?.dispose();
    for (const link of this.links.values()) void link.then((open) => open.dispose()).catch(() => undefined);
    for (const stream of this.incoming) stream.destroy();
  }

  private hello(relayUrl: string | null) {
    return { protocolVersion: PROTOCOL_VERSION, name: this.options.name(), relayUrl };
  }

  /** What lets another host into this host's relay; null where it needs nothing, or this host cannot give it. */
  private async grantFor(hostId: string): Promise<string | null> {
    if (this.relayUrl === null) return null;
    try {
      return (await this.options.relays.at(this.relayUrl).grantFor(hostId)) ?? null;
    } catch (error) {
      this.options.log.warn(`The relay gave nothing that would let ${hostId.slice(0, 8)} in: ${describeError(error).message}`);
      return null;
    }
  }

  /** A right of this host's own stays: the user has chosen it. */
  private async keepGrant(relayUrl: string | null, grant: string | null | undefined): Promise<void> {
    if (relayUrl !== null && grant != null && !this.options.relays.knows(relayUrl)) await this.options.relays.save(relayUrl, { grant });
  }

  private async open(hostId: string, purpose: 'control' | 'transfer', signal?: AbortSignal): Promise<Channel> {
    const peer = this.peers.get(hostId);
    if (peer === undefined || (peer.role !== 'none' && this.options.trust.peer(hostId) === undefined)) throw new HostError('no-such-host', 'That host is not paired with this one, or only was for a time. Make an invite there and join it here.');
    const url = peer.relayUrl ?? this.relayUrl;
    if (url === null) throw new HostError('relay-not-set', `There is no relay over which ${peer.name} could be reached. Start both hosts with "baton host --relay URL".`);
    try {
      const stream = await dialThroughRelay({ url, hostId, membership: this.options.relays.at(url), timeoutMs: CONNECT_TIMEOUT_MS, signal });
      const channel = this.watched(await openChannel(stream, { keyPair: this.options.keyPair, remoteKey: publicKeyOf(hostId), purpose, ...(signal === undefined ? {} : { signal }) }));
      this.options.trust.keep(hostId, channel, () => this.peers.get(hostId)?.role === 'none' || this.options.trust.peer(hostId) !== undefined);
      return channel;
    } catch (cause) {
      if (signal?.aborted === true) throw new HostError('cancelled', 'Cancelled.', { cause });
      if (RelayError.is(cause, 'host-offline')) throw new HostError('host-offline', `${peer.name} is not connected to the relay. Start its host with "baton host", and try again.`, { cause });
      if (RelayError.is(cause, 'not-admitted')) throw new HostError('relay-unreachable', `${peer.name} cannot be reached. ${cause.message}`, { cause });
      if (RelayError.is(cause, 'relay-unreachable') || RelayError.is(cause, 'relay-refused')) throw new HostError('relay-unreachable', `${peer.name} cannot be reached. ${cause.message.replace(/\.?$/, '.')} Check that the relay runs and that this machine is online, and try again.`, { cause });
      throw new HostError('host-offline', `${peer.name} does not answer, or no longer trusts this host. Check it there with "baton hosts".`, { cause });
    }
  }

  /** A channel may break when nobody reads or writes; whoever does hears of it then. */
  private watched(channel: Channel): Channel {
    channel.on('error', (error) => this.options.log.info(`A ${channel.purpose} channel to ${channel.remoteHostId.slice(0, 8)} broke: ${error.message}`));
    return channel;
  }

  private link(channel: Channel, handlers: Partial<PeerHandlers>): PeerLink {
    return new PeerLink(channel, channel.remoteHostId, Buffer.from(channel.handshakeHash).toString('hex'), handlers, this.options.log, this.options.onProgress);
  }

  private async accept(stream: Duplex): Promise<void> {
    this.incoming.add(stream);
    stream.once('close', () => this.incoming.delete(stream));
    try {
      let invited: PendingInvite | undefined;
      const channel = await acceptChannel(stream, {
        keyPair: this.options.keyPair,
        isTrusted: (key: Uint8Array) => this.options.trust.knows(hostIdOf(key)),
        pskForRoom: (room: string) => {
          invited = this.invites.get(room);
          // One attempt, right or wrong: whoever holds the link can only try it once.
          this.invites.delete(room);
          return invited === undefined || invited.expiresAt <= Date.now() ? undefined : invited.psk;
        },
      });
      this.watched(channel);
      if (this.disposed) return void channel.destroy();
      if (channel.purpose !== 'pairing') this.serve(channel);
      else if (invited !== undefined) this.pair(channel, invited.role);
    } catch (error) {
      this.options.log.warn(`An incoming channel was refused: ${describeError(error).message}`);
      stream.destroy();
    }
  }

  /** Gives a channel of a known key to whoever speaks what it is for. */
  private serve(channel: Channel): void {
    const { trust } = this.options;
    const id = channel.remoteHostId;
    const peer = trust.peer(id);
    const access = trust.access(id);
    if (peer !== undefined && channel.purpose !== 'tunnel') {
      if (!trust.keep(id, channel, () => trust.peer(id) !== undefined)) return;
      if (channel.purpose === 'transfer') this.options.onTransfer(channel);
      else this.link(channel, this.options.handlers);
    } else if (access !== undefined && channel.purpose === 'control') {
      if (trust.keep(id, channel, () => trust.access(id) !== undefined)) this.options.onController(channel, access);
    } else {
      channel.destroy(new HostError('not-permitted', `${id.slice(0, 8)} may not open a ${channel.purpose} channel.`));
    }
  }

  private pair(channel: Channel, role: Peer['role']): void {
    this.link(channel, {
      'host/hello': async (params, link) => {
        const answer = await this.options.handlers['host/hello'](params, link);
        await this.peers.save({ hostId: link.hostId, name: params.name, role, relayUrl: params.relayUrl, addedAt: new Date().toISOString() });
        await this.keepGrant(params.relayUrl, params.relayGrant);
        this.options.onChanged('hosts');
        return { ...answer, relayGrant: await this.grantFor(link.hostId) };
      },
    });
  }
}

/** What `shared` gives, for as long as this caller waits for it. Throws HostError `cancelled`. */
async function unlessAborted<T>(shared: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return shared;
  let stop: () => void = () => undefined;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(new HostError('cancelled', 'Cancelled.'));
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
  });
  try {
    return await Promise.race([shared, aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
