import type { Duplex } from 'node:stream';
import type { JoinedHost } from '../deviceSchemas';
import { HostError } from '../hostError';
import type { Log } from '../log';
import type { Meeting } from '../pairing';
import type { SshDialer } from '../peerWays';
import type { PeerStore } from '../peers';
import type { AddedHost, SshAliases } from '../sshSchemas';
import { describeError } from '../wireError';
import { copyBaton, joinFar, lookAt, requireReady } from './farSide';
import { compareVersions, type Greeting } from './greeting';
import type { Ssh } from './ssh';

export interface SshHostsPorts {
  readonly ssh: Ssh;
  readonly hostId: string;
  readonly version: string;
  /** The `baton.js` that is copied; null where this host was not started from one. */
  readonly entry: string | null;
  readonly peers: PeerStore;
  /** Pairs over a stream, with what the far side's greeting brought. */
  meet(stream: Duplex, meeting: Meeting): Promise<JoinedHost>;
  readonly log: Log;
  /** Milliseconds on a clock that never goes back. */
  readonly now: () => number;
}

/** A host that could not be brought to this version is left alone for so long. */
const MEND_AGAIN_MS = 10 * 60_000;

/** The hosts that ssh finds: how they become hosts of this one, how they are dialled, and how they keep up with its version. */
export class SshHosts implements SshDialer {
  private readonly mending = new Map<string, Promise<boolean>>();
  private readonly triedAt = new Map<string, number>();
  private readonly notes = new Map<string, string>();

  constructor(private readonly ports: SshHostsPorts) {}

  /** The names in the ssh configuration, and what is known of each. Connects to nothing. */
  async aliases(): Promise<SshAliases> {
    const { ssh, peers } = this.ports;
    const aliases = [];
    // One after the other: a `Match exec` of the configuration may start programs.
    for (const { alias, file } of await ssh.aliases()) {
      const target = await ssh.resolve(alias).catch((error: unknown) => {
        if (HostError.is(error, 'ssh-not-found')) throw error;
        return null;
      });
      aliases.push({ alias, file, target: target === null ? null : { hostName: target.hostName, port: target.port, user: target.user }, hostId: peers.list().find((peer) => peer.ssh.includes(alias))?.hostId ?? null });
    }
    return { aliases };
  }

  /**
   * Makes the machine behind an alias a host of this one. Nothing is changed there before all that it needs is found there. Throws HostError
   * `host-not-ready` with what is missing, and as `Ssh.start`.
   */
  async add(alias: string, role: 'peer' | 'operator' | undefined, signal?: AbortSignal): Promise<AddedHost> {
    const { ssh, hostId, peers } = this.ports;
    await ssh.resolve(alias, signal);
    const facts = await lookAt(ssh, alias, signal);
    requireReady(alias, facts);
    const copied = await copyBaton(ssh, alias, facts, { ...this.program(), signal });
    const { stream, greeting } = await joinFar(ssh, alias, ['--renew', `--meet=${hostId}`, ...(role === undefined ? [] : [`--role=${role}`])], signal);
    try {
      const { meeting, hostId: theirs, name, relayUrl } = greeting;
      if (theirs === hostId) throw new HostError('same-host', `${alias} leads to this host itself.`);
      if (meeting === null) throw new HostError('protocol-mismatch', `Baton on ${alias} made no meeting. Update this one.`);
      const known = peers.get(theirs) !== undefined;
      const joined = await this.ports.meet(stream, { hostId: theirs, name, relayUrl, ...meeting });
      await peers.findBySsh(theirs, alias);
      const note = this.judge(theirs, joined.name, greeting.running, greeting.kept);
      return { ...joined, copied, known, notes: note === null ? [] : [note] };
    } finally {
      stream.on('error', () => undefined).destroy();
    }
  }

  inTheOpen(alias: string): ReturnType<Ssh['inTheOpen']> {
    return this.ports.ssh.inTheOpen(alias);
  }

  /** A stream to a peer, under whichever of its names works. Throws HostError as `joinFar`; `ssh-failed` where a name leads to another host now. */
  async dial({ hostId, name, ssh: aliases }: Parameters<SshDialer['dial']>[0], { ticket, signal }: { readonly ticket?: string; readonly signal?: AbortSignal } = {}): Promise<Duplex> {
    let failure: unknown = new HostError('host-offline', `ssh finds ${name} under no name.`);
    for (const alias of aliases) {
      try {
        const { stream, greeting } = await joinFar(this.ports.ssh, alias, ticket === undefined ? [] : [`--callback=${ticket}`], signal);
        if (greeting.hostId === hostId) return stream;
        stream.on('error', () => undefined).destroy();
        throw new HostError('ssh-failed', `${alias} leads to another host now than to ${name}: the machine was set up anew, or the name stands for another one. If that is meant, run "baton host add ${alias}", and end the trust in the old one with "baton device revoke".`);
      } catch (error) {
        if (signal?.aborted === true) throw error;
        failure = error;
      }
    }
    throw failure;
  }

  /** What is to be said of the version of a host, which said that it is `theirs`; `kept`: why it was left as it is. */
  judge(hostId: string, name: string, theirs: string, kept: string | null = null): string | null {
    const { version } = this.ports;
    const older = compareVersions(theirs, version);
    // Why it was left as it is was found out when that was tried.
    if (older < 0 && kept === null && this.notes.has(hostId)) return this.note(hostId);
    const note = older === 0 ? null
      : older > 0 ? `${name} runs Baton ${theirs}, this host the older ${version}. Update Baton here.`
      : kept === null ? `${name} runs Baton ${theirs}, this host ${version}. Update Baton there, or run "baton host add" again where ssh leads there.`
      : `${name} runs Baton ${theirs}, this host ${version}, and was left as it is: ${kept}`;
    if (note === null) this.notes.delete(hostId);
    else this.notes.set(hostId, note);
    return note;
  }

  note(hostId: string): string | null {
    return this.notes.get(hostId) ?? null;
  }

  /**
   * Brings an older host that ssh finds to this version, unless it is at work. True where it was ended for that and is there again, so that channels
   * to it have to be opened anew. Throws nothing: what could not be mended is a note.
   */
  mend(peer: { readonly hostId: string; readonly name: string; readonly ssh: readonly string[] }, theirs: string): Promise<boolean> {
    const { version, now } = this.ports;
    if (compareVersions(theirs, version) >= 0 || peer.ssh.length === 0) return Promise.resolve(false);
    const lately = this.triedAt.get(peer.hostId);
    if (lately !== undefined && now() - lately < MEND_AGAIN_MS) return Promise.resolve(false);
    const mending = this.mending.get(peer.hostId) ?? this.renew(peer, theirs).finally(() => this.mending.delete(peer.hostId));
    this.mending.set(peer.hostId, mending);
    return mending;
  }

  dispose(): void {
    this.ports.ssh.dispose();
  }

  private async renew({ hostId, name, ssh: [alias = ''] }: { readonly hostId: string; readonly name: string; readonly ssh: readonly string[] }, theirs: string): Promise<boolean> {
    const { ssh, log, now } = this.ports;
    this.triedAt.set(hostId, now());
    try {
      await copyBaton(ssh, alias, await lookAt(ssh, alias), this.program());
      const { stream, greeting } = await joinFar(ssh, alias, ['--renew']);
      stream.on('error', () => undefined).destroy();
      const { running, kept }: Greeting = greeting;
      log.info(`${name} runs Baton ${running} now, where it ran ${theirs}${kept === null ? '' : `: ${kept}`}`);
      this.judge(hostId, name, running, kept);
      return greeting.hostId === hostId && compareVersions(running, theirs) > 0;
    } catch (error) {
      log.warn(`${name} could not be brought to this version of Baton: ${describeError(error).message}`);
      return false;
    }
  }

  private program(): { readonly entry: string; readonly version: string } {
    const { entry, version } = this.ports;
    if (entry === null) throw new HostError('internal', 'This host was not started from a file that could be copied.');
    return { entry, version };
  }
}
