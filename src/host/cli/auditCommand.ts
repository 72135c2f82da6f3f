import { InvalidArgumentError } from 'commander';
import { threadId as threadIdSchema, type ResultOf } from '../protocol';
import type { CommandTable } from './commandTable';
import { inertLine } from './inertText';
import { columnsOf, counted, wrap } from './layout';
import { findThread } from './threadList';

type Events = ResultOf<'audit/list'>['events'];

const number = (text: string): number => {
  if (!/^[1-9]\d{0,3}$/.test(text)) throw new InvalidArgumentError('It is a whole number from 1 to 9999.');
  return Number(text);
};

export function addAuditCommand({ program, session }: CommandTable): void {
  program
    .command('audit')
    .option('--thread <THREAD>', 'only what is about this thread')
    .option('--limit <N>', 'the newest N events (200 unless given)', number)
    .description('show the audit log: requests, decisions, handoffs and reclaims, with who, when, digest and epoch')
    .action(async ({ thread, limit }: { thread?: string; limit?: number }) => {
      const client = await session.host();
      const threadId = thread === undefined || threadIdSchema.safeParse(thread).success ? thread : (await findThread(client, thread)).id;
      const result = await client.call('audit/list', { ...(threadId === undefined ? {} : { threadId }), ...(limit === undefined ? {} : { limit }) });
      session.result(result, () => auditText(result.events, result.unreadable, session.columns));
    });
}

/** Two lines or more an event: when and what; then each of its facts. */
export function auditText(events: Events, unreadable: number, width: number): string {
  const lines = events.map(({ at, type, ...facts }) => {
    const told = Object.entries(facts).flatMap(([name, value]) => (value === null || value === undefined ? [] : [inertLine(`${name} ${typeof value === 'object' ? JSON.stringify(value) : String(value as string | number | boolean)}`)]));
    return [`${inertLine(at)}  ${inertLine(type)}`, ...inRows(told, width)].join('\n');
  });
  const torn = unreadable === 0 ? [] : [`${counted(unreadable, 'line')} could not be read: a write that a crash tore, or an edit by hand.`];
  return [...(lines.length === 0 ? ['Nothing is in the audit log.'] : lines), ...torn].join('\n');
}

/** Facts side by side, as many in a row as fit whole. */
function inRows(facts: readonly string[], width: number): string[] {
  const rows: string[] = [];
  for (const fact of facts) {
    const row = rows.at(-1);
    if (row !== undefined && columnsOf(`${row} · ${fact}`) <= width) rows[rows.length - 1] = `${row} · ${fact}`;
    else rows.push(`  ${wrap(fact, width, 4)}`);
  }
  return rows;
}
