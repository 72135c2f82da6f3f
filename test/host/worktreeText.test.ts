import { describe, expect, it } from 'vitest';
import type { ManagedWorktree } from '../../src/host/protocol';
import { agoText, snapshotsText, sweepText, worktreesText } from '../../src/host/cli/worktreeText';

const now = new Date('2026-03-01T12:00:00.000Z');
const worktree: ManagedWorktree = {
  id: '1a2b3c4d', path: '/home/ada/.baton/worktrees/1a2b3c4d/orrery', project: '/home/ada/work/orrery', threadIds: ['019a1b2c-3d4e-7f00-8000-0123456789ab'], branch: 'baton/019a1b2c-3d4e/main', head: 'a'.repeat(40),
  dirty: true, permanent: false, pinned: true, state: 'here', changes: { staged: 2, unstaged: 1, untracked: 3, unmerged: 0 }, operation: null, locked: false, unpushed: 4,
  ignored: { count: 1, bytes: 120, names: ['".env"'], digest: 'd'.repeat(64) }, lastUsedAt: '2026-02-27T10:00:00.000Z', bytes: 123_456_789, safeToRemove: false, reason: 'It has an ignored file that nothing else has: ".env".', snapshot: null,
};
const removed: ManagedWorktree = { ...worktree, id: '5e6f7a8b', path: '/home/ada/.baton/worktrees/5e6f7a8b/orrery', threadIds: [], pinned: false, state: 'removed', changes: null, unpushed: 0, ignored: null, bytes: null, reason: 'It was removed; a snapshot keeps it, and "restore" brings it back.' };

describe('the inventory on a terminal of 80 columns', () => {
  it('says of each worktree what it is, and why it stays or may go', () => {
    const text = worktreesText([worktree, removed], new Map([['019a1b2c-3d4e-7f00-8000-0123456789ab', 'Count the moons \u202eof Jupiter']]), 80, now);
    expect(text).toBe(`1a2b3c4d  changed, pinned
  Path       /home/ada/.baton/worktrees/1a2b3c4d/orrery
  Branch     baton/019a1b2c-3d4e/main
  Changes    2 staged, 1 unstaged, 3 untracked, 4 commits pushed nowhere, 1
             ignored file of its own (120 B)
  Thread     019a1b2c-3d4e  Count the moons <U+202E>of Jupiter
  Used       2 days ago
  Size       123.5 MB
  Removable  no. It has an ignored file that nothing else has: ".env".

5e6f7a8b  removed
  Path    /home/ada/.baton/worktrees/5e6f7a8b/orrery
  Branch  baton/019a1b2c-3d4e/main
  Used    2 days ago
  Note    It was removed; a snapshot keeps it, and "restore" brings it back.`);
    expect(Math.max(...text.split('\n').map((line) => line.length))).toBeLessThanOrEqual(80);
  });

  it('says what a sweep would do', () => {
    expect(sweepText({ removed: [{ id: '1a2b3c4d', path: '/w/1a2b3c4d/orrery', reason: 'A snapshot keeps its changes.' }], kept: [{ id: '5e6f7a8b', path: '/w/5e6f7a8b/orrery', reason: 'It is one of the newest 15.' }], expired: [] }, true, 80)).toBe(`Would be removed, each with a snapshot
  1a2b3c4d  /w/1a2b3c4d/orrery
            A snapshot keeps its changes.

Kept
  5e6f7a8b  /w/5e6f7a8b/orrery
            It is one of the newest 15.

1 worktree would be removed, 1 kept; 0 snapshots would expire.`);
  });

  it('says which snapshots expire, and why others do not', () => {
    const snapshot = { ref: 'refs/baton/snapshots/1a2b3c4d/20260227T100000000Z', worktreeId: '1a2b3c4d', threadId: null, path: '/w/1a2b3c4d/orrery', takenAt: '2026-02-27T10:00:00.000Z', onlyCopy: true, unreadable: null, expiresAt: null };
    expect(snapshotsText([{ ...snapshot, unreadable: 'It is damaged.' }], 80, now)).toContain('  Expires  not by itself. It is damaged.');
    expect(snapshotsText([snapshot], 80, now)).toBe(`1a2b3c4d  2 days ago
  Of       /w/1a2b3c4d/orrery
  Ref      refs/baton/snapshots/1a2b3c4d/20260227T100000000Z
  Expires  not by itself: it holds what nothing else has`);
    const threadId = '019a1b2c-3d4e-7f00-8000-0123456789ab';
    expect(snapshotsText([{ ref: `refs/baton/snapshots/apply/${threadId}/20260227T100000000Z/before`, worktreeId: null, threadId, path: '/home/me/orrery', takenAt: '2026-02-27T10:00:00.000Z', onlyCopy: false, unreadable: null, expiresAt: '2026-03-29T10:00:00.000Z' }], 80, now)).toBe(`${threadId}  2 days ago
  Of       what an apply of this thread replaced in /home/me/orrery
  Ref      refs/baton/snapshots/apply/019a1b2c-3d4e-7f00-8000-0123456789ab/20260227T100000000Z/before
  Expires  2026-03-29`);
    expect(worktreesText([], new Map(), 80, now)).toBe('There is no managed worktree.');
    expect([agoText('2026-03-01T11:59:50.000Z', now), agoText('2026-03-01T11:59:00.000Z', now), agoText('2026-03-01T09:00:00.000Z', now)]).toEqual(['just now', '1 minute ago', '3 hours ago']);
  });
});
