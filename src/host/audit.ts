import { AsyncLocalStorage } from 'node:async_hooks';
import { mkdir, open, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TrailEntry } from '../handoff/approval';
import { auditEntry, type AuditEntry } from './auditEntry';

/** Who caused something: a controller on this machine, or a paired device or another host by its id. */
export type Actor = 'local' | `device:${string}` | `host:${string}`;

/** Through what a host was asked. */
export interface Controller {
  /** The local socket of the account itself, or an encrypted channel. */
  readonly over: 'socket' | 'channel';
  /** What a local controller says of itself. */
  readonly client?: string;
  readonly pid?: number;
  /** The key that the other end of a channel has proven to hold. */
  readonly key?: string;
}

const asking = new AsyncLocalStorage<Controller>();

/** Runs `act`; what it, and all that it sets going, writes to the audit log names the controller that asked for it. */
export const askedBy = <T>(controller: Controller, act: () => T): T => asking.run(controller, act);

export type AuditEvent =
  | { readonly type: 'approval-requested' | 'approval-carried'; readonly threadId: string; readonly digest: string; readonly kind: string; /** What is asked for: a command line, paths. */ readonly subject: string; readonly epoch: number }
  | { readonly type: 'approval-decided'; readonly threadId: string; readonly digest: string; readonly subject: string; readonly decision: string; readonly by: Actor; readonly epoch: number }
  | { readonly type: 'approval-applied'; readonly threadId: string; readonly digest: string; readonly epoch: number }
  /** As it was written on another host, from which the thread came. */
  | { readonly type: 'approval-trail'; readonly threadId: string; readonly entry: TrailEntry }
  | { readonly type: 'handoff-begun' | 'handoff-committed' | 'handoff-aborted' | 'handoff-activated'; readonly threadId: string; readonly handoffId: string; readonly peer: string; readonly by?: Actor; readonly epoch: number }
  | { readonly type: 'thread-reclaimed' | 'thread-superseded'; readonly threadId: string; readonly peer: string; readonly by: Actor; readonly epoch: number }
  | { readonly type: 'thread-set-aside'; readonly threadId: string; readonly fork: string; readonly peer: string; readonly by: Actor; readonly epoch: number }
  | { readonly type: 'apply-done' | 'apply-undone'; readonly threadId: string; readonly directory: string; readonly by: Actor }
  | { readonly type: 'host-paired'; readonly hostId: string; readonly role: string; readonly words: string }
  | { readonly type: 'device-paired'; readonly deviceId: string; readonly name: string; readonly kind: 'device' | 'host'; readonly role: string; readonly threadId?: string; readonly expiresAt: string | null; readonly inviteId: string; readonly words: string }
  | { readonly type: 'invite-made'; readonly inviteId: string; readonly role: string; readonly threadId?: string; readonly expiresAt: string; readonly by: Actor }
  | { readonly type: 'invite-ended'; readonly inviteId: string; readonly outcome: string }
  | { readonly type: 'invite-refused'; readonly inviteId: string; readonly why: string }
  | { readonly type: 'device-revoked'; readonly deviceId: string; readonly name: string; readonly kind: 'device' | 'host'; readonly by: Actor }
  | { readonly type: 'remote-control-enabled' | 'remote-control-disabled'; readonly by: Actor }
  | { readonly type: 'worktree-created' | 'worktree-removed' | 'worktree-restored'; readonly worktreeId: string; readonly path: string; readonly snapshot: string | null; readonly by: Actor | 'sweep' }
  | { readonly type: 'snapshot-expired'; readonly ref: string; readonly tip: string; readonly by: Actor | 'sweep' }
  | { readonly type: 'handoff-requested'; readonly threadId: string | null; readonly peer: string; readonly by: Actor };

/** The audit log: JSON Lines, one file a month under `audit/`, appended and synced before the act it tells of is reported. */
export class AuditLog {
  private tail: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly directory: string,
    private readonly now: () => Date = () => new Date(),
  ) {}

  /** Writes events in one go; none is nothing to do. */
  append(...events: readonly AuditEvent[]): Promise<void> {
    if (events.length === 0) return Promise.resolve();
    const controller = asking.getStore();
    const result = this.tail.then(async () => {
      await mkdir(this.directory, { recursive: true, mode: 0o700 });
      const at = this.now().toISOString();
      const handle = await open(join(this.directory, `${at.slice(0, 7)}.jsonl`), 'a', 0o600);
      try {
        await handle.appendFile(events.map((event) => `${JSON.stringify({ at, ...event, ...(controller === undefined || ofItself(event) ? {} : { controller }) })}\n`).join(''));
        await handle.sync();
      } finally {
        await handle.close();
      }
    });
    this.tail = result.catch(() => undefined);
    return result;
  }

  /**
   * The newest events, oldest first, of one thread or of all.
   *
   * @returns also how many lines could not be read: a write that was torn by a crash, or somebody's edit
   */
  async read({ threadId, limit }: { readonly threadId: string | null; readonly limit: number }): Promise<{ events: AuditEntry[]; unreadable: number }> {
    // What was given to be written before this was asked is part of the answer.
    await this.tail;
    const names = (await readdir(this.directory).catch(() => [])).filter((name) => /^\d{4}-\d\d\.jsonl$/.test(name)).sort();
    const events: AuditEntry[] = [];
    let unreadable = 0;
    for (const name of names.reverse()) {
      const lines = (await readFile(join(this.directory, name), 'utf8')).split('\n').filter((line) => line !== '');
      for (const line of lines.reverse()) {
        const entry = parsed(line);
        if (entry === null) unreadable++;
        else if (threadId === null || entry.threadId === threadId) events.push(entry);
        if (events.length === limit) return { events: events.reverse(), unreadable };
      }
    }
    return { events: events.reverse(), unreadable };
  }
}

/** What an agent or the host does by itself, in whoever's wake. */
const ofItself = (event: AuditEvent): boolean => ['approval-requested', 'approval-carried', 'approval-applied', 'approval-trail'].includes(event.type) || ('by' in event && event.by === 'sweep');

function parsed(line: string): AuditEntry | null {
  try {
    return auditEntry.parse(JSON.parse(line));
  } catch {
    return null;
  }
}
