import { existsSync } from 'node:fs';
import { z } from 'zod';
import type { AppServer } from '../codex/appServer';
import { CodexError } from '../codex/codexError';
import { onceWritten } from '../codex/onceWritten';
import { isRunning, loadedThreads } from '../codex/quiesce';
import { readThread } from '../codex/threads';
import { describeLedger, mayRun } from '../handoff/ownership';
import type { CodexHost, ThreadSettings } from './codexHost';
import { asksForPolicy, type HeldPolicies } from './heldPolicies';
import { HostError } from './hostError';
import type { LedgerStore } from './ledgerStore';
import { isWithin, type ManagedWorktrees, type WorktreeRecord } from './managedWorktrees';
import type { ThreadOwnership } from './protocol';

/** Methods that only a thread's owner may carry out. Reading, also of a thread that moved on, is always possible. */
const ownersOnly = new Set(['thread/resume', 'thread/fork', 'thread/unarchive', 'thread/archive', 'thread/name/set', 'thread/compact/start', 'turn/start', 'turn/steer', 'turn/interrupt']);
/** Of those, the ones that Codex refuses for a thread that is not loaded. */
const loadedOnly = new Set(['turn/start', 'turn/steer', 'turn/interrupt', 'thread/compact/start']);

/** Of those, the ones that may work in the thread's directory. */
const needsWorktree = new Set(['thread/resume', 'thread/fork', 'turn/start', 'turn/steer']);

/** Methods whose params may say what a thread may do. */
const policyMethods = new Set(['thread/resume', 'thread/fork', 'turn/start', 'turn/steer']);

const withThreadId = z.looseObject({ threadId: z.string() });
const startedThread = z.looseObject({ thread: z.looseObject({ id: z.string() }), cwd: z.string() });

const listed = z.looseObject({ data: z.array(z.looseObject({ id: z.string() })) });
/** Methods with which Codex begins to work. */
const beginsWork = new Set(['thread/start', 'thread/resume', 'thread/fork', 'thread/compact/start', 'turn/start', 'turn/steer']);

/** The first page of the threads that are not archived, whatever they are about. */
const wholeList = z.strictObject({ archived: z.literal(false).nullish(), modelProviders: z.unknown(), sortKey: z.unknown(), sortDirection: z.literal('desc').nullish(), limit: z.unknown(), cursor: z.null().optional() });
/** Longest time from the start of a first turn until Codex lists its thread. */
const LISTED_WITHIN_MS = 30_000;
const MOST_BEGUN = 100;

export interface ThreadsPorts {
  readonly hostId: string;
  readonly codex: CodexHost;
  readonly ledger: LedgerStore;
  readonly worktrees: ManagedWorktrees;
  readonly held: HeldPolicies;
  pendingApprovals(threadId: string): number;
  /** Brings a worktree back where it was removed, and keeps it there until `act` ends. */
  atWork<T>(worktreeId: string, act: () => Promise<T>): Promise<T>;
  /** Waits until it is known whether another host has reclaimed the thread. */
  settled(threadId: string): Promise<void>;
}

/** Codex's own thread and turn methods: passed on to the app-server, with ownership enforced before and shown after. */
export class Threads {
  private readonly hostId: string;
  private readonly codex: CodexHost;
  private readonly ledger: LedgerStore;
  private readonly worktrees: ManagedWorktrees;

  constructor(private readonly ports: ThreadsPorts) {
    ({ hostId: this.hostId, codex: this.codex, ledger: this.ledger, worktrees: this.worktrees } = ports);
  }

  /** Threads that were started here and have not been seen in a list yet: as Codex answered, and since when they have a turn, on the monotonic clock. */
  private readonly begun = new Map<string, { readonly thread: unknown; since: number | null }>();

  /** Threads whose worktree is being changed by an apply. */
  readonly held = new Set<string>();

  /** Another Baton is about to take this host's place: no work is begun any more. */
  retiring = false;
  /** Requests that begin work and that Codex has not answered yet. */
  private beginning = 0;

  ownership(threadId: string): ThreadOwnership {
    const ledger = this.ledger.get(threadId);
    return {
      owner: ledger.movedTo?.hostId ?? this.hostId,
      epoch: ledger.epoch,
      movedTo: ledger.movedTo,
      moving: !mayRun(ledger) && ledger.movedTo === null,
      worktreeId: this.worktrees.ofThread(threadId)?.id ?? null,
      pendingApprovals: this.ports.pendingApprovals(threadId),
    };
  }

  /** Throws HostError `thread-moved` or `thread-moving` where this host may not run turns on the thread. */
  requireOwner(threadId: string): void {
    const { movedTo, moving } = this.ownership(threadId);
    if (movedTo !== null) throw new HostError('thread-moved', `The thread moved to ${movedTo.name}. Go on there, or bring it back with "baton handoff ${threadId} --to here --from ${movedTo.name}".`);
    if (this.held.has(threadId)) throw new HostError('thread-moving', 'The working state of the thread is being applied. Try again in a moment.');
    if (moving) throw new HostError('thread-moving', `The thread cannot be used now. ${describeLedger(this.ledger.get(threadId))}`);
  }

  /** Passes a request on. The answer is Codex's, with `baton` added to each thread in it. */
  async forward(method: string, params: unknown): Promise<unknown> {
    const server = await this.codex.ready();
    const named = withThreadId.safeParse(params);
    if (named.success && ownersOnly.has(method)) {
      await this.ports.settled(named.data.threadId);
      this.requireOwner(named.data.threadId);
      if (policyMethods.has(method)) this.ports.held.requirePermitted(named.data.threadId, params);
    }
    const worktree = named.success && needsWorktree.has(method) ? this.worktrees.ofThread(named.data.threadId) : method === 'thread/start' ? this.aroundStart(params) : undefined;
    const pass = () => this.passOn(server, method, params, named.data?.threadId);
    const used = () => (named.success ? this.codex.use.during(named.data.threadId, pass) : pass());
    const go = () => (worktree === undefined ? used() : this.ports.atWork(worktree.id, used));
    if (!beginsWork.has(method)) return go();
    if (this.retiring) throw new HostError('host-busy', 'The host is about to be replaced by a newer Baton. Try again in a moment.');
    this.beginning += 1;
    try {
      return await go();
    } finally {
      this.beginning -= 1;
    }
  }

  /** What Codex does now, of any thread, in a sentence; null where it does nothing. */
  async busy(): Promise<string | null> {
    if (this.beginning > 0) return 'A turn begins.';
    if (this.codex.version === null) return null;
    const server = await this.codex.ready();
    for (const threadId of await loadedThreads(server)) {
      if (await isRunning(server, threadId)) return `A turn of the thread ${threadId} runs.`;
      const { data } = await server.request('thread/backgroundTerminals/list', { threadId });
      if (data.length > 0) return `A command of the thread ${threadId} runs.`;
    }
    return null;
  }

  /** The worktree in which a thread is to begin. */
  private aroundStart(params: unknown): WorktreeRecord | undefined {
    const cwd = z.looseObject({ cwd: z.string() }).safeParse(params).data?.cwd;
    return cwd === undefined ? undefined : this.worktrees.around(cwd);
  }

  private async passOn(server: AppServer, method: string, params: unknown, threadId: string | undefined): Promise<unknown> {
    if (threadId !== undefined && loadedOnly.has(method) && !this.codex.isLoaded(threadId)) await this.codex.settingsOf(threadId);
    const given = method === 'thread/list' ? { modelProviders: [], ...(params as object) } : method === 'turn/start' ? this.inItsWorktree(params) : params;
    const answer = await onceWritten(() => server.forward(method, given));
    if (method === 'thread/start' || method === 'thread/resume' || method === 'thread/fork') {
      const settings = this.codex.remember(answer);
      if (threadId !== undefined && settings !== null) await this.holdTo(method, threadId, params, answer, settings);
    }
    if (method === 'thread/start' || method === 'thread/fork') await this.settle(answer);
    if (method === 'thread/start') this.noteStarted(answer);
    const begun = method === 'turn/start' && threadId !== undefined ? this.begun.get(threadId) : undefined;
    if (begun !== undefined) begun.since ??= performance.now();
    if (method === 'thread/list') return this.withOwnership(await this.withBegun(given, answer));
    return this.withOwnership(answer);
  }

  /** Codex lists a thread once its first turn is on disk; until then the first page of a list of all threads gets it from here. */
  private async withBegun(given: unknown, answer: unknown): Promise<unknown> {
    const list = listed.safeParse(answer);
    if (!list.success || this.begun.size === 0 || !wholeList.safeParse(given).success) return answer;
    const { data } = list.data;
    const early = [];
    for (const [threadId, { thread, since }] of this.begun) {
      if (since === null) continue;
      if (data.some(({ id }) => id === threadId) || performance.now() - since > LISTED_WITHIN_MS) this.begun.delete(threadId);
      // In its first moments it cannot even be read.
      else early.unshift(await readThread(await this.codex.ready(), threadId).catch(() => thread));
    }
    return { ...list.data, data: [...early, ...data] };
  }

  private noteStarted(answer: unknown): void {
    const started = startedThread.safeParse(answer);
    if (started.success) this.begun.set(started.data.thread.id, { thread: started.data.thread, since: null });
    // One that never gets a turn is nobody's any more when as many others have come.
    const [oldest] = this.begun.keys();
    if (this.begun.size > MOST_BEGUN && oldest !== undefined) this.begun.delete(oldest);
  }

  /** After a thread was loaded: it runs under what it is held to, or under what the caller, who may, asked for instead. A fork inherits that. */
  private async holdTo(method: string, threadId: string, params: unknown, answer: unknown, settings: ThreadSettings): Promise<void> {
    const { held } = this.ports;
    const before = held.of(threadId);
    if (before === undefined) return;
    const fork = method === 'thread/fork' ? startedThread.safeParse(answer).data?.thread.id : undefined;
    if (fork !== undefined) await held.hold(fork, before);
    if (asksForPolicy(params)) await held.follow(fork ?? threadId, settings);
    else held.requireHeld(fork ?? threadId, settings.policy);
  }

  /** A thread that begins in a managed worktree belongs to it from then on. */
  private async settle(answer: unknown): Promise<void> {
    const started = startedThread.safeParse(answer);
    if (!started.success) return;
    const { thread: { id }, cwd } = started.data;
    const worktree = this.worktrees.around(cwd);
    if (worktree === undefined || worktree.threadIds.includes(id)) return;
    await this.worktrees.save({ id: worktree.id, threadIds: [...worktree.threadIds, id], lastUsedAt: new Date().toISOString() });
  }

  /** The worktree of a thread, else the directory in which Codex has it; null where it has none. */
  async directoryOf(threadId: string): Promise<string | null> {
    const worktree = this.worktrees.ofThread(threadId);
    if (worktree !== undefined) return worktree.life.is === 'here' ? worktree.path : null;
    const server = await this.codex.ready();
    try {
      return (await server.request('thread/read', { threadId })).thread.cwd;
    } catch (error) {
      if (CodexError.is(error, 'thread-not-found')) return null;
      throw error;
    }
  }

  /** Why a thread keeps its worktree from being removed; null where it is at rest. */
  async inUse(threadId: string): Promise<string | null> {
    if (this.ownership(threadId).owner !== this.hostId) return null;
    if (this.ports.pendingApprovals(threadId) > 0) return 'an approval of it waits';
    try {
      const server = await this.codex.ready();
      const { thread } = await server.request('thread/read', { threadId, includeTurns: false });
      return thread.status.type === 'active' ? 'its turn runs' : null;
    } catch (error) {
      // Codex has forgotten it, as it does a thread that never had a turn.
      return CodexError.is(error, 'thread-not-found') ? null : 'Codex cannot say whether it runs';
    }
  }

  /** What is under way with a thread that must find its worktree as it is; null where nothing is. */
  underWay(threadId: string): string | null {
    if (this.held.has(threadId)) return 'Its working state is being applied.';
    const { moving } = this.ownership(threadId);
    const { is } = this.ledger.get(threadId).destination;
    return moving || is === 'receiving' || is === 'prepared' || is === 'committed' || is === 'withdrawing' ? 'A handoff of its thread is under way.' : null;
  }

  /** Every turn of a thread in a managed worktree is told its directory, so that no turn runs where the thread used to be. */
  private inItsWorktree(params: unknown): unknown {
    const { threadId } = withThreadId.parse(params);
    const worktree = this.worktrees.ofThread(threadId);
    if (worktree?.leftWith !== null) return params;
    const cwd = this.codex.knownCwd(threadId);
    if (cwd === null) return params;
    // A worktree that was moved by hand is where its record says.
    return { cwd: isWithin(cwd, worktree.path) || existsSync(cwd) ? cwd : worktree.path, ...(params as object) };
  }

  private withOwnership(answer: unknown): unknown {
    const one = (thread: unknown): unknown => {
      const parsed = z.looseObject({ id: z.string() }).safeParse(thread);
      return parsed.success ? { ...parsed.data, baton: this.ownership(parsed.data.id) } : thread;
    };
    const parsed = z.looseObject({ thread: z.unknown().optional(), data: z.unknown().optional() }).safeParse(answer);
    if (!parsed.success) return answer;
    const { thread, data, ...rest } = parsed.data;
    return {
      ...rest,
      ...(thread === undefined ? {} : { thread: one(thread) }),
      ...(data === undefined ? {} : { data: Array.isArray(data) ? data.map((entry) => (looksLikeThread(entry) ? one(entry) : (entry as unknown))) : data }),
    };
  }

  /** A thread with its turns. Throws HostError `no-such-thread`. */
  async read(threadId: string): Promise<unknown> {
    try {
      return z.looseObject({ thread: z.unknown() }).parse(await this.forward('thread/read', { threadId, includeTurns: true })).thread;
    } catch (error) {
      if (CodexError.is(error, 'thread-not-found')) throw new HostError('no-such-thread', `There is no thread ${threadId} on this host. "baton threads" lists those that are.`, { cause: error });
      throw error;
    }
  }
}

function looksLikeThread(entry: unknown): boolean {
  return z.looseObject({ id: z.string(), cwd: z.string(), preview: z.string() }).safeParse(entry).success;
}
