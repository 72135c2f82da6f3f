import type { Duplex } from 'node:stream';
import type { Message } from 'vscode-jsonrpc/node';
import { z } from 'zod';
import { admit, isPermitted, mayHear, shown, type Access, type Caller } from './access';
import { perform } from './controllers';
import { HostError } from './hostError';
import { JsonLinesReader, JsonLinesWriter } from './jsonLines';
import type { Log } from './log';
import { codexMethods, initializeParams, type NotificationOf, type Role } from './protocol';
import { isRemoteControl, type RemoteControlMethods } from './remoteControlMethods';
import { toResponseError } from './wireError';

/** A question of Codex's, as it was asked. */
export interface CodexRequest {
  readonly id: string | number;
  readonly method: string;
  readonly params: unknown;
  readonly threadId: string;
}

export interface CodexClientPorts {
  readonly log: Log;
  /** What Codex answers to `initialize`. */
  initialize(clientName: string, role: Role): Promise<unknown>;
  /** Passes a Codex method on. */
  forward(method: string, params: unknown): Promise<unknown>;
  /** Codex's methods that the host answers itself. */
  readonly own: RemoteControlMethods;
  /** What each client is told at its beginning. */
  remoteControl(): NotificationOf<'remoteControl/status/changed'>;
  /** The questions of a thread that wait for an answer. */
  asked(threadId: string): readonly CodexRequest[];
  /** Answers one of them. Throws HostError where it was answered already, or the caller may not answer so. */
  answer(id: string | number, result: unknown, caller: Access): Promise<void>;
}

const incoming = z.looseObject({ id: z.union([z.string(), z.number()]).optional(), method: z.string().optional(), params: z.unknown().optional(), result: z.unknown().optional(), error: z.unknown().optional() });
const loaded = z.looseObject({ thread: z.looseObject({ id: z.string() }) });
const begun = z.looseObject({ thread: z.looseObject({ id: z.string(), ephemeral: z.boolean().nullish(), parentThreadId: z.string().nullish() }) });
const about = z.looseObject({ threadId: z.string() });
const resolved = z.looseObject({ requestId: z.union([z.string(), z.number()]) });
const loading: ReadonlySet<string> = new Set(['thread/start', 'thread/resume', 'thread/fork']);

/**
 * Clients that speak the app-server's own protocol and know nothing of Baton, such as Codex's TUI: they get Codex's questions as
 * requests, with Codex's ids, and only what is about threads that they have opened. The roles hold for them as for controllers.
 */
export class CodexClients {
  private readonly clients = new Set<CodexClient>();

  constructor(private readonly ports: CodexClientPorts) {}

  /** Serves one client until its stream ends. */
  serve(stream: Duplex, access: Access): void {
    const client = new CodexClient(stream, access, this.ports);
    this.clients.add(client);
    stream.once('close', () => this.clients.delete(client));
  }

  broadcast(method: string, params: unknown): void {
    for (const client of this.clients) client.hear(method, params);
  }

  haveOpen(threadId: string): boolean {
    return [...this.clients].some((client) => client.hasOpen(threadId));
  }

  /** The app-server is gone. */
  forget(): void {
    for (const client of this.clients) client.forget();
  }

  ask(request: CodexRequest): void {
    for (const client of this.clients) client.ask(request);
  }
}

class CodexClient {
  private readonly writer: JsonLinesWriter;
  private readonly threads = new Set<string>();
  private readonly ephemeral = new Set<string>();
  private readonly open = new Set<string | number>();
  private readonly caller: Caller;
  private muted: ReadonlySet<string> | null = null;

  constructor(
    stream: Duplex,
    private readonly access: Access,
    private readonly ports: CodexClientPorts,
  ) {
    this.writer = new JsonLinesWriter(stream);
    const ended = new AbortController();
    stream.once('close', () => ended.abort());
    this.caller = { ...access, ended: ended.signal };
    stream.on('error', (error) => ports.log.info(`A Codex client's connection failed: ${error.message}`));
    new JsonLinesReader(stream, ports.log).listen((message) => void this.receive(message));
  }

  hasOpen(threadId: string): boolean {
    return this.threads.has(threadId);
  }

  hear(method: string, params: unknown): void {
    if (this.muted === null || this.muted.has(method) || !mayHear(this.access, method, params)) return;
    const thread = begun.safeParse(params).data?.thread;
    // Sub-agents of a thread belong to whoever has the thread open.
    if (thread?.parentThreadId != null && this.threads.has(thread.parentThreadId)) this.threads.add(thread.id);
    const threadId = thread?.id ?? about.safeParse(params).data?.threadId;
    const settled = resolved.safeParse(params).data;
    if (method === 'serverRequest/resolved' && settled !== undefined) this.open.delete(settled.requestId);
    if (threadId === undefined || method === 'thread/started' || this.threads.has(threadId)) this.send({ method, params });
  }

  /** The app-server that asked is gone, and with it its questions; another one begins to count anew. */
  forget(): void {
    this.open.clear();
  }

  ask({ id, method, params, threadId }: CodexRequest): void {
    if (this.muted === null || !this.threads.has(threadId) || !isPermitted(this.access.role, 'approver') || this.open.has(id)) return;
    this.open.add(id);
    this.send({ id, method, params });
  }

  private async receive(message: Message): Promise<void> {
    // One with an id that is none can be answered by nobody.
    const { id, method, params, result, error } = incoming.safeParse(message).data ?? {};
    if (id === undefined) return;
    try {
      if (method === undefined) {
        if (error === undefined && this.open.delete(id)) await this.ports.answer(id, result, this.access);
        return;
      }
      const answer = await this.request(method, params);
      this.send({ id, result: answer });
      if (loading.has(method)) this.join(answer);
      if (method === 'initialize') this.hear('remoteControl/status/changed', this.ports.remoteControl());
    } catch (cause) {
      this.ports.log.warn(`${method ?? 'An answer'} of a Codex client failed: ${cause instanceof Error ? cause.message : String(cause)}`);
      const { code, message: text, data } = toResponseError(cause);
      if (method !== undefined) this.send({ id, error: { code, message: text, data } });
    }
  }

  private async request(method: string, params: unknown): Promise<unknown> {
    if (method === 'initialize') {
      if (this.muted !== null) throw new HostError('invalid-params', 'Already initialized');
      const { clientInfo, capabilities } = initializeParams.parse(params);
      const answer = await this.ports.initialize(clientInfo.name, this.access.role);
      this.muted = new Set(capabilities?.optOutNotificationMethods ?? []);
      return answer;
    }
    if (this.muted === null) throw new HostError('invalid-params', 'Not initialized');
    if (isRemoteControl(method)) return perform(this.ports.own, method, admit(this.access, method, params), this.caller);
    if (!Object.hasOwn(codexMethods, method)) throw new HostError('unknown-method', `This host passes ${method} on to nobody: it acts on the machine rather than on a thread, or Codex has no such method.`);
    const admitted = z.record(z.string(), z.unknown()).parse(admit(this.access, method, params) ?? {});
    if (method === 'thread/unsubscribe') return this.leave(admitted);
    return shown(this.access, method, await this.ports.forward(method, admitted));
  }

  /** From now on this client hears of the thread, and first what it waits for. */
  private join(answer: unknown): void {
    const id = loaded.safeParse(answer).data?.thread.id;
    if (id === undefined) return;
    this.threads.add(id);
    if (begun.safeParse(answer).data?.thread.ephemeral === true) this.ephemeral.add(id);
    for (const request of this.ports.asked(id)) this.ask(request);
  }

  /** The host goes on listening to a thread that a client leaves: others may have it open, and its approvals must be seen. One that nobody else can open ends. */
  private async leave(params: Record<string, unknown>): Promise<unknown> {
    const { threadId } = about.parse(params);
    if (this.ephemeral.delete(threadId)) await this.ports.forward('thread/unsubscribe', params);
    return { status: this.threads.delete(threadId) ? 'unsubscribed' : 'notSubscribed' };
  }

  private send(message: object): void {
    // Codex leaves `jsonrpc` out.
    this.writer.write(message as Message).catch(() => undefined);
  }
}
