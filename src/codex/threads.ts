/** What a handoff does with a thread that is at rest, as steps over the app-server. Which of them add lines to the rollout is in README.md. */
import { createInterface } from 'node:readline';
import type { AppServer } from './appServer';
import type { ApprovalsReviewer, AskForApproval, SandboxMode, SandboxPolicy, Thread } from './protocol.generated';
import { describeRollout, readBody } from './rollout';

/**
 * Start the server with this: an idle thread that nobody follows is then released at once (about 10 ms) instead of after
 * 30 minutes. A thread that runs or waits on an approval stays loaded all the same.
 */
export const releaseIdleThreads = 'thread_unload_delay_secs=0';

/** Loads a thread, if need be, and follows it: its notifications and open approval requests reach this client. Adds no line to the rollout. */
export async function joinThread(server: AppServer, threadId: string): Promise<Thread> {
  const { thread } = await server.request('thread/resume', { threadId, excludeTurns: true });
  return thread;
}

/**
 * Leaves a thread at its source as moved: a machine-readable note, a name that says so, and the archive. The order matters:
 * an archived thread cannot be named. None of the three adds a line to the rollout. Sub-agents go into the archive with it. A
 * thread without a name gets none: a name cannot be taken away again.
 */
export async function markMoved(server: AppServer, options: { threadId: string; destinationHostId: string; destinationName: string; epoch: number; name: string | null }): Promise<void> {
  const { threadId } = options;
  await addMovedNote(server, options);
  try {
    if (options.name !== null) await server.request('thread/name/set', { threadId, name: `${movedMark}moved to ${options.destinationName}: ${options.name}` });
    await server.request('thread/archive', { threadId });
  } catch (error) {
    // Repeated after a crash, the thread is archived already, and naming it says that there is none.
    if (!(await isArchived(server, threadId))) throw error;
  }
}

/** How the name of a thread begins that has moved. */
export const movedMark = '↪ ';

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
  if (name !== null) await server.request('thread/name/set', { threadId, name });
}

/** The kind of attachment by which a copy is known that is here only because the history of another thread builds on it. */
export const baseAttachment = `${handoffAttachment}.base`;

/**
 * Makes a thread that was put into the archive as the base of another one known: as a base, and with its turns, which Codex shows in
 * the other thread only once it has loaded the base. Ends with the base in the archive; harmless when repeated.
 */
export async function settleBase(server: AppServer, threadId: string, of: { threadId: string; hostId: string }): Promise<void> {
  if (await isArchived(server, threadId)) await server.request('thread/unarchive', { threadId });
  try {
    await server.request('thread/resume', { threadId, excludeTurns: true });
    await server.request('thread/attachment/add', { threadId, attachmentType: baseAttachment, identityKey: of.hostId, payload: of });
  } finally {
    // Unloads it as well.
    await server.request('thread/archive', { threadId });
  }
}

/** Whether a thread of this home is only a copy that another one builds on. */
export async function isBase(server: AppServer, threadId: string): Promise<boolean> {
  const { data } = await server.request('thread/attachment/list', { threadId });
  return data.some(({ attachmentType }) => attachmentType === baseAttachment);
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
 * Begins a thread for another host, read-only: a start that may write makes Codex trust the whole repository for good, and what came
 * with it (`.codex/config.toml`, hooks, rules) would hold. Its policy comes with `resumeMoved`, once something is in its rollout.
 * @returns its id
 * @throws CodexError `provider-missing`
 */
export async function beginMoved(server: AppServer, options: Omit<ExplicitPolicy, 'sandbox'> & { cwd: string; model?: string }): Promise<string> {
  const { cwd, model } = options;
  const { thread } = await server.request('thread/start', { cwd, runtimeWorkspaceRoots: [cwd], ...explicitPolicy({ ...options, sandbox: 'read-only' }), ...(model === undefined ? {} : { model }) });
  return thread.id;
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

/**
 * Tells the agent something without a turn: a developer message that the model sees with the next one. The thread must be loaded. Adds one line to the rollout.
 * @param since the thread's rollout and a length of its body: what is there already beyond it is not said again
 */
export async function injectNote(server: AppServer, threadId: string, text: string, since?: { path: string; bodyBytes: number }): Promise<void> {
  if (since !== undefined && (await isSaid(text, since))) return;
  await server.request('thread/inject_items', { threadId, items: [{ type: 'message', role: 'developer', content: [{ type: 'input_text', text }] }] });
}

async function isSaid(text: string, since: { path: string; bodyBytes: number }): Promise<boolean> {
  const { bodyBytes } = await describeRollout(since.path);
  const quoted = JSON.stringify(text);
  for await (const line of createInterface({ input: readBody(since.path, since.bodyBytes, bodyBytes), crlfDelay: Infinity })) if (line.includes(quoted)) return true;
  return false;
}

/** A thread without its turns; works for archived and unloaded ones, and loads nothing. @throws CodexError `thread-not-found` */
export async function readThread(server: AppServer, threadId: string): Promise<Thread> {
  return (await server.request('thread/read', { threadId })).thread;
}

/** Threads of this home, most recent first, of all model providers, each once (Codex may list a thread of two segments twice). */
export async function* allThreads(server: AppServer, filter: { archived?: boolean; cwd?: string; ancestorThreadId?: string } = {}): AsyncGenerator<Thread> {
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
