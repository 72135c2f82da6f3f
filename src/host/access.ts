import { z } from 'zod';
import type { Actor } from './audit';
import { asksForPolicy } from './heldPolicies';
import { HostError } from './hostError';
import { codexMethods, methods, viewerParams, type MethodName, type Role } from './protocol';

/** Who a controller is to this host, and how far it may go. */
export interface Access {
  readonly by: Actor;
  readonly role: Role;
  /** The only thread that it may see and steer; null for all. */
  readonly threadId: string | null;
  /** It was let in for a time only. */
  readonly temporary: boolean;
}

/** Who makes a request, and how long their connection lasts. */
export interface Caller extends Access {
  readonly ended: AbortSignal;
}

/** Whoever reaches the local socket is the account itself. */
export const localOperator: Access = { by: 'local', role: 'operator', threadId: null, temporary: false };

const rank: Record<Exclude<Role, 'peer'>, number> = { viewer: 0, approver: 1, operator: 2 };

/** Whether a role is enough for a method that asks for `least`. A peer steers nothing: it has methods of its own. */
export function isPermitted(role: Role, least: Role): boolean {
  return role !== 'peer' && least !== 'peer' && rank[role] >= rank[least];
}

/** Methods that decide who else may come in, and where this host is met. Who was let in for a thread or a time could make that more with them. */
export const administration: ReadonlySet<string> = new Set<MethodName>(['host/invite', 'host/join', 'invite/list', 'invite/read', 'invite/cancel', 'invite/wait', 'host/rename', 'host/setRelay', 'host/stop', 'host/stopIfIdle', 'host/aliases', 'host/add', 'host/ssh', 'host/meeting', 'host/ask', 'host/follow', 'host/unfollow', 'device/list', 'device/revoke', 'tunnel/open',
  'remoteControl/enable', 'remoteControl/disable', 'remoteControl/pairing/start', 'remoteControl/pairing/status', 'remoteControl/client/list', 'remoteControl/client/revoke']);

/**
 * What is left to somebody who was let in for one thread, and how it is kept to that. `names`: the params must name the thread.
 * `told`: the thread is added to the params. `filtered`: the result is left with what is about the thread. `checked`: the method looks itself. `open`: it is about no thread.
 */
export const forOneThread: Readonly<Record<string, 'names' | 'told' | 'filtered' | 'checked' | 'open'>> = {
  'host/read': 'open',
  'remoteControl/status/read': 'open',
  'model/list': 'open',
  'account/read': 'open',
  'configRequirements/read': 'open',
  'collaborationMode/list': 'open',
  'host/thread': 'names',
  'handoff/verify': 'names',
  'approval/list': 'told',
  'approval/decide': 'checked',
  'audit/list': 'told',
  'thread/list': 'filtered',
  'thread/loaded/list': 'filtered',
  'thread/read': 'names',
  'thread/turns/list': 'names',
  'thread/items/list': 'names',
  'thread/goal/get': 'names',
  'thread/backgroundTerminals/list': 'names',
  'thread/resume': 'names',
  'thread/unsubscribe': 'names',
  'thread/name/set': 'names',
  'thread/compact/start': 'names',
  'turn/start': 'names',
  'turn/steer': 'names',
  'turn/interrupt': 'names',
};

const record = z.record(z.string(), z.unknown());
/** Params with which somebody who was let in for one thread would make it another's, or let it do more. */
const beyondOneThread = ['cwd', 'environments', 'runtimeWorkspaceRoots', 'path', 'history'];

/**
 * Checks a request against the table of methods and roles, and gives the params with which it may go on. Throws HostError
 * `unknown-method`, `not-permitted`; params that are no object a ZodError.
 */
export function admit(access: Access, method: string, params: unknown): unknown {
  const least = Object.hasOwn(methods, method) ? methods[method as MethodName].role : Object.hasOwn(codexMethods, method) ? codexMethods[method] : undefined;
  if (least === undefined) throw new HostError('unknown-method', `A host has no method ${method}. Methods that act on the machine rather than on a thread are not passed on to Codex.`);
  requireRole(access.role, least, method);
  const harmless = Object.hasOwn(viewerParams, method) ? viewerParams[method] : undefined;
  if (harmless !== undefined && Object.entries(record.parse(params ?? {})).some(([key, value]) => value != null && !harmless.includes(key))) requireRole(access.role, 'operator', `${method} with these params`);
  if ((access.temporary || access.threadId !== null) && administration.has(method)) {
    throw new HostError('not-permitted', `${method} is not for a device that was let in for one thread or for a time.`);
  }
  return access.threadId === null ? params : aboutThread(access.threadId, method, params);
}

function requireRole(role: Role, least: Role, method: string): void {
  if (!isPermitted(role, least)) throw new HostError('not-permitted', `${method} needs the role ${least}; this connection has the role ${role}.`);
}

function aboutThread(threadId: string, method: string, params: unknown): unknown {
  const how = Object.hasOwn(forOneThread, method) ? forOneThread[method] : undefined;
  const refuse = (what: string): never => {
    throw new HostError('not-permitted', `${what}: this device was let in for the thread ${threadId} only.`);
  };
  if (how === undefined) return refuse(`${method} is not permitted`);
  if (how !== 'names' && how !== 'told') return params;
  const given = record.parse(params ?? {});
  if (given['threadId'] !== undefined ? given['threadId'] !== threadId : how === 'names') return refuse(`${method} names another thread`);
  if (asksForPolicy(given) || beyondOneThread.some((name) => given[name] != null)) return refuse(`${method} must not change what the thread may do, or where it works`);
  return { ...given, threadId };
}

const listed = z.looseObject({ data: z.array(z.unknown()) });
const identified = z.looseObject({ id: z.string() });

/** The result of a request as its caller may see it. */
export function shown(access: Access, method: string, result: unknown): unknown {
  if (access.threadId === null || forOneThread[method] !== 'filtered') return result;
  const { success, data } = listed.safeParse(result);
  if (!success) return result;
  return { ...data, data: data.data.filter((entry) => (typeof entry === 'string' ? entry : identified.safeParse(entry).data?.id) === access.threadId) };
}

const about = z.looseObject({
  threadId: z.string().nullish(),
  thread: z.looseObject({ id: z.string() }).optional(),
  approval: z.looseObject({ threadId: z.string() }).optional(),
});

/** Whether a controller may hear a notification. Of what is about no thread, who has one thread hears only of the way in, and that something is to be read again. */
export function mayHear(access: Access, method: string, params: unknown): boolean {
  if (access.role === 'peer') return false;
  // What other hosts tell this one is for those who may administer it.
  if (method === 'host/heard' || method === 'host/followed') return access.role === 'operator' && !access.temporary && access.threadId === null;
  if (access.threadId === null || method === 'host/changed' || method === 'remoteControl/status/changed') return true;
  const { data } = about.safeParse(params);
  return data !== undefined && [data.threadId, data.thread?.id, data.approval?.threadId].includes(access.threadId);
}
