import { mkdtemp, rm, mkdir, realpath } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AppServer, type AppServerOptions, type ServerNotification, type ServerRequest } from '../../src/codex/appServer';
import { resolveCodex, type CodexExecutable } from '../../src/codex/executable';
import { releaseIdleThreads } from '../../src/codex/threads';
import { startScriptedModel, writeCodexConfig, type CodexConfig, type ScriptedModel, type ScriptRule } from '../fixtures/scriptedModel';

/** Codex homes in a temporary folder, all with one scripted model, and the real app-servers that serve them. */
export class CodexHomes {
  readonly #servers: AppServer[] = [];
  private constructor(
    readonly root: string,
    readonly codex: CodexExecutable,
    readonly model: ScriptedModel,
  ) {}

  static async create(script: readonly ScriptRule[]): Promise<CodexHomes> {
    const root = await realpath(await mkdtemp(join(tmpdir(), 'baton-codex-')));
    return new CodexHomes(root, await resolveCodex({ env: { PATH: '' }, packageRoots: [process.cwd()] }), await startScriptedModel({ script }));
  }

  async folder(...names: string[]): Promise<string> {
    const path = join(this.root, ...names);
    await mkdir(path, { recursive: true });
    return path;
  }

  home(name: string): string {
    return join(this.root, name);
  }

  options(name: string, more: Partial<AppServerOptions> = {}): AppServerOptions {
    return {
      codex: this.codex,
      codexHome: this.home(name),
      socketPath: join(this.root, `${name}.sock`),
      stateFile: join(this.root, `${name}.server.json`),
      config: [releaseIdleThreads],
      clientInfo: { name: 'baton-tests', title: 'Baton tests', version: '0.0.0' },
      log: () => undefined,
      ...more,
    };
  }

  async start(name: string, more: Partial<AppServerOptions> = {}, config: Partial<CodexConfig> = {}): Promise<AppServer> {
    await writeCodexConfig(this.home(name), { modelUrl: this.model.url, ...config });
    const server = await AppServer.start(this.options(name, more));
    this.#servers.push(server);
    return server;
  }

  async dispose(): Promise<void> {
    for (const server of this.#servers.reverse()) await server.stop();
    await this.model.close();
    await rm(this.root, { recursive: true, force: true });
  }
}

export function textInput(text: string): { type: 'text'; text: string; text_elements: [] }[] {
  return [{ type: 'text', text, text_elements: [] }];
}

/** Waits for one notification; what came before the call does not count. */
export function nextNotification<M extends ServerNotification['method']>(server: AppServer, method: M, accept: (params: Extract<ServerNotification, { method: M }>['params']) => boolean = () => true): Promise<Extract<ServerNotification, { method: M }>['params']> {
  return new Promise((resolve) => {
    const subscription = server.onNotification(method, (params) => {
      if (!accept(params as never)) return;
      subscription.dispose();
      resolve(params as never);
    });
  });
}

/** The next question of the server's, or one that is open already. */
export function nextRequest(server: AppServer): Promise<ServerRequest> {
  return new Promise((resolve) => {
    const heard: { dispose: () => void }[] = [];
    heard.push(server.onServerRequest((request) => {
      heard[0]?.dispose();
      resolve(request);
    }));
  });
}

export async function startThread(server: AppServer, cwd: string): Promise<string> {
  return (await server.request('thread/start', { cwd })).thread.id;
}

/** Runs a turn to its end and returns its status. */
export async function runTurn(server: AppServer, threadId: string, text: string): Promise<string> {
  const ended = nextNotification(server, 'turn/completed', (params) => params.threadId === threadId);
  await server.request('turn/start', { threadId, input: textInput(text) });
  return (await ended).turn.status;
}
