/** A controller's end of the host protocol, for the command line and for VS Code. */
import { createConnection } from 'node:net';
import type { Duplex } from 'node:stream';
import { dirname } from 'node:path';
import { CancellationTokenSource, ErrorCodes, ParameterStructures, ResponseError, type MessageConnection } from 'vscode-jsonrpc/node';
import type { z } from 'zod';
import { exposureOf } from './home';
import { hostEvent, type eventsWanted } from './followSchemas';
import { HostError, type HostErrorReason } from './hostError';
import { connect } from './jsonLines';
import { localSocketPath } from './localSocket';
import { silentLog, type Log } from './log';
import {
  ErrorCode, errorData, initializeResult, methods, notifications, PROTOCOL_VERSION,
  type InitializeResult, type MethodName, type NotificationName, type NotificationOf, type ParamsOf, type ResultOf,
} from './protocol';

export type ClientInfo = { readonly name: string; readonly title?: string; readonly version: string };
/** How far a controller has heard a host: the run of the host, and the position of the newest event. */
export type Cursor = z.output<typeof eventsWanted>;
type Options = {
  readonly clientInfo: ClientInfo;
  readonly log?: Log;
  /** Goes on hearing where an earlier client of the same host stopped; a null run begins, so that a later one can go on. */
  readonly after?: Cursor;
  /** Adds its handlers before there is anything to hear. */
  readonly prepare?: (client: HostClient) => void;
};
export type Unsubscribe = () => void;

export class HostClient {
  readonly #connection: MessageConnection;
  readonly #log: Log;
  readonly #ownHandlers = new Map<NotificationName, Set<(value: unknown) => void>>();
  readonly #codexHandlers = new Set<(method: string, params: unknown) => void>();
  readonly #closeHandlers = new Set<() => void>();
  #host: InitializeResult | undefined;
  #cursor: Cursor | undefined;
  #closed = false;

  private constructor(stream: Duplex, log: Log) {
    this.#log = log;
    this.#connection = connect(stream, { log });
    this.#connection.onNotification((method, params) => this.#dispatch(method, params));
    this.#connection.onClose(() => this.#end());
    this.#connection.onDispose(() => this.#end());
    this.#connection.listen();
  }

  /**
   * Connects to the host that runs for `batonHome` and introduces the controller. Throws `host-unreachable` where no host
   * listens or the socket is not private, `protocol-mismatch` where it is of another version, and what `initialize` is answered with.
   */
  static async connect(options: Options & { readonly batonHome: string; readonly signal?: AbortSignal }): Promise<HostClient> {
    const path = localSocketPath(options.batonHome);
    const exposure = process.platform === 'win32' ? undefined : exposureBefore(dirname(path));
    if (exposure !== undefined) throw unreachable(options.batonHome, `${dirname(path)}: ${exposure}`);
    const socket = await new Promise<Duplex>((resolve, reject) => {
      const connecting = createConnection(path);
      connecting.once('connect', () => {
        connecting.off('error', reject);
        resolve(connecting);
      });
      connecting.once('error', reject);
    }).catch((error: unknown) => {
      throw unreachable(options.batonHome, (error as Error).message, error);
    });
    return HostClient.over(socket, options);
  }

  /** Speaks the protocol over a stream that is already connected to a host: a channel, or one end of a pair of streams. */
  static async over(stream: Duplex, options: Options & { readonly signal?: AbortSignal }): Promise<HostClient> {
    const client = new HostClient(stream, options.log ?? silentLog);
    options.prepare?.(client);
    try {
      const params = { clientInfo: { ...options.clientInfo, pid: process.pid }, capabilities: { experimentalApi: true, ...(options.after === undefined ? {} : { events: options.after }) } };
      const host = check(initializeResult, await client.#request('initialize', params, options.signal), 'initialize');
      if (host.baton.protocolVersion !== PROTOCOL_VERSION) {
        const newer = host.baton.protocolVersion > PROTOCOL_VERSION ? 'host' : 'controller';
        throw new HostError('protocol-mismatch', `The host speaks version ${host.baton.protocolVersion} of the protocol, this controller version ${PROTOCOL_VERSION}. The ${newer} is newer: update the other, then end the host with \`baton stop\`.`);
      }
      client.#host = host;
      client.#begin(host.baton.events);
      await client.#connection.sendNotification('initialized');
      return client;
    } catch (error) {
      client.dispose();
      throw error;
    }
  }

  /** What the host said of itself when the connection was made. */
  get host(): InitializeResult {
    if (this.#host === undefined) throw new Error('The client is not initialized.');
    return this.#host;
  }

  /** How far this client has heard, for one that goes on after it; undefined where the host does not count. */
  get cursor(): Cursor | undefined {
    return this.#cursor;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /**
   * Calls one of Baton's own methods. The result is checked against its schema. Throws HostError: the host's own reason (with
   * findings for `preflight-blocked`), `connection-lost` where the host went away, `cancelled` where `signal` did it.
   */
  async call<M extends MethodName>(method: M, params?: ParamsOf<M>, options: { readonly signal?: AbortSignal } = {}): Promise<ResultOf<M>> {
    return check(methods[method].result, await this.#request(method, params, options.signal), method) as ResultOf<M>;
  }

  /** Calls a method by name and returns its result unchecked: for Codex's methods, which the host passes on. Errors as `call`. */
  codex(method: string, params: unknown = {}, options: { readonly signal?: AbortSignal } = {}): Promise<unknown> {
    return this.#request(method, params, options.signal);
  }

  /** Hears one of Baton's own notifications; one that does not fit its schema is logged and dropped. */
  on<N extends NotificationName>(notification: N, handler: (value: NotificationOf<N>) => void): Unsubscribe {
    const handlers = this.#ownHandlers.get(notification) ?? new Set();
    this.#ownHandlers.set(notification, handlers);
    return add(handlers, handler as (value: unknown) => void);
  }

  /** Hears every notification that is not Baton's own, unchecked. */
  onCodex(handler: (method: string, params: unknown) => void): Unsubscribe {
    return add(this.#codexHandlers, handler);
  }

  /** Called once, when the connection has ended for whatever reason; at once for one that already has. */
  onClose(handler: () => void): Unsubscribe {
    if (this.#closed) queueMicrotask(handler);
    return add(this.#closeHandlers, handler);
  }

  /** Ends the connection; what still waits for a reply is rejected with `connection-lost`. Twice is harmless. */
  dispose(): void {
    if (!this.#closed) this.#connection.dispose();
  }

  #end(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const handler of [...this.#closeHandlers]) handler();
  }

  #begin(events: InitializeResult['baton']['events']): void {
    if (events !== undefined) this.#cursor ??= { run: events.run, after: events.position };
  }

  /** One event, or nothing where it was heard before. */
  #hear(params: unknown): void {
    const { data } = hostEvent.safeParse(params);
    if (data === undefined || data.position <= (this.#cursor?.after ?? 0)) return;
    if (this.#cursor !== undefined) this.#cursor = { ...this.#cursor, after: data.position };
    if (data.method !== 'host/event') this.#dispatch(data.method, data.params);
  }

  #dispatch(method: string, params: unknown): void {
    if (method === 'host/event') {
      this.#hear(params);
      return;
    }
    if (!Object.hasOwn(notifications, method)) {
      for (const handler of [...this.#codexHandlers]) handler(method, params);
      return;
    }
    const name = method as NotificationName;
    const parsed = notifications[name].safeParse(params);
    if (!parsed.success) {
      this.#log.warn(`Dropped a notification ${name} that does not fit its schema: ${faultOf(parsed.error)}.`);
      return;
    }
    for (const handler of [...(this.#ownHandlers.get(name) ?? [])]) handler(parsed.data);
  }

  async #request(method: string, params: unknown, signal?: AbortSignal): Promise<unknown> {
    if (this.#closed) throw lost(method);
    if (signal?.aborted) throw cancelled(method);
    const source = new CancellationTokenSource();
    let onAbort: (() => void) | undefined;
    try {
      const reply = params === undefined
        ? this.#connection.sendRequest<unknown>(method, source.token)
        : this.#connection.sendRequest<unknown>(method, Array.isArray(params) ? ParameterStructures.byPosition : ParameterStructures.byName, params, source.token);
      if (signal === undefined) return await reply;
      // The host is told, but it may have no way to stop: who cancels does not wait for it.
      const abandoned = new Promise<never>((_, reject) => {
        onAbort = () => {
          source.cancel();
          reject(cancelled(method));
        };
        signal.addEventListener('abort', onAbort, { once: true });
      });
      return await Promise.race([reply, abandoned]);
    } catch (error) {
      if (HostError.is(error)) throw error;
      const answered = error instanceof ResponseError && error.code !== ErrorCodes.MessageWriteError && error.code !== ErrorCodes.PendingResponseRejected;
      throw answered ? replyError(error as ResponseError<unknown>, method) : lost(method, error);
    } finally {
      if (onAbort !== undefined) signal?.removeEventListener('abort', onAbort);
      source.dispose();
    }
  }
}

const add = <H>(handlers: Set<H>, handler: H): Unsubscribe => {
  handlers.add(handler);
  return () => void handlers.delete(handler);
};

/** The error that a reply stands for. Codex's own refusals carry no reason of ours. */
function replyError(error: ResponseError<unknown>, method: string): HostError {
  const data = errorData.safeParse(error.data);
  if (data.success && /^[a-z0-9-]{1,64}$/.test(data.data.reason)) {
    const { reason, findings } = data.data;
    // The word may come from a subsystem of the host or from a later version: scripts get it as it is.
    return new HostError(reason as HostErrorReason, error.message, findings === undefined ? { cause: error } : { cause: error, findings });
  }
  const byCode: Readonly<Record<number, HostErrorReason>> = {
    [ErrorCode.InvalidParams]: 'invalid-params',
    [ErrorCode.MethodNotFound]: 'unknown-method',
    [ErrorCode.NotPermitted]: 'not-permitted',
  };
  const reason = byCode[error.code] ?? (Object.hasOwn(methods, method) ? 'internal' : 'codex-refused');
  return new HostError(reason, error.message, { cause: error });
}

function check<S extends z.ZodType>(schema: S, value: unknown, method: string): z.output<S> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new HostError('internal', `The host answered ${method} with something that does not fit the protocol: ${faultOf(parsed.error)}. Host and controller may be of different versions; end the host with \`baton stop\` and try again.`, { cause: parsed.error });
}

function faultOf(error: z.ZodError): string {
  const [issue] = error.issues;
  return issue === undefined ? 'no detail' : `${issue.path.join('.') || 'the value'}: ${issue.message}`;
}

const unreachable = (batonHome: string, why: string, cause?: unknown) =>
  new HostError('host-unreachable', `No host of ${batonHome} can be reached (${why}). Start one with \`baton host\`.`, { cause });
const lost = (method: string, cause?: unknown) =>
  new HostError('connection-lost', `The connection to the host ended before ${method} was answered. The host may have stopped; see host.log in its home.`, { cause });
const cancelled = (method: string) => new HostError('cancelled', `${method} was cancelled.`);

/** A directory that is not there is no danger: connecting says so itself. */
function exposureBefore(directory: string): string | undefined {
  try {
    return exposureOf(directory);
  } catch {
    return undefined;
  }
}
