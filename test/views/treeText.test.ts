import { describe, expect, it } from 'vitest';
import type { HostSummary, ManagedWorktree, Thread } from '../../src/host/protocol';
import { contextValue, hostText, threadText, worktreeText } from '../../src/views/treeText';
import { translate } from './translate';

const here = 'a'.repeat(43);
const there = 'b'.repeat(43);
const ownership = { owner: here, epoch: 1, movedTo: null, moving: false, worktreeId: null, pendingApprovals: 0 };
const thread: Thread = { id: '01999999-0000-7000-8000-000000000001', preview: 'Fix the parser', name: null, cwd: '/src/parser', updatedAt: 1, status: { type: 'idle' }, baton: ownership };
const host: HostSummary = { hostId: there, name: 'server', online: true, self: false, codexVersion: '0.169.0' };
const worktree: ManagedWorktree = { id: 'w1', path: '/home/u/.baton/worktrees/w1/parser', project: '/src/parser', threadIds: [], branch: 'main', head: 'a'.repeat(40), dirty: false, permanent: false, pinned: false, state: 'here', changes: { staged: 0, unstaged: 0, untracked: 0, unmerged: 0 }, operation: null, locked: false, unpushed: 0, ignored: null, lastUsedAt: '2026-01-01T00:00:00.000Z', bytes: null, safeToRemove: true, reason: 'It is clean.', snapshot: null };

describe('the context value of a tree item', () => {
  it('is its kind and the flags that hold', () => {
    expect(contextValue('thread', { owned: true, moving: false, waiting: true })).toBe('thread+owned+waiting');
    expect(contextValue('group', {})).toBe('group');
  });
});

describe('a thread in the tree', () => {
  const cases: [string, Partial<Thread>, number, string, string][] = [
    ['idle', {}, 0, 'idle', 'thread+owned'],
    ['not loaded', { status: { type: 'notLoaded' } }, 0, 'idle', 'thread+owned'],
    ['running', { status: { type: 'active', activeFlags: [] } }, 0, 'running', 'thread+owned'],
    ['waiting on an approval', { status: { type: 'active', activeFlags: ['waitingOnApproval'] } }, 1, 'approval pending', 'thread+owned+waiting'],
    ['waiting on an approval that was carried over', {}, 2, '2 approvals pending', 'thread+owned+waiting'],
    ['waiting for an answer', { status: { type: 'active', activeFlags: ['waitingOnUserInput'] } }, 0, 'waiting for an answer', 'thread+owned+waiting'],
    ['broken', { status: { type: 'systemError' } }, 0, 'failed', 'thread+owned'],
    ['on its way', { baton: { ...ownership, moving: true } }, 0, 'moving', 'thread+owned+moving'],
    ['in a worktree of its own', { baton: { ...ownership, worktreeId: '0123abcd' } }, 0, 'idle', 'thread+owned+worktree'],
    ['elsewhere', { baton: { ...ownership, movedTo: { hostId: there, name: 'server' } } }, 1, 'moved to server', 'thread+moved'],
  ];
  it.each(cases)('that is %s says so in words', (_, change, approvals, words, context) => {
    const text = threadText({ ...thread, ...change }, approvals, translate);
    expect(text.description).toBe(words);
    expect(text.accessibilityLabel).toBe(`Thread Fix the parser, ${words}`);
    expect(text.contextValue).toBe(context);
    expect(text.id).toBe(`thread:${thread.id}`);
  });

  it('is called by its name where it has one', () => {
    expect(threadText({ ...thread, name: 'Parser' }, 0, translate).label).toBe('Parser');
    expect(threadText({ ...thread, preview: ' \n' }, 0, translate).label).toBe('Untitled thread');
  });

  it('is called what it was called before it moved, since where it moved to is said beside it', () => {
    expect(threadText({ ...thread, name: '↪ moved to server: Parser: errors' }, 0, translate).label).toBe('Parser: errors');
  });

  it('cannot put icons, line ends or reordering marks into its label', () => {
    const { label, description } = threadText({ ...thread, name: 'a $(error)\n\u202eb\u0007', baton: { ...ownership, movedTo: { hostId: there, name: '$(check)' } } }, 0, translate);
    expect(label).toBe('a $\u200b(error) b');
    expect(description).not.toContain('$(');
  });
});

describe('a host in the tree', () => {
  it('says whether it is online, and its Codex', () => {
    expect(hostText(host, undefined, translate)).toMatchObject({ label: 'server', description: 'online · Codex 0.169.0', contextValue: 'host+online' });
    expect(hostText({ ...host, online: false, codexVersion: null }, undefined, translate)).toMatchObject({ description: 'offline', accessibilityLabel: 'Host server, offline', contextValue: 'host' });
  });

  it('says that its Baton is of another version', () => {
    expect(hostText({ ...host, note: 'server runs an older Baton.' }, undefined, translate).tooltip).toContain('\nserver runs an older Baton.\n');
  });

  it('says of itself what keeps it from working', () => {
    const self = { relay: { url: 'ws://relay', status: 'errored' as const, message: null } };
    expect(hostText({ ...host, self: true, codexVersion: null }, self, translate)).toMatchObject({ description: 'this host · Codex not found · relay not reachable', contextValue: 'host+self' });
  });

  it('goes by the start of its id where it has no name', () => {
    expect(hostText({ ...host, name: '\u200b' }, undefined, translate).label).toBe('bbbbbbbb');
  });
});

describe('a worktree in the tree', () => {
  const now = new Date('2026-01-01T05:30:00.000Z');
  const shown = (change: Partial<ManagedWorktree>, threads: readonly string[] = [], severalRepositories = false) => worktreeText({ ...worktree, ...change }, { threads, severalRepositories, now }, translate);

  it('is called by its thread, or else by its branch or commit', () => {
    expect(shown({}, ['Fix the parser'])).toMatchObject({ label: 'Fix the parser', description: '5 h · main', accessibilityLabel: 'Worktree Fix the parser, clean, used 5 h ago, main' });
    expect(shown({})).toMatchObject({ label: 'main', description: '5 h' });
    expect(shown({ branch: null })).toMatchObject({ label: 'detached at aaaaaaaa' });
    expect(shown({ branch: null, head: null, state: 'unreadable' })).toMatchObject({ label: 'parser', description: 'git cannot read it · 5 h' });
    expect(shown({ branch: 'fix/\u202e$(x)' }).label).toBe('fix/ $\u200b(x)');
    const long = 'Fix the parser, and then all that it breaks';
    expect(shown({ lastUsedAt: now.toISOString() }, [long])).toMatchObject({ label: 'Fix the parser, and then all that it br…', description: 'now · main', accessibilityLabel: `Worktree ${long}, clean, used just now, main` });
  });

  it('says how many threads share it, and of which repository it is where the tree has several', () => {
    expect(shown({}, ['Fix the parser', 'Test it'], true).description).toBe('5 h · main · 1 more thread · parser');
    expect(shown({}, ['Fix the parser', 'Test it', 'Ship it']).description).toBe('5 h · main · 2 more threads');
    expect(shown({}, ['Fix the parser', 'Test it']).tooltip).toContain('Threads: Fix the parser, Test it');
    expect(shown({}, [], true).description).toBe('5 h · parser');
  });

  it('says what holds of it, in words and by its icon', () => {
    expect(shown({ dirty: true, pinned: true })).toMatchObject({ description: 'changed · pinned · 5 h', icon: 'pinned', tint: 'gitDecoration.modifiedResourceForeground', contextValue: 'worktree+dirty+pinned+here' });
    expect(shown({ permanent: true, pinned: true })).toMatchObject({ description: 'permanent · 5 h', icon: 'bookmark', contextValue: 'worktree+permanent+pinned+here' });
    expect(shown({ dirty: true, operation: 'rebase' })).toMatchObject({ description: 'rebase in progress · 5 h', icon: 'warning' });
    expect(shown({ state: 'removed' })).toMatchObject({ description: 'removed · 5 h', accessibilityLabel: 'Worktree main, removed, kept in a snapshot, used 5 h ago', icon: 'archive', contextValue: 'worktree+removed' });
    expect(shown({ state: 'gone' })).toMatchObject({ description: 'not there any more · 5 h', icon: 'warning', contextValue: 'worktree+mendable' });
    expect(shown({ state: 'foreign', branch: null, head: null, reason: 'Baton did not make it \u202e$(x)' })).toMatchObject({ label: 'parser', description: 'not Baton’s', accessibilityLabel: 'Worktree parser, not Baton’s', contextValue: 'worktree' });
  });

  it('says what changed in it, and why it is kept or may be removed, when it is pointed at', () => {
    expect(shown({ dirty: true, changes: { staged: 1, unstaged: 0, untracked: 2, unmerged: 0 }, unpushed: 3 }, ['Fix the parser']).tooltip.split('\n')).toEqual([
      'Fix the parser', worktree.path, 'Branch: main', 'changed, staged: 1, untracked: 2, commits pushed nowhere: 3, used 5 h ago', 'Can be removed: It is clean.', 'Worktree w1',
    ]);
    expect(shown({ safeToRemove: false, reason: 'A merge is in progress in it.' }).tooltip).toContain('Is kept: A merge is in progress in it.');
  });
});
