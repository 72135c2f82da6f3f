/** Two machines, of which ssh leads from one to the other: a real sshd on loopback, whose sessions have a home of their own. On the far one nothing of Baton is there yet. */
import { execFile } from 'node:child_process';
import { existsSync, symlinkSync } from 'node:fs';
import { mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { makeOrigin, workInProgress } from '../fixtures/checkout';
import { startScriptedModel, type ScriptedModel } from '../fixtures/scriptedModel';
import { startSshServer, type SshServer } from '../fixtures/sshServer';
import { startFaultyWire, type FaultyWire } from '../torture/faultyWire';
import { codex, endLeftAppServer, makeSite, script, type Site } from './pairedHosts';

export type Program = 'node' | 'git' | 'codex';

export interface SshGround {
  readonly directory: string;
  readonly laptop: Site;
  /** The machine to which ssh leads; `attach` when a host runs there. */
  readonly box: Site;
  /** All that passes between the two. */
  readonly wire: FaultyWire;
  /** Writes the ssh configuration of the laptop anew: these names lead to the box. Without a host key it has not met the box; where it `asks`, that can be mended at a terminal. */
  configure(options?: { readonly aliases?: readonly string[]; readonly port?: number; readonly identity?: string; readonly hostKey?: string | null; readonly asks?: true }): Promise<void>;
  /** These programs alone are on the PATH of a login shell there. */
  provide(...programs: readonly Program[]): Promise<void>;
  /** Ends the connection that ssh keeps open after it had to ask. */
  endShared(): Promise<void>;
  /** Another machine answers at the box's address from now on: its host key is another one. */
  replaceServer(): Promise<void>;
  close(): Promise<void>;
}

/** What a POSIX machine has in any case. */
const basics = ['sh', 'uname', 'cat', 'mkdir', 'chmod', 'rm', 'tail', 'env', 'bash'];

export async function startSshGround(options: { readonly clean?: true } = {}): Promise<SshGround> {
  const directory = await realpath(await mkdtemp(join(tmpdir(), 'baton-ssh-')));
  const model: ScriptedModel = await startScriptedModel({ script });
  const origin = await makeOrigin(directory);
  const configPath = join(directory, 'ssh-config');
  const laptop = await makeSite({ directory, name: 'laptop', origin, model, env: { BATON_SSH_CONFIG: configPath } });
  const box = await makeSite({ directory, name: 'box', origin, model });
  if (options.clean !== true) await workInProgress(laptop.checkout);
  const { directory: home, batonHome, codexHome } = box.machine;
  const programs = join(home, 'programs');
  const sshDirectory = join(directory, 'sshd');
  await mkdir(sshDirectory, { mode: 0o700 });
  // What login scripts print stands before everything else that comes from there.
  await writeFile(join(home, '.profile'), `echo 'Welcome to the box. {"error": 1}'\necho 'You have mail.' >&2\nprintf 'no line end'\nPATH='${programs}'\nBATON_HOME='${batonHome}'\nCODEX_HOME='${codexHome}'\nexport PATH BATON_HOME CODEX_HOME\n`);
  const env = { HOME: home, SHELL: '/bin/bash' };
  let server: SshServer = await startSshServer(sshDirectory, { env });
  const wire = await startFaultyWire({ host: '127.0.0.1', port: server.port });

  const ground: SshGround = {
    directory, laptop, box, wire,
    configure: async ({ aliases = ['box', 'box-by-another-name'], port = wire.port, identity = server.identity, hostKey = server.hostKey, asks } = {}) => {
      await writeFile(join(directory, 'known_hosts'), hostKey === null ? '' : `[127.0.0.1]:${port} ${hostKey}\n`);
      await writeFile(configPath, [
        'Host *', '  ForwardAgent no', `Host ${aliases.join(' ')}`, '  HostName 127.0.0.1', `  Port ${port}`, `  User ${userInfo().username}`, `  IdentityFile ${identity}`, '  IdentitiesOnly yes', '  IdentityAgent none',
        `  UserKnownHostsFile ${join(directory, 'known_hosts')}`, '  GlobalKnownHostsFile none', `  StrictHostKeyChecking ${asks === true ? 'ask' : 'yes'}`, '',
      ].join('\n'));
    },
    provide: async (...names) => {
      await rm(programs, { recursive: true, force: true });
      await mkdir(programs, { recursive: true });
      const found = (name: string) => ['/usr/bin', '/bin'].map((place) => join(place, name)).find((path) => existsSync(path)) ?? name;
      for (const name of basics) symlinkSync(found(name), join(programs, name));
      for (const name of names) symlinkSync(name === 'node' ? process.execPath : name === 'codex' ? codex : found('git'), join(programs, name));
    },
    endShared: async () => {
      const { program, args } = await laptop.client.call('host/ssh', { alias: 'box' });
      await promisify(execFile)(program, [...args.slice(0, args.indexOf('-T')), '-O', 'exit', 'box']);
    },
    replaceServer: async () => {
      const { port } = server;
      await server.close();
      server = await startSshServer(sshDirectory, { env, hostKey: 'another-host', port });
    },
    close: async () => {
      await laptop.stop();
      if (existsSync(join(batonHome, 'host.sock'))) await box.attach().then(() => box.endAttached(), () => undefined);
      for (const { machine } of [laptop, box]) endLeftAppServer(machine);
      await wire.close();
      await server.close();
      await model.close();
      await rm(directory, { recursive: true, force: true, maxRetries: 5 });
    },
  };
  try {
    await ground.configure();
    await ground.provide('node', 'git', 'codex');
    await laptop.start();
    await laptop.client.call('project/add', { directory: laptop.checkout });
  } catch (error) {
    await ground.close();
    throw error;
  }
  return ground;
}
