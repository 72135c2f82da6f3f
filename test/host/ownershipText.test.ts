import { describe, expect, it } from 'vitest';
import { auditText } from '../../src/host/cli/auditCommand';
import { columnsOf } from '../../src/host/cli/layout';
import { handoffText, reclaimText, verifyText } from '../../src/host/cli/ownershipCommands';
import { resolveHandoff } from '../../src/host/cli/resolve';
import type { HandoffSummary, ReclaimReport } from '../../src/host/protocol';

const threadId = '0199c0de-0000-7000-8000-000000000001';
const server = { hostId: 'B'.repeat(43), name: 'server' };
const handoff: HandoffSummary = {
  handoffId: '0123456789abcdef0123456789abcdef', threadId, direction: 'out', peer: server, epoch: 3, state: 'committed', since: '2026-01-02T03:04:05.000Z',
  description: 'The thread belongs to server, which has everything and has yet to acknowledge; this host goes on telling it, and the handoff can no longer be cancelled.',
  open: true, canAbort: false,
};
const fits = (text: string): boolean => text.split('\n').every((line) => columnsOf(line) <= 80);

describe('in 80 columns', () => {
  it('a handoff is said with its peer, its epoch, its thread and its sentence', () => {
    const text = handoffText(handoff, new Map([[threadId, 'Comets \u001b[31m']]), 80);
    expect(text.split('\n')).toEqual([
      '0123456789ab  to server, epoch 3',
      '  Comets ␛[31m',
      '  The thread belongs to server, which has everything and has yet to acknowledge;',
      '  this host goes on telling it, and the handoff can no longer be cancelled.',
      '  committed since 2026-01-02T03:04:05.000Z',
    ]);
    expect(fits(text)).toBe(true);
  });

  it('a reclaim says who holds the thread, since when, and what is left behind', () => {
    const report: ReclaimReport = { threadId, from: server, since: '2026-01-02T03:04:05.000Z', online: false, epoch: 1000, losses: ['Everything that happened since the thread was handed to server: its turns, commits, changes and decisions there are not here.'], done: false };
    const text = reclaimText(report, 80);
    expect(text).toContain('  Held by  server, which cannot be reached\n');
    expect(text).toContain('What is left behind:\n  - Everything that happened since the thread was handed to server: its turns,\n    commits,');
    expect(text).not.toContain('--from');
    expect(reclaimText({ ...report, online: true }, 80)).toContain('baton handoff THREAD --to here --from server');
    expect(fits(text)).toBe(true);
  });

  it('a verified receipt says of each thing how it compares', () => {
    const text = verifyText({
      threadId, handoffId: handoff.handoffId, epoch: 3, source: 'A'.repeat(43), destination: server.hostId, side: 'source', receipt: 'a'.repeat(64), holdings: 'b'.repeat(64), intact: false,
      checks: [{ what: `rollout-2026-01-02T03-04-05-${threadId}.jsonl`, is: 'broken', message: 'The first 100 bytes are not those of the receipt.' }],
    }, 80);
    expect(text).toMatch(/^Something that the receipt covers is NOT here\.\n/);
    expect(text).toContain('\n    broken: The first 100 bytes');
    expect(fits(text)).toBe(true);
  });

  it('the audit log tells each event with all its facts, and nothing that a terminal acts on', () => {
    const text = auditText([{ at: '2026-01-02T03:04:05.000Z', type: 'approval-decided', threadId, digest: 'c'.repeat(64), decision: 'accept', by: 'local', epoch: 2, note: 'x\u001b[2J' }], 1, 80);
    expect(text.split('\n')[0]).toBe('2026-01-02T03:04:05.000Z  approval-decided');
    for (const fact of [threadId, 'c'.repeat(64), 'decision accept', 'by local', 'epoch 2', 'note x␛[2J', '1 line could not be read']) expect(text).toContain(fact);
    expect(fits(text)).toBe(true);
    expect(auditText([], 0, 80)).toBe('Nothing is in the audit log.');
  });
});

it('a handoff is named by its id or a unique prefix of it', () => {
  const other = { ...handoff, handoffId: '0123456f'.padEnd(32, '0') };
  expect(resolveHandoff('01234567', [handoff, other])).toBe(handoff);
  expect(() => resolveHandoff('0123456', [handoff, other])).toThrow(/more than one handoff/);
});
