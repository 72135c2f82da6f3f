import { trailEntry, type TrailEntry } from '../handoff/approval';
import type { AuditLog } from './audit';

/** Most that goes along: the newest. */
const MOST_ENTRIES = 200;
/** Lines of a thread that are looked through for them. */
const MOST_EVENTS = 10_000;

/** Who decided what about a thread goes where the thread goes, so that whoever looks there sees all of it. */
export class ApprovalTrail {
  constructor(
    private readonly audit: Pick<AuditLog, 'append' | 'read'>,
    private readonly hostId: string,
    private readonly hostName: () => string,
  ) {}

  /** What this host's audit log has of a thread's approvals, oldest first, with what came along from other hosts. */
  async of(threadId: string): Promise<TrailEntry[]> {
    const { events } = await this.audit.read({ threadId, limit: MOST_EVENTS });
    const entries = events.flatMap(({ type, ...event }) => {
      // What another host told stands in its own words.
      const told = type === 'approval-trail' ? event['entry'] : { ...event, event: type, hostId: this.hostId, hostName: this.hostName() };
      const { success, data } = trailEntry.safeParse(told);
      return success ? [data] : [];
    });
    return entries.sort((one, other) => one.at.localeCompare(other.at)).slice(-MOST_ENTRIES);
  }

  /** Writes down what came along with a thread, but not what this host knows. May be repeated. */
  async keep(threadId: string, entries: readonly TrailEntry[]): Promise<void> {
    const identity = ({ event, at, hostId, digest }: TrailEntry) => [event, at, hostId, digest].join();
    const known = new Set((await this.of(threadId)).map(identity));
    const fresh = entries.filter((entry) => entry.hostId !== this.hostId && !known.has(identity(entry)));
    await this.audit.append(...fresh.map((entry) => ({ type: 'approval-trail' as const, threadId, entry })));
  }
}
