import { describe, expect, it } from 'vitest';
import { approvalDigest, carriedApproval, type ApprovalSubject } from '../../src/handoff/approval';

const subject: ApprovalSubject = {
  threadId: '0199c0de-0000-7000-8000-000000000001',
  kind: 'command',
  command: 'rm -rf build',
  changes: [{ path: 'a.txt', kind: 'update', movePath: null, diff: '+one' }],
  questions: [{ id: 'q', header: 'Which', question: 'Which one?', options: ['a', 'b'], secret: false }],
  request: '{"permissions":[]}',
  cwd: 'packages/core',
};

describe('the digest of an approval', () => {
  it('is the same on another host, where members come in another order and the request has travelled as JSON', () => {
    const travelled = JSON.parse(JSON.stringify(Object.fromEntries(Object.entries(subject).reverse()))) as ApprovalSubject;
    expect(approvalDigest(travelled)).toBe(approvalDigest(subject));
  });

  it('does not take in what is neither acted upon nor bound to the request', () => {
    const withMore = { ...subject, reason: 'because', digest: '0'.repeat(64), worktree: '/home/somebody' };
    expect(approvalDigest(withMore)).toBe(approvalDigest(subject));
  });

  it.each<{ what: string; change: Partial<ApprovalSubject> }>([
    { what: 'thread', change: { threadId: '0199c0de-0000-7000-8000-000000000002' } },
    { what: 'kind', change: { kind: 'fileChange' } },
    { what: 'command', change: { command: 'rm -rf build ' } },
    { what: 'command that is missing', change: { command: null } },
    { what: 'working directory', change: { cwd: '' } },
    { what: 'working directory that is unknown', change: { cwd: null } },
    { what: 'path of a change', change: { changes: [{ path: 'b.txt', kind: 'update', movePath: null, diff: '+one' }] } },
    { what: 'diff', change: { changes: [{ path: 'a.txt', kind: 'update', movePath: null, diff: '+two' }] } },
    { what: 'kind of a change', change: { changes: [{ path: 'a.txt', kind: 'add', movePath: null, diff: '+one' }] } },
    { what: 'target of a move', change: { changes: [{ path: 'a.txt', kind: 'update', movePath: 'b.txt', diff: '+one' }] } },
    { what: 'number of changes', change: { changes: [] } },
    { what: 'question', change: { questions: [{ id: 'q', header: 'Which', question: 'Which two?', options: ['a', 'b'], secret: false }] } },
    { what: 'option', change: { questions: [{ id: 'q', header: 'Which', question: 'Which one?', options: ['b', 'a'], secret: false }] } },
    { what: 'request', change: { request: '{"permissions":["net"]}' } },
  ])('differs with another $what', ({ change }) => {
    expect(approvalDigest({ ...subject, ...change })).not.toBe(approvalDigest(subject));
  });

  it('is 64 hex digits, as it must be to travel', () => {
    const { threadId: _, ...carried } = { ...subject, reason: null, digest: approvalDigest(subject) };
    expect(carriedApproval.parse(carried)).toEqual(carried);
    expect(carriedApproval.safeParse({ ...carried, digest: 'no digest' }).success).toBe(false);
  });
});
