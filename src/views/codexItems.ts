import { z } from 'zod';
import { boundedOutput } from './threadViewState';
import type { RunStatus, ThreadDelta, ViewItem, ViewTurn } from './threadMessages';

const status = z.enum(['inProgress', 'completed', 'failed', 'declined']).catch('completed');
const changes = z.array(
  z.object({ path: z.string(), kind: z.object({ type: z.enum(['add', 'delete', 'update']), move_path: z.string().nullish() }), diff: z.string() }),
);

/** Codex's `ThreadItem` (app-server v2), as far as a thread view shows it. */
const codexItem = z.discriminatedUnion('type', [
  z.object({ type: z.literal('userMessage'), id: z.string(), content: z.array(z.looseObject({ type: z.string() })) }),
  z.object({ type: z.literal('agentMessage'), id: z.string(), text: z.string() }),
  z.object({ type: z.literal('reasoning'), id: z.string(), summary: z.array(z.string()) }),
  z.object({ type: z.literal('plan'), id: z.string(), text: z.string() }),
  z.object({
    type: z.literal('commandExecution'),
    id: z.string(),
    command: z.string(),
    cwd: z.string(),
    status,
    aggregatedOutput: z.string().nullish(),
    exitCode: z.number().int().nullish(),
    durationMs: z.number().nullish(),
  }),
  z.object({ type: z.literal('fileChange'), id: z.string(), changes, status }),
  z.object({ type: z.literal('mcpToolCall'), id: z.string(), server: z.string(), tool: z.string(), status }),
  z.object({ type: z.literal('dynamicToolCall'), id: z.string(), tool: z.string(), status }),
  z.object({ type: z.literal('webSearch'), id: z.string(), query: z.string().nullish() }),
  z.object({ type: z.literal('contextCompaction'), id: z.string() }),
]);
const anyItem = z.looseObject({ type: z.string(), id: z.string() });
const anyTurn = z.looseObject({
  id: z.string(),
  status: z.enum(['inProgress', 'completed', 'interrupted', 'failed']),
  items: z.array(z.unknown()).default([]),
  error: z.looseObject({ message: z.string() }).nullish(),
});

/** A Codex item as the page shows it; undefined where it is none, or one that has nothing to show. */
export function toViewItem(received: unknown): ViewItem | undefined {
  const parsed = codexItem.safeParse(received);
  if (!parsed.success) {
    // A later Codex may know items that this Baton does not: their name is better than a gap.
    const other = anyItem.safeParse(received);
    return other.success ? note(other.data.id, words(other.data.type), null) : undefined;
  }
  const item = parsed.data;
  switch (item.type) {
    case 'userMessage':
      return { kind: 'userMessage', id: item.id, text: item.content.map(inputText).join('\n') };
    case 'agentMessage':
    case 'plan':
      return { kind: item.type, id: item.id, text: item.text };
    case 'reasoning':
      return item.summary.length === 0 ? undefined : { kind: 'reasoning', id: item.id, text: item.summary.join('\n\n') };
    case 'commandExecution':
      return {
        kind: 'command',
        id: item.id,
        command: item.command,
        cwd: item.cwd,
        status: item.status,
        ...boundedOutput(item.aggregatedOutput ?? '', 0),
        exitCode: item.exitCode ?? null,
        durationMs: item.durationMs ?? null,
      };
    case 'fileChange':
      return { kind: 'fileChange', id: item.id, status: item.status, changes: item.changes.map((change) => ({ path: change.path, change: change.kind.type, movedTo: change.kind.move_path ?? null, diff: change.diff })) };
    case 'mcpToolCall':
      return note(item.id, `${item.server}: ${item.tool}`, item.status);
    case 'dynamicToolCall':
      return note(item.id, item.tool, item.status);
    case 'webSearch':
      return note(item.id, (item.query ?? '') === '' ? 'Web search' : `Web search: ${item.query ?? ''}`, null);
    case 'contextCompaction':
      return note(item.id, 'Context compacted', null);
  }
}

/** A Codex turn as the page shows it; undefined where it is none. */
export function toViewTurn(received: unknown): ViewTurn | undefined {
  const parsed = anyTurn.safeParse(received);
  if (!parsed.success) return undefined;
  const { id, status: turnStatus, error, items } = parsed.data;
  return { id, status: turnStatus, error: error?.message ?? null, items: items.map(toViewItem).filter((item) => item !== undefined) };
}

const ofThread = z.looseObject({ threadId: z.string() });
const itemEvent = z.object({ turnId: z.string(), item: z.unknown() });
const textEvent = z.object({ turnId: z.string(), itemId: z.string(), delta: z.string() });
const turnEvent = z.object({ turn: z.unknown() });
const planEvent = z.object({
  turnId: z.string(),
  explanation: z.string().nullish(),
  plan: z.array(z.object({ step: z.string(), status: z.enum(['pending', 'inProgress', 'completed']) })),
});
const nameEvent = z.object({ threadName: z.string().optional() });

/**
 * The deltas that a notification of Codex's app-server means for the view of `threadId`: none for other threads, for
 * notifications that a thread view does not show, and for ones that do not have the shape Codex gives them.
 */
export function deltasOf(threadId: string, method: string, params: unknown): readonly ThreadDelta[] {
  const target = ofThread.safeParse(params);
  if (!target.success || target.data.threadId !== threadId) return [];
  switch (method) {
    case 'turn/started': {
      const turn = toViewTurn(turnEvent.safeParse(params).data?.turn);
      return turn === undefined ? [] : [{ type: 'turnStarted', turnId: turn.id }];
    }
    case 'turn/completed': {
      const turn = toViewTurn(turnEvent.safeParse(params).data?.turn);
      return turn === undefined ? [] : [{ type: 'turnEnded', turnId: turn.id, status: turn.status, error: turn.error }];
    }
    case 'item/started':
    case 'item/completed': {
      const event = itemEvent.safeParse(params).data;
      const item = toViewItem(event?.item);
      return event === undefined || item === undefined ? [] : [{ type: 'itemChanged', turnId: event.turnId, item }];
    }
    case 'item/agentMessage/delta':
      return textAdded(params, 'agentMessage');
    case 'item/plan/delta':
      return textAdded(params, 'plan');
    case 'item/reasoning/summaryTextDelta':
      return textAdded(params, 'reasoning');
    case 'item/commandExecution/outputDelta':
      return textAdded(params, 'command');
    case 'turn/plan/updated': {
      const event = planEvent.safeParse(params).data;
      return event === undefined ? [] : [{ type: 'planChanged', plan: { turnId: event.turnId, explanation: event.explanation ?? null, steps: event.plan } }];
    }
    case 'thread/name/updated': {
      const event = nameEvent.safeParse(params).data;
      return event?.threadName === undefined ? [] : [{ type: 'titleChanged', title: event.threadName }];
    }
    default:
      return [];
  }
}

function textAdded(params: unknown, kind: 'agentMessage' | 'reasoning' | 'plan' | 'command'): readonly ThreadDelta[] {
  const event = textEvent.safeParse(params).data;
  return event === undefined ? [] : [{ type: 'textAdded', turnId: event.turnId, itemId: event.itemId, kind, text: event.delta }];
}

function note(id: string, label: string, runStatus: RunStatus | null): ViewItem {
  return { kind: 'note', id, label, status: runStatus };
}

function inputText(part: { readonly type: string; readonly [field: string]: unknown }): string {
  if (part.type === 'text' && typeof part['text'] === 'string') return part['text'];
  if (typeof part['name'] === 'string') return `[${part.type}: ${part['name']}]`;
  return `[${words(part.type)}]`;
}

/** `enteredReviewMode` → `entered review mode` */
function words(camelCase: string): string {
  return camelCase.replace(/([a-z0-9])([A-Z])/g, '$1 $2').toLowerCase();
}
