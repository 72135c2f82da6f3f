import { EventEmitter } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { AppServer, sharedSocket, type ServerRequest } from '../codex/appServer';
import { CodexError } from '../codex/codexError';
import { resolveCodex } from '../codex/executable';
import type { ModelListResponse } from '../codex/protocol.generated';
import { loadedThreads } from '../codex/quiesce';
import { explicitPolicy, releaseIdleThreads } from '../codex/threads';
import { approvalsReviewer, policyOf, writableRootsOf, type ApprovalsReviewer, type Policy, type Requirements } from '../handoff/policy';
import { constraintSettings, webSearchMode, type WebSearchMode } from '../handoff/constraints';
import type { DestinationFacts } from '../handoff/preflight';
import { requirementsOf } from './codexRequirements';
import type { FileChange } from './approvalRequest';
import type { Environment } from './home';
import { asksForPolicy, type HeldPolicies } from './heldPolicies';
import { HostError } from './hostError';
import type { Log } from './log';
import type { Plan } from './protocol';
import { ThreadUse } from './threadUse';
import { describeError } from './wireError';

/** The settings with which the app-server runs a thread, as it said itself. */
export interface ThreadSettings {
  readonly cwd: string;
  readonly model: string;
  readonly modelProvider: string;
  readonly policy: Policy | null;
  /** Folders outside the workspace that its sandbox lets commands write to. */
  readonly writableRoots: readonly string[];
  readonly approvalsReviewer: ApprovalsReviewer;
}

/** The app-server that has a thread. */
export interface Having {
  readonly server: AppServer;
  readonly settings: ThreadSettings;
  /** It is another program's. */
  readonly foreign: boolean;
  /** Follows another thread that it has loaded. */
  join(threadId: string): Promise<unknown>;
  close(): void;
}

interface CodexHostEvents {
  notification: [method: string, params: unknown];
  /** `reply` answers the app-server that asked; one that is gone takes its requests with it. */
  request: [request: ServerRequest, reply: (result: unknown) => void, refuse: (why: string) => void];
  /** The app-server came up, or is gone. */
  changed: [];
}

const config = z.looseObject({
  approval_policy: z.unknown().optional(),
  // One that this Baton does not know is no reason to have approvals decided by another that the thread brings.
  approvals_reviewer: approvalsReviewer.nullish().catch('user'),
  web_search: webSearchMode.nullish().catch(null),
  sandbox_mode: z.enum(['read-only', 'workspace-write', 'danger-full-access']).nullish(),
  sandbox_workspace_write: z.looseObject({ network_access: z.boolean().nullish(), exclude_tmpdir_env_var: z.boolean().nullish(), exclude_slash_tmp: z.boolean().nullish() }).nullish(),
  model_provider: z.string().nullish(),
});

const threadAnswer = z.looseObject({
  thread: z.looseObject({ id: z.string() }),
  cwd: z.string(),
  model: z.string(),
  modelProvider: z.string(),
  approvalPolicy: z.unknown(),
  sandbox: z.unknown(),
  approvalsReviewer,
});

/** `thread/settings/updated`: also a turn may change, for all that follow, what its thread may do. */
const settingsUpdate = z.looseObject({
  threadId: z.string(),
  threadSettings: z.looseObject({ cwd: z.string(), model: z.string(), modelProvider: z.string(), approvalPolicy: z.unknown(), sandboxPolicy: z.unknown(), approvalsReviewer }),
});

const remoteControlRequirement = z.looseObject({ allowRemoteControl: z.boolean().nullish() }).nullish();

const namesThread = z.looseObject({ threadId: z.string() });
/** Requests that load a thread. */
const loading: ReadonlySet<string> = new Set(['thread/resume', 'thread/fork']);

/** An item that changes files, as `item/started` tells of it. */
const startedItem = z.looseObject({
  item: z.looseObject({ type: z.literal('fileChange'), id: z.string(), changes: z.array(z.looseObject({ path: z.string(), diff: z.string(), kind: z.looseObject({ type: z.enum(['add', 'delete', 'update']), move_path: z.string().nullish() }) })) }),
});
const changesIn = ({ changes }: z.output<typeof startedItem>['item']): FileChange[] => changes.map(({ path, diff, kind }) => ({ path, diff, kind: kind.type, movePath: kind.move_path ?? null }));
const planUpdate = z.looseObject({
  threadId: z.string(),
  turnId: z.string(),
  explanation: z.string().nullish(),
  plan: z.array(z.looseObject({ step: z.string(), status: z.enum(['pending', 'inProgress', 'completed']) })),
});

/** Keeps the newest entries only: an item of an interrupted turn never completes. */
function remember<V>(map: Map<string, V>, key: string, value: V): void {
  map.delete(key);
  map.set(key, value);
  const [oldest] = map.keys();
  if (map.size > 1000 && oldest !== undefined) map.delete(oldest);
}

/** Where Codex looks on Linux and macOS; on Windows it looks elsewhere, which has not been tried. */
const REQUIREMENTS_FILE = '/etc/codex/requirements.toml';
const fileContent = z.looseObject({ dataBase64: z.string() });

/** As Codex itself sees it; null where there is none, or it may not be read. */
async function readRequirementsFile(server: AppServer): Promise<string | null> {
  if (process.platform === 'win32') return null;
  try {
    const read = fileContent.safeParse(await server.forward('fs/readFile', { path: REQUIREMENTS_FILE }));
    return read.success ? Buffer.from(read.data.dataBase64, 'base64').toString('utf8') : null;
  } catch (error) {
    if (CodexError.is(error, 'refused')) return null;
    throw error;
  }
}

/** Model providers that Codex brings along and `modelProvider/list` leaves out (src/codex/README.md). */
const broughtAlong: ReadonlySet<string> = new Set(['ollama', 'lmstudio', 'amazon-bedrock']);

/** This host's Codex: one app-server that is started when it is needed and again when it is gone, and what is remembered of its threads. */
export class CodexHost extends EventEmitter<CodexHostEvents> {
  private server: AppServer | null = null;
  private starting: Promise<AppServer> | null = null;
  private failure: Error | null = null;
  private stopped = false;
  private readonly settings = new Map<string, ThreadSettings>();
  private readonly changes = new Map<string, readonly FileChange[]>();
  private readonly readingChanges = new Map<string, Promise<readonly FileChange[]>>();
  private readonly plans = new Map<string, Plan>();
  /** When its threads are used. */
  readonly use = new ThreadUse(() => performance.now());

  constructor(
    private readonly options: { readonly batonHome: string; readonly codexHome: string; readonly socketDirectory: string; readonly env: Environment; readonly version: string; readonly log: Log; readonly held: HeldPolicies },
  ) {
    super();
  }

  /** Version of the running app-server; null while there is none. */
  get version(): string | null {
    return this.server?.version ?? null;
  }

  /** Why there is no app-server, in words; null where there is one or none was asked for. */
  get problem(): string | null {
    return this.server === null ? (this.failure?.message ?? null) : null;
  }

  get codexHome(): string {
    return this.server?.codexHome ?? this.options.codexHome;
  }

  /** The app-server, started if need be. Throws CodexError `codex-not-found`, `codex-too-old`, `codex-unavailable`. */
  ready(): Promise<AppServer> {
    if (this.stopped) return Promise.reject(new HostError('codex-unavailable', 'The host is stopping.'));
    if (this.server !== null) return Promise.resolve(this.server);
    this.starting ??= this.start().finally(() => {
      this.starting = null;
    });
    return this.starting;
  }

  private async start(): Promise<AppServer> {
    try {
      const codex = await resolveCodex({ env: this.options.env });
      const server = await AppServer.start({
        codex,
        codexHome: this.options.codexHome,
        socketPath: join(this.options.socketDirectory, 'codex.sock'),
        stateFile: join(this.options.batonHome, 'app-server.json'),
        env: this.options.env,
        // An unloaded thread's rollout is complete and its writer lock free; a handoff waits for that.
        config: [releaseIdleThreads],
        complete: (method, params) => this.asHeld(method, params),
        clientInfo: this.clientInfo,
        log: (message) => this.options.log.info(message),
      });
      this.server = server;
      this.failure = null;
      server.onAnyNotification(({ method, params }) => this.hear(method, params));
      server.onServerRequest((request) => this.emit('request', request, (result) => server.reply(request, result as never), (why) => server.refuse(request, why)));
      server.onState((state) => {
        if (state !== 'ended' || this.server !== server) return;
        this.server = null;
        this.settings.clear();
        this.emit('changed');
      });
      this.emit('changed');
      return server;
    } catch (error) {
      this.failure = error instanceof Error ? error : new Error(String(error));
      this.emit('changed');
      throw error;
    }
  }

  private hear(method: string, params: unknown): void {
    const about = namesThread.safeParse(params);
    if (about.success) this.use.note(about.data.threadId);
    if (method === 'item/started') {
      const started = startedItem.safeParse(params);
      if (started.success) remember(this.changes, started.data.item.id, changesIn(started.data.item));
    } else if (method === 'item/completed') {
      const completed = z.looseObject({ item: z.looseObject({ id: z.string() }) }).safeParse(params);
      if (completed.success) this.changes.delete(completed.data.item.id);
    } else if (method === 'turn/plan/updated') {
      const updated = planUpdate.safeParse(params);
      if (updated.success) {
        const { threadId, turnId, explanation, plan } = updated.data;
        remember(this.plans, threadId, { turnId, explanation: explanation ?? null, steps: plan.map(({ step, status }) => ({ step, status })) });
      }
    } else if (method === 'thread/settings/updated') {
      const updated = settingsUpdate.safeParse(params);
      if (updated.success) {
        const { threadId, threadSettings: { cwd, model, modelProvider, approvalPolicy, sandboxPolicy, approvalsReviewer: reviewer } } = updated.data;
        this.note(threadId, { cwd, model, modelProvider, policy: policyOf(approvalPolicy, sandboxPolicy), writableRoots: writableRootsOf(sandboxPolicy), approvalsReviewer: reviewer });
      }
    } else if (method === 'thread/closed') {
      const closed = z.looseObject({ threadId: z.string() }).safeParse(params);
      if (closed.success) this.forget(closed.data.threadId);
    }
    this.emit('notification', method, params);
  }

  /** The diffs of a file change item of a turn that runs on a server; empty where it knows of none. */
  async changesOf(server: AppServer, threadId: string, itemId: string): Promise<readonly FileChange[]> {
    const known = this.changes.get(itemId);
    if (known !== undefined) return known;
    // It began before anybody listened here: before a restart of this host, or on another program's server. Of what Codex can be asked, only
    // `thread/resume` knows an item that waits; it repeats the question as well, which must not be read for again.
    const reading = this.readingChanges.get(itemId) ?? this.readChanges(server, threadId, itemId).finally(() => this.readingChanges.delete(itemId));
    this.readingChanges.set(itemId, reading);
    return reading;
  }

  private async readChanges(server: AppServer, threadId: string, itemId: string): Promise<readonly FileChange[]> {
    const { initialTurnsPage } = await server.request('thread/resume', { threadId, excludeTurns: true, initialTurnsPage: { limit: 1, itemsView: 'full' } });
    const item = initialTurnsPage?.data.flatMap(({ items }) => items).find(({ id }) => id === itemId);
    const parsed = startedItem.shape.item.safeParse(item);
    const changes = parsed.success ? changesIn(parsed.data) : [];
    remember(this.changes, itemId, changes);
    return changes;
  }

  /** The plan as last heard in this run of the host; earlier ones are in the rollout. */
  planOf(threadId: string): Plan | null {
    return this.plans.get(threadId) ?? null;
  }

  /** Remembers what a `thread/start`, `thread/resume` or `thread/fork` answered. */
  remember(answer: unknown): ThreadSettings | null {
    const parsed = threadAnswer.safeParse(answer);
    if (!parsed.success) return null;
    const { thread, cwd, model, modelProvider, approvalPolicy, sandbox, approvalsReviewer: reviewer } = parsed.data;
    const settings = { cwd, model, modelProvider, policy: policyOf(approvalPolicy, sandbox), writableRoots: writableRootsOf(sandbox), approvalsReviewer: reviewer };
    this.settings.set(thread.id, settings);
    return settings;
  }

  /** Takes up settings that were changed while the thread is loaded. */
  private note(threadId: string, settings: ThreadSettings): void {
    this.settings.set(threadId, settings);
    this.options.held.follow(threadId, settings).catch((error: unknown) => this.options.log.error(`What ${threadId} may do could not be written down: ${describeError(error).message}`));
  }

  /** A request that loads a thread, completed by what the thread is held to unless it says that itself, and by what nobody may change. */
  private asHeld(method: string, params: unknown): unknown {
    const named = loading.has(method) ? namesThread.safeParse(params) : null;
    const held = named?.success === true ? this.options.held.of(named.data.threadId) : undefined;
    if (named?.success !== true || held === undefined) return params;
    const own = asksForPolicy(params) ? {} : explicitPolicy({ ...held.policy, approvalsReviewer: held.approvalsReviewer });
    const settings = { ...constraintSettings(held.requirements ?? {}, held.webSearch ?? null), ...(held.offline === true ? { 'sandbox_workspace_write.network_access': false } : {}) };
    const request: Record<string, unknown> = { ...named.data, ...own };
    return Object.keys(settings).length === 0 ? request : { ...request, config: { ...(request['config'] as object | null | undefined), ...settings } };
  }

  /** A thread's settings; loads the thread where it is not loaded. Throws CodexError `thread-not-found`, `thread-archived`, `thread-in-use`, `provider-missing`. */
  async settingsOf(threadId: string): Promise<ThreadSettings> {
    const known = this.settings.get(threadId);
    if (known !== undefined) return known;
    const server = await this.ready();
    const settings = this.remember(await server.request('thread/resume', { threadId, excludeTurns: true }));
    if (settings === null) throw new CodexError('protocol-unknown', 'Codex answered thread/resume without the thread\'s settings. Update Baton, or use an older Codex.');
    this.options.held.requireHeld(threadId, settings.policy);
    return settings;
  }

  /**
   * The app-server that has a thread: this host's own, which loads it where nobody has, or the one that this account's other Codex programs
   * share. `close` when done with it. Throws as `settingsOf`; `thread-in-use` says who has the thread where neither can.
   */
  async serverOf(threadId: string): Promise<Having> {
    const end = await this.use.begin(threadId);
    try {
      const settings = await this.settingsOf(threadId);
      return { server: await this.ready(), settings, foreign: false, join: (id) => this.settingsOf(id), close: end };
    } catch (error) {
      end();
      if (!CodexError.is(error, 'thread-in-use')) throw error;
      const server = await this.attach();
      if (server === null) throw error;
      const joined = new Set([threadId]);
      const close = () => {
        // They are loaded there, and not here.
        for (const id of joined) this.settings.delete(id);
        server.detach();
      };
      const join = async (id: string) => {
        joined.add(id);
        return this.remember(await server.request('thread/resume', { threadId: id, excludeTurns: true }));
      };
      try {
        if (!(await loadedThreads(server)).has(threadId)) throw error;
        const settings = await join(threadId);
        if (settings === null) throw error;
        return { server, settings, foreign: true, join, close };
      } catch (failure) {
        close();
        throw failure;
      }
    }
  }

  /** Has something done with this host's app-server and the one that this account's other Codex programs share, where that runs. */
  async withServers<T>(act: (servers: readonly AppServer[]) => Promise<T>): Promise<T> {
    const own = await this.ready();
    const shared = existsSync(sharedSocket(this.options.codexHome)) ? await this.attach() : null;
    try {
      return await act(shared === null ? [own] : [own, shared]);
    } finally {
      shared?.detach();
    }
  }

  private async attach(): Promise<AppServer | null> {
    const { codexHome, env } = this.options;
    return AppServer.attach({ codex: await resolveCodex({ env }), codexHome, clientInfo: this.clientInfo, log: (message) => this.options.log.info(message) });
  }

  private get clientInfo() {
    return { name: 'baton', title: 'Baton', version: this.options.version };
  }

  /** Its app-server follows a thread no more. */
  forget(threadId: string): void {
    this.settings.delete(threadId);
    this.use.forget(threadId);
  }

  /** Where a loaded thread works; null for one that is not loaded. */
  knownCwd(threadId: string): string | null {
    return this.settings.get(threadId)?.cwd ?? null;
  }

  /** Whether a thread is loaded, as far as this host knows. */
  isLoaded(threadId: string): boolean {
    return this.settings.has(threadId);
  }

  async requirements(): Promise<Requirements | null> {
    const server = await this.ready();
    const [{ requirements }, file] = await Promise.all([server.request('configRequirements/read'), readRequirementsFile(server)]);
    return requirementsOf(requirements, file);
  }

  /** Whether the administrator of this machine allows remote control. Throws as `ready`. */
  async allowsRemoteControl(): Promise<boolean> {
    const { requirements } = await (await this.ready()).request('configRequirements/read');
    return remoteControlRequirement.parse(requirements)?.allowRemoteControl !== false;
  }

  /** What the configuration says about the policy of new threads: null where it leaves that open. */
  async configuredPolicy(): Promise<{ readonly policy: Policy | null; readonly reviewer: ApprovalsReviewer | null; readonly modelProvider: string; readonly webSearch: WebSearchMode | null }> {
    const server = await this.ready();
    const { config: read } = await server.request('config/read', {});
    const { approval_policy: approval, approvals_reviewer: configuredReviewer, sandbox_mode: mode, sandbox_workspace_write: workspace, model_provider: provider, web_search: search } = config.parse(read);
    const webSearch = search ?? null;
    const modelProvider = provider ?? 'openai';
    const reviewer = configuredReviewer ?? null;
    if (approval == null && mode == null) return { policy: null, reviewer, modelProvider, webSearch };
    const type = { 'read-only': 'readOnly', 'workspace-write': 'workspaceWrite', 'danger-full-access': 'dangerFullAccess' }[mode ?? 'danger-full-access'];
    const networkAccess = mode == null || workspace?.network_access === true;
    return { policy: policyOf(approval ?? 'never', { type, networkAccess, excludeTmpdirEnvVar: workspace?.exclude_tmpdir_env_var === true, excludeSlashTmp: workspace?.exclude_slash_tmp === true }), reviewer, modelProvider, webSearch };
  }

  /**
   * The models that Codex names for a provider; null where it does not say. For one that is a gateway of the user's own it names those that
   * it was built with. Throws CodexError `provider-missing`.
   */
  async modelsOf(modelProvider: string): Promise<string[] | null> {
    const server = await this.ready();
    const names: string[] = [];
    let cursor: string | null = null;
    try {
      do {
        const page: ModelListResponse = await server.request('model/list', { modelProvider, includeHidden: true, limit: 100, cursor });
        names.push(...page.data.map(({ model }) => model));
        cursor = page.nextCursor ?? null;
      } while (cursor !== null);
    } catch (error) {
      if (!CodexError.is(error, 'refused')) throw error;
      return null;
    }
    return names;
  }

  /** Whether a thread of a provider could be loaded, and the models that Codex names for it. */
  private async knownOf(modelProvider: string): Promise<Pick<DestinationFacts, 'models' | 'knowsProvider'>> {
    const server = await this.ready();
    try {
      const [{ data }, models] = await Promise.all([server.request('modelProvider/list', {}), this.modelsOf(modelProvider)]);
      // `model/list` goes by the configuration with which the app-server was started; a thread is loaded with what is there now.
      return { models, knowsProvider: broughtAlong.has(modelProvider) || data.some(({ id }) => id === modelProvider) };
    } catch (error) {
      if (!CodexError.is(error, 'provider-missing')) throw error;
      return { models: null, knowsProvider: false };
    }
  }

  /** What a destination says of its Codex, for a thread of a provider; nulls where it has none that works. */
  async facts(modelProvider: string | null): Promise<Pick<DestinationFacts, 'codexVersion' | 'codexProblem' | 'models' | 'knowsProvider' | 'configured' | 'configuredReviewer' | 'configuredWebSearch' | 'requirements'>> {
    let server: AppServer;
    try {
      server = await this.ready();
    } catch (error) {
      this.options.log.warn(`No Codex: ${describeError(error).message}`);
      return { codexVersion: null, codexProblem: describeError(error).message, models: null, knowsProvider: false, configured: null, configuredReviewer: null, configuredWebSearch: null, requirements: null };
    }
    const known = modelProvider === null ? { models: null, knowsProvider: false } : this.knownOf(modelProvider);
    const [{ models, knowsProvider }, { policy, reviewer, webSearch }, requirements] = await Promise.all([known, this.configuredPolicy(), this.requirements()]);
    return { codexVersion: server.version, models, knowsProvider, configured: policy, configuredReviewer: reviewer, configuredWebSearch: webSearch, requirements };
  }

  /** Ends the app-server: running turns are interrupted first. */
  async stop(): Promise<void> {
    this.stopped = true;
    const server = this.server ?? (await this.starting?.catch(() => null)) ?? null;
    await server?.stop();
  }
}
