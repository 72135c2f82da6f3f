import type { Duplex } from 'node:stream';
import { z } from 'zod';
import { HostError } from './hostError';
import { connect } from './jsonLines';
import type { Log } from './log';
import { codexMethods, initializeParams, methods, type InitializeResult, type MethodName, type NotificationName, type NotificationOf, type ResultOf, type Role, viewerParams } from './protocol';
import { toResponseError } from './wireError';

/** What the host does for a controller, by method; params are checked before and results passed on as they are. */
export type Implementations = {
  readonly [M in MethodName]: (params: z.output<(typeof methods)[M]['params']>) => Promise<ResultOf<M>>;
};

export interface ControllerPorts {
  readonly implementations: Implementations;
  readonly log: Log;
  /** Codex's answer to `initialize` with what a controller must know of the host. */
  initialize(role: Role): Promise<InitializeResult>;
  /** Passes a Codex method on. */
  forward(method: string, params: unknown): Promise<unknown>;
}

interface Controller {
  readonly notify: (method: string, params: unknown) => void;
  readonly muted: ReadonlySet<string>;
}

const rank: Record<Exclude<Role, 'peer'>, number> = { viewer: 0, approver: 1, operator: 2 };

/** Whether a role is enough for a method that asks for `least`. A peer steers nothing: it has methods of its own. */
export function isPermitted(role: Role, least: Role): boolean {
  return role !== 'peer' && least !== 'peer' && rank[role] >= rank[least];
}

/** The controllers that are connected, whatever they are: VS Code windows, command lines. All see the same events. */
export class Controllers {
  private readonly connected = new Set<Controller>();

  constructor(private readonly ports: ControllerPorts) {}

  /** Serves one controller until its stream ends. */
  serve(stream: Duplex, role: Role): void {
    const { log } = this.ports;
    const connection = connect(stream, { log });
    let controller: Controller | null = null;
    connection.onRequest(async (method: string, params: unknown) => {
      try {
        if (method === 'initialize') {
          if (controller !== null) throw new HostError('invalid-params', 'Already initialized.');
          const { capabilities } = initializeParams.parse(params);
          const result = await this.ports.initialize(role);
          controller = { muted: new Set(capabilities?.optOutNotificationMethods ?? []), notify: (name, value) => void connection.sendNotification(name, value).catch(() => undefined) };
          this.connected.add(controller);
          return result;
        }
        if (controller === null) throw new HostError('invalid-params', 'Not initialized: the first request must be "initialize".');
        return await this.answer(method, params, role);
      } catch (error) {
        log.warn(`${method} failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
        throw toResponseError(error);
      }
    });
    connection.onNotification(() => undefined);
    connection.onDispose(() => {
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
    for (const controller of this.connected) if (!controller.muted.has(method)) controller.notify(method, params);
  }

  private async answer(method: string, params: unknown, role: Role): Promise<unknown> {
    if (Object.hasOwn(methods, method)) {
      const name = method as MethodName;
      requireRole(role, methods[name].role, method);
      const implementation = this.ports.implementations[name] as (params: unknown) => Promise<unknown>;
      return implementation(methods[name].params.parse(params));
    }
    const least = Object.hasOwn(codexMethods, method) ? codexMethods[method] : undefined;
    if (least === undefined) throw new HostError('unknown-method', `A host has no method ${method}. Methods that act on the machine rather than on a thread are not passed on to Codex.`);
    requireRole(role, least, method);
    const given = z.record(z.string(), z.unknown()).parse(params ?? {});
    const harmless = viewerParams[method];
    if (harmless !== undefined && Object.keys(given).some((key) => !harmless.includes(key))) requireRole(role, 'operator', `${method} with these params`);
    return this.ports.forward(method, given);
  }
}

function requireRole(role: Role, least: Role, method: string): void {
  if (!isPermitted(role, least)) throw new HostError('not-permitted', `${method} needs the role ${least}; this connection has the role ${role}.`);
}
