import { Buffer } from 'node:buffer';
import type { Duplex } from 'node:stream';
import type { Channel } from '../relay/channel';
import { pairChannel } from '../relay/openChannel';
import { systemClock, type Clock } from '../relay/clock';
import { joinByCode } from '../relay/codeExchange';
import { createInvite, parseInvite } from '../relay/invite';
import { encodeBase64url } from '../relay/base64url';
import { looksLikeCode } from '../relay/inviteForms';
import { hostIdOf, publicKeyOf, randomBytes, type KeyPair } from '../relay/keys';
import { createCode, fingerprintWords, parseCode, placeKeyPair } from '../relay/pairingCode';
import { dialThroughRelay } from '../relay/relayDial';
import { RelayError } from '../relay/relayError';
import type { Actor, AuditEvent, AuditLog } from './audit';
import { CodeDoor } from './codeDoor';
import type { JoinedHost, MadeInvite } from './deviceSchemas';
import { HostError } from './hostError';
import { Invites, type Invitation, type Invite } from './invites';
import type { Log } from './log';
import { PeerLink, type PeerHandlers } from './peerLink';
import type { PeerResult } from './peerProtocol';
import { PROTOCOL_VERSION } from './protocol';
import type { RelayAccess } from './relayAccess';
import type { Trust } from './trust';
import { describeError } from './wireError';

const INVITE_LIFETIME_MS = 10 * 60_000;
/** A meeting is used at once, by whoever asked for it. */
const MEETING_LIFETIME_MS = 60_000;
/** What a relay that does not let everybody in gives an invite to be used with lives hardly longer. */
const PASS_LIFETIME_MS = 10 * 60_000;
/** Places to try before an invite goes without a code. */
const PLACES = 4;
const PLACES_TIMEOUT_MS = 5_000;
/** How long a host may take to come to the relay and shake hands before it counts as offline. */
const CONNECT_TIMEOUT_MS = 15_000;

export interface PairingOptions {
  readonly keyPair: KeyPair;
  readonly name: () => string;
  /** The relay at which this host can be met; null where it is at none. */
  readonly relayUrl: () => string | null;
  readonly trust: Trust;
  readonly relays: RelayAccess;
  readonly hello: PeerHandlers['host/hello'];
  readonly audit: Pick<AuditLog, 'append'>;
  readonly onChanged: () => void;
  /** The other host of a meeting is at a relay, and let this one in. */
  readonly onRelay: (url: string) => Promise<void>;
  readonly log: Log;
  readonly clock?: Clock;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
}

/** What a host that is met says of itself, with what opens a pairing channel to it. */
export interface Meeting {
  readonly hostId: string;
  readonly name: string;
  /** The relay at which it can be met, too. */
  readonly relayUrl: string | null;
  readonly room: string;
  /** Base64url. */
  readonly psk: string;
}

/** How hosts and devices come to know each other: invites by link and by code, on both sides. */
export class Pairing {
  readonly invites: Invites;
  private readonly hostId: string;
  private readonly doors = new Map<string, CodeDoor>();
  private readonly now: () => number;

  constructor(private readonly options: PairingOptions) {
    this.hostId = hostIdOf(options.keyPair.publicKey);
    this.now = options.now ?? Date.now;
    this.invites = new Invites(options.clock ?? systemClock, this.now, (invite, outcome) => {
      this.doors.get(invite.id)?.close();
      this.doors.delete(invite.id);
      if (outcome !== 'claimed') this.note({ type: 'invite-ended', inviteId: invite.id, outcome });
      this.options.onChanged();
    }, this.options.onChanged);
  }

  /** Makes a one-time invite. Throws HostError `relay-not-set` where nobody could use it, `invalid-params`, RelayError where the relay does not let in whom it invites. */
  async invite({ role, threadId = null, accessMs = null, by, lifetimeMs = INVITE_LIFETIME_MS }: Pick<Invitation, 'role' | 'by'> & { readonly threadId?: string | null | undefined; readonly accessMs?: number | null | undefined; readonly lifetimeMs?: number | undefined }): Promise<MadeInvite> {
    if (role === 'peer' && threadId !== null) throw new HostError('invalid-params', 'A peer takes part in handoffs, which are not limited to one thread. Invite as viewer, approver or operator to let somebody in for one thread.');
    const url = this.options.relayUrl();
    if (url === null) throw new HostError('relay-not-set', 'An invite needs a relay at which this host can be met. End this host with "baton stop" and start it with "baton host --relay URL".');
    const pass = await this.options.relays.at(url).pass();
    const made = createInvite({ relayUrl: url, hostId: this.hostId, name: this.options.name(), pass, lifetimeMs: Math.min(lifetimeMs, pass === undefined ? lifetimeMs : PASS_LIFETIME_MS), now: this.now() });
    const id = Invites.newId();
    const { code, door } = await this.openDoor(url, id);
    const invite: Invite = { id, role, threadId, accessMs, by, room: made.room, psk: made.psk, code, expiresAt: made.expiresAt.getTime() };
    const expiresAt = made.expiresAt.toISOString();
    await this.options.audit.append({ type: 'invite-made', inviteId: id, role, ...(threadId === null ? {} : { threadId }), expiresAt, by });
    if (door !== null) this.doors.set(id, door);
    this.invites.add(invite);
    return { id, invite: made.invite, code: code?.text ?? null, role, threadId, accessMs, expiresAt };
  }

  /**
   * Lets in one host whose key is known, at once, over a connection to which only this account has access. A role that it has stays as it is,
   * unless another is wished for.
   */
  async meeting({ hostId, role, by }: { readonly hostId: string; readonly role?: 'peer' | 'operator' | undefined; readonly by: Actor }): Promise<{ room: string; psk: string }> {
    const [psk, room] = [randomBytes(32), encodeBase64url(randomBytes(32))];
    const known = this.options.trust.peer(hostId)?.role === 'operator' ? 'operator' : 'peer';
    const invite: Invite = { id: Invites.newId(), role: role ?? known, threadId: null, accessMs: null, by, room, psk, code: null, onlyFor: hostId, expiresAt: this.now() + MEETING_LIFETIME_MS };
    await this.options.audit.append({ type: 'invite-made', inviteId: invite.id, role: invite.role, expiresAt: new Date(invite.expiresAt).toISOString(), by });
    this.invites.add(invite);
    return { room, psk: encodeBase64url(psk) };
  }

  /** The secret of a room, once; `attempt` learns which invite it was of. */
  pskFor(room: string, attempt: (invite: Invite) => void): Uint8Array | undefined {
    const taken = this.invites.take(room);
    if (taken === undefined) return undefined;
    if ('used' in taken) {
      // Somebody has the same link: it was photographed, or passed on.
      this.note({ type: 'invite-refused', inviteId: taken.used.id, why: taken.used.state });
      return undefined;
    }
    attempt(taken.invite);
    return taken.invite.psk;
  }

  /** An attempt with the link did not end in a channel: whoever made it did not have all of the link. */
  failed(invite: Invite): void {
    this.invites.end(invite.id, 'void');
  }

  /** A pairing channel was made with the secret of an invite: as soon as the other side has said who it is, it is trusted. */
  serve(channel: Channel, invite: Invite): void {
    channel.on('error', (error) => this.options.log.info(`A pairing channel broke: ${error.message}`));
    channel.once('close', () => this.invites.end(invite.id, 'void'));
    const words = fingerprintWords(channel.handshakeHash);
    this.link(channel, {
      'host/hello': async (params, link) => {
        if (this.invites.claiming(invite.id) === undefined || (invite.onlyFor ?? link.hostId) !== link.hostId) throw new HostError('invite-used', 'The invite was used, was cancelled or has expired, or is for another host.');
        const answer = await this.options.hello(params, link);
        const addedAt = new Date(this.now()).toISOString();
        const expiresAt = invite.accessMs === null ? null : new Date(this.now() + invite.accessMs).toISOString();
        const { role, threadId } = invite;
        const kind = role === 'viewer' || role === 'approver' || threadId !== null ? 'device' : 'host';
        await this.options.audit.append({ type: 'device-paired', deviceId: link.hostId, name: params.name, kind, role, ...(threadId === null ? {} : { threadId }), expiresAt, inviteId: invite.id, words });
        // Cancelled or expired while that was written: then nobody is let in.
        if (this.invites.claiming(invite.id) === undefined) throw new HostError('invite-used', 'The invite was cancelled or has expired.');
        this.invites.claimed(invite.id, { id: link.hostId, name: params.name, words });
        if (kind === 'device') await this.options.trust.trustDevice({ deviceId: link.hostId, name: params.name, role: role as 'viewer' | 'approver' | 'operator', threadId, addedAt, expiresAt });
        else await this.options.trust.peers.save({ hostId: link.hostId, name: params.name, role, relayUrl: params.relayUrl, addedAt, expiresAt, ...(invite.onlyFor === undefined ? {} : { comes: true }) });
        await this.keepGrant(params.relayUrl, params.relayGrant);
        if (invite.onlyFor !== undefined && params.relayUrl !== null) await this.options.onRelay(params.relayUrl);
        this.options.onChanged();
        return { ...answer, relayGrant: await this.grantFor(link.hostId), role, threadId, expiresAt };
      },
    });
  }

  /**
   * Pairs with the host that made an invite: by its link, or by its code at a relay (this host's own, if none is named). Throws HostError
   * `invite-invalid`, `invite-expired`, `invite-used`, `invite-own`, `host-offline`, `relay-not-set`.
   */
  async join(text: string, relayUrl: string | null = null): Promise<JoinedHost & { relayUrl: string }> {
    const { channel, url, name } = looksLikeCode(text) ? await this.openByCode(text, relayUrl ?? this.options.relayUrl()) : await this.openByLink(text);
    return { ...(await this.introduce(channel, url, name)), relayUrl: url };
  }

  /** Pairs with a host over a stream to it, with what `meeting` gave there. Throws HostError `host-offline`, `invite-used`. */
  async meet(stream: Duplex, { hostId, name, relayUrl, room, psk }: Meeting): Promise<JoinedHost> {
    if (hostId === this.hostId) throw new HostError('invite-own', 'That leads to this host itself.');
    const channel = await pairChannel(stream, { keyPair: this.options.keyPair, remoteKey: publicKeyOf(hostId), psk: Buffer.from(psk, 'base64url'), room }).catch((cause: unknown) => {
      throw new HostError('host-offline', `${name} did not finish the pairing: the connection broke. Try again.`, { cause });
    });
    return this.introduce(channel, relayUrl, name);
  }

  /** Says who this host is over a pairing channel, and remembers who the other one is. `url`: the relay at which that can be met. */
  private async introduce(channel: Channel, url: string | null, name: string): Promise<JoinedHost> {
    const hostId = channel.remoteHostId;
    const words = fingerprintWords(channel.handshakeHash);
    const link = this.link(channel, {});
    try {
      const ownUrl = this.options.relayUrl() ?? url;
      const hello = await link.call('host/hello', { protocolVersion: PROTOCOL_VERSION, name: this.options.name(), relayUrl: ownUrl, relayGrant: ownUrl === url ? null : await this.grantFor(hostId) }).catch((cause: unknown) => {
        if (HostError.is(cause, 'connection-lost')) throw new HostError('invite-used', `${name} ended the connection before the pairing was done: the invite was cancelled, or used by somebody else first.`, { cause });
        throw cause;
      });
      await this.keepGrant(url, hello.relayGrant);
      await this.remember(hostId, url, hello, words);
      return { hostId, name: hello.name, role: hello.role ?? 'peer', threadId: hello.threadId ?? null, expiresAt: hello.expiresAt ?? null, words };
    } finally {
      link.dispose();
    }
  }

  dispose(): void {
    this.invites.dispose();
    for (const door of this.doors.values()) door.close();
    this.doors.clear();
  }

  /** Who lets this host in for less than handoffs gets no right here; a right that it has already stays as it is. */
  private async remember(hostId: string, relayUrl: string | null, { name, role = 'peer', threadId }: PeerResult<'host/hello'>, words: string): Promise<void> {
    const known = this.options.trust.peers.get(hostId);
    const ofHandoffs = (role === 'peer' || role === 'operator') && threadId == null;
    const given = known === undefined || known.role === 'none' ? (ofHandoffs ? 'peer' : 'none') : known.role;
    await this.options.trust.peers.save({ hostId, name, role: given, relayUrl, addedAt: new Date(this.now()).toISOString(), expiresAt: known?.role === given ? known.expiresAt : null });
    await this.options.audit.append({ type: 'host-paired', hostId, role: given, words });
    this.options.onChanged();
  }

  private async openDoor(url: string, id: string): Promise<{ code: Invite['code']; door: CodeDoor | null }> {
    const deadline = AbortSignal.timeout(PLACES_TIMEOUT_MS);
    for (let attempt = 0; attempt < PLACES && !deadline.aborted; attempt++) {
      const code = createCode();
      const door = await CodeDoor.open({
        url, code, keyPair: this.options.keyPair, relays: this.options.relays, log: this.options.log,
        onGuess: () => this.invites.guess(id),
        onMissed: () => this.invites.missed(id),
        onChannel: (channel) => {
          const invite = this.invites.claiming(id);
          if (invite === undefined) channel.on('error', () => undefined).destroy();
          else this.serve(channel, invite);
        },
      }, deadline);
      if (door !== null) return { code, door };
    }
    return { code: null, door: null };
  }

  private async openByLink(text: string): Promise<{ channel: Channel; url: string; name: string }> {
    const { relayUrl: url, hostId, name, pass, psk, room, expiresAt } = parseInvite(text);
    if (hostId === this.hostId) throw new HostError('invite-own', 'This invite was made by this host. Use it on the other machine.');
    // The other side says nothing of why it refuses, and its clock is the one that counts; this one only helps to explain.
    const expired = (cause: unknown) => new HostError('invite-expired', `This invite from ${name} expired at ${expiresAt.toISOString()}, by the clock of this machine, where it is ${new Date(this.now()).toISOString()}. Ask for a new one.`, { cause });
    const isLate = () => this.now() > expiresAt.getTime();
    const stream = await dialThroughRelay({ url, hostId, pass, membership: this.options.relays.at(url), timeoutMs: CONNECT_TIMEOUT_MS }).catch((cause: unknown) => {
      throw isLate() ? expired(cause) : cause;
    });
    try {
      return { url, name, channel: await pairChannel(stream, { keyPair: this.options.keyPair, remoteKey: publicKeyOf(hostId), psk, room }) };
    } catch (cause) {
      if (isLate()) throw expired(cause);
      throw new HostError('invite-used', `${name} did not accept the invite: it was used already, was cancelled, or that host was restarted since. If you have not used it, somebody else may have: look at "baton devices" there. Make a new one there with "baton invite".`, { cause });
    }
  }

  private async openByCode(text: string, url: string | null): Promise<{ channel: Channel; url: string; name: string }> {
    const code = parseCode(text);
    if (url === null) throw new HostError('relay-not-set', 'A code does not say at which relay the other host is. Name it: baton join CODE --relay wss://…');
    const stream = await dialThroughRelay({ url, hostId: hostIdOf(placeKeyPair(code.place).publicKey), membership: this.options.relays.at(url), timeoutMs: CONNECT_TIMEOUT_MS }).catch((cause: unknown) => {
      if (RelayError.is(cause, 'host-offline')) throw new HostError('invite-used', `Nobody waits for ${code.text} at ${url}: the digits were mistyped, the code was used, was tried three times, was cancelled or has expired, or its host is at another relay.`, { cause });
      if (RelayError.is(cause, 'not-admitted')) throw new HostError('relay-unreachable', `The relay ${url} does not let this host in, and a code is too short to bring that along. Use the link of the invite, or its QR code, instead.`, { cause });
      throw cause;
    });
    try {
      const channel = await joinByCode(stream, { keyPair: this.options.keyPair, code });
      if (channel.remoteHostId === this.hostId) {
        channel.on('error', () => undefined).destroy();
        throw new HostError('invite-own', 'This code was made by this host. Use it on the other machine.');
      }
      return { channel, url, name: 'The other host' };
    } catch (cause) {
      if (HostError.is(cause)) throw cause;
      throw new HostError('invite-used', `${code.text} is not the code of the host that waits there, or somebody else uses it this moment. After three wrong codes an invite is void. Read it again and try once more.`, { cause });
    }
  }

  private link(channel: Channel, handlers: Partial<PeerHandlers>): PeerLink {
    return new PeerLink(channel, channel.remoteHostId, Buffer.from(channel.handshakeHash).toString('hex'), handlers, this.options.log);
  }

  private note(event: AuditEvent): void {
    this.options.audit.append(event).catch((error: unknown) => this.options.log.error(`The audit log cannot be written: ${describeError(error).message}`));
  }

  /** What lets another host into this host's relay; null where it needs nothing, or this host cannot give it. */
  private async grantFor(hostId: string): Promise<string | null> {
    const url = this.options.relayUrl();
    if (url === null) return null;
    try {
      return (await this.options.relays.at(url).grantFor(hostId)) ?? null;
    } catch (error) {
      this.options.log.warn(`The relay gave nothing that would let ${hostId.slice(0, 8)} in: ${describeError(error).message}`);
      return null;
    }
  }

  /** A right of this host's own stays: the user has chosen it. */
  private async keepGrant(relayUrl: string | null, grant: string | null | undefined): Promise<void> {
    if (relayUrl !== null && grant != null && !this.options.relays.knows(relayUrl)) await this.options.relays.save(relayUrl, { grant });
  }
}
