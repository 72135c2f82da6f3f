import { basename } from 'node:path';
import type { HostDetails, HostSummary, ManagedWorktree, Thread } from '../host/protocol';
import { plainLabel, type Translate } from './displayText';
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
    tooltip: [label, ...parts, t('Host id {0}', host.hostId)].join('\n'),
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

export function worktreeText(worktree: ManagedWorktree, threads: readonly string[], t: Translate): TreeText {
  const label = plainLabel(basename(worktree.path));
  const branch = worktree.branch === null ? t('detached HEAD') : plainLabel(worktree.branch, 80);
  const parts = worktree.state === 'foreign' ? [t('not Baton’s')] : [branch, worktreeState(worktree, t)];
  if (worktree.permanent) parts.push(t('permanent'));
  else if (worktree.pinned) parts.push(t('pinned'));
  const reason = plainLabel(worktree.reason, 600);
  return {
    id: `worktree:${worktree.id}:${worktree.path}`,
    label,
    description: parts.join(' · '),
    tooltip: [plainLabel(worktree.path, 400), ...parts, ...(worktree.state === 'here' ? [worktree.safeToRemove ? t('Can be removed: {0}', reason) : t('Is kept: {0}', reason)] : [reason]), ...threads].join('\n'),
    accessibilityLabel: t('Worktree {0}, {1}', label, parts.join(', ')),
    ...worktreeIcon(worktree),
    contextValue: contextValue('worktree', {
      dirty: worktree.dirty, permanent: worktree.permanent, pinned: worktree.pinned,
      here: worktree.state === 'here', removed: worktree.state === 'removed', mendable: worktree.state === 'moved' || worktree.state === 'gone' || worktree.state === 'unlinked',
    }),
  };
}

function worktreeState(worktree: ManagedWorktree, t: Translate): string {
  switch (worktree.state) {
    case 'here':
      return worktree.dirty ? t('changed') : t('clean');
    case 'removed':
      return t('removed, kept in a snapshot');
    case 'removing':
    case 'restoring':
      return t('interrupted');
    case 'moved':
      return t('moved');
    case 'gone':
      return t('not there any more');
    case 'unlinked':
    case 'unreadable':
      return t('git cannot read it');
    case 'foreign':
      return t('not Baton’s');
  }
}

function worktreeIcon({ state, dirty }: ManagedWorktree): Pick<TreeText, 'icon' | 'tint'> {
  if (state === 'removed') return { icon: 'archive', tint: 'disabledForeground' };
  if (state === 'foreign') return { icon: 'circle-slash', tint: 'disabledForeground' };
  if (state !== 'here') return { icon: 'warning', tint: 'list.warningForeground' };
  return { icon: 'repo', ...(dirty ? { tint: 'gitDecoration.modifiedResourceForeground' } : {}) };
}
