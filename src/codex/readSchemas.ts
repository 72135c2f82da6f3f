/** What Baton reads in the app-server's answers, checked before use. Fields that it only passes on are left unchecked. */
import { z } from 'zod';
import type { ClientRequests, ServerNotifications } from './protocol.generated';

const status = z.looseObject({ type: z.string(), activeFlags: z.array(z.string()).optional() });
const threadSummary = z.looseObject({ id: z.string(), cwd: z.string(), preview: z.string(), modelProvider: z.string(), status, name: z.string().nullish(), path: z.string().nullish(), updatedAt: z.number() });
const turn = z.looseObject({ id: z.string(), status: z.string() });
const settings = z.looseObject({ thread: threadSummary, model: z.string(), modelProvider: z.string(), cwd: z.string(), approvalPolicy: z.union([z.string(), z.looseObject({})]), approvalsReviewer: z.string(), sandbox: z.looseObject({ type: z.string() }) });
const page = <T extends z.ZodType>(item: T) => z.looseObject({ data: z.array(item), nextCursor: z.string().nullish() });

export const readSchemas: Partial<Record<keyof ClientRequests, z.ZodType>> = {
  initialize: z.looseObject({ userAgent: z.string(), codexHome: z.string() }),
  'thread/start': settings,
  'thread/resume': settings,
  'thread/fork': settings,
  'thread/list': page(threadSummary),
  'thread/read': z.looseObject({ thread: threadSummary }),
  'thread/loaded/list': page(z.string()),
  'thread/turns/list': page(turn),
  'thread/unsubscribe': z.looseObject({ status: z.string() }),
  'thread/unarchive': z.looseObject({ thread: threadSummary }),
  'thread/goal/get': z.looseObject({ goal: z.looseObject({ status: z.string() }).nullish() }),
  'thread/goal/set': z.looseObject({ goal: z.looseObject({ status: z.string(), tokensUsed: z.number() }) }),
  'thread/queue/list': page(z.looseObject({ id: z.string(), input: z.array(z.looseObject({ type: z.string() })), clientUserMessageId: z.string() })),
  'thread/attachment/list': page(z.looseObject({ attachmentType: z.string(), identityKey: z.string() })),
  'command/exec': z.looseObject({ exitCode: z.number(), stdout: z.string(), stderr: z.string() }),
  'thread/backgroundTerminals/list': z.looseObject({ data: z.array(z.looseObject({ processId: z.string() })) }),
  'turn/start': z.looseObject({ turn }),
  'model/list': page(z.looseObject({ model: z.string() })),
  'configRequirements/read': z.looseObject({ requirements: z.looseObject({}).nullish() }),
};

/** What every question of the server's has. */
export const askedParams = z.looseObject({ threadId: z.string() });
export const resolvedParams = z.looseObject({ threadId: z.string(), requestId: z.union([z.string(), z.number()]) });

export const notificationSchemas: Partial<Record<keyof ServerNotifications, z.ZodType>> = {
  'serverRequest/resolved': resolvedParams,
  'thread/status/changed': z.looseObject({ threadId: z.string(), status }),
  'thread/closed': z.looseObject({ threadId: z.string() }),
  'thread/archived': z.looseObject({ threadId: z.string() }),
  'thread/unarchived': z.looseObject({ threadId: z.string() }),
  'turn/started': z.looseObject({ threadId: z.string(), turn }),
  'turn/completed': z.looseObject({ threadId: z.string(), turn }),
  'turn/plan/updated': z.looseObject({ threadId: z.string(), turnId: z.string(), plan: z.array(z.looseObject({ step: z.string(), status: z.string() })) }),
  'item/started': z.looseObject({ threadId: z.string(), turnId: z.string(), item: z.looseObject({ id: z.string(), type: z.string() }) }),
  'item/completed': z.looseObject({ threadId: z.string(), turnId: z.string(), item: z.looseObject({ id: z.string(), type: z.string() }) }),
};
