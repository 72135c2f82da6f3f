/** The client of a real `codex app-server`: starts it or finds the one that an earlier run left, and speaks to it. */
import type { ChildProcess } from 'node:child_process';
import { mkdir, realpath } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { CodexError } from './codexError';
import { codexEnvironment } from './environment';
import { requireSupported, type CodexExecutable } from './executable';
import { FollowedThreads } from './followedThreads';
import type { ClientRequests, ServerNotifications, ServerRequests } from './protocol.generated';
import { askedParams, notificationSchemas, readSchemas, resolvedParams } from './readSchemas';
import { RpcConnection, type RpcId } from './rpc';
import { endServer, isAlive, lastLogLines, livingServer, spawnOnSocket, spawnOnStdio } from './serverProcess';
import { holderOf, holderText, wayToFree } from './threadHolder';
import { connectUnix, overStdio, type Transport } from './transport';

export type AppServerOptions = {
  codex: CodexExecutable;
  codexHome: string;
  /** At most about 100 bytes long, in a folder of mode 0700. Codex makes it a symbolic link. Unused over stdio. */
  socketPath: string;
  /** Keeps the server's process id between runs; its log is `<stateFile>.log`. */
  stateFile: string;
  /** Default: this process's environment. What an editor put there is left out either way. */
  env?: Readonly<Record<string, string | undefined>>;
  /** `key=value` overrides of config.toml for the whole server; values are TOML. */
  config?: readonly string[];
  clientInfo: { name: string; title: string; version: string };
  log: (message: string) => void;
  /** May complete a request before it is sent: each that loads a thread passes here, also those of a reconnection. */
  complete?: (method: string, params: unknown) => unknown;
  /** Default: `socket`, and `stdio` on Windows, where Codex listens on no socket. Over stdio the server ends with this process. */
  transport?: 'socket' | 'stdio';
};

/** `connected`: usable. `reconnecting`: the connection dropped and the server lives. `ended`: the server is gone for good; start another. */
export type AppServerState = 'connected' | 'reconnecting' | 'ended';

/** Where the app-server listens that the Codex programs of an account share. */
export const sharedSocket = (codexHome: string): string => join(codexHome, 'app-server-control', 'app-server-control.sock');

/** A question of the server's to its user. It stays open, also while no client is connected, until one client answers it. */
export type ServerRequest = { [M in keyof ServerRequests]: { id: RpcId; method: M; params: ServerRequests[M]['params'] } }[keyof ServerRequests];

export type ServerNotification = { [M in keyof ServerNotifications]: { method: M; params: ServerNotifications[M] } }[keyof ServerNotifications];

export type Subscription = { dispose: () => void };

const answerable: ReadonlySet<string> = new Set<keyof ServerRequests>([
  'item/commandExecution/requestApproval', 'item/fileChange/requestApproval', 'item/permissions/requestApproval', 'item/tool/requestUserInput', 'mcpServer/elicitation/request',
]);
const startTimeoutMs = 30_000;
const stopGraceMs = 3_000;

export class AppServer {
  readonly #options: AppServerOptions;
  readonly #notificationListeners = new Set<(notification: { method: string; params: unknown }) => void>();
  readonly #requestListeners = new Set<(request: ServerRequest) => void>();
  readonly #stateListeners = new Set<(state: AppServerState, why: string) => void>();
  /** Open questions by id, kept so that a listener that comes later, or after a reconnection, hears of them. */
  readonly #open = new Map<RpcId, ServerRequest>();
  readonly #followed = new FollowedThreads();
  #child: ChildProcess | null = null;
  #pid = 0;
  #rpc: RpcConnection | null = null;
  #state: AppServerState = 'reconnecting';
  #detached = false;
  #codexHome = '';
  #version = '';
  #adopted = false;
  /** Somebody else's: it is asked, never started or ended. */
  #foreign = false;

  private constructor(options: AppServerOptions) {
    this.#options = options;
  }

  /**
   * Connects to the app-server that an earlier run started for this Codex home, or starts one. Threads that a found server
   * still has loaded are joined again, and its open approval requests reach {@link onServerRequest} as if new.
   * @throws CodexError `codex-not-found`, `codex-too-old`, `codex-unavailable`
   */
  static async start(options: AppServerOptions): Promise<AppServer> {
    const server = new AppServer(options);
    await mkdir(dirname(options.stateFile), { recursive: true, mode: 0o700 });
    await mkdir(options.codexHome, { recursive: true, mode: 0o700 });
    try {
      await (server.#overStdio ? server.#startOnStdio() : server.#startOnSocket());
    } catch (error) {
      await server.stop();
      throw error;
    }
    return server;
  }

  /**
   * Connects to the app-server that this account's other Codex programs share (the daemon behind a TUI), and whose end is theirs to decide.
   * @returns null where none answers for this Codex home
   */
  static async attach(options: Pick<AppServerOptions, 'codex' | 'codexHome' | 'clientInfo' | 'log' | 'complete'>): Promise<AppServer | null> {
    const link = sharedSocket(options.codexHome);
    // A symbolic link to a place with a short path; Codex listens on no socket on Windows.
    const socketPath = await realpath(link).catch(() => null);
    if (socketPath === null) return null;
    const server = new AppServer({ ...options, socketPath, stateFile: '' });
    server.#foreign = true;
    try {
      await server.#connect(await connectUnix(socketPath));
    } catch (error) {
      options.log(`app-server: the one on ${link} cannot be used: ${String(error)}`);
      server.detach();
      return null;
    }
    server.#become('connected', 'attached');
    return server;
  }

  /** Codex's own idea of its home, symbolic links resolved or not as it likes. */
  get codexHome(): string {
    return this.#codexHome;
  }
  /** Version of the running server, which may be older than the executable if that was updated since. */
  get version(): string {
    return this.#version;
  }
  get state(): AppServerState {
    return this.#state;
  }
  get pid(): number {
    return this.#pid;
  }
  /** It was running already when this run found it. */
  get adopted(): boolean {
    return this.#adopted;
  }

  /**
   * Sends one request. What Baton reads of the answer has been checked.
   * @throws CodexError `connection-lost`, `timed-out`, `overloaded`, `thread-not-found`, `thread-archived`, `thread-in-use`, `provider-missing`, `refused`, `protocol-unknown`
   */
  async request<M extends keyof ClientRequests>(method: M, ...[params]: ClientRequests[M]['params'] extends undefined ? [] : [ClientRequests[M]['params']]): Promise<ClientRequests[M]['result']> {
    const result = await this.forward(method, params);
    const checked = readSchemas[method]?.safeParse(result);
    if (checked?.success === false) {
      throw new CodexError('protocol-unknown', `Codex ${this.#version} answered ${method} in a shape that Baton does not know (${checked.error.issues[0]?.path.join('.') ?? ''}: ${checked.error.issues[0]?.message ?? ''}). Update Baton, or use an older Codex.`);
    }
    return result as ClientRequests[M]['result'];
  }

  /** Sends a request that somebody else composed, and returns the answer unchecked. @throws CodexError as {@link request} */
  async forward(method: string, params: unknown): Promise<unknown> {
    if (this.#rpc === null || this.#state === 'ended') throw new CodexError('connection-lost', `The Codex app-server is not connected, so ${method} was not sent.`);
    const result = await this.#rpc.request(method, this.#options.complete?.(method, params) ?? params).catch(async (error: unknown) => {
      const named = CodexError.is(error, 'thread-in-use') ? askedParams.safeParse(params) : undefined;
      throw named?.success === true ? await this.#inUse(named.data.threadId, error) : error;
    });
    this.#followed.note(method, params, result);
    return result;
  }

  /** Every notification, also those that Baton has no type for. */
  onAnyNotification(listener: (notification: { method: string; params: unknown }) => void): Subscription {
    return subscribe(this.#notificationListeners, listener);
  }

  /** Notifications of one method. */
  onNotification<M extends keyof ServerNotifications>(method: M, listener: (params: ServerNotifications[M]) => void): Subscription {
    return this.onAnyNotification((notification) => {
      if (notification.method !== method) return;
      if (notificationSchemas[method]?.safeParse(notification.params).success === false) this.#options.log(`app-server: ${method} has a shape that Baton does not know`);
      else listener(notification.params as ServerNotifications[M]);
    });
  }

  /** Questions of the server's, those still open included. Answer with {@link reply}; `serverRequest/resolved` tells that some client has. */
  onServerRequest(listener: (request: ServerRequest) => void): Subscription {
    const subscription = subscribe(this.#requestListeners, listener);
    for (const request of this.#open.values()) listener(request);
    return subscription;
  }

  onState(listener: (state: AppServerState, why: string) => void): Subscription {
    return subscribe(this.#stateListeners, listener);
  }

  /** Answers a question. The server ignores the answer if another client was first. */
  reply<M extends keyof ServerRequests>(request: { id: RpcId; method: M }, result: ServerRequests[M]['result']): void {
    this.#open.delete(request.id);
    this.#rpc?.reply(request.id, result);
  }

  /** Answers a question with an error: the turn goes on as if it had been declined. */
  refuse(request: { id: RpcId }, message: string): void {
    this.#open.delete(request.id);
    this.#rpc?.refuse(request.id, -32000, message);
  }

  /** Drops the connection and leaves the server running with its threads; over stdio that ends it. */
  detach(): void {
    this.#detached = true;
    this.#rpc?.close();
    this.#become('ended', 'detached');
  }

  /** Interrupts what runs and ends the server. Doing it twice is harmless. */
  async stop(): Promise<void> {
    if (this.#foreign) {
      this.detach();
      return;
    }
    if (this.#state === 'connected' && this.#rpc !== null) await this.#interruptAll().catch((error: unknown) => this.#options.log(`app-server: turns were not interrupted before the stop: ${String(error)}`));
    this.#detached = true;
    this.#rpc?.close();
    if (this.#overStdio) await this.#endOnStdio();
    else if (this.#pid !== 0) await endServer(this.#pid, this.#options.stateFile, stopGraceMs);
    this.#become('ended', 'stopped');
  }

  async #inUse(threadId: string, cause: unknown): Promise<CodexError> {
    const holder = await holderOf(this.#codexHome, threadId);
    return new CodexError('thread-in-use', `${holderText(holder)} has the thread ${threadId} open on this machine. ${wayToFree(holder)}`, { cause });
  }

  get #overStdio(): boolean {
    return (this.#options.transport ?? (process.platform === 'win32' ? 'stdio' : 'socket')) === 'stdio';
  }

  async #startOnSocket(): Promise<void> {
    const { socketPath, stateFile, log } = this.#options;
    const known = await livingServer(stateFile, socketPath);
    if (known !== null) {
      this.#pid = known.pid;
      try {
        await this.#connect(await connectUnix(socketPath));
        this.#adopted = true;
        log(`app-server: found process ${known.pid}, Codex ${this.#version}`);
        await this.#followed.joinAgain(this, log);
        this.#become('connected', 'found');
        return;
      } catch (error) {
        log(`app-server: process ${known.pid} of an earlier run does not serve this home, ending it: ${String(error)}`);
        this.#rpc?.close();
        await endServer(known.pid, stateFile, stopGraceMs);
      }
    }
    await mkdir(dirname(socketPath), { recursive: true, mode: 0o700 });
    this.#child = await spawnOnSocket({ ...this.#options, env: this.#environment(), config: this.#options.config ?? [] });
    this.#pid = this.#child.pid ?? 0;
    const transport = await this.#awaitListening(startTimeoutMs);
    if (transport === null) throw new CodexError('codex-unavailable', `The Codex app-server did not come up on ${socketPath}. Its last words:\n${await lastLogLines(stateFile)}`);
    await this.#connect(transport);
    this.#become('connected', 'started');
    log(`app-server: started process ${this.#pid}, Codex ${this.#version}`);
  }

  async #startOnStdio(): Promise<void> {
    this.#child = await spawnOnStdio({ ...this.#options, env: this.#environment(), config: this.#options.config ?? [] });
    this.#pid = this.#child.pid ?? 0;
    try {
      await this.#connect(overStdio(this.#child));
      this.#become('connected', 'started');
    } catch (cause) {
      if (!CodexError.is(cause, 'connection-lost')) throw cause;
      throw new CodexError('codex-unavailable', `The Codex app-server ended at its start. Its last words:\n${await lastLogLines(this.#options.stateFile)}`, { cause });
    }
  }

  #environment(): Record<string, string> {
    return codexEnvironment(this.#options.env ?? process.env, this.#options.codexHome);
  }

  /** Asked after an await, where the compiler believes what it knew before. */
  #isDetached(): boolean {
    return this.#detached;
  }

  /** Tries until something listens or the process has ended: the server prints nothing when it is ready. */
  async #awaitListening(forMs: number): Promise<Transport | null> {
    const end = Date.now() + forMs;
    for (let delayMs = 10; Date.now() < end && isAlive(this.#pid) && (this.#child?.exitCode ?? null) === null && !this.#detached; delayMs = Math.min(250, delayMs * 1.5)) {
      const transport = await connectUnix(this.#options.socketPath).catch(() => null);
      if (transport !== null && !this.#isDetached()) return transport;
      transport?.close();
      await new Promise((resolve) => setTimeout(resolve, delayMs));
    }
    return null;
  }

  async #connect(transport: Transport): Promise<void> {
    const rpc = new RpcConnection(transport, {
      notification: (method, params) => this.#hear(method, params),
      request: (id, method, params) => this.#asked(rpc, id, method, params),
      closed: (why) => {
        // A connection that has been replaced says nothing about the present one.
        if (this.#rpc === rpc) void this.#lost(why);
      },
    });
    this.#rpc = rpc;
    this.#open.clear();
    const result = await this.request('initialize', {
      clientInfo: this.#options.clientInfo,
      capabilities: { experimentalApi: true, requestAttestation: false },
    });
    this.#codexHome = result.codexHome;
    // "<client>/<version> (<system>) …"
    this.#version = /\/(\d+\.\d+\.\d+\S*)/.exec(result.userAgent)?.[1] ?? this.#options.codex.version;
    const [theirs, ours] = await Promise.all([result.codexHome, this.#options.codexHome].map((path) => realpath(path).catch(() => path)));
    if (theirs !== ours) throw new CodexError('codex-unavailable', `The app-server on ${this.#options.socketPath} serves ${result.codexHome}, not ${this.#options.codexHome}. Stop it, or choose another Codex home.`);
    requireSupported(this.#version, 'The running app-server');
    rpc.notify('initialized');
    // Refused without the capability, so this proves that experimental methods are there; also finds a server that cannot serve.
    await this.request('thread/queue/list', { threadId: '00000000-0000-7000-8000-000000000000' }).catch((error: unknown) => {
      if (!CodexError.is(error) || !/experimentalApi|unknown variant/.test(error.message)) return;
      throw new CodexError('codex-too-old', `The running app-server (Codex ${this.#version}) does not offer the experimental API that a handoff needs: ${error.message}`, { cause: error });
    });
  }

  async #lost(why: string): Promise<void> {
    if (this.#detached || this.#state === 'ended') return;
    if (this.#overStdio || this.#foreign) {
      this.#become('ended', why);
      return;
    }
    this.#become('reconnecting', why);
    const transport = await this.#awaitListening(startTimeoutMs);
    if (transport === null) {
      this.#become('ended', isAlive(this.#pid) ? `process ${this.#pid} no longer listens` : `process ${this.#pid} ended`);
      return;
    }
    try {
      await this.#connect(transport);
      // Before anybody is told: to whom it says "connected", threads are heard of as before.
      await this.#followed.joinAgain(this, this.#options.log);
      this.#become('connected', 'connected again');
    } catch (error) {
      // A connection that was lost once more is being made by the call that its loss began.
      if (!CodexError.is(error, 'connection-lost')) this.#become('ended', String(error));
    }
  }

  async #interruptAll(): Promise<void> {
    const { data } = await this.request('thread/loaded/list', {});
    for (const threadId of data) {
      const turns = await this.request('thread/turns/list', { threadId, limit: 1 });
      const running = turns.data.find((turn) => turn.status === 'inProgress');
      if (running !== undefined) await this.request('turn/interrupt', { threadId, turnId: running.id });
    }
  }

  async #endOnStdio(): Promise<void> {
    const child = this.#child;
    if (child?.exitCode !== null || child.signalCode !== null) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => child.kill('SIGKILL'), stopGraceMs);
      child.once('exit', () => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  #hear(method: string, params: unknown): void {
    if (method === 'serverRequest/resolved') {
      const resolved = resolvedParams.safeParse(params);
      if (resolved.success) this.#open.delete(resolved.data.requestId);
    }
    for (const listener of this.#notificationListeners) listener({ method, params });
  }

  #asked(rpc: RpcConnection, id: RpcId, method: string, params: unknown): void {
    if (!answerable.has(method) || !askedParams.safeParse(params).success) {
      // Left unanswered, the turn would hang.
      rpc.refuse(id, -32601, `${this.#options.clientInfo.name} does not answer ${method}`);
      return;
    }
    const request = { id, method, params } as ServerRequest;
    this.#open.set(id, request);
    for (const listener of this.#requestListeners) listener(request);
  }

  #become(state: AppServerState, why: string): void {
    if (this.#state === state || this.#state === 'ended') return;
    this.#options.log(`app-server: ${this.#state} → ${state} (${why})`);
    this.#state = state;
    for (const listener of this.#stateListeners) listener(state, why);
  }
}

function subscribe<T>(listeners: Set<T>, listener: T): Subscription {
  listeners.add(listener);
  return { dispose: () => void listeners.delete(listener) };
}
