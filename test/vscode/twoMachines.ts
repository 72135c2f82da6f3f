import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { cloneOf, makeOrigin, workInProgress } from '../fixtures/checkout';
import { endProcess, Machine, startRelayProcess } from '../fixtures/machine';
import { startScriptedModel, writeCodexConfig, type ScriptedModel, type ScriptRule } from '../fixtures/scriptedModel';

const codex = resolve(import.meta.dirname, '../../node_modules/.bin', process.platform === 'win32' ? 'codex.cmd' : 'codex');

/**
 * Two machines with a clone of one repository each and a relay between them. "server" runs its host; on "laptop" none runs
 * yet: to start it is what the extension is for. Codex is real on both, the model is scripted.
 */
export interface TwoMachines {
  readonly directory: string;
  readonly laptop: Machine;
  readonly server: Machine;
  readonly laptopCheckout: string;
  readonly serverCheckout: string;
  readonly relayUrl: string;
  readonly model: ScriptedModel;
  close(): Promise<void>;
}

export async function startTwoMachines(script: readonly ScriptRule[]): Promise<TwoMachines> {
  const directory = await realpath(await mkdtemp(join(tmpdir(), 'baton-vscode-')));
  const model = await startScriptedModel({ script });
  const relay = await startRelayProcess();
  const env = { BATON_CODEX: codex };
  const laptop = new Machine('laptop', join(directory, 'laptop'), env);
  const server = new Machine('server', join(directory, 'server'), env);
  const origin = await makeOrigin(directory);
  const laptopCheckout = await cloneOf(origin, join(laptop.directory, 'orrery'));
  const serverCheckout = await cloneOf(origin, join(server.directory, 'orrery'));
  await workInProgress(laptopCheckout);
  for (const machine of [laptop, server]) await writeCodexConfig(machine.codexHome, { modelUrl: model.url });
  await server.startHost(relay.url);
  await server.json('project', 'add', serverCheckout);
  return {
    directory, laptop, server, laptopCheckout, serverCheckout, relayUrl: relay.url, model,
    close: async () => {
      // The extension started laptop's host detached; where it never did, there is nothing to stop.
      await (await laptop.client().catch(() => undefined))?.call('host/stop', {}).catch(() => undefined);
      await server.stopHost();
      await endProcess(relay.child);
      await model.close();
      await rm(directory, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
