import type { Duplex } from 'node:stream';
import { z } from 'zod';
import { admit, mayHear, shown, type Access, type Caller } from './access';
import { askedBy, type Controller } from './audit';
import { EventLog, type LoggedEvent } from './eventLog';
import { HostError } from './hostError';
import { connect } from './jsonLines';
import type { eventsBegin, eventsWanted } from './followSchemas';
import type { Log } from './log';
import { initializeParams, methods, type InitializeResult, type MethodName, type NotificationName, type NotificationOf, type ResultOf, type Role } from './protocol';
import { toResponseError } from './wireError';

/** What the host does for a controller, by method; role and params are checked before, and results passed on as they are. */
export type Implementations = {
  readonly [M in MethodName]: (params: z.output<(typeof methods)[M]['params']>, caller: Caller) => Promise<ResultOf<M>>;
};

/** Does one of Baton's own methods, after a check of its params. */
export function perform<M extends MethodName>(implementations: Pick<Implementations, M>, method: M, params: unknown, caller: Caller): Promise<unknown> {
  const implementation = implementations[method] as (params: unknown, caller: Caller) => Promise<unknown>;
  // Some JSON-RPC libraries say null where there are no params.
  return implementation(methods[method].params.parse(params ?? undefined), caller);
}

export interface ControllerPorts {
  readonly implementations: Implementations;
  readonly log: Log;
  /** What each controller is told at its beginning. */
  remoteControl(): NotificationOf<'remoteControl/status/changed'>;
  /** Codex's answer to `initialize` with what a controller must know of the host. */
  initialize(role: Role): Promise<InitializeResult>;
  /** Passes a Codex method on. */
  forward(method: string, params: unknown): Promise<unknown>;
}

interface Connected {
  readonly tell: (event: LoggedEvent) => void;
  readonly muted: ReadonlySet<string>;
  readonly access: Access;
  readonly asks: Controller;
}

/** The controllers that are connected, whatever they are: VS Code windows, command lines, paired devices. All see the same events, as far as they may. */
export class Controllers {
  private readonly connected = new Set<Connected>();
  private readonly log = new EventLog();

  constructor(private readonly ports: ControllerPorts) {}

  /** Serves one controller until its stream ends. */
  serve(stream: Duplex, access: Access): void {
    const { log } = this.ports;
    const connection = connect(stream, { log });
    const ended = new AbortController();
    const caller: Caller = { ...access, ended: ended.signal };
    let controller: Connected | null = null;
    connection.onRequest(async (method: string, params: unknown) => {
      try {
        if (method === 'initialize') {
          if (controller !== null) throw new HostError('invalid-params', 'Already initialized.');
          const { capabilities, clientInfo } = initializeParams.parse(params);
          const result = await this.ports.initialize(access.role);
          const wanted = capabilities?.events ?? undefined;
          const send = (name: string, value: unknown) => void connection.sendNotification(name, value).catch(() => undefined);
          const begun: Connected = {
            access, asks: asking(access, clientInfo), muted: new Set(capabilities?.optOutNotificationMethods ?? []),
            tell: wanted === undefined ? (event) => send(event.method, event.params) : (event) => send('host/event', event),
          };
          controller = begun;
          if (wanted === undefined) this.connected.add(begun);
          const from = this.beginning(wanted);
          // After the answer, which is written before anything else has its turn.
          setImmediate(() => {
            if (ended.signal.aborted) return;
            const status = this.ports.remoteControl();
            if (wants(begun, 'remoteControl/status/changed', status)) send('remoteControl/status/changed', status);
            if (wanted === undefined) return;
            for (const event of this.log.since({ run: from.run, after: from.position }) ?? []) tell(begun, event);
            this.connected.add(begun);
          });
          if (wanted === undefined) return result;
          return { ...result, baton: { ...result.baton, events: from } };
        }
        if (controller === null) throw new HostError('invalid-params', 'Not initialized: the first request must be "initialize".');
        return await askedBy(controller.asks, () => this.answer(method, params, caller));
      } catch (error) {
        log.warn(`${method} failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
        throw toResponseError(error);
      }
    });
    connection.onNotification(() => undefined);
    connection.onDispose(() => {
      ended.abort();
      if (controller !== null) this.connected.delete(controller);
    });
    connection.listen();
  }

  /** Tells every controller, in Baton's own words. */
  notify<N extends NotificationName>(method: N, params: NotificationOf<N>): void {
    this.broadcast(method, params);
  }

  /** Passes a notification of Codex's on to every controller that wants it. */
  broadcast(method: string, params: unknown): void {
    const event = this.log.append(method, params);
    for (const each of this.connected) tell(each, event);
  }

  /** Where a controller's events begin: after what it has, if that can be told. */
  private beginning(wanted: z.output<typeof eventsWanted> | undefined): z.output<typeof eventsBegin> {
    const { log } = this;
    if (wanted !== undefined) log.keep();
    if (wanted === undefined || wanted.run === null) return { run: log.run, position: log.position, missed: false };
    const missed = log.since({ run: wanted.run, after: wanted.after }) === null;
    return { run: log.run, position: missed ? log.position : wanted.after, missed };
  }

  private async answer(method: string, params: unknown, access: Caller): Promise<unknown> {
    const admitted = admit(access, method, params);
    if (!Object.hasOwn(methods, method)) return shown(access, method, await this.ports.forward(method, z.record(z.string(), z.unknown()).parse(admitted ?? {})));
    return shown(access, method, await perform(this.ports.implementations, method as MethodName, admitted, access));
  }
}

function wants({ muted, access }: Connected, method: string, params: unknown): boolean {
  return !muted.has(method) && mayHear(access, method, params);
}

function tell(controller: Connected, event: LoggedEvent): void {
  if (wants(controller, event.method, event.params)) controller.tell(event);
}

/** What the audit log says of a controller: what a local one says of itself, of another the key that it has proven to hold. */
function asking({ by }: Access, { name, version, pid }: z.output<typeof initializeParams>['clientInfo']): Controller {
  if (by !== 'local') return { over: 'channel', key: by.slice(by.indexOf(':') + 1) };
  return { over: 'socket', client: `${name} ${version}`, ...(pid === undefined ? {} : { pid }) };
}
