import { z } from 'zod';
import type { HostClient } from '../host/hostClient';
import { thread as threadSchema, type ApprovalDecision, type Thread } from '../host/protocol';
import { deltasOf, toViewTurn } from './codexItems';
import type { Translate } from './displayText';
import type { Activity, ThreadDelta, ThreadViewState, ViewTurn } from './threadMessages';
import { applyDelta, runningTurn } from './threadViewState';
import { hasMoved } from './threadList';
import { threadCondition, threadTitle } from './treeText';

/** What a session needs of the host's client. */
export type ThreadClient = Pick<HostClient, 'call' | 'codex' | 'on' | 'onCodex'>;

/** What a session tells after `open()` is done. */
export interface SessionEvents {
  /** The state changed by `delta` and is now number `sequence`. */
  onDelta(sequence: number, delta: ThreadDelta): void;
  /** The state was read anew: only the snapshot says what changed. */
  onReplaced(): void;
}

const TURNS_PER_PAGE = 30;
const turnsPage = z.looseObject({ data: z.array(z.unknown()), nextCursor: z.string().nullish() });
const statusEvent = z.looseObject({ threadId: z.string(), status: z.looseObject({ type: z.string(), activeFlags: z.array(z.string()).optional() }) });

/**
 * One thread as a panel shows it: reads it from the host, subscribes to it, and keeps the state up with what happens.
 * A session lives as long as its connection; after a new connection a new session takes over.
 */
export class ThreadSession {
  #state: ThreadViewState | undefined;
  #sequence = 0;
  #earlierCursor: string | null = null;
  #disposed = false;
  /** Deltas that arrive while the thread is still being read. */
  #early: ThreadDelta[] | undefined = [];
  readonly #ends: (() => void)[] = [];

  constructor(
    private readonly client: ThreadClient,
    readonly threadId: string,
    private readonly hostName: string,
    private readonly t: Translate,
    private readonly events: SessionEvents,
  ) {}

  /** The state as it is now and its number; undefined until `open()` is done. */
  get snapshot(): { readonly sequence: number; readonly state: ThreadViewState } | undefined {
    return this.#state === undefined ? undefined : { sequence: this.#sequence, state: this.#state };
  }

  /** Reads the thread and subscribes to it. @throws what the host answers where it cannot show the thread. */
  async open(): Promise<void> {
    this.#listen();
    await this.#read();
  }

  /** Reads the whole thread. Reads may overlap; the deltas that arrive go to the latest. */
  async #read(): Promise<void> {
    const early: ThreadDelta[] = [];
    this.#early = early;
    try {
      const state = await this.#readState();
      if (this.#disposed) return;
      this.#sequence += 1;
      this.#state = state;
    } finally {
      // A read that failed leaves what was shown before, which what arrived meanwhile brings up to date.
      for (const delta of early) if (this.#state !== undefined) this.#state = applyDelta(this.#state, delta);
      if (this.#early === early) this.#early = undefined;
    }
  }

  async #readState(): Promise<ThreadViewState> {
    const known = await this.client.call('host/thread', { threadId: this.threadId });
    const moved = hasMoved(known.thread);
    let turns: ViewTurn[];
    if (moved) {
      // Its copy here is archived: it can be read and not resumed.
      const answer = z.looseObject({ thread: threadSchema }).parse(await this.client.codex('thread/read', { threadId: this.threadId, includeTurns: true }));
      turns = viewTurns(answer.thread.turns ?? []);
      this.#earlierCursor = null;
    } else {
      await this.client.codex('thread/resume', { threadId: this.threadId });
      ({ turns, earlier: this.#earlierCursor } = await this.#readTurns(null));
    }
    return {
      threadId: this.threadId,
      title: threadTitle(known.thread, this.t),
      cwd: known.thread.cwd,
      hostName: this.hostName,
      ...situation(known.thread, known.approvals.length),
      connected: true,
      turns,
      hasEarlierTurns: this.#earlierCursor !== null,
      plan: known.plan,
      approvals: known.approvals,
    };
  }

  /** Starts a turn with `text`, or steers the one that runs. */
  async send(text: string): Promise<void> {
    await this.client.codex('turn/start', { threadId: this.threadId, input: [{ type: 'text', text }] });
  }

  /** Interrupts the running turn; nothing where none runs. */
  async interrupt(): Promise<void> {
    const turn = this.#state === undefined ? undefined : runningTurn(this.#state);
    if (turn !== undefined) await this.client.codex('turn/interrupt', { threadId: this.threadId, turnId: turn.id });
  }

  async decide(decision: { id: string; digest: string; decision: ApprovalDecision; answers?: Record<string, string[]> | undefined }): Promise<void> {
    const { answers, ...rest } = decision;
    await this.client.call('approval/decide', answers === undefined ? rest : { ...rest, answers });
  }

  /** Reads the turns before those that are shown. */
  async loadEarlier(): Promise<void> {
    if (this.#earlierCursor === null) return;
    const page = await this.#readTurns(this.#earlierCursor);
    this.#earlierCursor = page.earlier;
    this.#apply({ type: 'earlierTurns', turns: page.turns, hasEarlierTurns: page.earlier !== null });
  }

  /** The connection is gone: what is shown may be old from now on. */
  disconnected(): void {
    this.#apply({ type: 'connectionChanged', connected: false });
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    for (const end of this.#ends) end();
  }

  #listen(): void {
    this.#ends.push(
      this.client.onCodex((method, params) => {
        for (const delta of deltasOf(this.threadId, method, params)) this.#apply(delta.type === 'titleChanged' ? { ...delta, title: threadTitle({ name: delta.title, preview: '' }, this.t) } : delta);
        if (method === 'thread/status/changed') this.#statusChanged(params);
      }),
      this.client.on('approval/requested', ({ approval }) => {
        if (approval.threadId === this.threadId) this.#apply({ type: 'approvalRequested', approval });
      }),
      this.client.on('approval/resolved', ({ id, threadId }) => {
        if (threadId === this.threadId) this.#apply({ type: 'approvalResolved', id });
      }),
      this.client.on('handoff/progress', ({ threadId }) => {
        if (threadId === this.threadId && this.#state?.activity !== 'moving') this.#apply({ type: 'activityChanged', activity: 'moving', movedTo: null });
      }),
      this.client.on('handoff/ended', ({ threadId }) => {
        if (threadId === this.threadId) void this.#readAgain();
      }),
    );
  }

  #statusChanged(params: unknown): void {
    const event = statusEvent.safeParse(params).data;
    if (event?.threadId !== this.threadId || this.#state === undefined) return;
    if (this.#state.activity === 'moved' || this.#state.activity === 'moving') return;
    const { activity } = situation({ status: event.status }, this.#state.approvals.length);
    if (activity !== this.#state.activity) this.#apply({ type: 'activityChanged', activity, movedTo: null });
  }

  /**
   * Reads the thread again after a handoff ended one way or the other: it may have left, or come back with other turns, in
   * another directory, and not subscribed to any more.
   */
  async #readAgain(): Promise<void> {
    // Where it fails, the connection went or the thread did: the panel says the former, and what it shows may still be read.
    await this.#read().catch(() => undefined);
    if (!this.#disposed) this.events.onReplaced();
  }

  /** One page of turns in the order in which they ran, ending at `cursor`, and the cursor of the page before it. */
  async #readTurns(cursor: string | null): Promise<{ turns: ViewTurn[]; earlier: string | null }> {
    const page = turnsPage.parse(
      await this.client.codex('thread/turns/list', { threadId: this.threadId, cursor, limit: TURNS_PER_PAGE, sortDirection: 'desc', itemsView: 'full' }),
    );
    return { turns: viewTurns(page.data.toReversed()), earlier: page.nextCursor ?? null };
  }

  #apply(delta: ThreadDelta): void {
    if (this.#disposed) return;
    if (this.#early !== undefined || this.#state === undefined) {
      this.#early?.push(delta);
      return;
    }
    this.#state = applyDelta(this.#state, delta);
    this.#sequence += 1;
    this.events.onDelta(this.#sequence, delta);
  }
}

function situation(thread: Pick<Thread, 'status' | 'baton'>, approvals: number): { activity: Activity; movedTo: string | null } {
  return { activity: threadCondition(thread, approvals), movedTo: thread.baton?.movedTo?.name ?? null };
}

function viewTurns(turns: readonly unknown[]): ViewTurn[] {
  return turns.map(toViewTurn).filter((turn) => turn !== undefined);
}
