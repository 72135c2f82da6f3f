import { basename } from 'node:path';
import type { HostDetails, HostSummary, ManagedWorktree, Thread } from '../host/protocol';
import { ageText, plainLabel, shortened, type Translate } from './displayText';
import { hasMoved } from './threadList';

/** What a tree item shows; `icon` is the id of a codicon, `tint` of a theme colour. */
export interface TreeText {
  readonly id: string;
  readonly label: string;
  readonly description: string;
  readonly tooltip: string;
  /** What a screen reader says: the state in words, since icon and colour say nothing there. */
  readonly accessibilityLabel: string;
  readonly icon: string;
  readonly tint?: string;
  readonly contextValue: string;
}

/**
 * The context value of a tree item: its kind and then the flags that hold, each with a plus sign (`thread+owned+waiting`).
 * Menus match a flag with `viewItem =~ /\+owned\b/`.
 */
export function contextValue(kind: 'thread' | 'host' | 'worktree' | 'group', flags: Readonly<Record<string, boolean>>): string {
  return [kind, ...Object.entries(flags).filter(([, holds]) => holds).map(([flag]) => flag)].join('+');
}

export type ThreadCondition = 'moved' | 'moving' | 'waitingOnApproval' | 'waitingOnUserInput' | 'running' | 'failed' | 'idle';

/** The one condition of a thread that matters most to its user. */
export function threadCondition(thread: Pick<Thread, 'status' | 'baton'>, pendingApprovals: number): ThreadCondition {
  if (hasMoved(thread)) return 'moved';
  if (thread.baton?.moving === true) return 'moving';
  const flags = thread.status.activeFlags ?? [];
  if (pendingApprovals > 0 || flags.includes('waitingOnApproval')) return 'waitingOnApproval';
  if (flags.includes('waitingOnUserInput')) return 'waitingOnUserInput';
  if (thread.status.type === 'active') return 'running';
  return thread.status.type === 'systemError' ? 'failed' : 'idle';
}

// What a host puts before the name of a thread that moved away, for clients that know nothing of Baton.
const MOVED_MARK = /^↪ moved to [^:]*: /;

/** A thread's name without the host's mark that it moved, or else the start of its first message. */
export function threadTitle(thread: Pick<Thread, 'name' | 'preview'>, t: Translate): string {
  return plainLabel((thread.name ?? '').replace(MOVED_MARK, '')) || plainLabel(thread.preview) || t('Untitled thread');
}

const threadIcons: Readonly<Record<ThreadCondition, { icon: string; tint?: string }>> = {
  moved: { icon: 'arrow-right', tint: 'disabledForeground' },
  moving: { icon: 'sync~spin' },
  waitingOnApproval: { icon: 'bell-dot', tint: 'list.warningForeground' },
  waitingOnUserInput: { icon: 'question', tint: 'list.warningForeground' },
  running: { icon: 'loading~spin' },
  failed: { icon: 'error', tint: 'list.errorForeground' },
  idle: { icon: 'comment-discussion' },
};

export function threadText(thread: Thread, pendingApprovals: number, t: Translate): TreeText {
  const condition = threadCondition(thread, pendingApprovals);
  const label = threadTitle(thread, t);
  const description = conditionText(condition, pendingApprovals, plainLabel(thread.baton?.movedTo?.name ?? '', 40), t);
  return {
    id: `thread:${thread.id}`,
    label,
    description,
    tooltip: [label, description, plainLabel(thread.cwd, 400), t('Thread {0}', thread.id)].join('\n'),
    accessibilityLabel: t('Thread {0}, {1}', label, description),
    ...threadIcons[condition],
    contextValue: contextValue('thread', {
      owned: condition !== 'moved',
      moved: condition === 'moved',
      moving: condition === 'moving',
      worktree: condition !== 'moved' && thread.baton?.worktreeId != null,
      waiting: condition === 'waitingOnApproval' || condition === 'waitingOnUserInput',
    }),
  };
}

/** A thread's condition in words. `host` is where it moved to. */
export function conditionText(condition: ThreadCondition, pendingApprovals: number, host: string, t: Translate): string {
  switch (condition) {
    case 'moved':
      return t('moved to {0}', host);
    case 'moving':
      return t('moving');
    case 'waitingOnApproval':
      return pendingApprovals > 1 ? t('{0} approvals pending', pendingApprovals) : t('approval pending');
    case 'waitingOnUserInput':
      return t('waiting for an answer');
    case 'running':
      return t('running');
    case 'failed':
      return t('failed');
    case 'idle':
      return t('idle');
  }
}

export function hostText(host: HostSummary, self: Pick<HostDetails, 'relay'> | undefined, t: Translate): TreeText {
  const label = plainLabel(host.name, 64) || host.hostId.slice(0, 8);
  const codex = host.codexVersion === null ? null : t('Codex {0}', plainLabel(host.codexVersion, 32));
  const state = host.self ? t('this host') : host.online ? t('online') : t('offline');
  const relay = host.self && self !== undefined ? relayText(self.relay, t) : null;
  const missing = host.self && host.codexVersion === null ? t('Codex not found') : null;
  const parts = [state, codex ?? missing, relay].filter((part) => part !== null);
  return {
    id: `host:${host.hostId}`,
    label,
    description: parts.join(' · '),
    tooltip: [label, ...parts, ...(host.note == null ? [] : [plainLabel(host.note, 400)]), t('Host id {0}', host.hostId)].join('\n'),
    accessibilityLabel: t('Host {0}, {1}', label, parts.join(', ')),
    ...(host.self ? { icon: 'device-desktop' } : host.online ? { icon: 'vm-active' } : { icon: 'vm-outline', tint: 'disabledForeground' }),
    contextValue: contextValue('host', { self: host.self, online: host.online && !host.self }),
  };
}

function relayText(relay: HostDetails['relay'], t: Translate): string {
  switch (relay.status) {
    case 'disabled':
      return t('no relay');
    case 'connecting':
      return t('connecting to relay');
    case 'connected':
      return t('relay connected');
    case 'errored':
      return t('relay not reachable');
  }
}

/** What the row of a worktree says besides what the worktree itself does. */
export interface WorktreeSurroundings {
  /** Titles of its threads (`threadTitle`), the one that was used last first. */
  readonly threads: readonly string[];
  /** The tree shows worktrees of several repositories, so that a row has to say which its is. */
  readonly severalRepositories: boolean;
  readonly now: Date;
}

/** A longer title would push state and age out of a side bar of the usual width. */
const ROW_TITLE = 40;

/** A worktree is called by its thread, or else by its branch: all those of one repository have the same directory name. */
export function worktreeText(worktree: ManagedWorktree, { threads, severalRepositories, now }: WorktreeSurroundings, t: Translate): TreeText {
  const foreign = worktree.state === 'foreign';
  const repository = plainLabel(basename(worktree.path));
  const branch = worktree.branch === null ? (worktree.head === null ? null : t('detached at {0}', worktree.head.slice(0, 8))) : plainLabel(worktree.branch, 80);
  const name = (foreign ? null : threads[0] ?? branch) ?? repository;
  const age = foreign ? null : (ageText(worktree.lastUsedAt, now, t) ?? '');
  const used = age === null ? [] : [age === '' ? t('used just now') : t('used {0} ago', age)];
  const keeping = worktree.permanent ? [t('permanent')] : worktree.pinned ? [t('pinned')] : [];
  const others = threads.length > 2 ? [t('{0} more threads', threads.length - 1)] : threads.length === 2 ? [t('1 more thread')] : [];
  const place = [...(branch === null || name === branch ? [] : [branch]), ...others, ...(severalRepositories && name !== repository ? [repository] : [])];
  const state = worktreeState(worktree, t);
  const reason = plainLabel(worktree.reason, 600);
  return {
    id: `worktree:${worktree.id}:${worktree.path}`,
    label: shortened(name, ROW_TITLE),
    // Cut off on its right, so what changes comes first; what holds of most is not said.
    description: [...(state.short === '' ? [] : [state.short]), ...keeping, ...(age === null ? [] : [age === '' ? t('now') : age]), ...place].join(' · '),
    tooltip: [
      name,
      plainLabel(worktree.path, 400),
      ...(branch === null ? [] : [t('Branch: {0}', branch)]),
      [state.long, ...countsText(worktree, t), ...keeping, ...used].join(', '),
      ...(worktree.state === 'here' ? [worktree.safeToRemove ? t('Can be removed: {0}', reason) : t('Is kept: {0}', reason)] : [reason]),
      ...(threads.length < 2 ? [] : [t('Threads: {0}', threads.join(', '))]),
      ...(foreign ? [] : [t('Worktree {0}', worktree.id)]),
    ].join('\n'),
    accessibilityLabel: t('Worktree {0}, {1}', name, [state.long, ...keeping, ...used, ...place].join(', ')),
    ...worktreeIcon(worktree),
    contextValue: contextValue('worktree', {
      dirty: worktree.dirty, permanent: worktree.permanent, pinned: worktree.pinned,
      here: worktree.state === 'here', removed: worktree.state === 'removed', mendable: worktree.state === 'moved' || worktree.state === 'gone' || worktree.state === 'unlinked',
    }),
  };
}

/** How many paths are changed in which way, and how many commits are pushed nowhere; what is nought is left out. */
function countsText({ changes, unpushed }: ManagedWorktree, t: Translate): string[] {
  const counts: [number, string][] = [
    ...(changes === null ? [] : ([[changes.unmerged, t('in conflict')], [changes.staged, t('staged')], [changes.unstaged, t('not staged')], [changes.untracked, t('untracked')]] as [number, string][])),
    [unpushed, t('commits pushed nowhere')],
  ];
  return counts.filter(([count]) => count > 0).map(([count, what]) => t('{0}: {1}', what, count));
}

/** What became of a worktree: in its row, where nothing said means that all is well, and in full. */
function worktreeState(worktree: ManagedWorktree, t: Translate): { short: string; long: string } {
  const both = (words: string) => ({ short: words, long: words });
  switch (worktree.state) {
    case 'here':
      if (worktree.operation !== null) return both(t('{0} in progress', plainLabel(worktree.operation, 40)));
      return worktree.dirty ? both(t('changed')) : { short: '', long: t('clean') };
    case 'removed':
      return { short: t('removed'), long: t('removed, kept in a snapshot') };
    case 'removing':
    case 'restoring':
      return both(t('interrupted'));
    case 'moved':
      return both(t('moved'));
    case 'gone':
      return both(t('not there any more'));
    case 'unlinked':
    case 'unreadable':
      return both(t('git cannot read it'));
    case 'foreign':
      return both(t('not Baton’s'));
  }
}

function worktreeIcon({ state, dirty, permanent, pinned, operation }: ManagedWorktree): Pick<TreeText, 'icon' | 'tint'> {
  if (state === 'removed') return { icon: 'archive', tint: 'disabledForeground' };
  if (state === 'foreign') return { icon: 'circle-slash', tint: 'disabledForeground' };
  if (state !== 'here' || operation !== null) return { icon: 'warning', tint: 'list.warningForeground' };
  const icon = permanent ? 'bookmark' : pinned ? 'pinned' : 'repo';
  return { icon, ...(dirty ? { tint: 'gitDecoration.modifiedResourceForeground' } : {}) };
}
