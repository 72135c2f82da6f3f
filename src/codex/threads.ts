/** What a handoff does with a thread, as steps over the app-server. Which of them add lines to the rollout is in README.md. */
import type { AppServer } from './appServer';
import { CodexError } from './codexError';
import type { ApprovalsReviewer, AskForApproval, SandboxMode, SandboxPolicy, Thread } from './protocol.generated';
import { gone } from './serverProcess';

/**
 * Start the server with this: an idle thread that nobody follows is then released at once (about 10 ms) instead of after
 * 30 minutes. A thread that runs or waits on an approval stays loaded all the same.
 */
export const releaseIdleThreads = 'thread_unload_delay_secs=0';

export type Quiesced = {
  /** The turn that was running and is now interrupted. */
  interruptedTurnId: string | null;
  /** Its goal was active and is now paused; set it active at the destination. */
  goalPaused: boolean;
  /** Codex dropped the thread from memory and released its writer lock, so the rollout on disk is final. */
  released: boolean;
};

const turnEndMs = 30_000;
const releaseMs = 3_000;
const commandEndMs = 10_000;

/**
 * Brings a thread to rest: pauses its goal, interrupts the running turn and sees it end, ends the commands that outlive
 * their turn, and has Codex let go of the thread. Call {@link joinThread} to make it usable again.
 * @throws CodexError `timed-out` when the turn does not end; `thread-in-use` when Codex does not let go
 */
export async function quiesceThread(server: AppServer, threadId: string): Promise<Quiesced> {
  const isLoaded = await loaded(server, threadId);
  const { goal } = await server.request('thread/goal/get', { threadId });
  const goalPaused = goal?.status === 'active';
  // First, or the goal starts the next turn as soon as this one has been interrupted.
  if (goalPaused) await server.request('thread/goal/set', { threadId, status: 'paused' });
  if (!isLoaded) return { interruptedTurnId: null, goalPaused, released: true };

  // Only followers hear that a turn has ended.
  await joinThread(server, threadId);
  const interruptedTurnId = await interruptTurn(server, threadId);
  await endCommands(server, threadId);
  await releaseThread(server, threadId);
  return { interruptedTurnId, goalPaused, released: true };
}

/**
 * Ends the commands of a thread. An interrupted turn leaves them running, and they would go on writing to the working tree;
 * Codex answers before they have died, so this waits until they have.
 * @throws CodexError `timed-out`
 */
async function endCommands(server: AppServer, threadId: string): Promise<void> {
  const { data } = await server.request('thread/backgroundTerminals/list', { threadId });
  await server.request('thread/backgroundTerminals/clean', { threadId });
  for (const { command, osPid } of data) {
    if (osPid !== null && !(await gone(osPid, commandEndMs))) throw new CodexError('timed-out', `The command "${command}" of thread ${threadId} (process ${osPid}) does not end. End it, then try again.`);
  }
}

/** Interrupts the turn that runs, and waits until it has ended. @returns its id, or null if none ran. @throws CodexError `timed-out` */
export async function interruptTurn(server: AppServer, threadId: string): Promise<string | null> {
  const { data } = await server.request('thread/turns/list', { threadId, limit: 1 });
  const running = data.find((turn) => turn.status === 'inProgress');
  if (running === undefined) return null;
  const ended = heard(server, turnEndMs, `Turn ${running.id} of thread ${threadId} did not end when it was interrupted.`, (done) =>
    server.onNotification('turn/completed', (params) => {
      if (params.threadId === threadId && params.turn.id === running.id) done();
    }),
  );
  try {
    await server.request('turn/interrupt', { threadId, turnId: running.id });
  } catch (error) {
    // It may have ended by itself meanwhile; then its end has been or will be heard.
    if (!CodexError.is(error, 'refused')) {
      ended.cancel();
      throw error;
    }
  }
  await ended.promise;
  return running.id;
}

/**
 * Has Codex drop an idle thread from memory and release its writer lock. Where another client still follows the thread,
 * it is archived and unarchived, which does the same.
 * @throws CodexError `thread-in-use`
 */
export async function releaseThread(server: AppServer, threadId: string): Promise<void> {
  const closed = heard(server, releaseMs, `Codex did not let go of thread ${threadId}.`, (done) => server.onNotification('thread/closed', (params) => params.threadId === threadId && done()));
  const { status } = await server.request('thread/unsubscribe', { threadId });
  if (status === 'notLoaded') {
    closed.cancel();
    return;
  }
  try {
    await closed.promise;
    return;
  } catch (error) {
    if (!CodexError.is(error, 'timed-out')) throw error;
  }
  await server.request('thread/archive', { threadId });
  await server.request('thread/unarchive', { threadId });
  if (await loaded(server, threadId)) throw new CodexError('thread-in-use', `Codex still has thread ${threadId} loaded after it was archived and unarchived. Close it in other Codex windows, then try again.`);
}

/** Loads a thread, if need be, and follows it: its notifications and open approval requests reach this client. Adds no line to the rollout. */
export async function joinThread(server: AppServer, threadId: string): Promise<Thread> {
  const { thread } = await server.request('thread/resume', { threadId, excludeTurns: true });
  return thread;
}

/**
 * Leaves a thread at its source as moved: a machine-readable note, a name that says so, and the archive. The order matters:
 * an archived thread cannot be named. None of the three adds a line to the rollout.
 */
export async function markMoved(server: AppServer, options: { threadId: string; destinationHostId: string; destinationName: string; epoch: number; name: string | null }): Promise<void> {
  const { threadId } = options;
  await addMovedNote(server, options);
  const base = options.name ?? (await readThread(server, threadId)).preview.slice(0, 60);
  try {
    await server.request('thread/name/set', { threadId, name: `↪ moved to ${options.destinationName}${base === '' ? '' : `: ${base}`}` });
    await server.request('thread/archive', { threadId });
  } catch (error) {
    // Repeated after a crash, the thread is archived already, and naming it says that there is none.
    if (!(await isArchived(server, threadId))) throw error;
  }
}

/** The kind of attachment that a handoff leaves at a thread's source. */
export const handoffAttachment = 'baton.handoff';

async function addMovedNote(server: AppServer, options: { threadId: string; destinationHostId: string; destinationName: string; epoch: number }): Promise<void> {
  const { threadId, destinationHostId, destinationName, epoch } = options;
  await server.request('thread/attachment/add', { threadId, attachmentType: handoffAttachment, identityKey: `${destinationHostId}/${epoch}`, payload: { hostId: destinationHostId, name: destinationName, epoch } });
}

/** Takes a moved thread out of the archive and gives it back its name; needed before its rollout is replaced by the longer one that comes back. Harmless if it is not archived. */
export async function unmarkMoved(server: AppServer, options: { threadId: string; name: string | null }): Promise<void> {
  const { threadId, name } = options;
  if (await isArchived(server, threadId)) await server.request('thread/unarchive', { threadId });
  // A name cannot be taken away again, so a thread that had none gets what lists show in its place.
  const restored = name ?? (await readThread(server, threadId)).preview.slice(0, 60);
  if (restored !== '') await server.request('thread/name/set', { threadId, name: restored });
}

/** Whether this home has the thread in its archive. */
export async function isArchived(server: AppServer, threadId: string): Promise<boolean> {
  for await (const thread of allThreads(server, { archived: true })) if (thread.id === threadId) return true;
  return false;
}

export type AppliedPolicy = {
  thread: Thread;
  cwd: string;
  model: string;
  modelProvider: string;
  approvalPolicy: AskForApproval;
  approvalsReviewer: ApprovalsReviewer;
  sandbox: SandboxPolicy;
  /** In the words of `thread/resume`'s `sandbox`; null for a sandbox that these words cannot name. */
  sandboxMode: SandboxMode | null;
};

/**
 * Resumes a thread whose rollout has been installed, with folder and policy set explicitly: the rollout carries those of
 * the source, and Codex would apply them unasked. What the server answers is what holds; it replaces silently what this
 * machine's requirements forbid, so compare before the first turn.
 * @throws CodexError `provider-missing`, `thread-archived`, `thread-in-use`, `thread-not-found`
 */
export async function resumeMoved(server: AppServer, options: ExplicitPolicy & { threadId: string; cwd: string; model?: string }): Promise<AppliedPolicy> {
  const { threadId, cwd, model } = options;
  return appliedPolicy(await server.request('thread/resume', { threadId, cwd, runtimeWorkspaceRoots: [cwd], ...explicitPolicy(options), excludeTurns: true, ...(model === undefined ? {} : { model }) }));
}

/**
 * Begins a thread under a policy that another host decided on: nothing of it is left to this machine's config.toml. As after
 * `resumeMoved`, compare what is applied before the first turn.
 * @throws CodexError `provider-missing`
 */
export async function beginMoved(server: AppServer, options: ExplicitPolicy & { cwd: string; model?: string }): Promise<AppliedPolicy> {
  const { cwd, model } = options;
  return appliedPolicy(await server.request('thread/start', { cwd, runtimeWorkspaceRoots: [cwd], ...explicitPolicy(options), ...(model === undefined ? {} : { model }) }));
}

/** What a thread may do, in the words of `thread/resume` and `thread/start`. What is left out is the strict choice. */
export type ExplicitPolicy = { approvalPolicy: AskForApproval; sandbox: SandboxMode; networkAccess?: boolean; excludeTmpdirEnvVar?: boolean; excludeSlashTmp?: boolean; approvalsReviewer?: ApprovalsReviewer };

/** Params that leave nothing to this machine's config.toml: the mode alone would take network and further writable folders from there. */
export function explicitPolicy(options: ExplicitPolicy): { approvalPolicy: AskForApproval; approvalsReviewer: ApprovalsReviewer; sandbox: SandboxMode; config: Record<string, boolean | string[]> | null } {
  const { approvalPolicy, sandbox, networkAccess = false, excludeTmpdirEnvVar = false, excludeSlashTmp = false, approvalsReviewer = 'user' } = options;
  const workspace = { network_access: networkAccess, exclude_tmpdir_env_var: excludeTmpdirEnvVar, exclude_slash_tmp: excludeSlashTmp, writable_roots: [] };
  const config = sandbox === 'workspace-write' ? Object.fromEntries(Object.entries(workspace).map(([key, value]) => [`sandbox_workspace_write.${key}`, value])) : null;
  return { approvalPolicy, approvalsReviewer, sandbox, config };
}

function appliedPolicy({ thread, cwd, model, modelProvider, approvalPolicy, approvalsReviewer, sandbox }: Omit<AppliedPolicy, 'sandboxMode'>): AppliedPolicy {
  return { thread, cwd, model, modelProvider, approvalPolicy, approvalsReviewer, sandbox, sandboxMode: sandboxModeOf(sandbox) };
}

/** The mode that a sandbox policy came from, or null for one from outside Codex. */
export function sandboxModeOf(policy: SandboxPolicy): SandboxMode | null {
  switch (policy.type) {
    case 'readOnly':
      return 'read-only';
    case 'workspaceWrite':
      return 'workspace-write';
    case 'dangerFullAccess':
      return 'danger-full-access';
    case 'externalSandbox':
      return null;
  }
}

/** Tells the agent something without a turn: a developer message that the model sees with the next one. The thread must be loaded. Adds one line to the rollout. */
export async function injectNote(server: AppServer, threadId: string, text: string): Promise<void> {
  await server.request('thread/inject_items', { threadId, items: [{ type: 'message', role: 'developer', content: [{ type: 'input_text', text }] }] });
}

/** A thread without its turns; works for archived and unloaded ones, and loads nothing. @throws CodexError `thread-not-found` */
export async function readThread(server: AppServer, threadId: string): Promise<Thread> {
  return (await server.request('thread/read', { threadId })).thread;
}

/** Threads of this home, most recent first, of all model providers, each once (Codex may list a thread of two segments twice). */
export async function* allThreads(server: AppServer, filter: { archived?: boolean; cwd?: string } = {}): AsyncGenerator<Thread> {
  const seen = new Set<string>();
  let cursor: string | null = null;
  do {
    const page: { data: Thread[]; nextCursor: string | null } = await server.request('thread/list', { ...filter, cursor, limit: 100, modelProviders: [] });
    for (const thread of page.data) {
      if (seen.has(thread.id)) continue;
      seen.add(thread.id);
      yield thread;
    }
    cursor = page.nextCursor;
  } while (cursor !== null);
}

async function loaded(server: AppServer, threadId: string): Promise<boolean> {
  let cursor: string | null = null;
  do {
    const page: { data: string[]; nextCursor: string | null } = await server.request('thread/loaded/list', { cursor });
    if (page.data.includes(threadId)) return true;
    cursor = page.nextCursor;
  } while (cursor !== null);
  return false;
}

/** Waits for something that is heard as a notification; listening begins at once. The server's end fails it too. */
function heard(server: AppServer, withinMs: number, otherwise: string, listen: (done: () => void) => { dispose: () => void }): { promise: Promise<void>; cancel: () => void } {
  let cancel: () => void = () => undefined;
  const promise = new Promise<void>((resolve, reject) => {
    const stop = (settle: () => void) => {
      clearTimeout(timer);
      subscription.dispose();
      state.dispose();
      settle();
    };
    const timer = setTimeout(() => stop(() => reject(new CodexError('timed-out', `${otherwise} Waited ${withinMs / 1000} s.`))), withinMs);
    const subscription = listen(() => stop(resolve));
    const state = server.onState((now, why) => {
      if (now !== 'connected') stop(() => reject(new CodexError('connection-lost', `${otherwise} The app-server went away (${why}).`)));
    });
    cancel = () => stop(resolve);
  });
  // Nobody may be waiting yet when it fails; the one who asked for it still gets the failure.
  promise.catch(() => undefined);
  return { promise, cancel };
}
