import type { ManagedWorktree, Snapshot, SweepReport } from '../protocol';
import { inertLine } from './inertText';
import { bytesText, counted, labelled, wrap } from './layout';

/** What kind of thing a worktree is now, in few words. */
function stateText(worktree: ManagedWorktree): string {
  if (worktree.state !== 'here') return worktree.state;
  const words = [worktree.dirty ? 'changed' : 'clean', ...(worktree.permanent ? ['permanent'] : []), ...(worktree.pinned ? ['pinned'] : [])];
  return words.join(', ');
}

function changesText({ changes, operation, unpushed, ignored }: ManagedWorktree): string {
  const counts = Object.entries(changes ?? {}).filter(([, number]) => number > 0).map(([kind, number]) => `${number} ${kind}`);
  return [
    ...counts,
    ...(operation === null ? [] : [`${inertLine(operation)} in progress`]),
    ...(unpushed === 0 ? [] : [`${unpushed >= 1000 ? 'over 1000 commits' : counted(unpushed, 'commit')} pushed nowhere`]),
    ...(ignored === null || ignored.count === 0 ? [] : [`${counted(ignored.count, 'ignored file')} of its own (${bytesText(ignored.bytes)})`]),
  ].join(', ');
}

/** How long ago, in the largest unit that fits. */
export function agoText(time: string, now: Date): string {
  const minutes = Math.max(0, Math.floor((now.getTime() - Date.parse(time)) / 60_000));
  if (minutes < 1) return 'just now';
  if (minutes < 60) return `${counted(minutes, 'minute')} ago`;
  if (minutes < 48 * 60) return `${counted(Math.floor(minutes / 60), 'hour')} ago`;
  return `${counted(Math.floor(minutes / 60 / 24), 'day')} ago`;
}

/** The inventory: a block for each worktree, since a path or a reason that was cut could not be used. */
export function worktreesText(worktrees: readonly ManagedWorktree[], titles: ReadonlyMap<string, string>, width: number, now: Date): string {
  if (worktrees.length === 0) return 'There is no managed worktree.';
  return worktrees.map((worktree) => worktreeText(worktree, titles, width, now)).join('\n\n');
}

export function worktreeText(worktree: ManagedWorktree, titles: ReadonlyMap<string, string>, width: number, now: Date): string {
  const changes = changesText(worktree);
  const pairs: [string, string][] = [
    ['Path', inertLine(worktree.path)],
    ...(worktree.state === 'foreign' ? [] : [['Branch', inertLine(worktree.branch ?? (worktree.head === null ? '-' : `(detached at ${worktree.head.slice(0, 8)})`))] as [string, string]]),
    ...(changes === '' ? [] : [['Changes', changes] as [string, string]]),
    ...worktree.threadIds.map((id): [string, string] => ['Thread', `${id.slice(0, 13)}  ${inertLine(titles.get(id) ?? '')}`.trimEnd()]),
    ...(worktree.state === 'foreign' ? [] : [['Used', agoText(worktree.lastUsedAt, now)] as [string, string]]),
    ...(worktree.bytes === null ? [] : [['Size', bytesText(worktree.bytes)] as [string, string]]),
    [worktree.state === 'here' ? 'Removable' : 'Note', `${worktree.state === 'here' ? (worktree.safeToRemove ? 'yes. ' : 'no. ') : ''}${inertLine(worktree.reason)}`],
  ];
  return `${inertLine(worktree.id)}  ${stateText(worktree)}\n${labelled(pairs, width)}`;
}

export function snapshotsText(snapshots: readonly Snapshot[], width: number, now: Date): string {
  if (snapshots.length === 0) return 'There is no snapshot.';
  return snapshots.map((snapshot) => `${snapshot.worktreeId ?? snapshot.threadId ?? ''}  ${agoText(snapshot.takenAt, now)}\n${labelled([
    ['Of', originText(snapshot)],
    ['Ref', inertLine(snapshot.ref)],
    ['Expires', snapshot.unreadable !== null ? `not by itself. ${inertLine(snapshot.unreadable)}` : snapshot.onlyCopy ? 'not by itself: it holds what nothing else has' : snapshot.expiresAt === null ? 'not by itself: it is another host\'s' : snapshot.expiresAt.slice(0, 10)],
  ], width)}`).join('\n\n');
}

function originText({ worktreeId, ref, path }: Snapshot): string {
  if (worktreeId !== null) return path === null ? 'a worktree that this host does not know' : inertLine(path);
  const what = /\/found(-\d+)?$/.test(ref) ? 'what an apply of this thread that was taken back had found' : 'what an apply of this thread replaced';
  return path === null ? what : `${what} in ${inertLine(path)}`;
}

export function sweepText({ removed, kept, expired }: SweepReport, dryRun: boolean, width: number): string {
  const would = dryRun ? 'would be ' : '';
  const rows = (entries: SweepReport['removed']) => entries.map(({ id, path, reason }) => `  ${id}  ${inertLine(path)}\n            ${wrap(inertLine(reason), width, 12)}`);
  const summary = `${counted(removed.length, 'worktree')} ${would}removed, ${kept.length} kept; ${counted(expired.length, 'snapshot')} ${dryRun ? 'would expire' : 'expired'}.`;
  return [
    ...(removed.length === 0 ? [] : [`${dryRun ? 'Would be removed' : 'Removed'}, each with a snapshot`, ...rows(removed), '']),
    ...(kept.length === 0 ? [] : ['Kept', ...rows(kept), '']),
    summary,
  ].join('\n');
}
