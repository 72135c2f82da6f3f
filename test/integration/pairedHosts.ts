/** Two paired hosts for the integration tests: real processes, a real relay, real Codex and git; only the model is scripted. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, realpath, rename, rm, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, onTestFailed } from 'vitest';
import { RpcConnection } from '../../src/codex/rpc';
import { connectUnix } from '../../src/codex/transport';
import type { HostClient } from '../../src/host/hostClient';
import { HostError } from '../../src/host/hostError';
import type { Approval, HandoffPhase, HandoffResult, NotificationName, NotificationOf, ParamsOf, Thread } from '../../src/host/protocol';
import { cloneOf, git, makeOrigin, workInProgress } from '../fixtures/checkout';
import { endProcess, Machine, startRelayProcess, type Relay } from '../fixtures/machine';
import { startScriptedModel, writeCodexConfig, type CodexConfig, type ScriptedModel, type ScriptRule } from '../fixtures/scriptedModel';

export const codex = resolve(import.meta.dirname, '../../node_modules/.bin', process.platform === 'win32' ? 'codex.cmd' : 'codex');

/** What the users of these tests say, and what the scripted model does about it. */
export const said = {
  hello: 'Say hello.',
  plan: 'Make a plan.',
  risky: 'Publish it.',
  slowly: 'Tell a long story.',
  twice: 'Publish it twice.',
};
export const riskyCommand = 'echo "published by the agent" >> published.txt';

export const script: readonly ScriptRule[] = [
  { user: /Say hello/, answers: [[{ message: 'Hello. The secret word is ephemeris-42.' }]] },
  { user: /Make a plan/, answers: [[{ plan: [{ step: 'Look', status: 'completed' }, { step: 'Leap', status: 'in_progress' }] }], [{ message: 'The plan stands.' }]] },
  { user: /Publish it/, answers: [[{ command: riskyCommand, escalate: 'It writes where the sandbox does not let me.' }], [{ message: 'Published.' }]] },
  { user: /Tell a long story/, answers: [[{ slowMessage: 'Once upon a time there was a comet. '.repeat(2000), everyMs: 20 }]] },
  { user: /is approved/, history: /Publish it twice/, answers: [[{ repeatAborted: true }], [{ repeatAborted: true }], [{ message: 'Published twice.' }]] },
  { user: /is approved/, answers: [[{ repeatAborted: true }], [{ message: 'Approved and published.' }]] },
  { user: /is declined/, answers: [[{ message: 'Then I leave it.' }]] },
  { user: /./, answers: [[{ message: 'I remember ephemeris-42.' }]] },
];

/** One machine of a pair: its host's process, a controller that is connected to it, and a clone of the repository. */
export class Site {
  /** Set by `start`. */
  hostId = '';
  private connected: HostClient | null = null;

  constructor(
    readonly machine: Machine,
    readonly checkout: string,
  ) {}

  get client(): HostClient {
    if (this.connected === null) throw new Error(`${this.machine.name} was not started.`);
    return this.connected;
  }

  /** Starts the host's process and connects a controller. */
  async start(relayUrl?: string): Promise<void> {
    this.hostId = (await this.machine.startHost(relayUrl)).hostId;
    this.connected = await this.machine.client();
  }

  /** Connects a controller to a host that another program started. */
  async attach(): Promise<void> {
    this.connected = await this.machine.client();
    this.hostId = this.connected.host.baton.hostId;
  }

  /** Ends a host that another program started. */
  async endAttached(): Promise<void> {
    const { client } = this;
    const closed = new Promise<void>((fulfil) => client.onClose(fulfil));
    await client.call('host/stop').catch(() => undefined);
    await closed;
  }

  /** Ends the host as `signal` does; the app-server lives on when it is SIGKILL. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    this.connected?.dispose();
    await this.machine.stopHost(signal);
  }

  /** Starts a thread whose first turn has ended, or waits for an approval. */
  async begin(text: string, settings: { approvalPolicy?: string; sandbox?: string; cwd?: string; historyMode?: string } = {}): Promise<string> {
    const { thread } = (await this.client.codex('thread/start', { cwd: this.checkout, ...settings })) as { thread: Thread };
    await this.say(thread.id, text);
    return thread.id;
  }

  /** Says something to a thread and waits until its turn has ended or needs an approval. Gives the turn's status. */
  async say(threadId: string, text: string): Promise<string> {
    const rest = this.rest(threadId);
    // Where the turn is refused nobody waits for it any more.
    rest.catch(() => undefined);
    await this.client.codex('turn/start', { threadId, input: [{ type: 'text', text, text_elements: [] }] });
    return rest;
  }

  /** The status of the thread's next turn to end, or `waitingOnApproval` when one is asked for. */
  rest(threadId: string): Promise<string> {
    const { client } = this;
    return new Promise((fulfil, reject) => {
      const subscriptions = [
        client.onCodex((method, params) => {
          const { threadId: of, turn } = params as { threadId?: string; turn?: { status: string } };
          if (method === 'turn/completed' && of === threadId) settle(turn?.status ?? 'unknown');
        }),
        client.on('approval/requested', ({ approval }) => {
          if (approval.threadId === threadId && !approval.carriedOver) settle('waitingOnApproval');
        }),
        client.onClose(() => {
          unsubscribe();
          reject(new Error(`The host of ${this.machine.name} went away while a turn ran.\n${this.machine.hostLog}`));
        }),
      ];
      const unsubscribe = () => subscriptions.forEach((each) => each());
      const settle = (status: string) => {
        unsubscribe();
        fulfil(status);
      };
    });
  }

  /** The next notification of a kind that fits. Ask before what causes it. */
  heard<N extends NotificationName>(notification: N, fits: (value: NotificationOf<N>) => boolean = () => true): Promise<NotificationOf<N>> {
    return new Promise((fulfil) => {
      const unsubscribe = this.client.on(notification, (value) => {
        if (!fits(value)) return;
        unsubscribe();
        fulfil(value);
      });
    });
  }

  /** Resolves once `holds`; it is looked at now, and again whenever the host says that something changed. Rejects where the host goes away. */
  async until(holds: () => Promise<boolean>): Promise<void> {
    await new Promise<void>((fulfil, reject) => {
      const end = (how: () => void) => {
        subscriptions.forEach((each) => each());
        how();
      };
      const look = () => void holds().then((does) => {
        if (does) end(fulfil);
      }, (error: unknown) => end(() => reject(error instanceof Error ? error : new Error(String(error)))));
      const gone = () => end(() => reject(new Error(`The host of ${this.machine.name} went away.`)));
      const subscriptions = [this.client.on('host/changed', look), this.client.on('approval/requested', look), this.client.onClose(gone)];
      look();
    });
  }

  phase(phase: HandoffPhase, threadId?: string): Promise<NotificationOf<'handoff/progress'>> {
    return this.heard('handoff/progress', (progress) => progress.phase === phase && (threadId === undefined || progress.threadId === threadId));
  }

  /** Lets the host note nothing of a thread's handoffs, until what is returned is called. */
  async takeLedger(threadId: string): Promise<() => Promise<void>> {
    const ledger = join(this.machine.batonHome, 'ledger', `${threadId}.jsonl`);
    await rename(ledger, `${ledger}.aside`);
    await mkdir(ledger);
    return async () => {
      await rmdir(ledger);
      await rename(`${ledger}.aside`, ledger);
    };
  }

  /** Hands off and waits for the end. */
  async handOff(params: ParamsOf<'handoff/start'>): Promise<HandoffResult> {
    const { handoffId } = await this.client.call('handoff/start', params);
    return this.client.call('handoff/wait', { handoffId });
  }

  async approvals(threadId: string): Promise<Approval[]> {
    return (await this.client.call('approval/list', { threadId })).approvals;
  }

  async thread(threadId: string): Promise<Thread> {
    return (await this.client.call('host/thread', { threadId })).thread;
  }

  /** All events of the audit log, oldest first. */
  audit(): Record<string, unknown>[] {
    const directory = join(this.machine.batonHome, 'audit');
    if (!existsSync(directory)) return [];
    return readdirSync(directory).sort().flatMap((name) => readFileSync(join(directory, name), 'utf8').split('\n').filter((line) => line !== '').map((line) => JSON.parse(line) as Record<string, unknown>));
  }

  /** Everything that a handoff could leave behind here: equal before and after means that nothing was. */
  async traces(): Promise<Record<string, unknown>> {
    // A host at work may remove a directory while it is being read: then it is read again.
    const below = (...path: string[]): string[] => {
      try {
        return existsSync(join(...path)) ? (readdirSync(join(...path), { recursive: true }) as string[]).sort() : [];
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
        return below(...path);
      }
    };
    const managed = join(this.machine.batonHome, 'worktrees');
    return {
      worktrees: (await git(this.checkout, 'worktree', 'list', '--porcelain')).split('\n').filter((line) => line.startsWith('worktree ')),
      worktreeRefs: (await git(this.checkout, 'for-each-ref', '--format=%(refname)', 'refs/baton', 'refs/heads')).split('\n'),
      // Two levels: the worktrees themselves, not what is in them.
      directories: below(managed).filter((path) => path.split(/[\\/]/).length <= 2),
      records: existsSync(join(this.machine.batonHome, 'worktrees.json')) ? readFileSync(join(this.machine.batonHome, 'worktrees.json'), 'utf8') : '',
      handoffs: below(this.machine.batonHome, 'handoffs'),
      rollouts: [...below(this.machine.codexHome, 'sessions'), ...below(this.machine.codexHome, 'archived_sessions')].filter((path) => path.includes('rollout-')),
    };
  }
}

export interface PairedHosts {
  readonly directory: string;
  readonly model: ScriptedModel;
  readonly laptop: Site;
  readonly server: Site;
  relay: Relay;
  /** Starts another host that is paired with both. */
  join(name: string, config?: Partial<CodexConfig>, env?: NodeJS.ProcessEnv): Promise<Site>;
  /** Pairs a host that runs with others, and saves its checkout as a project. */
  introduce(site: Site, to: readonly Site[]): Promise<void>;
  /** `keep`: the directory stays, to be looked at. */
  close(options?: { readonly keep: boolean }): Promise<void>;
}

export interface PairOptions {
  /** What the model does besides; looked at first. */
  readonly script?: readonly ScriptRule[];
  /** Codex configuration of the laptop, where it differs. */
  readonly laptop?: Partial<CodexConfig>;
  /** Environment of the laptop's host, where it differs. */
  readonly laptopEnv?: NodeJS.ProcessEnv;
  /** Codex configuration of the server, where it differs. */
  readonly server?: Partial<CodexConfig>;
  /** Environment of the server's host, where it differs. */
  readonly serverEnv?: NodeJS.ProcessEnv;
  /** The laptop's checkout is as it was cloned. */
  readonly clean?: true;
  /** Done to a machine before its host is started. */
  readonly prepare?: (machine: Machine) => Promise<void>;
  /** Done once both have ended, before their directory is removed; or is not, where it is kept. */
  readonly atEnd?: (keep: boolean) => Promise<void>;
  /** What the hosts are told instead of the relay's address: a way to it that can be disturbed. */
  readonly wayTo?: (relayUrl: string) => Promise<string>;
}

export async function makeSite({ directory, name, origin, model, env = {}, config = {} }: { directory: string; name: string; origin: string; model: ScriptedModel; env?: NodeJS.ProcessEnv | undefined; config?: Partial<CodexConfig> | undefined }): Promise<Site> {
  const machine = new Machine(name, join(directory, name), { BATON_CODEX: codex, ...env });
  await writeCodexConfig(machine.codexHome, { modelUrl: model.url, ...config });
  return new Site(machine, await cloneOf(origin, join(machine.directory, 'orrery')));
}

/** Starts "laptop" and "server", paired, with the same repository saved as a project on each. */
export async function startPair(options: PairOptions = {}): Promise<PairedHosts> {
  const directory = await realpath(await mkdtemp(join(tmpdir(), 'baton-pair-')));
  const model = await startScriptedModel({ script: [...(options.script ?? []), ...script] });
  const origin = await makeOrigin(directory);
  const site = (name: string, env?: NodeJS.ProcessEnv, config?: Partial<CodexConfig>) => makeSite({ directory, name, origin, model, env, config });
  const [laptop, server] = await Promise.all([site('laptop', options.laptopEnv, options.laptop), site('server', options.serverEnv, options.server)]);
  for (const { machine } of [laptop, server]) await options.prepare?.(machine);
  if (options.clean !== true) await workInProgress(laptop.checkout);
  const relay = await startRelayProcess();
  const others: Site[] = [];
  let way = relay.url;
  const pair: PairedHosts = {
    directory, model, laptop, server, relay,
    join: async (name, config, env) => {
      const other = await makeSite({ directory, name, origin, model, env, config });
      others.push(other);
      await other.start(way);
      await pair.introduce(other, [laptop, server]);
      return other;
    },
    introduce: async (site, to) => {
      await Promise.all(to.map(async (each) => {
        const { invite } = await each.client.call('host/invite', {});
        await site.client.call('host/join', { invite });
      }));
      await site.client.call('project/add', { directory: site.checkout });
    },
    close: async ({ keep } = { keep: false }) => {
      await Promise.all([laptop, server, ...others].map(async (each) => {
        await each.stop();
        endLeftAppServer(each.machine);
      }));
      await endProcess(pair.relay.child);
      await model.close();
      await options.atEnd?.(keep);
      if (!keep) await rm(directory, { recursive: true, force: true, maxRetries: 5 });
    },
  };
  try {
    way = (await options.wayTo?.(relay.url)) ?? relay.url;
    await Promise.all([laptop.start(way), server.start(way)]);
    await pair.introduce(server, [laptop]);
    await laptop.client.call('project/add', { directory: laptop.checkout });
  } catch (error) {
    await pair.close();
    throw error;
  }
  return pair;
}

/** One pair for all tests of a file. */
export function pairForAll(onStarted: (pair: PairedHosts) => void): void {
  let pair: PairedHosts;
  beforeAll(async () => {
    pair = await startPair();
    onStarted(pair);
  });
  beforeEach(() => explainFailures(pair));
  afterAll(() => pair.close());
}

/** For `beforeEach`: prints what both hosts logged during a test that fails. */
export function explainFailures({ laptop, server }: PairedHosts): void {
  const before = [laptop, server].map(({ machine }) => [machine, machine.hostLog.length] as const);
  onTestFailed(() => {
    for (const [machine, length] of before) console.error(`--- log of ${machine.name}\n${machine.hostLog.slice(Math.min(length, machine.hostLog.length))}`);
  });
}

/** A host that was killed leaves its app-server to the next one; where none came, nobody else ends it. */
export function endLeftAppServer(machine: Machine, signal: NodeJS.Signals = 'SIGTERM'): void {
  const file = join(machine.batonHome, 'app-server.json');
  if (!existsSync(file)) return;
  const { pid } = JSON.parse(readFileSync(file, 'utf8')) as { pid?: number };
  try {
    if (pid !== undefined) process.kill(pid, signal);
  } catch {
    // It has ended already.
  }
}

/** For a field of `toMatchObject`: a text that holds these words. */
export const saying = (words: string | RegExp): string => expect.stringMatching(words) as string;

/** The HostError with which something fails; anything else fails the test. */
export async function refusal(attempt: Promise<unknown>): Promise<HostError> {
  try {
    await attempt;
  } catch (error) {
    if (HostError.is(error)) return error;
    throw error;
  }
  throw new Error('It was expected to be refused, and was not.');
}

/** Asks a site's app-server as another Codex client on its socket would, beside the host. */
export async function askCodex(site: Site, method: string, params: unknown): Promise<unknown> {
  const rpc = new RpcConnection(await connectUnix(join(site.machine.batonHome, 'codex.sock')), { notification: () => undefined, request: () => undefined, closed: () => undefined });
  try {
    await rpc.request('initialize', { clientInfo: { name: 'tests', title: null, version: '0' }, capabilities: { experimentalApi: true } });
    rpc.notify('initialized');
    return await rpc.request(method, params);
  } finally {
    rpc.close();
  }
}
