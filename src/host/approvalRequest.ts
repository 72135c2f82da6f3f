/** Codex's approval requests (server→client, codex protocol v2) as Baton shows them, and decisions as Codex wants them answered. */
import { isAbsolute, relative, sep } from 'node:path';
import { z } from 'zod';
import { canonicalJson } from '../handoff/canonicalJson';
import type { CarriedApproval } from '../handoff/approval';
import type { ApprovalDecision } from './protocol';

const common = { threadId: z.string(), turnId: z.string().nullish(), itemId: z.string().nullish(), reason: z.string().nullish() };

const requests = {
  'item/commandExecution/requestApproval': z.looseObject({ ...common, approvalId: z.string().nullish(), command: z.string().nullish(), cwd: z.string().nullish() }),
  'item/fileChange/requestApproval': z.looseObject({ ...common, grantRoot: z.string().nullish() }),
  'item/permissions/requestApproval': z.looseObject({ ...common, cwd: z.string().nullish(), permissions: z.unknown() }),
  'item/tool/requestUserInput': z.looseObject({
    ...common,
    questions: z.array(
      z.looseObject({ id: z.string(), header: z.string(), question: z.string(), isSecret: z.boolean().nullish(), options: z.array(z.looseObject({ label: z.string() })).nullish() }),
    ),
  }),
  'mcpServer/elicitation/request': z.looseObject({ ...common, serverName: z.string(), message: z.string(), requestedSchema: z.unknown() }),
} as const;

export type ApprovalMethod = keyof typeof requests;
export const isApprovalMethod = (method: string): method is ApprovalMethod => Object.hasOwn(requests, method);

/** What is asked, without the ids of the server that asked. `cwd` is relative to the thread's directory, see CarriedApproval. */
export type AskedApproval = Omit<CarriedApproval, 'digest'> & {
  readonly threadId: string;
  readonly turnId: string | null;
  readonly itemId: string | null;
  /** Tells several requests of one item apart. */
  readonly approvalId: string | null;
};

/** A path below `root` relative to it, `/`-separated, so that it reads the same on every host; any other path unchanged. */
export function portablePath(path: string, root: string): string {
  const below = relative(root, path);
  return below === '..' || below.startsWith(`..${sep}`) || isAbsolute(below) ? path : below.split(sep).join('/');
}

export interface FileChange {
  readonly path: string;
  readonly kind: 'add' | 'delete' | 'update';
  /** Where an updated file is moved to. */
  readonly movePath: string | null;
  readonly diff: string;
}

/** Reads a request. Throws ZodError for params of another shape than Codex's. */
export function readApprovalRequest(method: ApprovalMethod, params: unknown, threadRoot: string, changes: readonly FileChange[]): AskedApproval {
  const parsed = requests[method].parse(params);
  const base = {
    threadId: parsed.threadId,
    turnId: parsed.turnId ?? null,
    itemId: parsed.itemId ?? null,
    approvalId: null,
    command: null,
    changes: [],
    questions: [],
    request: null,
    cwd: null,
    reason: parsed.reason ?? null,
  };
  switch (method) {
    case 'item/commandExecution/requestApproval': {
      const { approvalId, command, cwd, networkApprovalContext, additionalPermissions } = requests[method].parse(params);
      const extra = { networkApprovalContext, additionalPermissions };
      return {
        ...base,
        kind: 'command',
        approvalId: approvalId ?? null,
        command: command ?? null,
        cwd: cwd == null ? null : portablePath(cwd, threadRoot),
        request: Object.values(extra).every((value) => value == null) ? null : canonicalJson(extra),
      };
    }
    case 'item/fileChange/requestApproval': {
      const { grantRoot } = requests[method].parse(params);
      return {
        ...base,
        kind: 'fileChange',
        changes: changes.map(({ path, kind, movePath, diff }) => ({ path: portablePath(path, threadRoot), kind, movePath: movePath === null ? null : portablePath(movePath, threadRoot), diff })),
        request: grantRoot == null ? null : canonicalJson({ grantRoot: portablePath(grantRoot, threadRoot) }),
      };
    }
    case 'item/permissions/requestApproval': {
      const { cwd, permissions } = requests[method].parse(params);
      return { ...base, kind: 'permissions', cwd: cwd == null ? null : portablePath(cwd, threadRoot), request: canonicalJson(permissions) };
    }
    case 'item/tool/requestUserInput': {
      const { questions } = requests[method].parse(params);
      return {
        ...base,
        kind: 'userInput',
        questions: questions.map(({ id, header, question, options, isSecret }) => ({
          id,
          header,
          question,
          options: (options ?? []).map(({ label }) => label),
          secret: isSecret === true,
        })),
      };
    }
    case 'mcpServer/elicitation/request': {
      const { serverName, message, requestedSchema } = requests[method].parse(params);
      return { ...base, kind: 'elicitation', reason: message, request: canonicalJson({ serverName, message, requestedSchema }) };
    }
  }
}

/** The reply that Codex expects to a request, for a decision (codex protocol v2, per method). */
export function replyTo(method: ApprovalMethod, params: unknown, decision: ApprovalDecision, answers: Readonly<Record<string, readonly string[]>>): unknown {
  const accepted = decision === 'accept' || decision === 'acceptForSession';
  switch (method) {
    case 'item/commandExecution/requestApproval':
    case 'item/fileChange/requestApproval':
      return { decision };
    case 'item/permissions/requestApproval':
      return { permissions: accepted ? requests[method].parse(params).permissions : {}, scope: decision === 'acceptForSession' ? 'session' : 'turn' };
    case 'item/tool/requestUserInput':
      return { answers: accepted ? Object.fromEntries(Object.entries(answers).map(([id, given]) => [id, { answers: given }])) : {} };
    case 'mcpServer/elicitation/request':
      return {
        action: accepted ? 'accept' : decision,
        content: accepted ? Object.fromEntries(Object.entries(answers).map(([id, given]) => [id, given.length === 1 ? given[0] : given])) : null,
        ...(decision === 'acceptForSession' ? { _meta: { persist: 'session' } } : {}),
      };
  }
}
