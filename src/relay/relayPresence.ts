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
const REQUEST_TIMEOUT_MS = 4000;
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
  #kv: KV | undefined;
  #watch: QueuedIterator<KvWatchEntry> | undefined;
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
      await presence.#open();
    } catch (cause) {
      await presence?.leave();
      throw new RelayError('relay-unreachable', `NATS with JetStream cannot be used at ${servers.join(', ')}: ${(cause as Error).message}.`, { cause });
    }
    presence.connection.subscribe(probeSubject(presence.#node), { callback: (_error, message) => void options.isHere(message.string()).then((isHere) => message.respond(isHere ? 'here' : 'gone')) });
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
    if (this.#hosts.get(hostId) === this.#node) this.#hosts.delete(hostId);
    // Only this node's own entry: another node may have claimed the host meanwhile. If it stays, others come here and are told.
    await this.#kv?.delete(hostKey(hostId), { previousSeq: revision }).catch(() => undefined);
  }

  /** Leaves the other nodes; they know at once. */
  async leave(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#stopTimer();
    await Promise.all([...this.#own.keys()].map((hostId) => this.release(hostId)));
    await this.#kv?.delete(nodeKey(this.#node)).catch(() => undefined);
    this.#watch?.stop();
    await this.connection.close();
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

  /** Opens the bucket, or makes it; says that this node is there, and with which hosts; and follows what the others say. */
  async #open(): Promise<void> {
    const kv = await new Kvm(this.connection).create(BUCKET, { history: 1, ttl: TTL_MS, storage: 'memory', replicas: this.options.replicas ?? 1 });
    await kv.put(nodeKey(this.#node), JSON.stringify({ url: this.options.publicUrl } satisfies z.infer<typeof nodeEntry>));
    await this.#renew(kv);
    this.#watch?.stop();
    const watch = await kv.watch();
    this.#watch = watch;
    this.#kv = kv;
    void (async () => {
      for await (const entry of watch) this.#hear(entry);
    })().catch(() => undefined);
  }

  #hear({ key, value, operation }: KvWatchEntry): void {
    const [kind, id = ''] = key.split('.');
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

  async #renew(kv: KV): Promise<void> {
    this.#renewed = this.options.clock.now();
    for (const hostId of this.#own.keys()) {
      const entry = await kv.get(hostKey(hostId));
      const holder = entry?.operation === 'PUT' ? parsed(hostEntry, entry.value)?.node : undefined;
      // Where NATS has lost it, it is said again; where another node has it by now, that one is right.
      if (holder !== undefined && holder !== this.#node && this.#isThere(holder)) continue;
      const value = JSON.stringify({ node: this.#node });
      const revision = await (entry === null ? kv.create(hostKey(hostId), value) : kv.update(hostKey(hostId), value, entry.revision)).catch(() => undefined);
      if (revision !== undefined && this.#own.has(hostId)) this.#own.set(hostId, revision);
    }
  }

  async #watchConnection(): Promise<void> {
    // What the other nodes say does not come any more either: better to know nothing than something old.
    for await (const { type } of this.connection.status()) if (type === 'disconnect') this.#lose();
  }

  #lose(): void {
    if (this.#kv !== undefined && !this.#isClosed) this.options.log({ event: 'presence-lost' });
    this.#kv = undefined;
  }

  #scheduleBeat(): void {
    this.#stopTimer = this.options.clock.after(BEAT_MS, () => void this.#beat().finally(() => {
      if (!this.#isClosed) this.#scheduleBeat();
    }));
  }

  async #beat(): Promise<void> {
    const { clock, log, publicUrl } = this.options;
    try {
      if (this.#kv === undefined) {
        await this.#open();
        log({ event: 'presence-found' });
      } else {
        await this.#kv.put(nodeKey(this.#node), JSON.stringify({ url: publicUrl }));
        if (clock.now() - this.#renewed > RENEW_MS) await this.#renew(this.#kv);
      }
    } catch {
      this.#lose();
    }
    // What a node left behind that has ended is not told of when it expires.
    for (const [node, { heard }] of this.#nodes) if (clock.now() - heard > TTL_MS) this.#nodes.delete(node);
    for (const [hostId, node] of this.#hosts) if (node !== this.#node && !this.#nodes.has(node)) this.#hosts.delete(hostId);
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
