import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { copyThread, retireThread } from '../codex/rolloutCopy';
import { quiesceThread } from '../codex/quiesce';
import { injectNote, isArchived, markMoved, readThread, unmarkMoved } from '../codex/threads';
import type { Owner } from '../handoff/claim';
import type { CarriedThread } from '../handoff/carriedThread';
import type { ApprovalBroker } from './approvalBroker';
import { readCarried } from './carriedFile';
import type { CodexHost } from './codexHost';
import type { HeldPolicies } from './heldPolicies';
import type { Log } from './log';
import type { ManagedWorktrees } from './managedWorktrees';

/** How the name of a thread begins that was marked as moved (`markMoved`). */
const MOVED = /^↪ moved to [^:]*(: )?/;

export interface ThreadForkPorts {
  readonly codex: CodexHost;
  readonly approvals: Pick<ApprovalBroker, 'forget'>;
  readonly worktrees: ManagedWorktrees;
  readonly held: Pick<HeldPolicies, 'of' | 'hold'>;
  readonly log: Log;
  /** Spools of handoffs. */
  readonly directory: string;
  /** Whether Codex has a thread of that id. */
  hasThread(threadId: string): Promise<boolean>;
  /** Brings the thread's worktree back where it was removed. */
  wake(threadId: string): Promise<void>;
  /** Has a thread wait for what it waited for when it was stopped, and go on with what went on by itself. */
  putBack(threadId: string, carried: CarriedThread): Promise<void>;
}

/** What a reclaim does with a thread in Codex: usable again where it was reclaimed, kept as a fork where it was reclaimed from. Each may be repeated. */
export class ThreadFork {
  constructor(private readonly ports: ThreadForkPorts) {}

  /**
   * A thread that was handed away is usable here again, as it was then, and its agent is told so.
   *
   * @param handoffId the handoff by which it left, where the other host never acknowledged it: approvals, queue and goal come back too. Else that host had them, and decided on them.
   */
  async take(threadId: string, from: string, handoffId: string | null): Promise<void> {
    const { codex, worktrees } = this.ports;
    const server = await codex.ready();
    if (await isArchived(server, threadId)) {
      const { name } = await readThread(server, threadId);
      const before = name?.replace(MOVED, '') ?? '';
      await unmarkMoved(server, { threadId, name: before === '' ? null : before });
    }
    const worktree = worktrees.ofThread(threadId);
    if (worktree !== undefined) await worktrees.save({ id: worktree.id, leftWith: null });
    await this.ports.wake(threadId);
    const { cwd } = await codex.settingsOf(threadId);
    await injectNote(
      server, threadId,
      `The user took this thread back from the host "${from}", to which it had been moved. It works in ${cwd} again. Whatever you did on "${from}" is not here: look at the files before you rely on what you remember of them.`,
    );
    if (handoffId === null) return;
    const spool = join(this.ports.directory, handoffId);
    const carried = await readCarried(spool, this.ports.log);
    if (carried !== null) await this.ports.putBack(threadId, carried);
    await rm(spool, { recursive: true, force: true });
  }

  /**
   * What this host has of a thread that goes on elsewhere becomes a thread of its own, with the worktree. Nothing runs on it.
   *
   * @param owner where the thread goes on; null where it is about to arrive here
   * @returns where the fork is, in words that follow its id; null where this host had no conversation to keep
   */
  async setAside(threadId: string, fork: string, owner: (Owner & { readonly epoch: number }) | null): Promise<string | null> {
    const { codex, worktrees, approvals, held } = this.ports;
    const server = await codex.ready();
    const { codexHome } = codex;
    const had = await this.ports.hasThread(threadId);
    if (had) {
      const archived = await isArchived(server, threadId);
      if (!archived) await quiesceThread(server, threadId);
      const { name, preview } = await readThread(server, threadId);
      const bound = held.of(threadId);
      // Before anything can load it: what a thread may do does not widen by being kept.
      if (bound !== undefined) await held.hold(fork, bound);
      await copyThread({ codexHome, threadId, copyId: fork });
      await server.request('thread/name/set', { threadId: fork, name: `${(name ?? preview).replace(MOVED, '').slice(0, 60)} (kept on this host)`.trim() });
      if (!(await retireThread(server, { codexHome, threadId, copyId: fork })) && !archived && owner !== null) {
        await markMoved(server, { threadId, destinationHostId: owner.hostId, destinationName: owner.name, epoch: owner.epoch, name: name ?? null });
      }
    }
    await approvals.forget(threadId);
    // Repeated, the thread is gone and its copy there.
    const kept = had || (await this.ports.hasThread(fork));
    const worktree = worktrees.ofThread(threadId);
    if (worktree !== undefined) await worktrees.save({ id: worktree.id, threadIds: worktree.threadIds.flatMap((id) => (id !== threadId ? [id] : kept ? [fork] : [])), leftWith: null });
    return kept ? (worktree === undefined ? '' : `, with the worktree ${worktree.path}`) : null;
  }
}
