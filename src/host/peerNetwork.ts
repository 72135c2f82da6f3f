import { Buffer } from 'node:buffer';
import type { Duplex } from 'node:stream';
import { Message } from 'vscode-jsonrpc/node';
import type { Channel } from '../relay/channel';
import type { Clock } from '../relay/clock';
import { hostIdOf, publicKeyOf, type KeyPair } from '../relay/keys';
import { acceptChannel, openChannel } from '../relay/openChannel';
import { RelayClient } from '../relay/relayClient';
import { CallBacks } from './callBacks';
import { firstLine } from './firstLine';
import { firstToWork } from './firstToWork';
import { HostClient } from './hostClient';
import { HostError } from './hostError';
import { parseMessage } from './jsonLines';
import type { BroughtStream } from './localDoor';
import type { Log } from './log';
import { PeerLink, type PeerHandlers } from './peerLink';
import { unreachable, waysTo, type HostDialer, type SshDialer } from './peerWays';
import type { Invite } from './invites';
import { Pairing } from './pairing';
import type { RelayAccess } from './relayAccess';
import { PROTOCOL_VERSION, type HandoffProgress, type HostDetails } from './protocol';
import type { Access } from './access';
import type { AuditLog } from './audit';
import type { Trust } from './trust';
import { batonVersion } from './version';
import { describeError } from './wireError';

/** How long a peer may take to say who it is: it may have to start its Codex first, on a large Codex home. */
const HELLO_TIMEOUT_MS = 60_000;

export interface PeerNetworkOptions {
  readonly keyPair: KeyPair;
  readonly name: () => string;
  readonly trust: Trust;
  readonly relays: RelayAccess;
  /** Where there is one, peers that it finds are reached by it, too. */
  readonly ssh?: SshDialer;
  /** The same of those that have an open door. */
  readonly open?: HostDialer;
  /** As of Pairing. */
  readonly onRelay?: (url: string) => Promise<void>;
  readonly handlers: PeerHandlers;
  readonly onTransfer: (channel: Channel) => void;
  /** A paired device has opened a channel, on which it speaks the host protocol. */
  readonly onController: (channel: Channel, access: Access) => void;
  /** One has opened a tunnel, on which it speaks the app-server's protocol. */
  readonly onTunnel: (channel: Channel, access: Access) => void;
  readonly onProgress: (progress: HandoffProgress) => void;
  /** The relay's status, or who is a peer, changed. */
  readonly onChanged: (what: 'relay' | 'hosts') => void;
  readonly audit: Pick<AuditLog, 'append'>;
  readonly log: Log;
  readonly clock?: Clock;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
}

/** Streams whose other end has not shown its key yet. A relay could open any number; those that finish are bounded by whom this host trusts. */
const MOST_UNKNOWN = 64;
/** Most streams that one peer may ask this host to bring at a time. */
const MOST_CALLBACKS = 8;

/** This host among its peers: it is reachable through its relay, and reaches them through theirs, or over ssh. */
export class PeerNetwork {
  readonly hostId: string;
  private relay: RelayClient | null = null;
  private relayUrl: string | null = null;
  private readonly links = new Map<string, Promise<PeerLink>>();
  private readonly incoming = new Set<Duplex>();
  private unknown = 0;
  /** Control channels of hosts that came by themselves, not through a relay: this host calls them by these, as it cannot dial them. */
  private readonly brought = new Map<string, PeerLink>();
  private readonly callBacks = new CallBacks();
  private readonly calledBack = new Map<string, number>();
  readonly pairing: Pairing;
  private disposed = false;

  constructor(private readonly options: PeerNetworkOptions) {
    this.hostId = hostIdOf(options.keyPair.publicKey);
    this.pairing = new Pairing({ ...options, relayUrl: () => this.relayUrl, hello: (params, link) => options.handlers['host/hello'](params, link), onChanged: () => options.onChanged('hosts'), onRelay: options.onRelay ?? (() => Promise.resolve()) });
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

  /** The control channel to a peer, opened if there is none. Throws HostError `no-such-host`, `host-offline`, `cancelled`, RelayError `relay-unreachable`. */
  async connect(hostId: string, signal?: AbortSignal): Promise<PeerLink> {
    const peer = this.peers.get(hostId);
    if (peer?.role === 'none') throw new HostError('not-permitted', `${peer.name} let this host in to see or steer threads there, not for handoffs. For those, make an invite there with "baton invite", and join it here.`);
    const open = this.links.get(hostId);
    if (open !== undefined) return unlessAborted(open, signal);
    const brought = this.brought.get(hostId);
    if (brought !== undefined && peer !== undefined) return brought;
    const forget = () => {
      if (this.links.get(hostId) === opening) this.links.delete(hostId);
    };
    const opening = this.openLink(hostId, forget);
    this.links.set(hostId, opening);
    opening.catch(forget);
    return unlessAborted(opening, signal);
  }

  /** Opens a link for all who ask for it meanwhile, so no one caller's signal ends it, only limits of time. */
  private async openLink(hostId: string, onClose: () => void, mended = false): Promise<PeerLink> {
    if (this.disposed) throw new HostError('connection-lost', 'This host is stopping.');
    const link = this.link(await this.open(hostId, 'control'), this.options.handlers);
    try {
      const hello = await link.call('host/hello', this.hello(this.relayUrl), AbortSignal.timeout(HELLO_TIMEOUT_MS));
      await this.peers.rename(hostId, hello.name);
      const { ssh } = this.options;
      ssh?.judge(hostId, hello.name, hello.batonVersion);
      const peer = this.peers.get(hostId);
      if (!mended && peer !== undefined && (await ssh?.mend(peer, hello.batonVersion)) === true) {
        link.dispose();
        return await this.openLink(hostId, onClose, true);
      }
      requireSameProtocol(hello);
      link.onClose(onClose);
      return link;
    } catch (error) {
      link.dispose();
      throw HostError.is(error, 'cancelled') ? new HostError('host-offline', `${this.peers.get(hostId)?.name ?? 'That host'} can be reached but does not answer. Look at "baton doctor" there, and try again.`, { cause: error }) : error;
    }
  }

  /** Asks a peer who it is now; null where it cannot be reached. */
  async probe(hostId: string, signal: AbortSignal): Promise<{ name: string; codexVersion: string | null } | null> {
    try {
      if (this.peers.get(hostId)?.role === 'none') return await this.probeAsDevice(hostId, signal);
      const link = await this.connect(hostId, signal);
      return await link.call('host/hello', this.hello(this.relayUrl), signal);
    } catch (error) {
      this.options.log.info(`${hostId.slice(0, 8)} is not reachable: ${describeError(error).message}`);
      return null;
    }
  }

  private async probeAsDevice(hostId: string, signal: AbortSignal): Promise<{ name: string; codexVersion: string | null }> {
    const controller = await this.openController(hostId, { signal });
    try {
      const { name, codexVersion } = await controller.call('host/read', undefined, { signal });
      await this.peers.rename(hostId, name);
      return { name, codexVersion };
    } finally {
      controller.dispose();
    }
  }

  /** Connects as a controller to a host that lets this one see its threads. Throws as `connect`, and `not-permitted` where it does not. */
  async openController(hostId: string, options: Omit<Parameters<typeof HostClient.over>[1], 'clientInfo' | 'log'>): Promise<HostClient> {
    const channel = await this.open(hostId, 'control', options.signal);
    try {
      return await HostClient.over(channel, { ...options, clientInfo: { name: 'baton-host', version: batonVersion }, log: this.options.log });
    } catch (error) {
      if (!HostError.is(error, 'unknown-method')) throw error;
      throw new HostError('not-permitted', `${this.peers.get(hostId)?.name ?? 'That host'} lets this one in for handoffs, not to see its threads. For that, make an invite there with "baton invite --role viewer", or another role, and join it here.`, { cause: error });
    }
  }

  openTransfer(hostId: string, signal?: AbortSignal): Promise<Channel> {
    return this.open(hostId, 'transfer', signal);
  }

  dispose(): void {
    this.disposed = true;
    this.pairing.dispose();
    this.relay?.dispose();
    for (const link of this.links.values()) void link.then((open) => open.dispose()).catch(() => undefined);
    for (const stream of this.incoming) stream.destroy();
  }

  private hello(relayUrl: string | null) {
    return { protocolVersion: PROTOCOL_VERSION, name: this.options.name(), relayUrl };
  }

  /** A stream on which the other host speaks the app-server's protocol, as far as it lets this one in. Throws as `connect`. */
  openTunnel(hostId: string): Promise<Channel> {
    return this.open(hostId, 'tunnel');
  }

  private async open(hostId: string, purpose: 'control' | 'transfer' | 'tunnel', signal?: AbortSignal): Promise<Channel> {
    const peer = this.peers.get(hostId);
    if (peer === undefined || (peer.role !== 'none' && this.options.trust.peer(hostId) === undefined)) throw new HostError('no-such-host', 'That host is not paired with this one, or only was for a time. Make an invite there and join it here.');
    const ways = waysTo(peer, { relayUrl: this.relayUrl, relayIsUp: this.relay?.status === 'connected', relays: this.options.relays, ssh: this.options.ssh, open: this.options.open, caller: this.brought.get(hostId), callBacks: this.callBacks });
    try {
      const channel = await firstToWork(ways.map(({ open, ...way }) => ({
        ...way,
        open: async (given: AbortSignal) => openChannel(await open(given), { keyPair: this.options.keyPair, remoteKey: publicKeyOf(hostId), purpose, signal: given }),
      })), { signal, tooLate: (late) => late.on('error', () => undefined).destroy() });
      this.watched(channel);
      this.options.trust.keep(hostId, channel, () => this.peers.get(hostId)?.role === 'none' || this.options.trust.peer(hostId) !== undefined);
      return channel;
    } catch (cause) {
      if (signal?.aborted === true) throw new HostError('cancelled', 'Cancelled.', { cause });
      throw unreachable(peer, cause);
    }
  }

  /** Brings a peer that cannot reach this host a stream, on which it begins a channel. Throws HostError `not-permitted`, and as the dialer. */
  async callBack(hostId: string, ticket: string): Promise<void> {
    const peer = this.options.trust.peer(hostId);
    const dialer = peer === undefined ? undefined : peer.ssh.length > 0 ? this.options.ssh : peer.address === null ? undefined : this.options.open;
    const under = this.calledBack.get(hostId) ?? 0;
    if (peer === undefined || dialer === undefined) throw new HostError('not-permitted', 'This host does not reach that one by itself.');
    if (under >= MOST_CALLBACKS) throw new HostError('not-permitted', `${MOST_CALLBACKS} connections are being made already.`);
    this.calledBack.set(hostId, under + 1);
    try {
      const stream = await dialer.dial(peer, { ticket });
      if (this.disposed) stream.destroy();
      else void this.accept(stream);
    } finally {
      this.calledBack.set(hostId, (this.calledBack.get(hostId) ?? 1) - 1);
    }
  }

  /** Takes a stream that another machine brought: over ssh, by a process of this account, or through the open door. */
  take(stream: Duplex, what: BroughtStream): void {
    if (this.disposed) stream.destroy();
    else if (what.kind === 'callback') this.callBacks.arrive(what.ticket, stream);
    else void this.accept(stream, true);
  }

  /** A channel may break when nobody reads or writes; whoever does hears of it then. */
  private watched(channel: Channel): Channel {
    channel.on('error', (error) => this.options.log.info(`A ${channel.purpose} channel to ${channel.remoteHostId.slice(0, 8)} broke: ${error.message}`));
    return channel;
  }

  private link(channel: Channel, handlers: Partial<PeerHandlers>): PeerLink {
    return new PeerLink(channel, channel.remoteHostId, Buffer.from(channel.handshakeHash).toString('hex'), handlers, this.options.log, this.options.onProgress);
  }

  private async accept(stream: Duplex, wasBrought = false): Promise<void> {
    if (this.unknown >= MOST_UNKNOWN) {
      this.options.log.warn(`${MOST_UNKNOWN} channels are being opened to this host at once; one more was refused.`);
      stream.on('error', () => undefined).destroy();
      return;
    }
    this.incoming.add(stream);
    stream.once('close', () => this.incoming.delete(stream));
    let attempt: Invite | undefined;
    try {
      this.unknown += 1;
      const channel = await acceptChannel(stream, {
        keyPair: this.options.keyPair,
        isTrusted: (key: Uint8Array) => this.options.trust.knows(hostIdOf(key)),
        pskForRoom: (room: string) => this.pairing.pskFor(room, (invite) => (attempt = invite)),
      }).finally(() => (this.unknown -= 1));
      this.watched(channel);
      if (this.disposed) return void channel.destroy();
      if (channel.purpose !== 'pairing') await this.serve(channel, wasBrought);
      else if (attempt !== undefined) this.pairing.serve(channel, attempt);
    } catch (error) {
      this.options.log.warn(`An incoming channel was refused: ${describeError(error).message}`);
      stream.destroy();
      // One attempt, right or wrong: whoever holds the link can only try it once.
      if (attempt !== undefined) this.pairing.failed(attempt);
    }
  }

  private bringUp(hostId: string, link: PeerLink): void {
    this.brought.set(hostId, link);
    link.onClose(() => {
      if (this.brought.get(hostId) === link) this.brought.delete(hostId);
    });
    // What waits for that host can go on.
    this.options.onChanged('hosts');
  }

  /** Gives a channel of a known key to whoever speaks what it is for. */
  private async serve(channel: Channel, wasBrought: boolean): Promise<void> {
    const { trust } = this.options;
    const id = channel.remoteHostId;
    await trust.decided();
    if (channel.destroyed) return;
    const isEither = channel.purpose === 'control' && trust.peer(id) !== undefined && trust.access(id) !== undefined;
    if (isEither && !trust.keep(id, channel, () => trust.knows(id))) return;
    const asController = isEither && (await beginsAsController(channel));
    const peer = asController ? undefined : trust.peer(id);
    const access = trust.access(id);
    if (peer !== undefined && channel.purpose !== 'tunnel') {
      if (!trust.keep(id, channel, () => trust.peer(id) !== undefined)) return;
      if (channel.purpose === 'transfer') this.options.onTransfer(channel);
      else {
        const link = this.link(channel, this.options.handlers);
        if (wasBrought) this.bringUp(id, link);
      }
    } else if (access !== undefined && channel.purpose !== 'transfer') {
      if (!trust.keep(id, channel, () => trust.access(id) !== undefined)) return;
      if (channel.purpose === 'control') this.options.onController(channel, access);
      else this.options.onTunnel(channel, access);
    } else {
      channel.destroy(new HostError('not-permitted', `${id.slice(0, 8)} may not open a ${channel.purpose} channel.`));
    }
  }
}

/** Whether the other side begins as a controller does, and not as a peer. What was read is put back. */
async function beginsAsController(channel: Channel): Promise<boolean> {
  const line = Buffer.from(`${await firstLine(channel)}\n`);
  channel.unshift(line);
  const message = parseMessage(line);
  return Message.isRequest(message) && message.method === 'initialize';
}

/** Throws HostError `protocol-mismatch` with what to do. */
function requireSameProtocol({ protocolVersion, name, batonVersion: theirs }: { readonly protocolVersion: number; readonly name: string; readonly batonVersion: string }): void {
  if (protocolVersion === PROTOCOL_VERSION) return;
  throw new HostError('protocol-mismatch', `${name} runs Baton ${theirs}, whose hosts speak version ${protocolVersion} of the protocol; this one is ${batonVersion} and speaks version ${PROTOCOL_VERSION}. Update Baton ${protocolVersion > PROTOCOL_VERSION ? 'here' : 'there'}, then end the host with "baton stop".`);
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
