/** An ssh server of the bench's own on loopback: own keys, own configuration, one run. The machine's sshd and the user's keys have no part in it. */
import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { startSshServer, type SshServer } from '../fixtures/sshServer';
import { startCountingProxy, type CountingProxy } from './countingProxy';

const execute = promisify(execFile);

export interface LoopbackSsh {
  /** Configuration for `ssh -F`: the host `server`, a connection for each command. */
  readonly config: string;
  /** The same, but all commands of one minute share one connection (ControlMaster). */
  readonly sharedConfig: string;
  /** Every connection passes through it, so that what is on the wire can be counted. */
  readonly wire: CountingProxy;
  /** Options of `ssh` beside the configuration, for a connection that does not pass through it. */
  readonly direct: readonly string[];
  /** Ends the connection that commands shared, if there is one. */
  endShared(): Promise<void>;
  close(): Promise<void>;
}

/** Starts an sshd below `directory`, or says in a sentence why there is none. */
export async function startLoopbackSsh(directory: string): Promise<LoopbackSsh | string> {
  await mkdir(directory, { mode: 0o700 });
  let server: SshServer | null = null;
  let wire: CountingProxy | null = null;
  try {
    server = await startSshServer(directory);
    wire = await startCountingProxy({ host: '127.0.0.1', port: server.port });
    await writeFile(join(directory, 'known_hosts'), `[127.0.0.1]:${wire.port} ${server.hostKey}\n`);
    const config = join(directory, 'config');
    const sharedConfig = join(directory, 'shared-config');
    const client = clientConfig(directory, wire.port);
    await writeFile(config, `${client}  ControlMaster no\n  ControlPath none\n`);
    await writeFile(sharedConfig, `${client}  ControlMaster auto\n  ControlPath ${join(directory, 'shared')}\n  ControlPersist 60\n`);
    await execute('ssh', ['-F', config, 'server', 'git', '--version']);
    const running = { server, wire };
    const { port } = server;
    const endShared = () => execute('ssh', ['-F', sharedConfig, '-O', 'exit', 'server']).then(() => undefined, () => undefined);
    return {
      config,
      sharedConfig,
      wire,
      direct: ['-p', String(port), '-o', `HostKeyAlias=[127.0.0.1]:${wire.port}`],
      endShared,
      close: async () => {
        await endShared();
        await running.wire.close();
        await running.server.close();
      },
    };
  } catch (error) {
    await wire?.close();
    await server?.close();
    return `an sshd on loopback could not be used: ${(error instanceof Error ? error.message : String(error)).split('\n').slice(0, 3).join(' ').slice(0, 300)}`;
  }
}

function clientConfig(directory: string, port: number): string {
  return [
    'Host server', 'HostName 127.0.0.1', `Port ${port}`, `User ${userInfo().username}`, `IdentityFile ${join(directory, 'user')}`, 'IdentitiesOnly yes', 'IdentityAgent none',
    `UserKnownHostsFile ${join(directory, 'known_hosts')}`, 'GlobalKnownHostsFile none', 'StrictHostKeyChecking yes', 'BatchMode yes', 'LogLevel ERROR', 'ConnectTimeout 10', '',
  ].join('\n  ');
}
