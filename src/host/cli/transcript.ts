import { z } from 'zod';
import { inertBlock, inertLine } from './inertText';
import { inWords, wrap } from './layout';

/** The part of a Codex turn that a terminal shows; the rest passes through. */
export const turn = z.looseObject({
  id: z.string(),
  status: z.string(),
  items: z.array(z.looseObject({ type: z.string() })),
  error: z.looseObject({ message: z.string() }).nullish(),
});
export type Turn = z.infer<typeof turn>;

const userMessage = z.looseObject({ content: z.array(z.looseObject({ type: z.string(), text: z.string().optional() })) });
const textItem = z.looseObject({ text: z.string() });
const command = z.looseObject({ command: z.string(), status: z.string(), exitCode: z.number().nullish() });
const fileChange = z.looseObject({ status: z.string(), changes: z.array(z.looseObject({ path: z.string() })) });
const toolCall = z.looseObject({ tool: z.string(), server: z.string().optional(), status: z.string() });

const block = (text: string, width: number) => inertBlock(text).split('\n').map((line) => `  ${wrap(line, width, 2)}`).join('\n');

/** One item as lines, or undefined for a kind that the terminal leaves out (reasoning, marks of the protocol). */
function itemText(item: Turn['items'][number], width: number): string | undefined {
  switch (item.type) {
    case 'userMessage': {
      const parts = userMessage.safeParse(item).data?.content ?? [];
      return `You\n${block(parts.map((part) => part.text ?? `[${part.type}]`).join('\n'), width)}`;
    }
    case 'agentMessage':
      return `Agent\n${block(textItem.safeParse(item).data?.text ?? '', width)}`;
    case 'plan':
      return `Proposed plan\n${block(textItem.safeParse(item).data?.text ?? '', width)}`;
    case 'commandExecution': {
      const { data } = command.safeParse(item);
      if (data === undefined) return undefined;
      return `  $ ${inertBlock(data.command)}\n    ${inertLine(data.status)}${typeof data.exitCode === 'number' ? `, exit code ${data.exitCode}` : ''}`;
    }
    case 'fileChange': {
      const { data } = fileChange.safeParse(item);
      return data && `  Files ${inertLine(data.status)}\n${data.changes.map((change) => `    ${inertLine(change.path)}`).join('\n')}`;
    }
    case 'mcpToolCall':
    case 'dynamicToolCall': {
      const { data } = toolCall.safeParse(item);
      return data && `  Tool ${inertLine([data.server, data.tool].filter(Boolean).join('/'))}: ${inertLine(data.status)}`;
    }
    case 'webSearch':
      return `  Web search: ${inertLine(z.looseObject({ query: z.string() }).safeParse(item).data?.query ?? '')}`;
    default:
      return undefined;
  }
}

/** The turns as paragraphs of inert text; a turn that did not complete says how it ended. */
export function transcript(turns: readonly Turn[], width: number): string[] {
  return turns.flatMap((each) => {
    const items = each.items.map((item) => itemText(item, width)).filter((text) => text !== undefined);
    if (each.status === 'completed') return items;
    return [...items, `  (turn ${inWords(each.status)}${each.error ? `: ${inertLine(each.error.message)}` : ''})`];
  });
}
