import { readFile } from 'node:fs/promises';
import { Kvm, type KV, type KvWatchEntry } from '@nats-io/kv';
import { connect, credsAuthenticator, type NatsConnection, type QueuedIterator } from '@nats-io/transport-node';
import { z } from 'zod';
import { encodeBase64url } from './base64url';
import type { Clock } from './clock';
import { randomBytes } from './keys';
import { RelayError } from './relayError';
import type { RelayLog } from './relayLog';

const BUCKET = 'baton-relay';
/** Entries that nobody renews are gone after this long; those of a node that has ended mean nothing long before. */
const TTL_MS = 10 * 60_000;
const RENEW_MS = TTL_MS / 3;
/** How often a node says that it is there, and after how long a silence it counts as gone. */
const BEAT_MS = 1000;
const GONE_MS = 4000;
/** So many of its own beats a node must not fail to hear: then what the others say does not come either. */
const MAX_UNHEARD_BEATS = 4;
const REQUEST_TIMEOUT_MS = 4000;
/** For all that one beat asks of NATS. */
const BEAT_TIMEOUT_MS = 10_000;
/** So many hosts are said again in one beat; the others follow in the next, and the beats go on meanwhile. */
const RENEWED_PER_BEAT = 500;
const CLAIM_TRIES = 5;

const nodeEntry = z.strictObject({ url: z.url({ protocol: /^wss?$/ }).max(512) });
const hostEntry = z.strictObject({ node: z.string().regex(/^[A-Za-z0-9_-]{22}$/) });

export interface ClusterOptions {
  /** URLs of NATS servers with JetStream. */
  readonly servers: readonly string[];
  /** A file with NATS credentials (`.creds`). */
  readonly credentialsFile?: string | undefined;
  /** Where hosts and dialers find this very node. */
  readonly publicUrl: string;
  /** On how many NATS servers the presence is kept. */
  readonly replicas?: number;
}

/** Which host is at which node of a relay: a key-value bucket of NATS JetStream, and a copy of it that is kept up to date. */
export class RelayPresence {
  /** New with each start, so that what an earlier run left behind belongs to nobody. */
  readonly #node = encodeBase64url(randomBytes(16));
  readonly #nodes = new Map<string, { readonly url: string; heard: number }>();
  readonly #hosts = new Map<string, string>();
  /** Revisions of the entries of the hosts that are here. */
  readonly #own = new Map<string, number>();
  /** Those of them that have to be said again. */
  readonly #unsaid = new Set<string>();
  #kv: KV | undefined;
  #watch: QueuedIterator<KvWatchEntry> | undefined;
  /** Goes up with each loss; what was begun before then has no effect any more. */
  #losses = 0;
  #unheardBeats = 0;
  #renewed = 0;
  #stopTimer: () => void = () => undefined;
  #isClosed = false;

  private constructor(
    private readonly connection: NatsConnection,
    private readonly options: ClusterOptions & { readonly clock: Clock; readonly log: RelayLog; readonly isHere: (hostId: string) => Promise<boolean> },
  ) {}

  /**
   * Joins the nodes of a relay. `isHere` is asked, on behalf of another node, whether a host still answers at this one; if it
   * says no, the host is that node's. Throws `setting-invalid` for credentials or URLs that cannot be used, `relay-unreachable` without NATS.
   */
  static async join(options: RelayPresence['options']): Promise<RelayPresence> {
    const { servers, credentialsFile } = options;
    // Errors of NATS name the server; a password in its URL would end up in logs, and is in the command line already.
    if (servers.some((server) => server.includes('@'))) throw new RelayError('setting-invalid', 'The URL of a NATS server must not hold a password. Use --nats-creds-file.');
    const credentials = credentialsFile === undefined ? undefined : await readFile(credentialsFile).catch((cause: unknown) => {
      throw new RelayError('setting-invalid', `${credentialsFile} cannot be read: ${(cause as Error).message}.`, { cause });
    });
    let presence: RelayPresence | undefined;
    try {
      const connection = await connect({ servers: [...servers], name: 'baton-relay', maxReconnectAttempts: -1, reconnectTimeWait: 500, pingInterval: 5000, maxPingOut: 2, ...(credentials === undefined ? {} : { authenticator: credsAuthenticator(credentials) }) });
      presence = new RelayPresence(connection, options);
      await presence.#within(BEAT_TIMEOUT_MS, presence.#open());
    } catch (cause) {
      await presence?.leave();
      throw new RelayError('relay-unreachable', `NATS with JetStream cannot be used at ${servers.join(', ')}: ${(cause as Error).message}.`, { cause });
    }
    presence.connection.subscribe(probeSubject(presence.#node), { callback: (_error, message) => void options.isHere(message.string()).then((isHere) => message.respond(isHere ? 'here' : 'gone')).catch(() => undefined) });
    presence.#scheduleBeat();
    void presence.#watchConnection();
    return presence;
  }

  /** Whether claims can be made now, and what `urlOf` says is up to date. */
  get isUsable(): boolean {
    return this.#kv !== undefined;
  }

  /** Nodes that are there, this one included. */
  get nodes(): number {
    return [...this.#nodes.keys()].filter((node) => this.#isThere(node)).length;
  }

  /** The URL of the other node that a host is at; undefined where it is at none that is there. */
  urlOf(hostId: string): string | undefined {
    const node = this.#hosts.get(hostId);
    return node === undefined || node === this.#node || !this.#isThere(node) ? undefined : this.#nodes.get(node)?.url;
  }

  /** Makes a host this node's, unless it answers at another: then false. Throws where NATS cannot be asked. */
  async claim(hostId: string): Promise<boolean> {
    const value = JSON.stringify({ node: this.#node } satisfies z.infer<typeof hostEntry>);
    for (let tries = 1; ; tries++) {
      const kv = this.#usable();
      const entry = await kv.get(hostKey(hostId));
      const holder = entry?.operation === 'PUT' ? parsed(hostEntry, entry.value)?.node : undefined;
      if (holder !== undefined && holder !== this.#node && (await this.#answersAt(holder, hostId))) return false;
      try {
        // Of two nodes that claim at once, one is told that the entry is no longer what it had read.
        const revision = entry === null ? await kv.create(hostKey(hostId), value) : await kv.update(hostKey(hostId), value, entry.revision);
        this.#own.set(hostId, revision);
        this.#hosts.set(hostId, this.#node);
        return true;
      } catch (error) {
        if (tries === CLAIM_TRIES) throw error;
      }
    }
  }

  /** A host has left this node. */
  async release(hostId: string): Promise<void> {
    const revision = this.#own.get(hostId);
    if (revision === undefined) return;
    this.#own.delete(hostId);
    this.#unsaid.delete(hostId);
    if (this.#hosts.get(hostId) === this.#node) this.#hosts.delete(hostId);
    // Only this node's own entry: another node may have claimed the host meanwhile. If it stays, others come here and are told.
    await this.#kv?.delete(hostKey(hostId), { previousSeq: revision }).catch(() => undefined);
  }

  /** Leaves the other nodes; they know at once. */
  async leave(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#stopTimer();
    const leaving = async (): Promise<void> => {
      await this.#kv?.delete(nodeKey(this.#node));
      await Promise.all([...this.#own.keys()].map((hostId) => this.release(hostId)));
    };
    await this.#within(REQUEST_TIMEOUT_MS, leaving()).catch(() => undefined);
    this.#watch?.stop();
    await this.#within(REQUEST_TIMEOUT_MS, this.connection.close()).catch(() => undefined);
  }

  /** The outcome of some work with NATS, whose client may wait for a server that never comes. Throws `timeout`. */
  #within<T>(milliseconds: number, work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const stopTimer = this.options.clock.after(milliseconds, () => reject(new RelayError('timeout', `NATS did not answer within ${milliseconds} ms.`)));
      work.then(resolve, reject).finally(stopTimer);
    });
  }

  #usable(): KV {
    if (this.#kv === undefined) throw new RelayError('relay-unreachable', 'The presence of hosts is not to be had: NATS does not answer.');
    return this.#kv;
  }

  #isThere(node: string): boolean {
    if (node === this.#node) return true;
    const known = this.#nodes.get(node);
    return known !== undefined && this.options.clock.now() - known.heard < GONE_MS;
  }

  async #answersAt(node: string, hostId: string): Promise<boolean> {
    if (!this.#isThere(node)) return false;
    // A node that was killed a moment ago has nobody who listens any more, and NATS says so at once.
    return this.connection.request(probeSubject(node), hostId, { timeout: REQUEST_TIMEOUT_MS }).then((answer) => answer.string() === 'here', () => false);
  }

  /** Opens the bucket, or makes it; says that this node is there; and follows what the others say. Its hosts are said again with the next beats. */
  async #open(): Promise<void> {
    const losses = this.#losses;
    const kv = await new Kvm(this.connection).create(BUCKET, { history: 1, ttl: TTL_MS, storage: 'memory', replicas: this.options.replicas ?? 1 });
    await this.#say(kv);
    const watch = await kv.watch();
    if (losses !== this.#losses || this.#isClosed) {
      watch.stop();
      throw new RelayError('relay-unreachable', 'NATS was lost again.');
    }
    this.#watch?.stop();
    this.#watch = watch;
    await new Promise<void>((resolve, reject) => {
      this.#follow(watch, resolve).then(() => reject(new RelayError('relay-unreachable', 'NATS tells nothing more.')), reject);
    });
    if (losses !== this.#losses) throw new RelayError('relay-unreachable', 'NATS was lost again.');
    this.#unheardBeats = 0;
    this.#kv = kv;
    this.#renewed = this.options.clock.now();
    for (const hostId of this.#own.keys()) this.#unsaid.add(hostId);
  }

  /** Hears entries until the watch ends; `onCurrent` is called when all have come that there are: at least this node's own. */
  async #follow(watch: QueuedIterator<KvWatchEntry>, onCurrent: () => void): Promise<void> {
    const keys = new Set<string>();
    let isCurrent = false;
    for await (const entry of watch) {
      if (watch !== this.#watch) return;
      this.#hear(entry);
      if (isCurrent) continue;
      keys.add(entry.key);
      if (!entry.isUpdate) continue;
      isCurrent = true;
      // Known from before, and gone meanwhile.
      for (const hostId of this.#hosts.keys()) if (!keys.has(hostKey(hostId)) && !this.#own.has(hostId)) this.#hosts.delete(hostId);
      onCurrent();
    }
  }

  async #say(kv: KV): Promise<void> {
    await kv.put(nodeKey(this.#node), JSON.stringify({ url: this.options.publicUrl } satisfies z.infer<typeof nodeEntry>));
  }

  #hear({ key, value, operation }: KvWatchEntry): void {
    const [kind, id = ''] = key.split('.');
    if (key === nodeKey(this.#node)) this.#unheardBeats = 0;
    if (kind === 'node') {
      const entry = operation === 'PUT' ? parsed(nodeEntry, value) : undefined;
      if (entry === undefined) this.#nodes.delete(id);
      else this.#nodes.set(id, { url: entry.url, heard: this.options.clock.now() });
    } else {
      const entry = operation === 'PUT' ? parsed(hostEntry, value) : undefined;
      if (entry === undefined) this.#hosts.delete(id);
      else this.#hosts.set(id, entry.node);
    }
  }

  /** Says again that a host is here. What fails is tried again with the next beat. */
  async #renew(kv: KV, hostId: string): Promise<void> {
    const entry = await kv.get(hostKey(hostId));
    const holder = entry?.operation === 'PUT' ? parsed(hostEntry, entry.value)?.node : undefined;
    // Where NATS has lost it, it is said again; where another node has it by now, that one is right.
    if (holder === undefined || holder === this.#node || !this.#isThere(holder)) {
      const value = JSON.stringify({ node: this.#node } satisfies z.infer<typeof hostEntry>);
      const revision = await (entry === null ? kv.create(hostKey(hostId), value) : kv.update(hostKey(hostId), value, entry.revision));
      if (this.#own.has(hostId)) this.#own.set(hostId, revision);
    }
    this.#unsaid.delete(hostId);
  }

  async #watchConnection(): Promise<void> {
    // What the other nodes say does not come any more either: better to know nothing than something old.
    for await (const { type } of this.connection.status()) if (type === 'disconnect') this.#lose();
  }

  #lose(): void {
    if (this.#kv !== undefined && !this.#isClosed) this.options.log({ event: 'presence-lost' });
    this.#losses += 1;
    this.#kv = undefined;
  }

  #scheduleBeat(): void {
    this.#stopTimer = this.options.clock.after(BEAT_MS, () => void this.#beat().finally(() => {
      if (!this.#isClosed) this.#scheduleBeat();
    }));
  }

  async #beat(): Promise<void> {
    const { clock } = this.options;
    await this.#within(BEAT_TIMEOUT_MS, this.#ask()).catch(() => this.#lose());
    // What a node left behind that has ended is not told of when it expires.
    for (const [node, { heard }] of this.#nodes) if (clock.now() - heard > TTL_MS) this.#nodes.delete(node);
    for (const [hostId, node] of this.#hosts) if (node !== this.#node && !this.#nodes.has(node)) this.#hosts.delete(hostId);
  }

  /** What one beat asks of NATS. Throws where it cannot be used, or no longer tells what it is told. */
  async #ask(): Promise<void> {
    const { clock, log } = this.options;
    const kv = this.#kv;
    if (kv === undefined) {
      await this.#open();
      log({ event: 'presence-found' });
      return;
    }
    await this.#say(kv);
    if (++this.#unheardBeats > MAX_UNHEARD_BEATS) throw new RelayError('relay-unreachable', 'NATS takes what it is told, and tells nothing.');
    if (clock.now() - this.#renewed > RENEW_MS) {
      this.#renewed = clock.now();
      for (const hostId of this.#own.keys()) this.#unsaid.add(hostId);
    }
    await Promise.all([...this.#unsaid].slice(0, RENEWED_PER_BEAT).map((hostId) => this.#renew(kv, hostId).catch(() => undefined)));
  }
}

const hostKey = (hostId: string): string => `host.${hostId}`;
const nodeKey = (node: string): string => `node.${node}`;
const probeSubject = (node: string): string => `baton.relay.probe.${node}`;

function parsed<S extends z.ZodType>(schema: S, value: Uint8Array): z.output<S> | undefined {
  try {
    return schema.safeParse(JSON.parse(Buffer.from(value).toString('utf8'))).data;
  } catch {
    return undefined;
  }
}
